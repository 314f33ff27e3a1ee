"""What a verified token's claims must say before they mean anything (RFC 7519 4.1, RFC 8725 3.8-3.9). Time is an argument.

**Several audiences.** A token for us *and others* can be used here by each of the others, who receive it in good faith. So a list
with other members is accepted only where the settings name the one client it must have been issued to (`azp`, OpenID Connect Core
2, or `client_id`, RFC 9068 2.2) and the token says so. A list that holds us alone is the same as a text.
"""

from math import isfinite
from typing import Any, Final

import msgspec

from lictor.model.reasons import Reason
from lictor.protocol.jose.refusing import refuse

_LAST_S: Final = 253_402_300_800
"""The year 10000: a time behind it is no time."""
_MAX_SUBJECT: Final = 2_048
"""SPIFFE-ID 2.3 allows 2048 bytes; nobody else needs so much."""


class ClaimRules(msgspec.Struct, frozen=True, kw_only=True):
    """What the claims of one issuer's tokens are held against."""

    issuer: str | None
    """`iss`, exactly; None where the profile has none and something else binds the issuer (SPIFFE: the trust domain of `sub`)."""
    audience: str
    leeway_s: int
    max_life_s: int
    """From `iat`, or from now where there is none, to `exp`."""
    client_id: str = ""
    """`azp` or `client_id`, exactly; empty: not looked at."""


class Times(msgspec.Struct, frozen=True):
    """When a token holds, leeway included, in milliseconds since the epoch; and its own `exp`."""

    from_ms: int
    until_ms: int
    expires_at_ms: int


def check_claims(claims: dict[str, Any], rules: ClaimRules, now_ms: int) -> Times:
    """Check `iss`, `sub`, `aud`, `azp`, `exp`, `nbf`, `iat`, and that the token does not live too long.

    Raises:
        CallerError: `audience`, or `unauthenticated`.
    """
    if rules.issuer is not None and claims.get("iss") != rules.issuer:
        refuse("the token is of another issuer")
    subject = claims.get("sub")
    if not isinstance(subject, str) or not 0 < len(subject) <= _MAX_SUBJECT or not subject.isprintable():
        refuse("the token has no subject")
    times = _times(claims, rules, now_ms)
    _check_audience(claims, rules)
    return times


def _times(claims: dict[str, Any], rules: ClaimRules, now_ms: int) -> Times:
    leeway_ms = rules.leeway_s * 1_000
    expires = _moment(claims, "exp")
    begins, issued = _moment(claims, "nbf"), _moment(claims, "iat")
    if expires is None:
        refuse("the token has no expiry")
    if now_ms >= expires + leeway_ms:
        refuse("the token has expired")
    starts = max((moment for moment in (begins, issued) if moment is not None), default=0)
    if now_ms < starts - leeway_ms:
        refuse("the token is not valid yet")
    if expires <= starts:
        refuse("the token expires before it begins")
    # Without `iat`, what is left of its life is all that can be bounded.
    life = expires - (now_ms + leeway_ms if issued is None else issued)
    if life > rules.max_life_s * 1_000:
        refuse("the token lives longer than its issuer's may")
    return Times(starts - leeway_ms, expires + leeway_ms, expires)


def _moment(claims: dict[str, Any], name: str) -> int | None:
    """A NumericDate (RFC 7519 2) in milliseconds; None where it is absent. A text, a boolean, one out of range is refused."""
    if name not in claims:
        return None
    value = claims[name]
    if type(value) not in {int, float} or not isfinite(value) or not 0 <= value < _LAST_S:
        refuse(f"the token's {name} is no time")
    return int(value * 1_000)


def _check_audience(claims: dict[str, Any], rules: ClaimRules) -> None:
    stated = claims.get("aud")
    audiences = stated if isinstance(stated, list) else [stated]
    if not rules.audience or not all(isinstance(one, str) for one in audiences) or rules.audience not in audiences:
        refuse("the token is meant for somebody else", Reason.AUDIENCE)
    clients = [claims[name] for name in ("azp", "client_id") if name in claims]
    if rules.client_id:
        if not clients or any(client != rules.client_id for client in clients):
            refuse("the token was issued to another client", Reason.AUDIENCE)
    elif any(one != rules.audience for one in audiences):
        refuse("the token is meant for others too, and no client_id is set for its issuer", Reason.AUDIENCE)
