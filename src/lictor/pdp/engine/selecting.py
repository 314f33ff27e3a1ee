"""From a request to what it is evaluated with: its slice by scope, its candidates by facts, and these compiled and kept.

What is kept follows from the policies alone and is bounded by weight. Somebody who makes up new facts for every call gets the
whole slice, which is always right: whether a set is compiled is a matter of cost only. Refuses to know answers.
"""

from collections.abc import Hashable, Mapping
from dataclasses import dataclass, replace
from typing import Final, Literal

from cedarpy import pst

from lictor.model.ids import PolicyId
from lictor.pdp.engine import slicing
from lictor.pdp.engine.entities import Directory
from lictor.pdp.engine.kept import Kept
from lictor.pdp.engine.looking import Looks, alike, looks
from lictor.pdp.engine.necessity import Needs, common_type, needs
from lictor.pdp.engine.prefilter import Cell, Prefilter
from lictor.pdp.engine.schematext import SchemaShape
from lictor.pdp.engine.slicing import Indexed, Keys, ScopeIndex, Uid, entity_keys
from lictor.pdp.engine.views import Compiler, View

MAX_COMPILED: Final = 32_768
"""Weight of the compiled policy sets kept: a policy is 1 (some 4 KiB, 20 us to make again), and each set `SET_WEIGHT` more."""
MAX_SLICED: Final = 262_144
"""Weight of the slices kept, which are indexes of some 150 bytes a policy."""
MAX_ROUTES: Final = 8_192
"""Triples of principal, action and resource whose slice is remembered, of some 500 bytes each."""
MAX_CHAINS: Final = 2_048
"""The same with several principals, of some 500 bytes a principal."""
SET_WEIGHT: Final = 4
SMALL: Final = 16
"""Policies that are compiled at first sight: no dearer than evaluating a slice of some hundred."""
COMPILE_COST: Final = 15
"""What compiling a policy costs in evaluations of one."""
MAX_SEEN: Final = 1_024
"""Candidate sets of one slice that are counted before they are compiled."""
_ACTION: Final = "Action"

_Key = tuple[str, Keys, Hashable]
"""Action, what tells resources apart, and what tells principals apart: of one, of each of a chain, or marked `own`."""


@dataclass(frozen=True, slots=True)
class Slice:
    """The policies whose scopes match one class of requests."""

    entries: tuple[Indexed, ...]
    filter: Prefilter | None
    seen: dict[tuple[Cell, ...], int]
    """How often a candidate set was asked for that is not compiled."""
    whose: tuple[frozenset[PolicyId], ...] = ()
    """Of the common part of a chain: the policies whose scope names each of its principals."""


@dataclass(frozen=True, slots=True)
class Route:
    """Where the requests of one principal, action and resource go. All three are declared."""

    key: _Key
    keys: Mapping[str, Keys]
    uids: Mapping[str, Uid]
    request: Mapping[str, dict[str, str]]
    """Principal, action and resource as the engine takes them."""
    kind: tuple[str, str, str]
    """Type of the principal, action and type of the resource: what an action applies to or does not."""
    part: Literal["all", "own", "common"] = "all"
    """Of the policies whose scopes match: all, those that can tell the principals of a chain apart, or all others of it."""
    chain: tuple[Keys, ...] = ()
    """Scope keys of the principals of a chain, for the part that is common to it."""
    telling: frozenset[PolicyId] = frozenset()
    """The policies that can tell the principals of a chain apart."""


@dataclass(frozen=True, slots=True)
class Chain:
    """Where one request of several principals goes: once for what does not depend on who asks, once each for what does."""

    common: Route
    own: tuple[Route | None, ...]
    """In the order of the principals; None where no policy can tell them from the others."""


class Selector:
    """Chooses what to evaluate, for one policy version over one set of entities."""

    def __init__(
        self, index: ScopeIndex, shape: SchemaShape, directory: Directory, compiler: Compiler, *, filtering: bool
    ) -> None:
        """Put the parts together.

        Args:
            index: of all policies.
            shape: of the schema.
            directory: the static entities.
            compiler: for the same schema.
            filtering: whether facts leave policies out; for tests that compare.
        """
        self._index = index
        self._shape = shape
        self._directory = directory
        self._compiler = compiler
        self._filtering = filtering
        self._common = common_type(action.context for action in shape.actions.values() if action.applies is not None)
        self._needs: dict[PolicyId, Needs | None] = {}
        self._actions: dict[str, tuple[Keys, Keys]] = {}
        self._candidates: dict[tuple[str, Keys], tuple[tuple[Indexed, ...], Keys]] = {}
        self._routes: dict[tuple[Uid, str, Uid], Route] = {}
        self._chains: dict[tuple[tuple[Uid, ...], str, Uid], Chain] = {}
        self._looks: dict[PolicyId, Looks | None] = {}
        self.slices: Kept[_Key, Slice] = Kept(MAX_SLICED)
        self.views: Kept[tuple[_Key, tuple[Cell, ...] | None], View] = Kept(MAX_COMPILED)

    def route(self, principal: Uid, action: str, resource: Uid) -> Route | None:
        """Where a request goes; None if one of the three is not declared."""
        triple = (principal, action, resource)
        found = self._routes.get(triple)
        if found is None and self.declared(*triple):
            found = self._route(self._directory, *triple)
            if len(self._routes) >= MAX_ROUTES:
                self._routes.clear()
            self._routes[triple] = found
        return found

    def chain(self, principals: tuple[Uid, ...], action: str, resource: Uid) -> Chain | None:
        """Where a request of several principals of one type goes; None if anything is not declared."""
        asked = (principals, action, resource)
        found = self._chains.get(asked)
        if found is None:
            routes = [self.route(principal, action, resource) for principal in principals]
            if None in routes or len({principal[0] for principal in principals}) != 1:
                return None
            found = self._chain([route for route in routes if route is not None])
            if len(self._chains) >= MAX_CHAINS:
                self._chains.clear()
            self._chains[asked] = found
        return found

    def declared(self, principal: Uid, action: str, resource: Uid) -> bool:
        """Whether all three are known."""
        return action in self._shape.actions and principal in self._directory and resource in self._directory

    def view(self, route: Route, context: object) -> View:
        """What to evaluate for a route and the facts of one request."""
        return self._view(route, self.slices.get(route.key) or self._slice(route), context)

    def common(self, chain: Chain, context: object) -> tuple[View, tuple[frozenset[PolicyId], ...]]:
        """What to evaluate once for a chain, and whose policies these are (`Slice.whose`)."""
        found = self.slices.get(chain.common.key) or self._slice(chain.common)
        return self._view(chain.common, found, context), found.whose

    def _view(self, route: Route, found: Slice, context: object) -> View:
        if found.filter is None:
            return self._whole(route.key, found)
        cells = found.filter.cells(route.keys, route.uids, self._directory.attributes, context)
        view = self.views.get((route.key, cells))
        return self._candidate_view(route.key, found, cells) if view is None else view

    def view_over(self, directory: Directory, principal: Uid, action: str, resource: Uid) -> tuple[Route, View]:
        """The same over other entities on top of the static ones, where facts leave nothing out."""
        route = self._route(directory, principal, action, resource)
        found = self.slices.get(route.key) or self._slice(route)
        return route, self._whole(route.key, found)

    def may_permit(self, principal: Uid, action: str, resource: Uid) -> bool:
        """See `CedarEngine.may_permit`."""
        if not self.declared(principal, action, resource):
            return False
        keys = self._directory.keys(principal)
        _, entries = self._classify(action, keys, self._directory.keys(resource))
        return slicing.may_permit(slicing.for_principal(entries, keys))

    def groups_named(self, action: str, resource: Uid) -> frozenset[str]:
        """See `CedarEngine.groups_named`."""
        if action not in self._shape.actions:
            return frozenset()
        entries = self._index.select(self._action(action)[0], self._directory.keys(resource))
        return slicing.groups_named(entry.policy for entry in entries)

    def _route(self, directory: Directory, principal: Uid, action: str, resource: Uid) -> Route:
        principal_keys, resource_keys = directory.keys(principal), directory.keys(resource)
        key, _ = self._classify(action, principal_keys, resource_keys)
        return Route(
            key=key,
            keys={"principal": principal_keys, "action": self._action(action)[0], "resource": resource_keys},
            uids={"principal": principal, "resource": resource},
            request={
                "principal": {"type": principal[0], "id": principal[1]},
                "action": {"type": _ACTION, "id": action},
                "resource": {"type": resource[0], "id": resource[1]},
            },
            kind=(principal[0], action, resource[0]),
        )

    def _action(self, action: str) -> tuple[Keys, Keys]:
        """An action's own keys, and the resource keys its policies ask for."""
        found = self._actions.get(action)
        if found is None:
            groups = self._shape.ancestors(action)
            keys = entity_keys((_ACTION, action), [(_ACTION, group) for group in groups])
            found = self._actions[action] = (keys, self._index.resource_keys(keys))
        return found

    def _classify(self, action: str, principal: Keys, resource: Keys) -> tuple[_Key, tuple[Indexed, ...]]:
        """What tells this class of requests from others, and the policies whose action and resource scopes match.

        The key holds only what some policy asks for, so there are as many as the policies make, not the agents.
        """
        action_keys, asked = self._action(action)
        resource_key = resource & asked
        found = self._candidates.get((action, resource_key))
        if found is None:
            entries = self._index.select(action_keys, resource)
            found = self._candidates[(action, resource_key)] = (entries, slicing.principal_keys(entries))
        return (action, resource_key, principal & found[1]), found[0]

    def _slice(self, route: Route) -> Slice:
        entries = self._entries(route)
        usable = Prefilter([self._needed(entry) for entry in entries]) if self._filtering else None
        whose = tuple(frozenset(entry.id for entry in slicing.for_principal(entries, keys)) for keys in route.chain)
        if route.part == "common":
            entries = tuple(map(slicing.unscoped, entries))
        found = Slice(entries, usable if usable is not None and usable.of_use else None, {}, whose)
        self.slices.put(route.key, found, len(entries) + SET_WEIGHT)
        return found

    def _entries(self, route: Route) -> tuple[Indexed, ...]:
        principal = route.keys["principal"]
        _, matching = self._classify(route.key[0], principal, route.keys["resource"])
        if route.part == "all":
            return slicing.for_principal(matching, principal)
        if route.part == "own":
            return tuple(e for e in slicing.for_principal(matching, principal) if e.id in route.telling)
        return tuple(e for e in _concerned(matching, route.chain) if e.id not in route.telling)

    def _chain(self, routes: list[Route]) -> Chain:
        first = routes[0]
        action, resource, _ = first.key
        keys = tuple(route.keys["principal"] for route in routes)
        _, matching = self._classify(action, keys[0], first.keys["resource"])
        who = [self._directory.attributes(route.uids["principal"]) for route in routes]
        concerned = _concerned(matching, keys)
        telling = frozenset(entry.id for entry in concerned if not alike(self._seen(entry), who))
        asked = (tuple(route.key[2] for route in routes), telling)
        common = replace(first, key=(action, resource, asked), part="common", chain=keys, telling=telling)
        own = [
            replace(r, key=(action, resource, ("own", r.key[2], telling)), part="own", telling=telling) for r in routes
        ]
        return Chain(common=common, own=tuple(route if self._entries(route) else None for route in own))

    def _seen(self, entry: Indexed) -> Looks | None:
        """Found once a policy."""
        if entry.id not in self._looks:
            self._looks[entry.id] = looks(entry.policy)
        return self._looks[entry.id]

    def _needed(self, entry: Indexed) -> Needs | None:
        """Found once a policy: a policy for one action is read against its context, any other against what all have."""
        if entry.id not in self._needs:
            scope = entry.policy.action
            shape = self._shape.actions.get(scope.entity.id) if type(scope) is pst.ActionEq else None
            context = self._common if shape is None or shape.applies is None else shape.context
            self._needs[entry.id] = needs(entry.policy, context)
        return self._needs[entry.id]

    def _candidate_view(self, key: _Key, found: Slice, cells: tuple[Cell, ...]) -> View:
        """Compile a candidate set, or, while that costs more than it has been worth, take the whole slice.

        So whoever makes up new facts for every call pays at most about twice what the whole slice costs, for ever.
        """
        at = found.filter.candidates(cells) if found.filter is not None else []
        many, left_out = len(at), len(found.entries) - len(at)
        if many > SMALL:
            seen = found.seen.get(cells, 0) + 1
            if seen * left_out < COMPILE_COST * many:
                if len(found.seen) >= MAX_SEEN:
                    found.seen.clear()
                found.seen[cells] = seen
                return self._whole(key, found)
            found.seen.pop(cells, None)
        view = self._compiler.compile(key[0], [found.entries[position].policy for position in at])
        self.views.put((key, cells), view, many + SET_WEIGHT)
        return view

    def _whole(self, key: _Key, found: Slice) -> View:
        view = self.views.get((key, None))
        if view is None:
            view = self._compiler.compile(key[0], [entry.policy for entry in found.entries])
            self.views.put((key, None), view, len(found.entries) + SET_WEIGHT)
        return view


def _concerned(entries: tuple[Indexed, ...], chain: tuple[Keys, ...]) -> list[Indexed]:
    """Those whose principal scope names any of a chain."""
    return [entry for entry in entries if any(keys.issuperset(entry.principal) for keys in chain)]
