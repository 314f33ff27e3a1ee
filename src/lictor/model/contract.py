"""A task's contract: which actions, with which values, how often. It restricts what policy permits, and permits nothing."""

from enum import StrEnum

import msgspec

from lictor.model.ids import HumanId


class ContractSource(StrEnum):
    """Who made it. A drafted contract saw only the trusted text and the catalogue."""

    APPLICATION = "application"
    PERSON = "person"
    DRAFTED = "drafted"


class Binding(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, omit_defaults=True):
    """What one watched argument may be: one of `values` (normalised), or a value that came `sources` (origins)."""

    values: tuple[str, ...] = ()
    sources: tuple[str, ...] = ()
    """Origins: `task`, `declared`, `directory`, `tool:<server>/<name>`."""
    optional: bool = False
    """Whether the argument may be absent. If not, a tool's own default is not one of the values."""


class Clause(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, omit_defaults=True):
    """One action and its bounds; `calls` is how often at most, 0 as often as the task's budget allows."""

    action: str
    """`server/tool`, exact."""
    bind: dict[str, Binding] = {}
    """By name of the watched argument."""
    calls: int = 0


class Contract(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, omit_defaults=True):
    """All a task may do. An action that fits no clause is refused."""

    source: ContractSource
    clauses: tuple[Clause, ...]
    confirmed_by: HumanId | None = None
    """The person who looked at it and said yes."""
