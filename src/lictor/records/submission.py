"""What a log sends to a witness and what comes back: C2SP tlog-witness, as bytes.

It refuses to know HTTP and who believes what. Reading is strict on both sides.
"""

import re
from base64 import b64encode
from dataclasses import dataclass
from typing import Final, Self

from lictor.records.merkle import HASH_SIZE, MAX_SIZE
from lictor.records.note import MAX_TEXT, Signature, damaged, exact_base64, read_note, read_signature

MAX_PROOF: Final = 63
"""Most hashes of a consistency proof (tlog-witness, "add-checkpoint")."""
MAX_BODY: Final = 4 * MAX_TEXT + 64 * (MAX_PROOF + 1)
"""Most bytes of one submission: every character of a note may take four."""
SIZE_TYPE: Final = "text/x.tlog.size"

_OLD = re.compile(r"old (0|[1-9][0-9]{0,18})", re.ASCII)
_SIZE = re.compile(rb"(0|[1-9][0-9]{0,18})\n")


@dataclass(frozen=True, slots=True)
class Submission:
    """A checkpoint, and the proof that it continues the one the witness has.

    Attributes:
        old: size of the checkpoint that the witness has; 0: none.
        proof: consistency proof from `old` to the new size, 32 bytes each.
        note: the new checkpoint as signed.
    """

    old: int
    proof: tuple[bytes, ...]
    note: str

    def body(self) -> bytes:
        """As sent."""
        hashes = "".join(f"{b64encode(one).decode()}\n" for one in self.proof)
        return f"old {self.old}\n{hashes}\n{self.note}".encode()

    @classmethod
    def read(cls, body: bytes) -> Self:
        """As received.

        Raises:
            StoreError: `log_damaged`: it is not in the form of the specification.
        """
        if len(body) > MAX_BODY:
            raise damaged(f"a submission has at most {MAX_BODY} bytes")
        try:
            text = body.decode()
        except UnicodeDecodeError:
            raise damaged("a submission is not utf-8") from None
        head, blank, note = text.partition("\n\n")
        first, *lines = head.split("\n")
        old = _OLD.fullmatch(first)
        if not blank or old is None or int(old[1]) > MAX_SIZE:
            raise damaged(f"a submission begins with the old size: {first!r:.80}")
        if len(lines) > MAX_PROOF:
            raise damaged(f"a consistency proof has at most {MAX_PROOF} lines, not {len(lines)}")
        read_note(note)
        return cls(int(old[1]), tuple(map(_hash, lines)), note)


def _hash(line: str) -> bytes:
    raw = exact_base64(line)
    if raw is None or len(raw) != HASH_SIZE:
        raise damaged(f"not a hash: {line!r:.80}")
    return raw


def read_cosignatures(body: bytes) -> tuple[Signature, ...]:
    """The signature lines a witness answered with. None of them is verified.

    Raises:
        StoreError: `log_damaged`: something else.
    """
    try:
        text = body.decode()
    except UnicodeDecodeError:
        raise damaged("a witness's answer is not utf-8") from None
    if not text.endswith("\n") or len(text) > MAX_TEXT:
        raise damaged(f"not signature lines: {text!r:.80}")
    return tuple(map(read_signature, text[:-1].split("\n")))


def read_size(body: bytes) -> int:
    """The size of the checkpoint that a witness has, from an answer of status 409.

    Raises:
        StoreError: `log_damaged`: something else.
    """
    found = _SIZE.fullmatch(body)
    if found is None or int(found[1]) > MAX_SIZE:
        raise damaged(f"not a tree size: {body!r:.80}")
    return int(found[1])
