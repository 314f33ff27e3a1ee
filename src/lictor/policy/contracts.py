"""Contracts before they bind: read strictly, brought to normal form, cut down to policy, drafted, explained.

A draft is made by any callable that gets the trusted text and the catalogue and nothing else, before the agent has read
anything. What it returns is treated like bytes from a stranger. `propose` is a proposer without a model: it binds watched
arguments to the values the person's own words name. Refuses to know tasks and stores.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import msgspec

from lictor.model.action import ActionKind, action_name
from lictor.model.catalog import CatalogEntry, EffectClass
from lictor.model.contract import Binding, Clause, Contract, ContractSource
from lictor.model.errors import CallerError
from lictor.model.ids import AgentId
from lictor.model.reasons import Reason
from lictor.pdp.decide import Pdp
from lictor.pdp.history import VOUCHING
from lictor.pdp.origins.find import values_of_text
from lictor.pdp.origins.forms import text_form

MAX_CLAUSES: Final = 200
MAX_BOUND: Final = 500
"""Values of one binding."""
_SHORT: Final = 4
"""Letters of a word of a tool's name that says nothing."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Card:
    """What a proposer sees of one thing: the catalogue's word, not the server's."""

    action: str
    effect: str
    tags: tuple[str, ...]
    watched: Mapping[str, str]
    """Kind of value by the name of the watched argument."""


Proposer = Callable[[str, Sequence[Card]], Mapping[str, Any]]
"""Gets the trusted text and the catalogue; returns `{"clauses": [{"action": …, "bind": {…}, "calls": …}]}`."""


class _Draft(msgspec.Struct, forbid_unknown_fields=True, kw_only=True):
    clauses: tuple[Clause, ...]


def cards(pdp: Pdp) -> tuple[Card, ...]:
    """The tools of a catalogue as a proposer sees them, sorted."""
    found = [
        Card(
            action=action_name(kind, server, name),
            effect=offering.entry.effect.value,
            tags=offering.entry.tags,
            watched={name: watch.kind for name, watch in offering.entry.watch.items()},
        )
        for (kind, server, name), offering in pdp.exact.items()
        if kind is ActionKind.TOOL
    ]
    return tuple(sorted(found, key=lambda card: card.action))


def contract_from(data: Any, source: ContractSource, pdp: Pdp) -> Contract:
    """A contract from plain data (JSON, TOML, a proposer's answer), in normal form.

    Raises:
        CallerError: `invalid_arguments`: malformed, too long, an action or argument the catalogue does not know, a value that
            has no form of its argument's kind.
    """
    try:
        draft = msgspec.convert(data, _Draft)
    except msgspec.ValidationError as error:
        raise CallerError(Reason.INVALID_ARGUMENTS, f"this is no contract: {str(error)[:200]}") from None
    if len(draft.clauses) > MAX_CLAUSES:
        raise CallerError(Reason.TOO_MANY, f"a contract has at most {MAX_CLAUSES} clauses")
    return Contract(source=source, clauses=tuple(_normal(clause, pdp) for clause in draft.clauses))


def draft(proposer: Proposer, text: str, pdp: Pdp, agents: Iterable[AgentId]) -> tuple[Contract, tuple[str, ...]]:
    """A drafted contract, cut down to what policy can permit; with the actions that were cut off.

    Args:
        proposer: any callable, a model's too. Its answer is only ever a restriction.
        agents: the agent and those it was delegated from.

    Raises:
        CallerError: the answer is malformed.
    """
    return cut(contract_from(proposer(text, cards(pdp)), ContractSource.DRAFTED, pdp), pdp, agents)


def cut(contract: Contract, pdp: Pdp, agents: Iterable[AgentId]) -> tuple[Contract, tuple[str, ...]]:
    """The clauses that policy can permit to every agent of the chain, and the actions of the others."""
    chain = tuple(agents)
    kept: list[Clause] = []
    removed: list[Clause] = []
    for clause in contract.clauses:
        offering = pdp.named(clause.action)
        possible = offering is not None and all(
            pdp.engine.may_permit(("Agent", agent), clause.action, offering.resource) for agent in chain
        )
        (kept if possible else removed).append(clause)
    return (
        msgspec.structs.replace(contract, clauses=tuple(kept)),
        tuple(sorted({clause.action for clause in removed})),
    )


def propose(text: str, catalogue: Sequence[Card]) -> dict[str, Any]:
    """A proposer without a model: reading freely, and writing where the person's words name what is written to.

    A watched argument is bound to the values of its kind in the text, to declared ones and to the directory. A writing tool
    without watched arguments is listed when a word of its name is in the text. Everything else is left out.
    """
    named: dict[str, list[str]] = {}
    for kind, form in values_of_text(text):
        named.setdefault(kind, []).append(form)
    words = {word.strip(".,;:!?\"'()").casefold() for word in text.split()}
    clauses = [clause for card in catalogue if (clause := _proposed(card, named, words)) is not None]
    return {"clauses": clauses}


def explain(contract: Contract) -> tuple[str, ...]:
    """What a contract says, a line a clause, in plain words."""
    lines = []
    for clause in contract.clauses:
        often = (
            f"at most {clause.calls} time{'s' if clause.calls > 1 else ''}" if clause.calls else "any number of times"
        )
        bounds = "; ".join(f"{name} {_bounds(binding)}" for name, binding in sorted(clause.bind.items()))
        lines.append(f"{clause.action}, {often}{': ' + bounds if bounds else ''}")
    return tuple(lines) or ("nothing at all",)


def _bounds(binding: Binding) -> str:
    places = {"task": "named in the task", "declared": "declared with the task", "directory": "in the directory"}
    named = [repr(value) for value in binding.values]
    from_ = [places.get(source, f"from {source.removeprefix('tool:')}") for source in binding.sources]
    return f"only {' or '.join([*named, *from_]) or 'nothing'}{' or absent' if binding.optional else ''}"


def _proposed(card: Card, named: Mapping[str, list[str]], words: set[str]) -> dict[str, Any] | None:
    reads = card.effect == EffectClass.READ.value and "communicates" not in card.tags
    if reads:
        return {"action": card.action}
    if not card.watched:
        parts = card.action.partition("/")[2].replace("-", "_").casefold().split("_")
        said = any(len(part) >= _SHORT and any(word.startswith(part) for word in words) for part in parts)
        return {"action": card.action, "calls": 1} if said else None
    bind = {
        name: {"values": sorted(set(named.get(kind, []))), "sources": ["declared", "directory"], "optional": True}
        for name, kind in card.watched.items()
    }
    return {"action": card.action, "bind": bind} if any(one["values"] for one in bind.values()) else None


def _normal(clause: Clause, pdp: Pdp) -> Clause:
    offering = pdp.named(clause.action)
    if offering is None:
        raise CallerError(Reason.INVALID_ARGUMENTS, f"{clause.action[:120]!r} is nothing the catalogue knows")
    if clause.calls < 0:
        raise CallerError(Reason.INVALID_ARGUMENTS, f"{clause.action[:120]!r}: calls is not negative")
    bind = {name: _normal_binding(offering.entry, name, binding) for name, binding in clause.bind.items()}
    return msgspec.structs.replace(clause, bind=bind)


def _normal_binding(entry: CatalogEntry, name: str, binding: Binding) -> Binding:
    watch = entry.watch.get(name)
    if watch is None:
        watched = ", ".join(sorted(entry.watch)) or "none"
        raise CallerError(
            Reason.INVALID_ARGUMENTS,
            f"{name[:80]!r} is no watched argument of {entry.name[:80]!r}",
            remedy=f"watched: {watched}",
        )
    if len(binding.values) > MAX_BOUND:
        raise CallerError(Reason.TOO_MANY, f"a binding has at most {MAX_BOUND} values")
    for source in binding.sources:
        if source not in VOUCHING and not source.startswith("tool:"):
            raise CallerError(Reason.INVALID_ARGUMENTS, f"{source[:80]!r} is no origin")
    forms = []
    for value in binding.values:
        form = text_form(watch.kind, value)
        if form is None:
            raise CallerError(Reason.INVALID_ARGUMENTS, f"{value[:80]!r} is no {watch.kind}")
        forms.append(form)
    return msgspec.structs.replace(binding, values=tuple(sorted(set(forms))))
