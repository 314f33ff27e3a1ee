"""Signed notes (C2SP signed-note): a text, and lines that say who signed it.

It refuses to know what a text means and how a signature is verified. Reading is strict: one text for one meaning, so that no bit
of a stored note can change unnoticed.
"""

import re
from base64 import b64decode, b64encode
from binascii import Error as Base64Error
from hashlib import sha256
from typing import Final, NamedTuple, Never

from lictor.model.errors import StoreError
from lictor.model.reasons import Reason

MAX_TEXT: Final = 64 * 1024
"""Largest note read, in characters: 16 post-quantum cosignatures of 5 kB would still not fill it twice over."""
MAX_SIGNATURES: Final = 64
"""Most signature lines read (signed-note: at least 16 must be accepted)."""
MAX_NAME: Final = 255
"""Longest name of a key or a log, in characters."""
KEY_ID_SIZE: Final = 4

_NAME = re.compile(r"[^\s+\x00-\x20\x7f-\x9f]+")
_CONTROL = re.compile(r"[\x00-\x09\x0b-\x1f]")
_DASH: Final = "\u2014 "


class Signature(NamedTuple):
    """One signature line, well-formed even when its key is unknown."""

    name: str
    key_id: bytes
    """4 bytes; says which key of that name."""
    value: bytes
    """What follows the key id; never empty."""

    def line(self) -> str:
        """As it stands in a note, with its newline."""
        return f"{_DASH}{self.name} {b64encode(self.key_id + self.value).decode()}\n"


class Note(NamedTuple):
    """A note taken apart. Nothing of it is verified."""

    text: str
    """What is signed; ends in a newline."""
    signatures: tuple[Signature, ...]

    def whole(self) -> str:
        """The note as text."""
        return f"{self.text}\n{''.join(one.line() for one in self.signatures)}"


def damaged(message: str) -> StoreError:
    """The error for whatever is not as it must be."""
    return StoreError(Reason.LOG_DAMAGED, message)


def is_name(text: str) -> bool:
    """Whether a text can name a key or a log: no white space, no `+`, nothing invisible."""
    return len(text) <= MAX_NAME and _NAME.fullmatch(text) is not None and text.isprintable()


def exact_base64(text: str) -> bytes | None:
    """Standard base64 of RFC 4648 section 4, canonical only: re-encoding gives the same text. None when it is not."""
    try:
        data = b64decode(text, validate=True)
    except (Base64Error, ValueError):
        return None
    return data if b64encode(data).decode() == text else None


def key_id_of(name: str, kind: bytes, public: bytes) -> bytes:
    """SHA-256(name || 0x0A || kind || public key)[:4] (signed-note, "Signatures"); `kind` is one byte."""
    return sha256(name.encode() + b"\n" + kind + public).digest()[:KEY_ID_SIZE]


def key_text(name: str, kind: bytes, public: bytes) -> str:
    """A verifier key as people pass it on: `name+hash+base64(kind || public key)`."""
    return f"{name}+{key_id_of(name, kind, public).hex()}+{b64encode(kind + public).decode()}"


def read_key_text(text: str, kind: bytes) -> tuple[str, bytes, str] | None:
    """Name, public key and claimed hash of a verifier key; None: it is none of this kind. Nothing of them is checked."""
    name, _, rest = text.partition("+")
    claimed, _, encoded = rest.partition("+")
    raw = exact_base64(encoded)
    return None if raw is None or raw[:1] != kind else (name, raw[1:], claimed)


def read_note(note: str) -> Note:
    """Take a note apart.

    Raises:
        StoreError: `log_damaged`: it is malformed, or longer than the limits above.
    """
    if type(note) is not str or len(note) > MAX_TEXT:
        _refuse(note)
    head, blank, tail = note.rpartition("\n\n")
    if not blank or not head or not tail.endswith("\n"):
        _refuse(note)
    # signed-note allows no control character but the newline; lone surrogates are not UTF-8.
    if _CONTROL.search(note) or not _is_utf8(note):
        raise damaged("a signed note holds a control character or is not utf-8")
    lines = tail[:-1].split("\n")
    if len(lines) > MAX_SIGNATURES:
        raise damaged(f"a signed note has {len(lines)} signatures; {MAX_SIGNATURES} are read")
    return Note(head + "\n", tuple(map(read_signature, lines)))


def read_signature(line: str) -> Signature:
    """One signature line, without its newline.

    Raises:
        StoreError: `log_damaged`: it is none.
    """
    name, space, encoded = line.removeprefix(_DASH).partition(" ")
    raw = exact_base64(encoded)
    if not line.startswith(_DASH) or not space or not is_name(name) or raw is None or len(raw) <= KEY_ID_SIZE:
        raise damaged(f"not a signature line: {line!r:.120}")
    return Signature(name, raw[:KEY_ID_SIZE], raw[KEY_ID_SIZE:])


def _refuse(note: object) -> Never:
    raise damaged(f"not a signed note: {note!r:.80}")


def _is_utf8(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True
