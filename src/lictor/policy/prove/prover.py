"""Runs the claims: one environment at a time, every claim in it, each answer of the solver checked on the real engine.

*Proved* means: translated completely, and the solver found no request, in any environment. A time limit, an unknown construct or
a counterexample that the engine does not confirm is never that. Refuses to know files and terminals.
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from enum import StrEnum
from typing import Any, Final

import z3

from lictor.model.ids import PolicyId
from lictor.policy.bundle import Bundle
from lictor.policy.invariants import Claim, Claims, Condition, Invariant, NoErrors, Tightening, check_conditions
from lictor.policy.prove.casetext import case_text
from lictor.policy.prove.house import preferences
from lictor.policy.prove.logic import every
from lictor.policy.prove.questions import question
from lictor.policy.prove.replay import Answer, Replay, Replayed
from lictor.policy.prove.request import Asked, Reader
from lictor.policy.prove.shrink import shrink
from lictor.policy.prove.subject import Scene, Subject
from lictor.policy.prove.unsupported import Unsupported

TIMEOUT_MS: Final = 10_000
"""For one question in one environment."""
_RANK: Final = {Answer.ALLOW: 0, Answer.NEEDS_APPROVAL: 1, Answer.DENY: 2}
Progress = Callable[[int, int], None]
"""Told (done, of) after each environment."""


class Status(StrEnum):
    """What became of a claim; only the first is a yes."""

    PROVED = "proved"
    BROKEN = "broken"
    NOT_PROVED = "not_proved"
    SPURIOUS = "spurious"


_WORSE: Final = (Status.PROVED, Status.NOT_PROVED, Status.SPURIOUS, Status.BROKEN)


@dataclass(frozen=True, slots=True, kw_only=True)
class Counterexample:
    """A request that breaks a claim, and what the real engine answers; `changed` is the same request with one fact changed."""

    asked: Asked
    answer: Replayed
    changed: Asked | None = None
    changed_answer: Replayed | None = None
    case: str = ""
    """As a case for `tests/*.toml`; empty where `decide` as a whole would not answer alike."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """One claim's fate."""

    name: str
    title: str
    where: str
    status: Status
    detail: str = ""
    example: Counterexample | None = None


@dataclass(slots=True)
class _State:
    status: Status = Status.PROVED
    detail: str = ""
    example: Counterexample | None = None
    asked: int = 0

    def take(self, status: Status, detail: str = "", example: Counterexample | None = None) -> None:
        if _WORSE.index(status) > _WORSE.index(self.status):
            self.status, self.detail, self.example = status, detail, example


def prove(
    bundle: Bundle, claims: Claims, *, timeout_ms: int = TIMEOUT_MS, progress: Progress | None = None
) -> tuple[Finding, ...]:
    """Prove or break every claim.

    Args:
        bundle: loaded; it compiles.
        claims: standing ones included.
        timeout_ms: for one question in one environment; past it the claim is not proved.
        progress: told after each environment.

    Raises:
        BundleRefused: a claim's condition does not type-check.
        OperatorError: the bundle does not compile.
    """
    states = {claim.name: _State() for claim in claims.claims}
    try:
        subject = Subject.of(bundle)
        check_conditions(claims, subject.schema)
        all_environments = subject.environments
    except Unsupported as unknown:
        for state in states.values():
            state.take(Status.NOT_PROVED, str(unknown))
        return tuple(_finding(claim, states[claim.name]) for claim in claims.claims)
    for index, environment in enumerate(all_environments):
        open_claims = [claim for claim in claims.claims if states[claim.name].status is not Status.BROKEN]
        try:
            scene = Scene(subject, environment)
        except Unsupported as unknown:
            for claim in open_claims:
                states[claim.name].take(Status.NOT_PROVED, f"{unknown} (for {environment.action[:80]!r})")
        else:
            for claim in open_claims:
                _ask(claim, scene, states[claim.name], timeout_ms)
        if progress is not None:
            progress(index + 1, len(all_environments))
    for claim in claims.claims:
        if not states[claim.name].asked:
            states[claim.name].take(Status.NOT_PROVED, "no request has the fact it speaks of")
    return tuple(_finding(claim, states[claim.name]) for claim in claims.claims)


def _finding(claim: Claim, state: _State) -> Finding:
    return Finding(
        name=claim.name,
        title=claim.title,
        where=claim.where,
        status=state.status,
        detail=state.detail,
        example=state.example,
    )


def _ask(claim: Claim, scene: Scene, state: _State, timeout_ms: int) -> None:
    place = f"for {scene.symbols.environment.action[:80]!r}"
    try:
        asked = question(claim, scene)
        if asked is None:
            return
        state.asked += 1
        if asked.broken is False:
            return
        own = owns_principal(claim)
        wishes = () if own else preferences(scene.symbols, asked.view, scene.subject.house)
        model = solve([*scene.assumed(registry=not own), *asked.assumed, asked.broken], wishes, timeout_ms)
    except Unsupported as unknown:
        state.asked += 1
        state.take(Status.NOT_PROVED, f"{unknown} ({place})")
        return
    except z3.Z3Exception as fault:
        state.asked += 1
        state.take(Status.NOT_PROVED, f"the solver refused: {' '.join(str(fault).split())[:200]} ({place})")
        return
    except TimeoutError as late:
        state.take(Status.NOT_PROVED, f"{late} ({place})")
        return
    if model is None:
        return
    reader = Reader(scene.symbols, model)
    views = (asked.view,) if asked.other is None else (asked.view, asked.other)
    requests = tuple(reader.request(view) for view in views)

    def confirms(found: tuple[Asked, ...]) -> bool:
        return _confirms(claim, scene.subject, _example(scene.subject.replay, found, own=own))

    if confirms(requests):
        example = _example(scene.subject.replay, shrink(requests, confirms), own=own)
        example = replace(example, case=_case(claim, scene.subject, example))
        state.take(Status.BROKEN, _because(claim, example), example)
    else:
        example = _example(scene.subject.replay, requests, own=own)
        state.take(Status.SPURIOUS, f"the engine does not confirm the counterexample ({place})", example)


def owns_principal(claim: Claim) -> bool:
    """Whether a claim changes the principal itself: then the registry's word on its attributes does not count."""
    return isinstance(claim, Tightening) and claim.fact[0] == "principal"


def solve(formulas: Iterable[Any], wished: Iterable[Any], timeout_ms: int) -> Any:
    """A model of the formulas, with as many of the wishes as can be had one after the other; None when there is none.

    Raises:
        TimeoutError: the solver does not know, in this time.
    """
    solver = z3.Solver()
    solver.set("timeout", timeout_ms)
    solver.add(every(formulas))
    result = solver.check()
    if result == z3.unsat:
        return None
    if result != z3.sat:
        raise TimeoutError(f"the solver does not know: {solver.reason_unknown()[:60]}")
    model = solver.model()
    for wish in wished:
        solver.push()
        solver.add(wish)
        if solver.check() == z3.sat:
            model = solver.model()
        else:
            solver.pop()
    return model


def _example(replay: Replay, requests: tuple[Asked, ...], *, own: bool) -> Counterexample:
    answers = [replay.answer(one, own_principal=own) for one in requests]
    if len(requests) == 1:
        return Counterexample(asked=requests[0], answer=answers[0])
    return Counterexample(asked=requests[0], answer=answers[0], changed=requests[1], changed_answer=answers[1])


def _case(claim: Claim, subject: Subject, example: Counterexample) -> str:
    """The request as a test case: for a change, the changed one, which must come out no laxer than before."""
    if isinstance(claim, Tightening):
        if example.changed is None or example.changed_answer is None or owns_principal(claim):
            return ""
        expect = example.answer.answer.value
        return case_text(subject, example.changed, example.changed_answer.answer, expect, claim.title)
    expect = claim.always or Answer.DENY.value if isinstance(claim, Invariant) else Answer.ALLOW.value
    return case_text(subject, example.asked, example.answer.answer, expect, claim.title)


def _confirms(claim: Claim, subject: Subject, example: Counterexample) -> bool:
    """Whether the real engine says that the claim is broken by this request."""
    match claim:
        case NoErrors():
            return bool(example.answer.errors)
        case Invariant():
            considered = claim.when is None or _holds(claim.when, subject, example.asked, doubt=True)
            excepted = claim.unless is not None and _holds(claim.unless, subject, example.asked, doubt=False)
            answer = example.answer.answer.value
            broken = answer == claim.never if claim.never else answer != claim.always
            return considered and not excepted and broken
        case _:
            changed = example.changed_answer
            return changed is not None and _RANK[changed.answer] < _RANK[example.answer.answer]


def _holds(condition: Condition, subject: Subject, asked: Asked, *, doubt: bool) -> bool:
    """Whether the real engine finds the condition true; where it finds an error, `doubt`."""
    name = PolicyId("condition")
    replayed = Replay({name: condition.policy}, subject.schema, subject.entities, ()).answer(asked)
    return doubt if replayed.errors else replayed.answer is Answer.ALLOW


def _because(claim: Claim, example: Counterexample) -> str:
    if isinstance(claim, NoErrors):
        return example.answer.errors[0]
    policies = ", ".join((example.changed_answer or example.answer).policies)
    return f"by {policies}" if policies else ""
