"""`lictor policy test`: the cases and the recorded traffic of `tests/*.toml`, and which policies they exercise."""

import argparse
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from lictor.cli.main import common
from lictor.cli.output import Exit, Out, safe
from lictor.model.errors import CallerError
from lictor.model.reasons import Reason
from lictor.policy.problems import BundleRefused

if TYPE_CHECKING:
    from lictor.policy.bundle import Bundle
    from lictor.policy.casefiles import Suite
    from lictor.policy.coverage import Coverage

_ALL = 100.0


def add(actions: Any) -> None:
    """`test` among the actions of `policy`."""
    testing = actions.add_parser("test", help="run the cases and the recorded traffic of tests/*.toml")
    common(testing)
    testing.add_argument("--coverage", action="store_true", help="show which policies the tests exercise")
    testing.add_argument(
        "--fail-under",
        type=float,
        metavar="PERCENT",
        help="fail if fewer of the policies are ever determining (with --coverage)",
    )
    testing.set_defaults(run=_test)


@dataclass(frozen=True, slots=True)
class _Result:
    where: str
    name: str
    problem: str
    unknown: bool = False


def _test(args: argparse.Namespace) -> int:
    from lictor.app import bundle_path
    from lictor.cli.prove import load
    from lictor.policy.casefiles import read_suites
    from lictor.policy.coverage import Coverage

    if args.fail_under is not None and not 0 <= args.fail_under <= _ALL:
        raise CallerError(Reason.INVALID_ARGUMENTS, "--fail-under is 0 to 100")
    out = Out(as_json=args.json)
    wanted = args.coverage or args.fail_under is not None
    try:
        files, bundle = load(bundle_path(args.bundle))
        coverage = Coverage(bundle.policies) if wanted else None
        results = [one for suite in read_suites(files) for one in _suite(bundle, suite, coverage)]
    except BundleRefused as refused:
        show_refused(out, refused)
        return Exit.NO
    failed = [one for one in results if one.problem]
    out.data({**_data(results), **({"coverage": _coverage_data(coverage)} if coverage else {})})
    _show(out, results)
    if coverage is not None:
        _show_coverage(out, coverage)
    low = coverage is not None and args.fail_under is not None and coverage.percent < args.fail_under
    if low:
        out.line(out.bad(f"coverage is below {args.fail_under:g} %"))
    return Exit.NO if failed or not results or low else Exit.OK


def _suite(bundle: "Bundle", suite: "Suite", coverage: "Coverage | None") -> list[_Result]:
    from lictor.policy.cases import facts_of_case, run_cases, with_things
    from lictor.policy.compile import compile_bundle
    from lictor.policy.rebase import rebase
    from lictor.policy.recorded import run_recorded

    whole = with_things(bundle, suite)
    pdp = compile_bundle(whole)
    found = [_Result(one.case.where, one.case.name, one.problem) for one in run_cases(pdp, suite.cases)]
    for result in run_recorded(pdp, suite.recorded):
        fixture = result.fixture
        found.append(
            _Result(fixture.where, fixture.name, result.problem, unknown=bool(result.unknown and result.problem))
        )
    if coverage is not None:
        questions = [facts_of_case(pdp, case) for case in suite.cases]
        for one in suite.recorded:
            facts = rebase(pdp, one.request, one.snapshot, one.basis, changed=one.changed)
            if not facts.unknown:
                questions.append((one.request, facts.snapshot))
        coverage.ask(whole, pdp, questions)
    return found


def _data(results: list[_Result]) -> dict[str, Any]:
    failed = [one for one in results if one.problem]
    return {
        "passed": len(results) - len(failed),
        "failed": [{"where": one.where, "name": one.name, "problem": one.problem} for one in failed],
        "cannot_tell": sum(one.unknown for one in results),
    }


def _show(out: Out, results: list[_Result]) -> None:
    for one in results:
        mark = out.good("pass") if not one.problem else out.warm("????") if one.unknown else out.bad("FAIL")
        out.line(f"{mark}  {safe(one.name)}")
        if one.problem:
            out.line(f"      {safe(one.where)}: {safe(one.problem, 300)}")
    failed = sum(bool(one.problem) for one in results)
    unknown = sum(one.unknown for one in results)
    told = f", {unknown} of them cannot be told" if unknown else ""
    out.line(f"{len(results) - failed} passed, {failed} failed{told}")
    if not results:
        out.line("there are no cases: add some to tests/*.toml")


def _coverage_data(coverage: "Coverage") -> dict[str, Any]:
    return {
        "percent": round(coverage.percent, 1),
        "policies": [
            {
                "id": one.id,
                "effect": one.effect,
                "where": one.where,
                "determining": one.determining,
                "satisfied": one.satisfied,
            }
            for one in coverage.policies()
        ],
    }


def _show_coverage(out: Out, coverage: "Coverage") -> None:
    policies = coverage.policies()
    rows = [(safe(one.id), one.effect, str(one.determining), str(one.satisfied)) for one in policies]
    out.line()
    out.table(("policy", "effect", "determining", "satisfied"), rows)
    for one in policies:
        if not one.determining:
            out.line(
                f"{safe(one.where)}: {out.warm('never determining')}: no test would miss {one.effect} {safe(one.id)}"
            )
    out.line(f"{coverage.percent:.0f} % of {len(policies)} policies were determining in some test")


def show_refused(out: Out, refused: BundleRefused) -> None:
    """Every fault of a refused bundle with its place."""
    out.data({"problems": [{"where": p.where, "message": p.message, "remedy": p.remedy} for p in refused.problems]})
    for problem in refused.problems:
        out.line(f"{safe(problem.where)}: {out.bad('error')} {safe(problem.message, 300)}")
        if problem.remedy:
            out.line(f"    {out.dim(safe(problem.remedy, 300))}")
    out.line(f"{out.bad('refused')}: {len(refused.problems)} faults; the last good bundle stays in force")
