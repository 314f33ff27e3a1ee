"""Fresh identifiers and secrets from the system's generator. It refuses to know what they name."""

from binascii import b2a_base64
from os import urandom
from typing import Final

RANDOM_BYTES: Final = 16
"""128 bits: above the 120 that the port asks for."""
_CHARACTERS: Final = 22
"""What base64 needs for them; the padding behind says nothing."""
_URL_SAFE: Final = bytes.maketrans(b"+/", b"-_")


class RandomIds:
    """Unguessable ids (`lictor.ports.Ids`)."""

    __slots__ = ()

    def new(self, prefix: str) -> str:
        """`<prefix>_<22 URL-safe characters>`."""
        text = b2a_base64(urandom(RANDOM_BYTES), newline=False)[:_CHARACTERS].translate(_URL_SAFE)
        return f"{prefix}_{text.decode()}"
