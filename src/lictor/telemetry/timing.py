"""Times what goes by in this process, into the figures. Costs each call about a microsecond."""

from collections.abc import Mapping
from time import perf_counter
from types import TracebackType
from typing import Any, Final, Self

from lictor.model.action import ActionRequest
from lictor.model.approval import Hold
from lictor.model.decision import Decision
from lictor.model.ids import DecisionId
from lictor.model.task import Task
from lictor.ports import Watched
from lictor.service.calls.unwatched import UNWATCHED
from lictor.telemetry.families import OTHER
from lictor.telemetry.figures import Figures, Times

METHODS: Final = frozenset(
    {
        "tools/call",
        "tools/list",
        "prompts/get",
        "prompts/list",
        "resources/read",
        "resources/list",
        "resources/templates/list",
        "resources/subscribe",
        "resources/unsubscribe",
        "completion/complete",
        "logging/setLevel",
        "ping",
    }
)
"""Methods that are served; another one's name is the client's word."""


class _Timed:
    """From when it was made to the end of its block. A call is counted while it is under way; what goes to a server is not."""

    __slots__ = ("_began", "_call", "_figures", "_times")

    def __init__(self, figures: Figures, times: Times, *, call: bool) -> None:
        self._figures = figures
        self._times = times
        self._call = call
        if call:
            figures.under_way += 1
        self._began = perf_counter()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None, /
    ) -> None:
        self._times.observe(perf_counter() - self._began)
        if self._call:
            self._figures.under_way -= 1

    def answered(self, result: bytes | None, error: Mapping[str, Any] | None) -> None:
        """What came of it does not matter here: the log says it."""

    def meta(self, passed: dict[str, Any]) -> dict[str, Any]:
        """As it was."""
        return passed


class Timing:
    """`lictor.ports.Watch` that only times."""

    def __init__(self, figures: Figures, servers: frozenset[str]) -> None:
        """`servers`: those that are configured."""
        self._figures = figures
        self._servers = servers
        self._decide = figures.histogram("lictor_decide_seconds")
        self._record = figures.histogram("lictor_record_seconds")
        self._calls: dict[str, Times] = {}
        self._upstream: dict[str, Times] = {}

    def call(self, method: str, meta: object, *, task: Task, version: str) -> Watched:  # noqa: ARG002
        """See `Watch.call`."""
        times = self._calls.get(method)
        if times is None:
            label = method if method in METHODS else OTHER
            times = self._figures.histogram("lictor_call_seconds", label)
            if label == method:  # a client's own words are not kept
                self._calls[method] = times
        return _Timed(self._figures, times, call=True)

    def decided(
        self,
        request: ActionRequest,  # noqa: ARG002
        decision: DecisionId,  # noqa: ARG002
        answer: Decision,  # noqa: ARG002
        *,
        decide_s: float,
        record_s: float,
    ) -> None:
        """See `Watch.decided`."""
        self._decide.observe(decide_s)
        self._record.observe(record_s)

    def unrecorded(self) -> None:
        """See `Watch.unrecorded`."""
        self._figures.add("lictor_record_failures")

    def waiting(self, hold: Hold) -> Watched:
        """People's time is counted from the log."""
        return UNWATCHED.waiting(hold)

    def sending(self, method: str, request: ActionRequest) -> Watched:  # noqa: ARG002
        """See `Watch.sending`."""
        times = self._upstream.get(request.server)
        if times is None:
            label = request.server if request.server in self._servers else OTHER
            times = self._figures.histogram("lictor_upstream_seconds", label)
            if label == request.server:
                self._upstream[label] = times
        return _Timed(self._figures, times, call=False)
