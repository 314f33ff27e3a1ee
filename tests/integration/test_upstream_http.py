"""HTTP connections against the SDK's server in both eras and against one that lies: the right reason, no hang, no second send."""

import asyncio
import socket
import ssl
import time
from contextlib import asynccontextmanager

import msgspec
import pytest
import uvicorn
from mcp import types
from mcp.server.lowlevel import Server

from lictor.model.errors import OperatorError, UpstreamError
from lictor.model.limits import Limits
from lictor.model.reasons import Reason
from lictor.pep.mcp.seam import Era, Reply
from lictor.pep.mcp.upstream import HttpUpstream, open_session
from servers.rogue_http import rogue_http

LIMITS = Limits(upstream_message_bytes=2**20, upstream_connect_timeout_s=5.0)


class Client:
    """The gateway's side of the seam: remembers what it was told, answers with `reply`."""

    def __init__(self) -> None:
        self.notified: list[tuple[str, dict]] = []
        self.asked: list[tuple[str, dict]] = []
        self.reply = Reply(result=b'{"action": "accept"}')

    async def ask(self, method: str, params: dict) -> Reply:
        self.asked.append((method, params))
        return self.reply

    async def notify(self, method: str, params: dict) -> None:
        self.notified.append((method, params))


@asynccontextmanager
async def connected(mode: str, era: str = "modern", client: Client | None = None, **more):
    """A rogue server and a connection to it."""
    client = client or Client()
    async with rogue_http() as rogue, open_session(LIMITS) as session:
        headers = more.pop("headers", {})
        server = await HttpUpstream.start(
            "rogue", rogue.url(era, mode), headers, LIMITS, client.ask, client.notify, session, **more
        )
        try:
            yield rogue, server
        finally:
            async with asyncio.timeout(5):
                await server.close()


async def call(server: HttpUpstream, arguments: bytes = b"{}", timeout_s: float = 10, **more) -> Reply:
    return await server.request("tools/call", {"name": "t"}, sealed_arguments=arguments, timeout_s=timeout_s, **more)


async def refused(server: HttpUpstream, timeout_s: float = 10, **more) -> UpstreamError:
    """Call and expect an error within the deadline."""
    started = time.monotonic()
    with pytest.raises(UpstreamError) as caught:
        await call(server, timeout_s=timeout_s, **more)
    assert time.monotonic() - started < timeout_s + 4
    return caught.value


# -- agreement -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("era", "version"), [("modern", "2026-07-28"), ("legacy", "2025-11-25")])
async def test_versions_are_agreed(era, version):
    """A modern server is recognised by the probe, anything else is initialised."""
    async with connected("echo", era) as (rogue, server):
        assert (server.offer.era, server.offer.version) == (Era(era), version)
        assert rogue.methods()[0] == "server/discover"
        assert server.alive
    assert not server.alive


@pytest.mark.parametrize(
    ("mode", "reason"), [("future", Reason.UPSTREAM_INVALID), ("plain-400", Reason.UPSTREAM_INVALID)]
)
async def test_no_agreement(mode, reason):
    """No version in common, or no MCP at all: refused, nothing of a caller sent."""
    with pytest.raises(UpstreamError) as caught:
        async with connected(mode):
            pass
    assert (caught.value.reason, caught.value.effect_possible) == (reason, False)


async def test_nobody_listens():
    """A refused connection is down, and provably without effect."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    client = Client()
    async with open_session(LIMITS) as session:
        with pytest.raises(UpstreamError) as caught:
            await HttpUpstream.start("x", f"http://127.0.0.1:{port}/", {}, LIMITS, client.ask, client.notify, session)
    assert (caught.value.reason, caught.value.effect_possible) == (Reason.UPSTREAM_DOWN, False)


async def test_a_server_that_went_away_between_calls():
    """Down, and since no connection was made, without effect."""
    client = Client()
    async with open_session(LIMITS) as session:
        async with rogue_http() as rogue:
            url = rogue.url("modern", "echo")
            server = await HttpUpstream.start("x", url, {}, LIMITS, client.ask, client.notify, session)
        await asyncio.sleep(0.1)
        error = await refused(server)
        assert (error.reason, error.effect_possible) == (Reason.UPSTREAM_DOWN, False)


@pytest.mark.parametrize("url", ["ftp://x/", "/mcp", "", "http://", "http://h/#f", "http://[::1", "file:///etc/passwd"])
async def test_addresses_from_configuration_are_checked(url):
    """Only absolute http(s) addresses."""
    client = Client()
    async with open_session(LIMITS) as session:
        with pytest.raises(OperatorError):
            await HttpUpstream.start("x", url, {}, LIMITS, client.ask, client.notify, session)


def test_a_session_that_would_talk_to_anybody_is_refused():
    """A context that verifies nothing protects nothing."""
    careless = ssl.create_default_context()
    careless.check_hostname = False
    nameless = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    nameless.check_hostname = False
    for context in (careless, nameless, ssl._create_unverified_context()):
        with pytest.raises(OperatorError):
            open_session(LIMITS, context)


# -- honest calls ----------------------------------------------------------------------------------------------------------


async def test_what_a_modern_server_receives():
    """Body metadata and its mirror in the header agree; configured fields are sent; nothing is compressed."""
    async with connected("echo", headers={"Authorization": "Bearer k"}) as (_, server):
        reply = await server.request(
            "tools/call",
            {"name": "tööl"},
            sealed_arguments=b'{"region":"us","deep":{"n":7},"none":null,"ok":true}',
            timeout_s=5,
            header_params={
                "Region": ("region",),
                "N": ("deep", "n"),
                "None": ("none",),
                "Gone": ("x", "y"),
                "Ok": ("ok",),
            },
        )
        result = msgspec.json.decode(reply.result)
    headers, meta = result["headers"], result["echo"]["_meta"]
    assert headers["authorization"] == "Bearer k"
    assert headers["mcp-protocol-version"] == meta["io.modelcontextprotocol/protocolVersion"] == "2026-07-28"
    assert headers["mcp-method"] == "tools/call"
    assert headers["mcp-name"] == "=?base64?dMO2w7Zs?="
    assert (headers["mcp-param-region"], headers["mcp-param-n"], headers["mcp-param-ok"]) == ("us", "7", "true")
    assert not {"mcp-param-none", "mcp-param-gone", "cookie", "mcp-session-id"} & headers.keys()
    assert headers["accept"] == "application/json, text/event-stream"
    assert headers["accept-encoding"] == "identity"


async def test_an_argument_that_cannot_be_mirrored_stops_the_call_unsent():
    """A list in a header has no form; nothing is sent."""
    async with connected("echo") as (rogue, server):
        error = await refused(server, arguments=b'{"a":[1]}', header_params={"A": ("a",)})
        assert (error.reason, error.effect_possible) == (Reason.INVALID_ARGUMENTS, False)
        assert rogue.methods() == ["server/discover"]


async def test_what_a_legacy_server_receives():
    """Session and version on every request after the handshake, no metadata of ours; DELETE at the end."""
    async with connected("echo", "legacy", capabilities={"roots": {}}) as (rogue, server):
        result = msgspec.json.decode((await call(server)).result)
        assert result["headers"]["mcp-session-id"] == "s-1"
        assert result["headers"]["mcp-protocol-version"] == "2025-11-25"
        assert "mcp-method" not in result["headers"]
        assert "_meta" not in result["echo"]
        await server.notify("notifications/roots/list_changed", {})
        posts = rogue.methods()
        assert posts == [
            "server/discover",
            "initialize",
            "notifications/initialized",
            "tools/call",
            "notifications/roots/list_changed",
        ]
        init = next(m for v, _, m in rogue.seen if m.get("method") == "initialize")
        assert init["params"]["capabilities"] == {"roots": {}}
    assert rogue.seen[-1][0] == "DELETE"


async def test_the_result_is_the_very_text_received():
    """Spaces, trailing zeros and big integers survive."""
    async with connected("raw") as (_, server):
        assert (await call(server)).result == b'{ "b":1.50, "a" : 12345678901234567890}'


async def test_an_error_of_the_protocol_is_a_reply():
    """Whatever status carries it."""
    async with connected("error-400") as (_, server):
        assert (await call(server)).error == {"code": -32602, "message": "bad", "data": {"x": 1}}


@pytest.mark.parametrize("mode", ["sse", "sse-dribble", "sse-duplicate", "sse-stays-open"])
async def test_streamed_answers(mode):
    """However they are cut; the first answer counts; a stream that stays open delays nothing."""
    async with connected(mode) as (_, server):
        async with asyncio.timeout(2):
            assert (await call(server)).result in {b'{"ok": true}', b'{"n": 1}'}
            assert (await call(server)).result in {b'{"ok": true}', b'{"n": 1}'}


@pytest.mark.parametrize("mode", ["echo", "sse"])
async def test_connections_are_reused(mode):
    """One connection serves calls in a row, streamed or not."""
    async with connected(mode) as (rogue, server):
        for _ in range(5):
            await call(server)
            await asyncio.sleep(0.01)
        assert rogue.connections <= 2


async def test_progress_reaches_only_its_request():
    """Foreign tokens are dropped, ours is taken off; what is about the server goes to the connection."""
    client, heard = Client(), []

    async def notify(method, params):
        heard.append((method, params))

    async with connected("progress", client=client) as (_, server):
        await call(server, notify=notify, progress=True)
        await asyncio.sleep(0.05)
        assert heard == [("notifications/progress", {"progress": n}) for n in (1, 2)]
        assert client.notified == [("notifications/tools/list_changed", {})]
        assert server.counters.dropped_notifications == 1


async def test_a_legacy_server_asks_within_a_call():
    """Ping is answered here, elicitation by the client; both answers are POSTed with the session."""
    client = Client()
    async with connected("ask", "legacy", client) as (rogue, server):
        assert (await call(server)).result == b'{"ok": true}'
        assert client.asked == [("elicitation/create", {"message": "?"})]
        replies = {m["id"]: (m["result"], h["mcp-session-id"]) for _, h, m in rogue.seen if "result" in m}
        assert replies == {"p": ({}, "s-1"), 5: ({"action": "accept"}, "s-1")}


async def test_a_modern_server_may_not_ask():
    """Its requests are ignored and counted."""
    client = Client()
    async with connected("ask", "modern", client) as (_, server):
        error = await refused(server, timeout_s=0.4)
        assert (error.reason, client.asked) == (Reason.UPSTREAM_TIMEOUT, [])
        assert server.counters.refused_requests == 2


async def test_the_get_stream_of_a_legacy_server():
    """What it says of its own accord arrives; a request there is asked too."""
    client = Client()
    async with connected("talks", "legacy", client):
        await asyncio.sleep(0.3)
        assert client.notified == [("notifications/tools/list_changed", {})]
        assert client.asked == [("roots/list", {})]


async def test_a_stream_is_resumed_without_sending_again():
    """The request is POSTed once; the answer is fetched by GET."""
    async with connected("resumable", "legacy", server_stream=False) as (rogue, server):
        assert (await call(server)).result == b'{"resumed": "e-1"}'
        assert rogue.methods().count("tools/call") == 1


@pytest.mark.parametrize("mode", ["resume-404", "resume-503", "resume-garbage"])
async def test_a_stream_that_cannot_be_resumed(mode):
    """However the reconnection fails, the request itself was written: its effect is possible."""
    async with connected(mode, "legacy", server_stream=False) as (rogue, server):
        error = await refused(server)
        assert error.effect_possible
        assert rogue.methods().count("tools/call") == 1


async def test_a_subscription():
    """Notifications arrive without our id; unmarked ones do not; the end is the server's."""
    heard = []

    async def notify(method, params):
        heard.append((method, params))

    async with connected("listen") as (_, server):
        async with asyncio.timeout(5):
            await server.listen({"notifications": {"toolsListChanged": True}}, notify)
        assert heard == [
            ("notifications/subscriptions/acknowledged", {}),
            ("notifications/tools/list_changed", {"_meta": {"v": 1}}),
        ]


# -- rogues ----------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("mode", "reason"),
    [
        ("hang-up", Reason.UPSTREAM_DOWN),
        ("huge", Reason.UPSTREAM_TOO_LARGE),
        ("huge-chunked", Reason.UPSTREAM_TOO_LARGE),
        ("huge-event", Reason.UPSTREAM_TOO_LARGE),
        ("length-too-long", Reason.UPSTREAM_DOWN),
        ("length-too-short", Reason.UPSTREAM_INVALID),
        ("two-lengths", Reason.UPSTREAM_INVALID),
        ("not-http", Reason.UPSTREAM_INVALID),
        ("wrong-id", Reason.UPSTREAM_INVALID),
        ("string-id", Reason.UPSTREAM_INVALID),
        ("both", Reason.UPSTREAM_INVALID),
        ("array-result", Reason.UPSTREAM_INVALID),
        ("bad-json", Reason.UPSTREAM_INVALID),
        ("duplicate-key", Reason.UPSTREAM_INVALID),
        ("not-utf8", Reason.UPSTREAM_INVALID),
        ("html", Reason.UPSTREAM_INVALID),
        ("accepted", Reason.UPSTREAM_INVALID),
        ("redirect", Reason.UPSTREAM_INVALID),
        ("gzip", Reason.UPSTREAM_INVALID),
        ("500", Reason.UPSTREAM_INVALID),
        ("503", Reason.UPSTREAM_DOWN),
        ("401", Reason.UPSTREAM_INVALID),
        ("404", Reason.UPSTREAM_INVALID),
        ("sse-closes", Reason.UPSTREAM_DOWN),
        ("sse-breaks", Reason.UPSTREAM_DOWN),
        ("sse-wrong-id", Reason.UPSTREAM_INVALID),
        ("sse-bad-json", Reason.UPSTREAM_INVALID),
    ],
)
async def test_a_lying_or_dying_server(mode, reason):
    """Each lie has its reason; the request had been written, so its effect is possible; it is never sent twice."""
    async with connected(mode) as (rogue, server):
        error = await refused(server)
        assert (error.reason, error.effect_possible) == (reason, True), error
        assert rogue.methods().count("tools/call") == 1


@pytest.mark.parametrize("mode", ["silent", "slowloris", "slow-head", "sse-silent", "endless-flood"])
async def test_no_answer(mode):
    """The deadline is for the whole exchange, however busy the server keeps us."""
    async with connected(mode) as (rogue, server):
        error = await refused(server, timeout_s=0.5)
        assert (error.reason, error.effect_possible) == (Reason.UPSTREAM_TIMEOUT, True)
        assert rogue.methods().count("tools/call") == 1


@pytest.mark.parametrize("mode", ["silent", "sse-silent"])
async def test_giving_up_closes_a_modern_stream(mode):
    """For a modern server that is the cancellation (spec 2026-07-28, streamable HTTP, "Cancellation")."""
    async with connected(mode) as (rogue, server):
        task = asyncio.create_task(call(server))
        await asyncio.sleep(0.2)
        task.cancel()
        await asyncio.wait([task])
        assert task.cancelled()
        async with asyncio.timeout(5):
            await rogue.hung_up.wait()
        assert "notifications/cancelled" not in rogue.methods()


async def test_giving_up_is_said_to_a_legacy_server():
    """On timeout and on cancellation, with our id."""
    async with connected("sse-silent", "legacy", server_stream=False) as (rogue, server):
        await refused(server, timeout_s=0.3)
        await asyncio.sleep(0.2)
        calls = [m["id"] for _, _, m in rogue.seen if m.get("method") == "tools/call"]
        said = [m["params"]["requestId"] for _, _, m in rogue.seen if m.get("method") == "notifications/cancelled"]
        assert said == calls


async def test_a_lost_session_ends_the_connection():
    """404 on a session: down, not alive; the owner reconnects."""
    async with connected("404", "legacy") as (_, server):
        error = await refused(server)
        assert (error.reason, error.effect_possible) == (Reason.UPSTREAM_DOWN, True)
        assert not server.alive
        error = await refused(server)
        assert (error.reason, error.effect_possible) == (Reason.UPSTREAM_DOWN, False)


async def test_a_cookie_is_not_kept():
    """State of one task never reaches another by a cookie."""
    async with connected("cookie") as (rogue, server):
        await call(server)
        await call(server)
        assert not any("cookie" in headers for _, headers, _ in rogue.seen)


async def test_a_proxy_of_the_environment_is_not_used(monkeypatch):
    """The address in the configuration is the one that is reached."""
    monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:9")
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:9")
    async with connected("echo") as (_, server):
        assert (await call(server)).result


async def test_a_flood_of_progress():
    """Backpressure instead of a queue; the answer arrives."""
    heard = 0

    async def notify(method, params):
        nonlocal heard
        heard += 1

    async with connected("flood") as (_, server):
        assert (await call(server, notify=notify, progress=True, timeout_s=20)).result == b'{"ok": true}'
        assert heard == 5000


@pytest.mark.parametrize("mode", ["silent", "sse-silent"])
async def test_close_ends_what_is_under_way(mode):
    """Nothing hangs on a closed connection."""
    async with connected(mode) as (_, server):
        task = asyncio.create_task(call(server))
        await asyncio.sleep(0.2)
        await server.close()
        async with asyncio.timeout(2):
            with pytest.raises(UpstreamError) as caught:
                await task
        assert (caught.value.reason, caught.value.effect_possible) == (Reason.UPSTREAM_DOWN, True)


# -- the official SDK ------------------------------------------------------------------------------------------------------


@asynccontextmanager
async def sdk_server(**options):
    """The official SDK's lowlevel server under uvicorn; yields its address."""

    async def list_tools(ctx, params):
        return types.ListToolsResult(tools=[types.Tool(name="add", input_schema={"type": "object"})])

    async def call_tool(ctx, params):
        total = sum((params.arguments or {}).values())
        return types.CallToolResult(content=[types.TextContent(type="text", text=str(total))])

    app = Server("sdk", version="1", on_list_tools=list_tools, on_call_tool=call_tool).streamable_http_app(**options)
    config = uvicorn.Config(app, host="127.0.0.1", port=0, log_level="critical")
    server = uvicorn.Server(config)
    task = asyncio.create_task(server.serve())
    while not server.started:
        await asyncio.sleep(0.01)
    try:
        yield f"http://127.0.0.1:{server.servers[0].sockets[0].getsockname()[1]}/mcp"
    finally:
        server.should_exit = True
        await task


@pytest.mark.parametrize("json_response", [True, False])
@pytest.mark.parametrize("era", [Era.MODERN, Era.LEGACY])
async def test_the_official_server(era, json_response, monkeypatch):
    """Both eras, JSON and event streams."""
    if era is Era.LEGACY:
        # The official server speaks both eras: skip the probe, as for a server known to be a legacy one.
        async def no_discovery(line, limits):
            return None

        monkeypatch.setattr("lictor.pep.mcp.upstream.negotiate._discover", no_discovery)
    client = Client()
    async with sdk_server(json_response=json_response) as url, open_session(LIMITS) as session:
        server = await HttpUpstream.start("sdk", url, {}, LIMITS, client.ask, client.notify, session)
        assert server.offer.era is era
        assert server.offer.server_info["name"] == "sdk"
        tools = msgspec.json.decode((await server.request("tools/list", {}, timeout_s=5)).result)["tools"]
        assert [tool["name"] for tool in tools] == ["add"]
        for n in range(3):
            reply = await server.request(
                "tools/call", {"name": "add"}, sealed_arguments=b'{"a":2,"b":%d}' % n, timeout_s=5
            )
            assert msgspec.json.decode(reply.result)["content"][0]["text"] == str(2 + n)
        reply = await server.request("no/such", {}, timeout_s=5)
        assert reply.error["code"] == -32601
        await server.close()
