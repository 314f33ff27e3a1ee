"""`lictor policy draft`: a least-privilege bundle from what agents really used."""

import argparse
import asyncio
from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lictor.cli.main import common
from lictor.cli.output import Exit, Out, safe
from lictor.cli.span import bar, filters, wanted_of
from lictor.model.errors import OperatorError
from lictor.model.reasons import Reason

if TYPE_CHECKING:
    from lictor.pdp.decide import Pdp
    from lictor.policy.observed import Use


def add(actions: Any) -> None:
    """`draft` among the actions of `policy`."""
    drafting = actions.add_parser(
        "draft",
        help="a least-privilege bundle from what agents really used",
        description=(
            "Narrow the bundle to what the log says was used: every permit to its agent, action and bounds; writes ask for "
            "approval, what destroys is left out, every forbid stays. The draft never allows what the bundle does not. Read it, "
            "then backtest it."
        ),
    )
    common(drafting)
    filters(drafting)
    drafting.add_argument("--out", required=True, metavar="DIR", help="a new folder for the drafted bundle")
    drafting.set_defaults(run=_draft)


def _draft(args: argparse.Namespace) -> int:
    from lictor.app import bundle_path
    from lictor.cli.prove import load
    from lictor.policy.compile import compile_bundle
    from lictor.policy.leastpriv import draft_bundle
    from lictor.policy.lint import has_errors, lint_bundle
    from lictor.policy.load import decides

    out, target = Out(as_json=args.json), Path(args.out)
    if target.exists() and (not target.is_dir() or any(target.iterdir())):
        message = f"{str(target)!r:.120} is there already"
        raise OperatorError(Reason.CONFIG_REFUSED, message, remedy="name a new folder")
    path = bundle_path(args.bundle)
    files, bundle = load(path)
    uses, skipped = _observed(out, path, args, compile_bundle(bundle))
    if not uses:
        out.data({"permits": 0, "files": [], "left_out": [], "skipped": skipped})
        _show_skipped(out, skipped)
        out.line("nothing was used: nothing to draft")
        return Exit.NO
    draft = draft_bundle(bundle, files, uses)
    _write(target, draft.files)
    findings = lint_bundle(load(target)[1])
    out.data(
        {
            "permits": draft.permits,
            "files": sorted(path for path in draft.files if decides(path)),
            "left_out": list(draft.left_out),
            "whole_catalogue": draft.whole_catalogue,
            "skipped": skipped,
            "findings": [{"rule": one.rule, "where": one.where, "message": one.message} for one in findings],
        }
    )
    _show_skipped(out, skipped)
    for line in draft.left_out:
        out.line(f"{out.warm('left out')}  {safe(line, 300)}")
    for one in findings:
        out.line(f"{safe(one.where)}: {one.severity} [{one.rule}] {safe(one.message, 300)}")
    if draft.whole_catalogue:
        out.line(out.dim("a rule names things that nobody used: the catalogue was kept whole"))
    out.line(f"{draft.permits} permits for {sum(use.count for use in uses)} uses, in {safe(str(target))}")
    out.line(out.dim(f"next: read it, then lictor policy backtest {safe(str(target))} --guard"))
    return Exit.NO if has_errors(findings) else Exit.OK


def _observed(out: Out, path: Path, args: argparse.Namespace, pdp: "Pdp") -> "tuple[tuple[Use, ...], dict[str, int]]":
    """What was started, as the bundle decides it today; what it would not allow any more, and what cannot be told, is counted."""
    from lictor.app import open_house
    from lictor.model.decision import Allow
    from lictor.policy.compile import compile_files
    from lictor.policy.observed import Observed
    from lictor.policy.rebase import rebase
    from lictor.service.calls.traffic import Reader, passed

    skipped: Counter[str] = Counter()
    observed = Observed(pdp)
    house = asyncio.run(open_house(path, load=False))
    try:
        reader = Reader(house.store, compile_files)
        size = house.store.size()
        for one in passed(house.store, wanted_of(args, stop=size), bar(out, "reading", size), started=True):
            facts = reader.facts(one)
            if isinstance(facts, str):
                skipped[facts] += 1
                continue
            rebased = rebase(pdp, facts.request, facts.snapshot, facts.basis)
            if rebased.unknown:
                skipped["asks for facts that were never recorded"] += 1
            elif not isinstance(observed.add(facts.request, rebased.snapshot), Allow):
                skipped["not allowed by the bundle any more"] += 1
    finally:
        house.close()
    return observed.uses, dict(skipped)


def _show_skipped(out: Out, skipped: Mapping[str, int]) -> None:
    for reason, count in sorted(skipped.items()):
        out.line(f"{count} skipped: {safe(reason)}")


def _write(target: Path, files: Mapping[str, bytes]) -> None:
    try:
        for path, data in sorted(files.items()):
            place = target / path
            place.parent.mkdir(parents=True, exist_ok=True)
            with place.open("xb") as file:
                file.write(data)
    except OSError as error:
        message = f"cannot write {str(target)!r:.120}: {error.strerror}"
        raise OperatorError(Reason.CONFIG_REFUSED, message) from None
