"""Recorded traffic for tests: a real gateway core on a bundle with measures, watched arguments and signals, driven at random."""

import asyncio
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import chain, groupby
from typing import Any

import msgspec

import bundles
from lictor.model.action import ActionKind, ActionRequest, SealedArguments
from lictor.model.approval import seal_of
from lictor.model.containment import Restriction, Scope
from lictor.model.ids import (
    AgentId,
    DecisionId,
    DefinitionDigest,
    HumanId,
    InstanceId,
    PolicyRevision,
    RequestId,
    ServerName,
)
from lictor.model.limits import Limits
from lictor.model.record import DecisionMade, RequestReceived, decode_entry
from lictor.model.task import Budget, Task
from lictor.pdp.decide import Pdp
from lictor.policy.bundle import Bundle
from lictor.policy.compile import compile_bundle, compile_files
from lictor.ports import Batch, Payload, RecordStore
from lictor.service.calls.authorize import Authorize, Granted, Held, Outcome
from lictor.service.calls.execute import Execute, Sent
from lictor.service.calls.traffic import Facts, Reader, Wanted, passed
from lictor.service.containment.contain import Contain
from lictor.service.evidence.backtest import Backtest, Report
from lictor.service.people.approve import Answer, Proof
from lictor.service.policy import PolicyInForce
from lictor.service.tasks.tasks import Tasks
from lictor.stores.memory import MemoryStore
from lictor.testing.clock import ManualClock
from lictor.testing.ids import SequenceIds

CATALOGUE = bundles.CATALOGUE.replace(
    'destination = { url = "/url" }\n',
    'destination = { url = "/url" }\nwatch = { url = { pointer = "/url", kind = "url" } }\n',
)
MEASURES = """\
[measures.reads]
of = "count"
per = ["task"]
window = "1h"
where = { effects = ["read"] }

[measures.spent]
of = "sum"
field = "value:EUR"
per = ["human"]
window = "1d"
where = { tags = ["spends"] }
"""
POLICY = (
    bundles.POLICY
    + """
@id("busy")
@reason("twelve reads an hour")
@owner("alice")
forbid (principal, action in [Action::"read"], resource) when { context.measures.reads > 12 };
"""
)
FILES = {
    "catalog/fs.toml": CATALOGUE,
    "measures.toml": MEASURES,
    "signals.toml": '[signals.odd]\nat_least = 0.8\nlay = "step_up"\n',
}


def world_bundle(policy: str = POLICY, **changes: str | None) -> Bundle:
    """The bundle, or another one."""
    return bundles.bundle(policy, **{**FILES, **changes})


@dataclass(frozen=True)
class Step:
    """One thing that is asked, and whether somebody approves it when it is held."""

    name: str
    arguments: tuple[tuple[str, Any], ...] = ()
    agent: str = "coder"
    changed: bool = False
    approve: str = ""
    send: bool = True
    contain: bool = False
    minutes: int = 0
    kind: ActionKind = ActionKind.TOOL


_COMPILED: dict[str, Pdp] = {}


def compiled(bundle: Bundle) -> Pdp:
    """Each bundle once."""
    if bundle.revision not in _COMPILED:
        _COMPILED[bundle.revision] = compile_bundle(bundle)
    return _COMPILED[bundle.revision]


def _kept(revision: PolicyRevision, files: dict[str, bytes]) -> Pdp:
    return _COMPILED.get(revision) or compile_files(revision, files)


class TrafficWorld:
    """A gateway core and its log."""

    def __init__(self, bundle: Bundle, store: RecordStore | None = None, now_ms: int = bundles.NOW) -> None:
        self.store = store or MemoryStore()
        self.clock, self.ids = ManualClock(now_ms), SequenceIds()
        self.policy = PolicyInForce(compiled(bundle))
        self.use(bundle)
        parts: dict[str, Any] = {
            "store": self.store,
            "policy": self.policy,
            "clock": self.clock,
            "ids": self.ids,
        }
        self.tasks = Tasks(**parts, limits=Limits())
        self.answer = Answer(**parts, limits=Limits())
        self.authorize = Authorize(**parts, limits=Limits(), instance=InstanceId("ins"))
        self.execute = Execute(store=self.store, clock=self.clock)
        self.contain = Contain(store=self.store, clock=self.clock, ids=self.ids)
        self._open: dict[str, Task] = {}

    def use(self, bundle: Bundle) -> None:
        """Put a bundle in force."""
        self.bundle, self.pdp = bundle, compiled(bundle)
        self.store.keep_bundle(bundle.revision, dict(bundle.files))
        self.policy.swap(self.pdp)

    async def task(self, agent: str) -> Task:
        """The one task of an agent."""
        if agent not in self._open:
            opened = await self.tasks.open(
                agent=AgentId(agent), human=HumanId("os:alice"), purpose="development", trusted_text="see https://docs.example/start",
                ttl_s=28_000, budget=Budget(calls=1_000, value={"EUR": 100_000}), audience="local", by="test", token=False,
            )  # fmt: skip
            self._open[agent] = opened.task
        return self._open[agent]

    async def step(self, step: Step) -> Outcome:
        """Ask, approve, ask again, send."""
        self.clock.advance(step.minutes * 60_000 + 1_000)
        task = await self.task(step.agent)
        if step.contain:
            await self.contain.lay(Scope.ACTION, f"fs/{step.name}", Restriction.STEP_UP, by="test")
        outcome = await self._ask(task, step)
        if isinstance(outcome, Held) and step.approve:
            await self.answer.approve(outcome.hold.id, Proof(human=HumanId(step.approve)), seal_of(outcome.hold))
            outcome = await self._ask(task, step)
        if isinstance(outcome, Granted) and step.send:
            await self.execute(outcome.grant, _answered)
            await self.execute.drain()
        return outcome

    async def _ask(self, task: Task, step: Step) -> Outcome:
        request = ActionRequest.make(
            id=RequestId(self.ids.new("req")), kind=step.kind, server=ServerName("fs"), name=step.name,
            arguments=SealedArguments.seal(dict(step.arguments)), agent=task.agent, human=task.human, task=task.id,
        )  # fmt: skip
        offering = self.pdp.offering(request.kind, request.server, request.name)
        pin = offering.entry.pin if offering else None
        return await self.authorize(request, definition=DefinitionDigest("sha256:other") if step.changed else pin)

    def backtest(self, bundle: Bundle, wanted: Wanted | None = None, before: Bundle | None = None) -> Report:
        """What another bundle would have answered."""
        other = compiled(before) if before else None
        return Backtest(self.store, _kept, compiled(bundle), other)(wanted or Wanted())

    def facts(self, *, started: bool = False) -> list[Facts]:
        """What every decision was made on, in order."""
        reader = Reader(self.store, _kept)
        found = [reader.facts(one) for one in passed(self.store, Wanted(), started=started)]
        assert not [one for one in found if isinstance(one, str)]
        return [one for one in found if not isinstance(one, str)]


async def _answered(_: SealedArguments) -> Sent:
    return Sent(body=b'{"content":[{"type":"text","text":"see https://evil.example/x"}]}', is_error=False)


def drive(bundle: Bundle, steps: Sequence[Step], store: RecordStore | None = None) -> TrafficWorld:
    """A world in which all of it has happened."""
    world = TrafficWorld(bundle, store)

    async def run() -> None:
        for step in steps:
            await world.step(step)

    asyncio.run(run())
    return world


def pour(source: RecordStore, target: RecordStore, copies: int = 0, group: int = 200) -> None:
    """Everything in a log into another one, in its order; then each request with its decision so many times more, under new ids."""
    whole = [decode_entry(entry.data) for entry in source.entries()]
    revisions = {one.record.revision for one in whole if isinstance(one.record, DecisionMade)}
    for revision in revisions:
        target.keep_bundle(revision, source.bundle(revision) or {})

    def sealed(one: Any) -> tuple[Payload, ...]:
        found = source.payload(one.request) if isinstance(one, RequestReceived) else None
        return (found,) if found is not None else ()

    def originals() -> Iterator[Batch]:
        for at_ms, entries in groupby(whole, key=lambda one: one.at):
            records = tuple(one.record for one in entries)
            yield Batch(at_ms=at_ms, records=records, payloads=tuple(p for one in records for p in sealed(one)))

    asked = {one.record.request: one.record for one in whole if isinstance(one.record, RequestReceived)}
    pairs = [(asked[one.record.request], one.record) for one in whole if isinstance(one.record, DecisionMade)]
    last = whole[-1].at

    def copied() -> Iterator[Batch]:
        for number in range(copies):
            for start in range(0, len(pairs), group):
                records: list[Any] = []
                payloads: list[Payload] = []
                for request, decision in pairs[start : start + group]:
                    new = RequestId(f"{request.request}.{number}")
                    records.append(msgspec.structs.replace(request, request=new))
                    records.append(
                        msgspec.structs.replace(
                            decision, request=new, decision=DecisionId(f"{decision.decision}.{number}")
                        )
                    )
                    payloads += [msgspec.structs.replace(one, request=new) for one in sealed(request)]
                yield Batch(at_ms=last, records=tuple(records), payloads=tuple(payloads))

    async def run() -> None:
        waiting = []
        for batch in chain(originals(), copied()):
            waiting.append(asyncio.ensure_future(target.commit(batch)))
            if len(waiting) >= 32:
                await asyncio.gather(*waiting)
                waiting.clear()
        await asyncio.gather(*waiting)

    asyncio.run(run())


READ = Step("read_file", (("path", "a"),))
FETCH = Step("fetch", (("url", "https://docs.example/start"),))
STRANGER = Step("fetch", (("url", "https://evil.example/x"),))
WRITE = Step("write-file/v1.2", (("path", "a"), ("mode", 3)), approve="os:bob")
ASKED = Step("write-file/v1.2", (("path", "b"),))
PAY = Step("pay", (("amount", "5.00"),), approve="os:bob")
GUEST = Step("read_file", (("path", "a"),), agent="guest")
CHANGED = Step("read_file", (("path", "a"),), changed=True)
WRONG = Step("read_file", (("nothing", "a"),))
NOTHING = Step("nothing")
ERASE = Step("erase")
HELD_READ = Step("read_file", (("path", "c"),), contain=True)
RESOURCE = Step("file:///docs/two", (("uri", "file:///docs/two"),), kind=ActionKind.RESOURCE)
STEPS = (READ, FETCH, STRANGER, WRITE, ASKED, PAY, GUEST, CHANGED, WRONG, NOTHING, ERASE, HELD_READ, RESOURCE)
