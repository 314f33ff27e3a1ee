"""The log: damaged in every way, appended to at once, compared with what happened, replayed, searched for secrets."""

import asyncio
import os
import shutil
import sqlite3
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

from adversarial.model import Observed, Unreadable, Word
from adversarial.run import Run, verb
from adversarial.world import UPSTREAM_SECRET, World
from lictor.cli import verifying
from lictor.model.errors import LictorError, UpstreamError
from lictor.model.reasons import Reason
from lictor.model.record import DecisionMade, ExecutionEnded, ExecutionStarted
from lictor.records import verify
from lictor.records.checkpoint import Checkpoint, open_checkpoint, sign_checkpoint
from lictor.records.merkle import FrontierBuilder
from lictor.records.verify import Entry
from lictor.stores.keys import Keys

ORIGIN = "case.example/log"
CALLS = int(os.environ.get("LICTOR_CALLS", "150"))
"""Calls that are reconciled with their records; a release runs many more, and the number is reported with the result."""
SEGMENT_BYTES = 1_200
"""Size of the closed segment whose every bit is flipped."""

Found = tuple[str, bool, str]
"""(what was done, whether it was detected, where)."""


async def traffic(world: World) -> None:
    """A little of everything: allowed, denied, held, approved, redeemed, malformed."""
    await world.call("fs.read_file", {})
    await world.call("fs.read_file", {"path": "/etc/passwd"})
    await world.call("bank.transfer", {"amount": "50.00"})
    await world.call("bank.transfer", {"amount": "50000.00"})
    await world.call("bank.transfer", {"amount": "NaN"})
    held = await world.hold("traffic")
    await world.approve(held)
    await world.redeem(held)
    await world.redeem(held)
    await world.call("mail.send", {"to": "x@evil.example"})
    await world.settle()


def anchored(world: World) -> Path:
    """Keep the newest checkpoint outside the database, as the gateway's sweep does; the state folder's place comes back."""
    newest = list(world.store.checkpoints())[-1]
    world.main.house.keys.write_anchor(newest)
    world.store.close()
    return world.main.house.state


def examined(state: Path) -> tuple[bool, str]:
    """`lictor log verify` on a state folder: whether it found anything, and what."""
    try:
        report = verifying.verify_state(state, ORIGIN, None, lambda _: None)
    except LictorError as error:
        return True, f"{error.reason.value}: {error}"
    return not report["ok"], "; ".join(f"{found['kind']} at {found['position']}" for found in report["findings"])


def damaged(run: Run, state: Path, what: str, change: Callable[[sqlite3.Connection], None]) -> Found:
    """A copy of the log, changed by its owner with every safeguard of the database removed."""
    copy = run.world.folder / f"copy-{len(list(run.world.folder.glob('copy-*')))}"
    shutil.copytree(state, copy)
    connection = sqlite3.connect(copy / "log.db", isolation_level=None)
    try:
        for (name,) in connection.execute("SELECT name FROM sqlite_schema WHERE type = 'trigger'").fetchall():
            connection.execute(f'DROP TRIGGER "{name}"')
        change(connection)
    finally:
        connection.close()
    found, where = examined(copy)
    shutil.rmtree(copy)
    return what, found, where


@verb("tamper", "kind", "exhaustive", durable=True)
async def tamper(run: Run, step: dict[str, Any]) -> Observed:
    """Damage a log and verify it."""
    world = run.world
    await traffic(world)
    kinds = step["kind"] if isinstance(step["kind"], list) else [step["kind"]]
    unknown = [kind for kind in kinds if kind not in _KINDS]
    if unknown:
        raise Unreadable(f"unknown damage {unknown[0]!r}")
    refused = _deletes(world)
    state = anchored(world)
    clean, where = examined(state)
    if clean:
        raise AssertionError(f"the undamaged log does not verify: {where}")
    tried = [found for kind in kinds for found in _KINDS[kind](run, state)]
    missed = [what for what, found, _ in tried if not found]
    nowhere = [what for what, found, where in tried if found and not any(char.isdigit() for char in where)]
    run.world.dialogue.append(f"   {len(tried)} changes tried, {len(missed)} missed: {missed[:5]}")
    return Observed(
        word=Word.DETECT if tried and not missed else None,
        text="; ".join(where for _, _, where in tried[:3]),
        facts={"tried": len(tried), "missed": missed, "nowhere": nowhere, "delete_refused": refused, "kinds": kinds},
    )


def _deletes(world: World) -> bool:
    """Whether an ordinary session on the database is stopped from deleting records."""
    connection = sqlite3.connect(world.folder / "state" / "log.db", isolation_level=None)
    try:
        connection.execute("DELETE FROM entries")
    except sqlite3.DatabaseError:
        return True
    else:
        return False
    finally:
        connection.close()


def _bitflips(run: Run, state: Path) -> list[Found]:
    """Every bit of a closed segment: all entries up to a checkpoint, whose stored leaf hashes the attacker recomputes."""
    keys = Keys.open(state)
    key = keys.verifier_key(ORIGIN)
    entries, heads = _read(state)
    head = next(text for text in heads if sum(map(len, entries[: _size(text, key)])) >= SEGMENT_BYTES)
    segment = entries[: _size(head, key)]
    found: list[Found] = []
    for number, data in enumerate(segment):
        for bit in range(len(data) * 8):
            flipped = bytearray(data)
            flipped[bit // 8] ^= 1 << (bit % 8)
            changed = [Entry(n, bytes(flipped) if n == number else other) for n, other in enumerate(segment)]
            report = verify.verify_log(changed, [head], key)
            where = "; ".join(f"{finding.kind} at {finding.position}" for finding in report.findings)
            found.append((f"bit {bit} of entry {number}", not report.ok, where))
    return found


def _read(state: Path) -> tuple[list[bytes], list[str]]:
    connection = sqlite3.connect(state / "log.db")
    try:
        entries = [bytes(data) for (data,) in connection.execute("SELECT data FROM entries ORDER BY seq")]
        heads = [text for (text,) in connection.execute("SELECT text FROM checkpoints ORDER BY size")]
    finally:
        connection.close()
    return entries, heads


def _size(text: str, key: str) -> int:
    return int(open_checkpoint(text, key).size)


def _tails(run: Run, state: Path) -> list[Found]:
    """The last k records, with every checkpoint that covered them and a head that fits."""
    entries, _ = _read(state)
    return [damaged(run, state, f"last {many} records", _cut(entries, many)) for many in range(1, len(entries) + 1)]


def _cut(entries: list[bytes], many: int) -> Callable[[sqlite3.Connection], None]:
    kept = len(entries) - many

    def change(connection: sqlite3.Connection) -> None:
        connection.execute("DELETE FROM entries WHERE seq >= ?", (kept,))
        connection.execute("DELETE FROM checkpoints WHERE size > ?", (kept,))
        tree = FrontierBuilder()
        for data in entries[:kept]:
            tree.append(data)
        connection.execute("UPDATE head SET frontier = ?", (tree.to_bytes(),))

    return change


def _dropped(run: Run, state: Path) -> list[Found]:
    """The whole file; and the whole content of it."""
    copy = run.world.folder / "dropped"
    shutil.copytree(state, copy)
    for path in copy.glob("log.db*"):
        path.unlink()
    found, where = examined(copy)
    # What is missing as a whole is named as a whole: there is no position in a log that is gone.
    gone = ("the log file", found, where if any(char.isdigit() for char in where) else f"{where} at 0")

    def empty(connection: sqlite3.Connection) -> None:
        for table in ("entries", "checkpoints", "rows", "payloads"):
            connection.execute(f"DELETE FROM {table}")

    return [gone, damaged(run, state, "every record", empty)]


def _swapped(run: Run, state: Path) -> list[Found]:
    entries, _ = _read(state)
    pairs = [(first, first + 1) for first in range(len(entries) - 1)] + [(0, len(entries) - 1)]
    return [damaged(run, state, f"swap {a} and {b}", _swap(a, b)) for a, b in pairs]


def _swap(first: int, second: int) -> Callable[[sqlite3.Connection], None]:
    def change(connection: sqlite3.Connection) -> None:
        rows = dict(connection.execute("SELECT seq, data FROM entries WHERE seq IN (?, ?)", (first, second)).fetchall())
        leaves = dict(
            connection.execute("SELECT seq, leaf FROM entries WHERE seq IN (?, ?)", (first, second)).fetchall()
        )
        for target, source in ((first, second), (second, first)):
            connection.execute(
                "UPDATE entries SET data = ?, leaf = ? WHERE seq = ?", (rows[source], leaves[source], target)
            )

    return change


def _inserted(run: Run, state: Path, *, copies: bool) -> list[Found]:
    entries, _ = _read(state)
    places = (0, len(entries) // 2, len(entries))
    what = "duplicate" if copies else "insert"
    return [damaged(run, state, f"{what} at {place}", _insert(place, copies=copies)) for place in places]


def _insert(place: int, *, copies: bool) -> Callable[[sqlite3.Connection], None]:
    def change(connection: sqlite3.Connection) -> None:
        rows = connection.execute("SELECT seq, data, leaf FROM entries ORDER BY seq").fetchall()
        data = rows[max(0, place - 1)][1] if copies else rows[-1][1].replace(b'"v":1', b'"v":1 ')
        tree = FrontierBuilder()
        leaf = tree.append(data)
        changed = [(data, leaf) if n == place else rows[n - (n > place)][1:] for n in range(len(rows) + 1)]
        connection.execute("DELETE FROM entries")
        connection.executemany("INSERT INTO entries VALUES(?, ?, ?)", [(n, *row) for n, row in enumerate(changed)])

    return change


def _forked(run: Run, state: Path) -> list[Found]:
    """The log's own key signs another root of the same size: two auditors compare what they were shown."""
    keys = Keys.open(state)
    key = keys.verifier_key(ORIGIN)
    entries, heads = _read(state)
    other = FrontierBuilder()
    for data in [*entries[:-1], entries[-1] + b" "]:
        other.append(data)
    forged = sign_checkpoint(Checkpoint(ORIGIN, len(entries), other.root()), keys.signer)
    numbered = [Entry(n, data) for n, data in enumerate(entries)]
    gossip = verify.verify_log(numbered, [*heads, forged], key)
    witness = verify.verify_log(numbered, heads, key, anchor=open_checkpoint(forged, key))
    return [
        (name, not report.ok, "; ".join(f"{finding.kind} at {finding.position}" for finding in report.findings))
        for name, report in (("two heads compared", gossip), ("a head kept by a witness", witness))
    ]


def _sql(run: Run, state: Path) -> list[Found]:
    entries, _ = _read(state)

    def one(seq: int) -> Callable[[sqlite3.Connection], None]:
        return lambda connection: connection.execute("DELETE FROM entries WHERE seq = ?", (seq,)) and None

    return [damaged(run, state, f"DELETE of {seq}", one(seq)) for seq in range(len(entries))]


_KINDS: dict[str, Callable[[Run, Path], list[Found]]] = {
    "bitflip": _bitflips,
    "tail": _tails,
    "drop_chain": _dropped,
    "swap": _swapped,
    "dup": lambda run, state: _inserted(run, state, copies=True),
    "insert": lambda run, state: _inserted(run, state, copies=False),
    "fork": _forked,
    "sql_delete": _sql,
}


@verb("parallel_append", "n", durable=True)
async def parallel_append(run: Run, step: dict[str, Any]) -> Observed:
    """So many gateways append to one log at the same moment."""
    world, many = run.world, int(step["n"])
    while len(world.gateways) < many:
        gateway = world._gateway()
        gateway.house.policy.swap(world.main.house.policy.current())
        world.gateways.append(gateway)
    sessions = [await world.new_session() for _ in range(many)]
    run.mark()
    await asyncio.gather(
        *(world.call("fs.read_file", {}, session=sessions[n % many], gateway=n % many) for n in range(many * 6))
    )
    await world.settle()
    entries = list(world.store.entries())
    report = verify.verify_log(entries, world.store.checkpoints(), world.main.house.keys.verifier_key(ORIGIN))
    views = [[entry.data for entry in gateway.store.inner.entries()] for gateway in world.gateways]
    return Observed(
        word=None,
        facts={
            "numbers": [entry.seq for entry in entries],
            "findings": [str(finding.kind) for finding in report.findings],
            "views": len({tuple(view) for view in views}),
            "effects": len(run.effects()),
            "wanted": many * 6,
        },
    )


@verb("reconcile", durable=True)
async def reconcile(run: Run, step: dict[str, Any]) -> Observed:
    """Many calls, some with servers that fail before or after the effect; then both sides are counted."""
    world, turn = run.world, [0]

    def before(_server: str, method: str) -> None:
        turn[0] += method == "tools/call"
        if method == "tools/call" and turn[0] % 7 == 3:
            raise UpstreamError(Reason.UPSTREAM_DOWN, "not reached", effect_possible=False)

    def after(_server: str, method: str) -> None:
        if method == "tools/call" and turn[0] % 11 == 5:
            raise UpstreamError(Reason.UPSTREAM_TIMEOUT, "no answer", effect_possible=True)

    world.servers.fault, world.servers.after = before, after
    tools = ("fs.read_file", "bank.transfer", "x.set", "fs.write_file")
    for start in range(0, CALLS, 25):
        batch = range(start, min(start + 25, CALLS))
        await asyncio.gather(*(world.call(tools[n % 4], {"n": n} if n % 4 == 2 else {}) for n in batch))
    await world.settle()
    records = run.records()
    decided = {record.decision for record in records if isinstance(record, DecisionMade) and record.outcome == "allow"}
    started = [record for record in records if isinstance(record, ExecutionStarted)]
    ended = {record.execution: record for record in records if isinstance(record, ExecutionEnded)}
    happened = Counter(effect.digest for effect in run.effects())
    certain = Counter(s.arguments for s in started if ended[s.execution].outcome == "executed")
    unknown = Counter(s.arguments for s in started if ended[s.execution].outcome == "indeterminate")
    outcomes = Counter(record.outcome for record in ended.values())
    world.dialogue.append(f"   {len(started)} executions, {sum(happened.values())} effects, {dict(outcomes)}")
    return Observed(
        word=None,
        facts={
            "without decision": [s.execution for s in started if s.decision not in decided],
            "missing": certain - happened,
            "surplus": happened - certain - unknown,
            "outcomes": dict(outcomes),
            "open": len(world.store.open_executions()),
            "calls": CALLS,
        },
    )


@verb("replay", durable=True)
async def replay(run: Run, step: dict[str, Any]) -> Observed:
    """Every decision of a mixed log again, from its record alone."""
    await traffic(run.world)
    found = [(one.status.value, one.detail) for one in run.world.main.house.replay()()]
    return Observed(word=None, facts={"replayed": found, "decisions": len(run.decisions())})


@verb("scan", "what", durable=True)
async def scan(run: Run, step: dict[str, Any]) -> Observed:
    """Secrets and personal data go through; then every file of the log is searched for them."""
    if step["what"] == "repo":
        from adversarial.verbs.registry import scan_tree

        return await scan_tree(run)
    if step["what"] == "otlp":
        from adversarial.verbs.sinks import scan_telemetry

        return await scan_telemetry(run)
    if step["what"] != "log":
        raise Unreadable(f"nothing to search: {step['what']!r}")
    world = run.world
    needles = await canaries(world)
    newest = list(world.store.checkpoints())[-1]
    world.main.house.keys.write_anchor(newest)
    content = b"".join(path.read_bytes() for path in sorted((world.folder / "state").glob("log.db*")))
    found = [what for what, needle in needles.items() if needle.encode() in content]
    return Observed(word=None, facts={"found": found, "searched": len(content), "needles": sorted(needles)})


async def canaries(world: World) -> dict[str, str]:
    """Secrets and personal data in arguments, bytes that cannot be read, and tokens; what each is, and its text."""
    number, name, key = 4929123456780001, "Erika Mustermann 1977-04-05", f"key {UPSTREAM_SECRET}"
    await world.call("x.set", {"id": number, "n": 31415926535})
    await world.call("fs.write_file", {"text": f"{name}; {key}"})
    await world.call("mail.send", {"to": "erika@mustermann.example", "body": key})
    await world.call("bank.transfer", {"to": "DE89370400440532013000", "amount": "12.34"})
    await world.call("fs.read_file", {"path": "/srv/ws/a", "note": name})
    session = await world.session()
    await world.send(session, world.transport(session), f'{{"name": "{name}", "key": "{key}"'.encode())
    await world.settle()
    return {
        "integer": str(number),
        "small integer": "31415926535",
        "name": name,
        "key": UPSTREAM_SECRET,
        "mail": "erika@mustermann.example",
        "account": "DE89370400440532013000",
        "token": session.token,
    }
