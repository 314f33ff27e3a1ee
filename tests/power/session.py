"""A gateway's core at work on the real store, with everything it promises marked in the record of its disk."""

import asyncio
import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec

from crash.scene import AUDITOR, OWNER, Core, Policy, activate, open_store
from lictor.model.action import ActionRequest
from lictor.model.approval import Hold, HoldStatus, seal_of
from lictor.model.errors import CallerError, ConflictError, StoreError
from lictor.model.reasons import Reason
from lictor.model.record import PayloadsErased, TaskClosed
from lictor.model.task import Task
from lictor.ports import Batch, Receipt
from lictor.service.calls.authorize import Granted, Held
from lictor.service.containment.recover import recover
from lictor.service.people.approve import Proof
from lictor.stores import journal, scribe
from lictor.stores.ids import RandomIds
from lictor.stores.instances import Instance, dead_instances
from lictor.stores.sqlite import SqliteStore
from power.platter import Recorder

CLIENTS, CALLS = 5, 3
TRIES = 100
MOVE = 120_000
"""Bytes after which the write-ahead log is moved: so that it happens several times in a session."""

JOURNAL = 24_576
"""Bytes of a file of the journal."""


class Marking:
    """A store that marks each acknowledgement behind it, as the one who waits hears it."""

    def __init__(self, inner: SqliteStore, recorder: Recorder) -> None:
        self._inner = inner
        self._recorder = recorder

    def __getattr__(self, name: str) -> Any:
        return getattr(self._inner, name)

    async def commit(self, batch: Batch) -> Receipt:
        """Commit."""
        receipt = await self._inner.commit(batch)
        self._recorder.mark("acknowledged", receipt.size)
        return receipt

    def keep_bundle(self, revision: Any, files: dict[str, bytes]) -> None:
        """Keep it."""
        self._inner.keep_bundle(revision, files)
        self._recorder.mark("bundle", revision)

    async def erase(self, batch: Batch) -> None:
        """Close a task and destroy its key. A disk that failed may have done it all the same."""
        task = batch.records[-1].task  # type: ignore[union-attr]
        if self._inner.erased(task) is None:
            await self.commit(batch)
        self._recorder.mark("erased", task)


class Hasty:
    """Control: a writer that says "durable" as soon as it has begun."""

    def __init__(self, inner: SqliteStore) -> None:
        self._inner = inner
        self._later: set[asyncio.Task[Receipt]] = set()

    def __getattr__(self, name: str) -> Any:
        return getattr(self._inner, name)

    async def commit(self, batch: Batch) -> Receipt:
        """Say so."""
        task = asyncio.get_running_loop().create_task(self._inner.commit(batch))
        self._later.add(task)
        task.add_done_callback(self._later.discard)
        done, _ = await asyncio.wait({task}, timeout=0.0001)
        size = self._inner.size()
        return task.result() if done else Receipt(size, size + len(batch.records))


class Session:
    """One life of a gateway on a state folder."""

    def __init__(self, folder: Path, policy: Policy, recorder: Recorder, seed: float, mutant: Any = None) -> None:
        self.folder, self.policy, self.recorder, self.mutant = folder, policy, recorder, mutant
        self.random = random.Random(seed)

    async def run(self) -> None:
        """Recover, work, end, as often as the disk makes us try."""
        real = await self._insist(lambda: open_store(self.folder))
        store: Any = Marking(self.mutant(real) if self.mutant else real, self.recorder)
        core = Core(store, self.policy.pdp, Instance.register(self.folder, RandomIds()))
        await self._insist(lambda: recover(store, core.clock, lambda seen: dead_instances(self.folder, seen)))
        await self._insist(lambda: activate(store, core.clock, self.policy))
        task = await self._insist(core.open_task)
        old = [hold for hold in store.holds(limit=20) if hold.status is HoldStatus.APPROVED]
        await asyncio.gather(
            *(self._client(core, task, n) for n in range(CLIENTS)), *(self._again(core, h) for h in old)
        )
        await core.execute.drain()
        if self.random.random() < 0.5:
            over = TaskClosed(task=task.id, by="owner"), PayloadsErased(task=task.id, by="owner")
            await self._insist(lambda: store.erase(Batch(at_ms=core.clock.now_ms(), records=over)))
        core.instance.close()
        real.close()

    async def _insist(self, what: Callable[[], Any]) -> Any:
        """Until the disk does it."""
        for _ in range(TRIES):
            try:
                done = what()
                return await done if asyncio.iscoroutine(done) else done
            except StoreError as error:
                refused = error
        raise refused

    async def _client(self, core: Core, task: Task, number: int) -> None:
        for turn in range(CALLS):
            tool = self.random.choices(["read", "write", "wipe", "drop"], [5, 4, 1, 1])[0]
            text = "x" * self.random.randrange(3_000)
            await self._call(core, core.ask(task, tool, id=f"{number}-{turn}", text=text))

    async def _call(self, core: Core, request: ActionRequest) -> None:
        try:
            await self._to_its_end(core, request)
        except StoreError as error:  # the disk failed: nothing of it ran
            if error.reason is not Reason.CANNOT_RECORD:
                raise

    async def _to_its_end(self, core: Core, request: ActionRequest) -> None:
        outcome = await core.decide(request)
        if isinstance(outcome, Held):
            await self._approve(core, outcome.hold)
            again = msgspec.structs.replace(request, id=core.ids.new("req"))
            outcome = await core.decide(again, outcome.hold.id)
        if isinstance(outcome, Granted):
            await core.run(outcome.grant, lambda grant, _: self.recorder.mark("effect", grant.execution))

    async def _approve(self, core: Core, hold: Hold) -> None:
        for human in (AUDITOR, OWNER):
            if (found := core.store.hold(hold.id)) is None or found.status is not HoldStatus.PENDING:
                return
            try:
                await core.answer.approve(hold.id, Proof(human=human), seal_of(found))
            except (CallerError, ConflictError):  # this person's yes does not count, or came second
                continue

    async def _again(self, core: Core, hold: Hold) -> None:
        """What a power cut left approved is redeemed by the agent that comes back."""
        state, payload = core.store.task(hold.task), core.store.payload(hold.request)
        if state is None or payload is None:
            return
        request = core.ask(state.task, hold.name, **msgspec.json.decode(payload.arguments))
        await self._call(core, request)


def journaled(patch: Any) -> None:
    """Every group after the first goes to a journal, and one so small that it goes on in the other file again and again."""
    patch.setattr(scribe, "BUSY_AFTER", 0)
    patch.setattr(journal, "FILE_BYTES", JOURNAL)


def journal_files() -> dict[str, bytes]:
    """The journal as it is before it is used."""
    return {path.name: bytes(JOURNAL) for path in journal.paths(Path("log.db"))}


def moved_often(patch: Any) -> None:
    """Checkpoints in the middle of it all; and no journal, unless `journaled` has one begin."""
    patch.setattr(scribe, "BUSY_AFTER", 2**40)
    patch.setattr(scribe, "CHECKPOINT_IDLE", MOVE // 2)
    patch.setattr(scribe, "CHECKPOINT_BUSY", MOVE)
