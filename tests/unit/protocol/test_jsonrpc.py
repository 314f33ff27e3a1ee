"""The JSON-RPC envelope, in and out."""

import json
from typing import Any

import msgspec
import pytest

from lictor.model.canonical import canonical
from lictor.model.errors import CallerError, UpstreamError
from lictor.model.limits import Limits
from lictor.model.reasons import Reason
from lictor.protocol.json import Parsed, read, read_upstream
from lictor.protocol.jsonrpc import (
    Message,
    Notification,
    Request,
    Response,
    check_params,
    encode_error,
    encode_notification,
    encode_request,
    encode_result,
    parse_message,
    parse_upstream,
    raw_member,
)

LIMITS = Limits()
OK = {"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": {"name": "t"}}


def _parse(text: str | bytes) -> Message:
    return parse_message(read(text if isinstance(text, bytes) else text.encode(), LIMITS))


def test_the_three_kinds() -> None:
    """Request, notification and both responses are told apart."""
    assert _parse(json.dumps(OK)) == Request(1, "tools/call", {"name": "t"}, True, True)
    assert _parse('{"jsonrpc":"2.0","id":"a","method":"ping"}') == Request("a", "ping", {}, False, True)
    assert _parse('{"jsonrpc":"2.0","method":"n","params":{}}') == Notification("n", {}, True)
    assert _parse('{"jsonrpc":"2.0","id":0,"result":{}}') == Response(0, result={})
    error = {"code": -1, "message": "m", "data": [1], "extra": 2}
    assert _parse(json.dumps({"jsonrpc": "2.0", "id": None, "error": error})) == Response(None, error=error)
    assert _parse(json.dumps({"jsonrpc": "2.0", "error": error})) == Response(None, error=error)


@pytest.mark.parametrize(
    ("case", "text", "where"),
    [
        ("JSON-03", '{"jsonrpc":"2.0","id":1,"method":"tools/call","Method":"tools/list","params":{}}', "/Method"),
        ("JSON-04", '{"jsonrpc":"2.0","id":1,"method":"tools/call","param\\u017f":{},"params":{}}', "/paramſ"),
        ("kelvin", '{"jsonrpc":"2.0","id":1,"method":"m","\\u212a":1}', "/\u212a"),
        ("extra", '{"jsonrpc":"2.0","id":1,"method":"m","meta":{}}', "/meta"),
        ("in a response", '{"jsonrpc":"2.0","id":1,"result":{},"Result":{}}', "/Result"),
    ],
)
def test_unknown_members_of_the_envelope_are_refused(case: str, text: str, where: str) -> None:
    """Look-alikes and everything else that is not JSON-RPC."""
    with pytest.raises(CallerError) as caught:
        _parse(text)
    assert (caught.value.reason, caught.value.where) == (Reason.UNKNOWN_MEMBER, where)


@pytest.mark.parametrize("text", ["[]", "[1]", '[{"jsonrpc":"2.0","id":1,"method":"tools/list"}]'])
def test_batches_are_refused(text: str) -> None:
    """Case JSON-12: nothing of a batch runs."""
    with pytest.raises(CallerError) as caught:
        _parse(text)
    assert caught.value.reason is Reason.BATCH_NOT_SUPPORTED


BROKEN: list[tuple[dict[str, Any], str]] = [
    ({**OK, "jsonrpc": "1.0"}, "/jsonrpc"),
    ({**OK, "jsonrpc": 2.0}, "/jsonrpc"),
    ({"id": 1, "method": "m"}, "/jsonrpc"),
    *(({**OK, "id": bad}, "/id") for bad in (None, 1.5, 1.0, True, [], {}, "x" * 257)),
    *(({**OK, "method": bad}, "/method") for bad in (None, 1, "", "a b", "tools/call\n", "tools/cаll", "x" * 257, {})),
    *(({**OK, "params": bad}, "/params") for bad in (None, [], "x", 1)),
    ({**OK, "result": {}}, ""),
    ({**OK, "error": {"code": 1, "message": ""}}, ""),
    ({"jsonrpc": "2.0", "id": 1}, ""),
    ({"jsonrpc": "2.0"}, ""),
    ({"jsonrpc": "2.0", "id": 1, "result": {}, "error": {"code": 1, "message": ""}}, ""),
    ({"jsonrpc": "2.0", "id": 1, "result": {}, "params": {}}, "/params"),
    ({"jsonrpc": "2.0", "result": {}}, "/id"),
    ({"jsonrpc": "2.0", "id": None, "result": {}}, "/id"),
    ({"jsonrpc": "2.0", "id": True, "error": {"code": 1, "message": ""}}, "/id"),
    *(({"jsonrpc": "2.0", "id": 1, "result": bad}, "/result") for bad in (None, [], "x")),
    ({"jsonrpc": "2.0", "id": 1, "error": None}, "/error"),
    *(
        ({"jsonrpc": "2.0", "id": 1, "error": {"code": bad, "message": ""}}, "/error/code")
        for bad in (None, "1", 1.0, True)
    ),
    ({"jsonrpc": "2.0", "id": 1, "error": {"code": 1}}, "/error/message"),
]


@pytest.mark.parametrize(("message", "where"), BROKEN)
def test_broken_messages_are_refused(message: dict[str, Any], where: str) -> None:
    """Missing, mistyped and contradictory members, with the place."""
    with pytest.raises(CallerError) as caught:
        _parse(json.dumps(message))
    assert (caught.value.reason, caught.value.where) == (Reason.INVALID_MESSAGE, where)
    with pytest.raises(UpstreamError) as blamed:
        parse_upstream(Parsed(message), effect_possible=True)
    assert blamed.value.reason is Reason.UPSTREAM_INVALID


@pytest.mark.parametrize("value", [None, 1, "x", True])
def test_scalars_are_no_messages(value: Any) -> None:
    """A message is an object."""
    with pytest.raises(CallerError) as caught:
        parse_message(Parsed(value))
    assert caught.value.reason is Reason.INVALID_MESSAGE


def test_a_huge_id_is_refused_even_from_a_lenient_reader() -> None:
    """An id is echoed, so it must survive every reader."""
    with pytest.raises(UpstreamError):
        parse_upstream(
            read_upstream(b'{"jsonrpc":"2.0","id":9007199254740992,"result":{}}', LIMITS, effect_possible=False),
            effect_possible=False,
        )


LOOKALIKES = [
    ("tools/call", {"name": "t", "Name": "u"}),
    ("tools/call", {"name": "t", "NAME": "u"}),
    ("tools/call", {"name": "t", "argument\u017f": {}}),
    ("tools/call", {"name": "t", "Arguments": {}}),
    ("tools/call", {"name": "t", "ｎａｍｅ": "u"}),
    ("tools/call", {"name": "t", "input_responses": {}}),
    ("tools/call", {"name": "t", "REQUESTSTATE": ""}),
    ("tools/call", {"name": "t", "meta": {}}),
    ("tools/call", {"name": "t", "_META": {}}),
    ("tools/call", {"name": "t", "_meta": {"IO.modelcontextprotocol/protocolVersion": "x"}}),
    ("tools/call", {"name": "t", "_meta": {"progresstoken": 1}}),
    ("resources/read", {"uri": "a:b", "URI": "c:d"}),
    ("prompts/get", {"name": "p", "nAme": "q"}),
    ("completion/complete", {"Name": "x"}),
    ("notifications/cancelled", {"_Meta": {}}),
]


@pytest.mark.parametrize(("method", "params"), LOOKALIKES)
def test_lookalikes_among_params_are_refused(method: str, params: dict[str, Any]) -> None:
    """What a reader that folds case, width or separators would take for a known member."""
    with pytest.raises(CallerError) as caught:
        check_params(method, params)
    assert caught.value.reason is Reason.UNKNOWN_MEMBER
    assert caught.value.where.startswith("/params/")


@pytest.mark.parametrize(
    ("method", "params"),
    [
        ("tools/call", {"name": "t", "arguments": {"Name": 1, "name": 2}, "_meta": {"traceparent": "x", "a/b": 1}}),
        ("tools/call", {"name": "t", "vendor.example/extra": 1, "names": 2, "task": {"ttl": 1}, "uri": "x"}),
        ("resources/read", {"uri": "a:b", "name": 1}),
        ("tools/list", {"cursor": "x"}),
        ("initialize", {"protocolVersion": "2025-11-25", "capabilities": {}, "clientInfo": {"name": "c"}}),
        ("ping", {}),
    ],
)
def test_other_unknown_params_pass(method: str, params: dict[str, Any]) -> None:
    """Extensions are not broken; arguments are the tool's own business."""
    check_params(method, params)


@pytest.mark.parametrize(
    ("method", "params", "where"),
    [
        ("tools/call", {}, "/params/name"),
        ("tools/call", {"name": 1}, "/params/name"),
        ("prompts/get", {"name": None}, "/params/name"),
        ("resources/read", {"uri": ["a"]}, "/params/uri"),
        ("tools/call", {"name": "t", "arguments": None}, "/params/arguments"),
        ("tools/call", {"name": "t", "arguments": []}, "/params/arguments"),
        ("tools/call", {"name": "t", "_meta": None}, "/params/_meta"),
        ("ping", {"_meta": 1}, "/params/_meta"),
    ],
)
def test_mistyped_params_are_refused(method: str, params: dict[str, Any], where: str) -> None:
    """What decides the action is there and has its type."""
    with pytest.raises(CallerError) as caught:
        check_params(method, params)
    assert (caught.value.reason, caught.value.where) == (Reason.INVALID_MESSAGE, where)


def test_sealed_arguments_are_written_verbatim() -> None:
    """The bytes that were hashed are the bytes that are sent; everything else is kept in its order."""
    sealed = canonical({"b": 1.0, "a": "ü\u2028/"})
    params = {"_meta": {"x": 1}, "name": "t", "arguments": {"b": 1.0}, "more": [1]}
    sent = encode_request(5, "tools/call", {**params, "arguments": msgspec.Raw(sealed)})
    assert b'"arguments":' + sealed + b',"more"' in sent
    assert params["arguments"] == {"b": 1.0}
    assert list(json.loads(sent)["params"]) == ["_meta", "name", "arguments", "more"]


def test_encoders_write_what_the_parser_reads() -> None:
    """Round trip of all four."""
    assert _parse(encode_request("a", "m")) == Request("a", "m", {}, False, True)
    assert _parse(encode_request(1, "m", {"x": 1})) == Request(1, "m", {"x": 1}, True, True)
    assert _parse(encode_notification("m")) == Notification("m", {}, False)
    assert _parse(encode_notification("m", msgspec.Raw(b'{"x":1}'))) == Notification("m", {"x": 1})
    assert _parse(encode_result(1, msgspec.Raw(b"{}"))) == Response(1, result={})
    assert _parse(encode_error(None, -32700, "m")) == Response(None, error={"code": -32700, "message": "m"})
    assert _parse(encode_error(1, 1, "m", {"d": 0})) == Response(1, error={"code": 1, "message": "m", "data": {"d": 0}})


def test_a_raw_reply_cannot_break_a_line_protocol() -> None:
    """Over stdio a line is a message: layout of a raw reply must not become messages of its own."""
    smuggled = b'{"a":[\r\n{"jsonrpc":"2.0","id":9,"result":{}}\r\n,1.10,12345678901234567890],"s":"x\\ny"}'
    sent = encode_result(1, msgspec.Raw(smuggled))
    assert b"\n" not in sent
    assert b"\r" not in sent
    assert b"1.10,12345678901234567890" in sent
    assert json.loads(sent)["result"] == json.loads(smuggled)


def test_raw_members_are_the_received_bytes() -> None:
    """Numbers and escapes of a reply stay as the server wrote them, however it spelled the member's name."""
    data = b'{"jsonrpc":"2.0","id":1,"\\u0072esult": {"n": 1.50, "s": "\\u00e9"}}'
    raw = raw_member(data, "result")
    assert raw is not None
    assert bytes(raw) == b'{"n": 1.50, "s": "\\u00e9"}'
    assert raw_member(data, "error") is None
    assert raw_member(b'{"params":{"a":1}}', "params") == msgspec.Raw(b'{"a":1}')
