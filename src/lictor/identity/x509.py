"""X.509-SVIDs over mutual TLS: the chain the TLS server saw, held against the roots of its trust domain.

The handshake has shown that the client holds the leaf's key; everything else is checked here, whatever the TLS layer has checked
already. Refuses to know tokens.

Rules (X509-SVID 2-5): one URI name on the leaf, a SPIFFE ID with a path; the leaf is no authority, may sign
(`digitalSignature`) and may not certify; an authority on the way has no SPIFFE ID or one of the same trust domain without path;
the chain ends at a root of this trust domain and no other. And one of ours: the leaf's life is short (`svid_life_s`).
"""

import hashlib
import ssl
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any, Final

from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.x509.verification import PolicyBuilder, Store, VerificationError

from lictor.identity.issuers import Issuers
from lictor.model.identity import Proven
from lictor.protocol.jose.base64url import encode
from lictor.protocol.jose.keys import MIN_RSA_BITS
from lictor.protocol.jose.refusing import refuse
from lictor.protocol.jose.spiffe import read_spiffe_id, workload_id

MAX_CHAIN: Final = 6
MAX_DER: Final = 16 * 1024
_CURVES: Final = (ec.SECP256R1, ec.SECP384R1, ec.SECP521R1)
_OPEN_SSL_DER: Final = 2


async def verify_chain(chain: Sequence[bytes], issuers: Issuers, now_ms: int) -> Proven:
    """Whose certificate it is.

    Args:
        chain: DER, leaf first, as the TLS server saw it.
        issuers: know the roots of each trust domain.
        now_ms: milliseconds since the epoch.

    Raises:
        CallerError: `unauthenticated`.
    """
    leaf, *between = _read_chain(chain)
    # Which roots are asked for follows from the leaf's own word; it is checked against exactly those.
    name = _only_uri(leaf)
    issuer, roots = await issuers.roots(read_spiffe_id(name).trust_domain, now_ms)
    workload_id(name, issuer.settings.trust_domain)
    _check_leaf(leaf)
    _check_life(leaf, issuer.settings.svid_life_s + issuer.settings.leeway_s)
    for certificate in between:
        _check_between(certificate, issuer.settings.trust_domain)
    _check_path(leaf, between, [_read(root) for root in roots], now_ms)
    digest = hashlib.sha256(chain[0])
    return Proven(
        issuer=issuer.name,
        subject=name,
        how="x509_svid",
        expires_at_ms=int(leaf.not_valid_after_utc.timestamp() * 1_000),
        thumbprint=thumbprint(chain[0]),
        token_digest=digest.hexdigest(),
    )


def thumbprint(leaf: bytes) -> str:
    """`x5t:` and the SHA-256 of a certificate (RFC 8705 3.1), as in `Proven.thumbprint`."""
    return f"x5t:{encode(hashlib.sha256(leaf).digest())}"


def peer_chain(connection: ssl.SSLObject | ssl.SSLSocket) -> tuple[bytes, ...]:
    """The DER chain a TLS client has sent, leaf first; empty where it sent none.

    The public name for it came with Python 3.13; before that the object behind has it.
    """
    leaf = connection.getpeercert(binary_form=True)
    if leaf is None:
        return ()
    asked: Any = getattr(connection, "get_unverified_chain", None)
    if asked is None:
        asked = getattr(getattr(connection, "_sslobj", None), "get_unverified_chain", None)
    sent = (
        [one if isinstance(one, bytes) else one.public_bytes(_OPEN_SSL_DER) for one in (asked() or ()) if one]
        if asked
        else []
    )
    return tuple(sent) if sent and sent[0] == leaf else (leaf,)


def _read_chain(chain: Sequence[bytes]) -> list[x509.Certificate]:
    if not 0 < len(chain) <= MAX_CHAIN:
        refuse(f"a certificate chain has 1 to {MAX_CHAIN} certificates")
    return [_read(der) for der in chain]


def _read(der: bytes) -> x509.Certificate:
    if len(der) > MAX_DER:
        refuse(f"a certificate has at most {MAX_DER} bytes")
    try:
        certificate = x509.load_der_x509_certificate(der)
        _ = certificate.extensions, certificate.public_key()
    except (
        ValueError,
        TypeError,
        UnsupportedAlgorithm,
        x509.InvalidVersion,
        x509.DuplicateExtension,
        x509.UnsupportedGeneralNameType,
    ):
        refuse("a certificate cannot be read")
    return certificate


def _uris(certificate: x509.Certificate) -> list[str]:
    try:
        names = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    except x509.ExtensionNotFound:
        return []
    return names.get_values_for_type(x509.UniformResourceIdentifier)


def _only_uri(leaf: x509.Certificate) -> str:
    """X509-SVID 2: exactly one URI, or nobody knows which one counts."""
    uris = _uris(leaf)
    if len(uris) != 1:
        refuse("the certificate does not have exactly one URI name")
    return uris[0]


def _key_usage(certificate: x509.Certificate) -> x509.KeyUsage | None:
    try:
        return certificate.extensions.get_extension_for_class(x509.KeyUsage).value
    except x509.ExtensionNotFound:
        return None


def _is_authority(certificate: x509.Certificate) -> bool:
    try:
        return certificate.extensions.get_extension_for_class(x509.BasicConstraints).value.ca
    except x509.ExtensionNotFound:
        return False


def _check_leaf(leaf: x509.Certificate) -> None:
    """X509-SVID 4.1, 4.3, 5.2."""
    usage = _key_usage(leaf)
    if _is_authority(leaf) or usage is None or not usage.digital_signature or usage.key_cert_sign or usage.crl_sign:
        refuse("the certificate is not one of a workload")
    key = leaf.public_key()
    strong = (
        (isinstance(key, rsa.RSAPublicKey) and key.key_size >= MIN_RSA_BITS)
        or (isinstance(key, ec.EllipticCurvePublicKey) and isinstance(key.curve, _CURVES))
        or isinstance(key, ed25519.Ed25519PublicKey)
    )
    if not strong:
        refuse("the certificate's key is too weak or of an unknown kind")


def _check_life(leaf: x509.Certificate, most_s: int) -> None:
    """A bound of our own: X509-SVID sets none, and relies on short lives all the same, since revocation is not checked."""
    lives = leaf.not_valid_after_utc - leaf.not_valid_before_utc
    if lives.total_seconds() > most_s:  # issuers date certificates back a little: the leeway is for that
        refuse("the certificate lives longer than one of a workload may (svid_life_s)")


def _check_between(certificate: x509.Certificate, trust_domain: str) -> None:
    """X509-SVID 3.2, 4.2: an authority may be named, by the trust domain alone."""
    usage = _key_usage(certificate)
    if not _is_authority(certificate) or usage is None or not usage.key_cert_sign:
        refuse("a certificate on the way is not one of an authority")
    for uri in _uris(certificate):
        named = read_spiffe_id(uri)
        if named.trust_domain != trust_domain or named.path:
            refuse("an authority on the way is of another trust domain")


def _check_path(
    leaf: x509.Certificate, between: list[x509.Certificate], roots: list[x509.Certificate], now_ms: int
) -> None:
    """RFC 5280 6, by the library: signatures, times, basic constraints, path length, name constraints, key purposes."""
    if not roots:
        refuse("the trust domain publishes no roots of certificates")
    verifier = (
        PolicyBuilder()
        .store(Store(roots))
        .time(datetime.fromtimestamp(now_ms / 1_000, UTC).replace(tzinfo=None))
        .max_chain_depth(MAX_CHAIN)
        .build_client_verifier()
    )
    try:
        verifier.verify(leaf, between)
    except (VerificationError, ValueError, UnsupportedAlgorithm, x509.UnsupportedGeneralNameType):
        refuse("the certificate does not lead to a root of its trust domain now")
