"""`lictor policy`: its actions, and `check`. Works on files and the log; needs no running gateway."""

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

from lictor.cli.main import common
from lictor.cli.output import Exit, Out, safe
from lictor.cli.policytest import show_refused
from lictor.policy.problems import BundleRefused

if TYPE_CHECKING:
    from collections.abc import Iterator

    from lictor.config import Settings
    from lictor.policy.bundle import Bundle
    from lictor.policy.lint import Finding
    from lictor.policy.unused import Unused


def add(_: str, parser: argparse.ArgumentParser) -> None:
    """Arguments."""
    from lictor.cli import backtest, diff, explain, leastpriv, policyapprove, policytest, prove, record

    actions = parser.add_subparsers(title="actions", required=True, metavar="ACTION")
    checking = actions.add_parser("check", help="load, type-check and lint the bundle, with file, line and a fix")
    common(checking)
    checking.add_argument(
        "--require-proofs", action="store_true", help="fail where a claim is not proved, or the solver is not installed"
    )
    checking.add_argument(
        "--unused", type=int, default=0, metavar="DAYS", help="also warn of what the log of so many days never saw used"
    )
    checking.set_defaults(run=_check)
    prove.add(actions)
    diff.add(actions)
    for one in (policytest, record, explain, backtest, leastpriv, policyapprove):
        one.add(actions)


def _check(args: argparse.Namespace) -> int:
    from lictor.app import bundle_path
    from lictor.cli.agents_unused import as_data
    from lictor.cli.prove import during_check, load
    from lictor.config import load_settings
    from lictor.policy.casefiles import read_suites
    from lictor.policy.compile import compile_bundle
    from lictor.policy.lint import has_errors, lint_bundle

    out = Out(as_json=args.json)
    path = bundle_path(args.bundle)
    try:
        files, bundle = load(path)
        settings = load_settings(files.get("lictor.toml", b"").decode("utf-8", "replace"))
        compile_bundle(bundle)
        read_suites(files)
        proofs = during_check(files, bundle, required=args.require_proofs)
    except BundleRefused as refused:
        return _refused(out, refused)
    findings = [*lint_bundle(bundle), *_in_the_clear(settings)]
    never = _never_used(out, path, bundle, args.unused) if args.unused > 0 else ()
    out.data(
        {
            "revision": bundle.revision,
            "policies": len(bundle.policies),
            "findings": [
                {"rule": f.rule, "severity": f.severity, "where": f.where, "message": f.message, "fix": f.fix}
                for f in findings
            ],
            "proofs": proofs.data,
            "unused": [as_data(one) for one in never],
        }
    )
    for finding in findings:
        paint = out.bad if finding.severity == "error" else out.warm
        out.line(f"{safe(finding.where)}: {paint(finding.severity)} [{finding.rule}] {safe(finding.message, 300)}")
        if finding.fix:
            out.line(f"    {out.dim(safe(finding.fix, 300))}")
    for one in never:
        text = f"{one.agent}: {len(one.actions)} of {one.reached} that {one.permit} reaches never used in {args.unused} days"
        out.line(f"{safe(one.where)}: {out.warm('warning')} [unused] {safe(text, 300)}")
        out.line(f"    {out.dim(safe(one.change, 300))}")
    bad = has_errors(findings) or proofs.bad
    verdict = out.bad("refused") if bad else out.good("good")
    things, count = len(bundle.entries), len(bundle.policies)
    out.line(f"{verdict}: {count} policies, {things} catalogue entries, revision {bundle.revision[:19]}")
    proofs.show(out)
    return Exit.NO if bad else Exit.OK


def _in_the_clear(settings: "Settings") -> "Iterator[Finding]":
    """Secrets that stand where everybody reads them who reads the bundle."""
    from lictor.cli.lifting import in_the_clear
    from lictor.policy.lint import Finding

    for server, names in in_the_clear(settings):
        yield Finding(
            rule="secret-in-settings",
            severity="warning",
            where="lictor.toml",
            message=f"[servers.{server}] holds what looks like a secret, in the clear: {', '.join(names)}",
            fix="lictor secret set, and an entry in credentials.toml",
        )


def _never_used(out: Out, path: Path, bundle: "Bundle", days: int) -> "tuple[Unused, ...]":
    from lictor.cli.agents_unused import surplus

    return surplus(out, path, bundle, sorted(bundle.agents), days)[0]


def _refused(out: Out, refused: BundleRefused) -> int:
    show_refused(out, refused)
    return Exit.NO
