"""A gateway as people run it (`lictor serve`, a process), its agents and its people, for yardsticks that others made.

Agents speak MCP over HTTP with no library between; people use the console's own forms; what happened is read from the log. Effects
happen in this process, where a yardstick watches them: the server behind the gateway asks for each over a Unix socket.
"""

import asyncio
import contextlib
import json
import re
import subprocess
import sys
import tempfile
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from dataclasses import dataclass, field
from html import unescape
from pathlib import Path
from typing import Any

import httpx2

from lictor.app import House, open_house
from lictor.cli.demonstration.stage import free_port
from lictor.model.ids import AgentId, HumanId, RequestId, TaskId
from lictor.model.record import Record, decode_entry
from lictor.model.task import Budget
from lictor.pep.mcp.holding import INPUT_KEY
from lictor.policy.catalogue import pin_of
from lictor.service.people.passkey_site import people_url
from yardsticks.sentinel import TOOLS

HERE = Path(__file__).parent
PERSON = HumanId("os:reviewer")
ASKER = HumanId("os:asker")
BRIEFLY_S = 1
"""How long `write_briefly` may take: the shortest that a catalogue can say."""
POLICY = """\
@id("opens") @owner("tests") @reason("whoever is at the machine opens tasks")
permit (principal, action == Action::"task:open", resource)
when { ["operator", "agent"].contains(context.input.opener.kind) };

@id("reviewed") @owner("tests") @reason("a person decides")
permit (principal, action in [Action::"sentinel/write_reviewed", Action::"sentinel/send_reviewed"], resource)
when { context has approval && context.approval.digest == context.digest && context.approval.groups.contains("owner") };

@id("once") @owner("tests") @reason("each action_id may be started once; a second time a person decides")
permit (principal, action in [Action::"sentinel/write_freely", Action::"sentinel/write_briefly"], resource)
when {
  context.measures.started == context.measures.identities
  || (context has approval && context.approval.digest == context.digest && context.approval.groups.contains("owner"))
};

@id("after") @owner("tests") @reason("only after what it belongs to has been done")
permit (principal, action == Action::"sentinel/write_after", resource) when { context.measures.reviewed >= 1 };
"""
MEASURES = """\
[measures.started]
of = "count"
per = ["task"]
window = "forever"
where = { actions = ["sentinel/write_freely", "sentinel/write_briefly"] }

[measures.identities]
of = "distinct"
field = "/action_id"
per = ["task"]
window = "forever"
where = { actions = ["sentinel/write_freely", "sentinel/write_briefly"] }

[measures.reviewed]
of = "count"
on = "executed"
per = ["task"]
window = "forever"
where = { actions = ["sentinel/write_reviewed"] }
"""

Effect = Callable[[str, dict[str, Any]], Awaitable[str]]
"""(tool, arguments) -> what the server says. Raises: nobody will ever know."""


@dataclass(frozen=True, slots=True)
class Answer:
    """What an agent got for a call: `text` where it ran; `hold` where people are asked; a `reason` where it was refused."""

    text: str = ""
    hold: str = ""
    state: str = ""
    """To be brought back with the retry."""
    reason: str = ""
    said: str = field(default="", repr=False)

    @property
    def ran(self) -> bool:
        """Whether the server answered."""
        return not self.hold and not self.reason


@dataclass(slots=True)
class Entry:
    """One entry of the log."""

    seq: int
    at_ms: int
    record: Record


def write_bundle(folder: Path, port: int, socket: Path, policy: str, settings: str) -> None:
    """The bundle's files."""
    command = json.dumps([sys.executable, "-u", str(HERE / "sentinel.py"), str(socket)])
    briefly = f"timeout_s = {BRIEFLY_S}\n"
    entries = (
        f'[tools.{tool["name"]}]\neffect = "write"\npin = "{pin_of(tool)}"\n'
        + (briefly if tool["name"] == "write_briefly" else "")
        for tool in TOOLS
    )
    files = {
        "lictor.toml": f"[listen]\nport = {port}\n[servers.sentinel]\ncommand = {command}\n{settings}",
        "agents.toml": 'purposes = ["test"]\n[agents.tested]\nowner = "os:asker"\nreview_by = 2099-12-31\n',
        "approvers.toml": f'four_eyes = true\noperators = ["owner"]\n[approvers."{PERSON}"]\ngroups = ["owner"]\n',
        "measures.toml": MEASURES,
        "policies/test.cedar": policy,
        "catalog/sentinel.toml": "\n".join(entries),
        "catalog/sentinel.definitions.json": json.dumps({"tools": TOOLS}),
    }
    for name, text in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, "utf-8")


class Person:
    """An approver at the console, with a browser that runs no scripts."""

    def __init__(self, base: str) -> None:
        self._http = httpx2.AsyncClient(base_url=base, headers={"Origin": base})

    async def sign_in(self, secret: str) -> None:
        """By the form."""
        await self._send("/login", "/login", {"secret": secret}, expect=303)

    async def approve(self, hold: str) -> None:
        """Open the hold's page, and say yes to what it shows."""
        await self._send(f"/holds/{hold}", f"/holds/{hold}", {"answer": "approve"})

    async def deny(self, hold: str, note: str = "") -> None:
        """Say no."""
        await self._send(f"/holds/{hold}", f"/holds/{hold}", {"answer": "deny", "note": note})

    async def reconcile(self, execution: str, outcome: str, note: str) -> None:
        """Say what became of something nobody knew."""
        page, fields = "/approvals/unknown", {"outcome": outcome, "note": note}
        await self._send(page, f"{page}/{execution}", fields, expect=303)

    async def _send(self, at: str, action: str, fields: dict[str, str], *, expect: int = 200) -> None:
        page = await self._http.get(at)
        for found in re.finditer(r'<form\b[^>]*\baction="([^"]*)"[^>]*>(.*?)</form>', page.text, re.DOTALL):
            if unescape(found[1]) == action:
                hidden = re.findall(r'<input type="hidden" name="([^"]*)" value="([^"]*)"', found[2])
                form = {**{name: unescape(value) for name, value in hidden}, **fields}
                sent = await self._http.post(action, data=form)
                if sent.status_code != expect:
                    raise RuntimeError(f"the console answered {sent.status_code}: {_words(sent.text)}")
                return
        raise RuntimeError(f"{at} has no form for {action}: {page.status_code} {_words(page.text)}")

    async def close(self) -> None:
        """Close the browser."""
        await self._http.aclose()


def _words(html: str) -> str:
    return " ".join(unescape(re.sub(r"<[^>]+>", " ", html.partition("<main")[2])).split())[:300]


@dataclass(kw_only=True)
class World:
    """Everything, under way."""

    house: House
    person: Person
    url: str
    http: httpx2.AsyncClient
    effect: Effect | None = None
    _effects: set[asyncio.Task[None]] = field(default_factory=set)

    # -- agents --------------------------------------------------------------------------------------------------------

    async def task(self) -> tuple[TaskId, str]:
        """A fresh task of the agent, and its token."""
        opened = await self.house.tasks.open(
            agent=AgentId("tested"), human=ASKER, purpose="test", trusted_text="", ttl_s=600,
            budget=Budget(calls=100_000), audience=self.house.settings.audience, by=ASKER, token=True,
        )  # fmt: skip
        return opened.task.id, opened.token

    async def call(self, token: str, tool: str, arguments: dict[str, Any], *, state: str = "") -> Answer:
        """One `tools/call` of the modern protocol. Cancelling it closes the connection, which is how a client cancels."""
        params: dict[str, Any] = {"name": f"sentinel__{tool}", "arguments": arguments}
        if state:
            params |= {"requestState": state, "inputResponses": {INPUT_KEY: {"action": "accept"}}}
        params["_meta"] = {
            "io.modelcontextprotocol/protocolVersion": "2026-07-28",
            "io.modelcontextprotocol/clientInfo": {"name": "yardstick", "version": "0"},
            "io.modelcontextprotocol/clientCapabilities": {"elicitation": {"url": {}}},
        }
        headers = {
            "Authorization": f"Bearer {token}",
            "Accept": "application/json, text/event-stream",
            "MCP-Protocol-Version": "2026-07-28",
            "Mcp-Method": "tools/call",
            "Mcp-Name": params["name"],
        }
        message = {"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": params}
        return read_answer(await self.http.post(self.url, json=message, headers=headers))

    # -- the log -------------------------------------------------------------------------------------------------------

    def log(self, start: int = 0) -> Iterator[Entry]:
        """What is durable now, from an entry on."""
        for entry in self.house.store.entries(start):
            decoded = decode_entry(entry.data)
            yield Entry(entry.seq, decoded.at, decoded.record)

    def arguments(self, request: RequestId) -> dict[str, Any]:
        """The sealed arguments of a request, as the gateway keeps them."""
        payload = self.house.store.payload(request)
        if payload is None:
            raise LookupError(request)
        found: dict[str, Any] = json.loads(payload.arguments)
        return found

    # -- effects -------------------------------------------------------------------------------------------------------

    async def serve_effect(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """One connection of the server behind the gateway: an effect, given up when the connection ends."""
        line = json.loads(await reader.readline())
        if self.effect is None:
            raise RuntimeError("nobody watches")
        effect = asyncio.ensure_future(self.effect(line["name"], line["arguments"]))
        gone = asyncio.ensure_future(reader.read())
        try:
            await asyncio.wait({effect, gone}, return_when=asyncio.FIRST_COMPLETED)
            if effect.done() and effect.exception() is None:
                writer.write(json.dumps({"text": effect.result()}).encode() + b"\n")
                await writer.drain()
        finally:
            for job in (effect, gone):
                job.cancel()
            await asyncio.gather(effect, gone, return_exceptions=True)
            writer.close()


def read_answer(response: httpx2.Response) -> Answer:
    """An answer in our words."""
    text = response.text
    if response.headers.get("content-type", "").startswith("text/event-stream"):
        text = [line[5:] for line in text.splitlines() if line.startswith("data:")][-1]
    message = json.loads(text)
    if "error" in message:
        return Answer(reason=str(message["error"].get("data", {}).get("reason", "unknown")), said=text)
    result = message["result"]
    if result.get("resultType") == "input_required":
        url = result["inputRequests"][INPUT_KEY]["params"]["url"]
        return Answer(hold=url.rpartition("/")[2], state=result["requestState"], said=text)
    refusal = result.get("_meta", {}).get("dev.lictor/refusal")
    if refusal is not None:
        return Answer(reason=refusal["reason"], said=text)
    return Answer(text=result["content"][0]["text"], said=text)


@contextlib.asynccontextmanager
async def world(*mutants: str, policy: str = POLICY, settings: str = "") -> AsyncIterator[World]:
    """A gateway, right or with what is wrong with it, until the block ends."""
    with tempfile.TemporaryDirectory(prefix="lictor-yardstick-") as name:
        folder = Path(name)
        bundle, socket, port = folder / "bundle", folder / "effects", free_port()
        write_bundle(bundle, port, socket, policy, settings)
        house = await open_house(bundle)
        secret = await house.answer.enrol(PERSON, by="tests")
        base = f"http://127.0.0.1:{port}"
        person = Person(people_url(base))
        limits = httpx2.Limits(max_connections=None, max_keepalive_connections=0)
        http = httpx2.AsyncClient(timeout=30, limits=limits)
        made = World(house=house, person=person, url=f"{base}/mcp", http=http)
        server = await asyncio.start_unix_server(made.serve_effect, socket)
        with (folder / "gateway.log").open("wb") as log:
            words = [sys.executable, str(HERE / "gateway.py"), str(bundle), *mutants]
            process = subprocess.Popen(words, stdin=subprocess.PIPE, stdout=log, stderr=log)
        try:
            await _until_ready(process, base, folder / "gateway.log")
            await person.sign_in(secret)
            yield made
        finally:
            process.terminate()
            await asyncio.to_thread(process.wait)
            server.close()
            await person.close()
            await http.aclose()
            house.close()


async def _until_ready(process: subprocess.Popen[bytes], base: str, log: Path) -> None:
    async with httpx2.AsyncClient() as http, asyncio.timeout(30):
        while True:
            if process.poll() is not None:
                raise RuntimeError(log.read_text("utf-8"))
            with contextlib.suppress(httpx2.HTTPError):
                if (await http.get(f"{base}/healthz")).status_code == 200:
                    return
            await asyncio.sleep(0.05)
