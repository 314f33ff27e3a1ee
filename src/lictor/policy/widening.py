"""Whether a new bundle may permit what the one in force does not: the question before a change is put in force by one person.

What is obviously tighter needs nobody: a forbid more, a permit less, an agent out of service. Of rewritten policies the solver
has to show that they permit no more; everything else counts as wider, and so does a part of the bundle that this module does not
know. Refuses to know who asks, and the solver.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import fields
from typing import Any, Final

from lictor.model.action import ActionKind
from lictor.model.agent import Agent
from lictor.model.catalog import CatalogEntry
from lictor.policy.bundle import Bundle
from lictor.policy.problems import quote

Compare = Callable[[Bundle, Bundle], Sequence[str]]
"""In which ways the second bundle's policies permit more, or cannot be shown not to; empty only if they are proved not to."""
MAX_WAYS: Final = 50
_OWN_WORD: Final = frozenset(
    {
        "revision",
        "files",
        "lines",
        "definitions",
        "policies",
        "entries",
        "agents",
        "proofs",
        "purposes",
        "approvers",
    }
)
"""Members that have a rule of their own below, or follow from those (a definition is pinned by its entry)."""


def widening(old: Bundle, new: Bundle, compare: Compare | None = None) -> tuple[str, ...]:
    """Each way in which `new` may permit more than `old`, in words; empty: it is at most as wide.

    Args:
        old: the bundle in force.
        new: the one to come.
        compare: asks the solver about policies; None where there is none.
    """
    ways = [
        *_policies(old, new, compare),
        *_agents(old.agents, new.agents),
        *_proofs(old, new),
        *_added("purpose", old.purposes, new.purposes),
        *_entries(old, new),
        *_approvers(old, new),
        *_others(old, new),
    ]
    more = [f"and {len(ways) - MAX_WAYS} more"] if len(ways) > MAX_WAYS else []
    return (*ways[:MAX_WAYS], *more)


def _policies(old: Bundle, new: Bundle, compare: Compare | None) -> list[str]:
    before = {policy.id: policy for policy in old.policies}
    after = {policy.id: policy for policy in new.policies}
    gone = [policy for name, policy in before.items() if name not in after]
    come = [policy for name, policy in after.items() if name not in before]
    same = all(before[name].digest == after[name].digest for name in before.keys() & after.keys())
    if same and all(one.effect == "permit" for one in gone) and all(one.effect == "forbid" for one in come):
        return []
    if compare is None:
        return ["policies changed, and without the solver nothing shows that they permit no more"]
    return list(compare(old, new))


def _agents(old: Mapping[Any, Agent], new: Mapping[Any, Agent]) -> Iterable[str]:
    for name, agent in new.items():
        before = old.get(name)
        if before is None:
            yield f"agent {quote(str(name))} is new"
        elif not _within(agent, before):
            yield f"agent {quote(str(name))} may have more authority than before"


def _proofs(old: Bundle, new: Bundle) -> Iterable[str]:
    """Any difference, taking away too: who matched two was nobody, and an agent's identity may be a person's without it."""
    for name in sorted(old.proofs.keys() | new.proofs.keys()):
        if old.proofs.get(name) != new.proofs.get(name):
            yield f"agent {quote(str(name))} proves itself in another way than before"


def _within(agent: Agent, before: Agent) -> bool:
    """Whether an entry is the old one, but for being out of service, due for review sooner, or delegating to fewer."""
    if not agent.active:
        return True
    rest = ("owner", "team", "autonomy", "environment", "groups")
    return (
        before.active
        and all(getattr(agent, name) == getattr(before, name) for name in rest)
        and agent.review_by_ms <= before.review_by_ms
        and set(agent.delegates_to) <= set(before.delegates_to)
        and set(agent.__struct_fields__) == {*rest, "id", "active", "review_by_ms", "delegates_to"}
    )


def _entries(old: Bundle, new: Bundle) -> Iterable[str]:
    """What is new or changed; and resources that are gone: a wider pattern may take their place."""
    before = {_key(entry): entry for entry in old.entries}
    kept = {_key(entry) for entry in new.entries}
    for entry in old.entries:
        if entry.kind is ActionKind.RESOURCE and _key(entry) not in kept:
            yield f"resource {quote(f'{entry.server}: {entry.name}')} is gone from the catalogue: a wider one may cover it"
    for entry in new.entries:
        if entry.kind is not ActionKind.TASK and before.get(_key(entry)) != entry:
            what = "changed" if _key(entry) in before else "new"
            yield f"{entry.kind.value} {quote(f'{entry.server}/{entry.name}')} is {what} in the catalogue"


def _key(entry: CatalogEntry) -> tuple[ActionKind, str, str]:
    return entry.kind, str(entry.server), entry.name


def _approvers(old: Bundle, new: Bundle) -> Iterable[str]:
    before, after = old.approvers, new.approvers
    for person, groups in after.groups_of.items():
        if not set(groups) <= set(before.groups_of.get(person, ())):
            yield f"approver {quote(str(person))} may answer more than before"
    for person in sorted(set(after.viewers) - set(before.viewers) - set(before.groups_of)):
        yield f"{quote(str(person))} may look at everything"
    if before.four_eyes and not after.four_eyes:
        yield "four eyes are not needed any more"
    if after.owners and not before.owners:
        yield "an agent's owner may approve what it does"
    if before.operators and not after.operators:
        yield "no group is named as operators any more: every approver vouches for applications"
    for role in ("operators", "authors", "overriders"):
        for group in sorted(getattr(after, role) - getattr(before, role)):
            yield f"group {quote(group)} is new among the {role}"


def _others(old: Bundle, new: Bundle) -> Iterable[str]:
    """Measures, labels, signals, directory, credentials and whatever comes: any difference may be what a rule was waiting for."""
    for one in fields(Bundle):
        if one.name not in _OWN_WORD and getattr(old, one.name) != getattr(new, one.name):
            yield f"{one.name.replace('_', ' ')} changed"


def _added(what: str, old: Iterable[str], new: Iterable[str]) -> Iterable[str]:
    return (f"{what} {quote(name)} is new" for name in sorted(set(new) - set(old)))
