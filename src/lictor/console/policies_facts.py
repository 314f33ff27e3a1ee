"""A recorded request with facts otherwise, one at a time, as the what-if form has them.

A fact that follows from what was changed and that nobody gathered is assumed, and said. Pure computing; refuses to know answers.
"""

from dataclasses import dataclass, replace
from typing import Any, Final

from msgspec.structs import replace as with_members

from lictor.console.policies_asked import Asked
from lictor.console.policies_form import (
    MAX_ARGUMENTS,
    Form,
    WrongFormError,
    labels_of,
    moment_text,
    names_in,
    read_moment,
)
from lictor.console.policies_shelf import Volume
from lictor.model.action import ActionRequest, SealedArguments
from lictor.model.approval import Approval, Strength
from lictor.model.catalog import CatalogEntry
from lictor.model.containment import Containment, Restriction, Scope
from lictor.model.errors import CallerError
from lictor.model.history import Origin, Reading
from lictor.model.ids import AgentId, ApprovalId, HoldId, HumanId
from lictor.model.limits import Limits
from lictor.model.reasons import Reason
from lictor.model.snapshot import Snapshot
from lictor.model.task import TaskState
from lictor.pdp.decide import Pdp
from lictor.pdp.facts import families
from lictor.pdp.measures import asked_of, share_of
from lictor.pdp.normalise import paths_to_resolve
from lictor.pdp.origins.watched import forms_of
from lictor.pdp.refused import Refused
from lictor.policy.bundle import Bundle
from lictor.policy.compile import compile_bundle
from lictor.policy.rebase import basis_of, directory_vouches, rebase
from lictor.policy.registry import MAX_AUTONOMY
from lictor.protocol.json import read

_APPROVED_MS: Final = 600_000
_WHAT_IF: Final = "what-if"


@dataclass(frozen=True, slots=True)
class Changed:
    """One fact that is otherwise."""

    fact: str
    was: str
    now: str


@dataclass(frozen=True, slots=True, kw_only=True)
class World:
    """What is decided on."""

    bundle: Bundle
    pdp: Pdp
    request: ActionRequest
    snapshot: Snapshot
    assumed: tuple[str, ...] = ()
    tells: bool = True


def otherwise(
    asked: Asked, form: Form, recorded: Form, then: Volume, volume: Volume, limits: Limits
) -> tuple[World, tuple[Changed, ...]]:
    """The recorded request with the form's facts, and which of them are other ones.

    Args:
        asked: the recorded request.
        form: what is to be otherwise.
        recorded: the form as it was recorded.
        then: the bundle it was decided under.
        volume: the bundle it is asked of.
        limits: bounds of arguments.

    Raises:
        WrongFormError: a field cannot be read.
    """
    world = World(bundle=volume.bundle, pdp=volume.pdp, request=asked.request, snapshot=asked.snapshot)
    changed: list[Changed] = []
    world = _arguments(world, form, recorded, limits, changed)
    if volume.bundle.revision != then.bundle.revision:
        world = _rebased(world, then.pdp, asked)
        changed.append(Changed("policy", then.bundle.revision[:19], volume.bundle.revision[:19]))
    for change in (_time, _seen, _people, _autonomy, _restrictions, _approval):
        world = change(world, form, recorded, changed)
    return world, tuple(changed)


def _arguments(world: World, form: Form, recorded: Form, limits: Limits, changed: list[Changed]) -> World:
    if form.arguments.strip() == recorded.arguments.strip():
        return world
    sealed = _sealed(form.arguments, limits)
    old = world.request
    if sealed.data == old.arguments.data:
        return world
    request = ActionRequest.make(
        id=old.id,
        kind=old.kind,
        server=old.server,
        name=old.name,
        arguments=sealed,
        agent=old.agent,
        human=old.human,
        task=old.task,
    )
    changed.append(Changed("arguments", old.arguments.digest, request.arguments.digest))
    return _followed(replace(world, request=request), old)


def _sealed(text: str, limits: Limits) -> SealedArguments:
    """Arguments through the same strict door as an agent's."""
    try:
        value = read(text.encode("utf-8", "surrogatepass"), limits, max_bytes=MAX_ARGUMENTS).value
        sealed = SealedArguments.seal(value) if isinstance(value, dict) else None
    except CallerError as error:
        raise WrongFormError("arguments", f"the arguments cannot be read: {error.message}") from error
    if sealed is None:
        raise WrongFormError("arguments", "the arguments are one JSON object")
    return sealed


def _followed(world: World, old: ActionRequest) -> World:
    """What else is otherwise because the arguments are: an approval is as if given for these; the rest was never gathered."""
    snapshot, request = world.snapshot, world.request
    approval = snapshot.approval
    if approval is not None and approval.digest == old.digest:
        snapshot = with_members(snapshot, approval=_about(approval, request))
    offering = world.pdp.offering(request.kind, request.server, request.name)
    if offering is None:
        return replace(world, snapshot=snapshot)
    entry, arguments, before = offering.entry, request.arguments.open(), old.arguments.open()
    assumed = list(world.assumed)
    resolved = _resolved(entry, arguments, before, snapshot, assumed)
    origins = _origins(world.pdp, entry, arguments, before, snapshot, assumed)
    snapshot = with_members(snapshot, resolved=resolved, origins=origins)
    snapshot = with_members(snapshot, measures=_measures(world.pdp, entry, request, snapshot, assumed))
    return replace(world, snapshot=snapshot, assumed=tuple(assumed), tells=not assumed)


def _about(approval: Approval, request: ActionRequest) -> Approval:
    others = tuple(with_members(one, digest=request.digest) for one in approval.others)
    return with_members(approval, digest=request.digest, others=others)


def _resolved(
    entry: CatalogEntry,
    arguments: dict[str, Any],
    before: dict[str, Any],
    snapshot: Snapshot,
    assumed: list[str],
) -> dict[str, str]:
    if entry.path is None or entry.path.resolve == "none":
        return {}
    try:
        paths = paths_to_resolve(entry.path, arguments)
    except CallerError:
        return {}  # `decide` refuses it for that
    try:
        known = paths_to_resolve(entry.path, before)
    except CallerError:
        known = {}
    found = {}
    for pointer, path in paths.items():
        same = known.get(pointer) == path and pointer in snapshot.resolved
        found[pointer] = snapshot.resolved[pointer] if same else path
        if not same:
            assumed.append(f"the path at {pointer} leads where it says: nobody looked for links")
    return found


def _origins(
    pdp: Pdp,
    entry: CatalogEntry,
    arguments: dict[str, Any],
    before: dict[str, Any],
    snapshot: Snapshot,
    assumed: list[str],
) -> dict[str, Origin]:
    found: dict[str, Origin] = {}
    for name, watch in entry.watch.items():
        forms = forms_of(watch, arguments)
        if not forms:
            continue
        if forms == forms_of(watch, before) and name in snapshot.origins:
            found[name] = snapshot.origins[name]
            continue
        vouched = directory_vouches(pdp.directory, watch.kind, forms)
        found[name] = Origin(sources=("directory",) if vouched else ())
        if not vouched:
            assumed.append(f"the value of {name} had been seen nowhere")
    return found


def _measures(
    pdp: Pdp, entry: CatalogEntry, request: ActionRequest, snapshot: Snapshot, assumed: list[str]
) -> dict[str, tuple[Reading, ...]]:
    state = snapshot.task
    if state is None:
        return {}
    asked = asked_of(request, state.task.root, entry, pdp.directory, snapshot.resolved)
    found: dict[str, tuple[Reading, ...]] = {}
    for name, measure in pdp.measures.items():
        try:
            keys = share_of(measure, asked).keys
        except Refused:
            continue  # `decide` says so
        recorded = {reading.key: reading for reading in snapshot.measures.get(name, ())}
        found[name] = tuple(recorded.get(key) or Reading(key=key, version=0, before=0) for key in keys)
        if any(key not in recorded for key in keys):
            assumed.append(f"nothing was counted for {name} before")
    return found


def _rebased(world: World, old: Pdp, asked: Asked) -> World:
    changed = asked.made.reason == Reason.TOOL_CHANGED.value
    facts = rebase(world.pdp, world.request, world.snapshot, basis_of(old, world.request), changed=changed)
    unknown = tuple(f"{one}: never recorded, taken as nothing" for one in facts.unknown)
    return replace(
        world, snapshot=facts.snapshot, assumed=(*world.assumed, *unknown), tells=world.tells and not unknown
    )


def _time(world: World, form: Form, recorded: Form, changed: list[Changed]) -> World:
    if form.time.strip() == recorded.time:
        return world
    at_ms = read_moment(form.time.strip())
    changed.append(Changed("time", recorded.time, moment_text(at_ms)))
    return replace(world, snapshot=with_members(world.snapshot, at_ms=at_ms))


def _seen(world: World, form: Form, recorded: Form, changed: list[Changed]) -> World:
    state = world.snapshot.task
    if state is None or form.labels.strip() == recorded.labels:
        return world
    labels = tuple(families(names_in("labels", form.labels)))
    if labels == labels_of(world.snapshot):
        return world
    changed.append(Changed("labels", recorded.labels or "none", ", ".join(labels) or "none"))
    parents = tuple(_unlabelled(parent) for parent in world.snapshot.parents)
    task = with_members(state, labels=labels)
    return replace(world, snapshot=with_members(world.snapshot, task=task, parents=parents))


def _unlabelled(state: TaskState | None) -> TaskState | None:
    return None if state is None else with_members(state, labels=())


def _people(world: World, form: Form, recorded: Form, changed: list[Changed]) -> World:
    if form.groups.strip() == recorded.groups:
        return world
    groups = tuple(sorted(set(names_in("groups", form.groups))))
    changed.append(Changed(f"groups of {world.request.human}", recorded.groups or "none", ", ".join(groups) or "none"))
    return replace(world, snapshot=with_members(world.snapshot, human_groups=groups))


def _autonomy(world: World, form: Form, recorded: Form, changed: list[Changed]) -> World:
    text, agent = form.autonomy.strip(), world.snapshot.agent
    if agent is None or text == recorded.autonomy:
        return world
    if not (text.isascii() and text.isdecimal() and len(text) <= 2 and int(text) <= MAX_AUTONOMY):
        raise WrongFormError("autonomy", f"autonomy is a number from 0 to {MAX_AUTONOMY}")
    other = with_members(agent, autonomy=int(text))
    bundle = replace(world.bundle, agents={**world.bundle.agents, AgentId(agent.id): other})
    changed.append(Changed(f"autonomy of {agent.id}", recorded.autonomy, text))
    snapshot = with_members(world.snapshot, agent=other)
    return replace(world, bundle=bundle, pdp=compile_bundle(bundle), snapshot=snapshot)


def _restrictions(world: World, form: Form, recorded: Form, changed: list[Changed]) -> World:
    if form.restrictions == recorded.restrictions:
        return world
    kept = [one for one in world.snapshot.containments if one.restriction.value in form.restrictions]
    added = [
        Containment(
            id=f"{_WHAT_IF}-{name}",
            scope=Scope.TASK,
            target=world.request.task,
            restriction=Restriction(name),
            by=_WHAT_IF,
        )
        for name in sorted(form.restrictions - recorded.restrictions)
    ]
    now = tuple(sorted((*kept, *added), key=lambda one: one.id))
    changed.append(Changed("restrictions", _listed(recorded.restrictions), _listed(form.restrictions)))
    return replace(world, snapshot=with_members(world.snapshot, containments=now))


def _approval(world: World, form: Form, recorded: Form, changed: list[Changed]) -> World:
    if form.approval == "recorded":
        return world
    was = recorded.people or "nobody"
    if form.approval == "nobody":
        if world.snapshot.approval is None:
            return world
        changed.append(Changed("approved by", was, "nobody"))
        return replace(world, snapshot=with_members(world.snapshot, approval=None, allowance=None))
    if form.strength not in {str(int(one)) for one in Strength}:
        raise WrongFormError("strength", "choose how strongly they prove who they are")
    people = tuple(dict.fromkeys(names_in("people", form.people)))
    groups_of = world.pdp.approvers.groups_of
    for person in people:
        if HumanId(person) not in groups_of:
            raise WrongFormError("people", f"{person[:80]!r} is no approver of this bundle")
    if not people:
        raise WrongFormError("people", "name who approved it, or choose nobody")
    given = [_given(world, HumanId(person), Strength(int(form.strength))) for person in people]
    changed.append(Changed("approved by", was, f"{', '.join(people)} (strength {form.strength})"))
    approval = with_members(given[-1], others=tuple(given[:-1]))
    return replace(world, snapshot=with_members(world.snapshot, approval=approval, allowance=None))


def _given(world: World, human: HumanId, strength: Strength) -> Approval:
    now = world.snapshot.at_ms
    return Approval(
        id=ApprovalId(_WHAT_IF),
        hold=HoldId(_WHAT_IF),
        digest=world.request.digest,
        approver=human,
        groups=tuple(sorted(world.pdp.approvers.groups_of.get(human, ()))),
        given_at_ms=now,
        expires_at_ms=now + _APPROVED_MS,
        strength=int(strength),
    )


def _listed(names: frozenset[str]) -> str:
    return ", ".join(sorted(names)) or "none"
