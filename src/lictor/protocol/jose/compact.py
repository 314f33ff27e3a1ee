"""A compact JWS (RFC 7515 7.1) taken apart, strictly, before anything is trusted or any library is asked.

Refuses to know keys. Everything that comes out is the sender's claim until `signature.check` has said otherwise.
"""

import re
from typing import Any, Final

import msgspec

from lictor.model.errors import CallerError
from lictor.model.limits import Limits
from lictor.protocol.jose.base64url import decode
from lictor.protocol.jose.refusing import refuse
from lictor.protocol.json import read

MAX_TOKEN: Final = 16 * 1024
"""Characters. Tokens with many groups reach 8 KiB; what is longer is not hashed, decoded or looked at."""
_HEADER_BYTES: Final = 4096
_LIMITS: Final = Limits(json_depth=12, json_members=2_000, key_bytes=1_024)
_SHAPE: Final = re.compile(r"[A-Za-z0-9_-]+\.[A-Za-z0-9_-]+\.[A-Za-z0-9_-]+", re.ASCII)


class UnverifiedJws(msgspec.Struct, frozen=True):
    """The parts of a token. Nothing here has been verified."""

    header: dict[str, Any]
    claims: dict[str, Any]
    signing_input: bytes
    signature: bytes


def read_jws(unverified_token: str) -> UnverifiedJws:
    """Take a token apart: exactly three base64url parts, header and claims JSON objects by our strict reader.

    Raises:
        CallerError: `unauthenticated`: too long, unsigned (empty third part), encrypted (five parts), nested (claims that are
            not an object), padding, blanks, duplicate keys, depth, numbers beyond 2^53 (RFC 7515 5.2, RFC 8725 3.11).
    """
    if len(unverified_token) > MAX_TOKEN:
        refuse(f"a token has at most {MAX_TOKEN} characters")
    if _SHAPE.fullmatch(unverified_token) is None:
        refuse("a token is three base64url parts with dots between them, without padding, signed and not encrypted")
    signed, _, signature = unverified_token.rpartition(".")
    header, _, payload = signed.partition(".")
    return UnverifiedJws(
        header=_object(header, "header", _HEADER_BYTES),
        claims=_object(payload, "payload", MAX_TOKEN),
        signing_input=signed.encode("ascii"),
        signature=_bytes(signature, "signature"),
    )


def _bytes(part: str, what: str) -> bytes:
    data = decode(part)
    if data is None:
        refuse(f"the token's {what} is not base64url")
    return data


def _object(part: str, what: str, most: int) -> dict[str, Any]:
    try:
        value = read(_bytes(part, what), _LIMITS, max_bytes=most).value
    except CallerError as error:
        refuse(f"the token's {what} is not acceptable JSON ({error.reason})")
    if not isinstance(value, dict):
        refuse(f"the token's {what} is not an object")
    return value
