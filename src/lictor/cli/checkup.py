"""What `lictor doctor` finds out about the log's surroundings: owed work, the bundle in shadow, witnesses that disagree.

Refuses to change anything, and to know how findings are printed.
"""

from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final

from lictor.cli.output import moment, safe

if TYPE_CHECKING:
    from lictor.model.record import LogContradicted, LogEntry
    from lictor.service.evidence.shadow import Counts, InShadow

SHADOW_LATE: Final = 2_000
"""Entries that a bundle in shadow may be behind before it is told of: a tenth of what makes it skip."""
_TOLD: Final = 3
"""Contradictions named one by one."""
_TAG: Final = b'"type":"signal.log_contradicted"'


@dataclass(frozen=True, slots=True, kw_only=True)
class Check:
    """One finding. `state`: ok, warn, bad."""

    name: str
    state: str
    text: str
    remedy: str = ""


def erasure(log: Path) -> list[Check]:
    """Whether a key that was destroyed may still lie on an old page of the log's files.

    Raises:
        StoreError: the log cannot be read.
    """
    from lictor.stores.reader import LogReader

    with LogReader(log) as reader:
        if not reader.owes_scrub():
            return []
    text = "a key was destroyed, and an old page of the log's files may still hold it: somebody reads an older state"
    remedy = (
        "end what reads the log for long; a running gateway then cuts it off, or: lictor log erase --task TASK, again"
    )
    return [Check(name="erasure", state="warn", text=text, remedy=remedy)]


def shadow(told: "InShadow | None", size: int, *, followed: bool) -> list[Check]:
    """Which bundle runs in shadow, how far it is and what it has left out.

    Args:
        told: what is known of it; None: none is to run.
        size: entries of the log.
        followed: whether a gateway follows the log for it now.
    """
    if told is None:
        return []
    name, counts = safe(told.bundle, 80), told.counts
    if counts is None:
        text, remedy = f"{name}: nothing is compared yet", "a running gateway does it: lictor serve"
        return [Check(name="shadow", state="warn", text=text, remedy=remedy)]
    if counts.trouble:
        text, remedy = (
            f"{name}: {safe(counts.trouble, 300)}",
            "correct the bundle in shadow, or take it out of [shadow]",
        )
        return [Check(name="shadow", state="warn", text=text, remedy=remedy)]
    behind = max(0, size - counts.at)
    wrong = bool(counts.skipped) or (followed and behind > SHADOW_LATE)
    remedy = "lictor shadow" if counts.differed or wrong else ""
    text = f"{name}{_revision(counts)}: {_figures(counts)}, {behind} behind"
    text += "" if followed else f"; no gateway follows the log now (the last began at {moment(counts.started_at_ms)})"
    return [Check(name="shadow", state="warn" if wrong else "ok", text=text, remedy=remedy)]


def _revision(counts: "Counts") -> str:
    return f" ({counts.revision[:19]})" if counts.revision else ""


def _figures(counts: "Counts") -> str:
    figures = f"{counts.judged} decisions compared, {counts.differed} differ, {counts.untold} cannot be told"
    return f"{figures}, {counts.skipped} entries skipped" if counts.skipped else figures


def contradictions(log: Path, witnesses: Collection[str]) -> list[Check]:
    """The witnesses that have seen another version of this log, as the log says.

    Args:
        log: where it is.
        witnesses: names in the keys of those that are asked now; what others said before is past, and still told.

    Raises:
        StoreError: the log cannot be read.
    """
    from lictor.stores.reader import LogReader

    found: list[tuple[int, LogEntry, LogContradicted]] = []
    with LogReader(log) as reader:
        for entry in reader.entries():
            # Canonical JSON escapes quotes in strings: no name can hide or feign a tag.
            read = _contradicted(entry.data) if _TAG in entry.data else None
            if read is not None:
                found.append((entry.seq, *read))
    checks = []
    for seq, dated, record in found[-_TOLD:]:
        text = f"{safe(record.witness, 80)} contradicted this log at {moment(dated.at)} (entry {seq}): {safe(record.why, 200)}"
        state = "bad" if record.witness in witnesses else "warn"
        checks.append(Check(name="witness", state=state, text=text, remedy="docs/how-to/witness.md"))
    if len(found) > _TOLD:
        text = f"{len(found) - _TOLD} earlier contradictions"
        checks.append(Check(name="witness", state="warn", text=text, remedy="lictor log show --kind signal"))
    return checks


def _contradicted(data: bytes) -> "tuple[LogEntry, LogContradicted] | None":
    import msgspec

    from lictor.model.record import LogContradicted, decode_entry

    try:
        entry = decode_entry(data)
    except msgspec.MsgspecError:
        return None  # the log's own check says so
    return (entry, entry.record) if isinstance(entry.record, LogContradicted) else None
