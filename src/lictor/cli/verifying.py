"""Verify a state folder's log without trusting it: nothing of the store is opened that the damage could have reached."""

import multiprocessing
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import ExitStack
from itertools import islice
from pathlib import Path
from typing import Any, Final

from lictor.model.errors import LictorError
from lictor.records.checkpoint import Checkpoint, open_checkpoint
from lictor.records.verify import verify_log
from lictor.service.consistency import Inconsistency, inconsistencies
from lictor.stores.backup import seal_of
from lictor.stores.keys import ANCHOR_FILE, LOG_FILE, Keys
from lictor.stores.sqlite import SqliteStore

MAX_ODD: Final = 1_000
"""Inconsistencies listed at most; a log with more is told apart from a good one by the first."""
BESIDE: Final = 40_000
"""Entries from which a second process is worth its start: it looks at what records say while this one hashes them."""


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
    verifier = keys.verifier_key(origin)
    known, sentence = _anchor(anchor or keys.folder / ANCHOR_FILE, verifier, given=anchor is not None)
    anchors = [*([known] if known is not None else []), *witnessed]
    path = state / LOG_FILE
    size = entries_in(state)
    with ExitStack() as stack:
        beside = stack.enter_context(_process()).submit(odd_in, path, size) if size >= BESIDE else None
        view = stack.enter_context(SqliteStore.open_unverified(path))
        report = verify_log(
            view.entries(), view.checkpoints(), verifier, anchor=anchors, on_progress=on_progress, rolls=view.rolls()
        )
        odd = _odd(path, report.size, beside)
    findings = [{"kind": f.kind.value, "position": f.position, "message": f.message} for f in report.findings]
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


def entries_in(state: Path) -> int:
    """How many entries there are to verify, as far as the file can say; 0 where it cannot."""
    try:
        with SqliteStore.open_unverified(state / LOG_FILE) as view:
            return view.size()
    except LictorError:
        return 0


def odd_in(path: Path, stop: int) -> list[Inconsistency]:
    """What cannot rightly stand among the first entries of a log, at most `MAX_ODD`. An unreadable one is the tree's finding."""
    found: list[Inconsistency] = []
    try:
        with SqliteStore.open_unverified(path) as view:
            found.extend(islice(inconsistencies(view.entries(0, stop), lambda: view.entries(0, stop)), MAX_ODD))
    except LictorError:
        return found
    return found


def _process() -> ProcessPoolExecutor:
    return ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("spawn"))


def _odd(path: Path, stop: int, beside: "Future[list[Inconsistency]] | None") -> list[Inconsistency]:
    """From the process beside; here where there is none, or where it died."""
    try:
        return odd_in(path, stop) if beside is None else beside.result()
    except BrokenProcessPool:
        return odd_in(path, stop)


def _sealed(path: Path) -> bool:
    """Whether it was restored from a backup and nobody has raised the epoch since."""
    try:
        return seal_of(path) is not None
    except LictorError:
        return False  # it cannot be read: there are findings


def _anchor(path: Path, verifier: str, *, given: bool) -> tuple[Checkpoint | None, str]:
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
