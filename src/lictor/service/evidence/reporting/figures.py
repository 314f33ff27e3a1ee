"""What is counted: a name for everything that one record says. A record has its tag and, by its content, a few more names.

Pure and without memory: what takes two records to know is in `tally`. Refuses to judge what the figures mean.
"""

from collections.abc import Iterator
from typing import Any, Final

from lictor.model.approval import Strength
from lictor.model.record import (
    AgentChanged,
    ApprovalGiven,
    ContainmentLaid,
    DecisionMade,
    ExecutionEnded,
    ExecutionReconciled,
    ExecutionStarted,
    FindingOpened,
    HoldOpened,
    HoldRefused,
    LeaseEnded,
    PartyRefused,
    Record,
    RequestRefused,
    SignedIn,
    TaskOpened,
    TokenIssued,
)
from lictor.service.evidence.reporting.titles import TITLES
from lictor.service.evidence.reporting.turned import group_of

_STRENGTH: Final = {
    int(Strength.SECRET): "approval.by_secret",
    int(Strength.LOGIN): "approval.by_login",
    int(Strength.PASSKEY): "approval.by_passkey",
}


def figures_of(record: Record) -> tuple[str, ...]:
    """Every figure that one record moves by one, each at most once. All of them are in `TITLES`."""
    tag = str(type(record).__struct_config__.tag)
    return (tag, *(name for name in _more(record) if name in TITLES))


def _more(record: Any) -> Iterator[str]:
    match record:
        case DecisionMade():
            yield f"decision.{record.outcome}"
            if record.outcome == "deny":
                yield f"turned.{group_of(record.reason)}"
        case RequestRefused() | HoldRefused() | PartyRefused():
            yield f"turned.{group_of(record.reason)}"
        case ExecutionStarted():
            yield from _started(record)
        case ExecutionEnded():
            yield f"outcome.{record.outcome}"
            if record.labels:
                yield "result.labelled"
            if record.values:
                yield "result.origins"
        case _:
            yield from _rare(record)


def _rare(record: Any) -> Iterator[str]:
    match record:
        case HoldOpened(hold=hold):
            if hold.preview:
                yield "hold.previewed"
            if hold.override:
                yield "hold.override"
        case ApprovalGiven(approval=approval):
            yield _STRENGTH.get(approval.strength, "")
        case TaskOpened():
            if record.task.parents:
                yield "task.delegated"
            if record.contract is not None:
                yield "task.bound"
        case TokenIssued() if record.thumbprint:
            yield "token.bound"
        case SignedIn():
            yield f"sign_in.{record.how}" if record.how in {"secret", "passkey"} else "sign_in.issuer"
        case LeaseEnded():
            yield f"lease.{record.outcome}"
        case ContainmentLaid():
            yield f"contain.{record.containment.restriction.value}"
        case FindingOpened() if record.restriction is not None:
            yield "finding.restricted"
        case AgentChanged():
            yield f"agent.{record.what}"
        case ExecutionReconciled():
            yield f"reconciled.{record.outcome}"
        case _:
            return


def _started(record: ExecutionStarted) -> Iterator[str]:
    flags = {
        "execution.approved": record.hold is not None,
        "execution.ahead": bool(record.allowance),
        "execution.labelled": bool(record.labels),
        "execution.measured": bool(record.moves),
        "execution.budgeted": record.value > 0,
        "execution.bound": any(clause >= 0 for clause in record.clauses),
        "execution.lent": bool(record.lease),
    }
    yield from (name for name, holds in flags.items() if holds)
