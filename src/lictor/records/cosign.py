"""What witnesses say of a log: C2SP tlog-cosignature, the Ed25519 form `cosignature/v1`.

A cosignature states that its signer, somebody else than the log, has seen no other version of the log up to this checkpoint. So a
rewrite by whoever holds the log's own key is found. It refuses to know how witnesses are reached and what they keep.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final, Self

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

from lictor.model.errors import OperatorError, StoreError
from lictor.model.reasons import Reason
from lictor.records.checkpoint import Checkpoint, LogKeys, open_checkpoint
from lictor.records.note import Note, Signature, damaged, is_name, key_id_of, key_text, read_key_text, read_note

MAX_TIME_S: Final = 2**63 - 1

_COSIGNATURE_V1: Final = b"\x04"
_PUBLIC_SIZE: Final = 32
_TIME_SIZE: Final = 8
_SIZE: Final = _TIME_SIZE + 64
# Points of small order: under such a key a signature can be made by anybody (RFC 8032 section 8.9 leaves them to the reader).
_FIELD: Final = 2**255 - 19
_SMALL_ORDER: Final = frozenset(
    int.from_bytes(bytes.fromhex(one), "little")
    for one in (
        "0000000000000000000000000000000000000000000000000000000000000000",
        "0100000000000000000000000000000000000000000000000000000000000000",
        "ecffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
        "26e8958fc2b227b045c3f489f2ef98f0d5dfac05d3c63339b13802886d53fc05",
        "c7176a703d4dd84fba3c0b760d10670f2a2053fa2c39ccc64ec7fd7792ac037a",
    )
)
"""Their y coordinates, as encoded."""


def _bad_key(message: str) -> OperatorError:
    return OperatorError(Reason.CONFIG_REFUSED, message, remedy="copy the witness's verifier key again: name+hash+key")


def is_sound_public(raw: bytes) -> bool:
    """Whether 32 bytes can be trusted as an Ed25519 public key: canonical, and no point of small order."""
    y = int.from_bytes(raw, "little") & (2**255 - 1)
    return len(raw) == _PUBLIC_SIZE and y < _FIELD and y not in _SMALL_ORDER


@dataclass(frozen=True, slots=True)
class WitnessKey:
    """Who cosigns: a name, and a raw 32-byte Ed25519 public key used for nothing else (tlog-cosignature)."""

    name: str
    public: bytes

    def __post_init__(self) -> None:
        if not is_name(self.name):
            raise _bad_key(f"not a key name: {self.name!r:.80}")
        if not is_sound_public(self.public):
            raise _bad_key(f"not an ed25519 public key that can be trusted: {self.public.hex()!r:.80}")

    @classmethod
    def of(cls, name: str, signer: Ed25519PrivateKey) -> Self:
        """The verifier key that belongs to a signer."""
        return cls(name, signer.public_key().public_bytes_raw())

    @classmethod
    def parse(cls, text: str) -> Self:
        """Read `name+hash+base64(0x04 || public key)`.

        Raises:
            OperatorError: `config_refused`: not such a string, another algorithm, or the hash is not the key's.
        """
        found = read_key_text(text, _COSIGNATURE_V1)
        if found is None:
            raise _bad_key(f"not the verifier key of a witness (cosignature/v1): {text!r:.120}")
        name, public, claimed = found
        key = cls(name, public)
        if key.key_id().hex() != claimed:
            raise _bad_key(f"the hash in the verifier key does not belong to it: {text!r:.120}")
        return key

    def key_id(self) -> bytes:
        """SHA-256(name || 0x0A || 0x04 || public key)[:4] (tlog-cosignature, "Format")."""
        return key_id_of(self.name, _COSIGNATURE_V1, self.public)

    def text(self) -> str:
        """`name+hash+base64(0x04 || public key)`: what `parse` reads."""
        return key_text(self.name, _COSIGNATURE_V1, self.public)


def message(text: str, time_s: int) -> bytes:
    """What is signed: the text of the note behind two lines that no other signature begins with."""
    return f"cosignature/v1\ntime {time_s}\n{text}".encode()


def cosign(text: str, name: str, signer: Ed25519PrivateKey, time_s: int) -> Signature:
    """A witness's signature on the text of a checkpoint.

    Args:
        text: the note's text, extension lines included.
        name: of the witness.
        signer: its key.
        time_s: seconds since the epoch, from 1 on: zero stands for a statement without a time.

    Raises:
        StoreError: `log_damaged`: not such a time.
    """
    if not 0 < time_s <= MAX_TIME_S:
        raise damaged(f"not a time to cosign at: {time_s!r:.40}")
    return cosigned_with(text, WitnessKey.of(name, signer), time_s, signer.sign(message(text, time_s)))


def cosigned_with(text: str, key: WitnessKey, time_s: int, signature: bytes) -> Signature:
    """The signature line for what somebody else has signed with a witness's key: 64 bytes over `message(text, time_s)`.

    Raises:
        StoreError: `log_damaged`: it is not that key's signature.
    """
    line = Signature(key.name, key.key_id(), time_s.to_bytes(_TIME_SIZE, "big") + signature)
    if cosigned_at(Note(text, (line,)), key) is None:
        raise damaged(f"nothing is cosigned by {key.name!r}")
    return line


def cosigned_at(note: Note, key: WitnessKey) -> int | None:
    """When a witness cosigned a note, in seconds since the epoch; None: it did not.

    Raises:
        StoreError: `log_damaged`: a line bears the witness's name and key id, and is not its signature (signed-note: such a note
            is malformed), or there are two.
    """
    own = [one.value for one in note.signatures if one.name == key.name and one.key_id == key.key_id()]
    if not own:
        return None
    if len(own) > 1:
        raise damaged(f"the checkpoint has {len(own)} signatures of witness {key.name!r}")
    value = own[0]
    time_s = int.from_bytes(value[:_TIME_SIZE], "big")
    if len(value) != _SIZE or not 0 < time_s <= MAX_TIME_S:
        raise damaged(f"not a cosignature: of witness {key.name!r}")
    try:
        Ed25519PublicKey.from_public_bytes(key.public).verify(value[_TIME_SIZE:], message(note.text, time_s))
    except (InvalidSignature, ValueError) as error:
        raise damaged(f"the cosignature of {key.name!r} is not valid") from error
    return time_s


@dataclass(frozen=True, slots=True)
class Witnessed:
    """A checkpoint that its log signed and witnesses cosigned.

    Attributes:
        checkpoint: the tree head.
        times: when each witness cosigned it, in seconds since the epoch, by the witness's name.
    """

    checkpoint: Checkpoint
    times: dict[str, int]


def open_witnessed(note: str, log: LogKeys, witnesses: Iterable[WitnessKey]) -> Witnessed:
    """Read a checkpoint that must bear the log's signature and those of all these witnesses.

    Raises:
        StoreError: `log_damaged`: malformed, another log's, or one of the signatures is not there or not valid.
    """
    checkpoint = open_checkpoint(note, log)
    parsed = read_note(note)
    times = {}
    for key in witnesses:
        time_s = cosigned_at(parsed, key)
        if time_s is None:
            raise damaged(f"the checkpoint of size {checkpoint.size} is not cosigned by witness {key.name!r}")
        times[key.name] = time_s
    return Witnessed(checkpoint, times)


def with_cosignature(note: str, line: Signature) -> str:
    """A note with one more signature line; a line of the same key is replaced, so that none is there twice.

    Raises:
        StoreError: `log_damaged`: the note is malformed.
    """
    found = read_note(note)
    others = tuple(one for one in found.signatures if (one.name, one.key_id) != (line.name, line.key_id))
    return Note(found.text, (*others, line)).whole()


def merged(notes: Iterable[str]) -> str:
    """Notes of one text as one note with all their signatures; the first of a key stands.

    Raises:
        StoreError: `log_damaged`: none is given, one is malformed, or their texts differ.
    """
    parsed = [read_note(one) for one in notes]
    if not parsed or any(one.text != parsed[0].text for one in parsed):
        raise StoreError(Reason.LOG_DAMAGED, "signatures of different checkpoints cannot stand under one")
    lines: dict[tuple[str, bytes], Signature] = {}
    for one in parsed:
        for line in one.signatures:
            lines.setdefault((line.name, line.key_id), line)
    return Note(parsed[0].text, tuple(lines.values())).whole()
