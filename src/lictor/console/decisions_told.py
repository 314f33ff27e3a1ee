"""One decision in full, as its page tells it: what was asked, on what facts, why it came out so, what became of it.

Made from the sealed record and from what the state says now. Every `str` is raw: it is rendered when it is drawn. Refuses to know
HTML, and to decide anything.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import msgspec

from lictor.console.held import arguments_of
from lictor.console.held_facts import sealed_facts
from lictor.console.views import ArgumentView, FieldView
from lictor.model.approval import Hold
from lictor.model.record import DecisionMade, Record, RequestReceived
from lictor.model.snapshot import Snapshot
from lictor.pdp.decide import Pdp, facts_of
from lictor.policy.explain import Explanation, PolicyNote, shown
from lictor.ports import RecordStore
from lictor.service.evidence.decisions import Made
from lictor.service.evidence.examined import Kept, Sealed
from lictor.service.evidence.examined import sealed_facts as opened
from lictor.service.people.override import OVERRIDABLE

MAX_FACTS: Final = 100
MAX_POLICIES: Final = 100
"""Of what policy read, and of policies in scope, shown on a page; how many more there are is said."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Clause:
    """One condition of a policy: met, not met, or not to be told; with what it reads."""

    text: str
    met: str
    reads: tuple[tuple[str, str], ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Reading:
    """One policy in scope, as it stood towards this request."""

    note: PolicyNote
    determined: bool
    clauses: tuple[Clause, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Told:
    """A decision's page."""

    made: Made
    decision: DecisionMade | None
    records: tuple[tuple[int, str], ...]
    """Entries of the log that belong to it, by number, with their types."""
    arguments: tuple[ArgumentView, ...] = ()
    facts: tuple[FieldView, ...] = ()
    unread: str = ""
    """Why arguments and facts cannot be shown."""
    policies: tuple[Reading, ...] = ()
    more_policies: int = 0
    read: tuple[tuple[str, str], ...] = ()
    """What policy read, by name."""
    more_read: int = 0
    needed: tuple[str, ...] = ()
    """What else the explanation says, a sentence each."""
    unexplained: str = ""
    """Why there is no explanation."""
    hold: Hold | None = None
    """That lives for this very action now."""
    overridable: bool = False

    @property
    def decided(self) -> bool:
        """Whether some policy decided it, and not that none did."""
        return any(one.determined for one in self.policies)


@dataclass(frozen=True, slots=True, kw_only=True)
class Ingredients:
    """What a page is made from, read from the store on the loop; `tell` needs no store."""

    made: Made
    records: tuple[tuple[int, Record], ...]
    sealed: Sealed | str
    files: dict[str, bytes] | None
    hold: Hold | None


def ingredients(store: RecordStore, kept: Kept, made: Made, records: tuple[tuple[int, Record], ...]) -> Ingredients:
    """Read everything a page needs."""
    asked, decided = _of(records, RequestReceived), _of(records, DecisionMade)
    if asked is None or decided is None:
        return Ingredients(made=made, records=records, sealed="nobody could read what was asked", files=None, hold=None)
    return Ingredients(
        made=made,
        records=records,
        sealed=opened(store, asked, decided),
        files=kept.files(decided.revision),
        hold=store.live_hold(asked.task, asked.digest),
    )


def tell(found: Ingredients, kept: Kept) -> Told:
    """The page. Takes its time: a bundle may have to be compiled. Call it off the loop."""
    decided = _of(found.records, DecisionMade)
    records = tuple((seq, _type_of(record)) for seq, record in found.records)
    if decided is None or isinstance(found.sealed, str):
        unread = found.sealed if isinstance(found.sealed, str) else ""
        return Told(made=found.made, decision=decided, records=records, unread=unread, hold=found.hold)
    bundle = kept.load(decided.revision, found.files)
    pdp = None if isinstance(bundle, str) else bundle[1]
    why = kept.explain(decided, found.files, found.sealed)
    policies = () if isinstance(why, str) else _readings(why)
    read = () if isinstance(why, str) else tuple(_flat(why.facts))
    return Told(
        made=found.made,
        decision=decided,
        records=records,
        arguments=tuple(arguments_of(found.sealed.request.arguments)),
        facts=tuple(_facts(pdp, found.sealed)),
        policies=policies[:MAX_POLICIES],
        more_policies=max(0, len(policies) - MAX_POLICIES),
        read=read[:MAX_FACTS],
        more_read=max(0, len(read) - MAX_FACTS),
        needed=() if isinstance(why, str) else _needed(why),
        unexplained=why if isinstance(why, str) else "",
        hold=found.hold,
        overridable=decided.outcome == "deny" and decided.reason in OVERRIDABLE,
    )


def _of(records: Sequence[tuple[int, Record]], kind: type[Any]) -> Any:
    return next((record for _, record in records if isinstance(record, kind)), None)


def _type_of(record: Record) -> str:
    return str(record.__struct_config__.tag)


# -- facts -------------------------------------------------------------------------------------------------------------------


def _facts(pdp: Pdp | None, sealed: Sealed) -> Iterator[FieldView]:
    snapshot = sealed.snapshot
    yield from _who(snapshot)
    if pdp is not None:
        yield from _where(pdp, sealed)
        yield from sealed_facts(pdp, sealed.request, snapshot)
    yield from _history(snapshot)


def _who(snapshot: Snapshot) -> Iterator[FieldView]:
    agent, state = snapshot.agent, snapshot.task
    if agent is None:
        yield FieldView(label="Agent", text="not registered")
    else:
        owner = f", owner {agent.owner}" if agent.owner else ", without an owner"
        yield FieldView(label="Agent", text=f"autonomy {agent.autonomy} of 5, {agent.environment}{owner}")
    if snapshot.human_groups:
        yield FieldView(label="The person's groups", text=", ".join(snapshot.human_groups))
    if state is not None:
        yield FieldView(label="Purpose", text=state.task.purpose)
        yield FieldView(label="Calls before it", text=f"{state.calls_used} of {state.task.budget.calls}")
        yield FieldView(label="Seen before it", text=", ".join(state.labels) or "nothing that is labelled")
    if snapshot.approval is not None:
        people = ", ".join(one.approver for one in snapshot.approval.people)
        note = "break-glass: it overrides a deny" if snapshot.approval.override else ""
        yield FieldView(label="Approved by", text=people, note=note)


def _where(pdp: Pdp, sealed: Sealed) -> Iterator[FieldView]:
    entry, destination, value = facts_of(pdp, sealed.request)
    if entry is not None:
        undo = "can be undone" if entry.reversible else "cannot be undone"
        yield FieldView(label="Effect", text=f"{entry.effect.value}, {undo}")
    for target in destination.targets if destination is not None else ():
        known = f"in the directory: {', '.join(target.directory)}" if target.directory else ""
        yield FieldView(label="Destination", text=target.text, note=known or "external: not in the directory")
    if value is not None:
        yield FieldView(label="Value", text=f"{value.amount} minor units of {value.currency}")


def _history(snapshot: Snapshot) -> Iterator[FieldView]:
    for name, rows in sorted(snapshot.measures.items()):
        yield FieldView(label=f"Measure {name}", text=", ".join(f"{row.before} before this" for row in rows))
    for kind, score in sorted(snapshot.signals.items()):
        yield FieldView(label=f"Signal {kind}", text=str(score))
    if snapshot.definition is not None:
        yield FieldView(label="Definition the server offered", text=snapshot.definition)


# -- why ---------------------------------------------------------------------------------------------------------------------


def _readings(why: Explanation) -> tuple[Reading, ...]:
    """Those that determined the answer first, then by where they stand."""
    determining = set(why.decision.policies)
    found = [
        Reading(note=note, determined=note.id in determining, clauses=tuple(map(_clause, note.clauses)))
        for note in why.policies
    ]
    return tuple(sorted(found, key=lambda one: (not one.determined, one.note.where)))


def _clause(clause: Any) -> Clause:
    met = {True: "yes", False: "no", None: "unknown"}[clause.holds]
    return Clause(text=clause.text, met=met, reads=tuple((path, shown(value)) for path, value in clause.values.items()))


def _needed(why: Explanation) -> tuple[str, ...]:
    """What the explanation says beside its headline and what determined it, which stand elsewhere on the page."""
    lines = [line.strip() for line in why.lines()]
    head = 1 + len(why.decision.errors) + (not why.policies)
    return (*lines[1:head], *lines[head + len(why.decision.policies) :])


def _flat(facts: Mapping[str, Any], before: str = "") -> Iterator[tuple[str, str]]:
    """Facts by dotted name, as far as records go; arguments are shown on their own."""
    for name, value in sorted(facts.items()):
        path = f"{before}{name}"
        if path == "input":
            continue
        if isinstance(value, Mapping) and value and "__extn" not in value:
            yield from _flat(value, f"{path}.")
        else:
            yield path, _short(value)


def _short(value: Any) -> str:
    if isinstance(value, Mapping) and "__extn" in value:
        return shown(value)
    return msgspec.json.encode(value).decode()
