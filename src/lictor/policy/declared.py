"""Names of arguments that definitions declare. Whoever reviewed a definition has read them; all others are a model's words."""

from collections.abc import Iterable, Mapping
from typing import Any, Final

MAX_NAME: Final = 64
"""Longer ones are sentences."""


def declared_names(definitions: Iterable[Mapping[str, Any]]) -> frozenset[str]:
    """Of tools the properties of their input schemas, at any depth; of prompts their arguments."""
    found: set[Any] = set()
    for definition in definitions:
        found.update(_properties(definition.get("inputSchema")))
        found.update(_listed(definition.get("arguments")))
    return frozenset(name for name in found if isinstance(name, str) and 0 < len(name) <= MAX_NAME)


def _listed(arguments: Any) -> Iterable[Any]:
    for one in arguments if isinstance(arguments, list) else ():
        if isinstance(one, dict):
            yield str(one.get("name", ""))


def _properties(schema: Any) -> Iterable[str]:
    todo = [schema]
    while todo:
        match todo.pop():
            case dict() as one:
                if isinstance(one.get("properties"), dict):
                    yield from one["properties"]
                todo.extend(one.values())
            case list() as several:
                todo.extend(several)
            case _:
                pass
