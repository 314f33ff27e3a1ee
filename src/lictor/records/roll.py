"""Rolls: one signature over many stored checkpoints, so that verifying a log need not check each of theirs.

A log signs a checkpoint with every commit; checking hundreds of thousands of Ed25519 signatures takes far longer than hashing the
entries they cover. A roll is a signed note of the same key that says: the checkpoints stored from this size to that one are, byte
for byte, those with this digest. A verifier that finds it true has the key holder's word for each of them; one that does not, or
has no roll, checks each by itself. So a roll only ever spares work; a forged, damaged or missing one vouches for nothing.

Its text is no checkpoint's: the second line is not a number. Refuses to know where rolls and checkpoints are kept.
"""

import re
from base64 import b64encode
from collections.abc import Iterable
from dataclasses import dataclass
from hashlib import sha256
from typing import Final

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from lictor.records.checkpoint import LogKeys, VerifierKey, open_note, sign_note
from lictor.records.merkle import HASH_SIZE
from lictor.records.note import damaged, exact_base64

EVERY: Final = 2_048
"""A commit that reaches a multiple of so many entries writes the roll of the checkpoints before it."""
MOST: Final = 2 * EVERY
"""Most checkpoints in one roll: what a verifier keeps at a time."""

_HEAD = re.compile(r"checkpoints (0|[1-9][0-9]{0,18}) (0|[1-9][0-9]{0,18}) ([1-9][0-9]{0,18})", re.ASCII)


@dataclass(frozen=True, slots=True)
class Roll:
    """What a roll says.

    Attributes:
        origin: the log's.
        first: size of the first checkpoint.
        last: size of the last one.
        count: how many.
        digest: SHA-256 over each text's length (4 bytes, big-endian, of its UTF-8 form) and bytes.
    """

    origin: str
    first: int
    last: int
    count: int
    digest: bytes

    def signed(self, signer: Ed25519PrivateKey) -> str:
        """The signed note."""
        text = f"{self.origin}\ncheckpoints {self.first} {self.last} {self.count}\n{b64encode(self.digest).decode()}\n"
        return sign_note(text, self.origin, signer)


def digest_of(texts: Iterable[str]) -> bytes:
    """SHA-256 over stored checkpoints, in order, each with its length before it."""
    parts: list[bytes] = []
    for text in texts:
        data = text.encode("utf-8", "surrogatepass")  # a damaged store may hand out anything
        parts += (len(data).to_bytes(4, "big"), data)
    return sha256(b"".join(parts)).digest()


def open_roll(text: str, keys: LogKeys) -> Roll:
    """Read and verify a roll. Of a log whose key changed: one that spans a change is of no single key, and vouches for nothing.

    Raises:
        StoreError: `log_damaged`: malformed in any way, of another log, or not signed by the key of all its checkpoints.
    """
    key = keys if isinstance(keys, VerifierKey) else keys.at(_stated_last(text))
    lines = open_note(text, key).split("\n")
    found = _HEAD.fullmatch(lines[1]) if len(lines) == 4 else None
    digest = exact_base64(lines[2]) if found is not None else None
    if found is None or digest is None or len(digest) != HASH_SIZE or lines[0] != key.name:
        raise damaged("not a roll of this log's checkpoints")
    first, last, count = map(int, found.groups())
    if not (first <= last and count <= MOST):
        raise damaged("a roll of checkpoints has no sense")
    if keys.at(first) != key:
        raise damaged(f"a roll of sizes {first} to {last} spans a change of the log's key")
    return Roll(lines[0], first, last, count, digest)


def _stated_last(text: str) -> int:
    """Chooses who must have signed; -1: it states no size, and no key makes it valid."""
    lines = text.split("\n", 2) if type(text) is str else []
    found = _HEAD.fullmatch(lines[1]) if len(lines) == 3 else None
    return int(found[2]) if found is not None else -1
