"""A recorded request's facts, as another bundle's gateway would have gathered them; and which of them nobody knows.

What the world said then (time, what the task had used and seen, approvals, restrictions, the live definition) stays. What bundles
say (registry, groups, directory, which measures and origins there are) comes from the new one. A fact that only the new one
asks for was never gathered: it is *unknown*, and the answer cannot be told unless `decide` refuses before it reads it.
History is not lived again: labels and totals are those that the task had then. Pure.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

import msgspec

from lictor.model.action import ActionRequest
from lictor.model.catalog import CatalogEntry, PathSelector
from lictor.model.decision import Decision, Deny
from lictor.model.errors import CallerError
from lictor.model.history import Measure, Origin, Reading
from lictor.model.reasons import Reason
from lictor.model.snapshot import Snapshot
from lictor.model.task import TaskState
from lictor.pdp.containment import touching
from lictor.pdp.decide import PINNED_KINDS, Pdp
from lictor.pdp.measures import Share, asked_of, share_of
from lictor.pdp.normalise import Directory, paths_to_resolve
from lictor.pdp.origins.watched import forms_of
from lictor.pdp.refused import Refused

_WHO: Final = frozenset(
    {
        Reason.NO_POLICY,
        Reason.UNKNOWN_AGENT,
        Reason.AGENT_INACTIVE,
        Reason.AGENT_NO_OWNER,
        Reason.AGENT_REVIEW_OVERDUE,
        Reason.UNKNOWN_TASK,
        Reason.TASK_CLOSED,
        Reason.TASK_EXPIRED,
        Reason.BUDGET_CALLS,
        Reason.DELEGATION,
        Reason.UNKNOWN_TOOL,
        Reason.UNKNOWN_RESOURCE,
        Reason.UNKNOWN_PROMPT,
        Reason.FEATURE_DENIED,
    }
)
"""Refusals of steps 2 to 4, before anything is read that can be unknown."""
_WHAT: Final = _WHO | {
    Reason.INVALID_ARGUMENTS,
    Reason.UNKNOWN_ARGUMENT,
    Reason.UNKNOWN_DESTINATION,
    Reason.UNKNOWN_VALUE,
    Reason.BUDGET_VALUE,
}
"""Refusals of steps 5 and 6, before history and restrictions are read."""


MAX_VOUCHED: Final = 200
"""Values of one argument that the directory is asked about again; of more, what was recorded stays."""


class Basis(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, omit_defaults=True):
    """By what a bundle a request's facts were gathered: enough to know what each of them means."""

    entry: CatalogEntry | None = None
    measures: dict[str, Measure] = {}
    signals: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Rebased:
    """Facts for the new bundle. `unknown` names those that were never gathered, for people; sorted."""

    snapshot: Snapshot
    unknown: tuple[str, ...] = ()
    early: bool = False
    """Whether one of the unknown is read before the arguments are (definition, paths)."""

    def tells(self, decision: Decision) -> bool:
        """Whether a decision on this snapshot is the one that would have been made, whatever the unknown facts are."""
        if not self.unknown:
            return True
        return isinstance(decision, Deny) and decision.reason in (_WHO if self.early else _WHAT)


def basis_of(pdp: Pdp, request: ActionRequest) -> Basis:
    """By what this bundle gathers the facts of a request."""
    offering = pdp.offering(request.kind, request.server, request.name)
    entry = offering.entry if offering else None
    return Basis(entry=entry, measures=dict(pdp.measures), signals=tuple(sorted(pdp.signals)))


def rebase(pdp: Pdp, request: ActionRequest, snapshot: Snapshot, basis: Basis, *, changed: bool = False) -> Rebased:
    """The facts of a recorded request for another bundle.

    Args:
        pdp: the other bundle.
        request: as recorded.
        snapshot: as recorded.
        basis: of the bundle the snapshot was gathered by.
        changed: whether the request was refused then because the live definition was not the pinned one.
    """
    offering = pdp.offering(request.kind, request.server, request.name)
    entry = offering.entry if offering else None
    agent = pdp.agents.get(request.agent)
    principals = tuple(pdp.agents.get(link.task.agent) if link else None for link in snapshot.parents)
    unknown: set[str] = set()
    if entry is not None and _definition_unknown(request, snapshot, entry, changed=changed):
        unknown.add(f"the definition of {request.action} (pinned anew since)")
    resolved, paths_unknown = _resolved(request, snapshot, entry, basis.entry)
    if paths_unknown:
        unknown.add("where the paths lead")
    early = bool(unknown)
    agents = (agent, *principals)
    owners = {one.owner for one in agents if one} - {one.owner for one in (snapshot.agent, *snapshot.principals) if one}
    unknown.update(f"restrictions on owner {owner}" for owner in owners)
    tasks = (request.task, *(snapshot.task.task.parents if snapshot.task else ()))
    measures = _measures(pdp, request, snapshot, entry, basis, resolved, unknown)
    rebased = msgspec.structs.replace(
        snapshot,
        revision=pdp.revision,
        agent=agent,
        human_groups=pdp.humans.get(request.human, ()),
        principals=principals,
        containments=touching(snapshot.containments, request, tasks, agents),
        resolved=resolved,
        measures=measures,
        origins=_origins(pdp.directory, request, snapshot, entry, basis.entry, unknown),
        signals=_signals(pdp, snapshot, entry, basis, unknown),
    )
    return Rebased(snapshot=rebased, unknown=tuple(sorted(unknown)), early=early)


def directory_vouches(directory: Directory, kind: str, forms: Sequence[str | None]) -> bool:
    """Whether the directory lists every value itself. A listed host does not vouch for a URL on it."""
    return bool(forms) and all(form is not None and directory.lists(kind, form) for form in forms)


def _definition_unknown(request: ActionRequest, snapshot: Snapshot, entry: CatalogEntry, *, changed: bool) -> bool:
    """A server that was as reviewed then is now reviewed otherwise: nobody knows what it would have offered.

    What differed from its pin then (`changed`), or was not offered at all, is a fact and stays one.
    """
    if request.kind not in PINNED_KINDS or snapshot.definition is None or changed:
        return False
    return snapshot.definition != entry.pin


def _resolved(
    request: ActionRequest, snapshot: Snapshot, entry: CatalogEntry | None, old: CatalogEntry | None
) -> tuple[dict[str, str], bool]:
    wanted = _paths(entry.path if entry else None, request)
    if not wanted or wanted == _paths(old.path if old else None, request):
        return (snapshot.resolved if wanted else {}), False
    return {}, True


def _paths(selector: PathSelector | None, request: ActionRequest) -> dict[str, str]:
    if selector is None or selector.resolve == "none":
        return {}
    try:
        return paths_to_resolve(selector, request.arguments.open())
    except CallerError:
        return {}  # `decide` refuses it for that


def _measures(
    pdp: Pdp,
    request: ActionRequest,
    snapshot: Snapshot,
    entry: CatalogEntry | None,
    basis: Basis,
    resolved: Mapping[str, str],
    unknown: set[str],
) -> dict[str, tuple[Reading, ...]]:
    """Readings of the measures that are still the same measure of the same rows."""
    state = snapshot.task
    if entry is None or state is None or not pdp.measures:
        return {}
    found: dict[str, tuple[Reading, ...]] = {}
    for name, measure in pdp.measures.items():
        share = _share(measure, request, state, entry, pdp.directory, resolved)
        if share is None:
            continue  # `decide` says why
        if _same_rows(measure, share, request, state, pdp.directory, snapshot, basis, alike=entry == basis.entry):
            found[name] = snapshot.measures.get(name, ())
        else:
            unknown.add(f"measure {name}")
            found[name] = tuple(Reading(key=key, version=0, before=0) for key in share.keys)
    return found


def _same_rows(
    measure: Measure,
    share: Share,
    request: ActionRequest,
    state: TaskState,
    directory: Directory,
    snapshot: Snapshot,
    basis: Basis,
    *,
    alike: bool,
) -> bool:
    """Whether what was recorded of a measure is what the new bundle would have read: same measure, same rows, same values."""
    if basis.entry is None or basis.measures.get(measure.name) != measure:
        return False
    if alike:
        return True  # the same selectors find the same rows
    before = _share(measure, request, state, basis.entry, directory, snapshot.resolved)
    return before is not None and (before.keys, before.members) == (share.keys, share.members)


def _share(
    measure: Measure,
    request: ActionRequest,
    state: TaskState,
    entry: CatalogEntry,
    directory: Directory,
    resolved: Mapping[str, str],
) -> Share | None:
    try:
        return share_of(measure, asked_of(request, state.task.root, entry, directory, resolved))
    except Refused:
        return None


def _origins(
    directory: Directory,
    request: ActionRequest,
    snapshot: Snapshot,
    entry: CatalogEntry | None,
    old: CatalogEntry | None,
    unknown: set[str],
) -> dict[str, Origin]:
    if entry is None or not entry.watch:
        return {}
    arguments = request.arguments.open()
    found: dict[str, Origin] = {}
    for name, watch in entry.watch.items():
        forms = forms_of(watch, arguments)
        if not forms:
            continue
        recorded = snapshot.origins.get(name) if old is not None and old.watch.get(name) == watch else None
        if recorded is None:
            unknown.add(f"origin of {name}")
            recorded = Origin()
        if len(forms) <= MAX_VOUCHED:
            sources = set(recorded.sources) - {"directory"}
            if directory_vouches(directory, watch.kind, forms):
                sources.add("directory")
            recorded = msgspec.structs.replace(recorded, sources=tuple(sorted(sources)))
        found[name] = recorded
    return found


def _signals(
    pdp: Pdp, snapshot: Snapshot, entry: CatalogEntry | None, basis: Basis, unknown: set[str]
) -> dict[str, int]:
    for kind, rule in pdp.signals.items():
        if kind not in basis.signals and entry is not None and entry.effect in rule.effects:
            unknown.add(f"signal {kind}")
    return {kind: score for kind, score in snapshot.signals.items() if kind in pdp.signals}
