"""`lictor report`: what this deployment's log shows, by control, by person and by agent, as HTML, Markdown or JSON."""

import argparse
import sys
from collections import deque
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import msgspec

from lictor.cli.main import common
from lictor.cli.output import Exit, Out
from lictor.cli.progress import Progress
from lictor.cli.span import moment_of
from lictor.model.errors import CallerError, LictorError, StoreError
from lictor.model.ids import PolicyRevision
from lictor.model.reasons import Reason

if TYPE_CHECKING:
    from lictor.cli.reporting.document import Document
    from lictor.config import Settings
    from lictor.policy.bundle import Bundle
    from lictor.policy.unused import Unused
    from lictor.service.evidence.reporting.shapes import LogShown, Report
    from lictor.service.evidence.reporting.tally import Tally
    from lictor.stores.reader import LogReader

SINCE: Final = "30d"
SECTIONS: Final = (
    "summary", "attention", "log", "controls", "people", "restrictions", "agents", "credentials", "executions", "policy",
    "refusals", "frameworks", "method",
)  # fmt: skip
FORMATS: Final = {"html": (".html", ".htm"), "markdown": (".md", ".markdown")}


def add(_: str, parser: argparse.ArgumentParser) -> None:
    """Arguments."""
    common(parser)
    parser.description = (
        "Counts what the log shows: by published control, who approved what, what was stopped, which agents nobody reviews or "
        "uses. The same log and the same --until give the same bytes. Exit code 1 when the log is damaged."
    )
    parser.add_argument(
        "--since", metavar="WHEN", default=SINCE, help=f"begin so long before the end, or then (default: {SINCE}; all)"
    )
    parser.add_argument("--until", metavar="WHEN", help="end then, which is outside (default: now)")
    parser.add_argument("--format", choices=sorted(FORMATS), help="default: by FILE's name, else markdown")
    parser.add_argument("-o", "--out", metavar="FILE", help="write it there (default: standard output)")
    parser.add_argument(
        "--section", action="append", choices=SECTIONS, default=[], help="only this section; repeatable (default: all)"
    )
    parser.add_argument("--replay", action="store_true", help="decide every recorded request again, and say so")
    parser.add_argument("--map", action="store_true", help="only the map of controls to publications, without a log")
    parser.add_argument("--no-verify", action="store_true", help="do not verify the log; the report says that too")
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Count, draw, write."""
    from lictor.app import bundle_path
    from lictor.cli.reporting.pages import document_of
    from lictor.config import read_settings

    out = Out(as_json=args.json)
    if args.map:
        return _map(args, out)
    path = bundle_path(args.bundle)
    settings = read_settings(path)
    until_ms = moment_of(args.until or "0s")
    since_ms = 0 if args.since == "all" else moment_of(args.since, until_ms)
    if since_ms >= until_ms:
        raise CallerError(
            Reason.INVALID_ARGUMENTS, "the period ends before it begins", remedy="see --since and --until"
        )
    kind = _format(args.format, args.out)
    report = _report(out, path / settings.state, settings, since_ms, until_ms, args)
    out.data(msgspec.to_builtins(report))
    if args.out or not args.json:
        _write(args.out, _drawn(_chosen(document_of(report), args.section), kind))
    if args.out:
        out.line(f"{args.out}: {report.counted:,} records in the period, {report.count('decision.made'):,} decisions")
    return Exit.NO if report.log.verified is False else Exit.OK


def _chosen(document: "Document", sections: Sequence[str]) -> "Document":
    """Only these sections, in the report's order; all where none is named."""
    if not sections:
        return document
    return replace(document, sections=tuple(one for one in document.sections if one.anchor in sections))


def _map(args: argparse.Namespace, out: Out) -> int:
    from lictor.cli.reporting.pages_map import document_of_map
    from lictor.policy.standards import standards

    out.data(msgspec.to_builtins(standards()))
    if args.out or not args.json:
        _write(args.out, _drawn(document_of_map(), _format(args.format, args.out)))
    return Exit.OK


def _write(path: str | None, text: str) -> None:
    """To a file, or to standard output: UTF-8 with plain line ends, on every machine."""
    if path:
        Path(path).write_bytes(text.encode())
    else:
        sys.stdout.flush()
        sys.stdout.buffer.write(text.encode())
        sys.stdout.buffer.flush()


def _format(asked: str | None, out: str | None) -> str:
    if asked:
        return asked
    suffix = Path(out).suffix.lower() if out else ""
    return next((kind for kind, suffixes in FORMATS.items() if suffix in suffixes), "markdown")


def _drawn(document: "Document", kind: str) -> str:
    from lictor.cli.reporting.html import html
    from lictor.cli.reporting.markdown import markdown

    return (html if kind == "html" else markdown)(document)


def _report(
    out: Out, state: Path, settings: "Settings", since_ms: int, until_ms: int, args: argparse.Namespace
) -> "Report":
    """Count one log.

    Raises:
        StoreError: there is no log, or an entry of it cannot be read.
    """
    from lictor import __version__
    from lictor.service.evidence.reporting.report import report_of
    from lictor.service.evidence.reporting.rules import rules_of
    from lictor.service.evidence.reporting.tally import tally
    from lictor.stores.reader import LogReader

    if not (state / "log.db").exists():
        raise StoreError(Reason.LOG_DAMAGED, f"there is no log in {str(state)[:200]!r}", remedy="see: lictor doctor")
    checked = None if args.no_verify else _verified(out, state, settings)
    store = LogReader(state / "log.db")
    try:
        with Progress(sys.stderr, "counting", store.size(), quiet=out.as_json) as bar:
            found = tally(store.entries(), since_ms, until_ms, bar.update)
        rules = rules_of(found.ruled, store.bundle)
        bundle = _bundle(store, found.standing.revision)
        surplus, covered = _surplus(out, store, bundle, found)
        replayed = _replayed(out, store) if args.replay else None
        log = _log(state / "log.db", store.size(), settings.log_name, checked, replayed)
    finally:
        store.close()
    return report_of(found, rules, bundle=bundle, log=log, version=__version__, surplus=surplus, covered_days=covered)


def _verified(out: Out, state: Path, settings: "Settings") -> Mapping[str, Any]:
    """What verifying finds, against what the witnesses of the settings have seen. One that has seen nothing yet is no damage."""
    from lictor.cli.exported import statements
    from lictor.cli.log_keys import keys_of
    from lictor.cli.verifying import entries_in, verify_state
    from lictor.records.cosign import WitnessKey
    from lictor.stores.cosigned import read_cosigned

    own = keys_of(state, settings.log_name)
    keys = {name: WitnessKey.parse(one.key) for name, one in settings.witness.items()}
    kept = read_cosigned(state).values() if keys else ()
    said = {name: statements(kept, own, [key]) for name, key in keys.items()}
    anchors = [anchor for one in said.values() for anchor in one.anchors]
    with Progress(sys.stderr, "verifying", entries_in(state), quiet=out.as_json) as bar:
        found = verify_state(state, settings.log_name, None, bar.update, witnessed=anchors)
    odd = [one for each in said.values() for one in each.findings if one["kind"] != "unwitnessed"]
    seen = [
        {"witness": name, "size": max((told["size"] for told in one.said), default=0),
         "at_ms": max((told["at"] for told in one.said), default=0)}
        for name, one in said.items()
    ]  # fmt: skip
    return {**found, "ok": found["ok"] and not odd, "findings": [*found["findings"], *odd], "witnesses": seen}


def _bundle(store: "LogReader", revision: PolicyRevision | None) -> "Bundle | None":
    """The bundle in force at the period's end, as it was kept; None where it was not, or does not load any more."""
    from lictor.policy.compile import parse_guarded
    from lictor.policy.load import load_bundle

    files = store.bundle(revision) if revision is not None else None
    if files is None:
        return None
    try:
        return load_bundle(files, parse_guarded(files))
    except LictorError:
        return None


def _surplus(
    out: Out, store: "LogReader", bundle: "Bundle | None", found: "Tally"
) -> "tuple[tuple[Unused, ...] | None, int]":
    """What agents may do and did not in the period, and how many days of it the log covers."""
    from lictor.policy.compile import compile_bundle
    from lictor.policy.unused import unused
    from lictor.service.calls.traffic import Wanted, passed
    from lictor.service.evidence.entitlements import used
    from lictor.service.evidence.reporting.tally import DAY_MS

    if bundle is None:
        return None, 0
    pdp = compile_bundle(bundle)
    wanted = Wanted(since_ms=found.since_ms, start=store.size() if found.begins is None else found.begins)
    with Progress(sys.stderr, "permissions", store.size(), quiet=out.as_json) as bar:
        decisions = (one for one in passed(store, wanted, bar.update) if one.at_ms < found.until_ms)
        usage = used(decisions, pdp, lambda task: found.above.get(task, ()))
    days = max(1, -(-(found.until_ms - max(found.since_ms, found.first_ms)) // DAY_MS))
    return unused(bundle, pdp, sorted(bundle.agents), usage), days


def _replayed(out: Out, store: "LogReader") -> dict[str, int]:
    from lictor.policy.compile import compile_files
    from lictor.service.evidence.replay import Replay, ReplayStatus

    counts = {status.value: 0 for status in ReplayStatus}
    with Progress(sys.stderr, "replaying", store.size(), quiet=out.as_json) as bar:
        for one in Replay(store, compile_files)(on_progress=bar.update):
            counts[one.status.value] += 1
    return counts


def _log(
    path: Path, size: int, origin: str, checked: Mapping[str, Any] | None, replayed: dict[str, int] | None
) -> "LogShown":
    from lictor.service.evidence.reporting.shapes import LogShown, Witnessed
    from lictor.stores.snapshot import LogSnapshot

    with LogSnapshot(path) as snapshot:
        newest = deque(snapshot.checkpoints(), maxlen=1)
    found = checked or {}
    return LogShown(
        name=origin,
        size=int(found.get("size", size)),
        root=str(found.get("root", "")),
        checkpoint="".join(newest),
        verified=None if checked is None else bool(checked["ok"]),
        anchor=str(found.get("anchor", "")),
        findings=tuple(f"at {one['position']}: {one['kind']}: {one['message']}" for one in found.get("findings", ())),
        witnesses=tuple(Witnessed(**one) for one in found.get("witnesses", ())),
        sealed=bool(found.get("sealed")),
        replayed=replayed,
    )
