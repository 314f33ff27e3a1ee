"""Stdio connections against real servers and against one that lies: the right reason, no hang, no zombie."""

import asyncio
import os
import sys
import time
from pathlib import Path

import msgspec
import pytest

from lictor.model.errors import UpstreamError
from lictor.model.limits import Limits
from lictor.model.reasons import Reason
from lictor.pep.mcp.seam import Era, Reply
from lictor.pep.mcp.upstream import StdioUpstream

ROGUE = str(Path(__file__).parents[1] / "servers" / "rogue_stdio.py")
LIMITS = Limits(upstream_message_bytes=2**20, upstream_connect_timeout_s=15.0)
ENV = {"PATH": os.environ["PATH"]}


class Client:
    """The gateway's side of the seam: remembers what it was told, answers with `reply`."""

    def __init__(self) -> None:
        self.notified: list[tuple[str, dict]] = []
        self.asked: list[tuple[str, dict]] = []
        self.reply = Reply(result=b'{"action": "accept"}')
        self.delay = 0.0

    async def ask(self, method: str, params: dict) -> Reply:
        self.asked.append((method, params))
        await asyncio.sleep(self.delay)
        return self.reply

    async def notify(self, method: str, params: dict) -> None:
        self.notified.append((method, params))


@pytest.fixture(autouse=True)
def _impatient(monkeypatch):
    """Tests do not wait two seconds between closing, SIGTERM and SIGKILL."""
    monkeypatch.setattr("lictor.pep.mcp.upstream.process.STOP_S", 0.3)


async def connect(mode: str, era: str = "legacy", client: Client | None = None, **more) -> StdioUpstream:
    client = client or Client()
    limits = more.pop("limits", LIMITS)
    command = [sys.executable, "-S", "-E", ROGUE, era, mode]
    return await StdioUpstream.start("rogue", command, ENV, None, limits, client.ask, client.notify, **more)


async def call(server: StdioUpstream, arguments: bytes = b"{}", timeout_s: float = 10, **more) -> Reply:
    return await server.request("tools/call", {"name": "t"}, sealed_arguments=arguments, timeout_s=timeout_s, **more)


def gone(pid: int) -> bool:
    """Neither running nor a zombie."""
    return not Path(f"/proc/{pid}").exists()


def orphan_gone(pid: int) -> bool:
    """Gone, or a zombie that waits for the init process of this machine."""
    stat = Path(f"/proc/{pid}/stat")
    return gone(pid) or "Z" in stat.read_text().rpartition(")")[2][:3]


def rogue_that_shows_its_environment(folder: Path) -> Path:
    """The rogue server, with the names of its environment as its own name."""
    script = folder / "s.py"
    script.write_text(Path(ROGUE).read_text().replace('"name": "rogue"', '"name": " ".join(sorted(os.environ))'))
    return script


async def refused(server: StdioUpstream, timeout_s: float = 10, **more) -> UpstreamError:
    """Call, expect an error within the deadline, close, and see that nothing is left of the process."""
    pid = server.pid
    started = time.monotonic()
    with pytest.raises(UpstreamError) as caught:
        await call(server, timeout_s=timeout_s, **more)
    assert time.monotonic() - started < timeout_s + 5
    await server.close()
    assert gone(pid)
    return caught.value


# -- agreement -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("era", "mode", "version"),
    [
        ("modern", "echo", "2026-07-28"),
        ("legacy", "echo", "2025-11-25"),
        ("legacy", "older", "2025-06-18"),
        ("legacy", "die-on-probe", "2025-11-25"),
        ("legacy", "names-legacy", "2025-11-25"),
        ("legacy", "banner", "2025-11-25"),
    ],
)
async def test_versions_are_agreed(era, mode, version):
    """A modern server is recognised by the probe; anything else is initialised; a server killed by the probe is restarted."""
    server = await connect(mode, era)
    assert (server.offer.era, server.offer.version) == (Era(era), version)
    assert server.alive
    await server.close()
    assert not server.alive


async def test_silence_on_the_probe_means_legacy(monkeypatch):
    """A server that ignores the probe is initialised after a bounded wait."""
    monkeypatch.setattr("lictor.pep.mcp.upstream.negotiate.PROBE_S", 0.5)
    server = await connect("ignores-probe")
    assert server.offer.era is Era.LEGACY
    await server.close()


@pytest.mark.parametrize(
    ("mode", "reason"),
    [
        ("dead-on-arrival", Reason.UPSTREAM_DOWN),
        ("ancient", Reason.UPSTREAM_INVALID),
        ("future", Reason.UPSTREAM_INVALID),
    ],
)
async def test_no_agreement(mode, reason):
    """A server that dies at once, or speaks no version of ours, is refused; no caller's request was sent."""
    with pytest.raises(UpstreamError) as caught:
        await connect(mode)
    assert (caught.value.reason, caught.value.effect_possible) == (reason, False)


async def test_a_mute_server_is_given_up_and_killed():
    """A server that never says a word and ignores SIGTERM is gone after a bounded time."""
    limits = Limits(upstream_connect_timeout_s=0.5)
    started = time.monotonic()
    with pytest.raises(UpstreamError) as caught:
        await connect("mute", limits=limits)
    assert (caught.value.reason, caught.value.effect_possible) == (Reason.UPSTREAM_TIMEOUT, False)
    assert time.monotonic() - started < 7


@pytest.mark.parametrize("command", [["/nonexistent/server"], [], ["/etc/passwd"], ["a\0b"]])
async def test_a_command_that_cannot_be_started(command):
    """It is down, with a remedy; nothing was sent."""
    client = Client()
    with pytest.raises(UpstreamError) as caught:
        await StdioUpstream.start("x", command, ENV, None, LIMITS, client.ask, client.notify)
    assert (caught.value.reason, caught.value.effect_possible) == (Reason.UPSTREAM_DOWN, False)
    assert caught.value.remedy


# -- honest calls ----------------------------------------------------------------------------------------------------------


async def test_arguments_go_verbatim_and_metadata_is_ours():
    """A modern request carries our identity; a client's progress token and protocol members do not pass."""
    server = await connect("echo", "modern")
    meta = {"traceparent": "00-1", "progressToken": "theirs", "io.modelcontextprotocol/protocolVersion": "lie"}
    reply = await server.request(
        "tools/call",
        {"name": "t", "_meta": meta},
        sealed_arguments=b'{"a":1.50}',
        client_capabilities={"elicitation": {"url": {}}},
        timeout_s=5,
    )
    result = msgspec.json.decode(reply.result)
    assert result["echo"]["arguments"] == {"a": 1.5}
    assert result["meta"]["traceparent"] == "00-1"
    assert result["meta"]["io.modelcontextprotocol/protocolVersion"] == "2026-07-28"
    assert result["meta"]["io.modelcontextprotocol/clientCapabilities"] == {"elicitation": {"url": {}}}
    assert result["meta"]["io.modelcontextprotocol/clientInfo"]["name"] == "lictor"
    assert "progressToken" not in result["meta"]
    await server.close()


async def test_a_legacy_request_carries_no_metadata_of_ours():
    """Only what passes through."""
    server = await connect("echo")
    result = msgspec.json.decode((await call(server)).result)
    assert result["meta"] is None
    await server.close()


async def test_the_result_is_the_very_text_received():
    """Spaces, trailing zeros, big integers and unknown members survive."""
    server = await connect("spaces")
    assert (await call(server)).result == b'{ "b": 1.50, "a":12345678901234567890, "x-unknown": [] }'
    await server.close()


async def test_unsealed_arguments_are_refused():
    """Arguments get upstream sealed or not at all."""
    server = await connect("echo")
    with pytest.raises(UpstreamError) as caught:
        await server.request("tools/call", {"name": "t", "arguments": {}}, timeout_s=5)
    assert (caught.value.reason, caught.value.effect_possible) == (Reason.INTERNAL, False)
    await server.close()


async def test_progress_reaches_only_its_request_and_stops_with_it():
    """Foreign and late tokens are dropped and counted; ours is taken off."""
    server, heard = await connect("progress"), []

    async def notify(method, params):
        heard.append((method, params))

    await call(server, notify=notify, progress=True)
    assert heard == [
        ("notifications/progress", {"progress": 1, "message": "m"}),
        ("notifications/progress", {"progress": 2}),
    ]
    await asyncio.sleep(0.1)
    assert server.counters.dropped_notifications == 2
    await server.close()


async def test_a_legacy_server_asks_and_ping_is_ours():
    """Ping never reaches the client; elicitation does, and its answer goes back."""
    client = Client()
    server = await connect("ask", client=client)
    result = msgspec.json.decode((await call(server)).result)
    assert result["pong"]["result"] == {}
    assert result["reply"]["result"] == {"action": "accept"}
    assert client.asked == [("elicitation/create", {"message": "really?"})]
    await server.close()


async def test_a_modern_server_may_not_ask():
    """Its request is ignored and counted; the call runs into its deadline."""
    client = Client()
    server = await connect("ask", "modern", client)
    error = await refused(server, timeout_s=0.5)
    assert (error.reason, client.asked, server.counters.refused_requests) == (Reason.UPSTREAM_TIMEOUT, [], 1)


async def test_a_server_takes_its_question_back():
    """Its cancellation cancels the ask."""
    client = Client()
    client.delay = 30
    server = await connect("ask-cancelled", client=client)
    await call(server)
    await asyncio.sleep(0.1)
    assert not server._inbox._asks
    await server.close()


async def test_many_calls_at_once():
    """Replies find their requests."""
    server = await connect("echo")
    replies = await asyncio.gather(*(call(server, b'{"n":%d}' % n) for n in range(200)))
    assert [msgspec.json.decode(r.result)["echo"]["arguments"]["n"] for r in replies] == list(range(200))
    await server.close()


async def test_a_subscription_is_held_and_its_id_is_ours():
    """Notifications of the subscription arrive without our id, foreign ones do not; the server may end it."""
    server, heard = await connect("ends-subscription", "modern"), []

    async def notify(method, params):
        heard.append((method, params))

    async with asyncio.timeout(5):
        await server.listen({"notifications": {"toolsListChanged": True}}, notify)
    assert heard == [
        ("notifications/subscriptions/acknowledged", {"notifications": {}}),
        ("notifications/tools/list_changed", {"_meta": {"v": 1}}),
    ]
    await server.close()


async def test_a_cancelled_subscription_leaves_the_connection_usable():
    """Cancelling `listen` ends it upstream; a legacy server refuses it."""
    server = await connect("echo", "modern")
    task = asyncio.create_task(server.listen({"notifications": {}}, Client().notify))
    await asyncio.sleep(0.2)
    task.cancel()
    await asyncio.wait([task])
    assert (await call(server)).result is not None
    await server.close()
    legacy = await connect("echo")
    with pytest.raises(UpstreamError):
        await legacy.listen({}, Client().notify)
    await legacy.close()


# -- rogues ----------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("mode", "reason"),
    [
        ("die", Reason.UPSTREAM_DOWN),
        ("close-stdout", Reason.UPSTREAM_DOWN),
        ("huge", Reason.UPSTREAM_TOO_LARGE),
        ("null-id", Reason.UPSTREAM_INVALID),
        ("bad-json", Reason.UPSTREAM_INVALID),
        ("claimed-bad", Reason.UPSTREAM_INVALID),
        ("both", Reason.UPSTREAM_INVALID),
        ("neither", Reason.UPSTREAM_INVALID),
        ("array-result", Reason.UPSTREAM_INVALID),
        ("extra-member", Reason.UPSTREAM_INVALID),
        ("not-utf8", Reason.UPSTREAM_INVALID),
        ("batch", Reason.UPSTREAM_INVALID),
    ],
)
async def test_a_lying_or_dying_server(mode, reason):
    """Each lie has its reason; the request had been written, so its effect is possible."""
    error = await refused(await connect(mode))
    assert (error.reason, error.effect_possible) == (reason, True)


@pytest.mark.parametrize("mode", ["silent", "only-wrong-id", "deaf"])
async def test_no_answer(mode):
    """The deadline holds, whatever else the server says."""
    error = await refused(await connect(mode), timeout_s=0.4)
    assert (error.reason, error.effect_possible) == (Reason.UPSTREAM_TIMEOUT, True)


async def test_after_death_nothing_is_sent():
    """The first call dies with the server, the next one is refused unsent."""
    server = await connect("die")
    with pytest.raises(UpstreamError):
        await call(server)
    with pytest.raises(UpstreamError) as caught:
        await call(server)
    assert (caught.value.reason, caught.value.effect_possible) == (Reason.UPSTREAM_DOWN, False)
    assert not server.alive
    await server.close()


async def test_death_fails_every_request_under_way():
    """All of them, at once."""
    server = await connect("slow")
    calls = [asyncio.create_task(call(server, b'{"seconds":60}', timeout_s=30)) for _ in range(5)]
    await asyncio.sleep(0.2)
    os.kill(server.pid, 9)
    done = await asyncio.gather(*calls, return_exceptions=True)
    assert {(e.reason, e.effect_possible) for e in done} == {(Reason.UPSTREAM_DOWN, True)}
    await server.close()


async def test_a_last_reply_before_death_counts():
    """What a dying server still said is heard."""
    server = await connect("die-after-reply")
    assert (await call(server)).result is not None
    await server.close()


async def test_wrong_and_duplicate_ids_are_ignored():
    """Only our own id, as an integer, answers; the rest is counted."""
    server = await connect("wrong-id")
    assert b"right" in (await call(server)).result
    assert server.counters.unmatched_replies == 2
    await server.close()
    server = await connect("duplicate")
    assert b'"n": 1' in (await call(server)).result
    second = await call(server)
    assert b'"n": 1' in second.result
    assert server.counters.unmatched_replies >= 2
    await server.close()


async def test_a_claimed_lie_spares_the_other_requests():
    """A refused message that names its request fails that request alone."""
    server = await connect("claimed-bad")
    with pytest.raises(UpstreamError):
        await call(server)
    assert server.alive
    await server.close()


async def test_a_flood_is_bounded_and_the_answer_arrives():
    """A slow client loses notifications, not the answer, and memory does not grow."""
    client = Client()
    server = await connect("flood", client=client)
    heard = 0

    async def slow(method, params):
        nonlocal heard
        heard += 1
        await asyncio.sleep(0.001)

    reply = await call(server, notify=slow, progress=True, timeout_s=30)
    assert reply.result is not None
    assert heard + server.counters.dropped_notifications + len(client.notified) >= 20_000
    assert server.counters.dropped_notifications > 0
    await server.close()


@pytest.mark.parametrize("era", ["legacy", "modern"])
async def test_timeout_and_cancellation_are_said_upstream(era):
    """The server hears `notifications/cancelled` with our id, in both eras."""
    client = Client()
    server = await connect("hear-cancel", era, client)
    with pytest.raises(UpstreamError):
        await call(server, timeout_s=0.3)
    task = asyncio.create_task(call(server))
    await asyncio.sleep(0.2)
    task.cancel()
    await asyncio.wait([task])
    assert task.cancelled()
    await asyncio.sleep(0.3)
    heard = [params["data"]["method"] for _, params in client.notified]
    assert heard == ["notifications/cancelled"] * 2
    await server.close()


async def test_a_server_that_does_not_read_blocks_nobody():
    """With its pipe full a request waits for room and gives up unsent."""
    server = await connect("deaf")
    big = b'{"x":"' + b"a" * 1_000_000 + b'"}'
    errors = await asyncio.gather(*(call(server, big, timeout_s=1) for _ in range(4)), return_exceptions=True)
    assert {e.reason for e in errors} == {Reason.UPSTREAM_TIMEOUT}
    assert {e.effect_possible for e in errors} == {True, False}
    pid = server.pid
    await server.close()
    assert gone(pid)


# -- the process -----------------------------------------------------------------------------------------------------------


async def test_a_stubborn_server_is_killed_with_its_children():
    """SIGTERM is ignored, SIGKILL is not; close is bounded and idempotent."""
    server = await connect("stubborn")
    pid, started = server.pid, time.monotonic()
    await asyncio.gather(server.close(), server.close())
    assert time.monotonic() - started < 6
    assert gone(pid)
    assert server.pid is None


async def test_grandchildren_die_too():
    """What a server started itself does not outlive it."""
    server = await connect("grandchild")
    child = msgspec.json.decode((await call(server)).result)["pid"]
    await server.close()
    for _ in range(100):
        if orphan_gone(child):
            return
        await asyncio.sleep(0.02)
    pytest.fail("the grandchild lives on")


async def test_close_fails_what_is_under_way():
    """Nothing hangs on a connection that is closed."""
    server = await connect("silent")
    task = asyncio.create_task(call(server))
    await asyncio.sleep(0.1)
    await server.close()
    with pytest.raises(UpstreamError) as caught:
        await task
    assert (caught.value.reason, caught.value.effect_possible) == (Reason.UPSTREAM_DOWN, True)


async def test_stderr_is_drained_and_its_end_kept():
    """A chatty server does not block; the last 64 KiB are kept and handed on."""
    heard = bytearray()
    server = await connect("talk-stderr", on_stderr=heard.extend)
    await call(server)
    assert len(server.stderr) == 64 * 1024
    assert server.stderr.endswith(b"END")
    assert len(heard) == 200_003
    await server.close()


async def test_the_environment_is_exactly_what_is_given(tmp_path):
    """Nothing of ours leaks into a server."""
    client = Client()
    script = rogue_that_shows_its_environment(tmp_path)
    env = {"ONLY": "this"}
    server = await StdioUpstream.start(
        "x",
        [sys.executable, "-S", "-E", str(script), "legacy", "echo"],
        env,
        tmp_path,
        LIMITS,
        client.ask,
        client.notify,
    )
    assert set(server.offer.server_info["name"].split()) <= {"ONLY", "LC_CTYPE"}
    await server.close()


# -- real servers ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("module", ["mcp_server_time", "mcp_server_git"])
async def test_real_servers(module, tmp_path):
    """The reference servers list their tools and answer a call."""
    client = Client()
    limits = Limits(upstream_connect_timeout_s=60)
    env = {"PATH": os.environ["PATH"], "HOME": str(tmp_path)}
    server = await StdioUpstream.start(
        module, [sys.executable, "-m", module], env, tmp_path, limits, client.ask, client.notify
    )
    tools = msgspec.json.decode((await server.request("tools/list", {}, timeout_s=30)).result)["tools"]
    assert tools
    if module == "mcp_server_time":
        reply = await server.request(
            "tools/call", {"name": "get_current_time"}, sealed_arguments=b'{"timezone":"Europe/Rome"}', timeout_s=30
        )
        assert b"Europe/Rome" in reply.result
    pid = server.pid
    await server.close()
    assert gone(pid)
