"""`lictor shadow`: what the bundle in shadow would have answered otherwise, grouped, from the log."""

import argparse
import asyncio
import sys
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from lictor.cli.backtest import report_data, show_report
from lictor.cli.main import common
from lictor.cli.output import Exit, Out, safe
from lictor.cli.progress import Progress
from lictor.cli.span import filters, wanted_of
from lictor.model.errors import StoreError
from lictor.model.reasons import Reason

if TYPE_CHECKING:
    from lictor.model.ids import PolicyRevision
    from lictor.model.record import ShadowDiffered
    from lictor.service.calls.traffic import Wanted
    from lictor.service.evidence.backtest import Report, Sort
    from lictor.service.evidence.shadow import Counts
    from lictor.stores.reader import LogReader

_TAG: Final = b'"type":"signal.shadow_differed"'


def add(_: str, parser: argparse.ArgumentParser) -> None:
    """Arguments."""
    parser.description = (
        "Show what the bundle in shadow ([shadow] of lictor.toml) would have answered otherwise to live requests. Exit code 0; "
        "1 with --guard if anything is looser, or asks other people."
    )
    common(parser)
    filters(parser)
    parser.add_argument(
        "--revision",
        metavar="SHA256",
        help="of the bundle in shadow, or how it begins (default: the newest with differences)",
    )
    parser.add_argument(
        "--guard", action="store_true", help="exit 1 if anything is looser, or asks other people than it did"
    )
    parser.set_defaults(run=run)


@dataclass(frozen=True, slots=True)
class _Found:
    revision: "PolicyRevision | None"
    report: "Report"
    others: int
    """Differences of other revisions."""


def run(args: argparse.Namespace) -> int:
    """Show; exit 1 with `--guard` when it is not shown to be as strict."""
    from lictor.app import bundle_path, open_house
    from lictor.app.shadow import kept_counts
    from lictor.stores.reader import LogReader

    out = Out(as_json=args.json)
    house = asyncio.run(open_house(bundle_path(args.bundle), load=False))
    try:
        state, running = house.state, house.settings.shadow.bundle
    finally:
        house.close()
    counts = kept_counts(state)
    with LogReader(state / "log.db") as log:
        found = _read(log, wanted_of(args), args.revision or "", quiet=args.json)
    _show(out, running, counts, found)
    return Exit.NO if args.guard and found.report.suspect else Exit.OK


def _read(log: "LogReader", wanted: "Wanted", revision: str, *, quiet: bool) -> _Found:
    """The differences of one revision, by sort. What has no record of its own is counted with the next of its sort."""
    from lictor.service.evidence.backtest import Tally

    tallies: dict[PolicyRevision, Tally] = {}
    newest: PolicyRevision | None = None
    size = log.size()
    with Progress(sys.stderr, "reading", size, quiet=quiet) as bar:
        for entry in log.entries(0, size):
            bar.update(entry.seq + 1)
            # Canonical JSON escapes quotes in strings: no name can hide or feign a tag.
            record = _differed(entry.seq, entry.data, wanted) if _TAG in entry.data else None
            if record is None or not _named(record.revision, revision):
                continue
            newest = record.revision
            tallies.setdefault(newest, Tally()).add(_sort(record), record.request, 1 + record.more)
    reports = {name: tally.report() for name, tally in tallies.items()}
    others = sum(report.different for name, report in reports.items() if name != newest)
    return _Found(newest, reports[newest] if newest is not None else Tally().report(), others)


def _named(revision: str, wanted: str) -> bool:
    return revision.startswith(wanted) or revision.removeprefix("sha256:").startswith(wanted)


def _differed(seq: int, data: bytes, wanted: "Wanted") -> "ShadowDiffered | None":
    import msgspec

    from lictor.model.record import ShadowDiffered, decode_entry

    try:
        entry = decode_entry(data)
    except msgspec.MsgspecError as error:
        message = f"entry {seq} cannot be read: {str(error)[:200]}"
        raise StoreError(Reason.LOG_DAMAGED, message, remedy="see: lictor log verify") from error
    record = entry.record
    if not isinstance(record, ShadowDiffered) or entry.at < wanted.since_ms:
        return None
    mine = wanted.task in {None, record.task} and wanted.agent in {None, record.agent}
    return record if mine else None


def _sort(record: "ShadowDiffered") -> "Sort":
    from lictor.service.evidence.backtest import NEW, Sort

    return Sort(
        kind=NEW[record.outcome],
        agent=record.agent,
        action=record.action,
        was=record.was,
        was_reason=record.was_reason,
        was_by=tuple(record.was_policies),
        now=record.outcome,
        now_reason=record.reason,
        now_by=tuple(record.policies),
        why=record.why,
    )


def _show(out: Out, running: str, counts: "Counts | None", found: _Found) -> None:
    import msgspec

    data: dict[str, Any] = {
        "bundle": running or None,
        "gateway": msgspec.to_builtins(counts) if counts is not None else None,
        "revision": found.revision,
        "other_revisions": found.others,
        **report_data(found.report),
    }
    out.data(data)
    if not running:
        out.line(out.dim("no bundle runs in shadow ([shadow] bundle of lictor.toml)"))
    if counts is not None:
        told = f"{counts.judged} decisions compared since the gateway started, {counts.differed} differ"
        out.line(f"{told}, {counts.untold} cannot be told, {counts.skipped} entries of the log skipped")
        if counts.trouble:
            out.line(out.bad(safe(counts.trouble, 300)))
    if found.revision is None:
        if running or counts is not None:
            out.line("no difference is recorded")
        return
    out.line(f"bundle {found.revision[:19]} in shadow")
    show_report(out, found.report, recorded=True)
    if found.others:
        out.line(out.dim(f"and {found.others} of other revisions (--revision)"))
