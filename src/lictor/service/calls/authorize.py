"""Steps 3 to 6 of an action (docs/explanation/how-an-action-runs.md): gather, decide, record; then a grant, a hold or a refusal.

If the process dies here: before the commit nothing is known and nothing ran; after it the grant is spent and nothing ran until
`service.calls.execute` sends. The commit checks task, budgets and approval again inside its transaction; losing that race means
gathering and deciding again, never going on.
"""

import asyncio
import time
from collections import Counter
from collections.abc import Callable
from typing import Any, assert_never

import msgspec

from lictor.lifecycle.measures import Moved
from lictor.model.action import ActionRequest
from lictor.model.approval import Allowance, Hold, HoldStatus
from lictor.model.decision import Allow, Decision, Deny, NeedsApproval
from lictor.model.errors import CallerError, ConflictError, LictorError, StoreError
from lictor.model.ids import (
    AllowanceId,
    DecisionId,
    DefinitionDigest,
    ExecutionId,
    HoldId,
    InstanceId,
    TaskId,
)
from lictor.model.limits import Limits
from lictor.model.preview import preview_digest
from lictor.model.reasons import Reason
from lictor.model.record import (
    ExecutionEnded,
    ExecutionStarted,
    HoldExpired,
    HoldOpened,
    HoldRefused,
    LeaseAsked,
    LeaseEnded,
    Record,
)
from lictor.model.snapshot import Snapshot
from lictor.pdp.approval import covers
from lictor.pdp.decide import Pdp
from lictor.pdp.normalise import select_once
from lictor.ports import Batch, Clock, Files, Ids, Payload, Previewer, Receipt, RecordStore, Watch
from lictor.service.calls.attempt import Attempt, Changed, Lending, spoiled, unfit
from lictor.service.calls.deciding import decided_in_time
from lictor.service.calls.door import record_refusal
from lictor.service.calls.gather import Gather
from lictor.service.calls.grant import Grant
from lictor.service.calls.outcomes import Outcomes
from lictor.service.calls.paths import places, resolved_paths
from lictor.service.calls.recorded import made, received
from lictor.service.calls.requests import held_preview, preview_key
from lictor.service.calls.timer import Deadline
from lictor.service.calls.unwatched import UNWATCHED
from lictor.service.history.history import MOVED_ATTEMPTS, Turns, moves_after, rows_of
from lictor.service.history.origins import Origins, Sender
from lictor.service.policy import PolicyInForce

ATTEMPTS = 5
"""Times a lost race is gathered and decided again before the action is refused with `conflict`."""


class Granted(msgspec.Struct, frozen=True, kw_only=True):
    """It may run: send it through `service.calls.execute`."""

    grant: Grant


class Held(msgspec.Struct, frozen=True, kw_only=True):
    """People are asked. Retrying the same action finds their answer."""

    hold: Hold


class Refused(msgspec.Struct, frozen=True, kw_only=True):
    """It does not run. `reason` may be told to the agent; nothing else may."""

    reason: Reason
    hold: Hold | None = None


Outcome = Granted | Held | Refused


class Authorize:
    """Decides actions and makes the decision durable."""

    def __init__(
        self,
        *,
        store: RecordStore,
        policy: PolicyInForce,
        clock: Clock,
        ids: Ids,
        limits: Limits,
        instance: InstanceId,
        files: Files | None = None,
        previewer: Previewer | None = None,
        on_held: Callable[[Hold], None] | None = None,
        outcomes: Outcomes | None = None,
        stopwatch: Callable[[], float] = time.monotonic,
        watch: Watch = UNWATCHED,
    ) -> None:
        self._store = store
        self._policy = policy
        self._clock = clock
        self._ids = ids
        self._limits = limits
        self._instance = instance
        self._files = files
        self._previewer = previewer
        self._on_held = on_held
        self._origins = Origins(store)
        self._gather = Gather(store, clock, self._origins)
        self._turns = Turns()
        self._opening: Counter[TaskId] = Counter()
        self._outcomes = outcomes or Outcomes(store=store, clock=clock)
        self._stopwatch = stopwatch
        self._watch = watch
        self.recording = True
        """Whether the last decision could be recorded. While it is False the gateway is not ready; the next success mends it."""

    async def __call__(
        self,
        request: ActionRequest,
        *,
        definition: DefinitionDigest | None,
        hint: HoldId | None = None,
        lending: Lending | None = None,
    ) -> Outcome:
        """Decide one action.

        Args:
            request: sealed at the door.
            definition: digest of the live definition; None when the server does not offer the thing.
            hint: the hold the client says this retry belongs to (attacker-controlled: only ever tightens).
            lending: for the use of a credential: the lease that an allow asks for, durable together with it.

        Raises:
            StoreError: the decision cannot be recorded; nothing may run.
            OperatorError: no policy is loaded.
        """
        lost = moved = 0
        while lost < ATTEMPTS and moved < MOVED_ATTEMPTS:
            try:
                if not moved and not self._turns.any:
                    return await self._once(request, definition, hint, lending)
                async with self._turns.of(await self._rows(request)):
                    return await self._once(request, definition, hint, lending)
            except Moved:
                moved += 1
            except ConflictError:
                lost += 1
        return Refused(reason=Reason.CONFLICT)

    async def turned_away(self, task: TaskId, body: bytes, error: LictorError) -> None:
        """Record a request that was refused before it could be decided.

        Raises:
            StoreError: it cannot be recorded.
        """
        words = self._policy.current().words if self._policy.ready else frozenset[str]()
        await record_refusal(self._store, self._clock, task, body, error, words)

    async def shown(self, sender: Sender, task: TaskId, body: bytes) -> None:
        """Make durable what content outside a result holds, before anybody sees it (`service.history.origins`).

        Raises:
            StoreError: it cannot be recorded; the content must not be handed on.
        """
        await self._origins.show(self._clock, self._policy.current(), sender, task, body)

    async def _rows(self, request: ActionRequest) -> tuple[str, ...]:
        """The measures' rows a request has to queue for."""
        pdp = self._policy.current()
        if not pdp.measures:
            return ()
        resolved = await resolved_paths(self._files, pdp, request)
        return rows_of(pdp, request, self._store.task(request.task), resolved)

    async def facts(self, request: ActionRequest) -> dict[str, dict[str, Any]]:
        """What an action's arguments mean, as policy reads it: `destination`, `path`, `git`, `sql`, `command`.

        Raises:
            CallerError: something of it is unknown, or the thing is not in the catalogue.
            OperatorError: no policy is loaded.
        """
        pdp = self._policy.current()
        resolved = await resolved_paths(self._files, pdp, request)
        offering = pdp.offering(request.kind, request.server, request.name)
        if offering is None:
            raise CallerError(Reason.UNKNOWN_TOOL, "it is not in the catalogue")
        return select_once(request, offering.entry, pdp.directory, resolved).records()

    async def ahead(
        self, request: ActionRequest, *, definition: DefinitionDigest | None, hint: HoldId | None = None
    ) -> Held | Refused | None:
        """The same as calling, for an action whose server is not connected yet; but what would be granted is only told.

        Args:
            definition: the pinned one: that the server offers it still is found out when it is connected.

        Returns:
            None: it would be granted. Nothing is recorded, and the decision that counts is made once the server is connected.

        Raises:
            StoreError: the refusal or hold cannot be recorded.
            OperatorError: no policy is loaded.
        """
        for _ in range(ATTEMPTS):
            try:
                attempt, pdp, resolved = await self._attempted(request, definition, None)
                granted = isinstance(attempt.decision, Allow) and self._foreign(attempt, hint) is None
                if granted and not spoiled(attempt, resolved):
                    return None
                outcome = await self._concluded(pdp, attempt, hint, resolved)
                if not isinstance(
                    outcome, Granted
                ):  # never one: what would be granted and is not refused was told above
                    return outcome
            except ConflictError:
                continue
        return Refused(reason=Reason.CONFLICT)

    async def still(self, request: ActionRequest) -> Decision:
        """What would be decided now about an action that was granted. Nothing is recorded, and nothing comes of it but an end.

        An approval that the grant has spent is not there any more, so such an action needs one again.

        Raises:
            OperatorError: no policy is loaded.
            StoreError: the state cannot be read.
        """
        pdp = self._policy.current()
        resolved = await resolved_paths(self._files, pdp, request)
        live = self._store.live_hold(request.task, request.digest)
        snapshot = self._gather(pdp, request, None, live, resolved)
        return self._decide(pdp, request, snapshot, snapshot.encode())

    async def _once(
        self,
        request: ActionRequest,
        definition: DefinitionDigest | None,
        hint: HoldId | None,
        lending: Lending | None = None,
    ) -> Outcome:
        attempt, pdp, resolved = await self._attempted(request, definition, lending)
        return await self._concluded(pdp, attempt, hint, resolved)

    async def _attempted(
        self, request: ActionRequest, definition: DefinitionDigest | None, lending: Lending | None
    ) -> tuple[Attempt, Pdp, dict[str, str]]:
        """Steps 3 and 4."""
        pdp = self._policy.current()
        resolved = await resolved_paths(self._files, pdp, request)
        if self._policy.current().revision != pdp.revision:
            raise ConflictError(Reason.CONFLICT, "another bundle came into force while paths were looked up")
        changed = await self._changed(request)
        attempt = self._attempt(pdp, request, definition, resolved, lending, changed=changed)
        if isinstance(attempt.decision, NeedsApproval) and attempt.live is None:
            for allowance in self._store.allowances(request.agent):
                ahead = self._ahead_of(pdp, attempt, definition, resolved, allowance)
                if ahead is not None:
                    return ahead, pdp, resolved
        return attempt, pdp, resolved

    def _attempt(
        self,
        pdp: Pdp,
        request: ActionRequest,
        definition: DefinitionDigest | None,
        resolved: dict[str, str],
        lending: Lending | None,
        *,
        changed: Changed | None = None,
        allowance: Allowance | None = None,
    ) -> Attempt:
        """Gather and decide, once, without a pause between the two."""
        live = self._store.live_hold(request.task, request.digest)
        if (
            live is not None
            and live.approval is not None
            and live.preview
            and (changed is None or changed.hold != live)
        ):
            raise ConflictError(Reason.CONFLICT, "the hold was answered while its preconditions were looked at")
        laid = self._store.containment_changes()
        snapshot = self._gather(pdp, request, definition, live, resolved, allowance)
        encoded = snapshot.encode()
        began = time.perf_counter()
        decision = self._decide(pdp, request, snapshot, encoded)
        return Attempt(
            pdp=pdp,
            request=request,
            snapshot=snapshot,
            encoded=encoded,
            decision=decision,
            decide_s=time.perf_counter() - began,
            id=DecisionId(self._ids.new("dec")),
            live=live,
            laid=laid,
            lending=lending,
            definition=definition,
            changed=changed.what if changed is not None else "",
        )

    def _ahead_of(
        self,
        pdp: Pdp,
        attempt: Attempt,
        definition: DefinitionDigest | None,
        resolved: dict[str, str],
        allowance: Allowance,
    ) -> Attempt | None:
        """The same decided with an allowance, where one covers it and policy takes it; None otherwise."""
        request, now = attempt.request, attempt.snapshot.at_ms
        offering = pdp.offering(request.kind, request.server, request.name)
        if offering is None or now >= allowance.until_ms or allowance.used >= allowance.most:
            return None
        selected = select_once(request, offering.entry, pdp.directory, resolved)
        if not covers(allowance, request, offering.entry, selected):
            return None
        again = self._attempt(pdp, request, definition, resolved, attempt.lending, allowance=allowance)
        return again if isinstance(again.decision, Allow) and again.live is None else None

    async def _changed(self, request: ActionRequest) -> Changed | None:
        """Whether what an approval rests on is as it was; None: there is nothing to look at."""
        live = self._store.live_hold(request.task, request.digest)
        if live is None or live.approval is None or not live.preview:
            return None
        preview = held_preview(self._store, live)
        if preview is None or self._previewer is None:
            return Changed(live, "nobody can look at what the approval rests on")
        return Changed(live, await self._previewer.changed(preview))

    async def _concluded(self, pdp: Pdp, attempt: Attempt, hint: HoldId | None, resolved: dict[str, str]) -> Outcome:
        """Step 5 and what follows from it."""
        decision, live = attempt.decision, attempt.live
        foreign = None if isinstance(decision, Deny) else self._foreign(attempt, hint)
        if foreign is not None:
            await self._commit(attempt, HoldRefused(request=attempt.request.id, reason=foreign.value, hold=hint))
            return Refused(reason=foreign)
        match decision:
            case Allow():
                why = spoiled(attempt, resolved)
                if live is not None and why is Reason.APPROVAL_DENIED:
                    return await self._turn_away(attempt, why, live)
                if live is not None and why is not None:
                    await self._commit(attempt, HoldExpired(hold=live.id, why=why.value))
                    return Refused(reason=why)
                return await self._allow(pdp, attempt, decision)
            case Deny():
                return await self._deny(attempt, decision)
            case NeedsApproval():
                return await self._hold(pdp, attempt, decision, resolved)
            case _:
                assert_never(decision)

    def _foreign(self, attempt: Attempt, hint: HoldId | None) -> Reason | None:
        """Why the hold that a client names cannot serve its retry; None: it can, or none is named."""
        return None if hint is None else unfit(self._store.hold(hint), attempt.request, attempt.snapshot.at_ms)

    def _decide(self, pdp: Pdp, request: ActionRequest, snapshot: Snapshot, encoded: bytes) -> Decision:
        """Decide within the deadline, or deny.

        See `decided_in_time`.
        """
        return decided_in_time(pdp, request, snapshot, encoded, self._limits.decide_timeout_s, self._stopwatch)

    async def _allow(self, pdp: Pdp, attempt: Attempt, allow: Allow) -> Outcome:
        request = attempt.request
        offering = pdp.offering(request.kind, request.server, request.name)
        if offering is None:
            raise ConflictError(Reason.UNKNOWN_TOOL, "the catalogue entry vanished between decision and commit")
        entry, resolved = offering.entry, attempt.snapshot.resolved
        value = select_once(request, entry, pdp.directory, resolved).value
        execution = ExecutionId(self._ids.new("exe"))
        ahead = attempt.snapshot.allowance
        spent = attempt.live if attempt.snapshot.approval is not None and ahead is None else None
        moves = moves_after(pdp, request, attempt.snapshot)
        asked = attempt.lending(execution, attempt.snapshot.at_ms) if attempt.lending is not None else None
        started = ExecutionStarted(
            execution=execution,
            request=request.id,
            decision=attempt.id,
            digest=request.digest,
            arguments=request.arguments.digest,
            task=request.task,
            instance=self._instance,
            hold=spent.id if spent else None,
            allowance=ahead.id if ahead is not None else AllowanceId(""),
            labels=entry.labels,
            currency=value.currency if value else "",
            value=value.amount if value else 0,
            laid=attempt.laid,
            clauses=allow.clauses,
            moves=moves,
            lease=asked.lease.id if asked is not None else "",
        )
        receipt = await self._commit(attempt, *((started, asked) if asked is not None else (started,)))
        state = attempt.snapshot.task
        root = state.task.root if state is not None else request.task
        counted = any(move.on_executed for move in moves)
        grant = Grant.issue(allow, receipt, request, entry, execution, content=pdp.content, root=root, counted=counted)
        return Granted(grant=grant)

    async def _deny(self, attempt: Attempt, deny: Deny) -> Outcome:
        live = attempt.live
        given = live.approval if live is not None and deny.reason is Reason.APPROVAL_EXPIRED else None
        # A clock that stepped back behind the approval denies too, but the approval's own time is still to come: it is not lost.
        lapsed = given is not None and attempt.snapshot.at_ms >= given.expires_at_ms
        await self._commit(attempt, *((HoldExpired(hold=given.hold),) if given is not None and lapsed else ()))
        return Refused(reason=deny.reason)

    async def _hold(self, pdp: Pdp, attempt: Attempt, decision: NeedsApproval, resolved: dict[str, str]) -> Outcome:
        live, now = attempt.live, attempt.snapshot.at_ms
        if live is not None and live.status is HoldStatus.DENIED:
            return await self._turn_away(attempt, Reason.APPROVAL_DENIED, live)
        if live is not None and now >= live.expires_at_ms:
            await self._commit(attempt, HoldExpired(hold=live.id))
            return Refused(reason=Reason.APPROVAL_TIMEOUT, hold=live)
        if live is not None:
            await self._commit(attempt)
            return Held(hold=live)
        task = attempt.request.task
        # Those on their way to the store count: calls in parallel must not wear people out faster than calls in turn.
        opened = self._store.holds_opened_since(task, now - 60_000) + self._opening[task]
        if opened >= self._limits.holds_per_task_per_minute:
            return await self._turn_away(attempt, Reason.APPROVAL_RATE, None)
        self._opening[task] += 1
        try:
            return await self._open(pdp, attempt, decision, resolved)
        finally:
            self._opening[task] -= 1
            if not self._opening[task]:
                del self._opening[task]

    async def _open(self, pdp: Pdp, attempt: Attempt, decision: NeedsApproval, resolved: dict[str, str]) -> Outcome:
        """A new hold, with what people are shown of the effect: durable together, so that nobody is asked without it."""
        offering = pdp.offering(attempt.request.kind, attempt.request.server, attempt.request.name)
        if self._previewer is None or offering is None or offering.entry.preview is None:
            hold = self._new_hold(attempt, decision)
            await self._commit(attempt, HoldOpened(hold=hold))
            return self._told(hold)
        preview = await self._previewer.preview(attempt.request, offering.entry, resolved)
        # That took its time: the decision that is recorded is one about now.
        if self._policy.current().revision != pdp.revision:
            raise ConflictError(Reason.CONFLICT, "another bundle came into force while the effect was looked at")
        again = self._attempt(pdp, attempt.request, attempt.definition, resolved, attempt.lending)
        if not isinstance(again.decision, NeedsApproval) or again.live is not None:
            raise ConflictError(Reason.CONFLICT, "it was decided otherwise while the effect was looked at")
        encoded = preview.encode() if preview is not None else b""
        hold = self._new_hold(again, again.decision, preview_digest(encoded) if preview is not None else "")
        sealed = Payload(request=preview_key(hold), task=hold.task, arguments=encoded, snapshot=b"")
        await self._commit(again, HoldOpened(hold=hold), sealed=(sealed,) if preview is not None else ())
        return self._told(hold)

    def _told(self, hold: Hold) -> Held:
        """A new hold is durable: whoever tells people is told."""
        if self._on_held is not None:
            self._on_held(hold)
        return Held(hold=hold)

    async def _turn_away(self, attempt: Attempt, reason: Reason, hold: Hold | None) -> Refused:
        refusal = HoldRefused(request=attempt.request.id, reason=reason.value, hold=hold.id if hold else None)
        await self._commit(attempt, refusal)
        return Refused(reason=reason, hold=hold)

    def _new_hold(self, attempt: Attempt, decision: NeedsApproval, preview: str = "") -> Hold:
        request, now = attempt.request, attempt.snapshot.at_ms
        return Hold(
            id=HoldId(self._ids.new("hold")),
            request=request.id,
            digest=request.digest,
            task=request.task,
            agent=request.agent,
            human=request.human,
            kind=request.kind,
            server=request.server,
            name=request.name,
            groups=decision.approvers,
            needs=decision.needs,
            decision=attempt.id,
            preview=preview,
            opened_at_ms=now,
            expires_at_ms=now + int(self._limits.hold_ttl_s * 1_000),
            resolved=places(attempt.snapshot.resolved),
        )

    def _abandon(self, batch: Batch) -> None:
        """Nobody waits for this commit any more, yet it may become durable: then say that what it started never ran.

        Commits keep their order, so the ending finds the start if there is one, and a conflict means that there is none.
        """
        for record in batch.records:
            if isinstance(record, ExecutionStarted):
                reason = Reason.CANCELLED.value
                self._outcomes.put(ExecutionEnded(execution=record.execution, outcome="failed", reason=reason))
            elif isinstance(record, LeaseAsked):
                self._outcomes.put(LeaseEnded(lease=record.lease.id, outcome="never", why=Reason.CANCELLED.value))

    async def _commit(self, attempt: Attempt, *more: Record, sealed: tuple[Payload, ...] = ()) -> Receipt:
        """Request, decision and what follows from it, durable together or not at all."""
        request = attempt.request
        payload = Payload(
            request=request.id,
            task=request.task,
            arguments=request.arguments.data,
            snapshot=attempt.encoded,
        )
        records = (received(request), made(attempt.pdp, attempt.id, request, attempt.decision), *more)
        batch = Batch(at_ms=attempt.snapshot.at_ms, records=records, payloads=(payload, *sealed))
        began = time.perf_counter()
        deadline = Deadline(self._limits.record_timeout_s)
        try:
            receipt = await self._store.commit(batch)
            self.recording = True
            took = time.perf_counter() - began
            self._watch.decided(request, attempt.id, attempt.decision, decide_s=attempt.decide_s, record_s=took)
            return receipt
        except ConflictError:
            raise
        except StoreError:
            self.recording = False
            self._watch.unrecorded()
            raise
        except asyncio.CancelledError:
            self._abandon(batch)
            if not deadline.stop():
                raise
            self.recording = False
            self._watch.unrecorded()
            # It may still become durable; then `_abandon` says of it that it never ran. Nothing runs now.
            raise StoreError(Reason.CANNOT_RECORD, "the record store did not answer in time") from None
        finally:
            deadline.stop()
