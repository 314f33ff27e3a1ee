"""`lictor policy`: check a bundle, run its tests, explain a decision. Works on files; needs no running gateway."""

import argparse
import asyncio
import sys
from pathlib import Path
from typing import Any

from lictor.cli.main import common
from lictor.cli.output import Exit, Out, safe
from lictor.model.errors import CallerError, OperatorError
from lictor.model.reasons import Reason
from lictor.policy.bundle import Bundle
from lictor.policy.problems import BundleRefused


def add(_: str, parser: argparse.ArgumentParser) -> None:
    """Arguments."""
    actions = parser.add_subparsers(title="actions", required=True, metavar="ACTION")
    checking = actions.add_parser("check", help="load, type-check and lint the bundle, with file, line and a fix")
    common(checking)
    checking.set_defaults(run=_check)
    testing = actions.add_parser("test", help="run the cases of tests/*.toml")
    common(testing)
    testing.set_defaults(run=_test)
    explaining = actions.add_parser(
        "explain",
        help="why a decision came out as it did, and what would have been needed",
        description="Explain a recorded request (req_…, from `lictor log show`) or a case of tests/*.toml by its name.",
    )
    common(explaining)
    explaining.add_argument("what", help="a request id, or the name of a test case")
    explaining.set_defaults(run=_explain)


def _load(path: Path) -> tuple[dict[str, bytes], Bundle]:
    from lictor.policy.load import load_bundle
    from lictor.stores.bundle_folder import BundleFolder

    folder = BundleFolder(path)
    files = folder.read()
    return files, load_bundle(files, folder.parse(files))


def _check(args: argparse.Namespace) -> int:
    from lictor.app import bundle_path
    from lictor.config import load_settings
    from lictor.policy.casefiles import read_suites
    from lictor.policy.compile import compile_bundle
    from lictor.policy.lint import has_errors, lint_bundle

    out = Out(as_json=args.json)
    path = bundle_path(args.bundle)
    try:
        files, bundle = _load(path)
        load_settings(files.get("lictor.toml", b"").decode("utf-8", "replace"))
        compile_bundle(bundle)
        read_suites(files)
    except BundleRefused as refused:
        return _refused(out, refused)
    findings = lint_bundle(bundle)
    out.data(
        {
            "revision": bundle.revision,
            "policies": len(bundle.policies),
            "findings": [
                {"rule": f.rule, "severity": f.severity, "where": f.where, "message": f.message, "fix": f.fix}
                for f in findings
            ],
        }
    )
    for finding in findings:
        paint = out.bad if finding.severity == "error" else out.warm
        out.line(f"{safe(finding.where)}: {paint(finding.severity)} [{finding.rule}] {safe(finding.message, 300)}")
        if finding.fix:
            out.line(f"    {out.dim(safe(finding.fix, 300))}")
    bad = has_errors(findings)
    verdict = out.bad("refused") if bad else out.good("good")
    things, count = len(bundle.entries), len(bundle.policies)
    out.line(f"{verdict}: {count} policies, {things} catalogue entries, revision {bundle.revision[:19]}")
    return Exit.NO if bad else Exit.OK


def _refused(out: Out, refused: BundleRefused) -> int:
    out.data({"problems": [{"where": p.where, "message": p.message, "remedy": p.remedy} for p in refused.problems]})
    for problem in refused.problems:
        out.line(f"{safe(problem.where)}: {out.bad('error')} {safe(problem.message, 300)}")
        if problem.remedy:
            out.line(f"    {out.dim(safe(problem.remedy, 300))}")
    out.line(f"{out.bad('refused')}: {len(refused.problems)} faults; the last good bundle stays in force")
    return Exit.NO


def _test(args: argparse.Namespace) -> int:
    from lictor.app import bundle_path
    from lictor.policy.casefiles import read_suites
    from lictor.policy.cases import run_suite

    out = Out(as_json=args.json)
    try:
        files, bundle = _load(bundle_path(args.bundle))
        results = [one for suite in read_suites(files) for one in run_suite(bundle, suite)]
    except BundleRefused as refused:
        return _refused(out, refused)
    failed = [one for one in results if not one.passed]
    out.data(
        {
            "passed": len(results) - len(failed),
            "failed": [{"where": r.case.where, "name": r.case.name, "problem": r.problem} for r in failed],
        }
    )
    for one in results:
        mark = out.good("pass") if one.passed else out.bad("FAIL")
        out.line(f"{mark}  {safe(one.case.name)}")
        if not one.passed:
            out.line(f"      {safe(one.case.where)}: {safe(one.problem, 300)}")
    out.line(f"{len(results) - len(failed)} passed, {len(failed)} failed")
    if not results:
        out.line("there are no cases: add some to tests/*.toml")
    return Exit.NO if failed or not results else Exit.OK


def _explain(args: argparse.Namespace) -> int:
    from lictor.app import bundle_path

    out = Out(as_json=args.json)
    path = bundle_path(args.bundle)
    explanation = _recorded(path, args.what) if args.what.startswith("req_") else _case(path, args.what)
    decision = explanation.decision
    out.data(
        {
            "action": explanation.action,
            "outcome": type(decision).__name__,
            "reason": decision.reason.value,
            "policies": list(decision.policies),
            "lines": explanation.lines(),
            "facts": dict(explanation.facts),
        }
    )
    for line in explanation.lines():
        out.line(safe(line, 400))
    return Exit.OK


def _case(path: Path, name: str) -> Any:
    from lictor.policy.casefiles import read_suites
    from lictor.policy.cases import facts_of_case, with_things
    from lictor.policy.compile import compile_bundle
    from lictor.policy.explain import explain

    files, bundle = _load(path)
    for suite in read_suites(files):
        for case in suite.cases:
            if case.name == name:
                whole = with_things(bundle, suite)
                pdp = compile_bundle(whole)
                return explain(whole, pdp, *facts_of_case(pdp, case))
    raise CallerError(
        Reason.INVALID_ARGUMENTS, f"no test case is called {name[:80]!r}", remedy="lictor policy test lists them"
    )


def _recorded(path: Path, request_id: str) -> Any:
    """A recorded request, explained under the bundle it was decided under."""
    from lictor.app import open_house
    from lictor.model.ids import RequestId
    from lictor.policy.compile import compile_bundle, parse_guarded
    from lictor.policy.explain import explain
    from lictor.policy.load import load_bundle
    from lictor.service.replay import recorded_facts

    house = asyncio.run(open_house(path, load=False))
    try:
        request, snapshot = recorded_facts(house.store, RequestId(request_id))
        files = house.store.bundle(snapshot.revision)
    finally:
        house.close()
    if files is None:
        raise OperatorError(Reason.BUNDLE_REFUSED, f"bundle {snapshot.revision} was not kept")
    bundle = load_bundle(files, parse_guarded(files))
    print(f"decided under {snapshot.revision[:19]}", file=sys.stderr)
    return explain(bundle, compile_bundle(bundle), request, snapshot)
