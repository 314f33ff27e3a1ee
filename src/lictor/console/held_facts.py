"""What the gateway knew when it asked people, a plain line a fact: chain, contract, restrictions, origins, paths, SQL, commands.

All of it comes from the facts sealed with the request and from the catalogue's own readers, nothing from the model. A word from
outside that could be read as part of our sentence is quoted, so that two different facts never make the same line (R12).
Refuses to know stores, pages and terminals.
"""

import re
from collections.abc import Iterable, Iterator, Mapping
from typing import Final

import msgspec

from lictor.console.views import FieldView
from lictor.model.action import ActionRequest
from lictor.model.catalog import CatalogEntry, PathSelector
from lictor.model.containment import Containment, Restriction
from lictor.model.contract import Contract, ContractSource
from lictor.model.errors import CallerError
from lictor.model.history import Origin
from lictor.model.signal import FULL
from lictor.model.snapshot import Snapshot
from lictor.model.task import TaskState
from lictor.pdp.command import CommandFacts
from lictor.pdp.contract import clause_of
from lictor.pdp.decide import Pdp
from lictor.pdp.normalise import select
from lictor.pdp.normalise.path import Located, PathFacts
from lictor.pdp.origins.watched import forms_of
from lictor.pdp.sql import SqlFacts
from lictor.policy.contracts import explain

_PLAIN: Final = re.compile(r"[\w./:@*+=-]+", re.ASCII)
_PLACES: Final = {
    "task": "named in the task's text",
    "declared": "declared when the task was opened",
    "directory": "in the directory",
}
_MADE: Final = {
    ContractSource.APPLICATION: "made by the application",
    ContractSource.PERSON: "made by a person",
    ContractSource.DRAFTED: "drafted from the task's text",
}
_LAID: Final = {
    Restriction.STEP_UP: "everything needs approval",
    Restriction.READ_ONLY: "reading only",
    Restriction.SUSPENDED: "suspended",
}


def sealed_facts(pdp: Pdp, request: ActionRequest, snapshot: Snapshot) -> tuple[FieldView, ...]:
    """The facts a person decides on beside arguments, destination and value, in reading order.

    What cannot be read any more (another bundle is in force) has no line; the arguments are shown whole in any case.
    """
    offering = pdp.offering(request.kind, request.server, request.name)
    lines = [*_chain(request, snapshot)]
    if offering is not None:
        lines += [*_contracts(request, snapshot, offering.entry), *_selected(pdp, request, snapshot, offering.entry)]
    return (*lines, *_origins(snapshot.origins), *_restrictions(pdp, snapshot))


def _chain(request: ActionRequest, snapshot: Snapshot) -> Iterator[FieldView]:
    above = [link.task.agent if link is not None else "?" for link in snapshot.parents]
    if above:
        yield FieldView(label="Chain of agents", text=", by delegation from ".join([request.agent, *above]))


def _contracts(request: ActionRequest, snapshot: Snapshot, entry: CatalogEntry) -> Iterator[FieldView]:
    arguments = request.arguments.open()
    watched = {name: forms_of(watch, arguments) for name, watch in entry.watch.items()}
    links = [link for link in (snapshot.task, *snapshot.parents) if link is not None]
    for link in links:
        if link.contract is None:
            continue
        index, _ = clause_of(link.contract, link.contract_used, request.action, watched, snapshot.origins)
        label = "Contract" if link.task.id == request.task else f"Contract of {link.task.agent}"
        yield FieldView(label=label, text=_clause(link, link.contract, index), note=_nobody(link.contract))


def _clause(link: TaskState, contract: Contract, index: int) -> str:
    if index < 0:
        return "no clause covers this"
    only = msgspec.structs.replace(contract, clauses=(contract.clauses[index],))
    used = link.contract_used[index] if index < len(link.contract_used) else 0
    seen = f", confirmed by {_word(contract.confirmed_by)}" if contract.confirmed_by else ""
    return f"{explain(only)[0]} ({used} used; {_MADE[contract.source]}{seen})"


def _nobody(contract: Contract) -> str:
    drafted = contract.source is ContractSource.DRAFTED and contract.confirmed_by is None
    return "nobody has confirmed this draft" if drafted else ""


def _selected(pdp: Pdp, request: ActionRequest, snapshot: Snapshot, entry: CatalogEntry) -> Iterator[FieldView]:
    try:
        found = select(entry, request.arguments.open(), pdp.directory, snapshot.resolved)
    except CallerError as error:
        yield FieldView(
            label="Facts", text="none", note=f"what the catalogue points at cannot be read: {error.message}"
        )
        return
    if found.path is not None and entry.path is not None:
        yield from _paths(found.path, entry.path)
    if found.sql is not None:
        yield _sql(found.sql)
    if found.command is not None:
        yield _command(found.command)


def _paths(facts: PathFacts, selector: PathSelector) -> Iterator[FieldView]:
    written: tuple[Located | None, ...] = facts.seen or (None,) * len(facts.found)
    for real, seen in zip(facts.found, written, strict=True):
        note = "" if real.root else "outside every declared root"
        if seen is not None and seen != real:
            led = f"a link leads here: it is written as {_place(seen, selector)}"
            note = f"{note}; {led}" if note else led
        yield FieldView(label="Path", text=_place(real, selector), note=note)


def _place(path: Located, selector: PathSelector) -> str:
    if not path.root:
        return _word("/".join(("", *path.parts)) if selector.style == "posix" else "/".join(path.parts))
    return f"{_word(path.relative) if path.parts else 'all'} below {_word(selector.roots.get(path.root, ''))}"


def _sql(facts: SqlFacts) -> FieldView:
    count = f"{facts.statements} statement{'' if facts.statements == 1 else 's'}"
    text = f"{count}: {_words(facts.kinds)}; tables: {_words(facts.tables)}; calls: {_words(facts.functions)}"
    if facts.read_only:
        return FieldView(label="SQL", text=f"{text}; only reads")
    note = "not proven to only read" if facts.where else "not proven to only read; changes rows without a condition"
    return FieldView(label="SQL", text=text, note=note)


def _command(facts: CommandFacts) -> FieldView:
    if not facts.understood:
        return FieldView(label="Command", text="not wholly understood", note=facts.why)
    text = f"runs: {_words(facts.subcommands)}; reads: {_words(facts.reads)}; writes: {_words(facts.writes)}"
    return FieldView(label="Command", text=text, note="writes files" if facts.writes_files else "")


def _origins(origins: Mapping[str, Origin]) -> Iterator[FieldView]:
    for name, origin in sorted(origins.items()):
        places = [
            _PLACES.get(source) or f"in a result of {_word(source.partition(':')[2])}" for source in origin.sources
        ]
        yield FieldView(
            label=f"Where {name} is from",
            text="; ".join(places) or "not seen before",
            note=f"came with {_words(origin.labels)}" if origin.labels else "" if places else "nobody named this value",
        )


def _restrictions(pdp: Pdp, snapshot: Snapshot) -> Iterator[FieldView]:
    for laid in snapshot.containments:
        yield FieldView(label="Restricted", text=_laid(laid), note=laid.why)
    for kind, score in sorted(snapshot.signals.items()):
        rule = pdp.signals.get(kind)
        if rule is not None and score >= rule.at_least:
            yield FieldView(label="Restricted", text=f"signal {kind} at {score / FULL:.3f}: {_LAID[rule.restriction]}")


def _laid(laid: Containment) -> str:
    what = f"{laid.scope.value} {_word(laid.target)}" if laid.target else laid.scope.value
    return f"{what}: {_LAID[laid.restriction]}, by {_word(laid.by)}"


def _words(words: Iterable[str]) -> str:
    return ", ".join(map(_word, words)) or "none"


def _word(text: str) -> str:
    """As it is if it can be nothing else, quoted like JSON otherwise."""
    return text if _PLAIN.fullmatch(text) and text != "none" else msgspec.json.encode(text).decode()
