"""Open a task as a decided, recorded action: policy says who may open one, for whom, for what, and how large.

The decision is made on the task as it would be, and one commit holds request, decision and task: there is no task without its
decision in the log, and no decision that allowed one which is not there. A refusal leaves request and decision, and no task.

An approval is never waited for: nobody is asked before there is a task, so where policy wants one, somebody who may open it
without has to (DESIGN section 6: opened by an application or a person, never by the model).

If the process dies here: before the commit nothing is known; after it the task is open, and whoever asked with an idempotency
key finds it by asking again.
"""

import asyncio
from typing import Final

import msgspec

from lictor.model.action import ActionKind, ActionRequest, SealedArguments
from lictor.model.decision import Allow, Decision, NeedsApproval
from lictor.model.errors import CallerError, ConflictError, StoreError
from lictor.model.identity import Opener
from lictor.model.ids import DecisionId, RequestId, ServerName
from lictor.model.limits import Limits
from lictor.model.reasons import Reason
from lictor.model.record import Record
from lictor.model.snapshot import Snapshot
from lictor.model.task import TaskState
from lictor.pdp.decide import Pdp
from lictor.policy.names import human_problem
from lictor.ports import Batch, Clock, Ids, Payload, RecordStore
from lictor.service.authorize import decided_in_time, made, received
from lictor.service.chain import restrictions_on
from lictor.service.history import readings_of
from lictor.service.policy import PolicyInForce
from lictor.service.repeating import asked_digest, key_digest, repeated
from lictor.service.tasks import Draft, Opened, Tasks, Wish

NO_SERVER: Final = ServerName("")
MAX_KEY: Final = 200
"""Characters of an idempotency key."""


_PLAIN: Final = frozenset(
    {
        Reason.UNKNOWN_AGENT,
        Reason.AGENT_INACTIVE,
        Reason.AGENT_NO_OWNER,
        Reason.AGENT_REVIEW_OVERDUE,
        Reason.UNKNOWN_TASK,
    }
)
"""Reasons of the registry, whose sentence an opener may read. What policy says inside is for operators, in the log."""


class OpeningRefusedError(CallerError):
    """Policy, the registry or a restriction in force says no. Request and decision are in the log."""

    def __init__(self, pdp: Pdp, decision: Decision, request: RequestId) -> None:
        """`request` names the refused opening in the log."""
        said = f": {decision.errors[0]}" if decision.reason in _PLAIN and decision.errors else ""
        super().__init__(decision.reason, f"the task is not opened{said}"[:300], remedy=_remedy(pdp, decision))
        self.request = request


class Open:
    """Opens tasks for people, applications and operators."""

    def __init__(
        self, *, tasks: Tasks, store: RecordStore, policy: PolicyInForce, clock: Clock, ids: Ids, limits: Limits
    ) -> None:
        self._tasks = tasks
        self._store = store
        self._policy = policy
        self._clock = clock
        self._ids = ids
        self._limits = limits

    async def __call__(self, opener: Opener, wish: Wish, *, audience: str, by: str = "", key: str = "") -> Opened:
        """Open a task, if policy lets this opener.

        Args:
            opener: who asks, authenticated.
            wish: what is asked for.
            audience: the gateway the task is for; `local` for a process-bound task.
            by: who opens it, for the record (default: `kind:name` of the opener).
            key: an idempotency key of the opener's choice. The same key and wish find the same task again, however long
                after and in whatever process; its token is not shown again.

        Raises:
            OpeningRefusedError: policy, the registry or a restriction says no; that is recorded.
            CallerError: `key_reused`; a member is out of range; `forbidden`: a person opens tasks in their own name only.
            StoreError: it cannot be recorded; nothing is open.
        """
        _check(opener, wish)
        if not key:
            return await self._open(opener, wish, audience, by, "", "")
        told = key_digest(opener.kind, opener.name, key)
        asked = wish_digest(wish, audience)
        found = repeated(self._store, told, asked)
        if found is not None:
            return found
        try:
            return await self._open(opener, wish, audience, by, told, asked)
        except ConflictError:
            found = repeated(self._store, told, asked)  # somebody else was first, with this key
            if found is None:
                raise
            return found

    async def _open(self, opener: Opener, wish: Wish, audience: str, by: str, told: str, asked: str) -> Opened:
        pdp = self._policy.current()
        name = f"{opener.kind}:{opener.name}"
        draft = self._tasks.draft(wish, audience=audience, by=by or name, opener=name)
        request = _request(RequestId(self._ids.new("req")), opener, wish, draft)
        snapshot = self._gather(pdp, request, wish, draft)
        encoded = snapshot.encode()
        decision = decided_in_time(pdp, request, snapshot, encoded, self._limits.decide_timeout_s)
        records: tuple[Record, ...] = (
            received(request),
            made(DecisionId(self._ids.new("dec")), request, decision),
        )
        facts = Payload(request=request.id, task=draft.task.id, arguments=request.arguments.data, snapshot=encoded)
        at_ms = draft.task.opened_at_ms
        if not isinstance(decision, Allow):
            await self._commit(Batch(at_ms=at_ms, records=records, payloads=(facts,)))
            raise OpeningRefusedError(pdp, decision, request.id)
        opened = msgspec.structs.replace(draft.record, key=told, asked=asked)
        batch = Batch(at_ms=at_ms, records=(*records, opened), payloads=(facts, draft.text), key=draft.key)
        await self._commit(batch)
        return Opened(task=draft.task, token=draft.token)

    def _gather(self, pdp: Pdp, request: ActionRequest, wish: Wish, draft: Draft) -> Snapshot:
        """The facts, of the task as it would be: nothing was done in it and nothing seen."""
        bound = wish.contract
        used = () if bound is None else (0,) * len(bound.clauses)
        state = TaskState(task=draft.task, contract=bound, contract_used=used)
        at_ms = draft.task.opened_at_ms
        return Snapshot(
            at_ms=at_ms,
            revision=pdp.revision,
            agent=pdp.agents.get(wish.agent),
            task=state,
            human_groups=pdp.humans.get(wish.human, ()),
            definition=None,
            containments=restrictions_on(self._store, pdp, request, state, ()),
            measures=readings_of(self._store, pdp, request, state, at_ms, {}),
        )

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
        case Reason.NOT_PERMITTED | Reason.FORBIDDEN:
            return 'policies say who opens tasks: Action::"task:open"'
        case _ if isinstance(decision, NeedsApproval):
            groups = " or ".join("+".join(groups) for groups in decision.approvers)
            return f"nobody is asked before a task is open: somebody has to open it whom policy lets without ({groups})"
        case _:
            return ""


def wish_digest(wish: Wish, audience: str) -> str:
    """What two requests with one idempotency key have to have in common: everything."""
    return asked_digest(wish, audience)


def _request(id_: RequestId, opener: Opener, wish: Wish, draft: Draft) -> ActionRequest:
    """The opening as an action: its arguments are what policy reads of the opener and the size; never the person's text."""
    arguments = {
        "opener": {"kind": opener.kind, "name": opener.name, "groups": sorted(opener.groups)},
        "ttl_s": wish.ttl_s,
        "calls": wish.budget.calls,
        "currencies": sorted(wish.budget.value),
        "largest": max(wish.budget.value.values(), default=0),
        "contract": wish.contract is not None,
    }
    return ActionRequest.make(
        id=id_,
        kind=ActionKind.TASK,
        server=NO_SERVER,
        name=wish.purpose,
        arguments=SealedArguments.seal(arguments),
        agent=wish.agent,
        human=wish.human,
        task=draft.task.id,
    )


def _check(opener: Opener, wish: Wish) -> None:
    """What no policy can permit.

    Raises:
        CallerError: `invalid_arguments`: this is no person's id; `forbidden`: a person opens tasks in somebody else's name.
    """
    problem = human_problem(wish.human)
    if problem:
        raise CallerError(Reason.INVALID_ARGUMENTS, f"{wish.human[:80]!r}: {problem}", where="/human")
    if opener.kind == "person" and opener.name != wish.human:
        raise CallerError(Reason.FORBIDDEN, "a person opens tasks in their own name only", where="/human")
