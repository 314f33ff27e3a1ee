"""Messages to and from a server: sealed bytes stay as they are, and only what is JSON-RPC is read."""

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lictor.model.canonical import canonical
from lictor.model.errors import UpstreamError
from lictor.model.limits import Limits
from lictor.model.reasons import Reason
from lictor.pep.mcp.seam import Reply
from lictor.pep.mcp.upstream import wire

LIMITS = Limits()
JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**53) + 1, 2**53 - 1) | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=4), inner, max_size=3),
    max_leaves=8,
)


def decode(data: bytes) -> wire.ServerMessage:
    return wire.decode(data, LIMITS, effect_possible=True)


def through_a_model(id_: int, method: str, params: dict, *, sealed_arguments: bytes) -> bytes:
    """A broken control: decodes the sealed bytes and encodes them again."""
    again = msgspec.json.encode(msgspec.json.decode(sealed_arguments, type=dict[str, float | str]))
    return wire.encode_request(id_, method, params, sealed_arguments=again)


def sealed_bytes_survive(encode) -> None:
    @given(st.dictionaries(st.text(max_size=5), JSON, max_size=4))
    def law(arguments):
        sealed = canonical(arguments)
        assert b'"arguments":' + sealed in encode(1, "tools/call", {"name": "t"}, sealed_arguments=sealed)

    law()


def test_sealed_arguments_go_verbatim():
    """Whatever they are."""
    sealed_bytes_survive(wire.encode_request)


def test_control_the_law_catches_a_second_encoding():
    """The broken control fails the same check."""
    with pytest.raises((AssertionError, msgspec.ValidationError)):
        sealed_bytes_survive(through_a_model)


@given(st.dictionaries(st.text(max_size=5), JSON, max_size=4))
def test_a_message_is_one_line(arguments):
    """No line feed ever stands in what goes to stdio."""
    data = wire.encode_request(1, "m\n", {"name": "\n"}, sealed_arguments=canonical(arguments))
    assert b"\n" not in data


def test_an_answer_of_ours_is_one_line():
    """A client may have laid its answer out in lines; over stdio each would be a message."""
    data = wire.encode_reply(1, Reply(result=b'{\n "a":\r\n 1.50}'))
    assert data == b'{"jsonrpc":"2.0","id":1,"result":{"a":1.50}}'


def test_our_metadata_wins():
    """Protocol members and progress tokens of a client are replaced; its params stay untouched."""
    params = {"_meta": {"progressToken": 5, wire.PROTOCOL_VERSION: "x", "k": 1}}
    data = wire.encode_request(9, "m", params, own_meta=wire.modern_meta("2026-07-28", None), progress=True)
    meta = msgspec.json.decode(data)["params"]["_meta"]
    assert meta == {
        "k": 1,
        "progressToken": 9,
        wire.PROTOCOL_VERSION: "2026-07-28",
        wire.CLIENT_CAPABILITIES: {},
        wire.CLIENT_INFO: wire.IDENTITY,
    }
    assert params == {"_meta": {"progressToken": 5, wire.PROTOCOL_VERSION: "x", "k": 1}}


def test_what_a_server_may_say():
    """Replies, requests and notifications."""
    assert decode(b'{"jsonrpc":"2.0","id":1,"result":{ "a":1.0 }}') == wire.Response(1, Reply(result=b'{ "a":1.0 }'))
    error = {"code": -1, "message": "m", "data": [1]}
    assert decode(wire.encode_reply("a", Reply(error=error))) == wire.Response("a", Reply(error=error))
    assert decode(b'{"jsonrpc":"2.0","error":{"code":1,"message":""}}').id is None
    assert decode(b'{"jsonrpc":"2.0","id":"x","method":"ping"}') == wire.Request("x", "ping", {})
    said = decode(b'{"jsonrpc":"2.0","method":"n","params":{"a":1}}')
    assert (said.method, said.params) == ("n", {"a": 1})


@pytest.mark.parametrize(
    "text",
    [
        "[]", "1", "null", "{}", '{"jsonrpc":"1.0","id":1,"result":{}}', '{"id":1,"result":{}}',
        '{"jsonrpc":"2.0","id":1}', '{"jsonrpc":"2.0","result":{}}', '{"jsonrpc":"2.0","id":1,"result":[]}',
        '{"jsonrpc":"2.0","id":1,"result":null}', '{"jsonrpc":"2.0","id":1,"result":{},"error":null}',
        '{"jsonrpc":"2.0","id":1,"result":{},"x":1}', '{"jsonrpc":"2.0","id":1,"Result":{}}',
        '{"jsonrpc":"2.0","id":1.0,"result":{}}', '{"jsonrpc":"2.0","id":true,"result":{}}',
        '{"jsonrpc":"2.0","id":[],"result":{}}', '{"jsonrpc":"2.0","id":1,"error":"x"}',
        '{"jsonrpc":"2.0","id":1,"error":{"code":"1","message":"x"}}', '{"jsonrpc":"2.0","id":1,"error":{"code":true,"message":"x"}}',
        '{"jsonrpc":"2.0","id":1,"error":{"code":1}}', '{"jsonrpc":"2.0","method":1}', '{"jsonrpc":"2.0","method":"m","params":[]}',
        '{"jsonrpc":"2.0","method":"m","result":{}}', '{"jsonrpc":"2.0","id":null,"method":"m"}',
        '{"jsonrpc":"2.0","id":1,"result":{"a":1,"a":1}}', '{"jsonrpc":"2.0","id":1,"id":2,"result":{}}',
        '{"jsonrpc":"2.0","id":1,"result":{"a":NaN}}', '{"jsonrpc":"2.0","id":1,"result":{}} {}', "",
    ],
)  # fmt: skip
def test_what_a_server_may_not_say(text):
    """Each is refused as invalid, its effect possible."""
    with pytest.raises(UpstreamError) as caught:
        decode(text.encode())
    assert (caught.value.reason, caught.value.effect_possible) == (Reason.UPSTREAM_INVALID, True)


def test_too_much_is_too_large():
    """Size, depth and members have their own reason."""
    for text in ('{"jsonrpc":"2.0","id":1,"result":' + '{"a":' * 100 + "1" + "}" * 101, '"' + "a" * 2**25 + '"'):
        with pytest.raises(UpstreamError) as caught:
            decode(text.encode())
        assert caught.value.reason is Reason.UPSTREAM_TOO_LARGE
