"""One pair after the other: a task, the calls of a trace, the verdict. The same for both ways of asking Lictor."""

from collections import Counter
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Any, Protocol

from benchmarks.agentdojo.people import Outcome
from benchmarks.agentdojo.suites import Lab, World


class Session(Protocol):
    """One task of one agent, however Lictor is reached."""

    async def open(self, prompt: str, contract: dict[str, Any] | None) -> None: ...

    async def call(self, tool: str, arguments: dict[str, Any], *, approve: bool) -> Outcome: ...

    async def end(self) -> None: ...


Sessions = Callable[[World], Awaitable[Session]]
"""A fresh session in front of one environment."""


@dataclass(frozen=True, slots=True)
class Call:
    """One call of a trace and what became of it, for the report."""

    tool: str
    attack: bool
    ran: bool
    asked: bool
    reason: str


@dataclass(frozen=True, slots=True)
class Pair:
    """One run. `attack` is empty for a benign one."""

    suite: str
    user: str
    attack: str
    utility: bool
    success: bool
    calls: tuple[Call, ...]

    @property
    def asked(self) -> int:
        """Questions about the user's own calls."""
        return sum(call.asked for call in self.calls if not call.attack)


@dataclass(slots=True)
class Row:
    """All runs of one setting and variant."""

    contract: str
    approver: str
    variant: str
    benign: list[Pair] = field(default_factory=list)
    attacked: list[Pair] = field(default_factory=list)

    def figures(self) -> dict[str, float]:
        """Percentages, and questions a benign task."""
        tasks, pairs = len(self.benign), len(self.attacked)
        calls = [call for pair in self.attacked for call in pair.calls if call.attack]
        return {
            "benign_utility": _percent(sum(pair.utility for pair in self.benign), tasks),
            "utility_under_attack": _percent(sum(pair.utility for pair in self.attacked), pairs),
            "attack_success": _percent(sum(pair.success for pair in self.attacked), pairs),
            "successes": sum(pair.success for pair in self.attacked),
            "pairs": pairs,
            "questions_per_task": round(sum(pair.asked for pair in self.benign) / tasks, 3) if tasks else 0.0,
            "tasks_asked": _percent(sum(pair.asked > 0 for pair in self.benign), tasks),
            "attack_calls_asked": _percent(sum(call.asked for call in calls), len(calls)),
            "attack_calls_ran": _percent(sum(call.ran for call in calls), len(calls)),
        }

    def lost(self) -> Counter[tuple[str, str]]:
        """Which user tasks lose how many pairs."""
        return Counter((pair.suite, pair.user) for pair in self.attacked if not pair.utility)


async def run_pair(
    lab: Lab,
    sessions: Sessions,
    *,
    user: str | None,
    attack: str | None,
    variant: str,
    contract: dict[str, Any] | None,
    honest: bool,
) -> Pair | None:
    """One trace through one session; None where the variant does not exist for the pair."""
    task, goal = lab.users.get(user or ""), lab.attacks.get(attack or "")
    world = lab.world(task, goal)
    steps = lab.trace(task, goal, variant, world.env)
    if steps is None:
        return None
    session = await sessions(world)
    await session.open(task.PROMPT if task is not None else "", contract)
    calls = []
    for step in steps:
        outcome = await session.call(step.tool, step.arguments, approve=honest and not step.attack)
        calls.append(Call(step.tool, step.attack, outcome.ran, outcome.asked, outcome.reason))
    await session.end()
    utility, success = world.verdict(task, goal)
    return Pair(lab.name, user or "", attack or "", utility, success, tuple(calls))


def _percent(part: int, whole: int) -> float:
    return round(100 * part / whole, 1) if whole else 0.0
