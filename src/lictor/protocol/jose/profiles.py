"""What is asked of each kind of token beyond the common rules. Refuses to know settings.

| profile | types | issuer | own rules |
|---|---|---|---|
| `jwt` | none, `JWT`, `at+jwt` (RFC 9068) | `iss` | `cnf` understood or refused |
| `jwt_svid` | none, `JWT`, `JOSE` | trust domain of `sub` | `sub` is a workload of it; never for others too (JWT-SVID 3, 4) |
| `private_key_jwt` | none, `JWT`, `client-authentication+jwt` | `iss` = `sub` = client | `jti`, once; `exp` short (RFC 7523 3) |
"""

from collections.abc import Collection
from typing import Any, Final

import msgspec

from lictor.model.identity import How
from lictor.protocol.jose.algs import Alg
from lictor.protocol.jose.base64url import decode
from lictor.protocol.jose.claims import ClaimRules, Times, check_claims
from lictor.protocol.jose.compact import UnverifiedJws
from lictor.protocol.jose.header import check_header
from lictor.protocol.jose.keys import KeySet
from lictor.protocol.jose.refusing import refuse
from lictor.protocol.jose.signature import check_signature
from lictor.protocol.jose.spiffe import workload_id

MAX_ASSERTION_S: Final = 300
"""A client makes an assertion for one request; every one is remembered until it has expired."""
_MAX_JTI: Final = 256
_SHA256: Final = 32
_TYPES: Final[dict[How, frozenset[str]]] = {
    "jwt": frozenset({"", "jwt", "at+jwt"}),
    "jwt_svid": frozenset({"", "jwt", "jose"}),
    "private_key_jwt": frozenset({"", "jwt", "client-authentication+jwt"}),
}


class Profile(msgspec.Struct, frozen=True, kw_only=True):
    """One issuer's tokens."""

    how: How
    issuer: str
    """`iss`; for `jwt_svid` the trust domain."""
    audience: str
    algs: Collection[str]
    leeway_s: int
    max_life_s: int
    client_id: str = ""


class VerifiedToken(msgspec.Struct, frozen=True):
    """Signature, type, issuer, audience and time are good. Whether its sender may hold it (`binding`) is not checked here."""

    claims: dict[str, Any]
    times: Times
    binding: str
    """`jkt:…`, `x5t:…`, or empty: a bearer."""
    jti: str
    """Of an assertion: must not be seen again before `times.until_ms`. Otherwise empty."""


def header_of(jws: UnverifiedJws, profile: Profile) -> tuple[Alg, str | None]:
    """Algorithm and `kid`, after all rules of the header.

    Raises:
        CallerError: as `check_header`.
    """
    return check_header(jws.header, algs=profile.algs, types=_TYPES[profile.how])


def verify_token(jws: UnverifiedJws, profile: Profile, keys: KeySet, now_ms: int) -> VerifiedToken:
    """The whole check of one token, in this order: header, key, signature, claims, binding.

    Raises:
        CallerError: `unauthenticated`, `alg_not_allowed`, `crit_not_understood`, `audience`.
    """
    alg, kid = header_of(jws, profile)
    key = keys.find(kid, alg)
    if key is None:
        refuse("the token names no key of its issuer that fits")
    check_signature(jws, key, alg)
    times = check_claims(jws.claims, _rules(profile), now_ms)
    if profile.how == "jwt_svid":
        workload_id(jws.claims["sub"], profile.issuer)
    jti = _assertion(jws.claims) if profile.how == "private_key_jwt" else ""
    return VerifiedToken(jws.claims, times, binding_of(jws.claims), jti)


def _rules(profile: Profile) -> ClaimRules:
    short = profile.how == "private_key_jwt"
    return ClaimRules(
        issuer=None if profile.how == "jwt_svid" else profile.issuer,
        audience=profile.audience,
        leeway_s=profile.leeway_s,
        max_life_s=min(profile.max_life_s, MAX_ASSERTION_S) if short else profile.max_life_s,
        # A JWT-SVID has no azp: with several audiences nothing says who may use it.
        client_id="" if profile.how == "jwt_svid" else profile.client_id,
    )


def _assertion(claims: dict[str, Any]) -> str:
    """RFC 7523 3: the client speaks for itself, and says each thing once."""
    if claims.get("sub") != claims.get("iss"):
        refuse("the assertion is about somebody else")
    jti = claims.get("jti")
    if not isinstance(jti, str) or not 0 < len(jti) <= _MAX_JTI:
        refuse("the assertion has no jti")
    return jti


def binding_of(claims: dict[str, Any]) -> str:
    """What the sender must prove to hold (`cnf`, RFC 7800 3.1, RFC 8705 3.1, RFC 9449 6.1); empty where there is no `cnf`.

    Raises:
        CallerError: a confirmation that is not understood: taking it for a bearer would drop what its issuer asked for.
    """
    if "cnf" not in claims:
        return ""
    stated = claims["cnf"]
    if isinstance(stated, dict) and len(stated) == 1:
        name, value = next(iter(stated.items()))
        prefix = {"jkt": "jkt", "x5t#S256": "x5t"}.get(name)
        if prefix and isinstance(value, str) and len(decode(value) or b"") == _SHA256:
            return f"{prefix}:{value}"
    return refuse("the token is bound to its sender in a way that is not understood")
