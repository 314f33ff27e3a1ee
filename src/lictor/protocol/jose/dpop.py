"""A DPoP proof (RFC 9449 4.2, 4.3): read, checked against the request, bound to its key. Remembering it is somebody else's work.

The key comes from the proof's own header, which is safe only because it proves nothing but itself: what counts is that its
thumbprint is the one a verified token is bound to.
"""

import hashlib
from typing import Any, Final
from urllib.parse import urlsplit

import msgspec

from lictor.protocol.jose.algs import DEFAULT_ALGS
from lictor.protocol.jose.base64url import encode
from lictor.protocol.jose.compact import UnverifiedJws, read_jws
from lictor.protocol.jose.header import check_header
from lictor.protocol.jose.keys import Key, UnusableKeyError, read_public_key
from lictor.protocol.jose.refusing import refuse
from lictor.protocol.jose.signature import check_signature

MAX_AGE_S: Final = 60
"""A proof is made for one request; a minute covers clocks that differ and slow lines."""
MAX_AHEAD_S: Final = 10
"""How far the client's clock may be in front."""
_MIN_JTI: Final = 8
_MAX_JTI: Final = 256
_TYPES: Final = frozenset({"dpop+jwt"})
_DEFAULT_PORTS: Final = {"http": 80, "https": 443}


class PossessionProof(msgspec.Struct, frozen=True):
    """A proof that holds for this request, if it has not been used before."""

    thumbprint: str
    """RFC 7638 of its key, base64url."""
    jti: str
    until_ms: int
    """From then on it would be refused for its age; until then it must be remembered."""


def read_proof(
    unverified: str, *, method: str, url: str, token: str, now_ms: int, in_body: bool = False
) -> PossessionProof:
    """Check a proof in the order of RFC 9449 4.3.

    Args:
        unverified: the `DPoP` header's one value.
        method: of the request, as received.
        url: of the request as clients call it, scheme and host included; query and fragment do not matter.
        token: the access token that goes with it; empty: none does (a token endpoint), and the proof must not claim one.
        now_ms: milliseconds since the epoch.
        in_body: the token is a parameter of a token request and not its authorisation, so the proof need not name it (5).

    Raises:
        CallerError: `unauthenticated`, `alg_not_allowed`, `crit_not_understood`.
    """
    jws = read_jws(unverified)
    key = _verified_key(jws)
    claims = jws.claims
    jti = claims.get("jti")
    if not isinstance(jti, str) or not _MIN_JTI <= len(jti) <= _MAX_JTI:
        refuse(f"the proof's jti is no text of {_MIN_JTI} to {_MAX_JTI} characters")
    if claims.get("htm") != method:
        refuse("the proof is for another method")
    stated, meant = claims.get("htu"), comparable_url(url)
    if not isinstance(stated, str) or meant is None or comparable_url(stated) != meant:
        refuse("the proof is for another url")
    issued = _issued_ms(claims, now_ms)
    _check_token(claims, "" if in_body and "ath" not in claims else token)
    return PossessionProof(key.thumbprint, jti, issued + MAX_AGE_S * 1_000)


def _verified_key(jws: UnverifiedJws) -> Key:
    alg, _ = check_header(jws.header, algs=DEFAULT_ALGS, types=_TYPES, jwk=True)
    document = jws.header.get("jwk")
    if not isinstance(document, dict):
        refuse("the proof has no key")
    try:
        key = read_public_key(document)
    except UnusableKeyError as error:
        refuse(f"the proof's key cannot be used: {error}")
    check_signature(jws, key, alg)
    return key


def _issued_ms(claims: dict[str, Any], now_ms: int) -> int:
    issued = claims.get("iat")
    if type(issued) not in {int, float} or not 0 <= issued < 2**40:  # type: ignore[operator]
        refuse("the proof does not say when it was made")
    at_ms = int(issued * 1_000)  # type: ignore[operator]
    if not now_ms - MAX_AGE_S * 1_000 < at_ms <= now_ms + MAX_AHEAD_S * 1_000:
        refuse("the proof was not made just now")
    return at_ms


def _check_token(claims: dict[str, Any], token: str) -> None:
    """`ath` binds a proof to its token, so that a proof made for one is worth nothing with another (RFC 9449 4.2)."""
    expected = encode(hashlib.sha256(token.encode("ascii", "replace")).digest()) if token else None
    if claims.get("ath") != expected or ("ath" in claims) != bool(token):
        refuse("the proof is for another token")


def comparable_url(url: str) -> str | None:
    """A URL as `htu` is compared: scheme and host in lower case, no default port, no query, no fragment (RFC 3986 6.2.2, 6.2.3).

    Paths are compared as they stand. None where two readers could differ: a user, a backslash, blanks, controls, not ASCII.
    """
    if not url.isascii() or not url.isprintable() or any(char in url for char in " \\"):
        return None
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError:
        return None
    host = parts.hostname
    if parts.scheme not in _DEFAULT_PORTS or not host or "@" in parts.netloc:
        return None
    shown = f"[{host}]" if ":" in host else host
    place = "" if port in {None, _DEFAULT_PORTS[parts.scheme]} else f":{port}"
    return f"{parts.scheme}://{shown}{place}{parts.path or '/'}"
