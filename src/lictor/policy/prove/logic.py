"""Truth and text for the solver: connectives that fold constants, and strings that mean what they say.

A truth is Python's `True` or `False` where it is known already, else a formula; so a policy that cannot match costs nothing.
Refuses to know policies.
"""

import re
from collections.abc import Iterable
from typing import Any, Final

import z3

from lictor.policy.prove.unsupported import Unsupported

Truth = Any
"""`bool`, or a Boolean formula."""
MAX_LONG: Final = 2**63 - 1
MIN_LONG: Final = -(2**63)
_LAST_CHARACTER: Final = 0x2FFFF
_ESCAPED: Final = re.compile(r"\\u\{([0-9a-fA-F]{1,6})\}|\\u([0-9a-fA-F]{4})|\\x([0-9a-fA-F]{2})")


def every(parts: Iterable[Truth]) -> Truth:
    """Conjunction."""
    kept = []
    for part in parts:
        if part is False:
            return False
        if part is not True:
            kept.append(part)
    return True if not kept else kept[0] if len(kept) == 1 else _joined(z3.Z3_mk_and, kept)


def some(parts: Iterable[Truth]) -> Truth:
    """Disjunction."""
    kept = []
    for part in parts:
        if part is True:
            return True
        if part is not False:
            kept.append(part)
    return False if not kept else kept[0] if len(kept) == 1 else _joined(z3.Z3_mk_or, kept)


def _joined(make: Any, parts: list[Any]) -> Any:
    """`z3.And` and `z3.Or` without their look at each argument's sort, which costs ten times the rest."""
    context = z3.main_ctx()
    asts = (z3.Ast * len(parts))(*(part.as_ast() for part in parts))
    return z3.BoolRef(make(context.ref(), len(parts), asts), context)


def negate(part: Truth) -> Truth:
    """Negation."""
    return not part if isinstance(part, bool) else z3.Not(part)


def same(one: Any, other: Any) -> Truth:
    """Equality of two values of one sort; either may be a Python constant."""
    if isinstance(one, bool):
        return (one is other) if isinstance(other, bool) else (other if one else negate(other))
    if isinstance(other, bool):
        return same(other, one)
    if not isinstance(one, int) and not isinstance(other, int) and one.eq(other):
        return True
    return one == other


def choose(condition: Truth, one: Any, other: Any) -> Any:
    """`if condition then one else other`."""
    if isinstance(condition, bool):
        return one if condition else other
    return z3.If(condition, one, other)


def in_range(value: Any) -> Truth:
    """Whether an integer fits 64 bits."""
    return every((value >= MIN_LONG, value <= MAX_LONG))


def text(value: str) -> Any:
    r"""A string constant.

    The solver reads escapes in what it is given, so each backslash is written as one; characters above U+2FFFF it silently takes
    for their escape's text (facts 8.5).

    Raises:
        Unsupported: a character the solver has none for.
    """
    if any(ord(letter) > _LAST_CHARACTER for letter in value):
        raise Unsupported("a character above U+2FFFF")
    return z3.StringVal(value.replace("\\", "\\u{5c}"))


def read_text(value: Any) -> str:
    r"""A string of a model, its escapes (`\u{1f600}`) taken back."""
    return _ESCAPED.sub(lambda found: chr(int(found[1] or found[2] or found[3], 16)), value.as_string())
