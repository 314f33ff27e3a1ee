"""A process that opens tasks and kills them: `python -m benchmarks.pull_the_plug BUNDLE`. One command a line, one JSON line back.

`open` gives a token; `kill TASK` pulls the plug and says when the restriction was durable, by the machine's monotonic clock.
"""

import asyncio
import json
import sys
import time
from pathlib import Path
from typing import Any

from benchmarks.house import AGENT, CALLS, HUMAN
from lictor.app import House, open_house
from lictor.model.containment import Scope
from lictor.model.ids import TaskId
from lictor.model.task import Budget
from lictor.ports import Batch, Receipt


class Noting:
    """A store that notes when its first commit since was durable."""

    def __init__(self, inner: Any) -> None:
        self.inner = inner
        self.at = 0

    def __getattr__(self, name: str) -> Any:
        return getattr(self.inner, name)

    async def commit(self, batch: Batch) -> Receipt:
        receipt: Receipt = await self.inner.commit(batch)
        self.at = self.at or time.monotonic_ns()
        return receipt


async def answer(house: House, noting: Noting, words: list[str]) -> dict[str, Any]:
    """One command."""
    if words[0] == "open":
        opened = await house.tasks.open(
            agent=AGENT,
            human=HUMAN,
            purpose="measure",
            trusted_text="",
            ttl_s=7_200,
            budget=Budget(calls=CALLS),
            audience=house.settings.audience,
            by=HUMAN,
            token=True,
        )
        return {"task": opened.task.id, "token": opened.token}
    noting.at = 0
    killed = await house.contain.kill(Scope.TASK, TaskId(words[1]), by=HUMAN, why="measured")
    durable = noting.at
    await house.contain.lift(
        killed.containment.id, by=HUMAN, why="measured"
    )  # the task stays closed; the list stays short
    return {"durable_ns": durable, "calls": len(killed.in_flight)}


async def main() -> None:
    """Serve commands until the input ends."""
    house = await open_house(Path(sys.argv[1]))
    noting = Noting(house.store)
    house.contain._store = noting  # type: ignore[assignment]
    print(json.dumps({"ready": True}), flush=True)
    while line := await asyncio.to_thread(sys.stdin.readline):
        print(json.dumps(await answer(house, noting, line.split())), flush=True)
    house.close()


if __name__ == "__main__":
    asyncio.run(main())
