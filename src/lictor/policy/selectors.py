"""Selectors of a catalogue entry: what types alone do not settle, said before a call can meet it.

A selector that could never find anything denies every call, and one that is half written might guard less than its author thinks:
both are faults of the bundle. Refuses to know files and lines.
"""

import re
from collections.abc import Iterator, Mapping
from typing import Final

from lictor.model.catalog import (
    DESTINATION_KINDS,
    CommandSelector,
    DestinationSelector,
    PathSelector,
    SqlSelector,
    ValueSelector,
    Watch,
    many,
)
from lictor.pdp.normalise.money import NO_MINOR_UNIT
from lictor.pdp.normalise.path import root_problem
from lictor.pdp.sql import DIALECTS
from lictor.policy.names import name_problem

Fault = tuple[object, str]
"""What is wrong, and why."""

_POINTER: Final = re.compile(r"(?:/(?:[^~/]|~[01])+)+")
_SCHEMES: Final = {
    "url": frozenset({"http", "https", "ws", "wss", "ftp"}),
    "git": frozenset({"https", "ssh", "http", "git"}),
}
"""Schemes whose hosts are normalised (WHATWG URL 4.2; Git's own); of any other a host is just text."""
_ONLY_OF: Final = {
    "separator": ("email",),
    "port": ("host",),
    "ref": ("git",),
    "force": ("git",),
    "schemes": ("url", "git"),
    "form": ("account",),
    "private_suffixes": ("url", "email", "host", "git"),
    "unclear": ("url",),
}
_DEFAULTS: Final = DestinationSelector()
_SEPARATORS: Final = frozenset(",;")
_MAX_DIGITS: Final = 4


def destination_faults(selector: DestinationSelector) -> Iterator[Fault]:
    """Faults of `destination`."""
    kinds = [kind for kind in DESTINATION_KINDS if getattr(selector, kind) != ()]
    if len(kinds) != 1:
        yield kinds, f"a destination has exactly one of {', '.join(DESTINATION_KINDS)}"
        return
    kind = kinds[0]
    yield from pointer_faults(kind, getattr(selector, kind))
    for member, kinds_of in _ONLY_OF.items():
        if kind not in kinds_of and getattr(selector, member) != getattr(_DEFAULTS, member):
            yield getattr(selector, member), f"{member} is for {' and '.join(kinds_of)} only"
    if selector.schemes is not None and kind in _SCHEMES:
        known = _SCHEMES[kind]
        if not selector.schemes or not known.issuperset(selector.schemes):
            yield list(selector.schemes), f"schemes are one or more of {', '.join(sorted(known))}"
    if not _SEPARATORS.issuperset(selector.separator):
        yield selector.separator, "separator is ',' or ';' or both"
    for member in ("port", "force"):
        if getattr(selector, member):
            yield from _plain_faults(member, getattr(selector, member))
    if selector.ref:
        yield from pointer_faults("ref", selector.ref)
        if len(selector.targets) != 1 or "*" in selector.targets[0]:
            yield list(selector.targets), "refs need one remote: git is a single pointer without *"
    elif selector.force:
        yield selector.force, "force says something about refs: give ref too"
    if selector.form not in {"iban", "id"}:
        yield selector.form, "form is iban or id"


def value_faults(selector: ValueSelector) -> Iterator[Fault]:
    """Faults of `value`."""
    yield from pointer_faults("amount", selector.amount)
    if not selector.currencies or not all(_is_currency(code) for code in selector.currencies):
        yield list(selector.currencies), "currencies are one or more ISO 4217 codes, such as EUR"
    if not selector.currency.startswith("/") and selector.currency not in selector.currencies:
        yield selector.currency, "currency is a JSON pointer, or one of the currencies"
    if selector.currency.startswith("/"):
        yield from pointer_faults("currency", selector.currency)
    if selector.unit not in {"decimal", "minor", "number"}:
        yield selector.unit, "unit is decimal, minor or number"
    if selector.digits is None:
        for code in NO_MINOR_UNIT.intersection(selector.currencies):
            yield code, "ISO 4217 gives this code no minor unit: declare digits"
    elif not 0 <= selector.digits <= _MAX_DIGITS:
        yield selector.digits, f"digits is 0 to {_MAX_DIGITS}"


def path_faults(selector: PathSelector) -> Iterator[Fault]:
    """Faults of `path`."""
    yield from pointer_faults("pointer", selector.pointer)
    if not selector.roots:
        yield selector.roots, "roots names at least one directory"
    for name, root in selector.roots.items():
        if problem := name_problem(name):
            yield name, problem
        if problem := root_problem(root, selector):
            yield root, f"a root is an absolute directory: {problem}"
    if selector.base.startswith("/"):
        yield from _plain_faults("base", selector.base)
    elif selector.base and selector.base not in selector.roots:
        yield selector.base, "base is a JSON pointer, or the name of a root"


def sql_faults(selector: SqlSelector) -> Iterator[Fault]:
    """Faults of `sql`."""
    yield from _plain_faults("text", selector.text)
    if selector.dialect not in DIALECTS:
        yield selector.dialect, f"dialect is one of {', '.join(sorted(DIALECTS))}"


def command_faults(selector: CommandSelector) -> Iterator[Fault]:
    """Faults of `command`."""
    if bool(selector.text) == bool(selector.argv):
        yield [selector.text, selector.argv], "a command is either text or argv"
        return
    member = "text" if selector.text else "argv"
    yield from _plain_faults(member, selector.text or selector.argv)


def watch_faults(watched: Mapping[str, Watch]) -> Iterator[Fault]:
    """Faults of `watch`."""
    for name, watch in watched.items():
        if not re.fullmatch(r"[A-Za-z_][A-Za-z0-9_]{0,63}", name):
            yield name, "a watched argument's name is letters, digits and _, and policy reads it as context.origin.NAME"
        yield from pointer_faults("pointer", watch.pointer)


def pointer_faults(member: str, pointers: str | tuple[str, ...], *, needed: bool = True) -> Iterator[Fault]:
    """Faults of pointers into arguments, under the name of what holds them."""
    found = many(pointers)
    if not found and needed:
        yield pointers, f"{member} is a JSON pointer into the arguments, such as /{member}"
    for pointer in found:
        if not _POINTER.fullmatch(pointer):
            yield pointer, f"{member} is a JSON pointer into the arguments, such as /{member}"
        elif pointer.startswith("/*"):
            yield pointer, "the arguments are an object: a pointer begins with a name"
    if len(set(found)) != len(found):
        yield list(found), "a pointer is given twice"


def _plain_faults(member: str, pointer: str) -> Iterator[Fault]:
    if not _POINTER.fullmatch(pointer) or "*" in pointer.split("/"):
        yield pointer, f"{member} is one JSON pointer into the arguments, without *"


def _is_currency(code: str) -> bool:
    return len(code) == 3 and code.isascii() and code.isalpha() and code.isupper()
