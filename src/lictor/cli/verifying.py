"""Verify a state folder's log without trusting it: nothing of the store is opened that the damage could have reached."""

from collections.abc import Callable
from itertools import islice
from pathlib import Path
from typing import Any, Final

from lictor.model.errors import LictorError
from lictor.records.checkpoint import Checkpoint, open_checkpoint
from lictor.records.verify import verify_log
from lictor.service.consistency import inconsistencies
from lictor.stores.keys import ANCHOR_FILE, Keys
from lictor.stores.sqlite import SqliteStore

MAX_ODD: Final = 1_000
"""Inconsistencies listed at most; a log with more is told apart from a good one by the first."""


def verify_state(state: Path, origin: str, anchor: Path | None, on_progress: Callable[[int], None]) -> dict[str, Any]:
    """Check entries, checkpoints and anchor.

    Args:
        anchor: a checkpoint kept elsewhere; None takes the state folder's own, which is weaker.

    Returns:
        `ok`, `size`, `root` (hex), `anchor` (a sentence), `findings` (kind, position, message).
    """
    keys = Keys.open(state)
    verifier = keys.verifier_key(origin)
    known, sentence = _anchor(anchor or keys.folder / ANCHOR_FILE, verifier, given=anchor is not None)
    store = SqliteStore.open_unverified(state / "log.db")
    try:
        odd = list(islice(inconsistencies(store.entries()), MAX_ODD))
        report = verify_log(store.entries(), list(store.checkpoints()), verifier, anchor=known, on_progress=on_progress)
    finally:
        store.close()
    findings = [{"kind": f.kind.value, "position": f.position, "message": f.message} for f in report.findings]
    findings += [{"kind": "inconsistent", "position": one.position, "message": one.message} for one in odd]
    return {
        "ok": not findings,
        "size": report.size,
        "root": report.root.hex(),
        "checkpoints": report.checkpoints,
        "anchor": sentence,
        "findings": findings,
    }


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
