"""Public keys as JSON (RFC 7517, RFC 8037): one key, and a set of them. Refuses to know who published them.

A set is taken whole or refused whole. Keys of a kind we do not use are left out (RFC 7517 5); what makes a set ambiguous or shows
that its publisher has lost its secrets (equal `kid`, private members, symmetric keys) refuses all of it.
"""

import hashlib
from collections.abc import Mapping
from typing import Any, Final, Literal

import msgspec
from joserfc.errors import JoseError
from joserfc.jwk import ECKey, OKPKey, RSAKey

from lictor.model.canonical import canonical, sha256_digest
from lictor.model.errors import CallerError
from lictor.model.limits import Limits
from lictor.protocol.jose.algs import ALGS, Alg
from lictor.protocol.jose.base64url import decode, encode
from lictor.protocol.jose.refusing import refuse
from lictor.protocol.json import read

MAX_SET_BYTES: Final = 256 * 1024
MAX_KEYS: Final = 100
MIN_RSA_BITS: Final = 2048
"""RFC 7518 3.3."""
MAX_RSA_BITS: Final = 8192
"""Verifying costs the square of it, and strangers choose when."""
_LIMITS: Final = Limits(json_depth=12, json_members=20_000)
_PRIVATE: Final = frozenset({"d", "p", "q", "dp", "dq", "qi", "oth", "k"})
_COORDINATE: Final = {"P-256": 32, "P-384": 48, "P-521": 66, "Ed25519": 32}
"""Bytes of a coordinate, always all of them (RFC 7518 6.2.1.2, RFC 8037 2)."""
_MEMBERS: Final = {"EC": ("crv", "x", "y"), "RSA": ("e", "n"), "OKP": ("crv", "x")}
"""Members that make the key, kty aside; also what a thumbprint covers (RFC 7638 3.2)."""

Use = Literal["sig", "jwt-svid"]


class Key(msgspec.Struct, frozen=True, eq=False):
    """One public key that may verify signatures."""

    kty: str
    crv: str
    kid: str
    alg: str
    """The only algorithm it may be used with; empty: any that fits its type."""
    thumbprint: str
    """RFC 7638, SHA-256, base64url."""
    native: ECKey | RSAKey | OKPKey

    def fits(self, alg: Alg) -> bool:
        """Whether a signature of this algorithm may be checked with this key (RFC 8725 3.1)."""
        return self.kty == alg.kty and self.crv == alg.crv and self.alg in {"", alg.name}


class KeySet(msgspec.Struct, frozen=True, eq=False):
    """The keys of one publisher at one time."""

    keys: tuple[Key, ...]
    version: str
    """Digest of the keys' thumbprints and names: changes when a key comes, goes or is renamed."""

    def find(self, kid: str | None, alg: Alg) -> Key | None:
        """The one key a token can mean: that of its `kid`, or, without one, the only key that fits. Keys are never tried out."""
        fitting = [key for key in self.keys if key.fits(alg) and (kid is None or key.kid == kid)]
        return fitting[0] if len(fitting) == 1 else None


class UnusableKeyError(ValueError):
    """This key is none we would use; the message says why and quotes nothing."""


def read_key_set(data: bytes, use: Use) -> KeySet:
    """A JWK set as published.

    Args:
        data: the document, UTF-8.
        use: `sig`: keys for signatures, or of no stated use; `jwt-svid`: those of a SPIFFE bundle, which state it (SPIFFE
            Trust Domain and Bundle 4.2.2).

    Raises:
        CallerError: `unauthenticated`: not JSON, no usable key, too many, an equal `kid` twice, a private or symmetric key.
    """
    return key_set_of(key_documents(data), use)


def key_documents(data: bytes) -> list[dict[str, Any]]:
    """The members of `keys`, all objects.

    Raises:
        CallerError: `unauthenticated`.
    """
    try:
        document = read(data, _LIMITS, max_bytes=MAX_SET_BYTES).value
    except CallerError as error:
        refuse(f"the key set is not acceptable JSON ({error.reason})")
    keys = document.get("keys") if isinstance(document, dict) else None
    if not isinstance(keys, list) or not all(isinstance(key, dict) for key in keys):
        refuse("the key set has no list of keys")
    if len(keys) > MAX_KEYS:
        refuse(f"the key set has more than {MAX_KEYS} keys")
    return [key for key in keys if isinstance(key, dict)]


def key_set_of(documents: list[dict[str, Any]], use: Use) -> KeySet:
    """As `read_key_set`, from documents already read."""
    found: list[Key] = []
    seen: set[str] = set()
    for document in documents:
        if not _PRIVATE.isdisjoint(document):
            refuse("the key set publishes a secret: a private or symmetric key")
        if not _for(document, use):
            continue
        kid = document.get("kid", "")
        if not isinstance(kid, str):
            refuse("the key set has a kid that is no text")
        # Also among keys that we would leave out: whoever reads this set as somebody else does would take another key.
        if kid and kid in seen:
            refuse("the key set has two keys of one kid")
        seen.add(kid)
        try:
            found.append(read_public_key(document))
        except UnusableKeyError:
            continue
    if not found:
        refuse("the key set has no key that could be used")
    listed = sorted(f"{key.kid}\n{key.alg}\n{key.thumbprint}" for key in found)
    return KeySet(tuple(found), sha256_digest("\n\n".join(listed).encode("utf-8", "surrogatepass")))


def _for(document: Mapping[str, Any], use: Use) -> bool:
    """Whether a key is published for checking signatures (RFC 7517 4.2, 4.3)."""
    stated, operations = document.get("use"), document.get("key_ops")
    if stated != use and not (use == "sig" and stated is None):
        return False
    return operations is None or (isinstance(operations, list) and "verify" in operations)


def read_public_key(document: Mapping[str, Any]) -> Key:
    """One public JWK.

    Raises:
        UnusableKeyError: private members, an unknown type or curve, a coordinate of the wrong length, a point that is not on its
            curve, RSA below 2048 or above 8192 bits, an algorithm that does not fit.
    """
    if not _PRIVATE.isdisjoint(document):
        raise UnusableKeyError("the key has private members")
    kty = document.get("kty")
    if not isinstance(kty, str) or kty not in _MEMBERS:
        raise UnusableKeyError("the key is of an unknown type")
    members = {name: document.get(name) for name in _MEMBERS[kty]}
    alg, kid = document.get("alg", ""), document.get("kid", "")
    values = [*members.values(), alg, kid]
    if not all(isinstance(value, str) and value.isascii() for value in values):
        raise UnusableKeyError("a member of the key is missing or is no plain text")
    crv = str(members.get("crv", ""))
    _check_members(kty, crv, {name: str(value) for name, value in members.items()})
    if alg and (alg not in ALGS or ALGS[alg].kty != kty or ALGS[alg].crv != crv):
        raise UnusableKeyError("the key's algorithm does not fit the key")
    try:
        native = _imported(kty, {"kty": kty, **{name: str(value) for name, value in members.items()}})
    except (JoseError, ValueError, TypeError, KeyError):
        raise UnusableKeyError("the key is no key of its type") from None
    return Key(kty, crv, str(kid), str(alg), _thumbprint(kty, members), native)


def _imported(kty: str, document: dict[str, str | list[str]]) -> ECKey | RSAKey | OKPKey:
    """The library's key; it raises for a point that is not on its curve."""
    if kty == "EC":
        return ECKey.import_key(document)
    return RSAKey.import_key(document) if kty == "RSA" else OKPKey.import_key(document)


def _thumbprint(kty: str, members: Mapping[str, Any]) -> str:
    """RFC 7638: the members that make the key, in canonical form."""
    return encode(hashlib.sha256(canonical({"kty": kty, **members})).digest())


def _check_members(kty: str, crv: str, members: Mapping[str, str]) -> None:
    """Each member in its one spelling, so that one key has one thumbprint.

    Raises:
        UnusableKeyError: it has another.
    """
    values = {name: decode(text) for name, text in members.items() if name != "crv"}
    if any(value is None for value in values.values()):
        raise UnusableKeyError("a member of the key is not base64url")
    if kty == "RSA":
        _check_rsa(values["n"] or b"", values["e"] or b"")
    elif (kty == "EC") != crv.startswith("P-") or crv not in _COORDINATE:
        raise UnusableKeyError("the key is on an unknown curve")
    elif any(len(value or b"") != _COORDINATE[crv] for value in values.values()):
        raise UnusableKeyError("a coordinate of the key has the wrong length")


def _check_rsa(modulus: bytes, exponent: bytes) -> None:
    bits = int.from_bytes(modulus).bit_length()
    if not MIN_RSA_BITS <= bits <= MAX_RSA_BITS:
        raise UnusableKeyError(f"the RSA key has {bits} bits, not {MIN_RSA_BITS} to {MAX_RSA_BITS}")
    public = int.from_bytes(exponent)
    if modulus[0] == 0 or exponent[:1] == b"\0" or not 65_537 <= public < 2**32 or public % 2 == 0:
        raise UnusableKeyError("the RSA key has an unusual exponent or spelling")
