"""What policy would decide about a recorded request if facts were otherwise: two answers side by side.

Decides with the very `decide`, within its deadline, on a bundle of its own; there is no store here, so nothing is recorded and
nothing can run. Pure computing, for a thread.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from lictor.console.policies_asked import Asked
from lictor.console.policies_facts import Changed, otherwise
from lictor.console.policies_form import Form, form_of
from lictor.console.policies_shelf import Volume
from lictor.model.action import ActionRequest
from lictor.model.approval import Need
from lictor.model.decision import Allow, Decision, Deny, NeedsApproval
from lictor.model.limits import Limits
from lictor.model.snapshot import Snapshot
from lictor.pdp.decide import Pdp
from lictor.policy.bundle import Bundle
from lictor.policy.explain import Explanation, explain
from lictor.service.calls.deciding import decided_in_time

MAX_EXPLAINED: Final = 1_000
"""Policies of a bundle up to which an answer is explained: each in scope is asked by itself."""
_ANSWERS: Final[Mapping[type[Decision], str]] = {Allow: "allow", Deny: "deny", NeedsApproval: "needs_approval"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Determining:
    """One policy that determined an answer."""

    id: str
    effect: str
    reason: str
    where: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """One decision for people."""

    outcome: str
    reason: str
    policies: tuple[Determining, ...]
    needs: tuple[Need, ...] = ()
    errors: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Result:
    """Two answers side by side. `lines` explains the second."""

    was: Answer
    now: Answer
    changed: tuple[Changed, ...]
    assumed: tuple[str, ...]
    lines: tuple[str, ...]
    tells: bool
    """Whether no fact that was assumed could change the answer."""


def ask(asked: Asked, form: Form, then: Volume, now: Volume, limits: Limits) -> Result:
    """Decide with the form's facts.

    Args:
        asked: the recorded request.
        form: what is to be otherwise.
        then: the bundle it was decided under.
        now: the bundle in force.
        limits: the decision's deadline, and bounds of arguments.

    Raises:
        WrongFormError: a field cannot be read.
    """
    volume = now if form.policy == "now" else then
    world, changed = otherwise(asked, form, form_of(asked), then, volume, limits)
    snapshot = world.snapshot
    decision = decided_in_time(world.pdp, world.request, snapshot, snapshot.encode(), limits.decide_timeout_s)
    found = explained(world.bundle, world.pdp, world.request, snapshot, search=False)
    return Result(
        was=recorded_answer(asked, then.bundle),
        now=_answer(decision, world.bundle),
        changed=changed,
        assumed=world.assumed,
        lines=tuple(found.lines()[1:]) if found is not None else (),
        tells=world.tells,
    )


def explained(
    bundle: Bundle, pdp: Pdp, request: ActionRequest, snapshot: Snapshot, *, search: bool
) -> Explanation | None:
    """What stands behind an answer; None: of so large a bundle the command line says it."""
    if len(bundle.policies) > MAX_EXPLAINED:
        return None
    return explain(bundle, pdp, request, snapshot, search=search)


def recorded_answer(asked: Asked, bundle: Bundle) -> Answer:
    """What was decided, from its record."""
    made = asked.made
    needs = made.needs or tuple(Need(groups=groups) for groups in made.approvers)
    return Answer(
        outcome=made.outcome,
        reason=made.reason,
        policies=_determining(made.policies, bundle),
        needs=needs,
        errors=made.errors,
    )


def _answer(decision: Decision, bundle: Bundle) -> Answer:
    needs: tuple[Need, ...] = ()
    if isinstance(decision, NeedsApproval):
        needs = decision.needs or tuple(Need(groups=groups) for groups in decision.approvers)
    return Answer(
        outcome=_ANSWERS[type(decision)],
        reason=decision.reason.value,
        policies=_determining(decision.policies, bundle),
        needs=needs,
        errors=decision.errors,
    )


def _determining(names: tuple[Any, ...], bundle: Bundle) -> tuple[Determining, ...]:
    by_id = {policy.id: policy for policy in bundle.policies}
    found = []
    for name in names:
        policy = by_id.get(name)
        found.append(
            Determining(
                id=name,
                effect=policy.effect if policy else "",
                reason=policy.annotations.get("reason", "") if policy else "",
                where=policy.where if policy else "",
            )
        )
    return tuple(found)
