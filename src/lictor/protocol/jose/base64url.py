"""Base64url without padding (RFC 7515 2), one spelling for each value. Refuses to know what is encoded.

The decoders of the standard library skip what they do not know and ignore spare bits: one token would have many spellings.
"""

import re
from base64 import urlsafe_b64decode, urlsafe_b64encode
from typing import Final

_ALPHABET: Final = re.compile(r"[A-Za-z0-9_-]*", re.ASCII)


def encode(data: bytes) -> str:
    """Base64url without padding."""
    return urlsafe_b64encode(data).rstrip(b"=").decode("ascii")


def decode(text: str) -> bytes | None:
    """The bytes, or None for anything but their one spelling: other characters, padding, spare bits that are not zero."""
    if len(text) % 4 == 1 or _ALPHABET.fullmatch(text) is None:
        return None
    data = urlsafe_b64decode(text + "=" * (-len(text) % 4))
    return data if encode(data) == text else None
