"""A confirmed counterexample made smaller: what can be left out of sets and optional members while the engine still confirms it.

Refuses to know claims: it is handed the test.
"""

import copy
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any, Final

from lictor.policy.prove.request import Asked

_MOST: Final = 200
"""Tries; each is two evaluations at most."""


def shrink(requests: tuple[Asked, ...], confirms: Callable[[tuple[Asked, ...]], bool]) -> tuple[Asked, ...]:
    """Leave out list elements, the same in every request, as long as `confirms` says yes.

    A label's family is kept as long as the label is (`facts.families`).
    """
    tries = 0
    for path, item in _items(requests):
        if tries >= _MOST:
            break
        smaller = tuple(replace(one, context=_without(one.context, path, item)) for one in requests)
        if any(_orphans(one.context, path, item) for one in smaller):
            continue
        tries += 1
        if confirms(smaller):
            requests = smaller
    return requests


def _items(requests: tuple[Asked, ...]) -> list[tuple[tuple[str, ...], Any]]:
    found: list[tuple[tuple[str, ...], Any]] = []
    for one in requests:
        for pair in _walk(one.context, ()):
            if pair not in found:
                found.append(pair)
    return sorted(found, key=lambda pair: (pair[0], -len(str(pair[1]))))


def _walk(value: Any, path: tuple[str, ...]) -> Iterator[tuple[tuple[str, ...], Any]]:
    for name, item in value.items():
        if isinstance(item, dict) and not any(key.startswith("__") for key in item):
            yield from _walk(item, (*path, name))
        elif isinstance(item, list):
            yield from (((*path, name), element) for element in item)


def _list(context: Any, path: tuple[str, ...]) -> list[Any]:
    for name in path:
        context = context.get(name) if isinstance(context, dict) else None
    return context if isinstance(context, list) else []


def _without(context: Any, path: tuple[str, ...], item: Any) -> Any:
    changed = copy.deepcopy(context)
    found = _list(changed, path)
    if item in found:
        found.remove(item)
    return changed


def _orphans(context: Any, path: tuple[str, ...], item: Any) -> bool:
    return isinstance(item, str) and any(
        isinstance(other, str) and other.startswith(item + ":") for other in _list(context, path)
    )
