"""Keys and tokens for the tests of identity: signed with `cryptography` alone, so that what is tested does not test itself.

`forge` writes any header, any payload and any signature, honest or not.
"""

import base64
import functools
import hashlib
import hmac
import json
from collections.abc import Mapping
from typing import Any

from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, padding, rsa
from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature

NOW_S = 1_795_000_000
NOW_MS = NOW_S * 1_000
ISSUER = "https://issuer.example"
AUDIENCE = "https://gateway.example/mcp"

_HASH = {"256": hashes.SHA256, "384": hashes.SHA384, "512": hashes.SHA512}


def b64(data: bytes | str) -> str:
    """Base64url without padding."""
    raw = data.encode() if isinstance(data, str) else data
    return base64.urlsafe_b64encode(raw).rstrip(b"=").decode()


def number(value: int, size: int | None = None) -> str:
    """An integer as JWK members have it."""
    return b64(value.to_bytes(size or (value.bit_length() + 7) // 8, "big"))


@functools.cache
def private_key(name: str) -> Any:
    """The one private key of this run by name: `p256`, `p384`, `p521`, `rsa2048`, `rsa1024`, `ed25519`, with any suffix (`p256-b`)."""
    kind = name.partition("-")[0]
    if kind == "ed25519":
        return ed25519.Ed25519PrivateKey.generate()
    if kind.startswith("rsa"):
        return rsa.generate_private_key(65_537, int(kind[3:]))
    return ec.generate_private_key({"p256": ec.SECP256R1, "p384": ec.SECP384R1, "p521": ec.SECP521R1}[kind]())


def public_pem(name: str) -> bytes:
    """SubjectPublicKeyInfo in PEM: what everybody can know."""
    return (
        private_key(name)
        .public_key()
        .public_bytes(serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo)
    )


def jwk(name: str, **members: Any) -> dict[str, Any]:
    """The public JWK; `kid` is the name unless given."""
    public = private_key(name).public_key()
    document: dict[str, Any] = {"kid": name, **members}
    if isinstance(public, ed25519.Ed25519PublicKey):
        raw = public.public_bytes(serialization.Encoding.Raw, serialization.PublicFormat.Raw)
        return {"kty": "OKP", "crv": "Ed25519", "x": b64(raw), **document}
    numbers = public.public_numbers()
    if isinstance(public, rsa.RSAPublicKey):
        return {"kty": "RSA", "n": number(numbers.n), "e": number(numbers.e), **document}
    size = (public.curve.key_size + 7) // 8
    crv = {256: "P-256", 384: "P-384", 521: "P-521"}[public.curve.key_size]
    return {"kty": "EC", "crv": crv, "x": number(numbers.x, size), "y": number(numbers.y, size), **document}


def jwks(*keys: dict[str, Any] | str) -> bytes:
    """A key set."""
    return json.dumps({"keys": [jwk(key) if isinstance(key, str) else key for key in keys]}).encode()


def signature(alg: str, key: Any, data: bytes) -> bytes:
    """A signature by the algorithm's own rules, with whatever key it is."""
    if alg.startswith("HS"):
        return hmac.new(key, data, "sha256").digest()
    if alg in {"EdDSA", "Ed25519"}:
        return key.sign(data)
    digest = _HASH[alg[2:]]()
    if alg.startswith("ES"):
        r, s = decode_dss_signature(key.sign(data, ec.ECDSA(digest)))
        size = (key.curve.key_size + 7) // 8
        return r.to_bytes(size, "big") + s.to_bytes(size, "big")
    if alg.startswith("PS"):
        return key.sign(data, padding.PSS(padding.MGF1(digest), digest.digest_size), digest)
    return key.sign(data, padding.PKCS1v15(), digest)


def claims(**changes: Any) -> dict[str, Any]:
    """Claims of a good workload token; a value of None leaves one out."""
    good = {
        "iss": ISSUER,
        "sub": "workload-1",
        "aud": AUDIENCE,
        "iat": NOW_S - 10,
        "exp": NOW_S + 300,
    }
    return {name: value for name, value in {**good, **changes}.items() if value is not None}


def forge(
    header: Mapping[str, Any] | str, payload: Mapping[str, Any] | str, signing: str | bytes, alg: str = ""
) -> str:
    """A token.

    Args:
        header: as an object, or its literal text.
        payload: likewise.
        signing: name of a private key, or the bytes of the signature.
        alg: what is really done, where the header says something else.
    """
    texts = [part if isinstance(part, str) else json.dumps(part) for part in (header, payload)]
    signed = ".".join(b64(text) for text in texts)
    if isinstance(signing, str):
        name = alg or json.loads(texts[0])["alg"]
        signing = signature(name, private_key(signing), signed.encode())
    return f"{signed}.{b64(signing)}"


def token(key: str = "p256", alg: str = "ES256", header: Mapping[str, Any] | None = None, **changes: Any) -> str:
    """A good token, but for what is changed."""
    return forge({"alg": alg, "kid": key, "typ": "JWT", **(header or {})}, claims(**changes), key)


def thumbprint(name: str) -> str:
    """RFC 7638, by hand."""
    document = jwk(name)
    members = {key: document[key] for key in ("crv", "e", "kty", "n", "x", "y") if key in document}
    text = json.dumps(members, sort_keys=True, separators=(",", ":"))
    return b64(hashlib.sha256(text.encode()).digest())


def dpop(
    key: str = "p256-dpop", alg: str = "ES256", *, access_token: str = "", header: Any = None, **changes: Any
) -> str:
    """A good proof, but for what is changed."""
    public = {name: value for name, value in jwk(key).items() if name != "kid"}
    body: dict[str, Any] = {"jti": "0123456789abcdef", "htm": "POST", "htu": AUDIENCE, "iat": NOW_S}
    if access_token:
        body["ath"] = b64(hashlib.sha256(access_token.encode()).digest())
    body = {name: value for name, value in {**body, **changes}.items() if value is not None}
    return forge({"typ": "dpop+jwt", "alg": alg, "jwk": public, **(header or {})}, body, key, alg)
