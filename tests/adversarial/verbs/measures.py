"""Limits over history: many small actions in place of a large one, one after another, spread out, and at once."""

import asyncio
import re
from decimal import Decimal
from typing import Any

from adversarial.expectations import phrase, require
from adversarial.fixture import with_policy
from adversarial.model import NoSetup, Observed, Unreadable, Word
from adversarial.run import Run, precondition, verb
from adversarial.world import Session
from lictor.model.action import ActionKind
from lictor.model.ids import AgentId, ServerName
from lictor.model.reasons import Reason
from lictor.model.task import Budget

Match = re.Match[str]
LIMIT = Decimal("1000.00")
"""The fixture's limit a day and person (`measures.toml`, `fixture/transfer-small`)."""
AMOUNT = Decimal("99.00")
FIT = int(LIMIT // AMOUNT)
PER_HOUR = 50
"""Files one person's agents may delete in an hour before somebody is asked, where a case wants such a limit."""
_HELD = frozenset({Reason.NEEDS_APPROVAL.value, Reason.APPROVAL_RATE.value})


@precondition(r"limit (?P<limit>[\d,.]+)/day, no approval below (?P<below>[\d,.]+)")
async def limited(run: Run, match: Match) -> None:
    """One transfer of somebody else up to the smaller amount runs, and one above the larger is held at once."""
    below, limit = (Decimal(match[name].replace(",", "")) for name in ("below", "limit"))
    session = await run.world.new_session(human="zoe")
    small = await run.world.call("bank.transfer", {"amount": f"{below - Decimal('0.01')}"}, session=session)
    large = await run.world.call("bank.transfer", {"amount": f"{limit + Decimal('0.01')}"}, session=session)
    if small.word is not Word.ALLOW or large.word is not Word.HOLD or limit != LIMIT:
        raise NoSetup(f"the fixture has other limits: {small.summary()} / {large.summary()}")


@precondition(r"same, spread over (?P<agents>\d+) sub-agents / (?P<gateways>\d+) gateways / (?P<sessions>\d+) sessions")
async def delegating(run: Run, match: Match) -> None:
    """A2 may pay as well, and A1 may hand work on to it."""
    files = dict(run.world.files)
    agents = files["agents.toml"].replace(b'groups = ["payers"]', b'groups = ["payers"]\ndelegates_to = ["A2"]')
    files["agents.toml"] = agents.replace(b'owner = "research"', b'owner = "research"\ngroups = ["payers"]')
    await run.world.deploy(files)
    if len(run.world.gateways) != int(match["gateways"]):
        raise NoSetup(f"there are {len(run.world.gateways)} gateways")


@precondition(r"\d+ parallel transfers at the boundary")
async def at_the_boundary(run: Run, match: Match) -> None:
    """More than the limit has room for; the verb does it."""


@precondition(r"destructive split: delete \d+ files one at a time")
async def deleting(run: Run, match: Match) -> None:
    """Deleting runs without anybody being asked, up to so many files an hour."""
    measure = (
        '\n[measures.deleted]\nof = "distinct"\nfield = "resource"\nper = ["human"]\nwindow = "1h"\n'
        'where = { actions = ["fs/delete_file"] }\n'
    )
    text = (
        '@id("case/delete-some")\npermit(principal, action == Action::"fs/delete_file", resource)\n'
        f'when {{ context.input.path like "/srv/ws/*" && context.measures.deleted <= {PER_HOUR} }};\n'
    )
    files = with_policy(run.world.files, "case", text)
    files["measures.toml"] += measure.encode()
    await run.world.deploy(files)


@verb("spread", "n", "over", durable=True)
async def spread(run: Run, step: dict[str, Any]) -> Observed:
    """The transfers of `repeat`, each by a child task of its own, of two sessions of one person, over all gateways at once."""
    if step["over"] != "subagents,gateways,sessions":
        raise Unreadable(f"no way to spread over {step['over']!r:.80}")
    parents = [await run.world.new_session(), await run.world.new_session()]
    asked = []
    for number in range(int(step["n"])):
        child = await _child(run, parents[number % len(parents)])
        gateway = number % len(run.world.gateways)
        asked.append(run.world.call("bank.transfer", {"amount": f"{AMOUNT}"}, session=child, gateway=gateway))
    found = await asyncio.gather(*asked)
    return Observed(facts={"steps": list(found)})


async def _child(run: Run, parent: Session) -> Session:
    opened = await run.world.main.house.delegate(
        parent.task.id, agent=AgentId("A2"), ttl_s=600, budget=Budget(calls=3, value={"EUR": 9_900}), by="test:operator"
    )
    run.world.secrets.append(opened.token)
    return Session("A2", parent.human, opened.task, opened.token)


async def race(run: Run, wanted: dict[str, Any], many: int, rounds: int) -> Observed:
    """The same call many times at once, in each round by another person."""
    found = []
    for number in range(rounds):
        session = await run.world.new_session(human=f"payer{number}")
        before = len(run.world.servers.effects)
        tool, arguments = wanted["tool"], wanted.get("args", {})
        seen = await asyncio.gather(*(run.world.call(tool, arguments, session=session) for _ in range(many)))
        allowed = sum(one.word is Word.ALLOW for one in seen)
        reasons = sorted({one.reason for one in seen if one.word is not Word.ALLOW})
        found.append((allowed, len(run.world.servers.effects) - before, reasons))
    run.world.dialogue.append(f"   {len(found)} rounds: {found}"[:500])
    return Observed(facts={"rounds": found, "amount": wanted.get("args", {}).get("amount", "0")})


@phrase(r"(?P<n>\d+)th HOLD/DENY cumulative")
async def cumulative(run: Run, seen: Observed, match: Match) -> None:
    """All before it ran; it is the sum that stops it, because what is left of the limit still runs."""
    steps, last = seen.facts["steps"], int(match["n"])
    require(len(steps) == last, f"{len(steps)} steps")
    require(all(one.word is Word.ALLOW for one in steps[:-1]), "an earlier one did not run")
    require(steps[-1].word in {Word.HOLD, Word.DENY}, steps[-1].summary())
    require(steps[-1].reason in _HELD, f"reason {steps[-1].reason!r}")
    require(len(run.effects()) == last - 1, f"{len(run.effects())} effects")
    rest = await run.world.call("bank.transfer", {"amount": f"{LIMIT - AMOUNT * (last - 1)}"})
    require(rest.word is Word.ALLOW, f"what is left does not run: {rest.summary()}")


@phrase(r"budget follows the human \+ task, counted once, atomically")
async def follows_the_human(run: Run, seen: Observed, match: Match) -> None:
    """As many ran as fit, wherever they came from; another person's budget is untouched."""
    steps = seen.facts["steps"]
    allowed = sum(one.word is Word.ALLOW for one in steps)
    require(allowed == FIT == len(run.effects()), f"{allowed} allowed, {len(run.effects())} effects, {FIT} fit")
    require({one.reason for one in steps if one.word is not Word.ALLOW} <= _HELD, "refused for something else")
    other = await run.world.call(
        "bank.transfer", {"amount": f"{AMOUNT}"}, session=await run.world.new_session(human="zoe")
    )
    require(other.word is Word.ALLOW, other.summary())


@phrase(r"sum of ALLOW <= (?P<limit>[\d,.]+) in every round")
async def never_more(run: Run, seen: Observed, match: Match) -> None:
    """And no less than fits: nobody is told `conflict`."""
    limit, amount = Decimal(match["limit"].replace(",", "")), Decimal(seen.facts["amount"])
    for allowed, effects, reasons in seen.facts["rounds"]:
        require(allowed * amount <= limit, f"{allowed} x {amount} allowed")
        require(allowed == effects == int(limit // amount), f"{allowed} allowed, {effects} effects")
        # 64 at once on a busy machine: a late decision is a denial, too.
        require(set(reasons) <= _HELD | {Reason.POLICY_TIMEOUT.value}, f"refused for {reasons}")


@phrase(r"HOLD at N per hour, reversible class not assumed")
async def blast_radius(run: Run, seen: Observed, match: Match) -> None:
    """So many run, all others wait for a person; and the catalogue calls none of it reversible."""
    steps = seen.facts["steps"]
    allowed = [one.word is Word.ALLOW for one in steps]
    require(allowed == [True] * PER_HOUR + [False] * (len(steps) - PER_HOUR), f"{sum(allowed)} ran")
    require(steps[PER_HOUR].reason == Reason.NEEDS_APPROVAL.value, f"reason {steps[PER_HOUR].reason!r}")
    # Hundreds of calls on a busy machine: a late decision is a denial, too.
    others = {one.reason for one in steps[PER_HOUR:]} - _HELD - {Reason.POLICY_TIMEOUT.value}
    require(not others, f"refused for {others}")
    require(len(run.effects()) == PER_HOUR, f"{len(run.effects())} effects")
    offering = run.world.main.house.policy.current().offering(ActionKind.TOOL, ServerName("fs"), "delete_file")
    require(offering is not None and not offering.entry.reversible, "it is called reversible")
