"""What is known about each thing a server offers: the catalogue's nouns. A thing without an entry is unknown: denied.

A selector says where in the arguments something stands and in which form. A pointer is a JSON pointer (RFC 6901); a step `*`
stands for every item of an array. Where several pointers are given, one that names nothing is passed over, but not all of them.
"""

from enum import StrEnum
from typing import Final, Literal

import msgspec

from lictor.model.action import ActionKind
from lictor.model.ids import DefinitionDigest, ServerName
from lictor.model.preview_rule import PreviewRule

Pointers = str | tuple[str, ...]
"""One JSON pointer, or several."""

DestinationKind = Literal["url", "email", "host", "git", "account"]
DESTINATION_KINDS: Final[tuple[DestinationKind, ...]] = ("url", "email", "host", "git", "account")


class EffectClass(StrEnum):
    """What an action can do at worst. `write` is the default of a drafted entry; hints of a server never lower it."""

    READ = "read"
    WRITE = "write"
    DESTRUCTIVE = "destructive"


class ValueSelector(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Where an action's monetary value stands in its arguments.

    `amount` points to a decimal string with at most `digits` fractional digits; with `unit = "minor"` to an integer of minor
    units; with `unit = "number"` to a JSON number with at most `digits` fractional digits. With `*` the amounts are added up.
    `currency` is a JSON pointer (starts with `/`) or a literal ISO 4217 code.
    """

    amount: str
    currency: str
    currencies: tuple[str, ...]
    """The codes accepted; any other is an unknown value: denied."""
    unit: str = "decimal"
    digits: int | None = None
    """Fractional digits; None: what ISO 4217 says of the currency."""

    @property
    def pointers(self) -> tuple[str, ...]:
        """Where it reads."""
        return (self.amount, self.currency) if self.currency.startswith("/") else (self.amount,)


class DestinationSelector(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Where data goes: pointers under exactly one kind. What cannot be normalised is an unknown destination: denied."""

    url: Pointers = ()
    email: Pointers = ()
    host: Pointers = ()
    git: Pointers = ()
    account: Pointers = ()
    schemes: tuple[str, ...] | None = None
    """`url` and `git` only; None: https and http, for `git` https and ssh."""
    separator: str = ""
    """`email` only: a string may hold several addresses, cut at each of these characters."""
    port: str = ""
    """`host` only: pointer to an integer."""
    ref: Pointers = ()
    """`git` only: pointers to branch names or refspecs."""
    force: str = ""
    """`git` only: pointer to a boolean."""
    form: str = "iban"
    """`account` only: `iban`, or `id` for an identifier that is compared as it stands."""
    private_suffixes: bool = True
    """Whether `github.io` and the like, below which strangers register, count as public suffixes."""
    unclear: Literal["deny", "fact"] = "fact"
    """`url` only: what a URL is whose path readers take differently: refused, or a destination without `path`."""

    @property
    def kind(self) -> DestinationKind:
        """The kind that has pointers; the first, should there be several."""
        for kind in DESTINATION_KINDS:
            if getattr(self, kind):
                return kind
        return "url"

    @property
    def targets(self) -> tuple[str, ...]:
        """Pointers to what is reached."""
        return many(getattr(self, self.kind))

    @property
    def pointers(self) -> tuple[str, ...]:
        """Where it reads, all of it."""
        return (*self.targets, *filter(None, (self.port, self.force)), *many(self.ref))


class PathSelector(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Which arguments are paths, and the named directories they have to lie below."""

    pointer: Pointers
    roots: dict[str, str]
    """Absolute directories by name."""
    style: Literal["posix", "windows"] = "posix"
    base: str = ""
    """What a relative path starts from: the name of a root, or a pointer to a path. Without it relative paths are unknown."""
    case_sensitive: bool | None = None
    """Whether the file system tells `A` from `a`; None: posix does, windows does not."""
    outside: Literal["deny", "fact"] = "deny"
    """What a path below no root is: refused, or a fact for policy."""
    resolve: Literal["none", "host"] = "none"
    """`host`: symbolic links are followed on the gateway's own file system first, and policy sees where they lead."""
    uri: bool = False
    """Whether `file:` URIs are accepted beside plain paths."""

    @property
    def exact(self) -> bool:
        """Whether case counts."""
        return self.style == "posix" if self.case_sensitive is None else self.case_sensitive

    @property
    def pointers(self) -> tuple[str, ...]:
        """Where it reads."""
        base = (self.base,) if self.base.startswith("/") else ()
        return (*many(self.pointer), *base)


class SqlSelector(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Which argument is SQL, and of which dialect."""

    text: str
    dialect: str

    @property
    def pointers(self) -> tuple[str, ...]:
        """Where it reads."""
        return (self.text,)


class CommandSelector(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Which argument is a command: shell text, or a list of words. Exactly one of the two."""

    text: str = ""
    argv: str = ""
    unclear: Literal["deny", "fact"] = "deny"
    """What a command that is not wholly understood is: refused, or a fact for policy."""

    @property
    def pointers(self) -> tuple[str, ...]:
        """Where it reads."""
        return (self.text or self.argv,)


class Watch(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """An argument whose origin policy may ask for."""

    pointer: str
    kind: Literal["text", "email", "url", "host", "account", "path", "number"]


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
    path: PathSelector | None = None
    sql: SqlSelector | None = None
    command: CommandSelector | None = None
    watch: dict[str, Watch] = {}
    """Watched arguments by name."""
    pin: DefinitionDigest | None = None
    """Digest of the definition a person looked at. Required for tools and prompts."""
    timeout_s: int | None = None
    preview: PreviewRule | None = None
    """How people are shown what would become of it; None: they are shown its arguments."""

    @property
    def pointers(self) -> tuple[str, ...]:
        """Every pointer of every selector."""
        selectors = (self.destination, self.value, self.path, self.sql, self.command, self.preview)
        found = [pointer for selector in selectors if selector is not None for pointer in selector.pointers]
        return (*found, *(watch.pointer for watch in self.watch.values()))


def many(pointers: Pointers) -> tuple[str, ...]:
    """One pointer or several, as several."""
    return (pointers,) if isinstance(pointers, str) and pointers else tuple(pointers)
