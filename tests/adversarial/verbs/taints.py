"""What a task has read, and what it may do after that: the same write has to be free before and stopped after."""

import re

from adversarial.expectations import phrase, require
from adversarial.model import NoSetup, Observed, Word
from adversarial.run import Run, precondition

Match = re.Match[str]


@precondition(
    r"(?P<read>untrusted page|private repo) read then public issue comment", r"untrusted page read, then a write tool"
)
async def read_then_write(run: Run, match: Match) -> None:
    """In a task that has read nothing the second step runs, so only what was read can stop it."""
    steps = [step for one in run.inputs for step in one["steps"]]
    write = steps[-1]
    alone = await run.world.call(write["tool"], write["args"], session=await run.world.new_session())
    if alone.word is not Word.ALLOW:
        raise NoSetup(f"{write['tool']} by itself: {alone.summary()}")


@phrase(r"flow private->public")
async def stopped_by_label(run: Run, seen: Observed, match: Match) -> None:
    """The read ran and gave the task its label; the write has no effect."""
    first, last = seen.facts["steps"][0], seen.facts["steps"][-1]
    require(first.word is Word.ALLOW, f"the read: {first.summary()}")
    require(last.reason in {"needs_approval", "forbidden"}, f"reason {last.reason!r}")
    require(len(run.effects()) == 1, f"{len(run.effects())} effects instead of the read alone")


@precondition(r"prepare in one session, commit in another")
async def two_halves(run: Run, match: Match) -> None:
    """The verbs do it."""


@phrase(r"bound to task")
async def bound_to_task(run: Run, seen: Observed, match: Match) -> None:
    """What one task was given is nothing in another, and is still there for its own."""
    last = seen.facts["steps"][-1]
    require(last.reason in {"approval_principal", "state_principal"}, f"reason {last.reason!r}")
    require(not run.effects(), f"{len(run.effects())} effects")
    held = run.world.approvals["a1"]
    own = await run.world.redeem(held)
    require(own.word is Word.ALLOW, f"its own task: {own.summary()}")
