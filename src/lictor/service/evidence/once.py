"""Has this id been seen before? What was it lately? In memory that does not grow, for logs of any length.

Refuses to know what ids are of. `SeenIds` is a Bloom filter: "no" is certain, "perhaps" is wrong for one id in a million after
ten million records. Whoever asks looks those up (`consistency` reads the log a second time for them).
"""

from typing import Final, Generic, TypeVar

T = TypeVar("T")
_BITS: Final = 1 << 28
_MASK: Final = _BITS - 1
_PROBES: Final = range(6)


class Recent(Generic[T]):
    """The newest so many things by name, at least; twice as many at most. Each costs the same, however many there were."""

    __slots__ = ("_most", "_old", "_young")

    def __init__(self, most: int) -> None:
        self._most = most
        self._young: dict[str, T] = {}
        self._old: dict[str, T] = {}

    def add(self, name: str, value: T) -> None:
        """Remember it; the older half of all goes when there is no room."""
        if len(self._young) >= self._most:
            self._old, self._young = self._young, {}
        self._young[name] = value

    def get(self, name: str) -> T | None:
        """What was remembered under a name."""
        found = self._young.get(name)
        return self._old.get(name) if found is None else found


class SeenIds:
    """32 MB, whatever goes in."""

    __slots__ = ("_bits",)

    def __init__(self) -> None:
        self._bits = bytearray(_BITS >> 3)

    def add(self, name: str) -> bool:
        """Note an id; whether it was perhaps there already."""
        bits = self._bits
        mixed = hash(name)
        at, step = mixed & _MASK, (mixed >> 28) | 1
        before = True
        for _ in _PROBES:
            byte, bit = at >> 3, 1 << (at & 7)
            value = bits[byte]
            if not value & bit:
                before = False
                bits[byte] = value | bit
            at = (at + step) & _MASK
        return before
