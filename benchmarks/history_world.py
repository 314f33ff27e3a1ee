"""The world of the history benchmark: a bundle whose policies read every fact, a delegated task, and its past in a real store."""

import json
import random
from collections.abc import Iterator
from dataclasses import dataclass

from benchmarks.decisions import NOW, policy
from lictor.model.action import ActionKind, ActionRequest, SealedArguments
from lictor.model.containment import Containment, Restriction, Scope
from lictor.model.contract import Binding, Clause, Contract, ContractSource
from lictor.model.decision import Allow
from lictor.model.ids import (
    AgentId,
    DecisionId,
    DefinitionDigest,
    ExecutionId,
    HumanId,
    InstanceId,
    RequestId,
    ServerName,
    TaskId,
)
from lictor.model.limits import Limits
from lictor.model.record import ContainmentLaid, ExecutionEnded, ExecutionStarted, Record, SignalObserved, TaskOpened
from lictor.model.signal import Signal
from lictor.model.snapshot import Snapshot
from lictor.model.task import Budget, Task
from lictor.pdp.decide import Pdp, decide
from lictor.pdp.origins.digest import origin_key, value_digest
from lictor.policy.catalogue import pin_of
from lictor.policy.compile import compile_bundle, parse_guarded
from lictor.policy.load import load_bundle
from lictor.ports import Batch, RecordStore
from lictor.service.calls.authorize import Authorize
from lictor.service.history.history import moves_after, readings_of
from lictor.service.policy import PolicyInForce
from lictor.stores.ids import RandomIds

PAST_MS = 60 * 86_400_000
"""However many events there are, they lie in two months: twice the longest window."""
REMEMBERED = 49_000
"""Values remembered at most, just below `lifecycle.origins.MAX_ROWS`: as many rows as a task can have."""
GROUP = 50
"""Events of one moment, of the longest past: what becomes one commit in SQLite."""
KEY = bytes(range(32))
LABEL = "untrusted:web"
TOOL = {
    "name": "t0",
    "description": "d",
    "inputSchema": {
        "type": "object",
        "properties": {name: {"type": "string"} for name in ("text", "url", "to", "iban", "path", "amount")},
        "required": ["text", "url", "to", "iban", "path", "amount"],
    },
}
PLAIN = {"type": "object", "properties": {"text": {"type": "string"}}, "required": ["text"]}
ENTRY = """
destination = { url = "/url", schemes = ["https"] }
value = { amount = "/amount", currency = "USD", currencies = ["USD"] }
path = { pointer = "/path", roots = { work = "/srv/work" } }
watch = { to = { pointer = "/to", kind = "email" }, iban = { pointer = "/iban", kind = "account" } }
labels = ["untrusted:web"]
"""
MEASURES = """
[measures.calls_hour]
of = "count"
per = ["task"]
window = "1h"
where = {}

[measures.money_day]
of = "sum"
field = "value:USD"
per = ["human", "tool"]
window = "1d"
where = { actions = ["x/t0"] }

[measures.places]
of = "distinct"
field = "destination"
per = ["task"]
window = "30d"
where = { actions = ["x/t0"] }

[measures.done]
of = "count"
per = ["agent"]
window = "forever"
where = { effects = ["read"] }
on = "executed"
"""
SIGNALS = '[signals.injection]\nat_least = 0.8\nlay = "step_up"\n'
DIRECTORY = '[hosts]\nplaces = ["*.places.example"]\n[emails]\nstaff = ["ann@staff.example"]\n'
LIMITS = """
@id("measures") @owner("os:x") @reason("measured")
forbid (principal, action, resource)
when {
  context.measures.calls_hour > 100000000 || context.measures.money_day > 900000000000
  || context.measures.places > 100000000 || context.measures.done > 100000000
};
@id("origins") @owner("os:x") @reason("measured")
forbid (principal, action, resource)
when { context.origin.nowhere.contains("to") || context.origin.labels.contains("iban=untrusted") };
@id("chain") @owner("os:x") @reason("measured")
forbid (principal, action, resource)
when { context.chain.depth > 4 || context.chain.agents.contains("nobody") || context.posture > 1 };
@id("seen") @owner("os:x") @reason("measured")
forbid (principal, action, resource)
when { context.labels.contains("secret") && context.labels.contains("untrusted") };
@id("bound") @owner("os:x") @reason("measured")
forbid (principal, action == Action::"x/t0", resource)
unless { context has contract && context.contract.bound.contains("to") };
@id("where") @owner("os:x") @reason("measured")
forbid (principal, action == Action::"x/t0", resource)
unless {
  context has destination && context.destination.directory.contains("places")
  && context has path && context.path.root == "work" && !context.path.hidden
  && context has value && context.value.amount < 100000 && context.value.task_total < 900000000000
};
"""
AGENTS = (AgentId("a0"), AgentId("a1"), AgentId("a2"))
"""The one that asks, the one it works for, and the one at the root."""


def bundle(size: int) -> Pdp:
    """So many policies of `decisions.policy`, and those above that read the facts of this one."""
    many = max(3, size // 100)
    tools = [TOOL, *({"name": f"t{i}", "description": "d", "inputSchema": PLAIN} for i in range(1, many))]
    agents = "".join(f'[agents.a{i}]\nowner="o"\nreview_by=2099-01-01\nautonomy={i % 4}\n' for i in range(many))
    base = "".join(
        f'@id("base{n}") @owner("os:x") @reason("r")\npermit (principal == Agent::"{agent}", action == Action::"x/t0", resource)\n'
        "when { principal.autonomy < 3 && context.measures.calls_hour <= 100000000 };\n"
        for n, agent in enumerate(AGENTS)
    )
    entries = [f'[tools.{t["name"]}]\neffect="read"\npin="{pin_of(t)}"\n' for t in tools]
    entries[0] += ENTRY
    files = {
        "agents.toml": f'purposes=["p"]\n{agents}',
        "approvers.toml": 'four_eyes=false\n[approvers."os:x"]\ngroups=["owner"]\n',
        "policies/p.cedar": base + LIMITS + "".join(policy(i, size, "mixed") for i in range(size)),
        "catalog/x.toml": "".join(entries),
        "catalog/x.definitions.json": json.dumps({"tools": tools}),
        "measures.toml": MEASURES,
        "signals.toml": SIGNALS,
        "directory.toml": DIRECTORY,
    }
    encoded = {name: text.encode() for name, text in files.items()}
    return compile_bundle(load_bundle(encoded, parse_guarded(encoded)))


class Clock:
    """Time that is told."""

    def __init__(self, at_ms: int = NOW) -> None:
        self.at_ms = at_ms

    def now_ms(self) -> int:
        """See `ports.Clock`."""
        return self.at_ms


@dataclass(frozen=True)
class Asking:
    """A store, the service that decides on it, and the bundle in force."""

    store: RecordStore
    pdp: Pdp
    clock: Clock
    service: Authorize

    @classmethod
    def of(cls, store: RecordStore, pdp: Pdp, at_ms: int = NOW) -> "Asking":
        """The gateway's own service over a store."""
        clock = Clock(at_ms)
        service = Authorize(
            store=store, policy=PolicyInForce(pdp), clock=clock, ids=RandomIds(), limits=Limits(), instance=INSTANCE
        )
        return cls(store, pdp, clock, service)

    def gather(self, request: ActionRequest) -> Snapshot:
        """Every fact of a decision, as `Authorize` gathers them; paths are not looked up on a disk."""
        live = self.store.live_hold(request.task, request.digest)
        return self.service._gather(self.pdp, request, self.pin, live, {})

    def decided(self, request: ActionRequest) -> tuple[Snapshot, Allow]:
        """Gather, encode, digest, decide."""
        snapshot = self.gather(request)
        decision = decide(self.pdp, request, snapshot, encoded=snapshot.encode())
        if not isinstance(decision, Allow):
            raise TypeError(f"not allowed: {decision!r:.500}")
        return snapshot, decision

    @property
    def pin(self) -> DefinitionDigest | None:
        """What the live server offers: the pinned definition."""
        offering = self.pdp.offering(ActionKind.TOOL, "x", "t0")
        return offering.entry.pin if offering is not None else None

    def started(self, request: ActionRequest, number: int) -> ExecutionStarted:
        """What an allowed action commits before it runs."""
        snapshot, decision = self.decided(request)
        return _started(self.pdp, request, snapshot, number, decision.clauses, self.store.containment_changes())

    def repeated(self, request: ActionRequest, number: int) -> ExecutionStarted:
        """The same, of an action known to be allowed: only what moves is gathered, and nothing is decided."""
        state = self.store.task(request.task)
        found = readings_of(self.store, self.pdp, request, state, self.clock.at_ms, {})
        snapshot = Snapshot(
            at_ms=self.clock.at_ms, revision=self.pdp.revision, agent=None, task=state, definition=None, measures=found
        )
        clauses = (1,) * (1 + len(state.task.parents if state else ()))
        return _started(self.pdp, request, snapshot, number, clauses, self.store.containment_changes())


def _started(
    pdp: Pdp, request: ActionRequest, snapshot: Snapshot, number: int, clauses: tuple[int, ...], laid: int
) -> ExecutionStarted:
    return ExecutionStarted(
        execution=ExecutionId(f"exe_{request.task}_{number}"), request=request.id, decision=DecisionId("dec_x"),
        digest=request.digest, arguments=request.arguments.digest, task=request.task, instance=INSTANCE,
        labels=(LABEL,), currency="USD", value=1_250, clauses=clauses, laid=laid, moves=moves_after(pdp, request, snapshot),
    )  # fmt: skip


INSTANCE = InstanceId("ins_x")


def request(task: str = "task_leaf", place: int = 0, agent: AgentId = AGENTS[0]) -> ActionRequest:
    """A call that reads every selector; 64 different places."""
    return ActionRequest.make(
        id=RequestId(f"req_{task}_{place}"),
        kind=ActionKind.TOOL,
        server=ServerName("x"),
        name="t0",
        arguments=SealedArguments.seal(
            {
                "text": "lorem ipsum " * 30 + str(place // 64),
                "url": f"https://h{place % 64}.places.example/v1/orders",
                "to": "bob@partner.example",
                "iban": "DE89 3704 0044 0532 0130 00",
                "path": f"/srv/work/reports/{place % 64}/q3.csv",
                "amount": "12.50",
            }
        ),
        agent=agent,
        human=HumanId("os:x"),
        task=TaskId(task),
    )


def contract() -> Contract:
    """Two clauses; the second fits: one argument by its value, one by where it came from."""
    iban = Binding(values=("DE89370400440532013000",))
    return Contract(
        source=ContractSource.APPLICATION,
        clauses=(
            Clause(action="x/t1", bind={}),
            Clause(action="x/t0", bind={"iban": iban, "to": Binding(sources=("task", "tool:x/t0"))}),
        ),
    )


def opened(name: str, agent: AgentId, parents: tuple[str, ...], budget: int) -> TaskOpened:
    """A task with a contract; the root has values from its text and declared ones."""
    values: tuple[str, ...] = ()
    if not parents:
        key = origin_key(KEY)
        text = (("email", "bob@partner.example"), *(("email", f"t{n}@text.example") for n in range(8)))
        values = tuple(f"t{value_digest(key, one)}" for one in text)
        values += (f"d{value_digest(key, ('account', 'DE89370400440532013000'))}",)
    task = Task(
        id=TaskId(name), agent=agent, human=HumanId("os:x"), purpose="p", trusted_text_digest="sha256:" + "0" * 64,
        audience="x", opened_at_ms=NOW - 1_000, expires_at_ms=2**52,
        budget=Budget(calls=budget, value={"USD": budget * 10_000}), parents=tuple(TaskId(one) for one in parents),
    )  # fmt: skip
    return TaskOpened(task=task, opened_by="os:x", token=f"{name:0>64}", contract=contract(), values=values)


def beginning() -> Iterator[Batch]:
    """A root, its child and grandchild, a weak signal, and a restriction on somebody else."""
    yield Batch(at_ms=NOW, records=(opened("task_root", AGENTS[2], (), 4_000_000),), key=KEY)
    yield Batch(at_ms=NOW, records=(opened("task_mid", AGENTS[1], ("task_root",), 2_000_000),), key=KEY)
    yield Batch(at_ms=NOW, records=(opened("task_leaf", AGENTS[0], ("task_mid", "task_root"), 1_000_000),), key=KEY)
    signal = Signal(id="sig_1", kind="injection", task=TaskId("task_leaf"), score=400, source="detector")
    laid = Containment(
        id="con_1", scope=Scope.AGENT, target="somebody", restriction=Restriction.SUSPENDED, by="os:x", laid_at_ms=NOW
    )
    yield Batch(at_ms=NOW, records=(SignalObserved(signal=signal), ContainmentLaid(containment=laid)))


def ended(started: ExecutionStarted, number: int, every: int = 1) -> ExecutionEnded:
    """It came back; its result held a value never seen before, one of every so many times."""
    key = origin_key(KEY)
    values = () if number % every else (value_digest(key, ("email", f"p{number}@found.example")),)
    return ExecutionEnded(
        execution=started.execution, outcome="executed", labels=(LABEL,), values=values, source="tool:x/t0"
    )


async def remember(asking: Asking, events: int, also: RecordStore | None = None) -> None:
    """Allowed actions, one after another, each on what the one before left; into another store too, record by record."""
    stores = [asking.store, *([also] if also is not None else [])]
    for batch in beginning():
        for store in stores:
            await store.commit(batch)
    chosen = random.Random(events)
    asked = [request(place=place) for place in range(64)]
    every, group = -(-events // REMEMBERED), GROUP if events > GROUP * 100 else 1
    waiting: list[Record] = []
    for number in range(events):
        known = number % 1_000
        started = (asking.repeated if known else asking.started)(asked[number % 64], number)
        records = (started, ended(started, number, every))
        await asking.store.commit(Batch(at_ms=asking.clock.at_ms, records=records))
        waiting.extend(records)
        if number % group == group - 1 or number == events - 1:
            if also is not None:
                await also.commit(Batch(at_ms=asking.clock.at_ms, records=tuple(waiting)))
            waiting.clear()
            asking.clock.at_ms += chosen.randrange(2 * PAST_MS * group // events)
