"""Short-lived signed statements of who we are, for providers that take a key instead of a shared secret.

Refuses to know who reads them. Keys come from the safe; errors name the secret and never its content.
"""

from typing import Any, Final, Literal

from joserfc import jwk, jwt
from joserfc.errors import JoseError

from lictor.model.errors import UpstreamError
from lictor.model.reasons import Reason
from lictor.model.secret import Secret

Alg = Literal["ES256", "ES384", "RS256", "PS256", "Ed25519"]
_TYPES: Final[dict[str, Literal["EC", "RSA", "OKP"]]] = {
    "ES256": "EC",
    "ES384": "EC",
    "RS256": "RSA",
    "PS256": "RSA",
    "Ed25519": "OKP",
}


def sign(claims: dict[str, Any], key: Secret, *, alg: Alg, key_id: str = "", named: str) -> Secret:
    """A compact JWS over the claims.

    Args:
        claims: with `exp`, the caller's business.
        key: a private key, PEM.
        alg: its algorithm; a key of another type is refused.
        key_id: for the header; empty: none.
        named: what the safe calls the key, for the error.

    Raises:
        UpstreamError: `config_refused`: not such a key; nothing was asked.
    """
    header = {"alg": alg, **({"kid": key_id} if key_id else {})}
    signed = _signed(header, claims, key, alg)
    if signed is None:
        raise UpstreamError(
            Reason.CONFIG_REFUSED, f"secret {named!r} is no private key for {alg} (PEM)", effect_possible=False
        )
    return signed


def _signed(header: dict[str, Any], claims: dict[str, Any], key: Secret, alg: Alg) -> Secret | None:
    try:
        return Secret(jwt.encode(header, claims, jwk.import_key(key.reveal(), _TYPES[alg]), algorithms=[alg]))
    except (JoseError, ValueError, TypeError):
        return None
