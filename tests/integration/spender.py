"""A gateway core that spends against a limit, for tests of measures: one bundle, any store, as many processes as wanted.

`python -m integration.spender FOLDER TASK CALLS` is one such process: it asks for so many transfers at once and prints what it was allowed.
"""

import asyncio
import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import bundles
from lictor.model.action import ActionKind, ActionRequest, SealedArguments
from lictor.model.ids import InstanceId, RequestId, ServerName
from lictor.model.limits import Limits
from lictor.model.reasons import Reason
from lictor.model.task import Budget, Task
from lictor.policy.compile import compile_bundle
from lictor.ports import RecordStore
from lictor.service.calls.authorize import Authorize, Granted, Outcome, Refused
from lictor.service.calls.execute import Execute, Sent
from lictor.service.policy import PolicyInForce
from lictor.service.tasks.tasks import Tasks
from lictor.stores.clock import SystemClock
from lictor.stores.ids import RandomIds
from lictor.stores.keys import Keys
from lictor.stores.sqlite import SqliteStore

LIMIT = 100_000
AMOUNT = 9_900
MEASURES = """\
[measures.spent]
of = "sum"
field = "value:EUR"
per = ["human"]
window = "1d"
where = { tags = ["spends"] }

[measures.paid]
of = "count"
per = ["task"]
window = "forever"
where = { actions = ["fs/pay"] }
on = "executed"
"""
POLICY = f"""\
@id("pays")
@reason("within the day's limit")
@owner("alice")
permit (principal, action == Action::"fs/pay", resource)
when {{ context.measures.spent <= {LIMIT} }};

@id("reads")
@reason("reading is fine")
@owner("alice")
permit (principal, action in [Action::"read"], resource);
"""
ORIGIN = "test.local/measures"


def open_store(folder: Path) -> SqliteStore:
    """The real store."""
    return SqliteStore(folder / "log.db", signer=Keys.open(folder).signer, origin=ORIGIN)


class Spender:
    """The use cases of one process."""

    def __init__(self, store: RecordStore, measures: str = MEASURES, policy: str = POLICY) -> None:
        self.store = store
        self.clock, self.ids = SystemClock(), RandomIds()
        bundle = bundles.bundle(policy, **{"measures.toml": measures})
        self.files, self.pdp = dict(bundle.files), compile_bundle(bundle)
        parts: dict[str, Any] = {
            "store": store,
            "policy": PolicyInForce(self.pdp),
            "clock": self.clock,
            "ids": self.ids,
        }
        self.tasks = Tasks(**parts, limits=Limits())
        self.authorize = Authorize(**parts, limits=Limits(), instance=InstanceId(self.ids.new("ins")))
        self.execute = Execute(store=store, clock=self.clock)

    async def open_task(self, human: str = "os:alice") -> Task:
        """A task with plenty of everything, so that only measures limit it."""
        opened = await self.tasks.open(
            agent="coder", human=human, purpose="development", trusted_text="", ttl_s=3_600,
            budget=Budget(calls=1_000_000, value={"EUR": 10**9}), audience="local", by="test", token=False,
        )  # fmt: skip
        return opened.task

    def ask(self, task: Task, amount: int = AMOUNT, name: str = "pay") -> ActionRequest:
        """One transfer."""
        arguments = {"amount": f"{amount // 100}.{amount % 100:02d}"} if name == "pay" else {"path": "/a"}
        return ActionRequest.make(
            id=RequestId(self.ids.new("req")), kind=ActionKind.TOOL, server=ServerName("fs"), name=name,
            arguments=SealedArguments.seal(arguments), agent=task.agent, human=task.human, task=task.id,
        )  # fmt: skip

    async def decide(self, request: ActionRequest) -> Outcome:
        """Steps 3 to 6."""
        offering = self.pdp.offering(request.kind, request.server, request.name)
        return await self.authorize(request, definition=offering.entry.pin if offering else None)

    async def pay(self, task: Task, amount: int = AMOUNT) -> Outcome:
        """Decide one transfer."""
        return await self.decide(self.ask(task, amount))

    async def all_at_once(self, tasks: Sequence[Task], calls: int) -> tuple[int, list[Reason]]:
        """How many of so many transfers in parallel are allowed, and why the others are not."""
        outcomes = await asyncio.gather(*(self.pay(tasks[i % len(tasks)]) for i in range(calls)))
        refused = [outcome.reason for outcome in outcomes if isinstance(outcome, Refused)]
        return sum(isinstance(outcome, Granted) for outcome in outcomes), refused

    async def send(self, outcome: Outcome, *, is_error: bool = False, error: Exception | None = None) -> None:
        """Carry out what was allowed."""
        assert isinstance(outcome, Granted)

        async def upstream(_: SealedArguments) -> Sent:
            if error is not None:
                raise error
            return Sent(body=b"{}", is_error=is_error)

        try:
            await self.execute(outcome.grant, upstream)
        except Exception as raised:  # noqa: BLE001 - only what the test itself raised
            assert raised is error
        await self.execute.drain()


async def _process(folder: Path, task: str, calls: int) -> None:
    store = open_store(folder)
    spender = Spender(store)
    state = store.task(task)
    assert state is not None
    sys.stdin.readline()
    while not calls:  # until somebody kills it
        outcome = await spender.pay(state.task, 1)
        print(json.dumps(isinstance(outcome, Granted)), flush=True)
    allowed, refused = await spender.all_at_once([state.task], calls)
    store.close()
    print(json.dumps({"allowed": allowed, "refused": sorted({reason.value for reason in refused})}))


if __name__ == "__main__":
    asyncio.run(_process(Path(sys.argv[1]), sys.argv[2], int(sys.argv[3])))
