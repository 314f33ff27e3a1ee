"""One row of the table for one suite, as a job a worker process can do."""

import asyncio
import functools
import tempfile
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks.agentdojo import contracts
from benchmarks.agentdojo.adaptive import CASES, DROWNING, IBAN, Case
from benchmarks.agentdojo.gateway import running
from benchmarks.agentdojo.inprocess import Policy, Session
from benchmarks.agentdojo.pairs import Pair, Sessions, run_pair
from benchmarks.agentdojo.people import Outcome
from benchmarks.agentdojo.suites import Lab, World

BUNDLES = Path(__file__).parent / "bundles"
NOBODY = "no Lictor"
"""The control: every call runs."""


@dataclass(frozen=True, slots=True)
class Job:
    """What to run: benign tasks too where the variant is `resume`."""

    suite: str
    contract: str
    approver: str
    variant: str


@functools.cache
def lab(suite: str) -> Lab:
    """A suite, once a process."""
    return Lab(suite)


@functools.cache
def policy(suite: str) -> Policy:
    """Its bundle, once a process."""
    return Policy(suite, BUNDLES / suite, lab(suite).definitions(), Path(tempfile.mkdtemp()))


def contract_of(suite: str, user: str, attack: str | None, row: str) -> dict[str, Any] | None:
    """A task's contract in a row of the table. Only the oracle's depends on the attack: its text may stand in a name."""
    match row:
        case "from the prompt":
            return _by_hand(suite)[user]
        case "oracle":
            return _oracle(suite, user, attack)
        case _:
            return None


@functools.cache
def _by_hand(suite: str) -> dict[str, dict[str, Any]]:
    return contracts.from_prompt(suite)


def _oracle(suite: str, user: str, attack: str | None) -> dict[str, Any]:
    found, task = lab(suite), lab(suite).users[user]
    env = found.world(task, found.attacks.get(attack or "")).env
    return contracts.oracle(suite, found.user_steps(task, env), policy(suite).entry)


class Unguarded:
    """No gateway at all."""

    def __init__(self, world: World) -> None:
        self._world = world

    async def open(self, prompt: str, contract: dict[str, Any] | None) -> None:
        """Nothing to open."""

    async def call(self, tool: str, arguments: dict[str, Any], *, approve: bool) -> Outcome:  # noqa: ARG002
        """Run it."""
        text, _ = self._world.run(tool, arguments)
        return Outcome(ran=True, asked=False, reason="", text=text)

    async def end(self) -> None:
        """Nothing to end."""


def run(job: Job) -> list[Pair]:
    """All runs of a job, in process."""

    async def sessions(world: World) -> Any:
        return Unguarded(world) if job.contract == NOBODY else Session(policy(job.suite), world.run)

    return asyncio.run(_all(job, sessions))


def run_gateway(job: Job) -> tuple[list[Pair], list[float]]:
    """The same through the real gateway, with the seconds each call took its client."""
    return asyncio.run(_through(job))


async def _through(job: Job) -> tuple[list[Pair], list[float]]:
    folder = Path(tempfile.mkdtemp()) / job.suite
    async with running(lab(job.suite), BUNDLES / job.suite, folder) as stand:
        found = await _all(job, stand.session)
        return found, stand.client.seconds


async def _all(job: Job, sessions: Sessions) -> list[Pair]:
    found, honest = lab(job.suite), job.approver == "honest"
    asked: Iterable[tuple[str, str | None]] = found.pairs()
    if job.variant == "resume":
        asked = [*((user, None) for user in found.users), *asked]
    pairs = []
    for user, attack in asked:
        contract = contract_of(job.suite, user, attack, job.contract)
        pair = await run_pair(
            found, sessions, user=user, attack=attack, variant=job.variant, contract=contract, honest=honest
        )
        if pair is not None:
            pairs.append(pair)
    return pairs


@dataclass(frozen=True, slots=True)
class Tried:
    """What became of an attacker's last call."""

    case: Case
    contract: str
    outcome: str


def adaptive() -> list[Tried]:
    """Every case of our own, without contract and with the one from the prompt."""
    return [
        Tried(case, row, asyncio.run(_try(case, row))) for case in CASES for row in ("no contract", "from the prompt")
    ]


async def _try(case: Case, row: str) -> str:
    found, task = lab(case.suite), lab(case.suite).users[case.user]
    world = found.world(task, text=case.text)
    session = Session(policy(case.suite), world.run)
    await session.open(task.PROMPT, contract_of(case.suite, case.user, None, row))
    for step in found.user_steps(task, world.env)[: found.point(task)[0] + 1]:
        await session.call(step.tool, step.arguments, approve=True)
    outcome = Outcome(ran=False, asked=False, reason="")
    for tool, arguments in case.calls:
        outcome = await session.call(tool, arguments, approve=False)
    await session.end()
    return "ran" if outcome.ran else "asked" if outcome.asked else outcome.reason


def drowned() -> str:
    """Whether the person is still asked about their own payment after an attacker has asked for many others."""
    return asyncio.run(_drown())


async def _drown() -> str:
    found, task = lab("banking"), lab("banking").users["user_task_0"]
    world = found.world(task)
    session = Session(policy("banking"), world.run)
    await session.open(task.PROMPT, None)
    first, *rest = found.user_steps(task, world.env)
    await session.call(first.tool, first.arguments, approve=True)
    for number in range(DROWNING):
        payment = {"recipient": IBAN, "amount": number + 1, "subject": "x", "date": "2022-04-01"}
        await session.call("send_money", payment, approve=False)
    outcomes = [await session.call(step.tool, step.arguments, approve=True) for step in rest]
    return "ran after a question" if all(outcome.ran for outcome in outcomes) else outcomes[-1].reason
