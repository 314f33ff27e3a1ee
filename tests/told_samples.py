"""An entry of every record type, each text of it under the test's control; read as exports read it."""

import types
import typing
from collections.abc import Callable, Iterator
from enum import Enum
from typing import Any, get_args

import msgspec

from lictor.model.record import Record, encode_entry
from lictor.protocol.events import Joins, Told
from lictor.records.merkle import leaf_hash

NOW = 1_795_238_400_123
ORIGIN = "lictor.example/log"


def sample(kind: Any, text: Callable[[], str], *, full: bool) -> Any:
    """A value of a type: every member, or (not `full`) only those without a default."""
    origin, parts = typing.get_origin(kind), get_args(kind)
    if isinstance(kind, typing.NewType):
        return sample(kind.__supertype__, text, full=full)
    if origin is typing.Literal:
        return parts[0]
    if origin in (typing.Union, types.UnionType):
        return (
            sample(parts[0], text, full=full)
            if full
            else (None if type(None) in parts else sample(parts[0], text, full=full))
        )
    if origin is tuple:
        many = parts[:1] if Ellipsis in parts else parts
        return tuple(sample(part, text, full=False) for part in many)
    if origin is dict:
        return {text(): sample(parts[1], text, full=full)}
    if isinstance(kind, type) and issubclass(kind, Enum):
        return next(iter(kind))
    if isinstance(kind, type) and issubclass(kind, msgspec.Struct):
        hints = typing.get_type_hints(kind)
        wanted = [one for one in msgspec.structs.fields(kind) if full or one.required]
        return kind(**{one.name: sample(hints[one.name], text, full=full) for one in wanted})
    return {str: text(), int: 7, bool: True, bytes: b""}[kind]


def records(text: Callable[[], str] = lambda: "word") -> Iterator[Any]:
    """Each record type twice: with everything it can have, and with the least."""
    for kind in get_args(Record):
        yield sample(kind, text, full=True)
        yield sample(kind, text, full=False)


def read(*given: Any) -> list[Told]:
    """Records as one log, read in order."""
    joins = Joins(ORIGIN)
    found = []
    for seq, record in enumerate(given):
        data = encode_entry(NOW + seq, record)
        found.append(joins.read(seq, data, leaf_hash(data)))
    return found
