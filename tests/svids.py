"""A SPIFFE trust domain for tests: roots, intermediates, X.509-SVIDs, and the bundle that publishes them."""

import base64
import json
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from tokens import NOW_S, jwk, private_key

_USAGES = (
    "digital_signature",
    "content_commitment",
    "key_encipherment",
    "data_encipherment",
    "key_agreement",
    "key_cert_sign",
    "crl_sign",
    "encipher_only",
    "decipher_only",
)


def at(seconds: int = 0) -> datetime:
    """A moment around the tests' now."""
    return datetime.fromtimestamp(NOW_S + seconds, UTC)


@dataclass(frozen=True)
class Issued:
    """A certificate with its key."""

    certificate: x509.Certificate
    key: Any

    @property
    def der(self) -> bytes:
        return self.certificate.public_bytes(serialization.Encoding.DER)

    @property
    def pem(self) -> bytes:
        return self.certificate.public_bytes(serialization.Encoding.PEM)

    @property
    def key_pem(self) -> bytes:
        return self.key.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        )


def issue(
    by: Issued | None = None,
    *,
    uris: Sequence[str] = (),
    dns: Sequence[str] = (),
    ca: bool = False,
    usages: Sequence[str] | None = None,
    usage_critical: bool = True,
    begins: datetime | None = None,
    ends: datetime | None = None,
    key: Any = None,
    purposes: Sequence[x509.ObjectIdentifier] = (ExtendedKeyUsageOID.CLIENT_AUTH, ExtendedKeyUsageOID.SERVER_AUTH),
    path_length: int | None = None,
    common_name: str = "",
    key_ids: bool = True,
    extra: Sequence[tuple[x509.ExtensionType, bool]] = (),
) -> Issued:
    """A certificate as SPIRE makes them, but for what is changed; by itself where nobody issues it."""
    own = key or ec.generate_private_key(ec.SECP256R1())
    signer = by.key if by else own
    name = x509.Name(
        [
            x509.NameAttribute(NameOID.COUNTRY_NAME, "US"),
            x509.NameAttribute(NameOID.ORGANIZATION_NAME, common_name or "SPIRE"),
        ]
    )
    builder = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(by.certificate.subject if by else name)
        .public_key(own.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(begins or at(-3_600))
        .not_valid_after(ends or at(86_400 if ca else 3_600))
        .add_extension(x509.BasicConstraints(ca, path_length), critical=True)
    )
    wanted = usages if usages is not None else (("key_cert_sign", "crl_sign") if ca else ("digital_signature",))
    if wanted:
        builder = builder.add_extension(
            x509.KeyUsage(**{one: one in wanted for one in _USAGES}), critical=usage_critical
        )
    if purposes and not ca:
        builder = builder.add_extension(x509.ExtendedKeyUsage(purposes), critical=False)
    names = [*(x509.UniformResourceIdentifier(uri) for uri in uris), *(x509.DNSName(one) for one in dns)]
    if names:
        builder = builder.add_extension(x509.SubjectAlternativeName(names), critical=False)
    if key_ids:
        builder = builder.add_extension(x509.SubjectKeyIdentifier.from_public_key(own.public_key()), critical=False)
        builder = builder.add_extension(
            x509.AuthorityKeyIdentifier.from_issuer_public_key(signer.public_key()), critical=False
        )
    for extension, critical in extra:
        builder = builder.add_extension(extension, critical)
    return Issued(builder.sign(signer, hashes.SHA256()), own)


def bundle(*roots: Issued, tokens: Sequence[str] = ("p256",)) -> bytes:
    """The trust domain's bundle (SPIFFE Trust Domain and Bundle 4)."""
    keys: list[dict[str, Any]] = [jwk(name, use="jwt-svid") for name in tokens]
    for root in roots:
        numbers = root.key.public_key().public_numbers()
        size = 32
        keys.append(
            {
                "use": "x509-svid",
                "kty": "EC",
                "crv": "P-256",
                "x": base64.urlsafe_b64encode(numbers.x.to_bytes(size, "big")).rstrip(b"=").decode(),
                "y": base64.urlsafe_b64encode(numbers.y.to_bytes(size, "big")).rstrip(b"=").decode(),
                "x5c": [base64.b64encode(root.der).decode()],
            }
        )
    return json.dumps({"spiffe_sequence": 1, "spiffe_refresh_hint": 300, "keys": keys}).encode()


__all__ = ["Issued", "at", "bundle", "issue", "private_key"]
