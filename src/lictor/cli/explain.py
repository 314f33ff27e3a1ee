"""`lictor policy explain`: why a decision came out as it did, and the smallest change of facts that would have changed it."""

import argparse
import asyncio
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lictor.cli.main import common
from lictor.cli.output import Exit, Out, safe
from lictor.model.errors import CallerError, OperatorError
from lictor.model.reasons import Reason

if TYPE_CHECKING:
    from lictor.policy.explain import Explanation, PolicyNote


def add(actions: Any) -> None:
    """`explain` among the actions of `policy`."""
    explaining = actions.add_parser(
        "explain",
        help="why a decision came out as it did, and what would have changed it",
        description=(
            "Explain a recorded request (req_…, from `lictor log show`) or a case of tests/*.toml by its name. For operators: an "
            "agent that is shown this learns how to get round policy."
        ),
    )
    common(explaining)
    explaining.add_argument("what", help="a request id, or the name of a test case")
    explaining.add_argument(
        "-v", "--verbose", action="store_true", help="every policy in scope, condition by condition"
    )
    explaining.set_defaults(run=_explain)


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
            "in_scope": [_policy(note) for note in explanation.policies],
            "suggestions": [{"if": list(one.changes), "outcome": one.outcome} for one in explanation.suggestions],
        }
    )
    for line in explanation.lines():
        out.line(safe(line, 400))
    if args.verbose:
        out.line(out.dim("policies in scope:"))
        for line in explanation.details():
            out.line(safe(line, 400))
    return Exit.OK


def _policy(note: "PolicyNote") -> dict[str, Any]:
    return {
        "id": note.id,
        "effect": note.effect,
        "where": note.where,
        "outcome": note.outcome,
        "error": note.error,
        "clauses": [{"text": one.text, "holds": one.holds, "values": dict(one.values)} for one in note.clauses],
    }


def _case(path: Path, name: str) -> "Explanation":
    from lictor.cli.prove import load
    from lictor.policy.casefiles import read_suites
    from lictor.policy.cases import facts_of_case, with_things
    from lictor.policy.compile import compile_bundle
    from lictor.policy.explain import explain
    from lictor.policy.rebase import rebase

    files, bundle = load(path)
    for suite in read_suites(files):
        whole = with_things(bundle, suite)
        for case in suite.cases:
            if case.name == name:
                pdp = compile_bundle(whole)
                return explain(whole, pdp, *facts_of_case(pdp, case), search=True)
        for one in suite.recorded:
            if one.name == name:
                pdp = compile_bundle(whole)
                facts = rebase(pdp, one.request, one.snapshot, one.basis, changed=one.changed)
                for unknown in facts.unknown:
                    print(f"lictor: never recorded, taken as nothing: {unknown}", file=sys.stderr)
                return explain(whole, pdp, one.request, facts.snapshot, search=True)
    raise CallerError(
        Reason.INVALID_ARGUMENTS, f"no test case is called {name[:80]!r}", remedy="lictor policy test lists them"
    )


def _recorded(path: Path, request_id: str) -> "Explanation":
    """A recorded request, explained under the bundle it was decided under."""
    from lictor.app import open_house
    from lictor.model.ids import RequestId
    from lictor.policy.compile import compile_bundle, parse_guarded
    from lictor.policy.explain import explain
    from lictor.policy.load import load_bundle
    from lictor.service.evidence.replay import recorded_facts

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
    return explain(bundle, compile_bundle(bundle), request, snapshot, search=True)
