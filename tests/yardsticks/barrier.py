"""AgentBarrier's yardstick on Lictor: `agentbarrier verify yardsticks.barrier:Gateway` drives this adapter.

The adapter is an application, its agent and its reviewer; it decides nothing. What waits, what runs and what is refused is the
gateway's word; what became of a run and its receipts are read from the gateway's log. `LICTOR_MUTANT` names what is wrong with the
gateway, for controls.
"""

import asyncio
import contextlib
import os
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from agentbarrier.adapter import AgentAdapter, RunHandle, validate_actions
from agentbarrier.errors import AdapterContractError
from agentbarrier.models import (
    ActionRequest,
    AuditEvent,
    AuditReceipt,
    Capability,
    ReconciliationEvidence,
    ReconciliationStatus,
    RunOutcome,
    RunStatus,
    action_digest,
)
from agentbarrier.probe import EffectProbe

from lictor.model.ids import ExecutionId, RequestId, TaskId
from lictor.model.record import (
    ApprovalGiven,
    ExecutionEnded,
    ExecutionReconciled,
    ExecutionStarted,
    HoldDenied,
    HoldOpened,
    TaskClosed,
    TaskOpened,
)
from yardsticks.world import BRIEFLY_S, POLICY, Answer, World, world

SENTINEL = "sentinel_write"
"""What the yardstick calls its tool; the gateway's policy tells its uses apart by tools of their own."""
SETTLED_S = 5.0
"""Within this time the log says what became of everything that was started."""
_UNKNOWN = {"cancelled": RunStatus.CANCELLED, "upstream_timeout": RunStatus.TIMED_OUT}


def named(action: ActionRequest) -> dict[str, Any]:
    """The arguments as the gateway gets them: its tool takes the action's identity like any other argument."""
    return {"action_id": action.action_id, **action.arguments}


def digest_of(arguments: dict[str, Any]) -> str:
    """The yardstick's digest of what the gateway has sealed."""
    left = dict(arguments)
    return action_digest(ActionRequest(left.pop("action_id"), SENTINEL, left))


class Gateway(AgentAdapter):
    """One gateway for all scenarios. What belongs to a run with a reviewed action goes to a tool that policy opens after that.

    That is the yardstick's profile `run-wide`; for `per-action` see `PerAction`.
    """

    name = "lictor"
    capabilities = frozenset(Capability)
    run_wide = True
    policy = POLICY

    def __init__(self) -> None:
        self._world: World | None = None
        self._stack = contextlib.AsyncExitStack()
        self._probes: dict[str, EffectProbe] = {}
        self._actions: dict[str, ActionRequest] = {}

    async def begin(
        self,
        *,
        run_id: str,
        actions: Sequence[ActionRequest],
        effect: EffectProbe,
        timeout_seconds: float | None = None,
    ) -> RunHandle:
        """An application opens a task for the run; its agent begins."""
        if timeout_seconds not in {None, BRIEFLY_S}:
            raise AdapterContractError(f"the catalogue's timeout is {BRIEFLY_S} s: run with --tool-timeout {BRIEFLY_S}")
        found = await self._started()
        task, token = await found.task()
        run = Run(self, found, run_id, validate_actions(actions), effect, timeout_seconds, task, token)
        run.start()
        return run

    async def _started(self) -> World:
        if self._world is None:
            mutants = os.environ.get("LICTOR_MUTANT", "").split()
            self._world = await self._stack.enter_async_context(world(*mutants, policy=self.policy))
            self._world.effect = self._effect
        return self._world

    def watch(self, action: ActionRequest, probe: EffectProbe) -> None:
        """Where the yardstick wants to see this action's effect."""
        self._actions[action.action_id], self._probes[action.action_id] = action, probe

    async def _effect(self, tool: str, arguments: dict[str, Any]) -> str:
        left = dict(arguments)
        identity = left.pop("action_id")
        return await self._probes[identity](self._actions[identity].with_arguments(left))

    def tool_of(self, action: ActionRequest, run: Sequence[ActionRequest], timeout_s: float | None) -> str:
        """The gateway's tool for a use of the sentinel."""
        if action.requires_approval:
            return "write_reviewed"
        if action.parent_action_id is not None or (self.run_wide and any(one.requires_approval for one in run)):
            return "write_after"
        return "write_briefly" if timeout_s is not None else "write_freely"

    async def close(self) -> None:
        """Stop the gateway."""
        self._world = None
        await self._stack.aclose()


class Loose(Gateway):
    """Control: a policy that forgets what belongs together."""

    policy = POLICY.replace(" when { context.measures.reviewed >= 1 };", ";")


class PerAction(Gateway):
    """Only what has to be reviewed waits; its siblings do not."""

    run_wide = False


@dataclass
class Execution:
    """One execution of an action, as the log tells it."""

    id: ExecutionId
    action_id: str
    outcome: str = "started"
    reason: str = ""


@dataclass
class Run(RunHandle):
    """One logical run: a task of the gateway."""

    adapter: Gateway
    world: World
    run_id: str
    actions: tuple[ActionRequest, ...]
    probe: EffectProbe
    timeout_s: float | None
    task: TaskId
    token: str
    _holds: dict[str, Answer] = field(default_factory=dict)
    _answered: dict[str, asyncio.Future[ActionRequest | None]] = field(default_factory=dict)
    _looked: dict[str, tuple[AuditEvent, str]] = field(default_factory=dict)
    _asked: asyncio.Event = field(default_factory=asyncio.Event)

    def start(self) -> None:
        """The agent begins."""
        loop = asyncio.get_running_loop()
        for action in self.actions:
            self.adapter.watch(action, self.probe)
            self._answered[action.action_id] = loop.create_future()
        self._over = {action.action_id: asyncio.Event() for action in self.actions}
        self._driven = loop.create_task(self._drive())

    # -- the agent: calls, and comes back when people have answered ------------------------------------------------------

    async def _drive(self) -> RunOutcome:
        with contextlib.suppress(asyncio.CancelledError):
            async with asyncio.TaskGroup() as group:
                for action in self.actions:
                    group.create_task(self._agent(action))
        outcome = await self._settled()
        if outcome.status is RunStatus.COMPLETED and any(action.requires_approval for action in self.actions):
            # The application's work is done. Runs without a question stay open: the yardstick replays them.
            await self.world.house.tasks.close(self.task, by="tests")
        return outcome

    async def _agent(self, action: ActionRequest) -> None:
        try:
            tool = self.adapter.tool_of(action, self.actions, self.timeout_s)
            answer = await self.world.call(self.token, tool, named(action))
            if answer.hold:
                await self._held(action, tool, answer)
            elif answer.reason == "not_permitted" and tool == "write_after":
                for first in (one for one in self.actions if one.requires_approval):
                    await self._over[first.action_id].wait()
                await self.world.call(self.token, tool, named(action))
        finally:
            self._over[action.action_id].set()

    async def _held(self, action: ActionRequest, tool: str, answer: Answer) -> None:
        self._holds[action.action_id] = answer
        if not action.requires_approval:
            await self._second_time(action, answer)
        waiting = {one.action_id for one in self.actions if one.requires_approval}
        if waiting <= self._holds.keys():
            self._asked.set()
        approved = await self._answered[action.action_id] if action.requires_approval else action
        state = self._holds[action.action_id].state
        # The agent tries whatever people said, and tries twice; what it asked first too, with an approval for something else.
        tries = [action, approved, approved] if approved not in {None, action} else [action, action]
        for one in tries:
            await self.world.call(self.token, tool, named(one), state=state)

    # -- the reviewer ----------------------------------------------------------------------------------------------------

    async def _second_time(self, action: ActionRequest, answer: Answer) -> None:
        """Somebody asked to run the same again looks at what became of it: once more only if it is known not to have happened."""
        before = [one.outcome for one in self.executions(action.action_id)]
        if before and all(outcome == "refuted" for outcome in before):
            await self.world.person.approve(answer.hold)
        else:
            await self.world.person.deny(answer.hold, f"the same has been started before: {', '.join(before)}")

    async def wait_for_pending(self, timeout_seconds: float) -> tuple[ActionRequest, ...]:
        """What the gateway holds, from the holds it keeps."""
        waiting = asyncio.ensure_future(self._asked.wait())
        await asyncio.wait({waiting, self._driven}, timeout=timeout_seconds, return_when=asyncio.FIRST_COMPLETED)
        waiting.cancel()
        if not self._asked.is_set():
            raise AdapterContractError("the gateway held nothing")
        found = []
        for hold in reversed(self.world.house.store.holds(pending_only=True)):
            if hold.task == self.task:
                left = self.world.arguments(hold.request)
                found.append(ActionRequest(left.pop("action_id"), SENTINEL, left))
        return tuple(found)

    async def approve(self, action_id: str, replacement: ActionRequest | None = None) -> None:
        """The reviewer approves at the console. Nobody edits arguments: other ones are another action, asked for and shown."""
        if replacement is not None:
            await self.world.person.deny(self._holds[action_id].hold, "ask again with what was reviewed")
            answer = await self.world.call(self.token, "write_reviewed", named(replacement))
            self._holds[action_id] = answer
        await self.world.person.approve(self._holds[action_id].hold)
        self._answered[action_id].set_result(replacement)

    async def reject(self, action_id: str, reason: str | None = None) -> None:
        """The reviewer denies at the console."""
        await self.world.person.deny(self._holds[action_id].hold, reason or "")
        self._answered[action_id].set_result(None)

    async def reconcile(self, action_id: str, timeout_seconds: float) -> ReconciliationEvidence:
        """The reviewer looks where the effect would be, for so long, and tells the gateway what is beyond doubt."""
        action = next(one for one in self.actions if one.action_id == action_id)
        execution = next(one for one in self.executions(action_id) if one.outcome == "indeterminate")
        digest = action_digest(action)
        try:
            evidence = await asyncio.wait_for(self.probe.reconcile(action), timeout_seconds)
        except TimeoutError:
            detail = f"looking timed out after {timeout_seconds:g} s"
            self._looked[action_id] = (AuditEvent.RECONCILIATION_TIMED_OUT, detail)
            return ReconciliationEvidence(action_id, ReconciliationStatus.UNAVAILABLE, digest, detail=detail)
        said = {ReconciliationStatus.COMMITTED: "confirmed", ReconciliationStatus.NOT_COMMITTED: "refuted"}
        if evidence.status in said:
            await self.world.person.reconcile(execution.id, said[evidence.status], evidence.detail or "")
        else:
            self._looked[action_id] = (AuditEvent.RECONCILIATION_CONFLICT, evidence.detail or "")
        return evidence

    # -- the application -------------------------------------------------------------------------------------------------

    async def cancel(self) -> None:
        """The client goes away."""
        if not self._driven.done():
            for answered in self._answered.values():
                answered.cancel()
            self._driven.cancel()
        await asyncio.shield(self._driven)

    async def wait(self, timeout_seconds: float) -> RunOutcome:
        """How it ended."""
        return await asyncio.wait_for(asyncio.shield(self._driven), timeout_seconds)

    async def replay(self) -> RunHandle:
        """The same again, in the same task."""
        like = (self.adapter, self.world, self.run_id, self.actions, self.probe, self.timeout_s, self.task, self.token)
        run = Run(*like)
        run.start()
        return run

    async def close(self) -> None:
        """The application closes what is open."""
        await self.cancel()

    # -- what the log says -----------------------------------------------------------------------------------------------

    def executions(self, action_id: str | None = None) -> list[Execution]:
        """Executions of this run's task, oldest first."""
        found: dict[ExecutionId, Execution] = {}
        for entry in self.world.log():
            match entry.record:
                case ExecutionStarted(task=self.task) as started:
                    identity = self.world.arguments(started.request)["action_id"]
                    found[started.execution] = Execution(started.execution, identity)
                case ExecutionEnded(execution=execution) as ended if execution in found:
                    found[execution].outcome, found[execution].reason = ended.outcome, ended.reason
                case ExecutionReconciled(execution=execution) as said if execution in found:
                    found[execution].outcome = said.outcome
        return [one for one in found.values() if action_id in {None, one.action_id}]

    async def _settled(self) -> RunOutcome:
        """What became of the run, by the log alone."""
        async with asyncio.timeout(SETTLED_S):
            found = self.executions()
            while any(one.outcome == "started" for one in found):
                await asyncio.sleep(0.02)
                found = self.executions()
        unknown = [one for one in found if one.outcome == "indeterminate"]
        if unknown:
            return RunOutcome(_UNKNOWN.get(unknown[0].reason, RunStatus.UNKNOWN), unknown[0].reason)
        return RunOutcome(RunStatus.COMPLETED, ", ".join(f"{one.action_id} {one.outcome}" for one in found))

    async def audit_receipts(self) -> tuple[AuditReceipt, ...]:
        """The log's records of this run, in the yardstick's words."""
        return tuple(_Receipts(self).read())


class _Receipts:
    """Reads a run's receipts out of the log."""

    def __init__(self, run: Run) -> None:
        self._run = run
        self._requests: dict[str, RequestId] = {}

    def read(self) -> list[AuditReceipt]:
        run = self._run
        receipts = []
        for entry in run.world.log():
            told = self._told(entry.record)
            if told is not None:
                event, request, detail = told
                receipts.append(self._receipt(entry.seq + 1, entry.at_ms, event, request, detail))
        last = receipts[-1]
        for action_id, (event, detail) in run._looked.items():
            # Looking in vain changes nothing in the gateway and leaves no record there; that it is unknown still, does.
            if [one.outcome for one in run.executions(action_id)][-1] == "indeterminate":
                digest = next(action_digest(one) for one in run.actions if one.action_id == action_id)
                after = (last.sequence + 1, run.run_id, event, last.timestamp_ns)
                receipts.append(AuditReceipt(*after, action_id, digest, detail))
        return receipts

    def _receipt(self, seq: int, at_ms: int, event: AuditEvent, request: RequestId | None, detail: str) -> AuditReceipt:
        head = (seq, self._run.run_id, event, at_ms * 1_000_000)
        if request is None:
            return AuditReceipt(*head, detail=detail)
        arguments = self._run.world.arguments(request)
        return AuditReceipt(*head, arguments["action_id"], digest_of(arguments), detail)

    def _told(self, record: object) -> tuple[AuditEvent, RequestId | None, str] | None:
        task, requests = self._run.task, self._requests
        match record:
            case TaskOpened(task=opened) if opened.id == task:
                return AuditEvent.RUN_STARTED, None, ""
            case TaskClosed(task=closed) if closed == task:
                return AuditEvent.RUN_COMPLETED, None, ""
            case HoldOpened(hold=hold) if hold.task == task:
                requests[hold.id] = hold.request
                return AuditEvent.APPROVAL_REQUESTED, hold.request, hold.id
            case ApprovalGiven(approval=approval) if approval.hold in requests:
                return AuditEvent.APPROVED, requests[approval.hold], approval.approver
            case HoldDenied(hold=denied, by=by) if denied in requests:
                return AuditEvent.REJECTED, requests[denied], by
            case ExecutionStarted(task=of) as started if of == task:
                requests[started.execution] = started.request
            case ExecutionEnded(execution=ended, outcome="indeterminate") if ended in requests:
                return AuditEvent.RECONCILIATION_STARTED, requests[ended], ended
            case ExecutionReconciled(execution=settled, outcome=outcome, by=by) if settled in requests:
                event = "COMMITTED" if outcome == "confirmed" else "NOT_COMMITTED"
                return AuditEvent[f"RECONCILIATION_{event}"], requests[settled], by
        return None
