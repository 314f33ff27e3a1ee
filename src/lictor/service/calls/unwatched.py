"""Nobody looks on: what `ports.Watch` is where nothing is counted and nothing traced. Costs a call nothing worth measuring."""

from collections.abc import Mapping
from types import TracebackType
from typing import Any, Final, Self

from lictor.model.action import ActionRequest
from lictor.model.approval import Hold
from lictor.model.decision import Decision
from lictor.model.ids import DecisionId
from lictor.model.task import Task
from lictor.ports import Watch, Watched


class _Unseen:
    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None, /
    ) -> None:
        return None

    def answered(self, result: bytes | None, error: Mapping[str, Any] | None) -> None:
        """Nobody asks."""

    def meta(self, passed: dict[str, Any]) -> dict[str, Any]:
        """As it was."""
        return passed


_UNSEEN: Final = _Unseen()


class Unwatched:
    """See the module."""

    def call(self, method: str, meta: object, *, task: Task, version: str) -> Watched:  # noqa: ARG002
        """See `Watch.call`."""
        return _UNSEEN

    def decided(
        self, request: ActionRequest, decision: DecisionId, answer: Decision, *, decide_s: float, record_s: float
    ) -> None:
        """See `Watch.decided`."""

    def unrecorded(self) -> None:
        """See `Watch.unrecorded`."""

    def waiting(self, hold: Hold) -> Watched:  # noqa: ARG002
        """See `Watch.waiting`."""
        return _UNSEEN

    def sending(self, method: str, request: ActionRequest) -> Watched:  # noqa: ARG002
        """See `Watch.sending`."""
        return _UNSEEN


UNWATCHED: Final[Watch] = Unwatched()
