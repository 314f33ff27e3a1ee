"""Fresh identifiers and secrets from the system's generator. It refuses to know what they name."""

import secrets
from typing import Final

RANDOM_BYTES: Final = 16
"""128 bits: above the 120 that the port asks for."""


class RandomIds:
    """Unguessable ids (`lictor.ports.Ids`)."""

    __slots__ = ()

    def new(self, prefix: str) -> str:
        """`<prefix>_<22 URL-safe characters>`."""
        return f"{prefix}_{secrets.token_urlsafe(RANDOM_BYTES)}"
