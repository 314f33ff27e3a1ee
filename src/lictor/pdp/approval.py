"""An approval against one request: whose answers still count, or why none does. Refuses to know what policy makes of them.

Checks: bound to the action and unexpired (OWASP AISVS 9.2.8, 9.2.9), given by people who may still give it, and not by the
requester or the agent's owner where the bundle says so. An approval given ahead is bound to its allowance instead.
"""

from lictor.model.action import ActionRequest
from lictor.model.approval import Allowance, Approval
from lictor.model.catalog import CatalogEntry, EffectClass
from lictor.model.reasons import Reason
from lictor.model.snapshot import Snapshot
from lictor.pdp.normalise import Selected, Target
from lictor.pdp.refused import Refused
from lictor.pdp.roles import Approvers


def counting(
    approvers: Approvers, request: ActionRequest, snapshot: Snapshot, entry: CatalogEntry, selected: Selected
) -> tuple[tuple[Approval, ...], frozenset[str]]:
    """The answers that count, and the groups they cover.

    Raises:
        Refused: the approval is for another action, expired, or of nobody who may give it.
    """
    approval = snapshot.approval
    if approval is None:
        raise Refused(Reason.UNKNOWN_APPROVAL, "there is no approval")
    if approval.allowance:
        allowance = snapshot.allowance
        if allowance is None or allowance.id != approval.allowance or not covers(allowance, request, entry, selected):
            raise Refused(Reason.ACTION_HASH_MISMATCH, "the allowance is for other actions")
    elif approval.digest != request.digest:
        raise Refused(Reason.ACTION_HASH_MISMATCH, "the approval is for another action")
    if not approval.given_at_ms <= snapshot.at_ms < approval.expires_at_ms:
        raise Refused(Reason.APPROVAL_EXPIRED, "the approval has expired")
    owner = snapshot.agent.owner if snapshot.agent is not None else ""
    counted: dict[str, Approval] = {}
    covered: set[str] = set()
    for one in approval.people:
        if not approvers.may_answer(one.approver, requester=request.human, owner=owner):
            raise Refused(
                Reason.APPROVER_IS_REQUESTER, "an approver is the human behind the task, or the agent's owner"
            )
        groups = set(one.groups).intersection(approvers.groups_of.get(one.approver, ()))
        if approval.override and approvers.overriders.isdisjoint(groups):
            continue
        if approval.met:
            groups &= {*approval.met}
        if groups:
            counted[one.approver] = one
            covered |= groups
    if not counted:
        raise Refused(Reason.NOT_AN_APPROVER, "nobody of those who approved is in a group any more")
    return tuple(counted.values()), frozenset(covered)


def covers(allowance: Allowance, request: ActionRequest, entry: CatalogEntry, selected: Selected) -> bool:
    """Whether an action is one of those that an allowance is for. Its count, value and time are the life cycle's."""
    about = (allowance.agent, allowance.human, allowance.kind, allowance.server, allowance.name)
    if about != (request.agent, request.human, request.kind, request.server, request.name):
        return False
    if allowance.revoked or allowance.task not in ("", request.task) or not may_be_ahead(entry):
        return False
    # What moved value when it was approved ahead, and does not say so any more, is another action.
    if (selected.value is None) is not (not allowance.currency):
        return False
    if selected.value is not None:
        left = allowance.most_value - allowance.used_value
        if selected.value.currency != allowance.currency or not 0 <= selected.value.amount <= left:
            return False
    targets = targets_of(selected)
    if targets or allowance.targets:
        return targets == allowance.targets
    return allowance.arguments == request.arguments.digest


def may_be_ahead(entry: CatalogEntry) -> bool:
    """Whether an action can be approved before it is asked for: never what destroys."""
    return entry.effect is not EffectClass.DESTRUCTIVE


def targets_of(selected: Selected) -> tuple[str, ...]:
    """All that an action reaches, in normal form, sorted: addresses, accounts, repositories with refs; of URLs the origin."""
    if selected.destination is None:
        return ()
    git = selected.destination.git
    refs = (
        () if git is None else (f"refs {' '.join(git.refs)}", *(["by force"] * git.force), *(["delete"] * git.delete))
    )
    return tuple(sorted({*(_target(target) for target in selected.destination.targets), *refs}))


def _target(target: Target) -> str:
    return f"{target.kind} {target.address or f'{target.scheme}://{target.host}:{target.port}'}"
