"""Keyed digests of values: the log can say "this value again" and never which value.

The key is derived from the sealing key of the root task, so that erasing that key leaves digests nobody can compute any more.
"""

from binascii import b2a_base64
from collections.abc import Iterable
from hashlib import blake2b
from typing import Final

DIGEST_BYTES: Final = 12
"""96 bits: two values of one task meet by chance never, and a row's key stays short."""
_KEY_BYTES: Final = 32
_PURPOSE: Final = b"lictor/origin/1"
_URL_SAFE: Final = bytes.maketrans(b"+/", b"-_")
"""From base64 to its URL-safe form (RFC 4648, 5)."""

Found = tuple[str, str]
"""(kind, form) of one value."""


def origin_key(sealing_key: bytes) -> bytes:
    """The digest key of a tree of tasks, from the sealing key of its root (BLAKE2b as a keyed PRF, RFC 7693 2.9)."""
    return blake2b(_PURPOSE, key=sealing_key, digest_size=_KEY_BYTES).digest()


def value_digest(key: bytes, found: Found) -> str:
    """The digest of one value: 16 characters of URL-safe base64. Kinds are kept apart."""
    kind, form = found
    data = f"{kind}\0{form}".encode("utf-8", "surrogatepass")
    digest = b2a_base64(blake2b(data, key=key, digest_size=DIGEST_BYTES).digest(), newline=False)
    return digest.translate(_URL_SAFE).decode("ascii")


def value_digests(key: bytes, found: Iterable[Found]) -> tuple[str, ...]:
    """The digests of many values, in their order."""
    return tuple(value_digest(key, one) for one in found)
