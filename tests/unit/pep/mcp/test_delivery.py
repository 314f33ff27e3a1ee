"""What travels to a server for a granted call: the sealed bytes, what we sealed for it, and nothing else of the client's."""

from types import SimpleNamespace
from typing import Any

import pytest

from lictor.model.action import ActionKind, SealedArguments
from lictor.pep.mcp.delivery import Delivery

SEALED = SealedArguments.seal({"uri": "file:///a"})


def delivery(kind: ActionKind, params: dict[str, Any], *, state: str | None = None, asked: tuple[str, ...] = ()) -> Any:
    """A delivery of a call with these parameters of the client's."""
    request = SimpleNamespace(kind=kind, name="thing")
    call: Any = SimpleNamespace(request=request, params=params, upstream_state=state, asked=asked)
    nobody: Any = None
    return Delivery(call, nobody, nobody, nobody)


@pytest.mark.parametrize("kind", [ActionKind.TOOL, ActionKind.PROMPT])
def test_what_goes_by_a_name_carries_its_arguments_beside_it(kind: ActionKind) -> None:
    """The name is the decided one, the arguments are the sealed bytes themselves."""
    params, arguments = delivery(kind, {"name": "files__other", "arguments": {"uri": "file:///b"}}).message(SEALED, {})
    assert (params, arguments) == ({"name": "thing"}, SEALED.data)


@pytest.mark.parametrize("kind", [ActionKind.RESOURCE, ActionKind.FEATURE])
def test_everything_else_is_its_sealed_object(kind: ActionKind) -> None:
    """What the client sent is not looked at again."""
    params, arguments = delivery(kind, {"uri": "file:///b", "more": 1}).message(SEALED, {})
    assert (params, arguments) == ({"uri": "file:///a"}, None)


def test_only_answers_that_were_asked_for_and_the_servers_own_state_are_added() -> None:
    """Of `_meta` what was judged, of the answers those our sealed state names, of the state the server's."""
    client = {"_meta": {"baggage": "x"}, "requestState": "sealed", "inputResponses": {"a": 1, "b": 2}}
    meta = {"_meta": {"traceparent": "00"}}
    params, _ = delivery(ActionKind.TOOL, client, state="theirs", asked=("a",)).message(SEALED, meta)
    assert params == {
        "name": "thing",
        "_meta": {"traceparent": "00"},
        "requestState": "theirs",
        "inputResponses": {"a": 1},
    }
    assert meta == {"_meta": {"traceparent": "00"}}
