"""Everybody who looks on, as one; and whatever goes wrong in one of them ends here: no call notices that it is looked at."""

from collections.abc import Callable, Mapping, Sequence
from types import TracebackType
from typing import Any, Self

from lictor.model.action import ActionRequest
from lictor.model.approval import Hold
from lictor.model.decision import Decision
from lictor.model.ids import DecisionId
from lictor.model.task import Task
from lictor.ports import Watch, Watched

Defect = Callable[[BaseException], None]
"""Told of what went wrong in who looks on."""


class _Several:
    """What each of them made of one thing."""

    __slots__ = ("_defect", "_each")

    def __init__(self, each: list[Watched], defect: Defect) -> None:
        self._each = each
        self._defect = defect

    def __enter__(self) -> Self:
        for one in self._each:
            try:
                one.__enter__()
            except Exception as error:  # noqa: BLE001 - see the module
                self._defect(error)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None, /
    ) -> None:
        for one in self._each:
            try:
                one.__exit__(kind, error, trace)
            except Exception as fault:  # noqa: BLE001 - see the module
                self._defect(fault)

    def answered(self, result: bytes | None, error: Mapping[str, Any] | None) -> None:
        """See `Watched.answered`."""
        for one in self._each:
            try:
                one.answered(result, error)
            except Exception as fault:  # noqa: BLE001 - see the module
                self._defect(fault)

    def meta(self, passed: dict[str, Any]) -> dict[str, Any]:
        """See `Watched.meta`."""
        for one in self._each:
            try:
                passed = one.meta(passed)
            except Exception as fault:  # noqa: BLE001 - see the module
                self._defect(fault)
        return passed


class Several:
    """`lictor.ports.Watch` for any number."""

    def __init__(self, each: Sequence[Watch], defect: Defect) -> None:
        """In this order."""
        self._each = tuple(each)
        self._defect = defect

    def call(self, method: str, meta: object, *, task: Task, version: str) -> Watched:
        """See `Watch.call`."""
        return self._made(lambda one: one.call(method, meta, task=task, version=version))

    def decided(
        self, request: ActionRequest, decision: DecisionId, answer: Decision, *, decide_s: float, record_s: float
    ) -> None:
        """See `Watch.decided`."""
        for one in self._each:
            try:
                one.decided(request, decision, answer, decide_s=decide_s, record_s=record_s)
            except Exception as error:  # noqa: BLE001 - see the module
                self._defect(error)

    def unrecorded(self) -> None:
        """See `Watch.unrecorded`."""
        for one in self._each:
            try:
                one.unrecorded()
            except Exception as error:  # noqa: BLE001 - see the module
                self._defect(error)

    def waiting(self, hold: Hold) -> Watched:
        """See `Watch.waiting`."""
        return self._made(lambda one: one.waiting(hold))

    def sending(self, method: str, request: ActionRequest) -> Watched:
        """See `Watch.sending`."""
        return self._made(lambda one: one.sending(method, request))

    def _made(self, make: Callable[[Watch], Watched]) -> Watched:
        made = []
        for one in self._each:
            try:
                made.append(make(one))
            except Exception as error:  # noqa: BLE001 - see the module
                self._defect(error)
        return _Several(made, self._defect)
