"""The log on its way out: a sink that is dead, and what every format makes of hostile text."""

import asyncio
import contextlib
import csv
import io
import json
import re
import socket
import threading
import urllib.request
from collections.abc import AsyncIterator
from typing import Any

from adversarial.expand import expanded
from adversarial.expectations import phrase, require
from adversarial.model import Observed, Word
from adversarial.run import Run, perform, precondition
from adversarial.verbs.audit import canaries
from adversarial.wire import VERSION
from lictor.app.metrics import metrics_served
from lictor.cli.log import show as showing
from lictor.cli.output import Out
from lictor.model.errors import LictorError
from lictor.model.reasons import Reason
from lictor.model.record import RequestReceived
from lictor.protocol.events import Joins, Told
from lictor.protocol.headers import encode_value
from lictor.protocol.sheet import COLUMNS, cells_of
from lictor.service.log.pump import Event
from lictor.sinks.encode import FORMATS, encoder
from lictor.sinks.file import FileSink
from lictor.sinks.settings import SinkSettings
from lictor.sinks.syslog import SyslogSink
from lictor.telemetry.settings import MetricsSettings, TelemetrySettings
from servers.collector import Collector

Match = re.Match[str]
ALLOWED = 25
"""Records that may wait for the sink of a case."""
MOST_CALLS = 200


@precondition(
    r"audit sink \(external\) down",
    r"newline in the tool name / agent id / reason",
    r"U\+2028, NEL, VT, NUL in an argument that is logged",
    r"ANSI in an argument, operator tails the log",
    r"\$\{jndi:…\}, \{\{7\*7\}\}, %n in logged text",
    r"PII/secrets in OTLP attributes and metrics labels",
)
async def as_it_is(run: Run, match: Match) -> None:
    """Nothing to set up."""


class Receiver:
    """A syslog receiver on a port of ours, which is there or is not."""

    def __init__(self) -> None:
        self._socket = socket.create_server(("127.0.0.1", 0))
        self.port = self._socket.getsockname()[1]
        self.data = b""
        self.connections: list[socket.socket] = []
        threading.Thread(target=self._serve, daemon=True).start()

    def _serve(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                opened, _ = self._socket.accept()
                self.connections.append(opened)
                threading.Thread(target=self._read, args=(opened,), daemon=True).start()

    def _read(self, opened: socket.socket) -> None:
        with contextlib.suppress(OSError):
            while more := opened.recv(65_536):
                self.data += more

    def close(self) -> None:
        with contextlib.suppress(OSError):
            self._socket.shutdown(socket.SHUT_RDWR)
        self._socket.close()
        for one in self.connections:
            with contextlib.suppress(OSError):
                one.shutdown(socket.SHUT_RDWR)
            one.close()

    def messages(self) -> list[bytes]:
        """By octet counting."""
        found, rest = [], self.data
        while rest:
            size, _, rest = rest.partition(b" ")
            found.append(rest[: int(size)])
            rest = rest[int(size) :]
        return found


async def until(holds: Any, wait_s: float = 20.0) -> bool:
    """Whether something comes true in time."""
    for _ in range(int(wait_s / 0.02)):
        if holds():
            return True
        await asyncio.sleep(0.02)
    return bool(holds())


async def sink_down(run: Run, wanted: dict[str, Any]) -> Observed:
    """The one sink is dead: the action is tried, then a read again and again until it is refused."""
    world = run.world
    healthy = await perform(run, wanted)
    dead = Receiver()
    dead.close()
    world.settings["sinks"] = {
        "audit": SinkSettings(kind="syslog", address=f"tcp://127.0.0.1:{dead.port}", begin="now", max_behind=ALLOWED)
    }
    await world.restart()
    sinks = world.main.runtime.sinks
    sinks.start()
    try:
        await until(lambda: sinks.pumps["audit"].place is not None)
        first = await perform(run, wanted)
        await until(sinks.failing)
        before = len(run.effects())
        ran, refused, worst = 0, None, 0
        while refused is None and ran < MOST_CALLS:
            seen = await world.call("fs.read_file", {})
            await world.settle()
            worst = max(worst, sinks.lags()["audit"])
            if seen.word is Word.ALLOW:
                ran += 1
            else:
                refused = seen
        again = [await world.call("fs.read_file", {}), await perform(run, wanted)]
        facts = {"healthy": healthy, "first": first, "ran": ran, "refused": refused, "worst": worst, "again": again}
        facts |= {"effects": len(run.effects()) - before, "ready": world.main.runtime.ready, "failing": sinks.failing()}
        return Observed(word=first.word, reason=first.reason, facts=facts)
    finally:
        sinks.stop()


@phrase(r"local durable record is enough to proceed")
async def proceeds(run: Run, seen: Observed, match: Match) -> None:
    """What happens is what happens with the sink in good order."""
    first, healthy = seen.facts["first"], seen.facts["healthy"]
    require(
        (first.word, first.reason) == (healthy.word, healthy.reason), f"{first.summary()}; else {healthy.summary()}"
    )
    require(first.word in {Word.ALLOW, Word.HOLD}, "the case tries nothing")
    require("audit" in seen.facts["failing"], "the sink was not down")
    require(seen.facts["ran"] > 1, f"{seen.facts['ran']} calls ran")


@phrase(r"backlog bounded")
async def bounded(run: Run, seen: Observed, match: Match) -> None:
    """What may wait never grows by more than the records of one call past the bound."""
    require(seen.facts["refused"] is not None, f"{seen.facts['ran']} calls ran, and {seen.facts['worst']} records wait")
    require(ALLOWED < seen.facts["worst"] <= ALLOWED + 8, f"{seen.facts['worst']} records wait")


@phrase(r"beyond the bound DENY")
async def denied_beyond(run: Run, seen: Observed, match: Match) -> None:
    for refused in (seen.facts["refused"], *seen.facts["again"]):
        require((refused.word, refused.reason) == (Word.DENY, Reason.SINK_BEHIND), refused.summary())
    require(seen.facts["effects"] == seen.facts["ran"], f"{seen.facts['effects']} effects of {seen.facts['ran']} calls")
    require(not seen.facts["ready"], "the gateway says that it is ready")


# -- hostile text ----------------------------------------------------------------------------------------------------------


def told_of(run: Run) -> list[Told]:
    """The whole log as exports read it."""
    joins = Joins("case.example/log")
    return [joins.read(entry.seq, entry.data, entry.leaf) for entry in run.world.store.entries()]


async def everywhere(run: Run, told: list[Told]) -> dict[str, list[bytes]]:
    """What each sink and each export writes: its records, cut apart as a liberal reader cuts them."""
    found: dict[str, list[bytes]] = {}
    for form in FORMATS:
        encode = encoder(form)
        events = [encode(one) for one in told]
        path = run.world.folder / f"{form}.jsonl"
        path.unlink(missing_ok=True)
        FileSink(path, rotate_bytes=10**9, rotate_keep=1).send(events)
        found[f"file {form}"] = [line.encode() for line in path.read_text("utf-8").splitlines()]
        found[f"syslog {form}"] = await _syslog(events)
    rows = io.StringIO()
    csv.writer(rows).writerows(cells_of(one) for one in told)
    found["csv"] = [line.encode() for line in rows.getvalue().splitlines()]
    return found


async def _syslog(events: list[Event]) -> list[bytes]:
    receiver = Receiver()
    sink = SyslogSink(f"tcp://127.0.0.1:{receiver.port}")
    try:
        await asyncio.to_thread(sink.send, events)
        sink.close()
        require(await until(lambda: receiver.data.endswith(events[-1].data)), "the receiver did not get everything")
        return receiver.messages()
    finally:
        receiver.close()


def body_of(name: str, line: bytes) -> Any:
    """What a parser of the format finds in one record."""
    if name == "csv":
        (row,) = csv.reader([line.decode()])
        return json.loads(dict(zip(COLUMNS, row, strict=True))["record"])
    text = line.partition(b" - {")[2] if name.startswith("syslog") else line[1:]
    return json.loads(b"{" + text)


def texts_in(value: Any) -> list[str]:
    """Every text of a JSON value, keys too."""
    if isinstance(value, dict):
        return [text for key, one in value.items() for text in (key, *texts_in(one))]
    if isinstance(value, list):
        return [text for one in value for text in texts_in(one)]
    return [value] if isinstance(value, str) else []


def hostile(run: Run) -> list[str]:
    """The texts of the case's input that are not plain."""
    given = [text for step in run.inputs for text in texts_in(expanded({k: v for k, v in step.items() if k != "op"}))]
    return [text for text in given if not re.fullmatch(r"[\w./-]*", text, re.ASCII)]


async def told_in(run: Run) -> tuple[list[Told], list[str]]:
    """The log, with the case's own texts in every record that has a text from outside, so that something is tried.

    What the gateway recorded of the case comes first; an argument never enters a record, so a name, a reason and a note carry it.
    """
    texts = hostile(run)
    require(texts, "nothing hostile is in the input")
    house, session = run.world.main.house, await run.world.session()
    for text in texts:
        await named(run, text)
        with contextlib.suppress(LictorError):
            await house.signals.observe(session.task.id, f"test:{text}", 1, source=f"test:{text}")
        held = await run.world.hold("hostile", session=await run.world.new_session())
        page = await (await run.world.person("bob")).answer(held.hold, "deny")
        require(page.status < 400, "a hold could not be answered")
    return told_of(run), texts


async def named(run: Run, name: str) -> Observed:
    """A call of a tool of this name, with the header that a careful client sends for it."""
    session = await run.world.session()
    headers = [
        *run.world.transport(session),
        ("MCP-Protocol-Version", VERSION),
        ("Mcp-Method", "tools/call"),
        ("Mcp-Name", encode_value(f"fs__{name}")),
    ]
    return await run.world.request(session, "tools/call", {"name": f"fs__{name}", "arguments": {}}, headers=headers)


def check_escaped(name: str, lines: list[bytes], told: list[Told]) -> None:
    """One record each, printable ASCII, and a parser reads back what the log says."""
    require(len(lines) == len(told), f"{name}: {len(lines)} records of {len(told)}")
    for line, one in zip(lines, told, strict=True):
        require(all(0x20 <= byte < 0x7F for byte in line), f"{name}: {line[:200]!r}")
        body = body_of(name, line)
        if name.endswith("lictor"):
            require(body["entry"]["record"] == one.record, f"{name}: another record is read")
        elif name.endswith("cloudevents"):
            require(body["data"]["record"] == one.record, f"{name}: another record is read")
        elif name.endswith("ocsf"):
            require(body["raw_data"].encode() == one.data, f"{name}: another record is read")
        else:
            require(body == one.record, f"{name}: another record is read")


@phrase(r"one record, escaped", r"escaped")
async def escaped(run: Run, seen: Observed, match: Match) -> None:
    told, texts = await told_in(run)
    found = await everywhere(run, told)
    for name, lines in found.items():
        check_escaped(name, lines, told)
    out = Out(as_json=False)
    for one in told:
        entry = {"at": one.at_ms, "record": one.record}
        line = showing._line(out, one.seq, entry)
        require(line.isprintable(), f"the operator's terminal is sent {line!r}")
    require(any(text in _recorded(told) for text in texts), "no record has it: nothing was tried")


@phrase(r"parser finds exactly one")
async def exactly_one(run: Run, seen: Observed, match: Match) -> None:
    """What the case sent stands in one record, and what it holds reads as no record of its own."""
    text = hostile(run)[0]
    before = run.world.store.size()
    await named(run, text)
    told = told_of(run)
    mine = [one for one in told if one.seq >= before and text in texts_in(one.record)]
    require([one.tag for one in mine] == ["request.received"], f"records with it: {[one.tag for one in mine]}")
    for name, lines in (await everywhere(run, told)).items():
        parsed = [body_of(name, line) for line in lines]
        forged = [body for body in parsed if body == {"decision": "allow"}]
        require(not forged and len(parsed) == len(told), f"{name}: {len(parsed)} records of {len(told)}")


@phrase(r"inert")
async def inert(run: Run, seen: Observed, match: Match) -> None:
    """It stands in every export as it was written: nothing expands, resolves or formats it."""
    told, texts = await told_in(run)
    for name, lines in (await everywhere(run, told)).items():
        check_escaped(name, lines, told)
        for text in texts:
            for line, one in zip(lines, told, strict=True):
                if name != "csv" and text in texts_in(one.record):
                    require(
                        any(text in read for read in texts_in(body_of(name, line))), f"{name}: {text!r} has changed"
                    )


# -- telemetry -------------------------------------------------------------------------------------------------------------


@contextlib.asynccontextmanager
async def traced(run: Run, *, metrics: bool = False) -> AsyncIterator[tuple[Collector, list[str]]]:
    """The gateway again, with a collector of OTLP and a page of figures; the page's text is there when the block ends."""
    world, page = run.world, list[str]()
    with Collector() as collector:
        world.settings["telemetry"] = TelemetrySettings(otlp=collector.url)
        if metrics:
            world.settings["metrics"] = MetricsSettings(listen="127.0.0.1:0")
        await world.restart()
        async with contextlib.AsyncExitStack() as stack:
            url = await stack.enter_async_context(metrics_served(world.main.runtime)) if metrics else ""
            yield collector, page
            await world.settle()
            if url:
                await asyncio.sleep(0)
                page.append(await asyncio.to_thread(_fetched, url))
        await world.main.runtime.observing.close()
        require(await asyncio.to_thread(collector.until, bool), "the collector got nothing")


def _fetched(url: str) -> str:
    with urllib.request.build_opener(urllib.request.ProxyHandler({})).open(url, timeout=30) as answer:
        return str(answer.read().decode())


@phrase(r"escaped in every sink \(file, syslog, OTLP\)")
async def escaped_everywhere(run: Run, seen: Observed, match: Match) -> None:
    """In files and syslog by JSON's escapes; in OTLP no text of a client's stands at all, so nothing has to be escaped."""
    told, texts = await told_in(run)
    for name, lines in (await everywhere(run, told)).items():
        check_escaped(name, lines, told)
    async with traced(run) as (collector, _):
        for text in texts:
            await named(run, text)
            await run.world.call("fs.read_file", {"path": text})
    spans = collector.spans()
    require(len(spans) >= 2 * len(texts), f"{len(spans)} spans")
    for span in spans:
        for text in (span.name, *texts_in(span.attributes), *texts_in([*span.attributes.values()])):
            require(text.isascii() and text.isprintable(), f"a span says {text!r}")
    require(not [body for body in collector.bodies for text in texts if text.encode() in body], "a span has the text")


async def scan_telemetry(run: Run) -> Observed:
    """Secrets and personal data go through while figures and traces are taken; both are searched."""
    async with traced(run, metrics=True) as (collector, page):
        needles = await canaries(run.world)
    sent = b"".join(collector.bodies) + page[0].encode()
    found = [what for what, needle in needles.items() if needle.encode() in sent]
    attributes = {name for span in collector.spans() for name in span.attributes}
    facts = {
        "scanned": len(sent),
        "found": found,
        "attributes": attributes,
        "page": page[0],
        "spans": collector.spans(),
    }
    return Observed(facts=facts)


@phrase(r"arguments only as hashes by default")
async def arguments_as_hashes(run: Run, seen: Observed, match: Match) -> None:
    """There is no attribute and no label of arguments or results; the request's id leads to their digests in the log."""
    facts = seen.facts
    require(not [name for name in facts["attributes"] if re.search(r"argument|result|input|output", name)], "contents")
    require(not re.search(r'[{,](?:argument|path|body|task|human|request)="', facts["page"]), "a label of contents")
    require("gen_ai.tool.name" in facts["attributes"] and "lictor_decisions" in facts["page"], "nothing was observed")
    asked = {span.attributes.get("lictor.request.id") for span in facts["spans"]} - {None}
    known = {record.request for record in run.records() if isinstance(record, RequestReceived)}
    require(asked and asked <= known, "a trace leads to no record")


def _recorded(told: list[Told]) -> str:
    return "\n".join(text for one in told for text in texts_in(one.record))
