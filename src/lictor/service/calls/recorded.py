"""A request and the decision on it as records, and the request back from its own. Refuses to know who reads them."""

from typing import Final

from lictor.model.action import ActionRequest, SealedArguments
from lictor.model.canonical import sha256_digest
from lictor.model.decision import Allow, Decision, Deny, NeedsApproval
from lictor.model.ids import ArgumentsDigest, DecisionId
from lictor.model.record import DecisionMade, RequestReceived
from lictor.pdp.decide import Pdp
from lictor.service.calls.wordless import told

ENGINE: Final = "cedar"
_OUTCOMES: Final = {Allow: "allow", Deny: "deny", NeedsApproval: "needs_approval"}


def received(request: ActionRequest) -> RequestReceived:
    """The request's record."""
    return RequestReceived(
        request=request.id,
        kind=request.kind,
        server=request.server,
        name=request.name,
        arguments=request.arguments.digest,
        digest=request.digest,
        agent=request.agent,
        human=request.human,
        task=request.task,
    )


def rebuilt(asked: RequestReceived, arguments: bytes) -> ActionRequest:
    """The request again, from its record and the sealed bytes; `received` of it is the record, if they belong together."""
    return ActionRequest.make(
        id=asked.request,
        kind=asked.kind,
        server=asked.server,
        name=asked.name,
        arguments=SealedArguments(arguments, ArgumentsDigest(sha256_digest(arguments))),
        agent=asked.agent,
        human=asked.human,
        task=asked.task,
    )


def made(pdp: Pdp, decision_id: DecisionId, request: ActionRequest, decision: Decision) -> DecisionMade:
    """The record of a decision made under `pdp`. `service.evidence.replay` builds it again and compares every member."""
    outcome = _OUTCOMES[type(decision)]
    return DecisionMade(
        decision=decision_id,
        request=request.id,
        digest=decision.request,
        snapshot=decision.snapshot,
        revision=decision.revision,
        engine=ENGINE,
        outcome=outcome,
        reason=decision.reason.value,
        policies=decision.policies,
        approvers=decision.approvers if isinstance(decision, NeedsApproval) else (),
        needs=decision.needs if isinstance(decision, NeedsApproval) else (),
        errors=told(request, decision, pdp.words) if decision.errors else (),
    )
