"""The scene of every crash: a bundle in files, a state folder, and a gateway core put together as `lictor.app` does it.

One server `notes` with four tools: `read` is free, `write` needs an owner, `wipe` (destructive) needs an owner and an auditor,
`drop` is never permitted. Nothing here knows kill points or faults: those wrap what this module makes.
"""

import json
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from lictor.model.action import ActionKind, ActionRequest, SealedArguments
from lictor.model.ids import HoldId, RequestId, ServerName
from lictor.model.limits import Limits
from lictor.model.record import BundleActivated
from lictor.model.task import Budget, Task
from lictor.pdp.decide import Pdp
from lictor.policy.catalogue import pin_of
from lictor.policy.compile import compile_bundle
from lictor.ports import Batch, Clock, RecordStore
from lictor.service.calls.authorize import Authorize, Outcome
from lictor.service.calls.execute import Execute, Sent
from lictor.service.calls.grant import Grant
from lictor.service.people.approve import Answer
from lictor.service.policy import PolicyInForce
from lictor.service.tasks.tasks import Tasks
from lictor.stores.bundle_folder import BundleFolder
from lictor.stores.clock import SystemClock
from lictor.stores.ids import RandomIds
from lictor.stores.instances import Instance
from lictor.stores.keys import Keys
from lictor.stores.sqlite import SqliteStore

ORIGIN = "test.local/crash"
SERVER = ServerName("notes")
LIMITS = Limits(holds_per_task_per_minute=1_000_000, inflight_per_task=1_000, decide_timeout_s=30.0)
OWNER, AUDITOR = "test:bob", "test:carol"
"""Bob is an owner and an auditor; Carol an auditor only."""

POLICY = """\
@id("reads")
permit(principal, action in Action::"read", resource);

@id("writes")
permit(principal, action in Action::"write", resource)
when { context has approval && context.approval.digest == context.digest && context.approval.groups.contains("owner") };

@id("wipes")
permit(principal, action == Action::"notes/wipe", resource)
when {
  context has approval
  && context.approval.digest == context.digest
  && context.approval.groups.contains("owner")
  && context.approval.groups.contains("auditor")
};

@id("never")
forbid(principal, action == Action::"notes/drop", resource);
"""
EFFECTS = {"read": "read", "write": "write", "wipe": "destructive", "drop": "destructive"}
AGENTS = 'purposes = ["load"]\n\n[agents.robot]\nowner = "tests"\nreview_by = 2099-12-31\n'
APPROVERS = (
    f'four_eyes = true\n\n[approvers."{OWNER}"]\ngroups = ["owner", "auditor"]\n\n'
    f'[approvers."{AUDITOR}"]\ngroups = ["auditor"]\n'
)


def definition(tool: str) -> dict[str, Any]:
    """What the server offers under this name."""
    schema = {
        "type": "object",
        "properties": {"id": {"type": "string"}, "text": {"type": "string"}},
        "required": ["id"],
        "additionalProperties": False,
    }
    return {"name": tool, "description": f"{tool} a note", "inputSchema": schema}


def write_bundle(folder: Path) -> None:
    """The bundle's files."""
    entries = (f'[tools.{t}]\neffect = "{e}"\npin = "{pin_of(definition(t))}"\n' for t, e in EFFECTS.items())
    files = {
        "agents.toml": AGENTS,
        "approvers.toml": APPROVERS,
        "policies/crash.cedar": POLICY,
        "catalog/notes.toml": "\n".join(entries),
        "catalog/notes.definitions.json": json.dumps({"tools": [definition(tool) for tool in EFFECTS]}),
    }
    for name, text in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, "utf-8")


@dataclass(frozen=True)
class Policy:
    """A compiled bundle and the files it came from."""

    pdp: Pdp
    files: dict[str, bytes]

    @classmethod
    def load(cls, folder: Path) -> "Policy":
        """Read the folder as `lictor serve` does, and compile it."""
        bundle = BundleFolder(folder).load()
        return cls(compile_bundle(bundle), dict(bundle.files))


def open_store(state: Path, *, anchor: str | None = None, signer: Any = None) -> SqliteStore:
    """The real store of a state folder."""
    keys = Keys.open(state)
    return SqliteStore(state / "log.db", signer=signer or keys.signer, origin=ORIGIN, anchor=anchor)


async def activate(store: RecordStore, clock: Clock, policy: Policy) -> None:
    """Record the bundle in force and keep its files, as `House.activate` does."""
    revision = policy.pdp.revision
    if store.revision() != revision:
        store.keep_bundle(revision, policy.files)
        record = BundleActivated(revision=revision, previous=store.revision(), files=len(policy.files))
        await store.commit(Batch(at_ms=clock.now_ms(), records=(record,)))


@dataclass
class Core:
    """The use cases of one gateway process over one store."""

    store: RecordStore
    pdp: Pdp
    instance: Instance
    clock: Any = field(default_factory=SystemClock)
    ids: RandomIds = field(default_factory=RandomIds)
    limits: Limits = LIMITS

    def __post_init__(self) -> None:
        self.policy = PolicyInForce(self.pdp)
        parts: dict[str, Any] = {"store": self.store, "policy": self.policy, "clock": self.clock, "ids": self.ids}
        self.tasks = Tasks(**parts, limits=self.limits)
        self.answer = Answer(**parts, limits=self.limits)
        self.authorize = Authorize(**parts, limits=self.limits, instance=self.instance.id)
        self.execute = Execute(store=self.store, clock=self.clock)

    async def open_task(self, *, calls: int = 1_000_000) -> Task:
        """A task for the robot, asked for by Alice."""
        opened = await self.tasks.open(
            agent="robot", human="test:alice", purpose="load", trusted_text="", ttl_s=3_600,
            budget=Budget(calls=calls, value={}), audience="local", by="test", token=False,
        )  # fmt: skip
        return opened.task

    def ask(self, task: Task, tool: str, **arguments: Any) -> ActionRequest:
        """A fresh request, as the gateway makes one."""
        return ActionRequest.make(
            id=RequestId(self.ids.new("req")), kind=ActionKind.TOOL, server=SERVER, name=tool,
            arguments=SealedArguments.seal(arguments), agent=task.agent, human=task.human, task=task.id,
        )  # fmt: skip

    async def decide(self, request: ActionRequest, hint: HoldId | None = None) -> Outcome:
        """Steps 3 to 6, with the definition that is live."""
        offering = self.pdp.offering(request.kind, request.server, request.name)
        return await self.authorize(request, definition=offering.entry.pin if offering else None, hint=hint)

    async def run(self, grant: Grant, effect: Callable[[Grant, bytes], None]) -> Sent:
        """Steps 7 to 9 against an upstream whose effect is `effect(grant, sealed bytes)`."""

        async def send(sealed: SealedArguments) -> Sent:
            effect(grant, sealed.data)
            return Sent(body=b"{}", is_error=False)

        return await self.execute(grant, send)
