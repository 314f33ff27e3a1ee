"""`signals.toml`: what a behavioural signal does, by kind. It can only restrict. Refuses to know who observes."""

from typing import Any

import msgspec

from lictor.model.catalog import EffectClass
from lictor.model.containment import Restriction
from lictor.model.signal import FULL, SignalRule
from lictor.policy.documents import Document, convert, only_keys, tables
from lictor.policy.names import IDENTIFIER
from lictor.policy.problems import Problems, quote


class _Table(msgspec.Struct, forbid_unknown_fields=True, kw_only=True):
    at_least: float
    lay: Restriction
    effects: tuple[EffectClass, ...] = tuple(EffectClass)
    needed: bool = False


def read_signals(document: Document, problems: Problems) -> dict[str, SignalRule]:
    """`[signals.KIND] at_least = 0.8, lay = "step_up"`, and optionally `effects` and `needed`."""
    only_keys(document, ("signals",), problems)
    return {
        kind: rule
        for kind, raw in tables(document, "signals", problems).items()
        if (rule := _rule(document, kind, raw, problems)) is not None
    }


def _rule(document: Document, kind: str, raw: Any, problems: Problems) -> SignalRule | None:
    path = ("signals", kind)
    where = document.lines.where(path)
    if IDENTIFIER.fullmatch(kind) is None:
        problems.add(where, f"{quote(kind)}: a kind is lower-case letters, digits and _")
    table = convert(document, path, raw, _Table, problems)
    if table is None:
        return None
    if not 0 < table.at_least <= 1:
        problems.add(document.lines.where((*path, "at_least")), "at_least is above 0 and at most 1")
        return None
    if not table.effects:
        problems.add(document.lines.where((*path, "effects")), "a signal that is about no effect does nothing")
    return SignalRule(
        kind=kind,
        at_least=max(1, round(table.at_least * FULL)),
        restriction=table.lay,
        effects=table.effects,
        needed=table.needed,
    )
