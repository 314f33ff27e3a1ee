"""Claims into questions a solver can answer: a formula that is satisfiable exactly when the claim is broken.

Refuses to know solvers, and how an answer is shown.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import z3

from lictor.policy.fold import FACT_BOUND
from lictor.policy.invariants import Claim, Invariant, NoErrors, Tightening
from lictor.policy.prove.house import changed_assumptions
from lictor.policy.prove.logic import Truth, every, negate, some
from lictor.policy.prove.subject import Scene
from lictor.policy.prove.symbols import View, lookup
from lictor.policy.prove.terms import LONG, Collection, Scalar, Term, replaced, sort_of
from lictor.policy.prove.unsupported import Unsupported


@dataclass(frozen=True, slots=True, kw_only=True)
class Question:
    """One claim in one environment.

    Attributes:
        broken: satisfiable when the claim does not hold here.
        view: the request.
        other: the same request changed, for a claim about a change; it must not come out laxer.
    """

    broken: Truth
    view: View
    other: View | None = None
    assumed: Sequence[Any] = ()


def question(claim: Claim, scene: Scene) -> Question | None:
    """The question a claim asks in an environment; None where it is about a fact this environment does not have.

    Raises:
        Unsupported: the claim or a policy says something that is not translated.
    """
    match claim:
        case NoErrors():
            return Question(broken=scene.base.errs, view=scene.view)
        case Invariant():
            return Question(broken=_invariant(claim, scene), view=scene.view)
        case Tightening():
            return _tightening(claim, scene)


def outcome_formula(scene: Scene, name: str) -> Truth:
    """Whether `decide` answers with this outcome."""
    allow = scene.base.allow
    if name == "allow":
        return allow
    held = scene.held(scene.view, scene.base)
    return held if name == "needs_approval" else every((negate(allow), negate(held)))


def _invariant(claim: Invariant, scene: Scene) -> Truth:
    considered = True if claim.when is None else scene.condition(claim.when.tree, scene.view, doubt=True)
    if considered is False:
        return False
    excepted = False if claim.unless is None else scene.condition(claim.unless.tree, scene.view, doubt=False)
    named = outcome_formula(scene, claim.never or claim.always)
    return every((considered, negate(excepted), named if claim.never else negate(named)))


def _tightening(claim: Tightening, scene: Scene) -> Question | None:
    root, *rest = claim.fact
    path = tuple(rest)
    record = scene.view.principal if root == "principal" else scene.view.context
    found = lookup(record, path)
    if found is None:
        return None
    if root == "principal" and any(e.type == scene.symbols.principal.type for e in scene.symbols.chained.values()):
        raise Unsupported("the principal's attributes reached through another entity")
    if not scene.touched(root, path[0]):
        return Question(broken=False, view=scene.view)  # no policy here reads it
    before, after, extra = _changed(claim, scene, record, path, found)
    views = [
        View(one, scene.view.resource, scene.view.context)
        if root == "principal"
        else View(scene.view.principal, scene.view.resource, one)
        for one in (before, after)
    ]
    old = scene.outcome(views[0], root, path[0]) if before is not record else scene.base
    if before is record:
        views[0] = scene.view
    new = scene.outcome(views[1], root, path[0])
    laxer = [every((new.allow, negate(old.allow)))]
    if path[0] != "approval":
        old_held, new_held = scene.held(views[0], old), scene.held(views[1], new)
        laxer.append(every((new_held, negate(old.allow), negate(old_held))))
    assumed = [*extra, *changed_assumptions(scene.symbols, views[1])]
    return Question(broken=some(laxer), view=views[0], other=views[1], assumed=assumed)


def _changed(
    claim: Tightening, scene: Scene, record: Any, path: tuple[str, ...], found: tuple[Truth, Term]
) -> tuple[Any, Any, list[Any]]:
    """The record before and after the change, and what relates the two."""
    presence, term = found
    own = _presence(record, path)
    if claim.change == "remove":
        if own is True:
            raise Unsupported("removing a member that is never absent")
        return record, replaced(record, path, False, None), [presence]
    if claim.change in ("raise", "lower"):
        if not isinstance(term, Scalar) or term.type != LONG:
            raise Unsupported(f"the change {claim.change!r} of something that is no Long")
        new = scene.symbols.variable("changed " + ".".join(claim.fact), LONG)
        order = new > term.z if claim.change == "raise" else new < term.z
        bound = z3.And(new >= -FACT_BOUND, new <= FACT_BOUND)
        return record, replaced(record, path, own, Scalar(LONG, new)), [presence, order, bound]
    if not isinstance(term, Collection) or term.element is None:
        raise Unsupported(f"the change {claim.change!r} of something that is no set")
    sort = z3.SetSort(sort_of(term.element))
    if claim.change == "add":
        more = z3.Const("added to " + ".".join(claim.fact), sort)
        return (
            record,
            replaced(record, path, own, Collection(term.element, None, z3.SetUnion(term.array, more))),
            [presence],
        )
    # `empty`: no better than without the record it is in.
    if len(path) < 2 or _presence(record, path[:-1]) is True:
        raise Unsupported("emptying a set that is in no optional record")
    absent = replaced(record, path[:-1], False, None)
    return absent, replaced(record, path, own, Collection(term.element, ())), [presence]


def _presence(record: Any, path: tuple[str, ...]) -> Truth:
    """Whether the member itself is present, those on the way being so."""
    for name in path[:-1]:
        record = record.member(name)[1]
    return record.member(path[-1])[0]
