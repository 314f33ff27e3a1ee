"""The stored checkpoints of a log as a cursor: signed, or vouched for by a roll, and strictly growing.

What does not grow, is malformed or is signed by nobody becomes a finding on the way. Streams; at most one roll's worth of them is
kept. It refuses to know the entries: whether a root is theirs is asked by who walks over them (`records.verify`).
"""

from base64 import b64encode
from collections.abc import Iterable, Iterator
from typing import Final, NamedTuple, cast

from lictor.model.errors import LictorError
from lictor.records.checkpoint import LogKeys, open_checkpoint
from lictor.records.findings import FindingKind, Findings
from lictor.records.roll import Roll, digest_of, open_roll

_ROOT: Final = 44
"""Characters of a root in base64."""
_DIGITS: Final = 20
"""More than a size can have."""
_END: Final = object()


class Head(NamedTuple):
    """What is needed of a checkpoint whose signature, or whose roll's, was checked."""

    size: int
    root: str
    """In base64, as it is stored: it is compared as text."""


def size_of(text: object) -> int:
    """Of a stored checkpoint, as far as it can be read; -1 when it cannot: what is wrong with it is found elsewhere."""
    if type(text) is not str:
        return -1
    size = text.split("\n", 2)[1:2]
    return int(size[0]) if size and size[0].isascii() and size[0].isdigit() and len(size[0]) < _DIGITS else -1


def vouched_for(
    texts: Iterable[str], rolls: Iterable[str], keys: LogKeys, findings: Findings
) -> Iterator[tuple[str, bool]]:
    """Stored checkpoints, each with whether a roll vouches for it. Keeps one roll's worth of them at a time."""
    stored: Iterator[str | object] = iter(texts)
    ahead = next(stored, _END)
    for roll in true_rolls(rolls, keys, findings):
        while ahead is not _END and size_of(ahead) < roll.first:
            yield cast("str", ahead), False
            ahead = next(stored, _END)
        found: list[str] = []
        while ahead is not _END and size_of(ahead) <= roll.last and len(found) <= roll.count:
            found.append(cast("str", ahead))
            ahead = next(stored, _END)
        vouched = len(found) == roll.count and digest_of(found) == roll.digest
        if not vouched:
            message = (
                f"the {roll.count} checkpoints of sizes {roll.first} to {roll.last} are not those that were stored"
            )
            findings.add(FindingKind.ROLL, roll.first, message)
        for text in found:
            yield text, vouched
    while ahead is not _END:
        yield cast("str", ahead), False
        ahead = next(stored, _END)


def true_rolls(rolls: Iterable[str], keys: LogKeys, findings: Findings) -> Iterator[Roll]:
    """Those that can be relied on; what is wrong with others is found on the way."""
    last = -1
    for text in rolls:
        try:
            roll = open_roll(text, keys)
        except LictorError as error:
            findings.add(FindingKind.ROLL, last + 1, f"the roll of checkpoints from size {last + 1}: {error}")
            continue
        if roll.first > last:
            last = roll.last
            yield roll
        else:
            findings.add(FindingKind.ROLL, roll.first, f"a roll from size {roll.first} stands behind one to {last}")


class Heads:
    """The cursor. `current` is the checkpoint to be compared next; `last` the newest that is valid."""

    def __init__(self, texts: Iterator[tuple[str, bool]], keys: LogKeys, findings: Findings) -> None:
        self._texts = texts
        self._keys = keys
        self._findings = findings
        self.read = 0
        self.current: Head | None = None
        self.last: Head | None = None
        self.advance()

    def advance(self) -> None:
        """Step to the next larger checkpoint; `current` is None at the end."""
        self.current = None
        while self.current is None:
            try:
                text, vouched = next(self._texts)
            except StopIteration:
                return
            except LictorError as error:
                self._findings.add(FindingKind.UNREADABLE, self.read, f"reading checkpoints: {error}")
                return
            self._take(text, vouched=vouched)
            self.read += 1

    def _take(self, text: str, *, vouched: bool) -> None:
        try:
            head = self._vouched(text) if vouched else None
            if head is None:
                opened = open_checkpoint(text, self._keys)
                head = Head(opened.size, b64encode(opened.root).decode())
        except LictorError as error:
            self._findings.add(FindingKind.CHECKPOINT, self.read, f"checkpoint {self.read}: {error}")
            return
        last = self.last
        if last is None or head.size > last.size:
            self.current = self.last = head
        elif head.size < last.size:
            message = f"checkpoint {self.read} of size {head.size} stands behind one of size {last.size}"
            self._findings.add(FindingKind.ORDER, head.size, message)
        elif head.root != last.root:
            message = f"two signed checkpoints of size {head.size} have different roots"
            self._findings.add(FindingKind.FORK, head.size, message)

    def _vouched(self, text: str) -> Head | None:
        """A checkpoint whose very bytes the holder of the key has signed for; None: it has to be read strictly.

        The root is not decoded: what is not exactly the base64 of the entries' root is not their root.
        """
        lines = text.split("\n", 4)
        if len(lines) != 5 or lines[0] != self._keys.name or len(lines[2]) != _ROOT or lines[3]:
            return None
        size = lines[1]
        fits = size.isascii() and size.isdigit() and len(size) < _DIGITS
        return Head(int(size), lines[2]) if fits else None
