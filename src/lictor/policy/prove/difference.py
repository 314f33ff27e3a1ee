"""Two bundles compared over all requests: where their answers differ, with a request for each kind of difference.

The recorded-traffic half is elsewhere (`backtest`). What is not policy (registry, directory, settings of a task) is listed, not
reasoned about. Refuses to know folders and terminals.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, Final

from lictor.model.action import action_name
from lictor.model.catalog import CatalogEntry
from lictor.policy.bundle import Bundle
from lictor.policy.cedarschema import PHANTOM
from lictor.policy.prove.casetext import case_text
from lictor.policy.prove.environment import Environment
from lictor.policy.prove.house import House, preferences, selected_members
from lictor.policy.prove.logic import every
from lictor.policy.prove.prover import TIMEOUT_MS, Progress, Status, solve
from lictor.policy.prove.questions import outcome_formula
from lictor.policy.prove.replay import Answer, Replayed
from lictor.policy.prove.request import Asked, Reader
from lictor.policy.prove.shrink import shrink
from lictor.policy.prove.subject import Scene, Subject
from lictor.policy.prove.symbols import Path, Symbols
from lictor.policy.prove.unsupported import Unsupported

_PAIRS: Final = tuple((old, new) for old in Answer for new in Answer if old is not new)
_STRICT: Final = (Answer.ALLOW, Answer.NEEDS_APPROVAL, Answer.DENY)
_LOOSER: Final = tuple((old, new) for old, new in _PAIRS if _STRICT.index(new) < _STRICT.index(old))


@dataclass(frozen=True, slots=True, kw_only=True)
class Change:
    """Requests of one action that come out otherwise.

    Attributes:
        status: `broken`: there are some, and `example` is one that both engines confirm; `spurious` and `not_proved`: it is not
            known whether there are.
        case: the example as a case for `tests/*.toml` that holds in the old bundle; empty where it cannot be written as one.
    """

    action: str
    old: Answer
    new: Answer
    status: Status
    detail: str = ""
    example: Asked | None = None
    old_answer: Replayed | None = None
    new_answer: Replayed | None = None
    case: str = ""

    @property
    def looser(self) -> bool:
        """Whether the new bundle asks for less."""
        return _STRICT.index(self.new) < _STRICT.index(self.old)


@dataclass(frozen=True, slots=True)
class _Ask:
    """What is asked about each action: which kinds of difference, for how long, and whether examples are made small."""

    pairs: tuple[tuple[Answer, Answer], ...]
    timeout_ms: int
    small: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Listed:
    """Names added, removed and changed of one kind of thing."""

    added: tuple[str, ...]
    removed: tuple[str, ...]
    changed: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Difference:
    """Everything that differs in principle.

    Attributes:
        changes: by action; an action without any answers every request alike.
        same: actions proved to answer alike.
        entries, policies, agents: what is listed in the two bundles.
        files: other files whose content differs.
    """

    changes: tuple[Change, ...]
    same: tuple[str, ...]
    entries: Listed
    policies: Listed
    agents: Listed
    files: tuple[str, ...]

    @property
    def complete(self) -> bool:
        """Whether every difference was found: nothing was left unproved."""
        return all(change.status is Status.BROKEN for change in self.changes)


def diff_in_principle(
    old: Bundle,
    new: Bundle,
    *,
    timeout_ms: int = TIMEOUT_MS,
    progress: Progress | None = None,
    looser_only: bool = False,
    enough: int = 0,
) -> Difference:
    """Compare two bundles over all requests.

    Args:
        old: the bundle in force.
        new: the one to come.
        timeout_ms: for one kind of difference of one action.
        progress: told after each action.
        looser_only: whether only that is looked for which the new bundle asks less for; examples are then as they come.
        enough: stop after so many changes, found or not ruled out; 0 looks at everything. What is left out is then not `same`.

    Raises:
        OperatorError: one of them does not compile.
    """
    asked = _Ask(_LOOSER if looser_only else _PAIRS, timeout_ms, small=not looser_only)
    changes: list[Change] = []
    same: list[str] = []
    one, other = Subject.of(old), Subject.of(new)
    try:
        pairs = _common(one, other)
    except Unsupported as unknown:
        changes.append(_unknown("", Answer.DENY, Answer.ALLOW, str(unknown)))
        pairs = ()
    for index, (first, second) in enumerate(pairs):
        if enough and len(changes) >= enough:
            break
        found = _compare(one, other, first, second, asked)
        changes.extend(found)
        if not found:
            same.append(shown_action(first.action))
        if progress is not None:
            progress(index + 1, len(pairs))
    return Difference(
        changes=tuple(changes),
        same=tuple(same),
        entries=_listed(_entries(old), _entries(new)),
        policies=_listed({p.id: p.digest for p in old.policies}, {p.id: p.digest for p in new.policies}),
        agents=_listed(old.agents, new.agents),
        files=tuple(sorted(p for p in {*old.files, *new.files} if _other(p) and old.files.get(p) != new.files.get(p))),
    )


def shown_action(action: str) -> str:
    """An action's name for people; those that stand for things to come say so."""
    if not action.startswith(PHANTOM):
        return action
    return "things to come: " + action.removeprefix(PHANTOM).strip()


def _common(one: Subject, other: Subject) -> tuple[tuple[Environment, Environment], ...]:
    def key(environment: Environment) -> tuple[str, str, str]:
        return environment.action, environment.principal, environment.resource

    known = {key(environment): environment for environment in other.environments}
    return tuple((e, known[key(e)]) for e in one.environments if key(e) in known)


def _compare(one: Subject, other: Subject, first: Environment, second: Environment, ask: "_Ask") -> list[Change]:
    try:
        apart = _apart(one.house, other.house, first.action)
        scenes = (
            Scene(one, first, Symbols(first, one.directory)),
            Scene(other, second, Symbols(second, other.directory, apart)),
        )
        if _alike(scenes) and not apart:
            return []
        house = replace(one.house, agents={}, purposes=tuple({*one.house.purposes, *other.house.purposes}))
        formulas = [{answer: outcome_formula(scene, answer.value) for answer in Answer} for scene in scenes]
    except Unsupported as unknown:
        return [_unknown(first.action, old, new, str(unknown)) for old, new in ask.pairs[:1]]
    found: list[Change] = []
    for old, new in ask.pairs:
        differs = every((formulas[0][old], formulas[1][new]))
        if differs is False:
            continue
        assumed = [
            *scenes[0].assumed_with(house),
            *scenes[1].assumed_with(replace(other.house, agents={}, purposes=house.purposes)),
        ]
        wishes = [wish for scene in scenes for wish in preferences(scene.symbols, scene.view, scene.subject.house)]
        try:
            model = solve([*assumed, differs], wishes if ask.small else (), ask.timeout_ms)
        except TimeoutError as late:
            found.append(_unknown(first.action, old, new, str(late)))
            continue
        if model is not None:
            found.append(_change(scenes, model, old, new, small=ask.small))
    return found


def _alike(scenes: tuple[Scene, Scene]) -> bool:
    """Whether the same policies meet the same types: then every answer is the same, without asking."""
    one, other = scenes
    same_policies = {n: str(p) for n, p in one.policies.items()} == {n: str(p) for n, p in other.policies.items()}
    return (
        same_policies
        and one.symbols.environment == other.symbols.environment
        and one.subject.groups == other.subject.groups
    )


def _apart(one: House, other: House, action: str) -> frozenset[Path]:
    """Context members that the catalogue gives otherwise in the two bundles: not the same variable."""
    old, new = one.entries.get(action, ()), other.entries.get(action, ())
    found: set[Path] = set()
    if [(e.effect, e.reversible, e.idempotent) for e in old] != [(e.effect, e.reversible, e.idempotent) for e in new]:
        found.add(("context", "effect"))
    if list(map(_selectors, old)) != list(map(_selectors, new)):
        found.update(("context", name) for entry in (*old, *new) for name in selected_members(entry))
    return frozenset(found)


def _selectors(entry: CatalogEntry) -> tuple[Any, ...]:
    return entry.destination, entry.value, entry.path, entry.sql, entry.command


def _change(scenes: tuple[Scene, Scene], model: Any, old: Answer, new: Answer, *, small: bool) -> Change:
    replays = tuple(scene.subject.replay for scene in scenes)
    known = scenes[0].symbols.literals | scenes[1].symbols.literals
    for scene in scenes:
        scene.symbols.literals |= known
    requests = tuple(Reader(scene.symbols, model).request(scene.view) for scene in scenes)

    def confirms(asked: tuple[Asked, ...]) -> bool:
        return (
            replays[0].answer(asked[0], own_principal=True).answer is old
            and replays[1].answer(asked[1], own_principal=True).answer is new
        )

    action = scenes[0].symbols.environment.action
    if not confirms(requests):
        return Change(
            action=shown_action(action),
            old=old,
            new=new,
            status=Status.SPURIOUS,
            detail="the engine does not confirm the difference",
            example=requests[1],
        )
    requests = shrink(requests, confirms) if small else requests
    name = f"{shown_action(action)}: {old.value} before, {new.value} after"
    return Change(
        action=shown_action(action),
        old=old,
        new=new,
        status=Status.BROKEN,
        example=requests[1],
        old_answer=replays[0].answer(requests[0], own_principal=True),
        new_answer=replays[1].answer(requests[1], own_principal=True),
        case=case_text(scenes[1].subject, requests[1], new, old.value, name),
    )


def _unknown(action: str, old: Answer, new: Answer, detail: str) -> Change:
    return Change(action=shown_action(action), old=old, new=new, status=Status.NOT_PROVED, detail=detail)


def _entries(bundle: Bundle) -> dict[str, CatalogEntry]:
    found: dict[str, CatalogEntry] = {}
    for entry in bundle.entries:
        name = action_name(entry.kind, entry.server, entry.name)
        found[f"{name} {entry.name}" if entry.name not in name else name] = entry
    return found


def _listed(old: Mapping[Any, Any], new: Mapping[Any, Any]) -> Listed:
    return Listed(
        added=tuple(sorted(str(name) for name in new.keys() - old.keys())),
        removed=tuple(sorted(str(name) for name in old.keys() - new.keys())),
        changed=tuple(sorted(str(name) for name in old.keys() & new.keys() if old[name] != new[name])),
    )


def _other(path: str) -> bool:
    return not path.startswith(("policies/", "catalog/")) and path != "agents.toml"
