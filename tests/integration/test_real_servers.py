"""Seven servers that are not ours, through the whole gateway, with the official client in both eras: no field is lost.

What the client receives through Lictor is held, byte for byte, against what the same server gives it directly in the era the server
speaks. Allowed differences: JSON-RPC ids, the name prefix of `lictor serve`, `resultType`/`ttlMs`/`cacheScope`, the identity in `_meta`.
"""

import asyncio
import base64
import contextlib
import json
import re
import sys
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from pathlib import Path
from typing import Any

import mcp_types as types
import pytest

from integration.peers import (
    LICTOR,
    Heard,
    Served,
    Stage,
    client,
    free_port,
    parsed,
    pulled,
    reviewed,
    server_tables,
    serving,
    stdio,
    streamable,
    write_bundle,
)
from lictor.model.ids import ServerName
from lictor.pep.mcp.naming import Naming

pytestmark = [pytest.mark.xdist_group("real servers"), pytest.mark.timeout(180)]

SERVERS = ("files", "everything", "memory", "git", "web", "time", "browser")
MODERN_SERVERS = frozenset({"git", "web", "time"})
ERAS = ("legacy", "2026-07-28")
LISTS = {"tools": "tools", "prompts": "prompts", "resources": "resources", "templates": "resourceTemplates"}
Name = Callable[[str], str]


class Script:
    """What one client does with one server, step by step."""

    def __init__(self, session: Any, heard: Heard, stage: Stage, name: Name) -> None:
        self.session, self.heard, self.stage, self.name = session, heard, stage, name

    async def call(self, step: str, tool: str, arguments: dict[str, Any], **options: Any) -> Any:
        """One tool call."""
        self.heard.at(step)
        result = await self.session.call_tool(self.name(tool), arguments, **options)
        assert not result.is_error or step.startswith("error"), result
        return result

    async def lists(self, *kinds: str) -> None:
        """Lists, each fetched once."""
        ask = {
            "tools": self.session.list_tools,
            "prompts": self.session.list_prompts,
            "resources": self.session.list_resources,
            "templates": self.session.list_resource_templates,
        }
        for kind in kinds:
            self.heard.at(f"list {kind}")
            await ask[kind]()

    async def prompt(self, step: str, name: str, arguments: dict[str, str] | None = None) -> None:
        """One prompt."""
        self.heard.at(step)
        assert (await self.session.get_prompt(self.name(name), arguments)).messages

    async def read(self, uri: str) -> None:
        """One resource."""
        self.heard.at(f"read {uri}")
        assert (await self.session.read_resource(uri)).contents


async def files(s: Script) -> None:
    project = s.stage.project
    await s.lists("tools")
    await s.call("text", "read_text_file", {"path": str(project / "README.md")})
    await s.call("unusual", "read_text_file", {"path": str(project / "unusual \u202ename.txt")})
    await s.call("image", "read_media_file", {"path": str(project / "pixel.png")})
    await s.call("tree", "directory_tree", {"path": str(project), "excludePatterns": [".git"]})
    await s.call("write", "write_file", {"path": str(project / "new \U0001f600.txt"), "content": "é\u2028\n"})
    await s.call(
        "edit", "edit_file", {"path": str(project / "README.md"), "edits": [{"oldText": "Lantern", "newText": "Lamp"}]}
    )
    await s.call("error outside", "read_text_file", {"path": "/etc/passwd"})


async def everything(s: Script) -> None:
    await s.lists("tools", "prompts", "resources", "templates")
    await s.call("echo", "echo", {"message": 'é \u2028 \u202e \U0001f600 " \\ \u0001'})
    await s.call("sum", "get-sum", {"a": 0.1, "b": 1e21})
    await s.call("structured", "get-structured-content", {"location": "Chicago"})
    await s.call("annotated", "get-annotated-message", {"messageType": "error", "includeImage": True})
    await s.call("image", "get-tiny-image", {})
    await s.call("links", "get-resource-links", {"count": 4})
    await s.call("reference text", "get-resource-reference", {"resourceType": "Text", "resourceId": 3})
    await s.call("reference blob", "get-resource-reference", {"resourceType": "Blob", "resourceId": 4})
    zipped = {"name": "a.gz", "data": "data:text/plain,hello", "outputType": "resource"}
    await s.call("zip", "gzip-file-as-resource", zipped)
    seen: list[float] = []

    async def on_progress(progress: float, total: float | None, message: str | None) -> None:
        seen.append(progress)

    await s.call(
        "progress", "trigger-long-running-operation", {"duration": 0.4, "steps": 4}, progress_callback=on_progress
    )
    assert seen == [1, 2, 3, 4]
    await s.prompt("simple prompt", "simple-prompt")
    await s.prompt("args prompt", "args-prompt", {"city": "Roma"})
    await s.prompt("resource prompt", "resource-prompt", {"resourceType": "Text", "resourceId": "1"})
    await s.read("demo://resource/static/document/features.md")
    await s.read("demo://resource/dynamic/text/7")
    await s.read("demo://resource/dynamic/blob/8")
    s.heard.at("complete a prompt")
    reference = types.PromptReference(type="ref/prompt", name=s.name("completable-prompt"))
    await s.session.complete(reference, {"name": "department", "value": "E"})
    s.heard.at("complete a template")
    template = types.ResourceTemplateReference(type="ref/resource", uri="demo://resource/dynamic/text/{resourceId}")
    await s.session.complete(template, {"name": "resourceId", "value": "1"})


async def memory(s: Script) -> None:
    entities = [{"name": n, "entityType": "person", "observations": [f"{n} is here"]} for n in ("Ada", "Bö")]
    await s.lists("tools", "resources")
    await s.call("create", "create_entities", {"entities": entities})
    await s.call("relate", "create_relations", {"relations": [{"from": "Ada", "to": "Bö", "relationType": "knows"}]})
    await s.call("graph", "read_graph", {})
    await s.call("search", "search_nodes", {"query": "Bö"})
    await s.read("memory://knowledge-graph")


async def git(s: Script) -> None:
    where = {"repo_path": str(s.stage.project)}
    await s.lists("tools")
    await s.call("status", "git_status", where)
    await s.call("log", "git_log", {**where, "max_count": 2})
    await s.call("add", "git_add", {**where, "files": ["settings.env"]})
    await s.call("staged", "git_diff_staged", where)
    await s.call("error elsewhere", "git_status", {"repo_path": "/"})


async def web(s: Script) -> None:
    await s.lists("tools", "prompts")
    await s.call("raw", "fetch", {"url": s.stage.page, "raw": True})
    await s.call("part", "fetch", {"url": s.stage.page, "raw": True, "max_length": 5, "start_index": 2})
    await s.call("error not a page", "fetch", {"url": "http://127.0.0.1:1/"})


async def timing(s: Script) -> None:
    convert = {"source_timezone": "Europe/Rome", "time": "09:30", "target_timezone": "Asia/Tokyo"}
    await s.lists("tools")
    await s.call("convert", "convert_time", convert)
    await s.call("now", "get_current_time", {"timezone": "Asia/Kolkata"})
    await s.call("error", "convert_time", {**convert, "time": "nine"})


async def browser(s: Script) -> None:
    await s.lists("tools")
    await s.call("navigate", "browser_navigate", {"url": s.stage.page})
    await s.call("snapshot", "browser_snapshot", {})
    await s.call("evaluate", "browser_evaluate", {"function": "() => document.title"})
    await s.call("screenshot", "browser_take_screenshot", {"type": "png", "scale": "css"})
    await s.call("close", "browser_close", {})


SCRIPTS: dict[str, Callable[[Script], Awaitable[None]]] = {
    "files": files,
    "everything": everything,
    "memory": memory,
    "git": git,
    "web": web,
    "time": timing,
    "browser": browser,
}


# -- the parties -------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="session")
def stage(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stage]:
    stage = Stage(tmp_path_factory.mktemp("real"))
    stage.reset()
    with stage.page_served():
        yield stage


@pytest.fixture(scope="session")
def bundle(stage: Stage) -> tuple[Path, int]:
    lists = asyncio.run(pulled(stage.commands, stage.environment))
    catalogue = {path: text for server in SERVERS for path, text in reviewed(server, lists[server]).items()}
    port = free_port()
    settings = "[limits]\ninflight_per_task = 32"
    folder = stage.folder / "bundle"
    return write_bundle(folder, catalogue, port=port, servers=server_tables(stage, SERVERS) + settings), port


@pytest.fixture(scope="session")
def served(bundle: tuple[Path, int]) -> Iterator[Served]:
    with serving(*bundle) as running:
        yield running


@pytest.fixture(scope="session")
def tokens(served: Served) -> dict[str, str]:
    """One task for all clients of an era: its servers are started once."""
    return {mode: served.task() for mode in ERAS}


@pytest.fixture(scope="session")
def direct(stage: Stage) -> Callable[[str, str], Heard]:
    """What a server says without anything between, in a given era; asked once."""
    known: dict[tuple[str, str], Heard] = {}

    def ask(server: str, mode: str) -> Heard:
        if (server, mode) not in known:
            known[server, mode] = asyncio.run(_direct(stage, server, mode))
        return known[server, mode]

    return ask


async def _direct(stage: Stage, server: str, mode: str) -> Heard:
    heard = Heard()
    transport = stdio(stage.commands[server], stage.environment(server), heard)
    return await _play(stage, server, transport, heard, mode, lambda name: name)


async def _play(stage: Stage, server: str, transport: Any, heard: Heard, mode: str, name: Name) -> Heard:
    stage.reset()
    heard.at("connect")
    async with asyncio.timeout(90), client(transport, mode) as session:
        assert session.protocol_version == {"legacy": "2025-11-25"}.get(mode, mode)
        await SCRIPTS[server](Script(session, heard, stage, name))
        heard.at("end")
    return heard


def run_command(bundle: Path, stage: Stage, server: str) -> list[str]:
    passed = [word for name in stage.environment(server) for word in ("--pass-env", name)]
    return [LICTOR, "run", "--bundle", str(bundle), "--server", server, *passed, "--", *stage.commands[server]]


# -- comparing -----------------------------------------------------------------------------------------------------------

_MOMENT = re.compile(rb"\d\d?:\d\d:\d\d(?:\.\d+)?(?: [AP]M)?|\d{4}-\d\d-\d\dT[\d:.]+(?:Z|[+-]\d\d:\d\d)|\d{10,}(?=ms)")
_FILE = re.compile(rb"(page|console|snapshot)-[0-9TZ:.-]+")
_BLOB = re.compile(rb'"blob":"([A-Za-z0-9+/=]*)"')
_ADDED = b'"resultType":"complete",'
_PRIVATE = frozenset({"resultType", "ttlMs", "cacheScope"})


def told(step: str, messages: list[bytes], server: str, *, prefixed: bool) -> list[bytes]:
    """The messages of a step, without what may differ."""
    found = []
    for raw in messages:
        message = parsed(raw)
        if message.method.endswith("/list_changed"):
            continue  # belongs to no request: tested apart
        if message.method:
            found.append(_notice(message.method, json.loads(bytes(message.params) or b"{}")))
        elif bytes(message.error):
            found.append(b"error " + bytes(message.error))
        elif step.startswith("list "):
            found.append(_listed(step, json.loads(bytes(message.result)), server, prefixed=prefixed))
        else:
            found.append(_blur(bytes(message.result).replace(b"{" + _ADDED, b"{", 1)))
    return found


def _notice(method: str, params: dict[str, Any]) -> bytes:
    return f"{method} {json.dumps({key: value for key, value in params.items() if key != 'progressToken'})}".encode()


def _listed(step: str, result: dict[str, Any], server: str, *, prefixed: bool) -> bytes:
    """A list's items, every member in the server's order; of the merged list only what is this server's."""
    member = LISTS[step.removeprefix("list ")]
    rest = {key: value for key, value in result.items() if key not in {*_PRIVATE, "_meta", member}}
    items = result[member]
    if prefixed and member in {"tools", "prompts"}:
        naming = Naming([ServerName(name) for name in SERVERS], prefixed=True)
        split = [(naming.split(item["name"]), item) for item in items]
        items = [{**item, "name": found[1]} for found, item in split if found and found[0] == server]
    elif prefixed:
        scheme = {"everything": "demo:", "memory": "memory:"}[server]
        items = [item for item in items if item.get("uri", item.get("uriTemplate")).startswith(scheme)]
    return json.dumps([rest, items]).encode()


def _blur(text: bytes) -> bytes:
    """Clock times and names made of them are the only thing that differs between two runs of the same server."""
    opened = _BLOB.sub(lambda found: b'"blob":' + repr(base64.b64decode(found[1])).encode(), text)
    return _FILE.sub(b"<file>", _MOMENT.sub(b"<moment>", opened))


def assert_same(server: str, expected: Heard, got: Heard, *, prefixed: bool) -> None:
    compared = 0
    for step in expected.steps:
        if step in {"connect", "end"}:
            continue
        want = told(step, expected.steps[step], server, prefixed=False)
        have = told(step, got.steps[step], server, prefixed=prefixed)
        assert have == want, f"{server}: {step}"
        assert want, f"{server}: {step}: nothing was received"
        compared += len(want)
    assert compared >= 4


def spoken(server: str, mode: str) -> str:
    """The era a server speaks to a client directly: the client's, if it has it."""
    return mode if server in MODERN_SERVERS else "legacy"


# -- the tests -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("mode", ERAS)
@pytest.mark.parametrize("server", SERVERS)
async def test_stdio_loses_nothing(server: str, mode: str, stage: Stage, bundle: tuple[Path, int], direct: Any) -> None:
    """`lictor run` in front of a server: what arrives is what the server said, byte for byte."""
    expected = await asyncio.to_thread(direct, server, spoken(server, mode))
    heard = Heard()
    transport = stdio(run_command(bundle[0], stage, server), stage.environment(server), heard)
    got = await _play(stage, server, transport, heard, mode, lambda name: name)
    assert_same(server, expected, got, prefixed=False)


@pytest.mark.parametrize("mode", ERAS)
@pytest.mark.parametrize("server", SERVERS)
async def test_http_loses_nothing(
    server: str, mode: str, stage: Stage, served: Served, tokens: dict[str, str], direct: Any
) -> None:
    """`lictor serve` in front of all servers: the same, under prefixed names."""
    expected = await asyncio.to_thread(direct, server, spoken(server, mode))
    heard = Heard()
    transport = streamable(served.url, tokens[mode], heard)
    got = await _play(stage, server, transport, heard, mode, lambda name: f"{server}__{name}")
    assert_same(server, expected, got, prefixed=True)


class Notices:
    """What reaches a client outside of answers."""

    def __init__(self) -> None:
        self.seen: list[tuple[str, Any]] = []

    async def __call__(self, message: Any) -> None:
        if hasattr(message, "method"):
            self.seen.append((message.method, message.params))

    async def until(self, method: str) -> Any:
        """The first of a kind."""
        async with asyncio.timeout(10):
            while True:
                for seen, params in self.seen:
                    if seen == method:
                        return params
                await asyncio.sleep(0.02)


@pytest.fixture(params=["stdio", "http"])
async def everything_there(
    request: pytest.FixtureRequest, stage: Stage, bundle: tuple[Path, int]
) -> AsyncIterator[tuple[Callable[[], Any], Name]]:
    """The `everything` server behind either front: how to connect, how its tools are called."""
    if request.param == "stdio":
        yield lambda: stdio(run_command(bundle[0], stage, "everything"), {}, Heard()), lambda name: name
        return
    served = request.getfixturevalue("served")
    token = await asyncio.to_thread(served.task)
    yield lambda: streamable(served.url, token, Heard()), lambda name: f"everything__{name}"


@pytest.mark.filterwarnings("ignore::mcp.shared.exceptions.MCPDeprecationWarning")
async def test_a_legacy_client_hears_what_belongs_to_no_request(everything_there: Any) -> None:
    """List changes, log messages of the level asked for, and updates of a subscribed resource arrive."""
    connect, name = everything_there
    notices, uri = Notices(), "demo://resource/static/document/features.md"
    async with asyncio.timeout(60), client(connect(), "legacy", message_handler=notices) as session:
        await session.set_logging_level("debug")
        await session.subscribe_resource(uri)
        await session.call_tool(name("toggle-simulated-logging"), {})
        await session.call_tool(name("toggle-subscriber-updates"), {})
        assert (await notices.until("notifications/message")).data
        assert str((await notices.until("notifications/resources/updated")).uri) == uri
        await notices.until("notifications/tools/list_changed")
        await session.unsubscribe_resource(uri)


@pytest.mark.parametrize("mode", ERAS)
@pytest.mark.parametrize("front", ["stdio", "http"])
async def test_cancellation_reaches_the_server(
    front: str, mode: str, stage: Stage, bundle: tuple[Path, int], request: pytest.FixtureRequest
) -> None:
    """A client that gives up ends the operation at the server, and the connection goes on."""
    if front == "stdio":
        transport, prefix = stdio(run_command(bundle[0], stage, "everything"), {}, Heard()), ""
    else:
        served, tokens = request.getfixturevalue("served"), request.getfixturevalue("tokens")
        transport, prefix = streamable(served.url, tokens[mode], Heard()), "everything__"
    under_way = asyncio.Event()

    async def on_progress(progress: float, total: float | None, message: str | None) -> None:
        under_way.set()

    async with asyncio.timeout(60), client(transport, mode) as session:
        began = time.monotonic()
        long = {"duration": 60, "steps": 300}
        call = asyncio.create_task(
            session.call_tool(f"{prefix}trigger-long-running-operation", long, progress_callback=on_progress)
        )
        await under_way.wait()
        call.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await call
        result = await session.call_tool(f"{prefix}echo", {"message": "still here"})
        assert result.content[0].text == "Echo: still here"
        assert time.monotonic() - began < 20


ONE_ERA = """
import json, sys
era = sys.argv[1]
can = {"capabilities": {"tools": {}}}
about = {
    "initialize": {**can, "protocolVersion": "2025-11-25", "serverInfo": {"name": "only", "version": "1"}},
    "server/discover": {**can, "supportedVersions": ["2026-07-28"], "resultType": "complete"},
    "tools/list": {"tools": [{"name": "only", "inputSchema": {"type": "object"}}]},
    "tools/call": {"content": [{"type": "text", "text": era}], "x-unknown": [1.5, None]},
}
del about["initialize" if era == "modern" else "server/discover"]
for line in sys.stdin:
    message = json.loads(line)
    method = message["method"]
    if "id" not in message:
        continue
    answer = {"result": about[method]} if method in about else {"error": {"code": -32601, "message": "no"}}
    print(json.dumps({"jsonrpc": "2.0", "id": message["id"], **answer}), flush=True)
"""


@pytest.mark.parametrize("mode", ERAS)
@pytest.mark.parametrize("era", ["legacy", "modern"])
async def test_a_server_of_one_era_serves_clients_of_both(era: str, mode: str, tmp_path: Path) -> None:
    """Whatever the client speaks, a server that knows only the other protocol is understood, and no unknown member is lost."""
    command = (sys.executable, "-S", "-E", "-c", ONE_ERA, era)
    catalogue = reviewed("rogue", (await pulled({"rogue": command}, lambda _: {}))["rogue"])
    bundle, heard = write_bundle(tmp_path / "bundle", catalogue), Heard()
    run = [LICTOR, "run", "--bundle", str(bundle), "--server", "rogue", "--", *command]
    async with asyncio.timeout(60), client(stdio(run, {}, heard), mode) as session:
        await session.list_tools()
        heard.at("call")
        assert (await session.call_tool("only", {})).content[0].text == era
    [answer] = [json.loads(raw)["result"] for raw in heard.steps["call"] if b'"result"' in raw]
    assert answer["x-unknown"] == [1.5, None]


async def test_what_is_not_reviewed_does_not_exist(stage: Stage, served: Served, tokens: dict[str, str]) -> None:
    """A tool of the server that the catalogue does not name is neither listed nor called; the refusal says what and why."""
    async with asyncio.timeout(60), client(streamable(served.url, tokens[ERAS[1]], Heard()), ERAS[1]) as session:
        for unknown in ("files__nothing", "nobody__read_text_file", "read_text_file", "files__"):
            result = await session.call_tool(unknown, {})
            assert result.is_error
            assert "unknown_tool" in result.content[0].text


async def test_start_up_costs_little(stage: Stage, bundle: tuple[Path, int]) -> None:
    """From the start of the process to the first answer: the bare server, and the same behind Lictor."""

    async def first_answer(command: list[str]) -> float:
        began = time.monotonic()
        async with client(stdio(command, {}, Heard()), "legacy") as session:
            await session.list_tools()
            return time.monotonic() - began

    bare = min([await first_answer(list(stage.commands["everything"])) for _ in range(2)])
    behind = min([await first_answer(run_command(bundle[0], stage, "everything")) for _ in range(2)])
    print(f"first answer: bare {bare * 1000:.0f} ms, behind Lictor {behind * 1000:.0f} ms")
    assert behind < bare + 5


@pytest.mark.parametrize(
    "broken", [b'{"content":[]}', b'{"content":[],"x":1.0}', b'{"x":1,"content":[]}', b'{"content":[], "x":1}']
)
def test_the_comparison_sees_a_lost_or_changed_byte(broken: bytes) -> None:
    """The control: a dropped member, a number written otherwise, another order and another spacing are all found."""

    def received(result: bytes) -> Heard:
        heard = Heard()
        for step in "abcd":
            heard.at(step)
            heard.message(b'{"jsonrpc":"2.0","id":1,"result":' + result + b"}")
        return heard

    whole = b'{"content":[],"x":1}'
    assert_same("files", received(whole), received(b'{"resultType":"complete",' + whole[1:]), prefixed=False)
    with pytest.raises(AssertionError, match="files: a"):
        assert_same("files", received(whole), received(broken), prefixed=False)
