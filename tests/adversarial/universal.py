"""U1 to U6: what holds for every case, whatever it is about."""

from collections import Counter

from adversarial.expectations import require
from adversarial.run import Run
from adversarial.wire import observe
from lictor.model.reasons import Reason
from lictor.model.record import (
    ApprovalGiven,
    DecisionMade,
    ExecutionEnded,
    ExecutionStarted,
    HoldExpired,
    HoldOpened,
    HoldRefused,
    RequestReceived,
    RequestRefused,
    decode_entry,
)

SLOWEST_S = 5.0
"""No answer of any case takes longer; races included."""
_POLICY_WORDS = ("permit(", "forbid(", "fixture/", "case/forbid", "case/permit", "cedar", "AgentGroup", "policies/")
"""What would tell an agent how policy is built."""


async def check(run: Run) -> None:
    """All six.

    Raises:
        Wrong: one does not hold.
    """
    for gateway in run.world.gateways:
        gateway.store.fault = ""
        gateway.store.before = gateway.store.after = None
    await run.world.settle()
    effects_follow_grants(run)
    refusals_are_recorded(run)
    only_deliberate_failures(run)
    no_secret_is_seen(run)
    reasons_are_stable(run)


def effects_follow_grants(run: Run) -> None:
    """U1, U2, U5: each effect has its own allow, durable before it, for exactly the bytes that were received."""
    world = run.world
    store = world.main.store.inner
    if getattr(store, "_closed", False):
        return  # the case closed the log to damage a copy of it; what was seen before is checked by the verb
    records = [decode_entry(entry.data).record for entry in store.entries()]
    decisions: dict[str, DecisionMade] = {}
    requests: dict[str, RequestReceived] = {}
    started: dict[str, ExecutionStarted] = {}
    ended: dict[str, ExecutionEnded] = {}
    holds: dict[str, HoldOpened] = {}
    approved: dict[str, ApprovalGiven] = {}
    for record in records:
        match record:
            case RequestReceived():
                requests[record.request] = record
            case DecisionMade():
                decisions[record.decision] = record
            case HoldOpened():
                holds[record.hold.id] = record
            case ApprovalGiven():
                approved[record.approval.hold] = record
            case ExecutionStarted():
                require(record.decision in decisions, "U2: an execution stands in the log before its decision")
                started[record.execution] = record
            case ExecutionEnded():
                ended[record.execution] = record
    for execution in started.values():
        decision, request = decisions[execution.decision], requests[execution.request]
        require(decision.outcome == "allow", f"U1: an execution on a decision {decision.outcome}")
        require(
            decision.digest == execution.digest == request.digest, "U5: decision and execution differ in their digest"
        )
        require(request.arguments == execution.arguments, "U5: request and execution differ in their arguments")
        if execution.hold is not None:
            given = approved.get(execution.hold)
            require(
                given is not None and given.approval.digest == execution.digest,
                "U5: the approval is for another action",
            )
        outcome = ended.get(execution.execution)
        if outcome is not None and outcome.sent:
            require(outcome.sent == execution.arguments, "U5: what was recorded as sent is not what was decided")
    granted = Counter(execution.arguments for execution in started.values())
    happened = Counter(effect.digest for effect in world.servers.effects)
    require(not happened - granted, f"U1: effects without a grant: {dict(happened - granted)}")
    unrecorded = [effect.name for effect in world.servers.effects if not effect.recorded]
    require(not unrecorded, f"U2: effects before their record: {unrecorded[:3]}")
    # What was lent went to no server as a call: nothing has to have been received for it.
    calls = {execution.execution for execution in started.values() if not execution.lease}
    sent = Counter(one.sent for one in ended.values() if one.outcome == "executed" and one.execution in calls)
    require(not sent - happened, "U5: something is recorded as executed that no server received")


_NOT_RECORDED = frozenset(
    {
        Reason.CANNOT_RECORD,
        Reason.NO_POLICY,
        Reason.CONFLICT,
        Reason.INTERNAL,
        Reason.PERMITTED,
        Reason.UNAUTHENTICATED,
        Reason.ALG_NOT_ALLOWED,
        Reason.CRIT_NOT_UNDERSTOOD,
        Reason.AUDIENCE,
        Reason.BAD_HOST,
        Reason.BAD_ORIGIN,
        Reason.STATE_UNCONFIRMED,
        Reason.CLOCK_UNSOUND,
        Reason.SINK_BEHIND,
    }
)
"""Answers behind which there is no record: nothing could be written, nothing was decided, or nobody known asked."""


def refusals_are_recorded(run: Run) -> None:
    """U2: whatever an authenticated agent was told stands in the log, with the reason it was told."""
    store = run.world.main.store.inner
    if getattr(store, "_closed", False):
        return
    noted: Counter[str] = Counter()
    for entry in store.entries():
        match decode_entry(entry.data).record:
            case DecisionMade() | RequestRefused() | HoldRefused() as record:
                noted[record.reason] += 1
                if isinstance(record, DecisionMade) and record.outcome == "needs_approval":
                    noted[Reason.NEEDS_APPROVAL] += 1  # an agent is told that it is held, not what laid the restriction
            case ExecutionEnded() as record if record.reason == Reason.CONTAINED:
                noted[record.reason] += 1  # stopped under way
            case HoldExpired() as record:
                noted[record.why] += 1
                noted[Reason.APPROVAL_TIMEOUT] += 1
                noted[Reason.APPROVAL_EXPIRED] += 1
            case _:
                pass
    # 401: whoever asked was nobody, though a token's holder is told what became of it.
    heard = [observe(response) for response in run.world.responses if response.status != 401]
    told = Counter(seen.reason for seen in heard if seen.reason not in _NOT_RECORDED)
    upstream = [reason for reason in told if reason.startswith("upstream_")]
    missing = {reason: count for reason, count in (told - noted).items() if reason and reason not in upstream}
    require(not missing, f"U2: told and not recorded: {missing}")


def only_deliberate_failures(run: Run) -> None:
    """U3: no crash of ours, nothing slow."""
    for response in run.world.responses:
        require(response.status != 0, "U3: no answer")
        require(response.status < 500 or response.status == 503, f"U3: status {response.status}")
    defects = [line for line in run.world.operator if line.startswith("defect")]
    require(not defects, f"U3: {defects[:2]}")
    require(run.world.slowest_s < SLOWEST_S, f"U3: an answer took {run.world.slowest_s:.1f} s")
    internal = [r for r in run.world.responses if observe(r).reason == Reason.INTERNAL]
    if "PDP" not in run.precondition:
        require(not internal, "U3: an internal error was answered")


def no_secret_is_seen(run: Run) -> None:
    """U4: in no answer, no page, no line for the operator, no file of the log."""
    world = run.world
    places = [("an answer", response.body) for response in world.responses]
    places += [("a page", page.body) for person in world.people.values() for page in person.pages]
    places += [("the operator's output", "\n".join(world.operator).encode())]
    places += [("the log", path.read_bytes()) for path in (world.folder / "state").glob("log.db*")]
    if not world.durable:
        places += [("the log", b"".join(entry.data for entry in world.main.store.inner.entries()))]
    for where, content in places:
        for number, secret in enumerate(world.secrets):
            require(secret.encode() not in content, f"U4: secret {number} in {where}")


def reasons_are_stable(run: Run) -> None:
    """U6: every refusal has a code of ours, and no text for the agent tells how policy is built."""
    for response in run.world.responses:
        seen = observe(response)
        if seen.word is None and response.status != 202:
            require(seen.reason in list(Reason), f"U6: no reason in {response.body[:200]!r}")
        told = response.body.decode("utf-8", "replace")
        leaked = [word for word in _POLICY_WORDS if word in told]
        require(not leaked, f"U6: the agent is told {leaked}")
