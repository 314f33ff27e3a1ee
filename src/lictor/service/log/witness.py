"""A witness: cosigns a log's checkpoint when it continues the one it cosigned before, and never otherwise (C2SP tlog-witness).

It keeps one checkpoint a log. What it has signed is durable before anybody sees the signature, so that no crash lets it sign a
fork. Refuses to know HTTP and files; says nothing about what a log contains.
"""

import threading
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from hashlib import sha256
from typing import Final, Protocol

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from lictor.model.errors import StoreError
from lictor.ports import Clock
from lictor.records.checkpoint import Checkpoint, VerifierKey, open_note, read_head
from lictor.records.cosign import WitnessKey, cosign, cosigned_at, with_cosignature
from lictor.records.merkle import EMPTY_ROOT, verify_consistency
from lictor.records.note import Note, damaged, read_note
from lictor.records.submission import SIZE_TYPE, Submission

PLAIN: Final = "text/plain; charset=utf-8"


class Kept(Protocol):
    """Where a witness keeps what it has cosigned."""

    def latest(self, origin: str) -> str | None:
        """The newest checkpoint of a log, with this witness's signature; None: none was ever cosigned.

        Raises:
            StoreError: it cannot be read: nothing may be cosigned.
        """
        ...

    def keep(self, origin: str, note: str) -> None:
        """Replace it, durably: when this returns, it survives a power cut.

        Raises:
            StoreError: it is not kept.
        """
        ...

    def accuse(self, origin: str, note: str) -> None:
        """Keep a signed checkpoint that contradicts the newest one: evidence against the log. Bounded; the first ones stay.

        Raises:
            StoreError: it is not kept.
        """
        ...


@dataclass(frozen=True, slots=True)
class Answer:
    """What to send back."""

    status: int
    body: str = ""
    media: str = PLAIN


class Witness:
    """One witness. Thread-safe; nobody else may use the same `kept` at the same time."""

    def __init__(
        self,
        name: str,
        signer: Ed25519PrivateKey,
        logs: Mapping[str, VerifierKey | Sequence[VerifierKey]],
        kept: Kept,
        clock: Clock,
    ) -> None:
        """Begin.

        Args:
            name: of the witness.
            signer: its key, used for nothing else.
            logs: whose checkpoints it cosigns, by origin. Of one whose key was changed, its keys, in their order.
            kept: what it has cosigned.
            clock: for the time in its signatures.
        """
        self.key = WitnessKey.of(name, signer)
        self._signer = signer
        self._logs = {origin: _in_order(keys) for origin, keys in logs.items()}
        self._by_hash = {sha256(origin.encode()).hexdigest(): origin for origin in logs}
        self._kept = kept
        self._clock = clock
        self._lock = threading.Lock()

    def add(self, body: bytes) -> Answer:
        """`add-checkpoint`. The numbers are the steps, in the order of the specification's statuses.

        1. The form (400).
        2. A log that is known (404).
        3. A signature of that log (403); of its keys, not one before the key of the newest checkpoint cosigned.
        4. An old size that is not larger than the new one (400), and is that of the newest checkpoint cosigned (409).
        5. Consistency with it (422); what was signed and does not fit is kept as evidence.
        6. Durable, then answered.

        Raises:
            StoreError: what was cosigned before cannot be read or replaced; nothing is cosigned.
        """
        try:
            asked = Submission.read(body)  # 1
            head = read_head(read_note(asked.note).text, extensions=True)
        except StoreError as error:
            return _refuse(400, error)
        keys = self._logs.get(head.origin)
        if keys is None:
            return Answer(404, "this log is not known here\n")  # 2
        place = _signer(asked.note, keys)
        try:
            text = open_note(asked.note, keys[max(0, place)])  # 3
        except StoreError as error:
            return _refuse(403, error)
        if asked.old > head.size:
            return Answer(400, "the old size is larger than the new one\n")  # 4
        with self._lock:
            seen, seen_at, before = self._seen(head.origin, keys)
            if place < before:  # whoever was given the old key goes on with the log, or makes another of it
                if head.size > seen.size:
                    self._kept.accuse(head.origin, asked.note)
                return Answer(403, "signed by a key that has handed over to another\n")
            return self._grown(asked, head, text, seen, seen_at)

    def _grown(self, asked: Submission, head: Checkpoint, text: str, seen: Checkpoint, seen_at: int) -> Answer:
        if asked.old != seen.size:
            if head.size == seen.size and head.root != seen.root:
                self._kept.accuse(head.origin, asked.note)
            return Answer(409, f"{seen.size}\n", SIZE_TYPE)
        try:
            verify_consistency(seen.size, seen.root, head.size, head.root, asked.proof)  # 5
        except StoreError as error:
            self._kept.accuse(head.origin, asked.note)
            return _refuse(422, error)
        now_s = self._clock.now_ms() // 1_000
        if now_s < seen_at:
            return Answer(503, "the clock of this witness is behind its own last signature\n")
        line = cosign(text, self.key.name, self._signer, now_s)
        # Other lines of the note are not ours to vouch for: kept are the log's and our own.
        own = Note(text, tuple(one for one in read_note(asked.note).signatures if one.name == head.origin)).whole()
        self._kept.keep(head.origin, with_cosignature(own, line))  # 6
        return Answer(200, line.line())

    def _seen(self, origin: str, keys: Sequence[VerifierKey]) -> tuple[Checkpoint, int, int]:
        """The newest checkpoint cosigned, when, in seconds, and the place of the key that signed it; of none, the empty log.

        Raises:
            StoreError: what is kept is not what this witness signed.
        """
        note = self._kept.latest(origin)
        if note is None:
            return Checkpoint(origin, 0, EMPTY_ROOT), 0, -1
        found = read_note(note)
        at = cosigned_at(found, self.key)
        head = read_head(found.text, extensions=True)
        if at is None or head.origin != origin:
            raise damaged(f"what is kept of {origin!r:.100} is not what this witness cosigned")
        return head, at, _signer(note, keys)

    def newest(self, origin_hash: str) -> str | None:
        """The newest cosigned checkpoint of the log whose origin has this SHA-256 (hex); None: there is none.

        Raises:
            StoreError: it cannot be read.
        """
        origin = self._by_hash.get(origin_hash)
        return None if origin is None else self._kept.latest(origin)


def _in_order(keys: VerifierKey | Sequence[VerifierKey]) -> tuple[VerifierKey, ...]:
    return (keys,) if isinstance(keys, VerifierKey) else tuple(keys)


def _signer(note: str, keys: Sequence[VerifierKey]) -> int:
    """The last of the keys whose line is in a note; -1: none has one. Nothing is verified."""
    lines = {(one.name, one.key_id) for one in read_note(note).signatures}
    return max((place for place, key in enumerate(keys) if (key.name, key.key_id()) in lines), default=-1)


def _refuse(status: int, error: StoreError) -> Answer:
    return Answer(status, f"{error.message}\n")
