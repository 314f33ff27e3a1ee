"""What happens when something breaks: the store, the engine, a connection at the worst moment, the process itself."""

import asyncio
import json
import sys
from pathlib import Path
from typing import Any

from adversarial.faults import FAULTS, starts, without_answers
from adversarial.model import Observed, Unreadable, Word
from adversarial.run import Run, perform, verb
from adversarial.verbs.signals import garbage
from adversarial.verbs.sinks import sink_down
from adversarial.world import Held, Session, opened
from lictor.model.errors import StoreError
from lictor.model.reasons import Reason
from lictor.model.record import ExecutionEnded
from lictor.ports import Batch

VICTIM = Path(__file__).parent.parent / "victim.py"


@verb("fault", "what", "do", durable=True)
async def fault(run: Run, step: dict[str, Any]) -> Observed:
    """Break something, then do something; it stays broken until the expectation was checked."""
    what, world = step["what"], run.world
    wanted = step.get("do", {"op": "mcp.call", "tool": "fs.write_file", "args": {}})
    await world.session()
    healthy = await world.call("fs.read_file", {})
    if healthy.word is not Word.ALLOW:
        raise AssertionError(f"the gateway was not healthy before the fault: {healthy.summary()}")
    run.mark()
    if what in FAULTS:
        world.main.store.fault = what
    elif what == "signal_garbage":
        return await garbage(run)
    elif what == "sink_down":
        return await sink_down(run, wanted)
    elif what == "pdp_timeout":
        world.main.house.policy.swap(without_answers(world.main.house.policy.current()))
    else:
        raise Unreadable(f"unknown fault {what!r}")
    run.repeat = wanted
    seen = await perform(run, wanted)
    seen.facts["fault"] = what
    return seen


async def lost_connection(run: Run, what: str) -> Observed:
    """Two gateways redeem the same approval; one loses its store between check and commit, or just after the commit."""
    if "during redeem" not in what:
        raise Unreadable(f"unknown fault {what!r}")
    world = run.world
    outcomes = []
    for moment in ("before", "after"):
        held = await world.hold("race", session=await world.new_session())
        await world.approve(held)
        before = len(world.servers.effects)

        def lose(batch: Batch) -> None:
            if starts(batch):
                raise StoreError(Reason.CANNOT_RECORD, "the connection was lost during redeem")

        loser = world.gateways[1].store
        setattr(loser, moment, lose)
        first = asyncio.create_task(world.redeem(held, gateway=1))
        second = asyncio.create_task(world.redeem(held, gateway=0))
        found = await asyncio.gather(first, second)
        loser.before = loser.after = None
        again = await world.redeem(held, gateway=1)
        effects = len(world.servers.effects) - before
        outcomes.append((moment, [(seen.word, seen.reason, seen.status) for seen in (*found, again)], effects))
    return Observed(word=None, facts={"outcomes": outcomes})


@verb("kill9", "point", durable=True)
async def kill9(run: Run, step: dict[str, Any]) -> Observed:
    """A gateway in a process of its own is killed while it runs an approved transfer; then another one starts on its log."""
    point, folder = step["point"], run.world.folder / "killed"
    if point not in {"after_decision", "after_effect"}:
        raise Unreadable(f"unknown point {point!r}")
    folder.mkdir()
    process = await asyncio.create_subprocess_exec(
        sys.executable, str(VICTIM), str(folder), point, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE
    )
    out, err = await process.communicate()
    if process.returncode != -9:
        raise AssertionError(f"the victim ended with {process.returncode}: {err.decode()[-500:]}")
    told = json.loads(out)
    with opened(durable=True, folder=folder) as world:
        await world.start()
        try:
            return await _restarted(run, world, told, folder, point)
        finally:
            await world.stop()


async def _restarted(run: Run, world: Any, told: dict[str, Any], folder: Path, point: str) -> Observed:
    world.clock.set(told["now"])
    before = [started.execution for started in world.store.open_executions()]
    async with world.main.runtime.running():
        task = world.store.task(told["task"]).task
        session = Session("A1", "alice", task, told["token"])
        held = Held(session, told["tool"], told["arguments"], told["state"], told["hold"])
        outcomes = {execution: world.store.execution_outcome(execution) for execution in before}
        again = await world.redeem(held)
        ended = [
            record for record in world.records() if isinstance(record, ExecutionEnded) and record.execution in before
        ]
        operator = list(world.operator)
        reasons = {record.reason for record in ended}
    effects = (folder / "effects").read_bytes().count(b"\n") if (folder / "effects").exists() else 0
    run.world.dialogue.extend(world.dialogue)
    return Observed(
        word=Word.UNKNOWN if before and set(outcomes.values()) == {"indeterminate"} else None,
        reason=next(iter(reasons), ""),
        facts={
            "open": before,
            "outcomes": outcomes,
            "operator": operator,
            "again": again,
            "effects": effects + len(world.servers.effects),
            "expected_effects": int(point == "after_effect"),
        },
    )
