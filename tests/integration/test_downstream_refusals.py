"""Every refusal of the HTTP endpoint, byte by byte on a real socket, and the proof that each check is what refuses."""

import json
from typing import Any

import pytest

from integration.downstream_door import META, MODERN, ORIGIN, reason, serving
from lictor.model.errors import StoreError
from lictor.model.limits import Limits
from lictor.model.reasons import Reason
from lictor.pep.mcp.downstream import http
from lictor.stores.memory import MemoryStore

# -- who is let in ---------------------------------------------------------------------------------------------------------

LIST = {"jsonrpc": "2.0", "id": 7, "method": "tools/list", "params": {"_meta": META}}
MODERN_FIELDS = {"MCP-Protocol-Version": MODERN, "Mcp-Method": "tools/list"}


@pytest.mark.parametrize(
    ("replace", "extra", "status", "expected"),
    [
        ({"Host": "evil.test:8700"}, "", 421, "bad_host"),
        ({"Host": "gateway.test"}, "", 421, "bad_host"),
        ({"Host": "gateway.test:8701"}, "", 421, "bad_host"),
        ({"Origin": "https://evil.test"}, "", 403, "bad_origin"),
        ({"Origin": "null"}, "", 403, "bad_origin"),
        ({}, f"Origin: {ORIGIN}\r\nOrigin: https://evil.test\r\n", 400, "duplicate_header"),
        ({"Authorization": None}, "", 401, "unauthenticated"),
        ({"Authorization": "Bearer wrong"}, "", 401, "unauthenticated"),
        ({"Authorization": "Basic abc"}, "", 401, "unauthenticated"),
        ({}, "Authorization: Bearer other\r\n", 400, "duplicate_header"),
    ],
)
async def test_strangers_are_turned_away_unrecorded(
    replace: dict[str, str | None], extra: str, status: int, expected: str
) -> None:
    """Host, origin and token are judged before anything else; nothing is recorded for nobody."""
    async with serving() as door:
        got, headers, body = await door.post(LIST, replace={**MODERN_FIELDS, **replace}, extra=extra)
        assert (got, reason(body)) == (status, expected)
        assert door.house.refusals() == []
        if status == 401:
            assert headers["www-authenticate"].startswith("Bearer")
        # Control: the same request as it should be is served.
        assert (await door.post(LIST, replace=MODERN_FIELDS))[0] == 200


async def test_an_allowed_origin_is_let_in() -> None:
    """A browser application the operator named."""
    async with serving() as door:
        assert (await door.post(LIST, replace={**MODERN_FIELDS, "Origin": ORIGIN}))[0] == 200


async def test_a_token_in_the_query_is_no_token() -> None:
    """Queries end up in logs: a token is read from its header only."""
    async with serving() as door:
        target = f"/mcp?access_token={door.token}&token={door.token}"
        status, _, body = await door.post(LIST, replace={**MODERN_FIELDS, "Authorization": None}, target=target)
        assert (status, reason(body)) == (401, "unauthenticated")


async def test_a_closed_task_is_turned_away() -> None:
    """Authority dies with the task."""
    async with serving() as door:
        await door.house.tasks.close(door.task, by="os:me")
        status, _, body = await door.post(LIST, replace=MODERN_FIELDS)
        assert (status, reason(body)) == (401, "task_closed")


@pytest.mark.parametrize("method", ["PUT", "OPTIONS", "PATCH"])
async def test_other_methods_are_not_served(method: str) -> None:
    """405 with what is served."""
    async with serving() as door:
        status, headers, _ = await door.exchange(door.head(method=method).encode() + b"Content-Length: 0\r\n\r\n")
        assert status == 405
        assert headers["allow"] == "POST, GET, DELETE"


# -- what is let in --------------------------------------------------------------------------------------------------------


def message(**changes: Any) -> bytes:
    return json.dumps({**LIST, **changes}).encode()


@pytest.mark.parametrize(
    ("body", "replace", "status", "expected"),
    [
        (message(), {"Content-Type": "text/plain"}, 415, "invalid_message"),
        (message(), {"Content-Type": None}, 415, "invalid_message"),
        (message(), {"Content-Type": "application/json; charset=utf-16"}, 415, "invalid_message"),
        (message(), {"Content-Encoding": "gzip"}, 415, "invalid_message"),
        (message(), {"Accept": "application/json"}, 406, "invalid_message"),
        (message(), {"Accept": "*/*"}, 406, "invalid_message"),
        (message(), {"Accept": "application/json, text/event-stream;q=0"}, 406, "invalid_message"),
        (b"[" + message() + b"]", {}, 400, "batch_not_supported"),
        (b"{", {}, 400, "invalid_json"),
        (message()[:-1] + b', "id": 8}', {}, 400, "duplicate_key"),
        (message(Method="x"), {}, 400, "unknown_member"),
        (message(params={"_meta": {**META, "io.modelcontextprotocol/ProtocolVersion": "x"}}), {}, 400, "unknown_member"),
        (message(), {"Mcp-Method": "tools/call"}, 400, "header_mismatch"),
        (message(), {"Mcp-Method": None}, 400, "header_mismatch"),
        (message(), {"MCP-Protocol-Version": None}, 400, "header_mismatch"),
        (message(), {"MCP-Protocol-Version": "2025-11-25"}, 400, "header_mismatch"),
        (message(params={}), {}, 400, "header_mismatch"),
        (message(id=[1]), {}, 400, "invalid_message"),
        (b'{"jsonrpc":"2.0","id":1,"result":{}}', {}, 400, "invalid_message"),
    ],
)  # fmt: skip
async def test_malformed_messages_are_refused_on_the_record(
    body: bytes, replace: dict[str, str | None], status: int, expected: str
) -> None:
    """Each has its reason and status, and one record that names the task."""
    async with serving() as door:
        got, _, answer = await door.post(body, replace={**MODERN_FIELDS, **replace})
        assert (got, reason(answer)) == (status, expected)
        assert [(record.task, record.reason) for record in door.house.refusals()] == [(door.task, expected)]
        assert door.house.servers == []


@pytest.mark.parametrize(
    "name", ["Mcp-Method: tools/list", "MCP-Protocol-Version: 2026-07-28", "Content-Type: application/json"]
)
async def test_repeated_fields_are_refused(name: str) -> None:
    """Two readers could take either."""
    async with serving() as door:
        status, _, body = await door.post(LIST, replace=MODERN_FIELDS, extra=f"{name}\r\n")
        assert (status, reason(body)) == (400, "duplicate_header")


async def test_header_mismatch_has_the_protocols_code() -> None:
    """-32020, with the request's id."""
    async with serving() as door:
        status, _, body = await door.modern(
            "tools/call", {"name": "echo", "arguments": {}}, replace={"Mcp-Name": "denied"}
        )
        answer = json.loads(body)
        assert (status, answer["error"]["code"], answer["id"]) == (400, -32020, 7)


async def test_mirrored_arguments_must_agree() -> None:
    """`Mcp-Param-*` of a known tool is required and compared."""
    async with serving() as door:
        await door.modern("tools/list")
        call = {"name": "routed", "arguments": {"region": "eu-1"}}
        assert (await door.modern("tools/call", call, extra="Mcp-Param-Region: eu-1\r\n"))[0] == 200
        status, _, body = await door.modern("tools/call", call, extra="Mcp-Param-Region: us-1\r\n")
        assert (status, reason(body)) == (400, "header_mismatch")
        status, _, body = await door.modern("tools/call", call)
        assert (status, reason(body)) == (400, "header_mismatch")


@pytest.mark.parametrize(
    "meta",
    [
        {key: value for key, value in META.items() if not key.endswith("clientCapabilities")},
        {**META, "io.modelcontextprotocol/clientCapabilities": []},
        {**META, "io.modelcontextprotocol/clientInfo": "me"},
    ],
)
async def test_incomplete_metadata_is_invalid_params(meta: dict[str, Any]) -> None:
    """-32602 and 400."""
    async with serving() as door:
        status, _, body = await door.modern("tools/list", meta=meta)
        assert (status, json.loads(body)["error"]["code"]) == (400, -32602)


@pytest.mark.parametrize("version", ["1900-01-01", "2025-11-25"])
async def test_an_unsupported_version_names_the_supported_ones(version: str) -> None:
    """-32022; a legacy version in modern metadata is told of modern ones only."""
    async with serving() as door:
        meta = {**META, "io.modelcontextprotocol/protocolVersion": version}
        status, _, body = await door.modern("tools/list", meta=meta, replace={"MCP-Protocol-Version": version})
        error = json.loads(body)["error"]
        assert (status, error["code"], error["data"]["requested"]) == (400, -32022, version)
        assert MODERN in error["data"]["supported"]
        assert version not in error["data"]["supported"]


async def test_a_refused_number_is_answered_to_its_request() -> None:
    """A client that sends an unsafe integer must not wait for ever."""
    async with serving() as door:
        body = message(params={"_meta": META, "x": 2**60})
        _, _, answer = await door.post(body, replace=MODERN_FIELDS)
        assert (reason(answer), json.loads(answer)["id"]) == ("unsafe_integer", 7)


async def test_an_unknown_method_is_not_found() -> None:
    """404 with a JSON-RPC error, so that it is not taken for a missing endpoint."""
    async with serving() as door:
        status, _, body = await door.modern("tools/destroy")
        assert (status, json.loads(body)["error"]["code"]) == (404, -32601)


async def test_a_modern_notification_is_accepted() -> None:
    """202 and nothing else."""
    async with serving() as door:
        body = {"jsonrpc": "2.0", "method": "notifications/whatever"}
        assert (await door.post(body, replace={"MCP-Protocol-Version": MODERN}))[::2] == (202, b"")


async def test_discover_names_versions_and_is_private() -> None:
    """What a client may cache is its own."""
    async with serving() as door:
        result = json.loads((await door.modern("server/discover"))[2])["result"]
        assert result["supportedVersions"] == [MODERN, "2025-11-25", "2025-06-18", "2025-03-26"]
        assert result["cacheScope"] == "private"
        assert result["capabilities"]["tools"] == {"listChanged": True}


# -- size and time ---------------------------------------------------------------------------------------------------------


async def test_an_announced_large_body_is_refused_unread() -> None:
    """413 on the length alone: not a byte of the body is sent."""
    async with serving() as door:
        head = door.head(replace=MODERN_FIELDS) + "Content-Length: 99999999999\r\n\r\n"
        status, headers, body = await door.exchange(head.encode())
        assert (status, reason(body), headers["connection"]) == (413, "too_large", "close")
        assert [record.reason for record in door.house.refusals()] == ["too_large"]


async def test_a_streamed_large_body_is_cut_off() -> None:
    """413 as soon as the bound is passed."""
    limits = Limits(message_bytes=4096, arguments_bytes=1024)
    async with serving(limits=limits) as door:
        head = door.head(replace=MODERN_FIELDS) + "Transfer-Encoding: chunked\r\n\r\n"
        status, _, body = await door.exchange(head.encode() + b"1400\r\n" + b"x" * 0x1400 + b"\r\n")
        assert (status, reason(body)) == (413, "too_large")


async def test_a_slow_body_is_given_up() -> None:
    """408 within the bound."""
    async with serving(body_timeout_s=0.2) as door:
        head = door.head(replace=MODERN_FIELDS) + "Content-Length: 100\r\n\r\n{"
        status, _, body = await door.exchange(head.encode())
        assert (status, reason(body)) == (408, "invalid_message")
        assert [record.size for record in door.house.refusals()] == [1]


async def test_large_heads_are_refused() -> None:
    """431."""
    async with serving() as door:
        status, _, body = await door.post(LIST, replace=MODERN_FIELDS, extra=f"X-Big: {'x' * 9000}\r\n")
        assert (status, reason(body)) == (431, "too_large")


class FullStore(MemoryStore):
    """A store that can be read, and written until it is full."""

    full = False

    async def commit(self, batch: Any) -> Any:
        if self.full:
            raise StoreError(Reason.CANNOT_RECORD, "full")
        return await super().commit(batch)


async def test_a_full_log_turns_refusals_into_503() -> None:
    """The caller is told so instead of the refusal."""
    store = FullStore()
    async with serving(store=store) as door:
        store.full = True
        status, _, body = await door.post(b"{", replace=MODERN_FIELDS)
        assert (status, reason(body)) == (503, "cannot_record")


# -- controls --------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("check", "attack"),
    [
        ("check_host", {"Host": "evil.test:8700"}),
        ("check_origin", {"Origin": "https://evil.test"}),
        ("check_post", {"Accept": "*/*"}),
        ("check_agreement", {"Mcp-Method": "tools/call"}),
    ],
)
async def test_without_its_check_each_attack_would_be_served(
    check: str, attack: dict[str, str | None], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Control: with one check taken out, exactly its attack gets an answer, so the tests above see that check."""
    monkeypatch.setattr(http, check, lambda *_, **__: None)
    async with serving() as door:
        assert (await door.post(LIST, replace={**MODERN_FIELDS, **attack}))[0] == 200
