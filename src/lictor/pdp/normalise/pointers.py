"""JSON pointers into arguments. Refuses to know what stands there."""

from collections.abc import Iterator
from typing import Any, Final

from lictor.model.errors import CallerError
from lictor.model.reasons import Reason

MISSING: Final = object()
"""No JSON value: what a pointer that names nothing gives."""
MAX_VALUES: Final = 256
"""Values one selector reads of one call; more are refused."""


def point(document: Any, pointer: str) -> Any:
    """The value a JSON pointer (RFC 6901) names, or a private marker that is no JSON value."""
    value = document
    for token in pointer.split("/")[1:]:
        name = token.replace("~1", "/").replace("~0", "~") if "~" in token else token
        if isinstance(value, dict) and name in value:
            value = value[name]
        elif isinstance(value, list) and name.isascii() and name.isdigit() and int(name) < len(value):
            value = value[int(name)]
        else:
            return MISSING
    return value


def values(document: Any, pointers: tuple[str, ...], reason: Reason) -> list[tuple[str, Any]]:
    """Every value that the pointers name, each with the pointer to just it.

    A single plain pointer must name something. Of several, or behind a `*`, one may name nothing (an absent or null member), but
    something must be there. Anything in the way that is not an object or, at a `*`, not an array is refused: the selector was
    written for arguments of another form, and what it would miss nobody would judge.

    Raises:
        CallerError: with `reason`.
    """
    if len(pointers) == 1 and "*" not in pointers[0]:
        value = point(document, pointers[0])
        if value is MISSING:
            raise CallerError(reason, "the argument is missing", where=pointers[0])
        return [(pointers[0], value)]
    found = [item for pointer in pointers for item in _walk(document, pointer.split("/")[1:], "", pointer, reason)]
    if not found:
        raise CallerError(reason, "none of the arguments is there", where=pointers[0] if pointers else "")
    if len(found) > MAX_VALUES:
        raise CallerError(reason, f"more than {MAX_VALUES} values", where=pointers[0])
    return found


def _walk(value: Any, tokens: list[str], at: str, pointer: str, reason: Reason) -> Iterator[tuple[str, Any]]:
    if not tokens:
        if value is not None:
            yield at, value
        return
    step, rest = tokens[0], tokens[1:]
    if value is None:
        return
    if step == "*":
        if not isinstance(value, list):
            raise CallerError(reason, "the argument is not an array", where=pointer)
        for index, item in enumerate(value):
            if item is None:
                raise CallerError(reason, "an item is null", where=f"{at}/{index}")
            yield from _walk(item, rest, f"{at}/{index}", pointer, reason)
        return
    name = step.replace("~1", "/").replace("~0", "~")
    if isinstance(value, list) and name.isascii() and name.isdigit():
        value = {name: value[int(name)]} if len(name) < 8 and int(name) < len(value) else {}
    if not isinstance(value, dict):
        raise CallerError(reason, "the argument is not an object", where=pointer)
    if name in value:
        yield from _walk(value[name], rest, f"{at}/{step}", pointer, reason)
