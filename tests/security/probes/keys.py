"""Every key that a file of typed settings can have, by walking the types: whoever adds a member adds a key."""

import typing
from collections.abc import Iterator

import msgspec


def _inner(kind: object) -> tuple[type[msgspec.Struct], str] | None:
    """The table below a member, and what stands in its path for the names of a table of tables."""
    if isinstance(kind, type) and issubclass(kind, msgspec.Struct):
        return kind, ""
    if typing.get_origin(kind) is dict:
        value = typing.get_args(kind)[1]
        if isinstance(value, type) and issubclass(value, msgspec.Struct):
            return value, ".*"
    return None


def _walk(kind: type[msgspec.Struct], prefix: str) -> Iterator[tuple[str, bool]]:
    for field in msgspec.structs.fields(kind):
        inner = _inner(field.type)
        if inner is None:
            yield prefix + field.encode_name, False
        else:
            place = f"{prefix}{field.encode_name}{inner[1]}"
            yield place, True
            yield from _walk(inner[0], f"{place}.")


def keys(kind: type[msgspec.Struct]) -> list[str]:
    """Dotted paths of every value, `*` for the names of a table of tables."""
    return [path for path, table in _walk(kind, "") if not table]


def tables(kind: type[msgspec.Struct]) -> list[str]:
    """Dotted paths of every table, the root as an empty one."""
    return ["", *(path for path, table in _walk(kind, "") if table)]
