"""`lictor agents list` and `show`: what is known about the registered agents, in plain words."""

import argparse
import asyncio
from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from lictor.cli.main import common
from lictor.cli.output import Exit, Out, moment, safe
from lictor.cli.span import bar
from lictor.model.errors import CallerError
from lictor.model.ids import AgentId
from lictor.model.reasons import Reason

if TYPE_CHECKING:
    from lictor.app import House
    from lictor.model.agent import Agent
    from lictor.model.containment import Containment
    from lictor.model.identity import Proof
    from lictor.model.task import TaskState
    from lictor.pdp.decide import Offering
    from lictor.policy.bundle import Bundle
    from lictor.service.registry import Done, Registry, State

_DAYS: Final = 30
_MOST: Final = 12
"""Lines of one list that are shown to people; `--json` has all."""


def add(actions: Any) -> None:
    """`list` and `show` among the actions of `agents`."""
    listing = actions.add_parser("list", help="every agent in one line, with the state it is in")
    common(listing)
    listing.set_defaults(run=_list)
    showing = actions.add_parser(
        "show", help="one agent: owner, proofs, review, tasks, restrictions, reach, what it did"
    )
    common(showing)
    showing.add_argument("name", metavar="NAME")
    showing.add_argument("--days", type=int, default=_DAYS, metavar="N", help=f"look back so far (default: {_DAYS})")
    showing.set_defaults(run=_show)


def _list(args: argparse.Namespace) -> int:
    from lictor.app import bundle_path, open_house
    from lictor.service.registry import Standing, state_of

    out = Out(as_json=args.json)
    path = bundle_path(args.bundle)
    agents = _registered(path)
    house = asyncio.run(open_house(path, load=False))
    try:
        now, laid, registry = house.clock.now_ms(), house.store.containments(), registry_of(house)
        states = {agent.id: state_of(agent, now, laid) for agent in agents}
        tasks = {agent.id: len(registry.open_tasks(agent.id)) for agent in agents}
    finally:
        house.close()
    out.data([_brief(agent, states[agent.id]) | {"open_tasks": tasks[agent.id]} for agent in agents])
    paints = {Standing.OK: out.good, Standing.DUE: out.warm}
    rows = []
    for agent in agents:
        state = states[agent.id]
        shown = state.words.split(",")[0] if state.standing is Standing.DUE else state.standing.value
        rows.append(
            (agent.id, safe(agent.owner, 40), str(agent.autonomy), agent.environment, str(tasks[agent.id]),
             paints.get(state.standing, out.bad)(shown))
        )  # fmt: skip
    out.table(("AGENT", "OWNER", "AUTONOMY", "ENVIRONMENT", "TASKS", "STATE"), rows)
    good = all(state.standing in {Standing.OK, Standing.DUE, Standing.OFFBOARDED} for state in states.values())
    return Exit.OK if good else Exit.NO


def registry_of(house: "House") -> "Registry":
    """The registry's use cases over an open house."""
    from lictor.service.registry import Registry

    return Registry(store=house.store, clock=house.clock, tasks=house.tasks, contain=house.contain)


def _registered(path: Path) -> list["Agent"]:
    """The agents of the file, sorted; the rest of the bundle may have faults.

    Raises:
        BundleRefused: the registry itself has.
    """
    from lictor.policy.documents import read_toml
    from lictor.policy.problems import Problems
    from lictor.policy.registry import read_agents
    from lictor.stores.bundle_folder import BundleFolder

    problems = Problems()
    document = read_toml("agents.toml", BundleFolder(path).read().get("agents.toml", b""), problems)
    people = read_agents(document, problems) if document else None
    problems.raise_if_any()
    return sorted(people.agents.values(), key=lambda agent: agent.id) if people else []


def _show(args: argparse.Namespace) -> int:
    from lictor.app import bundle_path, open_house
    from lictor.policy.compile import compile_bundle
    from lictor.service.registry import DAY_MS, state_of, within_reach
    from lictor.stores.bundle_folder import BundleFolder

    out, path, name = Out(as_json=args.json), bundle_path(args.bundle), AgentId(args.name)
    bundle = BundleFolder(path).load()
    agent = bundle.agents.get(name)
    if agent is None:
        raise CallerError(Reason.UNKNOWN_AGENT, f"there is no agent {name[:80]!r}", remedy="see: lictor agents list")
    reach = within_reach(compile_bundle(bundle), name)
    house = asyncio.run(open_house(path, load=False))
    try:
        registry, now = registry_of(house), house.clock.now_ms()
        laid, tasks = registry.restrictions(agent), registry.open_tasks(name)
        since = now - args.days * DAY_MS
        done = registry.done(name, since, bar(out, "reading", house.store.size()))
    finally:
        house.close()
    state = state_of(agent, now, laid)
    out.data(
        _brief(agent, state)
        | {
            "words": state.words,
            "delegates_to": list(agent.delegates_to),
            "proofs": [_proof(proof) for proof in bundle.proofs.get(name, ())],
            "tasks": [one.task.id for one in tasks],
            "restrictions": [_restriction(one) for one in laid],
            "may": _by_class(reach),
            "credentials": _credentials(bundle, reach),
            "did": [{"action": d.action, "allowed": d.allowed, "held": d.held, "denied": d.denied} for d in done],
            "days": args.days,
        }
    )
    _who(out, agent, bundle.proofs.get(name, ()), state)
    _now(out, tasks, laid)
    _may(out, reach, _credentials(bundle, reach))
    _did(out, done, args.days)
    return Exit.OK


def _who(out: Out, agent: "Agent", proofs: Sequence["Proof"], state: "State") -> None:
    from lictor.service.registry import Standing

    paint = {Standing.OK: out.good, Standing.DUE: out.warm}.get(state.standing, out.bad)
    team = f", team {agent.team}" if agent.team else ""
    out.line(f"{out.bold(agent.id)}: {paint(state.words)}")
    out.line(f"  owner        {safe(agent.owner)}{team}")
    out.line(f"  autonomy     {agent.autonomy} of 5, {safe(agent.environment)}, groups: {_joined(agent.groups)}")
    out.line(f"  delegates to {_joined(agent.delegates_to)}")
    for proof in proofs:
        out.line(f"  proves itself by {safe(_proof(proof), 300)}")
    if not proofs:
        out.line("  proves itself by nothing: only tasks that a person opens for it, and `lictor run` on this machine")


def _now(out: Out, tasks: Sequence["TaskState"], laid: Sequence["Containment"]) -> None:
    out.line()
    out.line(f"open tasks: {len(tasks)}")
    for one in tasks[:_MOST]:
        task = one.task
        out.line(f"  {task.id} for {safe(task.human)}, {safe(task.purpose)}, until {moment(task.expires_at_ms)}")
    for restriction in laid:
        out.line(f"{out.warm('restricted')}: {safe(_restriction(restriction), 300)}")


def _may(out: Out, reach: Sequence["Offering"], credentials: Sequence[str]) -> None:
    out.line()
    found = _by_class(reach)
    out.line(f"policy can permit it {sum(map(len, found.values()))} things, each under its conditions:")
    for kind, names in found.items():
        more = f" and {len(names) - _MOST} more" if len(names) > _MOST else ""
        out.line(f"  {kind:<12} {len(names):>4}  {safe(', '.join(names[:_MOST]), 600)}{more}")
    out.line(f"credentials it can be lent: {_joined(credentials)}")


def _did(out: Out, done: Sequence["Done"], days: int) -> None:
    out.line()
    if not done:
        out.line(f"in the last {days} days it asked for nothing")
        return
    out.line(f"in the last {days} days it asked for:")
    rows = [
        (safe(one.action, 60), str(one.allowed), str(one.held), str(one.denied), moment(one.last_ms))
        for one in done[:_MOST]
    ]
    out.table(("ACTION", "ALLOWED", "ASKED PEOPLE", "DENIED", "LAST"), rows)
    if len(done) > _MOST:
        out.line(out.dim(f"and {len(done) - _MOST} more (--json)"))
    out.line(out.dim("what it may do and never did: lictor agents unused"))


def _by_class(reach: Sequence["Offering"]) -> dict[str, list[str]]:
    from lictor.model.action import ActionKind

    found: dict[str, list[str]] = defaultdict(list)
    for one in reach:
        entry = one.entry
        if entry.kind is ActionKind.CREDENTIAL:
            continue
        name = f"{entry.server}/{entry.name}" if entry.server else entry.name
        found["task" if entry.kind is ActionKind.TASK else entry.effect.value].append(name)
    return {kind: sorted(found[kind]) for kind in sorted(found)}


def _credentials(bundle: "Bundle", reach: Sequence["Offering"]) -> list[str]:
    from lictor.model.action import ActionKind

    names = {f"{one.entry.server}/{one.entry.name}" for one in reach if one.entry.kind is ActionKind.CREDENTIAL}
    return sorted(names.intersection(bundle.credentials))


def _brief(agent: "Agent", state: "State") -> dict[str, Any]:
    return {
        "agent": agent.id,
        "owner": agent.owner,
        "team": agent.team,
        "autonomy": agent.autonomy,
        "environment": agent.environment,
        "groups": list(agent.groups),
        "active": agent.active,
        "review_by_ms": agent.review_by_ms,
        "state": state.standing.value,
    }


def _proof(proof: "Proof") -> str:
    claims = [f"claim {name} = {value}" for name, value in sorted(proof.claims.items())]
    return ", ".join([f"issuer {proof.issuer}", *([f"subject {proof.subject}"] if proof.subject else []), *claims])


def _restriction(one: "Containment") -> str:
    why = f": {one.why}" if one.why else ""
    return f"{one.restriction.value} on {f'{one.scope.value} {one.target}'.strip()} by {one.by}{why} ({one.id})"


def _joined(names: Sequence[str]) -> str:
    return safe(", ".join(names), 300) if names else "none"
