"""What the gateway guarantees of a request before policy sees it: assumptions that make proofs say something of real requests.

Each is a promise of another module's, named beside it, and holds only where the schema has the members it speaks of. Too few make
a counterexample that cannot happen (the replay says so); a false one would make a false proof. Refuses to know policies.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Final

import z3

from lictor.model.action import action_name
from lictor.model.approval import Strength
from lictor.model.canonical import SAFE_INTEGER
from lictor.model.catalog import CatalogEntry
from lictor.pdp.decide import Entity as Uid
from lictor.policy.bundle import Bundle
from lictor.policy.cedarschema import resource_of
from lictor.policy.fold import FACT_BOUND
from lictor.policy.names import CLASSES
from lictor.policy.prove.logic import Truth, every, negate, same, some, text
from lictor.policy.prove.request import SOME_MOMENT_MS
from lictor.policy.prove.symbols import Path, Symbols, View, lookup
from lictor.policy.prove.terms import LONG, STRING, Collection, Scalar
from lictor.policy.prove.unsupported import Unsupported
from lictor.policy.registry import MAX_AUTONOMY

_BOUNDED: Final = frozenset({"Long", "datetime"})
_INPUT: Final = ("context", "input")
_LEAST: Final[tuple[tuple[Path, int], ...]] = (
    (("task", "calls"), 1),
    (("task", "age_s"), 0),
    (("value", "amount"), 1),
    (("value", "task_total"), 1),
    (("now",), 0),
)
"""Counts, ages and amounts have a least value."""


@dataclass(frozen=True, slots=True, kw_only=True)
class House:
    """What of a bundle is not up to the request: which things an action is, whose agents there are."""

    entries: Mapping[str, tuple[CatalogEntry, ...]]
    """By action name; an action without entries stands for things to come."""
    agents: Mapping[str, Mapping[str, Any]]
    """Attributes and groups of the registered agents, as Cedar JSON."""
    purposes: tuple[str, ...]

    @classmethod
    def of(cls, bundle: Bundle, entities: Iterable[Mapping[str, Any]]) -> "House":
        """Read a bundle."""
        entries: dict[str, list[CatalogEntry]] = {}
        for entry in bundle.entries:
            entries.setdefault(action_name(entry.kind, entry.server, entry.name), []).append(entry)
        agents = {entity["uid"]["id"]: entity for entity in entities if entity["uid"]["type"] == "Agent"}
        return cls(
            entries={name: tuple(found) for name, found in entries.items()}, agents=agents, purposes=bundle.purposes
        )

    def resources(self, action: str) -> tuple[Uid, ...]:
        """What an action can touch; empty for one that stands for things to come."""
        return tuple(resource_of(entry) for entry in self.entries.get(action, ()))


def assumptions(symbols: Symbols, view: View, house: House) -> list[Any]:
    """Everything assumed of one request."""
    found = [
        *_bounded(symbols, view),
        *_families(symbols, view),
        *_thing(symbols, view, house),
        *_destination(symbols, view),
        *_approval(symbols, view),
        *_registered(symbols, house),
        *_purpose(symbols, view, house),
    ]
    return [one for one in found if one is not True]


def changed_assumptions(symbols: Symbols, view: View) -> list[Any]:
    """What is assumed of a request that differs from a real one in a single member: too few relations, rather than too many."""
    found = [*_bounded(symbols, view), *_families(symbols, view), *_autonomy(view)]
    return [one for one in found if one is not True]


def _autonomy(view: View) -> Iterable[Truth]:
    """Nobody is registered with another autonomy (`registry`): a rule for one that cannot be is no counterexample."""
    found = view.principal.member("autonomy")
    if found is not None and isinstance(found[1], Scalar) and found[1].type == LONG:
        yield every((found[1].z >= 0, found[1].z <= MAX_AUTONOMY))


def preferences(symbols: Symbols, view: View, house: House) -> list[Any]:
    """What makes a counterexample easier to read, where it can be had: registered agents, a plain time."""
    found: list[Any] = []
    if symbols.environment.principal == "Agent" and house.agents:
        found.append(some(_is_agent(symbols, name, agent) for name, agent in house.agents.items()))
    now = _read(symbols, view, ("now",))
    if now is not None:
        found.append(now == SOME_MOMENT_MS)
    return [one for one in found if not isinstance(one, bool)]


def _bounded(symbols: Symbols, view: View) -> Iterable[Truth]:
    """Integer facts keep to 2^54 (`fold.FACT_BOUND`, facts S2), sealed arguments below 2^53 (`canonical`).

    Counts and ages are not negative (`facts.build_context`).
    """
    for path, z in symbols.values.items():
        if path[0] != "resource" and symbols.kinds[path] in _BOUNDED:
            bound = SAFE_INTEGER if path[:2] == _INPUT and symbols.kinds[path] == "Long" else FACT_BOUND
            yield every((z >= -bound, z <= bound))
    autonomy = symbols.values.get(("principal", "autonomy"))
    if autonomy is not None and symbols.kinds["principal", "autonomy"] == "Long":
        yield every((autonomy >= 0, autonomy <= MAX_AUTONOMY))
    for path, least in _LEAST:
        z = _read(symbols, view, path)
        if z is not None:
            yield _if_there(view, path, z >= least)
    amount, total = (_read(symbols, view, ("value", name)) for name in ("amount", "task_total"))
    if amount is not None and total is not None:
        yield _if_there(view, ("value",), total >= amount)


def _families(symbols: Symbols, view: View) -> Iterable[Truth]:
    """Who has seen `untrusted:web` has seen `untrusted` (`facts.families`)."""
    if not symbols.seen(("context", "labels")):
        return
    found = lookup(view.context, ("labels",))
    if found is None or not isinstance(found[1], Collection) or found[1].element != STRING:
        return
    array = found[1].array
    for label in sorted(symbols.literals):
        family, colon, _ = label.partition(":")
        if colon:
            yield z3.Implies(z3.Select(array, text(label)), z3.Select(array, text(family)))


def _thing(symbols: Symbols, view: View, house: House) -> Iterable[Truth]:
    """Resource and effect are the catalogue's (`compile.offering_of`, `facts.build_context`)."""
    entries = house.entries.get(symbols.environment.action, ())
    if not entries:
        wanted = [name for name in CLASSES if name in symbols.environment.groups] or CLASSES
        yield some(every(_effect(symbols, view, ("effect", "class"), name)) for name in wanted)
        return
    yield some(every(_entry(symbols, view, entry)) for entry in entries)


def _entry(symbols: Symbols, view: View, entry: CatalogEntry) -> Iterable[Truth]:
    uid = resource_of(entry)
    yield symbols.resource.z == text(uid[1])
    for pair in symbols.memberships.values():
        if pair.child.role == "resource" and pair.parent.literal is not None:
            above = (pair.parent.type, pair.parent.literal) in symbols.directory.ancestors(uid)
            yield pair.truth if above else z3.Not(pair.truth)
    yield from _effect(symbols, view, ("effect", "class"), entry.effect.value)
    yield from _effect(symbols, view, ("effect", "reversible"), entry.reversible)
    yield from _effect(symbols, view, ("effect", "idempotent"), entry.idempotent)
    for name, there in selected_members(entry).items():
        found = lookup(view.context, (name,))
        if found is not None and not isinstance(found[0], bool) and symbols.seen(("context", name)):
            yield found[0] if there else negate(found[0])
    currency = _read(symbols, view, ("value", "currency"))
    if entry.value is not None and currency is not None:
        listed = some(same(currency, text(code)) for code in entry.value.currencies)
        yield _if_there(view, ("value",), listed)


def selected_members(entry: CatalogEntry) -> dict[str, bool]:
    """Which members of the context an entry's selectors make, always or never (`normalise.select`)."""
    return {
        "destination": entry.destination is not None,
        "git": entry.destination is not None and entry.destination.kind == "git",
        "value": entry.value is not None,
        "path": entry.path is not None,
        "sql": entry.sql is not None,
        "command": entry.command is not None,
    }


def _effect(symbols: Symbols, view: View, path: Path, value: str | bool) -> Iterable[Truth]:
    z = _read(symbols, view, path)
    if z is not None:
        yield same(z, text(value) if isinstance(value, str) else value)


def _destination(symbols: Symbols, view: View) -> Iterable[Truth]:
    """What is external, no directory group lists as a whole (`normalise.target`)."""
    external = _read(symbols, view, ("destination", "external"))
    if external is None or not symbols.seen(("context", "destination", "directory")):
        return
    directory = lookup(view.context, ("destination", "directory"))
    if directory is not None and isinstance(directory[1], Collection):
        nobody = directory[1].array == z3.EmptySet(z3.StringSort())
        yield _if_there(view, ("destination",), some((negate(external), nobody)))


def _approval(symbols: Symbols, view: View) -> Iterable[Truth]:
    """An approval is for this action, given, and not expired (`decide._check_approval`)."""
    found = lookup(view.context, ("approval",))
    if found is None or not symbols.seen(("context", "approval")):
        return
    digest, own = _read(symbols, view, ("approval", "digest")), _read(symbols, view, ("digest",))
    given, expires = _read(symbols, view, ("approval", "given")), _read(symbols, view, ("approval", "expires"))
    now = _read(symbols, view, ("now",))
    people, strength = _read(symbols, view, ("approval", "people")), _read(symbols, view, ("approval", "strength"))
    parts: list[Truth] = []
    if people is not None:
        parts.append(people >= 1)
    if strength is not None:
        parts += [strength >= int(Strength.SECRET), strength <= int(Strength.PASSKEY)]
    if digest is not None and own is not None:
        parts.append(same(digest, own))
    if given is not None and now is not None:
        parts.append(given <= now)
    if expires is not None and now is not None:
        parts.append(now < expires)
    yield some((negate(found[0]), every(parts)))


def _purpose(symbols: Symbols, view: View, house: House) -> Iterable[Truth]:
    """A task's purpose is a declared one (`decide._check_task`)."""
    purpose = _read(symbols, view, ("task", "purpose"))
    if purpose is not None:
        yield some(same(purpose, text(one)) for one in house.purposes)


def _registered(symbols: Symbols, house: House) -> Iterable[Truth]:
    """A registered agent that policy names is the one of the registry (`compile.entities`)."""
    for name, agent in house.agents.items():
        if name in symbols.literals and symbols.environment.principal == "Agent":
            yield z3.Implies(symbols.principal.z == text(name), _is_agent(symbols, name, agent))


def _is_agent(symbols: Symbols, name: str, agent: Mapping[str, Any]) -> Truth:
    parts: list[Truth] = [symbols.principal.z == text(name)]
    for member, value in agent["attrs"].items():
        found = symbols.view.principal.member(member)
        if found is None or not isinstance(found[1], Scalar):
            raise Unsupported(f"the agents' attribute {member[:60]!r}")
        parts.append(every((found[0], same(found[1].z, text(value) if isinstance(value, str) else value))))
    above = symbols.directory.ancestors(("Agent", name))
    for pair in symbols.memberships.values():
        if pair.child.role == "principal" and pair.parent.literal is not None:
            inside = (pair.parent.type, pair.parent.literal) in above
            parts.append(pair.truth if inside else z3.Not(pair.truth))
    return every(parts)


def _if_there(view: View, path: Path, formula: Truth) -> Truth:
    """What holds of a member that may be absent: nothing is said of a value that is not there."""
    found = lookup(view.context, path)
    return True if found is None else some((negate(found[0]), formula))


def _read(symbols: Symbols, view: View, path: Path) -> Any:
    """A scalar of the context, if any formula speaks of it."""
    if not symbols.seen(("context", *path)):
        return None
    found = lookup(view.context, path)
    return found[1].z if found is not None and isinstance(found[1], Scalar) else None
