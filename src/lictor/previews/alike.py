"""Whether one name could be taken for another that is trusted. For warnings only: nothing is decided by it. Pure."""

from collections.abc import Iterable
from typing import Final

from lictor.protocol.confusables import skeleton

MAX_COMPARED: Final = 2_000
_SHORT: Final = 5
_SWAPS: Final = str.maketrans({"0": "o", "1": "l", "5": "s", "i": "l", "_": "-"})
_PAIRS: Final = (("rn", "m"), ("vv", "w"), ("cl", "d"))


def alike(name: str, trusted: Iterable[str]) -> str:
    """The first trusted name that a hurried reader could take this one for; empty for none, and where it is that name."""
    plain = _hurried(name)
    for count, other in enumerate(trusted):
        if count >= MAX_COMPARED:
            return ""
        if other == name:
            continue
        if plain == _hurried(other) or (len(other) > _SHORT and _one_apart(name, other)):
            return other
    return ""


def _hurried(name: str) -> str:
    text = skeleton(name)
    for pair, single in _PAIRS:
        text = text.replace(pair, single)
    return text.translate(_SWAPS)


def _one_apart(one: str, other: str) -> bool:
    """One letter more, less or other, or two neighbours exchanged."""
    if abs(len(one) - len(other)) > 1:
        return False
    head = 0
    while head < min(len(one), len(other)) and one[head] == other[head]:
        head += 1
    rest, rests = one[head:], other[head:]
    swapped = len(rest) > 1 and rest[:2] == rests[1::-1] and rest[2:] == rests[2:]
    return swapped or rest[1:] == rests[1:] or rest[1:] == rests or rest == rests[1:]
