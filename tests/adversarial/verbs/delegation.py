"""Passing authority on: child tasks that ask for more, chains that are too long, spliced or cut, and parents that are gone."""

import re
from typing import Any

from adversarial.expectations import phrase, require
from adversarial.fixture import with_policy
from adversarial.model import NoSetup, Observed, Unreadable, Word
from adversarial.run import Run, precondition, verb
from adversarial.verbs import oauth
from adversarial.wire import headers_for, modern
from adversarial.world import HOST, Session, encode, public
from lictor.model.containment import Restriction, Scope
from lictor.model.contract import Contract, ContractSource
from lictor.model.errors import CallerError, ConflictError
from lictor.model.ids import AgentId
from lictor.model.reasons import Reason
from lictor.model.record import ContainmentLaid, DecisionMade, TaskOpened
from lictor.model.task import Budget
from lictor.policy.contracts import contract_from

Match = re.Match[str]
CALLS, MINOR = 10, 10_000
"""What a parent has in these cases: calls, and EUR 100.00."""
_WORKSPACE = "/srv/ws"


def _agents(run: Run, *chain: str) -> bytes:
    """The registry, in which each of these may hand on to the next; new ones are registered."""
    text = run.world.files["agents.toml"].decode()
    for giver, taker in zip(chain, (*chain[1:], ""), strict=True):
        if f"[agents.{giver}]" not in text:
            text += f'\n[agents.{giver}]\nowner = "finance"\nreview_by = 2099-12-31\ngroups = ["payers"]\n'
        if taker:
            text = text.replace(f"[agents.{giver}]\n", f'[agents.{giver}]\ndelegates_to = ["{taker}"]\n')
    return text.encode()


async def _deploy(run: Run, *chain: str) -> None:
    await run.world.deploy({**run.world.files, "agents.toml": _agents(run, *chain)})


def _named(run: Run, capability: str) -> list[str]:
    """The tools a capability stands for: itself, or those of its server that begin with its verb."""
    server, _, verb_ = capability.partition(".")
    names = [tool["name"] for tool in run.world.servers.offered[server]]
    found = [name for name in names if name == verb_ or name.startswith(f"{verb_}_")]
    if not found:
        raise Unreadable(f"no tool is meant by {capability!r}")
    return [f"{server}.{name}" for name in found]


def _contract(run: Run, capabilities: list[str], *, path: str = "") -> Contract:
    tools = [tool for capability in capabilities for tool in _named(run, capability)]
    bind = {"path": {"values": [path]}} if path else {}
    clauses = [{"action": tool.replace(".", "/"), "bind": bind if tool == "fs.read_file" else {}} for tool in tools]
    return contract_from({"clauses": clauses}, ContractSource.APPLICATION, run.world.main.house.policy.current())


async def _parent(run: Run, agent: str, contract: Contract | None) -> Session:
    house = run.world.main.house
    opened = await house.tasks.open(
        agent=AgentId(agent),
        human="test:alice",  # type: ignore[arg-type]
        purpose="payments",
        trusted_text="",
        ttl_s=600,
        budget=Budget(calls=CALLS, value={"EUR": MINOR}),
        audience=house.settings.audience,
        by="test:operator",
        token=True,
        contract=contract,
    )
    run.world.secrets.append(opened.token)
    return Session(agent, "alice", opened.task, opened.token)


async def _delegate(
    run: Run,
    parent: Session,
    agent: str,
    *,
    ttl_s: int = 60,
    value: int = 100,
    calls: int = 1,
    contract: Contract | None = None,
) -> Session:
    opened = await run.world.main.house.delegate(
        parent.task.id,
        agent=AgentId(agent),
        ttl_s=ttl_s,
        budget=Budget(calls=calls, value={"EUR": value}),
        by=f"task:{parent.task.id}",
        contract=contract,
    )
    run.world.secrets.append(opened.token)
    return Session(agent, parent.human, opened.task, opened.token)


async def _refused(asked: Any) -> Reason | None:
    """Why somebody was not given what they asked for; None when they were."""
    try:
        await asked
    except (CallerError, ConflictError) as refused:
        return refused.reason
    return None


def _seen(reasons: dict[str, Reason | None]) -> Observed:
    """REFUSED when each was refused as a delegation."""
    wrong = {what: reason for what, reason in reasons.items() if reason is not Reason.DELEGATION}
    word = Word.ALLOW if wrong else Word.REFUSED
    return Observed(word=word, reason=Reason.DELEGATION.value, facts={"refused": reasons}, text=str(wrong or ""))


# -- preconditions -------------------------------------------------------------------------------------------------------


@precondition(r"(?P<frm>\w+) \((?P<tool>[\w.]+)\) delegates to (?P<to>\w+) with [\w.+]+")
async def bound_parent(run: Run, match: Match) -> None:
    """The parent holds one tool, and may hand on to this agent."""
    await _deploy(run, match["frm"], match["to"])
    run.world.sessions["parent"] = await _parent(run, match["frm"], _contract(run, [match["tool"]]))


@precondition(r"(?P<frm>\w+) delegates with a later expiry / larger amount / wider path than its own")
async def small_parent(run: Run, match: Match) -> None:
    """The parent holds ten calls, EUR 100.00, ten minutes and one directory."""
    watched = '\n[tools.read_file.watch.path]\npointer = "/path"\nkind = "path"\n'
    changed = {**run.world.files, "agents.toml": _agents(run, match["frm"], "A3")}
    changed["catalog/fs.toml"] += watched.encode()
    await run.world.deploy(changed)
    run.world.sessions["parent"] = await _parent(run, match["frm"], _contract(run, ["fs.read_file"], path=_WORKSPACE))


@precondition(r"depth limit (?P<depth>\d+)")
async def deep(run: Run, match: Match) -> None:
    """As many agents as it takes, each of which may hand on to the next."""
    names = [f"D{number}" for number in range(int(match["depth"]) + 3)]
    await _deploy(run, "A1", *names)
    run.world.sessions["parent"] = await _parent(run, "A1", None)


@precondition(r"parent revoked")
async def child_of_a1(run: Run, match: Match) -> None:
    """A3 works below A1, and may read while A1 lives."""
    await _deploy(run, "A1", "A3")
    child = await _delegate(run, await run.world.session(), "A3", calls=5)
    run.world.sessions["A3/alice"] = child
    before = await run.world.call("fs.read_file", {}, session=child)
    if before.word is not Word.ALLOW:
        raise NoSetup(f"the child may not read at all: {before.summary()}")


@precondition(r"sub-agent reply carries an instruction to buy")
async def working_child(run: Run, match: Match) -> None:
    """A1 may pay by itself before its sub-agent has read anything."""
    await _deploy(run, "A1", "A3")
    alone = await run.world.call("bank.transfer", {"amount": "90.00"}, session=await run.world.new_session(human="zoe"))
    if alone.word is not Word.ALLOW:
        raise NoSetup(f"the payment by itself: {alone.summary()}")


@precondition(r"block removed from the chain")
async def two_links(run: Run, match: Match) -> None:
    """A token two links down."""
    await _deploy(run, "A1", "A3")
    run.world.sessions["child"] = await _delegate(run, await run.world.session(), "A3", calls=5)


@precondition(r"splice: subject_token of (?P<user>\w+)-task T1 with actor_token of agent of T2")
async def two_tasks(run: Run, match: Match) -> None:
    """Two tasks of two agents; the first has not named the second's."""
    await _deploy(run, "A1", "A3")
    run.world.sessions["T1"] = await run.world.session("A1", match["user"])
    run.world.sessions["T2"] = await run.world.session("A2", "bob")


@precondition(r"user without the right, agent with it \(confused deputy\)")
async def both_must(run: Run, match: Match) -> None:
    """Transfers are for people in finance; alice is, and her agent can."""
    agents = run.world.files["agents.toml"] + b'\n[humans."test:alice"]\ngroups = ["finance"]\n'
    text = (
        '@id("case/finance-only")\nforbid(principal, action == Action::"bank/transfer", resource)\n'
        'unless { context.user.groups.contains("finance") };\n'
    )
    files = with_policy({**run.world.files, "agents.toml": agents}, "case", text)
    await run.world.deploy(files)
    hers = await run.world.call("bank.transfer", {"amount": "10.00"}, session=await run.world.new_session())
    if hers.word is not Word.ALLOW:
        raise NoSetup(f"alice may not either: {hers.summary()}")
    run.mark()


# -- verbs ---------------------------------------------------------------------------------------------------------------


@verb("delegate", "frm", "to", "caps")
async def delegate(run: Run, step: dict[str, Any]) -> Observed:
    """Ask for a child that has these; what it may have has to be possible first."""
    parent, caps = run.world.sessions["parent"], step["caps"]
    if isinstance(caps, list):
        fitting = await _refused(_delegate(run, parent, step["to"], contract=_contract(run, caps[:1])))
        if fitting is not None:
            raise NoSetup(f"even less than the parent has is refused: {fitting}")
        return _seen({"tools": await _refused(_delegate(run, parent, step["to"], contract=_contract(run, caps)))})
    fitting = await _refused(
        _delegate(run, parent, step["to"], contract=_contract(run, ["fs.read_file"], path=_WORKSPACE))
    )
    if fitting is not None:
        raise NoSetup(f"even less than the parent has is refused: {fitting}")
    tries = {
        "exp": lambda: _delegate(run, parent, step["to"], ttl_s=600 + 3_600),
        "amount": lambda: _delegate(run, parent, step["to"], value=2 * MINOR),
        "path": lambda: _delegate(
            run, parent, step["to"], contract=_contract(run, ["fs.read_file"], path=str(caps.get("path")))
        ),
    }
    if caps.keys() - tries:
        raise Unreadable(f"no way to ask for {sorted(caps.keys() - tries)}")
    return _seen({name: await _refused(tries[name]()) for name in caps})


@verb("delegate.chain", "depth")
async def chain(run: Run, step: dict[str, Any]) -> Observed:
    """Hand on, and on; observed is the last link, the ones before must hold."""
    holder = run.world.sessions["parent"]
    for number in range(int(step["depth"]) - 1):
        holder = await _delegate(run, holder, f"D{number}", calls=CALLS - number - 1)
    last = int(step["depth"]) - 1
    return _seen({f"link {last + 1}": await _refused(_delegate(run, holder, f"D{last}", calls=1))})


@verb("token", "edit")
async def edited(run: Run, step: dict[str, Any]) -> Observed:
    """A token without its last part: not a shorter chain, but no token at all."""
    if step["edit"] != "drop last block":
        raise Unreadable(f"no way to {step['edit']!r:.80}")
    child = run.world.sessions["child"]
    whole = await run.world.call("fs.read_file", {}, session=child)
    if whole.word is not Word.ALLOW:
        raise NoSetup(f"the whole token does not work: {whole.summary()}")
    run.mark()
    for cut in (child.token[:-8], child.token.rpartition("_")[0], child.token[: len(child.token) // 2]):
        message = modern("tools/call", {"name": public("fs.read_file"), "arguments": {"path": "/srv/ws/a"}})
        session = Session(child.agent, child.human, child.task, cut)
        seen = await run.world.send(session, headers_for(message, HOST, cut), encode(message))
        if seen.status != 401:
            return Observed(word=Word.ALLOW, status=seen.status)
    for cut in await oauth.chain_edits(run, child):
        message = modern("tools/call", {"name": public("fs.read_file"), "arguments": {"path": "/srv/ws/a"}})
        session = Session(child.agent, child.human, child.task, cut)
        seen = await run.world.send(session, headers_for(message, HOST, cut), encode(message))
        if seen.status != 401:
            return Observed(word=Word.ALLOW, status=seen.status)
    return Observed(word=Word.REFUSED, reason=Reason.UNAUTHENTICATED.value)


@verb("token.exchange", "subject", "actor")
async def exchange(run: Run, step: dict[str, Any]) -> Observed:
    """Authority of the one task for the agent of the other."""
    subject, actor = run.world.sessions[step["subject"]], run.world.sessions[step["actor"].partition("-")[0]]
    refused = {"splice": await _refused(_delegate(run, subject, actor.agent, calls=1))}
    return _seen({**refused, "exchange": await oauth.spliced(run, subject, actor)})


@verb("revoke", "id")
async def revoke(run: Run, step: dict[str, Any]) -> Observed:
    """An agent is suspended."""
    await run.world.main.house.contain.lay(
        Scope.AGENT, step["id"], Restriction.SUSPENDED, by="test:operator", why="case"
    )
    return Observed()


@verb("a2a.reply", "text")
async def reply(run: Run, step: dict[str, Any]) -> Observed:
    """A sub-agent reads this on a page; what it answers its parent is its own words about it."""
    run.world.servers.results["web.fetch"] = step["text"]
    parent = await run.world.session()
    child = await _delegate(run, parent, "A3", calls=5)
    return await run.world.call("web.fetch", {}, session=child)


# -- expectations --------------------------------------------------------------------------------------------------------


@phrase(r"not a subset", r"actor must be the aud of the subject token / may_act")
async def one_refusal(run: Run, seen: Observed, match: Match) -> None:
    require(set(seen.facts["refused"].values()) == {Reason.DELEGATION}, f"{seen.facts['refused']}")
    _nothing_opened(run)
    if match[0] == "not a subset":
        await _does_no_more(run)


async def _does_no_more(run: Run) -> None:
    """A child that asks for nothing in particular is opened, and does what its parent may, although policy permits it more."""
    step = run.inputs[0]
    own, *beyond = [tool for capability in step["caps"] for tool in _named(run, capability)]
    child = await _delegate(run, run.world.sessions["parent"], step["to"])
    for tool in beyond:
        free = await run.world.call(tool, {}, session=await run.world.new_session(step["to"]))
        require(free.word is Word.ALLOW, f"policy permits no {tool}: {free.summary()}")
        found = await run.world.call(tool, {}, session=child)
        require((found.word, found.reason) == (Word.DENY, Reason.OUTSIDE_CONTRACT), f"{tool}: {found.summary()}")
    within = await run.world.call(own, {}, session=child)
    require(within.word is Word.ALLOW, f"{own}: {within.summary()}")


@phrase(r"REFUSED in each dimension")
async def each_dimension(run: Run, seen: Observed, match: Match) -> None:
    refused = seen.facts["refused"]
    require(len(refused) >= 3, f"only {sorted(refused)} were tried")
    require(set(refused.values()) == {Reason.DELEGATION}, f"{refused}")
    _nothing_opened(run)


@phrase(r"REFUSED at (?P<depth>\d+)")
async def refused_at(run: Run, seen: Observed, match: Match) -> None:
    require(seen.facts["refused"] == {f"link {match['depth']}": Reason.DELEGATION}, f"{seen.facts['refused']}")


@phrase(r"REFUSED signature")
async def no_token(run: Run, seen: Observed, match: Match) -> None:
    require(seen.word is Word.REFUSED and seen.reason == Reason.UNAUTHENTICATED, seen.summary())
    require(not run.effects(), f"{len(run.effects())} effects")


@phrase(r"child DENY within the revocation bound")
async def child_denied(run: Run, seen: Observed, match: Match) -> None:
    """The very next decision."""
    last = seen.facts["steps"][-1]
    require(last.word is Word.DENY and last.reason == Reason.CONTAINED, last.summary())
    laid = [index for index, record in enumerate(run.records()) if isinstance(record, ContainmentLaid)]
    after = [record for record in run.records()[laid[0] :] if isinstance(record, DecisionMade)]
    require([record.outcome for record in after] == ["deny"], f"{[record.outcome for record in after]}")


@phrase(r"reply taints the parent session")
async def parent_tainted(run: Run, seen: Observed, match: Match) -> None:
    parent = await run.world.session()
    state = run.world.store.task(parent.task.id)
    require("untrusted:web" in state.labels, f"the parent carries {state.labels}")
    require(seen.facts["steps"][0].word is Word.ALLOW, "the sub-agent read nothing")


@phrase(r"human AND agent must both hold it")
async def both_hold(run: Run, seen: Observed, match: Match) -> None:
    require(seen.word is Word.DENY and seen.reason == Reason.FORBIDDEN, seen.summary())
    require(not run.effects(), f"{len(run.effects())} effects")


def _nothing_opened(run: Run) -> None:
    """One child at most: the one that shows that less is possible."""
    opened = [record for record in run.records() if isinstance(record, TaskOpened) and record.task.parents]
    require(len(opened) <= 1, f"{len(opened)} children were opened")
