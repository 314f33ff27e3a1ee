"""Verify what left the house: an exported log, one proof, and what witnesses say. Nothing of ours is needed but the program.

Keys come from the caller and never from what is verified.
"""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from lictor.cli.log_keys import follow, statements_in, unrecorded
from lictor.cli.output import moment
from lictor.model.errors import LictorError, OperatorError
from lictor.model.reasons import Reason
from lictor.records.checkpoint import Checkpoint, LogKeys, VerifierKey, open_checkpoint
from lictor.records.cosign import WitnessKey, open_witnessed
from lictor.records.keychain import Handover
from lictor.records.note import MAX_TEXT, read_note
from lictor.records.proof import Proof, verify_proof
from lictor.records.verify import verify_log
from lictor.service.evidence.consistency import inconsistencies
from lictor.service.evidence.gist import Listening, Told
from lictor.stores.tiles import STATEMENTS, TileCheck, TileFolder

MAX_ODD = 1_000
"""Inconsistencies listed at most."""


@dataclass(slots=True)
class Statements:
    """What the witnesses that were asked for say of a log: anchors that it must contain, and what is missing."""

    anchors: list[Checkpoint] = field(default_factory=list)
    said: list[dict[str, Any]] = field(default_factory=list)
    """For each witness: its name, the size it has seen, and when, in milliseconds since the epoch."""
    findings: list[dict[str, Any]] = field(default_factory=list)

    def sentence(self) -> str:
        """For people; empty: nobody was asked."""
        told = [f"witness {one['witness']} saw the first {one['size']} at {moment(one['at'])}" for one in self.said]
        return "; ".join(told)

    def into(self, report: dict[str, Any]) -> dict[str, Any]:
        """A report of the log, with what the witnesses say of it."""
        findings = [*report["findings"], *self.findings]
        told = "; ".join(filter(None, [report["anchor"], self.sentence()]))
        return {**report, "ok": not findings, "anchor": told, "witnessed": self.said, "findings": findings}


def statements(notes: Iterable[str], log: LogKeys, witnesses: Sequence[WitnessKey]) -> Statements:
    """The largest checkpoint that each witness cosigned, of those there are.

    A witness that says nothing is a finding: it was asked for because the log's own word is not enough.
    """
    found = Statements()
    kept = list(notes)
    for key in witnesses:
        best: tuple[Checkpoint, int] | None = None
        for note in kept:
            try:
                if not any((one.name, one.key_id) == (key.name, key.key_id()) for one in read_note(note).signatures):
                    continue
                opened = open_witnessed(note, log, [key])
            except LictorError as error:
                found.findings.append({"kind": "cosignature", "position": 0, "message": str(error)})
                continue
            if best is None or opened.checkpoint.size > best[0].size:
                best = opened.checkpoint, opened.times[key.name]
        if best is None:
            message = f"no checkpoint is there that witness {key.name!r} has cosigned"
            found.findings.append({"kind": "unwitnessed", "position": 0, "message": message})
        else:
            found.anchors.append(best[0])
            found.said.append({"witness": key.name, "size": best[0].size, "at": best[1] * 1_000})
    return found


def read_text(path: Path) -> str:
    """A file that the caller named.

    Raises:
        OperatorError: `config_refused`: it cannot be read, or is no text.
    """
    try:
        with path.open("rb") as file:
            return file.read(4 * MAX_TEXT).decode()
    except (OSError, UnicodeDecodeError) as error:
        raise OperatorError(Reason.CONFIG_REFUSED, f"cannot be read: {error}", where=str(path)) from None


def verify_export(
    folder: Path,
    key: VerifierKey,
    *,
    told: Sequence[Handover] = (),
    anchors: Sequence[str] = (),
    witnesses: Sequence[WitnessKey] = (),
    on_progress: Callable[[int], None] = lambda _: None,
) -> dict[str, Any]:
    """Check an exported log, from its files alone.

    Args:
        folder: the export.
        key: of the log, any one that it was signed with; not the one that lies in the folder.
        told: how its keys follow from each other, beside what the folder says.
        anchors: checkpoints kept elsewhere, as signed.
        witnesses: who must have cosigned a checkpoint of it.
        on_progress: told how many entries are read.

    Returns:
        `ok`, `size`, `root` (hex), `checkpoints`, `anchor` (a sentence), `witnessed`, `findings` (kind, position, message).

    Raises:
        OperatorError: `config_refused`: there is no export.
        StoreError: `log_damaged`: its checkpoint, or an anchor, is not signed by the key.
    """
    tiles = TileFolder(folder)
    note = tiles.checkpoint()
    if note is None:
        raise OperatorError(Reason.CONFIG_REFUSED, "no exported log is there", where=str(folder))
    own = folder / STATEMENTS
    keys = follow(key, statements_in(own) if own.exists() else (), told)
    size = open_checkpoint(note, keys).size
    known = [open_checkpoint(one, keys) for one in anchors]
    said = statements([note, *tiles.cosigned(), *anchors], keys, witnesses)
    check, listening = TileCheck(tiles), Listening(Told(keys.places()), 0)
    report = verify_log(
        listening.over(check.over(tiles.entries(size))),
        [note],
        keys,
        anchor=[*known, *said.anchors, *keys.heads()],
        on_progress=on_progress,
    )
    findings = [{"kind": one.kind.value, "position": one.position, "message": one.message} for one in report.findings]
    findings += [{"kind": "tile", "position": first, "message": message} for first, message in check.wrong]
    findings += said.findings
    if not findings:
        wrong = unrecorded(keys, lambda seq: tiles.entry(seq, size), size)
        findings += [{"kind": "key", "position": place, "message": message} for place, message in wrong]
    if not findings and not listening.sure(lambda: tiles.entries(size)):
        findings += _odd(tiles, size, keys.places())
    at = ", ".join(str(one.size) for one in known)
    parts = [f"consistent with the anchor given at {at}" if known else "", said.sentence()]
    return {
        "ok": not findings,
        "size": report.size,
        "root": report.root.hex(),
        "checkpoints": report.checkpoints,
        "anchor": "; ".join(filter(None, parts))
        or "no anchor and no witness: a rewrite by the log's own key would go unseen",
        "witnessed": said.said,
        "findings": findings,
    }


def _odd(tiles: TileFolder, size: int, key_changes: frozenset[int]) -> list[dict[str, Any]]:
    """What records say of each other and does not fit; only of a log that is whole, and of which that is in doubt."""
    found: list[dict[str, Any]] = []
    for one in inconsistencies(tiles.entries(size), lambda: tiles.entries(size), key_changes):
        found.append({"kind": "inconsistent", "position": one.position, "message": one.message})
        if len(found) >= MAX_ODD:
            break
    return found


def verify_one(path: Path, entry: Path | None, key: LogKeys, witnesses: Sequence[WitnessKey]) -> dict[str, Any]:
    """Check one proof.

    Args:
        path: of the proof.
        entry: of the record's bytes; None: they are in the proof.
        key: of the log.
        witnesses: who must have cosigned its checkpoint.

    Returns:
        `ok`, `index`, `size`, `witnessed`, `entry` (text).

    Raises:
        StoreError: `log_damaged`: it proves nothing.
        OperatorError: `config_refused`: a file cannot be read, or the record is nowhere.
    """
    proof = Proof.read(_large_text(path))
    data = entry.read_bytes() if entry is not None else proof.extra
    if data is None:
        raise OperatorError(
            Reason.CONFIG_REFUSED, "the proof is bare: the record is not in it", remedy="name its file with --entry"
        )
    found = verify_proof(proof, data, key, witnesses)
    return {
        "ok": True,
        "index": proof.index,
        "size": found.checkpoint.size,
        "witnessed": [
            {"witness": name, "size": found.checkpoint.size, "at": at * 1_000} for name, at in found.times.items()
        ],
        "entry": data.decode("utf-8", "replace"),
    }


def _large_text(path: Path) -> str:
    """A proof may carry a record."""
    try:
        return path.read_bytes().decode()
    except (OSError, UnicodeDecodeError) as error:
        raise OperatorError(Reason.CONFIG_REFUSED, f"cannot be read: {error}", where=str(path)) from None
