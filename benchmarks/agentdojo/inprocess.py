"""The real use cases without a transport: a task in a memory store, decisions, holds, executions, observed results."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

from benchmarks.agentdojo.contracts import declared
from benchmarks.agentdojo.people import AGENT, BUDGET, HUMAN, PURPOSE, Outcome
from lictor.model.action import ActionKind, ActionRequest, SealedArguments
from lictor.model.approval import seal_of
from lictor.model.catalog import CatalogEntry
from lictor.model.contract import ContractSource
from lictor.model.errors import LictorError
from lictor.model.ids import AgentId, HumanId, InstanceId, RequestId, ServerName
from lictor.model.limits import Limits
from lictor.model.task import Budget, Task
from lictor.pdp.decide import Pdp
from lictor.policy.catalogue import pin_of
from lictor.policy.compile import compile_bundle
from lictor.policy.contracts import contract_from
from lictor.service.calls.authorize import Authorize, Granted, Held, Refused
from lictor.service.calls.execute import Execute, Sent
from lictor.service.people.approve import Answer, Proof
from lictor.service.policy import PolicyInForce
from lictor.service.tasks.tasks import Tasks
from lictor.stores.bundle_folder import BundleFolder
from lictor.stores.clock import SystemClock
from lictor.stores.ids import RandomIds
from lictor.stores.keys import Keys
from lictor.stores.memory import MemoryStore

Run = Callable[[str, dict[str, Any]], tuple[str, bool]]

CALLS = 10_000


def reply(text: str, error: bool) -> bytes:
    """A tool's result as it travels in MCP."""
    return json.dumps({"content": [{"type": "text", "text": text}], "isError": error}, ensure_ascii=False).encode()


class Policy:
    """A suite's bundle, compiled, with the definitions the suite really offers."""

    def __init__(self, suite: str, bundle: Path, definitions: list[dict[str, Any]], keys: Path) -> None:
        self.suite = suite
        self.pdp: Pdp = compile_bundle(BundleFolder(bundle).load())
        self.pins = {tool["name"]: pin_of(tool) for tool in definitions}
        self.signer = Keys.open(keys).signer

    def entry(self, tool: str) -> CatalogEntry:
        """What the catalogue says of a tool."""
        return self.pdp.exact[ActionKind.TOOL, self.suite, tool].entry


class Session:
    """One task of one agent."""

    def __init__(self, policy: Policy, run: Run) -> None:
        self._policy = policy
        self._run = run
        self._ids, clock, limits = RandomIds(), SystemClock(), Limits()
        self._store = MemoryStore(signer=policy.signer)
        in_force = PolicyInForce()
        in_force.swap(policy.pdp)
        parts: dict[str, Any] = {"store": self._store, "policy": in_force, "clock": clock, "ids": self._ids}
        self._tasks = Tasks(**parts, limits=limits)
        self._answer = Answer(**parts, limits=limits)
        self._authorize = Authorize(**parts, limits=limits, instance=InstanceId(self._ids.new("gw")))
        self._execute = Execute(store=self._store, clock=clock)
        self._task: Task | None = None

    async def open(self, prompt: str, contract: dict[str, Any] | None) -> None:
        """The person opens a task with their own words, and perhaps a contract."""
        bound = contract_from(contract, ContractSource.PERSON, self._policy.pdp) if contract is not None else None
        opened = await self._tasks.open(
            agent=AgentId(AGENT),
            human=HumanId(HUMAN),
            purpose=PURPOSE,
            trusted_text=prompt,
            ttl_s=3_600,
            budget=Budget(calls=CALLS, value=BUDGET),
            audience="local",
            by=HUMAN,
            token=False,
            contract=bound,
            declared=declared(contract),
        )
        self._task = opened.task

    async def call(self, tool: str, arguments: dict[str, Any], *, approve: bool) -> Outcome:
        """One call; `approve` is what the person says if they are asked."""
        try:
            outcome = await self._authorized(tool, arguments)
            asked = isinstance(outcome, Held)
            if isinstance(outcome, Held) and approve:
                await self._answer.approve(outcome.hold.id, Proof(human=HumanId(HUMAN)), seal_of(outcome.hold))
                outcome = await self._authorized(tool, arguments)
        except LictorError as error:
            return Outcome(ran=False, asked=False, reason=error.reason.value)
        match outcome:
            case Granted():
                return Outcome(ran=True, asked=asked, reason="", text=await self._sent(outcome, tool))
            case Held():
                return Outcome(ran=False, asked=asked, reason="needs_approval")
            case Refused():
                return Outcome(ran=False, asked=asked, reason=outcome.reason.value)

    async def end(self) -> None:
        """Wait until everything is recorded."""
        await self._execute.drain()

    async def _authorized(self, tool: str, arguments: dict[str, Any]) -> Granted | Held | Refused:
        task = self._task
        if task is None:
            raise ValueError("open a task first")
        request = ActionRequest.make(
            id=RequestId(self._ids.new("req")),
            kind=ActionKind.TOOL,
            server=ServerName(self._policy.suite),
            name=tool,
            arguments=SealedArguments.seal(arguments),
            agent=task.agent,
            human=task.human,
            task=task.id,
        )
        return await self._authorize(request, definition=self._policy.pins.get(tool))

    async def _sent(self, granted: Granted, tool: str) -> str:
        text = ""

        async def send(sealed: SealedArguments) -> Sent:
            nonlocal text
            text, error = self._run(tool, sealed.open())
            return Sent(body=reply(text, error), is_error=error)

        await self._execute(granted.grant, send)
        return text
