"""A decision that takes longer than it may."""

import re
from dataclasses import dataclass, replace
from typing import Any

from adversarial.expectations import phrase, require
from adversarial.model import NoSetup, Observed, Word
from adversarial.run import Run, precondition
from lictor.model.reasons import Reason

Match = re.Match[str]


@dataclass(slots=True)
class Stopwatch:
    """In place of the monotonic clock."""

    now: float = 0.0

    def __call__(self) -> float:
        return self.now


@dataclass(frozen=True, slots=True)
class SlowEngine:
    """The real engine, for which time passes while it evaluates."""

    inner: Any
    watch: Stopwatch
    takes_s: float

    def evaluate(self, *parts: Any) -> Any:
        self.watch.now += self.takes_s
        return self.inner.evaluate(*parts)

    def __getattr__(self, name: str) -> Any:
        return getattr(self.inner, name)


@precondition(r"policy evaluation takes > budget \(large entity graph\)")
async def slow(run: Run, match: Match) -> None:
    """The verb sets it up: what is asked runs when it is decided in time."""
    plain = await run.world.call("fs.read_file", {})
    if plain.word is not Word.ALLOW:
        raise NoSetup(f"in time: {plain.summary()}")


async def large_graph(run: Run, entities: int) -> Observed:
    """A read, decided over a real graph of so many entities, with a stopwatch that says it took longer than it may.

    Evaluation cannot be slowed down to just over a bound on any machine, so its time is set, as every deadline of the cases is; how
    long the answer really takes over that graph is measured.
    """
    world = run.world
    groups = ", ".join(f'"group{number}"' for number in range(entities))
    agents = world.files["agents.toml"].decode().replace('groups = ["payers"]', f'groups = ["payers", {groups}]', 1)
    await world.deploy({**world.files, "agents.toml": agents.encode()})
    authorize = world.main.runtime.gateway.authorize
    watch, real = Stopwatch(), authorize._stopwatch
    whole = world.main.house.policy.current()
    authorize._stopwatch = watch
    allowed_s = authorize._limits.decide_timeout_s
    session = await world.new_session()

    async def read(takes_s: float) -> Observed:
        world.main.house.policy.swap(replace(whole, engine=SlowEngine(whole.engine, watch, takes_s)))
        return await world.call("fs.read_file", {}, session=session)

    try:
        before = await read(allowed_s * 0.99)
        run.mark()
        seen = await read(allowed_s * 1.01)
        again = await read(allowed_s * 1.01)
        effects = len(run.effects())
        after = await read(allowed_s * 0.99)
    finally:
        authorize._stopwatch = real
        world.main.house.policy.swap(whole)
    seen.facts |= {"before": before, "again": again, "after": after, "late_effects": effects}
    return seen


@phrase(r"within (?P<ms>\d+) ms")
async def answered_within(run: Run, seen: Observed, match: Match) -> None:
    """The answer over HTTP, record included."""
    took = min(seen.facts["seconds"], seen.facts["again"].facts["seconds"]) * 1_000
    require(took < int(match["ms"]), f"{took:.0f} ms")


@phrase(r"not cached as allow")
async def not_cached(run: Run, seen: Observed, match: Match) -> None:
    """In time it ran before; late it is refused again and again; in time it runs afterwards: nothing was kept of either."""
    facts = seen.facts
    require(facts["before"].word is Word.ALLOW, f"in time, before: {facts['before'].summary()}")
    require(facts["again"].reason == Reason.POLICY_TIMEOUT, f"late again: {facts['again'].summary()}")
    require(facts["late_effects"] == 0, f"{facts['late_effects']} effects of late decisions")
    require(facts["after"].word is Word.ALLOW, f"in time, afterwards: {facts['after'].summary()}")
