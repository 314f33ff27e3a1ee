"""The development issuer's tokens: signed with a key of this run, each saying in a claim what it is worth."""

import json
from typing import Any, Final

from joserfc.jwk import ECKey

from lictor.model.errors import CallerError
from lictor.ports import Clock, Ids
from lictor.protocol.jose.algs import ALGS
from lictor.protocol.jose.base64url import encode
from lictor.protocol.jose.compact import read_jws
from lictor.protocol.jose.header import check_header
from lictor.protocol.jose.keys import read_public_key
from lictor.protocol.jose.signature import check_signature

CLAIM: Final = "lictor_dev_issuer"
LIFE_S: Final = 600


class DevTokens:
    """Signs and reads back."""

    def __init__(self, url: str, clock: Clock, ids: Ids) -> None:
        self._url = url
        self._clock = clock
        self._ids = ids
        self._key = ECKey.generate_key("P-256", private=True)
        shown = self._key.as_dict(private=False)
        members = {name: shown[name] for name in ("kty", "crv", "x", "y")}
        self.public: dict[str, Any] = {**members, "kid": self._key.thumbprint(), "alg": "ES256", "use": "sig"}

    def access(
        self, person: str, client: str, audience: str, scope: str, more: dict[str, Any] | None = None
    ) -> tuple[str, str]:
        """An access token (RFC 9068), and its `jti`."""
        return self._sign(person, audience, {"client_id": client, "scope": scope, **(more or {})}, "at+jwt")

    def identity(self, person: str, client: str, nonce: str) -> tuple[str, str]:
        """An ID token, and its `jti`."""
        return self._sign(person, client, {"azp": client, **({"nonce": nonce} if nonce else {})}, "JWT")

    def verified(self, token: str) -> dict[str, Any] | None:
        """The claims of an access token of ours that still lives; None for anything else."""
        try:
            jws = read_jws(token)
            alg, _ = check_header(jws.header, algs=("ES256",), types=("at+jwt",))
            check_signature(jws, read_public_key(self.public), alg)
        except CallerError:
            return None
        return jws.claims if self._clock.now_ms() < jws.claims["exp"] * 1_000 else None

    def _sign(self, person: str, audience: str, more: dict[str, Any], typ: str) -> tuple[str, str]:
        now, jti = self._clock.now_ms() // 1_000, self._ids.new("dev")
        claims = {
            "iss": self._url,
            "sub": person,
            "aud": audience,
            "iat": now,
            "exp": now + LIFE_S,
            "jti": jti,
            CLAIM: "not for production",
            **more,
        }
        header = {"alg": "ES256", "kid": self.public["kid"], "typ": typ}
        text = ".".join(encode(json.dumps(part).encode()) for part in (header, claims))
        return f"{text}.{encode(ALGS['ES256'].model.sign(text.encode('ascii'), self._key))}", jti
