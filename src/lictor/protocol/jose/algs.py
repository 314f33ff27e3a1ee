"""The signature algorithms there are for us, and the one kind of key each fits (RFC 7518 3.1, RFC 9864; RFC 8725 3.1).

No symmetric algorithm and no `none` is in the table, so no setting can allow one: a public key can never become a secret (key
confusion). Refuses to know tokens.
"""

from typing import Final

import msgspec
from joserfc.jwa import JWS_ALGORITHMS, JWSAlgModel

DEFAULT_ALGS: Final = ("ES256", "ES384", "RS256", "PS256", "Ed25519", "EdDSA")
"""What an issuer may sign with where its settings do not say."""


class Alg(msgspec.Struct, frozen=True):
    """One algorithm."""

    name: str
    kty: str
    crv: str
    """Empty for RSA."""
    model: JWSAlgModel


_MODELS: Final = {model.name: model for model in JWS_ALGORITHMS}

ALGS: Final[dict[str, Alg]] = {
    name: Alg(name, kty, crv, _MODELS[model])
    for name, kty, crv, model in (
        ("ES256", "EC", "P-256", "ES256"),
        ("ES384", "EC", "P-384", "ES384"),
        ("ES512", "EC", "P-521", "ES512"),
        ("RS256", "RSA", "", "RS256"),
        ("RS384", "RSA", "", "RS384"),
        ("RS512", "RSA", "", "RS512"),
        ("PS256", "RSA", "", "PS256"),
        ("PS384", "RSA", "", "PS384"),
        ("PS512", "RSA", "", "PS512"),
        ("Ed25519", "OKP", "Ed25519", "Ed25519"),
        # The older name says "some Edwards curve"; with a key of this curve it is the same signature (RFC 9864 2.2).
        ("EdDSA", "OKP", "Ed25519", "Ed25519"),
    )
}
"""Every algorithm that can be allowed, by name."""
