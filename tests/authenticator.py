"""An authenticator in software, for tests: makes keys and signs, also what a real one would never sign."""

import hashlib
import json
import os
from base64 import urlsafe_b64encode
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import cbor2
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, padding, rsa

UP, UV, AT = 0x01, 0x04, 0x40


def text(data: bytes) -> str:
    return urlsafe_b64encode(data).rstrip(b"=").decode()


class EcKey:
    """ES256."""

    alg = -7

    def __init__(self) -> None:
        self.private = ec.generate_private_key(ec.SECP256R1())

    def cose(self) -> bytes:
        numbers = self.private.public_key().public_numbers()
        x, y = (one.to_bytes(32, "big") for one in (numbers.x, numbers.y))
        return cbor2.dumps({1: 2, 3: -7, -1: 1, -2: x, -3: y})

    def sign(self, data: bytes) -> bytes:
        return self.private.sign(data, ec.ECDSA(hashes.SHA256()))


class EdKey:
    """EdDSA."""

    alg = -8

    def __init__(self) -> None:
        self.private = ed25519.Ed25519PrivateKey.generate()

    def cose(self) -> bytes:
        return cbor2.dumps({1: 1, 3: -8, -1: 6, -2: self.private.public_key().public_bytes_raw()})

    def sign(self, data: bytes) -> bytes:
        return self.private.sign(data)


class RsaKey:
    """RS256, or with another number RS1, which nobody should accept."""

    def __init__(self, alg: int = -257) -> None:
        self.alg = alg
        self.private = rsa.generate_private_key(65537, 2048)

    def cose(self) -> bytes:
        numbers = self.private.public_key().public_numbers()
        return cbor2.dumps({1: 3, 3: self.alg, -1: numbers.n.to_bytes(256, "big"), -2: b"\x01\x00\x01"})

    def sign(self, data: bytes) -> bytes:
        return self.private.sign(data, padding.PKCS1v15(), hashes.SHA256())


@dataclass
class Authenticator:
    """One credential. `said` overrides what the browser says, `flags` and `rp_id` what the authenticator does."""

    key: Any = field(default_factory=EcKey)
    rp_id: str = "localhost"
    origin: str = "http://localhost:8700"
    id: bytes = field(default_factory=lambda: os.urandom(32))
    uses: int = 0
    counts: bool = True

    def create(
        self,
        challenge: bytes,
        *,
        said: Mapping[str, Any] | None = None,
        flags: int = UP | UV,
        fmt: str = "none",
        statement: Mapping[str, Any] | None = None,
        rp_id: str = "",
    ) -> str:
        """`navigator.credentials.create`, as JSON."""
        length = len(self.id).to_bytes(2, "big")
        attested = bytes(16) + length + self.id + self.key.cose()
        data = self._data(flags | AT, rp_id) + attested
        attestation = cbor2.dumps({"fmt": fmt, "attStmt": dict(statement or {}), "authData": data})
        client = self._client("webauthn.create", challenge, said)
        return self._json(clientDataJSON=text(client), attestationObject=text(attestation))

    def get(
        self,
        challenge: bytes,
        *,
        said: Mapping[str, Any] | None = None,
        flags: int = UP | UV,
        rp_id: str = "",
        signed_by: Any = None,
        uses: int | None = None,
    ) -> str:
        """`navigator.credentials.get`, as JSON."""
        if self.counts:
            self.uses += 1
        if uses is not None:
            self.uses = uses
        data = self._data(flags, rp_id)
        client = self._client("webauthn.get", challenge, said)
        signature = (signed_by or self.key).sign(data + hashlib.sha256(client).digest())
        return self._json(
            clientDataJSON=text(client), authenticatorData=text(data), signature=text(signature), userHandle=None
        )

    @property
    def name(self) -> str:
        """The credential id, as it travels."""
        return text(self.id)

    def _data(self, flags: int, rp_id: str) -> bytes:
        hashed = hashlib.sha256((rp_id or self.rp_id).encode()).digest()
        return hashed + bytes([flags]) + self.uses.to_bytes(4, "big")

    def _client(self, kind: str, challenge: bytes, said: Mapping[str, Any] | None) -> bytes:
        words = {"type": kind, "challenge": text(challenge), "origin": self.origin, "crossOrigin": False}
        return json.dumps({**words, **(said or {})}).encode()

    def _json(self, **response: Any) -> str:
        return json.dumps({"id": self.name, "rawId": self.name, "type": "public-key", "response": response})
