"""Real servers, real clients, and a real gateway between them, for the tests of this folder.

Servers come from npm and PyPI (the project's own files install them); a missing one is a failure, not a skip. A `Stage` is a folder
with what they work on, reset before every run so that two runs see the same. `serving` is `lictor serve` as a process.
"""

import asyncio
import base64
import contextlib
import http.server
import json
import os
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import AsyncIterator, Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import aiohttp
import anyio
import httpx2
import mcp
import mcp_types as types
import msgspec
from aiohttp import web
from mcp.client.streamable_http import streamable_http_client
from mcp.shared.message import SessionMessage

import warm
from lictor.cli.catalog import pull_lists
from lictor.cli.demonstration.stage import build_workspace, free_port
from lictor.config import ServerSettings
from lictor.policy.draft import Listing, merge_draft

BIN = Path(sys.executable).parent
MODULES = Path(__file__).parents[1] / "servers" / "node" / "node_modules"
LICTOR = str(BIN / "lictor")
POLICY = """\
@id("tested-things")
@owner("tests")
@reason("what is reviewed may run")
permit (principal, action, resource) unless { action in Action::"destructive" };
"""
HELD_POLICY = """\
@id("reads")
@owner("tests")
@reason("reading is allowed")
permit (principal, action in Action::"read", resource);

@id("writes")
@owner("tests")
@reason("a person decides")
permit (principal, action in Action::"write", resource)
when { context has approval && context.approval.groups.contains("owner") };
"""
OPENING_POLICY = """\
@id("opens")
@owner("tests")
@reason("whoever is at the machine opens tasks")
permit (principal, action == Action::"task:open", resource)
when { ["operator", "agent"].contains(context.input.opener.kind) };
"""
PIXEL = base64.b64decode(
    "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNkYPhfDwAChwGA60e6kgAAAABJRU5ErkJggg=="
)
PAGE = b"<!doctype html><title>A page</title><h1>Caf\xc3\xa9</h1><p>Some <b>text</b>.</p><button>Press</button>"


# -- tools of the machine --------------------------------------------------------------------------------------------


def node() -> str:
    """Node of the virtual environment."""
    found = BIN / "node"
    assert found.is_file(), "node is missing: make test installs it"
    return str(found)


def package(*parts: str) -> str:
    """A file of an npm package."""
    found = MODULES.joinpath(*parts)
    assert found.is_file(), f"{found} is missing: make test installs it"
    return str(found)


def chromium() -> str:
    """A Chromium."""
    found = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
    assert found, "no Chromium: make test installs one"
    return found


# -- what servers work on --------------------------------------------------------------------------------------------


@dataclass
class Stage:
    """A folder with a project, a page on a local port, and the commands of all servers."""

    folder: Path
    port: int = field(default_factory=free_port)
    _pristine: Path = field(init=False)

    def __post_init__(self) -> None:
        self._pristine = self.folder / "pristine"
        project = build_workspace(self._pristine)
        (project / "pixel.png").write_bytes(PIXEL)
        (project / "unusual \u202ename.txt").write_text("é\u2028\U0001f600 \u0007 end\n", "utf-8")

    @property
    def project(self) -> Path:
        return self.folder / "work"

    @property
    def page(self) -> str:
        return f"http://127.0.0.1:{self.port}/page"

    def reset(self) -> None:
        """Everything as in the beginning."""
        shutil.rmtree(self.project, ignore_errors=True)
        shutil.copytree(self._pristine / "project", self.project)
        (self.folder / "memory.jsonl").unlink(missing_ok=True)

    @property
    def commands(self) -> dict[str, tuple[str, ...]]:
        """Every server by the name it has here."""
        out = str(self.folder / "browser")
        browser = ("--headless", "--no-sandbox", "--isolated", "--executable-path", chromium(), "--output-dir", out)
        return {
            "files": (
                node(),
                package("@modelcontextprotocol", "server-filesystem", "dist", "index.js"),
                str(self.project),
            ),
            "everything": (node(), package("@modelcontextprotocol", "server-everything", "dist", "index.js")),
            "memory": (node(), package("@modelcontextprotocol", "server-memory", "dist", "index.js")),
            "git": (sys.executable, "-m", "mcp_server_git", "--repository", str(self.project)),
            "web": (sys.executable, "-m", "mcp_server_fetch", "--ignore-robots-txt", "--allow-private-ips"),
            "time": (sys.executable, "-m", "mcp_server_time", "--local-timezone", "Europe/Rome"),
            "browser": (node(), package("@playwright", "mcp", "cli.js"), *browser),
        }

    def environment(self, server: str) -> dict[str, str]:
        """What a server needs in its environment, besides what every program gets."""
        return {"MEMORY_FILE_PATH": str(self.folder / "memory.jsonl")} if server == "memory" else {}

    @contextlib.contextmanager
    def page_served(self) -> Iterator[None]:
        """Serve `PAGE` at every path."""

        class Handler(http.server.BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                self.send_response(200)
                self.send_header("Content-Type", "text/html; charset=utf-8")
                self.send_header("Content-Length", str(len(PAGE)))
                self.end_headers()
                self.wfile.write(PAGE)

            def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the base class's name
                """Nothing."""

        server = http.server.ThreadingHTTPServer(("127.0.0.1", self.port), Handler)
        threading.Thread(target=server.serve_forever, daemon=True).start()
        try:
            yield
        finally:
            server.shutdown()
            server.server_close()


# -- bundles ---------------------------------------------------------------------------------------------------------

FEATURES = "".join(
    f'\n[features.{name}]\neffect = "read"\n' for name in ("completion", "logging", "sampling", "elicitation", "roots")
)


def reviewed(server: str, lists: Mapping[str, Sequence[dict[str, Any]]], writes: Sequence[str] = ()) -> dict[str, str]:
    """A drafted catalogue as after a review: everything a read except `writes`, templates and features taken in."""
    draft = merge_draft("", b"", server, Listing(**lists))
    assert draft.skipped == ()
    lines = []
    for line in draft.text.splitlines():
        taken = line[2:] if line.startswith(("# [resources.", "# effect =")) else line
        lines.append(taken.replace('effect = "write"', 'effect = "read"'))
    text = "\n".join(lines) + "\n" + FEATURES
    for name in writes:
        before, found, after = text.partition(f"[tools.{name}]\neffect = ")
        assert found, name
        text = f'{before}{found}"write"{after.removeprefix(chr(34) + "read" + chr(34))}'
    return {f"catalog/{server}.toml": text, f"catalog/{server}.definitions.json": draft.definitions.decode()}


async def pulled(commands: Mapping[str, Sequence[str]], env: Callable[[str], dict[str, str]]) -> dict[str, Any]:
    """What each server lists, asked as `lictor catalog pull` asks."""
    return {
        name: await pull_lists(name, ServerSettings(command=tuple(command), env=env(name)))
        for name, command in commands.items()
    }


def write_bundle(
    folder: Path,
    catalogue: Mapping[str, str],
    *,
    port: int = 8700,
    servers: str = "",
    policy: str = POLICY,
    settings: str = "",
    approvers: str = "",
    human: str = "os:tester",
) -> Path:
    """A bundle folder; `servers` is TOML text with tables, `settings` with top-level keys."""
    files = {
        "lictor.toml": f"{settings}\n[listen]\nport = {port}\n{servers}",
        "agents.toml": 'purposes = ["test"]\n[agents.tester]\nowner = "tests"\nreview_by = 2099-12-31\n',
        "approvers.toml": approvers or f'four_eyes = false\n[approvers."{human}"]\ngroups = ["owner"]\n',
        "policies/test.cedar": policy,
        "policies/tasks.cedar": OPENING_POLICY,
        **catalogue,
    }
    for name, text in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, "utf-8")
    return folder


def server_tables(stage: Stage, names: Sequence[str]) -> str:
    """`[servers.NAME]` for stdio servers."""
    text = ""
    for name in names:
        text += f"\n[servers.{name}]\ncommand = {json.dumps(list(stage.commands[name]))}\n"
        if stage.environment(name):
            pairs = ", ".join(f"{key} = {json.dumps(value)}" for key, value in stage.environment(name).items())
            text += f"env = {{ {pairs} }}\n"
    return text


# -- the gateway as a process ----------------------------------------------------------------------------------------


def lictor(*words: str, cwd: Path | None = None, env: Mapping[str, str] | None = None, text: str = "") -> Any:
    """Run a command to its end."""
    return warm.run(*words, cwd=cwd, env={**os.environ, **(env or {})}, text=text)


@dataclass(frozen=True)
class Served:
    """A running `lictor serve`."""

    bundle: Path
    port: int
    process: subprocess.Popen[bytes]

    @property
    def base(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    @property
    def url(self) -> str:
        return f"{self.base}/mcp"

    def task(self, *more: str) -> str:
        """Open a task from the command line, while the gateway runs; its token."""
        words = (
            "task",
            "open",
            "--bundle",
            str(self.bundle),
            "--agent",
            "tester",
            "--purpose",
            "test",
            "--json",
            *more,
        )
        done = lictor(*words)
        assert done.returncode == 0, done.stderr
        token: str = json.loads(done.stdout)["token"]
        return token


@contextlib.contextmanager
def serving(bundle: Path, port: int, healthy: Callable[[Served, Path], None] | None = None) -> Iterator[Served]:
    """`lictor serve` until the block ends; it must end by itself when asked to. `healthy` waits until it answers."""
    with (bundle.parent / f"{bundle.name}.log").open("wb") as log:
        process = subprocess.Popen([LICTOR, "serve", "--bundle", str(bundle)], stdout=log, stderr=log)
        served = Served(bundle, port, process)
        try:
            (healthy or _until_healthy)(served, Path(log.name))
            yield served
        finally:
            process.send_signal(signal.SIGINT)
            try:
                process.wait(timeout=20)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
                raise


def _until_healthy(served: Served, log: Path) -> None:
    deadline = time.monotonic() + 30
    while time.monotonic() < deadline:
        assert served.process.poll() is None, log.read_text("utf-8")
        with contextlib.suppress(httpx2.HTTPError):
            if httpx2.get(f"{served.base}/healthz").status_code == 200:
                return
        time.sleep(0.1)
    raise AssertionError(log.read_text("utf-8"))


# -- clients that write down what they receive -----------------------------------------------------------------------


class Heard:
    """Raw JSON-RPC messages a client received, by the step it was at."""

    def __init__(self) -> None:
        self.steps: dict[str, list[bytes]] = {}
        self._step = ""

    def at(self, step: str) -> None:
        """What comes now belongs to this step."""
        assert step not in self.steps
        self.steps[step] = []
        self._step = step

    def message(self, raw: bytes) -> None:
        """One message."""
        self.steps.setdefault(self._step, []).append(raw)

    def body(self, content_type: str, raw: bytes) -> None:
        """An HTTP body: one message, or a stream of events."""
        if content_type.startswith("text/event-stream"):
            for event in raw.replace(b"\r\n", b"\n").split(b"\n\n"):
                data = [line[5:].removeprefix(b" ") for line in event.split(b"\n") if line.startswith(b"data:")]
                if any(data):
                    self.message(b"\n".join(data))
        elif raw:
            self.message(raw)


@contextlib.asynccontextmanager
async def stdio(command: Sequence[str], env: Mapping[str, str], heard: Heard) -> AsyncIterator[Any]:
    """A stdio transport for the official client that writes down every line."""
    process = await asyncio.create_subprocess_exec(
        *command, stdin=-1, stdout=-1, stderr=-3, env={**os.environ, **env}, limit=2**26
    )
    assert process.stdin is not None
    assert process.stdout is not None
    read_in, read_out = anyio.create_memory_object_stream[SessionMessage | Exception](100)
    write_in, write_out = anyio.create_memory_object_stream[SessionMessage](100)

    async def reading(stdout: asyncio.StreamReader) -> None:
        async with read_in:
            async for line in stdout:
                heard.message(line.rstrip(b"\r\n"))
                await read_in.send(SessionMessage(types.jsonrpc_message_adapter.validate_json(line, by_name=False)))

    async def writing(stdin: asyncio.StreamWriter) -> None:
        async with write_out:
            async for item in write_out:
                stdin.write(item.message.model_dump_json(by_alias=True, exclude_unset=True).encode() + b"\n")
                await stdin.drain()

    jobs = [asyncio.create_task(reading(process.stdout)), asyncio.create_task(writing(process.stdin))]
    try:
        yield read_out, write_in
    finally:
        process.stdin.close()
        try:
            await asyncio.wait_for(process.wait(), 15)
        except TimeoutError:
            process.kill()
            await process.wait()
            raise
        finally:
            for job in jobs:
                job.cancel()
            await asyncio.gather(*jobs, return_exceptions=True)


class _Teed(httpx2.AsyncByteStream):
    """A response body, written down when it has ended."""

    def __init__(self, inner: Any, heard: Heard, content_type: str) -> None:
        self._inner, self._heard, self._type = inner, heard, content_type
        self._parts: list[bytes] = []

    async def __aiter__(self) -> AsyncIterator[bytes]:
        async for part in self._inner:
            self._parts.append(part)
            self._flush()
            yield part

    def _flush(self) -> None:
        """A stream's events are heard as they come, so that they fall into the right step."""
        if self._type.startswith("text/event-stream"):
            whole, found, rest = b"".join(self._parts).replace(b"\r\n", b"\n").rpartition(b"\n\n")
            if found:
                self._heard.body(self._type, whole)
                self._parts = [rest]

    async def aclose(self) -> None:
        await self._inner.aclose()
        self._heard.body(self._type, b"".join(self._parts))
        self._parts = []


class _TeeTransport(httpx2.AsyncHTTPTransport):
    def __init__(self, heard: Heard) -> None:
        super().__init__()
        self._heard = heard

    async def handle_async_request(self, request: httpx2.Request) -> httpx2.Response:
        response = await super().handle_async_request(request)
        response.stream = _Teed(response.stream, self._heard, response.headers.get("content-type", ""))
        return response


@contextlib.asynccontextmanager
async def streamable(url: str, token: str, heard: Heard) -> AsyncIterator[Any]:
    """A streamable HTTP transport for the official client that writes down every message."""
    async with (
        httpx2.AsyncClient(
            headers={"Authorization": f"Bearer {token}"}, transport=_TeeTransport(heard), timeout=60
        ) as client,
        streamable_http_client(url, http_client=client) as streams,
    ):
        yield streams


def client(transport: Any, mode: Any, **options: Any) -> mcp.Client:
    """The official client, without its response cache: every list is asked for."""
    return mcp.Client(transport, mode=mode, cache=None, read_timeout_seconds=30, **options)


# -- comparing -------------------------------------------------------------------------------------------------------


class Message(msgspec.Struct):
    """One JSON-RPC message, its parts as they came."""

    id: msgspec.Raw = msgspec.Raw(b"")
    method: str = ""
    params: msgspec.Raw = msgspec.Raw(b"")
    result: msgspec.Raw = msgspec.Raw(b"")
    error: msgspec.Raw = msgspec.Raw(b"")


def parsed(raw: bytes) -> Message:
    """A message."""
    return msgspec.json.decode(raw, type=Message)


# -- for clients that cannot send headers ----------------------------------------------------------------------------

_END_TO_END = ("content-type", "mcp-session-id", "cache-control")


@contextlib.asynccontextmanager
async def injecting(port: int, upstream: int, token: str, prefix: str) -> AsyncIterator[str]:
    """A proxy that adds the task's token and the server's name prefix, and changes nothing else: Host and Origin go through."""

    async def handle(request: web.Request) -> web.StreamResponse:
        headers = {key: value for key, value in request.headers.items() if key.lower() != "content-length"}
        headers["Authorization"] = f"Bearer {token}"
        body = _prefixed(await request.read(), prefix)
        url = f"http://127.0.0.1:{upstream}{request.path_qs}"
        async with session.request(request.method, url, data=body, headers=headers) as reply:
            kept = {key: reply.headers[key] for key in _END_TO_END if key in reply.headers}
            answer = web.StreamResponse(status=reply.status, headers=kept)
            await answer.prepare(request)
            async for part in reply.content.iter_any():
                await answer.write(part.replace(f'"{prefix}'.encode(), b'"'))
            await answer.write_eof()
            return answer

    app = web.Application()
    app.router.add_route("*", "/{path:.*}", handle)
    runner = web.AppRunner(app, shutdown_timeout=1, handler_cancellation=True)
    async with aiohttp.ClientSession(auto_decompress=False) as session:
        await runner.setup()
        await web.TCPSite(runner, "127.0.0.1", port).start()
        try:
            yield f"http://127.0.0.1:{port}/mcp"
        finally:
            await runner.cleanup()


def _prefixed(body: bytes, prefix: str) -> bytes:
    """A request with the name the gateway knows the thing by."""
    message = json.loads(body) if body else {}
    params = message.get("params", {}) if isinstance(message, dict) else {}
    named = params if message.get("method") in {"tools/call", "prompts/get"} else params.get("ref", {})
    if "name" not in named:
        return body
    named["name"] = prefix + named["name"]
    return json.dumps(message).encode()
