"""A task that is not there yet, decided: policy is asked about the task as it would be, and answer and task are one commit.

There is no task without its decision in the log, and no decision that allowed one which is not there. A refusal leaves
request and decision, and no task. A child task is asked for as its own agent and as each agent above it, like all it does later.

If the process dies here: before the commit nothing is known; after it the task is open.
"""

import asyncio
from typing import Final

from lictor.model.action import ActionKind, ActionRequest, SealedArguments
from lictor.model.decision import Allow, Decision, NeedsApproval
from lictor.model.errors import CallerError, StoreError
from lictor.model.identity import Opener
from lictor.model.ids import DecisionId, RequestId, ServerName
from lictor.model.limits import Limits
from lictor.model.reasons import Reason
from lictor.model.record import Record, TaskOpened
from lictor.model.snapshot import Snapshot
from lictor.model.task import TaskState
from lictor.pdp.decide import Pdp
from lictor.ports import Batch, Ids, Payload, RecordStore
from lictor.service.calls.deciding import decided_in_time
from lictor.service.calls.gather import snapshot_of
from lictor.service.calls.recorded import made, received
from lictor.service.policy import PolicyInForce

NO_SERVER: Final = ServerName("")
_PLAIN: Final = frozenset(
    {
        Reason.UNKNOWN_AGENT,
        Reason.AGENT_INACTIVE,
        Reason.AGENT_NO_OWNER,
        Reason.AGENT_REVIEW_OVERDUE,
        Reason.UNKNOWN_TASK,
        Reason.TASK_CLOSED,
        Reason.TASK_EXPIRED,
    }
)
"""Reasons of the registry and the chain, whose sentence an opener may read. What policy says is for operators, in the log."""


class OpeningRefusedError(CallerError):
    """Policy, the registry or a restriction in force says no. Request and decision are in the log."""

    def __init__(self, pdp: Pdp, decision: Decision, request: RequestId) -> None:
        """`request` names the refused opening in the log."""
        said = f": {decision.errors[0]}" if decision.reason in _PLAIN and decision.errors else ""
        super().__init__(decision.reason, f"the task is not opened{said}"[:300], remedy=_remedy(pdp, decision))
        self.request = request


class Prospects:
    """Decides openings, and commits what came of it."""

    def __init__(self, *, store: RecordStore, policy: PolicyInForce, ids: Ids, limits: Limits) -> None:
        self._store = store
        self._policy = policy
        self._ids = ids
        self._limits = limits

    async def open(self, opener: Opener, record: TaskOpened, text: Payload, *, key: bytes = b"") -> None:
        """Open a task, if policy lets this opener.

        Args:
            opener: who asks, authenticated.
            record: the task as it would be; its contract restricts from the first moment.
            text: what is sealed with it.
            key: `Batch.key`.

        Raises:
            OpeningRefusedError: policy, the registry or a restriction says no; that is recorded.
            CallerError: `forbidden`: an agent asks for a task that is no part of another.
            ConflictError: a life cycle refuses it, at the moment of the commit.
            StoreError: it cannot be recorded; nothing is open.
        """
        pdp, task = self._policy.current(), record.task
        if opener.kind == "agent" and not task.parents:
            raise CallerError(Reason.FORBIDDEN, "an agent opens no task: it can hand on a part of its own")
        request = _request(RequestId(self._ids.new("req")), opener, record)
        snapshot = self._gather(pdp, request, record)
        encoded = snapshot.encode()
        decision = decided_in_time(pdp, request, snapshot, encoded, self._limits.decide_timeout_s)
        records: tuple[Record, ...] = (
            received(request),
            made(pdp, DecisionId(self._ids.new("dec")), request, decision),
        )
        facts = Payload(request=request.id, task=task.id, arguments=request.arguments.data, snapshot=encoded)
        if not isinstance(decision, Allow):
            await self._commit(Batch(at_ms=task.opened_at_ms, records=records, payloads=(facts,)))
            raise OpeningRefusedError(pdp, decision, request.id)
        await self._commit(Batch(at_ms=task.opened_at_ms, records=(*records, record), payloads=(facts, text), key=key))

    def _gather(self, pdp: Pdp, request: ActionRequest, record: TaskOpened) -> Snapshot:
        """The facts, of the task as it would be: nothing was done in it; what was seen and signalled is what its tree has."""
        task, bound = record.task, record.contract
        state = TaskState(task=task, contract=bound, contract_used=() if bound is None else (0,) * len(bound.clauses))
        return snapshot_of(self._store, pdp, request, state, task.opened_at_ms, resolved={}, origins={})

    async def _commit(self, batch: Batch) -> None:
        try:
            async with asyncio.timeout(self._limits.record_timeout_s):
                await self._store.commit(batch)
        except TimeoutError:
            # It may still become durable: then the task is open, with a token that nobody has.
            raise StoreError(Reason.CANNOT_RECORD, "the record store did not answer in time") from None


def _remedy(pdp: Pdp, decision: Decision) -> str:
    match decision.reason:
        case Reason.UNKNOWN_AGENT:
            return "add it to agents.toml"
        case Reason.AGENT_REVIEW_OVERDUE:
            return "review it: lictor agents review"
        case Reason.UNKNOWN_TASK:
            return f"declared purposes: {', '.join(sorted(pdp.purposes)[:8])}"
        case Reason.CONTAINED:
            return "see what is restricted: lictor contain list"
        case Reason.NOT_PERMITTED | Reason.FORBIDDEN:
            return 'policies say who opens tasks: Action::"task:open"'
        case _ if isinstance(decision, NeedsApproval):
            groups = " or ".join("+".join(groups) for groups in decision.approvers)
            return f"nobody is asked before a task is open: somebody has to open it whom policy lets without ({groups})"
        case _:
            return ""


def _request(id_: RequestId, opener: Opener, record: TaskOpened) -> ActionRequest:
    """The opening as an action: its arguments are what policy reads of the opener and the size; never anybody's text."""
    task = record.task
    arguments = {
        "opener": {"kind": opener.kind, "name": opener.name, "groups": sorted(opener.groups)},
        "ttl_s": (task.expires_at_ms - task.opened_at_ms) // 1_000,
        "calls": task.budget.calls,
        "currencies": sorted(task.budget.value),
        "largest": max(task.budget.value.values(), default=0),
        "contract": record.contract is not None,
    }
    return ActionRequest.make(
        id=id_,
        kind=ActionKind.TASK,
        server=NO_SERVER,
        name=task.purpose,
        arguments=SealedArguments.seal(arguments),
        agent=task.agent,
        human=task.human,
        task=task.id,
    )
