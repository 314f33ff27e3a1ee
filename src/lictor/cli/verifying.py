"""Verify a state folder's log without trusting it: nothing of the store is opened that the damage could have reached.

One thing is written before: what a gateway that died has left in its journal goes into the tables, as for whoever opens the log.
"""

import sqlite3
from collections.abc import Callable, Sequence
from dataclasses import replace
from itertools import islice
from pathlib import Path
from typing import Any, Final

from lictor.cli.log_keys import chain_of
from lictor.cli.split import Plan, Sound, consistent, cores, sound, width_for
from lictor.model.errors import LictorError
from lictor.records.checkpoint import Checkpoint, LogKeys, VerifierKey, open_checkpoint
from lictor.records.findings import FindingKind
from lictor.records.keychain import KeyChain
from lictor.records.verify import Report, verify_log
from lictor.service.evidence.consistency import Inconsistency, inconsistencies
from lictor.stores.backup import seal_of
from lictor.stores.keys import ANCHOR_FILE, LOG_FILE, Keys
from lictor.stores.ranged import RangedSnapshot
from lictor.stores.recovery import recover_if_left
from lictor.stores.sqlite import SqliteStore
from lictor.stores.sqlite_schema import Log

MAX_ODD: Final = 1_000
"""Inconsistencies listed at most; a log with more is told apart from a good one by the first."""
FEW: Final = 20_000
"""Entries up to which one process is done before others have started."""


def verify_state(
    state: Path,
    origin: str,
    anchor: Path | None,
    on_progress: Callable[[int], None],
    *,
    witnessed: Sequence[Checkpoint] = (),
) -> dict[str, Any]:
    """Check entries, checkpoints and anchor.

    Args:
        witnessed: checkpoints of this log that witnesses have cosigned, verified: anchors, too.
        anchor: a checkpoint kept elsewhere; None takes the state folder's own, which is weaker.

    Returns:
        `ok`, `size`, `root` (hex), `anchor` (a sentence), `sealed`, `findings` (kind, position, message).
    """
    keys = Keys.open(state)
    path = state / LOG_FILE
    left = _left_in_the_journal(Log(path, origin, keys.signer))
    verifier, broken = _keys(path, VerifierKey.of(origin, keys.signer))
    known, sentence = _anchor(anchor or keys.folder / ANCHOR_FILE, verifier, given=anchor is not None)
    anchors = [*([known] if known is not None else []), *witnessed, *verifier.heads()]
    report, odd = verified(path, verifier, anchors, on_progress)
    findings = (
        left + broken + [{"kind": f.kind.value, "position": f.position, "message": f.message} for f in report.findings]
    )
    findings += [{"kind": "inconsistent", "position": one.position, "message": one.message} for one in odd]
    return {
        "ok": not findings,
        "size": report.size,
        "root": report.root.hex(),
        "checkpoints": report.checkpoints,
        "anchor": sentence,
        "sealed": _sealed(path),
        "findings": findings,
    }


def verified(
    path: Path,
    keys: KeyChain,
    anchors: Sequence[Checkpoint],
    on_progress: Callable[[int], None],
    *,
    workers: int | None = None,
    width: int | None = None,
) -> tuple[Report, list[Inconsistency]]:
    """A log's tree, and what cannot rightly stand in it. Split over the cores first; whatever is in doubt is then read in order.

    Args:
        path: the log's file.
        keys: who signs it.
        anchors: checkpoints from elsewhere, opened.
        on_progress: told how many entries are read.
        workers: processes; None: one a core in a long log.
        width: entries in a part, a power of two; None: as fits the log's length.

    Raises:
        StoreError: `log_damaged`: the file cannot be opened.
    """
    with RangedSnapshot(path) as view:
        size = _covered(view)
    count = workers or (1 if size <= FEW else cores())
    before = tuple(one for one in anchors if one.size <= size)
    plan = Plan(path, keys, before, size, width or width_for(size, count))
    begun = sound(plan, on_progress, key_changes=keys.places(), workers=count)
    with RangedSnapshot(path) as view:
        report = _to_the_end(view, begun, keys, anchors, on_progress)
        told = begun.told if report.ok else None
        if told is not None and consistent(told, size, view.entries(size, report.size), view.entries):
            return report, []
    return report, odd_in(path, report.size, keys.places())


def _left_in_the_journal(log: Log) -> list[dict[str, Any]]:
    """Have what is only in the journal put into the tables, by the gateway that has it or in the place of one that died."""
    try:
        if log.path.exists():
            recover_if_left(log)
    except (LictorError, OSError, sqlite3.Error, TypeError, ValueError) as error:  # it may be damaged in any way
        message = error.message if isinstance(error, LictorError) else f"the journal cannot be read: {error}"
        return [{"kind": FindingKind.UNREADABLE.value, "position": 0, "message": message}]
    return []


def _covered(view: RangedSnapshot) -> int:
    try:
        return view.covered()
    except (LictorError, TypeError):
        return 0  # it cannot be read: reading it in order says why


def _to_the_end(
    view: RangedSnapshot,
    begun: Sound,
    keys: LogKeys,
    anchors: Sequence[Checkpoint],
    on_progress: Callable[[int], None],
) -> Report:
    """From where the tree is beyond doubt to the end of the log; all of it, in order, when anything is found."""
    tree = begun.tree
    if tree is not None and not view.rolled_behind(tree.size):
        heads = view.heads_from(tree.size)
        later = [one for one in anchors if one.size > tree.size]
        report = verify_log(view.entries(tree.size), heads, keys, anchor=later, on_progress=on_progress, start=tree)
        if report.ok:
            return replace(report, checkpoints=begun.heads + report.checkpoints - 1)
    return verify_log(
        view.entries(), view.checkpoints(), keys, anchor=anchors, on_progress=on_progress, rolls=view.rolls()
    )


def entries_in(state: Path) -> int:
    """How many entries there are to verify, as far as the file can say; 0 where it cannot."""
    try:
        with SqliteStore.open_unverified(state / LOG_FILE) as view:
            return view.size()
    except LictorError:
        return 0


def _keys(path: Path, own: VerifierKey) -> tuple[KeyChain, list[dict[str, Any]]]:
    """The keys that follow from the folder's own; where what the log says of them does not hold, only that one and a finding."""
    try:
        with SqliteStore.open_unverified(path) as view:
            return chain_of(view, own), []
    except LictorError as error:
        return KeyChain(own), [{"kind": FindingKind.KEY.value, "position": 0, "message": error.message}]


def odd_in(path: Path, stop: int, key_changes: frozenset[int] | None = None) -> list[Inconsistency]:
    """What cannot rightly stand among the first entries of a log, at most `MAX_ODD`. An unreadable one is the tree's finding."""
    found: list[Inconsistency] = []
    try:
        with SqliteStore.open_unverified(path) as view:
            found.extend(
                islice(inconsistencies(view.entries(0, stop), lambda: view.entries(0, stop), key_changes), MAX_ODD)
            )
    except LictorError:
        return found
    return found


def _sealed(path: Path) -> bool:
    """Whether it was restored from a backup and nobody has raised the epoch since."""
    try:
        return seal_of(path) is not None
    except LictorError:
        return False  # it cannot be read: there are findings


def _anchor(path: Path, verifier: LogKeys, *, given: bool) -> tuple[Checkpoint | None, str]:
    """The anchor's checkpoint. One that was asked for must be there and must open; the default one may not exist yet."""
    try:
        text = path.read_text("utf-8")
    except FileNotFoundError:
        if given:
            raise
        return None, "no anchor outside the database yet: a cut tail could go unseen"
    try:
        checkpoint = open_checkpoint(text, verifier)
    except LictorError as error:
        error.where = str(path)
        raise
    where = "the anchor given" if given else "the local anchor (keep a copy elsewhere: lictor log checkpoint)"
    return checkpoint, f"consistent with {where} at {checkpoint.size}"
