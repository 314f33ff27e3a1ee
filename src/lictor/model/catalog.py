"""What is known about each thing a server offers: the catalogue's nouns. A thing without an entry is unknown: denied."""

from enum import StrEnum

import msgspec

from lictor.model.action import ActionKind
from lictor.model.ids import DefinitionDigest, ServerName


class EffectClass(StrEnum):
    """What an action can do at worst. `write` is the default of a drafted entry; hints of a server never lower it."""

    READ = "read"
    WRITE = "write"
    DESTRUCTIVE = "destructive"


class ValueSelector(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Where an action's monetary value stands in its arguments.

    `amount` is a JSON pointer to a decimal string with at most `digits` fractional digits, or, with `unit = "minor"`, to
    an integer of minor units. `currency` is a JSON pointer (starts with `/`) or a literal ISO 4217 code.
    """

    amount: str
    currency: str
    currencies: tuple[str, ...]
    """The codes accepted; any other is an unknown value: denied."""
    unit: str = "decimal"
    digits: int = 2


class DestinationSelector(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Where data goes: a JSON pointer to a URL. What cannot be normalised is an unknown destination: denied."""

    url: str
    schemes: tuple[str, ...] = ("https", "http")


class CatalogEntry(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One tool, prompt, resource pattern or feature of one server."""

    server: ServerName
    kind: ActionKind
    name: str
    """Exact; for a resource also a prefix ending in `*`. The longest match wins."""
    effect: EffectClass
    reversible: bool = False
    idempotent: bool = False
    tags: tuple[str, ...] = ()
    labels: tuple[str, ...] = ()
    """Labels its result puts on the task, e.g. `untrusted:web`."""
    destination: DestinationSelector | None = None
    value: ValueSelector | None = None
    pin: DefinitionDigest | None = None
    """Digest of the definition a person looked at. Required for tools and prompts."""
    timeout_s: int | None = None
