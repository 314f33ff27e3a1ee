"""`lictor policy prove`: what must hold of every request, proved or broken by one. Also what `policy check` runs of it."""

import argparse
import importlib.util
import json
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lictor.cli.main import common
from lictor.cli.output import Exit, Out, safe
from lictor.model.errors import CallerError, OperatorError
from lictor.model.reasons import Reason
from lictor.policy.bundle import Bundle

if TYPE_CHECKING:
    from lictor.policy.invariants import Claims
    from lictor.policy.prove.prover import Counterexample, Finding

_MARKS = {"proved": "proved", "broken": "BROKEN", "not_proved": "not proved", "spurious": "not proved"}
_SECONDS = 10.0


def add(actions: Any) -> None:
    """`prove` among the actions of `policy`."""
    proving = actions.add_parser(
        "prove",
        help="prove what must hold of every request, or show one that breaks it",
        description=(
            "Prove the standing claims and those of invariants.toml over all requests. Exit code 0 only if every one is proved. "
            "Needs the extra: pip install 'lictor[prove]'"
        ),
    )
    common(proving)
    timeout(proving)
    proving.add_argument("claims", nargs="*", metavar="NAME", help="only these claims")
    proving.set_defaults(run=_prove)


def timeout(parser: argparse.ArgumentParser) -> None:
    """The time limit of one question."""
    parser.add_argument(
        "--timeout",
        type=float,
        default=_SECONDS,
        metavar="S",
        help="seconds for one question about one action (default: 10)",
    )


def require_solver() -> None:
    """Refuse to go on without the solver.

    Raises:
        OperatorError: `config_refused`.
    """
    if not has_solver():
        raise OperatorError(Reason.CONFIG_REFUSED, "the solver is not installed", remedy="pip install 'lictor[prove]'")


def has_solver() -> bool:
    """Whether the extra `prove` is installed."""
    return importlib.util.find_spec("z3") is not None


def load(path: Path) -> tuple[dict[str, bytes], Bundle]:
    """A bundle's files, and the bundle.

    Raises:
        OperatorError: it does not load.
    """
    from lictor.policy.load import load_bundle
    from lictor.stores.bundle_folder import BundleFolder

    folder = BundleFolder(path)
    files = folder.read()
    return files, load_bundle(files, folder.parse(files))


def progress(what: str) -> Callable[[int, int], None]:
    """How far it is, on a terminal's standard error; nowhere else."""

    def show(done: int, of: int) -> None:
        if sys.stderr.isatty():
            print(f"\r{what} {done}/{of}" if done < of else "\r\x1b[K", end="", file=sys.stderr, flush=True)

    return show


def _prove(args: argparse.Namespace) -> int:
    from lictor.app import bundle_path
    from lictor.policy.invariants import read_claims

    require_solver()
    out = Out(as_json=args.json)
    files, bundle = load(bundle_path(args.bundle))
    claims = _chosen(read_claims(files), args.claims)
    findings = _findings(bundle, claims, args.timeout)
    out.data({"revision": bundle.revision, "claims": [as_data(one) for one in findings], "waived": dict(claims.waived)})
    for one in findings:
        _show(out, one)
    for name, reason in claims.waived.items():
        out.line(f"{out.warm('waived')}  {safe(name)}: {safe(reason, 300)}")
    proved = sum(one.status.value == "proved" for one in findings)
    out.line(f"{proved} of {len(findings)} proved, {len(claims.waived)} waived")
    return Exit.OK if proved == len(findings) else Exit.NO


def _chosen(claims: "Claims", names: list[str]) -> "Claims":
    from dataclasses import replace

    if not names:
        return claims
    known = {claim.name for claim in claims.claims}
    for name in names:
        if name not in known:
            raise CallerError(
                Reason.INVALID_ARGUMENTS,
                f"no claim is called {name[:80]!r}",
                remedy=f"known: {', '.join(sorted(known))}",
            )
    return replace(claims, claims=tuple(claim for claim in claims.claims if claim.name in names))


def _findings(bundle: Bundle, claims: "Claims", seconds: float) -> "tuple[Finding, ...]":
    from lictor.policy.prove.prover import prove

    return prove(bundle, claims, timeout_ms=max(1, int(seconds * 1_000)), progress=progress("proving, action"))


@dataclass(frozen=True, slots=True, kw_only=True)
class Proofs:
    """What `policy check` says of the claims.

    Attributes:
        bad: the check fails: a claim is broken, or proofs are required and one is missing.
        data: for programs.
        findings: those that are not proved.
        summary: one line.
    """

    bad: bool
    data: Mapping[str, Any]
    summary: str
    findings: "tuple[Finding, ...]" = field(default=())

    def show(self, out: Out) -> None:
        """What is to be seen of it."""
        for one in self.findings:
            _show(out, one)
        out.line((out.bad if self.bad else out.dim)(self.summary))


def during_check(files: Mapping[str, bytes], bundle: Bundle, *, required: bool) -> Proofs:
    """Run every claim as part of a check; without the solver they are skipped, visibly.

    Args:
        files: the bundle's.
        bundle: loaded from them.
        required: a claim that is skipped or not proved fails the check.

    Raises:
        BundleRefused: `invariants.toml` is not what it has to be.
    """
    from lictor.policy.invariants import read_claims

    claims = read_claims(files)
    if not has_solver():
        summary = f"claims: {len(claims.claims)} not proved, the solver is not installed (pip install 'lictor[prove]')"
        return Proofs(bad=required, data={"skipped": len(claims.claims)}, summary=summary)
    findings = _findings(bundle, claims, _SECONDS)
    left = tuple(one for one in findings if one.status.value != "proved")
    broken = any(one.status.value == "broken" for one in left)
    waived = f", {len(claims.waived)} waived" if claims.waived else ""
    return Proofs(
        bad=broken or (required and bool(left)),
        data={"claims": [as_data(one) for one in findings], "waived": dict(claims.waived)},
        summary=f"claims: {len(findings) - len(left)} of {len(findings)} proved{waived}",
        findings=left,
    )


def as_data(finding: "Finding") -> dict[str, Any]:
    """A finding for programs."""
    return {
        "name": finding.name,
        "title": finding.title,
        "where": finding.where,
        "status": finding.status.value,
        "detail": finding.detail,
        "example": None if finding.example is None else _example(finding.example),
    }


def _example(example: "Counterexample") -> dict[str, Any]:
    return {
        "request": request_data(example.asked),
        "answer": example.answer.answer.value,
        "policies": list(example.answer.policies),
        "errors": list(example.answer.errors),
        "changed": None if example.changed is None else request_data(example.changed),
        "changed_answer": None if example.changed_answer is None else example.changed_answer.answer.value,
        "case": example.case,
    }


def request_data(asked: Any) -> dict[str, Any]:
    """A request for programs."""
    return {
        "principal": {"type": asked.principal[0], "id": asked.principal[1]},
        "action": asked.action,
        "resource": {"type": asked.resource[0], "id": asked.resource[1]},
        "entities": list(asked.entities),
        "context": asked.context,
    }


def _show(out: Out, finding: "Finding") -> None:
    status = finding.status.value
    paint = out.good if status == "proved" else out.bad if status == "broken" else out.warm
    place = "" if finding.where == "built in" else f"{safe(finding.where)}: "
    out.line(f"{paint(_MARKS[status])}  {place}{safe(finding.name)}: {safe(finding.title, 300)}")
    if finding.detail:
        out.line(f"    {safe(finding.detail, 400)}")
    if finding.example is not None and status == "broken":
        show_example(out, finding.example.asked, finding.example.answer.answer.value, "", finding.example.case)
        if finding.example.changed is not None and not finding.example.case:
            answer = finding.example.changed_answer
            asked = finding.example.changed
            show_example(out, asked, answer.answer.value if answer else "", "with the fact changed: ", "")


def show_example(out: Out, asked: Any, answer: str, lead: str, case: str) -> None:
    """A counterexample: the case to paste, or else the request as the engine takes it."""
    if case:
        for line in case.splitlines():
            out.line(f"    {safe(line, 2_000)}")
        return
    out.line(f"    {lead}{answer} for {safe(json.dumps(request_data(asked), ensure_ascii=True, default=str), 4_000)}")
