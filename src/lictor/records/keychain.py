"""The keys of one log, one after the other: how a key hands over to the next, and which of them signs at which size.

A hand-over is a statement that both keys sign: the log's name, its size, the root of everything before, and the two keys. The
old key's signature says who comes after it, and commits to the log up to here; the new key's says that its holder has it, and who
came before. So whoever was given any one key of a log finds all the others, forwards and backwards, and trusts only that one.

The statement is the record `privilege.log_key_changed` at the place it names. The checkpoint that first covers it is still the
old key's; every larger one is the new key's. What this cannot show: that somebody who has the old key cut the log off *before* a
hand-over and went on. That is seen by whoever was given a later key, and against a checkpoint or a witness of after it.

Refuses to know where statements are kept. Its text is no checkpoint's: the second line is not a number.
"""

import re
from base64 import b64encode
from bisect import bisect_left
from collections.abc import Iterable
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Final, Self

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from lictor.model.errors import LictorError
from lictor.model.record import LogKeyChanged
from lictor.records.checkpoint import Checkpoint, LogKeys, VerifierKey, open_note
from lictor.records.merkle import HASH_SIZE
from lictor.records.note import MAX_TEXT, Note, Signature, damaged, exact_base64

MAX_CHANGES: Final = 1_000
"""Most hand-overs read of one log: one a day for years, and a bound on what a hostile export makes a verifier do."""

_HEAD = re.compile(r"key (0|[1-9][0-9]{0,17})", re.ASCII)
_LINES: Final = 6


@dataclass(frozen=True, slots=True)
class Handover:
    """One key's place taken by another. One that was read is signed by both; nothing else is ever made.

    Attributes:
        before: the tree head of everything before the record of it; its size is the record's number.
        old: signs up to and including the checkpoint that first covers the record.
        new: signs every larger one.
        note: the statement with both signatures.
    """

    before: Checkpoint
    old: VerifierKey
    new: VerifierKey
    note: str

    @classmethod
    def sign(cls, before: Checkpoint, old: Ed25519PrivateKey, new: Ed25519PrivateKey) -> Self:
        """Make one.

        Raises:
            StoreError: `log_damaged`: the two keys cannot be told apart by their short ids; take another new one.
        """
        was, comes = VerifierKey.of(before.origin, old), VerifierKey.of(before.origin, new)
        _check_apart(was, comes)
        text = _text(before, was, comes)
        data = text.encode()
        lines = (
            Signature(was.name, was.key_id(), old.sign(data)),
            Signature(comes.name, comes.key_id(), new.sign(data)),
        )
        return cls(before, was, comes, Note(text, lines).whole())

    @classmethod
    def read(cls, note: str) -> Self:
        """Take a statement apart and verify both signatures. Whether the old key was the log's is for `KeyChain.through`.

        Raises:
            StoreError: `log_damaged`: malformed in any way, or not signed by both keys that it names.
        """
        lines = note.split("\n", _LINES) if type(note) is str and len(note) <= MAX_TEXT else []
        found = _HEAD.fullmatch(lines[1]) if len(lines) > _LINES - 1 else None
        root = exact_base64(lines[2]) if found is not None else None
        if found is None or root is None or len(root) != HASH_SIZE:
            raise damaged("not a statement that a log's key changed")
        before = Checkpoint(lines[0], int(found[1]), root)
        old, new = _key(lines[3]), _key(lines[4])
        _check_apart(old, new)
        text = _text(before, old, new)
        # Unsigned text only chose the keys; both must have signed exactly what is written from what was read.
        if open_note(note, old) != text or open_note(note, new) != text or not old.name == new.name == before.origin:
            raise damaged("a statement that the key changed is not of the keys and the log it names")
        return cls(before, old, new, note)

    @classmethod
    def recorded(cls, record: LogKeyChanged, seq: int) -> Self:
        """The statement of a record, which must say no more than it and stand where it says.

        Raises:
            StoreError: `log_damaged`: it does not.
        """
        found = cls.read(record.statement)
        if (record.old, record.new, record.size) != (found.old.text(), found.new.text(), found.before.size):
            raise damaged(f"the record {seq} of a change of key says something else than its statement")
        if found.before.size != seq:
            raise damaged(f"the change of key at {found.before.size} stands at {seq}")
        return found

    def record(self, by: str, why: str = "") -> LogKeyChanged:
        """What goes into the log."""
        return LogKeyChanged(
            old=self.old.text(),
            new=self.new.text(),
            size=self.before.size,
            statement=self.note,
            by=by,
            why=why,
        )


@dataclass(frozen=True, slots=True)
class KeyChain:
    """All keys of a log, in order: a `LogKeys`. Made by `through`, which alone says why they may be relied on.

    Attributes:
        first: signs from the beginning.
        changes: in order; empty while the log has its first key.
    """

    first: VerifierKey
    changes: tuple[Handover, ...] = ()
    _sizes: tuple[int, ...] = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "_sizes", tuple(one.before.size + 1 for one in self.changes))

    @classmethod
    def through(cls, key: LogKeys, changes: Iterable[Handover]) -> Self:
        """The chain of these hand-overs that a key which is trusted stands in; the numbers are the checks.

        1. They are not too many, and each is after the one before.
        2. Each old key is the new one of before, and no key comes twice.
        3. The trusted key is one of them; of a chain that is trusted, all of it.

        Raises:
            StoreError: `log_damaged`: one of them does not hold.
        """
        found = tuple(changes)
        if len(found) > MAX_CHANGES or any(a.before.size >= b.before.size for a, b in pairwise(found)):  # 1
            raise damaged("the changes of the log's key are not in order, or too many")
        if any(a.new != b.old for a, b in pairwise(found)):  # 2
            raise damaged("a key was handed over that did not sign the log")
        trusted = key.keys if isinstance(key, KeyChain) else (key.at(0),)
        chain = cls(found[0].old if found else trusted[0], found)
        if len({one.key_id() for one in chain.keys}) != len(chain.keys):
            raise damaged("a key of the log comes back that was handed over before")
        if not set(trusted) <= set(chain.keys):  # 3
            raise damaged(f"the key {trusted[-1].text()!r:.120} is none that this log was signed with")
        return chain

    @property
    def name(self) -> str:
        """The log's origin."""
        return self.first.name

    @property
    def keys(self) -> tuple[VerifierKey, ...]:
        """Every key, the first one first."""
        return (self.first, *(one.new for one in self.changes))

    @property
    def last(self) -> VerifierKey:
        """The one in force."""
        return self.changes[-1].new if self.changes else self.first

    def spans(self) -> tuple[tuple[VerifierKey, int], ...]:
        """Each key, and the number of the record that put it in force; of the first, 0."""
        return ((self.first, 0), *((one.new, one.before.size) for one in self.changes))

    def at(self, size: int) -> VerifierKey:
        """See `LogKeys`."""
        if not self._sizes:
            return self.first
        place = bisect_left(self._sizes, size)
        return self.changes[place - 1].new if place else self.first

    def heads(self) -> tuple[Checkpoint, ...]:
        """The tree heads that old keys committed to: each must be a prefix of the log, like an anchor."""
        return tuple(one.before for one in self.changes)

    def places(self) -> frozenset[int]:
        """Where the records of the changes stand."""
        return frozenset(one.before.size for one in self.changes)

    def text(self) -> str:
        """Every statement, one behind the other, as `read_statements` reads them; empty while there is one key."""
        return "\n".join(one.note for one in self.changes)


def read_statements(text: str) -> list[Handover]:
    """Statements as `KeyChain.text` writes them.

    Raises:
        StoreError: `log_damaged`: one is malformed or not signed; or there are too many.
    """
    parts = text.split("\n\n") if text else []
    if len(parts) % 2 or len(parts) > 2 * MAX_CHANGES:
        raise damaged("not a list of statements that a log's key changed")
    last = len(parts) - 1
    ends = [part if at == last else f"{part}\n" for at, part in enumerate(parts)]
    return [Handover.read(f"{parts[at]}\n\n{ends[at + 1]}") for at in range(0, len(parts), 2)]


def key_in(key: VerifierKey | str, chain: KeyChain) -> bool:
    """Whether it is one of the log's."""
    wanted = VerifierKey.parse(key) if isinstance(key, str) else key
    return wanted in chain.keys


def _text(before: Checkpoint, old: VerifierKey, new: VerifierKey) -> str:
    root = b64encode(before.root).decode()
    return f"{before.origin}\nkey {before.size}\n{root}\n{old.text()}\n{new.text()}\n"


def _key(text: str) -> VerifierKey:
    try:
        return VerifierKey.parse(text)
    except LictorError as error:
        raise damaged(f"a statement that the key changed names no key: {text!r:.80}") from error


def _check_apart(old: VerifierKey, new: VerifierKey) -> None:
    if old.key_id() == new.key_id():
        raise damaged("the new key of a log cannot be told from the old one")
