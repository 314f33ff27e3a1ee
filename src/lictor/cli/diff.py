"""`lictor policy diff OLD NEW`: which requests two bundles answer otherwise, over all there can be."""

import argparse
import asyncio
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lictor.cli.backtest import report_data, show_report
from lictor.cli.main import common
from lictor.cli.output import Exit, Out, safe
from lictor.cli.prove import has_solver, load, progress, request_data, require_solver, show_example, timeout
from lictor.cli.span import filters
from lictor.model.errors import OperatorError
from lictor.model.ids import PolicyRevision
from lictor.model.reasons import Reason
from lictor.policy.bundle import Bundle

if TYPE_CHECKING:
    from lictor.policy.prove.difference import Change, Difference
    from lictor.service.evidence.backtest import Report

_WORDS = {"allow": "allowed", "needs_approval": "asked for", "deny": "denied"}


def add(actions: Any) -> None:
    """`diff` among the actions of `policy`."""
    differing = actions.add_parser(
        "diff",
        help="what a new bundle answers otherwise than an old one, over all requests",
        description=(
            "Compare two bundles over all requests, with an example for each kind of difference, confirmed by both. Exit code 0 "
            "only if every request of every common action is answered alike and nothing is added or removed."
        ),
    )
    common(differing)
    timeout(differing)
    differing.add_argument("old", help="a bundle folder, or a revision (sha256:…) kept beside the log of --bundle")
    differing.add_argument("new", help="the same")
    differing.add_argument(
        "--log",
        action="store_true",
        help="also how both answer the recorded traffic beside --bundle (needs no solver by itself)",
    )
    filters(differing)
    differing.set_defaults(run=_diff)


def _diff(args: argparse.Namespace) -> int:
    if not args.log or has_solver():
        require_solver()
    out = Out(as_json=args.json)
    old, new = (_bundle(args, name) for name in (args.old, args.new))
    report = _traffic(out, args, old, new) if args.log else None
    if not has_solver():
        return _only_traffic(out, old, new, report)
    return _in_principle(out, args, old, new, report)


def _traffic(out: Out, args: argparse.Namespace, old: Bundle, new: Bundle) -> "Report":
    """The half on recorded traffic: both bundles on every request beside `--bundle`."""
    from lictor.app import bundle_path
    from lictor.cli.backtest import over_log

    return over_log(out, bundle_path(args.bundle), args, new, before=old, jobs=1)


def _only_traffic(out: Out, old: Bundle, new: Bundle, report: "Report | None") -> int:
    if report is None:
        return Exit.NO
    out.data({"old": old.revision, "new": new.revision, "complete": False, "log": report_data(report)})
    out.line(out.warm("not compared in principle: the solver is not installed (pip install 'lictor[prove]')"))
    _show_traffic(out, report)
    return Exit.NO  # what nobody asked yet may be answered otherwise


def _show_traffic(out: Out, report: "Report") -> None:
    out.line(out.bold("recorded traffic"))
    show_report(out, report)


def _in_principle(out: Out, args: argparse.Namespace, old: Bundle, new: Bundle, report: "Report | None") -> int:
    from lictor.policy.prove.difference import diff_in_principle

    found = diff_in_principle(
        old, new, timeout_ms=max(1, int(args.timeout * 1_000)), progress=progress("comparing, action")
    )
    out.data(
        {
            "old": old.revision,
            "new": new.revision,
            "complete": found.complete,
            "changes": [_change(one) for one in found.changes],
            "same": list(found.same),
            "entries": _listed(found.entries),
            "policies": _listed(found.policies),
            "agents": _listed(found.agents),
            "files": list(found.files),
            **({"log": report_data(report)} if report is not None else {}),
        }
    )
    _show(out, found)
    if report is not None:
        _show_traffic(out, report)
    lists = (found.entries, found.policies, found.agents)
    quiet = not found.changes and not found.files and not any(one.added or one.removed or one.changed for one in lists)
    quiet = quiet and (report is None or not report.different)
    return Exit.OK if quiet else Exit.NO


def _bundle(args: argparse.Namespace, name: str) -> Bundle:
    if not name.startswith("sha256:"):
        path = Path(name)
        if not path.is_dir():
            raise OperatorError(Reason.CONFIG_REFUSED, f"{name[:120]!r} is no folder", remedy="name a bundle's folder")
        return load(path)[1]
    from lictor.app import bundle_path, open_house
    from lictor.policy.compile import parse_guarded
    from lictor.policy.load import load_bundle

    house = asyncio.run(open_house(bundle_path(args.bundle), load=False))
    try:
        files = house.store.bundle(PolicyRevision(name))
    finally:
        house.close()
    if files is None:
        raise OperatorError(Reason.BUNDLE_REFUSED, f"no bundle of revision {name[:80]!r} is kept")
    return load_bundle(files, parse_guarded(files))


def _change(change: "Change") -> dict[str, Any]:
    return {
        "action": change.action,
        "old": change.old.value,
        "new": change.new.value,
        "looser": change.looser,
        "status": "confirmed" if change.status.value == "broken" else change.status.value,
        "detail": change.detail,
        "old_policies": list(change.old_answer.policies) if change.old_answer else [],
        "new_policies": list(change.new_answer.policies) if change.new_answer else [],
        "example": None if change.example is None else request_data(change.example),
        "case": change.case,
    }


def _listed(listed: Any) -> dict[str, list[str]]:
    return {"added": list(listed.added), "removed": list(listed.removed), "changed": list(listed.changed)}


COMING = "things to come"
"""Begins the name of an action that stands for a class; their examples are alike, so each kind is shown once."""


def _show(out: Out, found: "Difference") -> None:
    for what, listed in (("catalogue entry", found.entries), ("policy", found.policies), ("agent", found.agents)):
        for word in ("added", "removed", "changed"):
            for name in getattr(listed, word):
                out.line(f"{what} {word}: {safe(name)}")
    for path in found.files:
        out.line(f"file changed: {safe(path)}")
    last = ""
    shown: set[tuple[object, ...]] = set()
    for change in found.changes:
        if change.action != last:
            out.line(out.bold(safe(change.action)))
        last = change.action
        policies = change.new_answer.policies if change.new_answer else ()
        kind: tuple[object, ...] = (
            (change.old, change.new, policies)
            if change.action.startswith(COMING)
            else (change.action, change.old, change.new)
        )
        _show_change(out, change, example=kind not in shown)
        shown.add(kind)
    looser = sum(change.looser and change.status.value == "broken" for change in found.changes)
    unknown = sum(change.status.value != "broken" for change in found.changes)
    out.line(
        f"{len(found.same)} actions answer alike; {len(found.changes) - unknown} kinds of difference, {looser} of them looser; "
        f"{unknown} not known"
    )


def _show_change(out: Out, change: "Change", *, example: bool) -> None:
    if change.status.value != "broken":
        out.line(f"  {out.warm('not known')}  {safe(change.detail, 300)}")
        return
    paint = out.bad if change.looser else out.warm
    policies = ", ".join(change.new_answer.policies) if change.new_answer else ""
    by = f"  (now by {safe(policies)})" if policies else ""
    out.line(
        f"  {paint('looser' if change.looser else 'stricter')}  was {_WORDS[change.old.value]}, is {_WORDS[change.new.value]}{by}"
    )
    if example and change.example is not None:
        show_example(out, change.example, change.new.value, "", change.case)
