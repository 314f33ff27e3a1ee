"""Whoever looks on and fails fails alone: a call never notices."""

from typing import Any

import pytest

from lictor.ports import Watch
from lictor.service.calls.unwatched import UNWATCHED
from lictor.telemetry.several import Several


class Broken:
    """Fails at everything, or at one thing."""

    def __init__(self, at: str) -> None:
        self.at = at

    def _fails(self, name: str) -> None:
        if name == self.at:
            raise RuntimeError(name)

    def __getattr__(self, name: str) -> Any:
        def method(*args: Any, **kwargs: Any) -> Any:
            self._fails(name)
            return args[0] if name == "meta" else self

        return method

    def __enter__(self) -> Any:
        self._fails("enter")
        return self

    def __exit__(self, *_: object) -> None:
        self._fails("exit")


PARTS = ["call", "sending", "waiting", "decided", "unrecorded", "enter", "exit", "answered", "meta"]


def use(watch: Watch) -> dict[str, Any]:
    """All of a call."""
    with watch.call("tools/call", None, task=None, version="") as seen:  # type: ignore[arg-type]
        watch.decided(None, None, None, decide_s=0, record_s=0)  # type: ignore[arg-type]
        watch.unrecorded()
        with watch.waiting(None):  # type: ignore[arg-type]
            pass
        with watch.sending("tools/call", None) as line:  # type: ignore[arg-type]
            meta = line.meta({"a": 1})
        seen.answered(None, None)
    return meta


@pytest.mark.parametrize("part", PARTS)
def test_a_defect_stays_inside(part: str) -> None:
    """Whatever fails, the call goes on with what it had, and the defect is told."""
    told: list[BaseException] = []
    assert use(Several([Broken(part), UNWATCHED], told.append)) == {"a": 1}  # type: ignore[list-item]
    assert {str(error) for error in told} == {part}


@pytest.mark.parametrize("part", PARTS)
def test_without_it_the_call_would_fail(part: str) -> None:
    """Control: the broken one alone breaks the call."""
    with pytest.raises(RuntimeError, match=part):
        use(Broken(part))  # type: ignore[arg-type]


def test_an_error_of_the_call_passes_on() -> None:
    """Who looks on swallows nothing."""
    with pytest.raises(KeyError), Several([UNWATCHED], print).waiting(None):  # type: ignore[arg-type]
        raise KeyError
