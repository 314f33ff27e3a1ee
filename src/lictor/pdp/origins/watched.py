"""The watched arguments of one action: which values they have, and their forms. Refuses to know where the values come from."""

import re
from collections.abc import Mapping
from typing import Any, Final

from lictor.model.action import ActionRequest
from lictor.model.catalog import Watch
from lictor.pdp.once import Once
from lictor.pdp.origins.forms import form_of

MAX_ITEMS: Final = 1_000
"""Values of one watched argument; more have no form."""
_SEPARATORS: Final = re.compile(r"[,;]")
_LONGEST_INDEX: Final = 6
_TOP: Final = re.compile(r"/[A-Za-z0-9_-]+", re.ASCII)
"""A pointer to a member of the arguments whose name stands as it is."""
_ODD: Final = object()
"""Something that is no value of any kind."""


Forms = Mapping[str, tuple[str | None, ...]]
"""Of every watched argument, by its name."""
_ONCE: Final = Once[Forms]()


def forms_once(request: ActionRequest, watched: Mapping[str, Watch]) -> Forms:
    """`forms_of` every watched argument of its catalogue entry, worked out once for an action: gathering and deciding ask."""
    return _ONCE.of((request.digest,), (watched,), lambda: _forms(request, watched))


def _forms(request: ActionRequest, watched: Mapping[str, Watch]) -> Forms:
    arguments = request.arguments.open()
    return {name: forms_of(one, arguments) for name, one in watched.items()}


def forms_of(watch: Watch, arguments: dict[str, Any]) -> tuple[str | None, ...]:
    """The form of every value of a watched argument, None for one without; empty when the argument is absent.

    An array gives every item, at any depth; null is absent. Of addresses one string may hold several, cut at `,` and `;`, which
    no plain address contains. Anything in the way of the pointer that it was not written for is a value without form.
    """
    items: list[Any] = []
    # A text at the top, under a plain name, is nearly every watched argument there is.
    one = arguments.get(watch.pointer[1:])
    if type(one) is str and _TOP.fullmatch(watch.pointer):
        items.append(one)
    else:
        _walk(arguments, watch.pointer.split("/")[1:], items)
    if len(items) > MAX_ITEMS:
        return (None,)
    if watch.kind == "email":
        items = [part for item in items for part in _addresses(item)]
    return tuple([form_of(watch.kind, item) for item in items])


def _walk(value: Any, steps: list[str], items: list[Any]) -> None:
    waiting: list[tuple[Any, int]] = [(value, 0)]
    while waiting and len(items) <= MAX_ITEMS:
        one, at = waiting.pop()
        if one is None:
            continue
        step = steps[at].replace("~1", "/").replace("~0", "~") if at < len(steps) else None
        if isinstance(one, list):
            # With or without `*`: every item is a value, so an array never hides behind a pointer to one value.
            named = step is not None and step.isdigit() and step.isascii() and len(step) <= _LONGEST_INDEX
            chosen = one[int(step) : int(step) + 1] if named and step is not None else one
            after = at + (named or step == "*")
            waiting.extend((item, after) for item in reversed(chosen))
        elif step is None:
            items.append(one)
        elif isinstance(one, dict):
            if step in one:
                waiting.append((one[step], at + 1))
        else:
            items.append(_ODD)


def _addresses(item: Any) -> list[Any]:
    return [part.strip() for part in _SEPARATORS.split(item)] if isinstance(item, str) else [item]
