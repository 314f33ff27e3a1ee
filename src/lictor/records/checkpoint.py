"""Signed tree heads: C2SP tlog-checkpoint in a C2SP signed-note, Ed25519.

It refuses to know where keys and checkpoints are kept: a signer is handed in. Reading is strict: one text for one
meaning, so that no bit of a stored checkpoint can change unnoticed. Where the specification leaves room we take the
narrow side: no extension lines, and the key's name is the log's origin.
"""

import re
from base64 import b64encode
from dataclasses import dataclass
from functools import lru_cache
from typing import Final, Protocol, Self

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

from lictor.model.errors import OperatorError
from lictor.model.reasons import Reason
from lictor.records.merkle import HASH_SIZE, MAX_SIZE
from lictor.records.note import (
    Note,
    Signature,
    damaged,
    exact_base64,
    is_name,
    key_id_of,
    key_text,
    read_key_text,
    read_note,
)

_ED25519: Final = b"\x01"
_PUBLIC_SIZE: Final = 32
_SIGNATURE_SIZE: Final = 64
_DECIMAL = re.compile(r"0|[1-9][0-9]{0,18}", re.ASCII)


def _bad_key(message: str) -> OperatorError:
    return OperatorError(Reason.CONFIG_REFUSED, message, remedy="copy the log's verifier key again: name+hash+key")


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """A tree head.

    Attributes:
        origin: the log's identity; no white space, no `+`.
        size: number of entries.
        root: 32-byte RFC 6962 root at that size.

    Raises:
        StoreError: `log_damaged`: a member is out of its range.
    """

    origin: str
    size: int
    root: bytes

    def __post_init__(self) -> None:
        if not is_name(self.origin):
            raise damaged(f"not a log origin: {self.origin!r:.80}")
        if not 0 <= self.size <= MAX_SIZE:
            raise damaged(f"not a tree size: {self.size!r:.80}")
        if len(self.root) != HASH_SIZE:
            raise damaged(f"a root has {HASH_SIZE} bytes, not {len(self.root)}")

    def body(self) -> str:
        """The note text that is signed (tlog-checkpoint, "Note text")."""
        return f"{self.origin}\n{self.size}\n{b64encode(self.root).decode()}\n"


class LogKeys(Protocol):
    """Who signs a log's checkpoints: one key (`VerifierKey`), or one after the other (`records.keychain.KeyChain`)."""

    @property
    def name(self) -> str:
        """The log's origin; every key has it."""
        ...

    def at(self, size: int) -> "VerifierKey":
        """Who must have signed a checkpoint of this size. Never raises; below 0: the first."""
        ...


@dataclass(frozen=True, slots=True)
class VerifierKey:
    """Who may sign a log's checkpoints: a name (the log's origin) and a raw 32-byte Ed25519 public key."""

    name: str
    public: bytes

    def __post_init__(self) -> None:
        if not is_name(self.name):
            raise _bad_key(f"not a key name: {self.name!r:.80}")
        if len(self.public) != _PUBLIC_SIZE:
            raise _bad_key(f"an ed25519 public key has {_PUBLIC_SIZE} bytes, not {len(self.public)}")

    @classmethod
    def of(cls, name: str, signer: Ed25519PrivateKey) -> Self:
        """The verifier key that belongs to a signer."""
        return cls(name, signer.public_key().public_bytes_raw())

    @classmethod
    def parse(cls, text: str) -> Self:
        """Read `name+hash+base64(0x01 || public key)`.

        Raises:
            OperatorError: `config_refused`: not such a string, another algorithm, or the hash is not the key's.
        """
        found = read_key_text(text, _ED25519)
        if found is None:
            raise _bad_key(f"not an ed25519 verifier key: {text!r:.120}")
        name, public, claimed = found
        key = cls(name, public)
        if key.key_id().hex() != claimed:
            raise _bad_key(f"the hash in the verifier key does not belong to it: {text!r:.120}")
        return key

    def key_id(self) -> bytes:
        """SHA-256(name || 0x0A || 0x01 || public key)[:4] (signed-note, "Ed25519 signatures")."""
        return key_id_of(self.name, _ED25519, self.public)

    def at(self, size: int) -> Self:  # noqa: ARG002 - see `LogKeys`
        """Itself: a log whose key never changed is signed by it at every size."""
        return self

    def text(self) -> str:
        """`name+hash+base64(0x01 || public key)`: what `parse` reads."""
        return key_text(self.name, _ED25519, self.public)


def sign_note(text: str, name: str, signer: Ed25519PrivateKey) -> str:
    """A signed note: text (ending in a newline), a blank line, one signature line."""
    signature = Signature(name, _own_key_id(name, signer), signer.sign(text.encode()))
    return Note(text, (signature,)).whole()


@lru_cache(maxsize=4)
def _own_key_id(name: str, signer: Ed25519PrivateKey) -> bytes:
    """Kept: a log signs every group of records with the one key it has."""
    return VerifierKey.of(name, signer).key_id()


def sign_checkpoint(checkpoint: Checkpoint, signer: Ed25519PrivateKey) -> str:
    """The checkpoint as a signed note; the key's name is the origin. Ed25519 is deterministic: equal in, equal out."""
    return sign_note(checkpoint.body(), checkpoint.origin, signer)


def open_note(note: str, key: VerifierKey) -> str:
    """The text of a note, once the key's signature over it is verified. Lines of other keys (witnesses) are ignored.

    Raises:
        StoreError: `log_damaged`: malformed, not signed by this key, or signed wrongly.
    """
    found = read_note(note)
    key_id = key.key_id()
    own = [one.value for one in found.signatures if one.name == key.name and one.key_id == key_id]
    if len(own) != 1:
        raise damaged(f"the checkpoint has {len(own)} signatures of {key.name!r}, not one")
    _verify(own[0], found.text, key)
    return found.text


def _verify(signature: bytes, text: str, key: VerifierKey) -> None:
    if len(signature) != _SIGNATURE_SIZE:
        raise damaged(f"an ed25519 signature has {_SIGNATURE_SIZE} bytes, not {len(signature)}")
    try:
        Ed25519PublicKey.from_public_bytes(key.public).verify(signature, text.encode())
    except (InvalidSignature, ValueError) as error:
        raise damaged(f"the signature of {key.name!r} is not valid") from error


def open_checkpoint(text: str, verifier_key: LogKeys | str) -> Checkpoint:
    """Read and verify a signed checkpoint.

    Args:
        text: as signed.
        verifier_key: of the log; of several, the one that signed at the size it states must have signed it, and no other counts.

    Raises:
        OperatorError: `config_refused`: the verifier key is none.
        StoreError: `log_damaged`: malformed in any way, another origin than the key's name, not signed by it.
    """
    key = VerifierKey.parse(verifier_key) if isinstance(verifier_key, str) else verifier_key
    if not isinstance(key, VerifierKey):
        key = key.at(_stated_size(text))  # only chooses who must have signed; that key's signature covers the size
    # Signature first: nothing of an unsigned text is interpreted (signed-note: "MUST be ignored unless ...").
    found = read_head(open_note(text, key))
    if found.origin != key.name:
        raise damaged(f"the checkpoint is of log {found.origin!r:.80}, the key of {key.name!r}")
    return found


def _stated_size(text: str) -> int:
    """-1: it states none; then no key makes it valid."""
    lines = text.split("\n", 2) if type(text) is str else []
    return int(lines[1]) if len(lines) == 3 and _DECIMAL.fullmatch(lines[1]) else -1


def read_head(text: str, *, extensions: bool = False) -> Checkpoint:
    """The tree head that a note's text states.

    Args:
        text: the text, without signatures.
        extensions: whether lines may follow that mean something to others (tlog-checkpoint); ours have none.

    Raises:
        StoreError: `log_damaged`: it states none.
    """
    lines = text.split("\n")
    if len(lines) < 4 or lines[-1] or (len(lines) > 4 and not extensions) or "" in lines[3:-1]:
        raise damaged("a checkpoint has three lines: origin, size, root")
    origin, size, root = lines[:3]
    if _DECIMAL.fullmatch(size) is None or int(size) > MAX_SIZE:
        raise damaged(f"not a tree size: {size!r:.80}")
    raw = exact_base64(root)
    if raw is None or len(raw) != HASH_SIZE:
        raise damaged(f"not a root hash: {root!r:.80}")
    return Checkpoint(origin, int(size), raw)
