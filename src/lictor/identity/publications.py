"""Where an issuer's keys are: found by discovery, at a URL, in a file. Refuses to know how long they are kept."""

import asyncio
from base64 import b64decode
from pathlib import Path
from typing import Any, Final
from urllib.parse import urlsplit

from lictor.identity.fetch import DEADLINE_S, fetch
from lictor.identity.settings import IssuerSettings, fetchable
from lictor.identity.sources import LOCAL, REMOTE, Load, Pace, Published
from lictor.model.canonical import sha256_digest
from lictor.model.errors import CallerError, UpstreamError
from lictor.model.limits import Limits
from lictor.model.reasons import Reason
from lictor.pdp.normalise.hosts import read_host
from lictor.protocol.jose.keys import MAX_SET_BYTES, key_documents, key_set_of, read_key_set
from lictor.protocol.json import read

WELL_KNOWN: Final = "/.well-known/openid-configuration"
_MAX_METADATA: Final = 64 * 1024
_LIMITS: Final = Limits(json_depth=12, json_members=5_000)
_SLACK_S: Final = 10.0
"""Looking up a name has no timeout of its own."""


def publication(issuer: IssuerSettings, folder: Path) -> tuple[Load, Pace]:
    """How to read what this issuer publishes, and how often.

    Args:
        issuer: as set.
        folder: what a relative `file` or `ca_file` is relative to.
    """
    ca_file = str(folder / issuer.ca_file) if issuer.ca_file else ""

    async def from_file() -> Published:
        return _read(issuer, await asyncio.to_thread(_file, folder / issuer.file))

    async def from_url() -> Published:
        return _read(issuer, await _get(issuer.jwks_url, MAX_SET_BYTES, ca_file))

    async def discovered() -> Published:
        metadata = await _get(f"{issuer.url.rstrip('/')}{WELL_KNOWN}", _MAX_METADATA, ca_file)
        return _read(issuer, await _get(jwks_uri(metadata, issuer.url), MAX_SET_BYTES, ca_file))

    if issuer.file:
        return from_file, LOCAL
    return (discovered if issuer.kind == "oidc" else from_url), REMOTE


async def _get(url: str, max_bytes: int, ca_file: str) -> bytes:
    try:
        async with asyncio.timeout(DEADLINE_S + _SLACK_S):
            return await asyncio.to_thread(fetch, url, max_bytes=max_bytes, ca_file=ca_file)
    except TimeoutError:
        raise UpstreamError(Reason.UPSTREAM_TIMEOUT, f"{url[:200]!r} did not answer", effect_possible=False) from None


def _file(path: Path) -> bytes:
    try:
        with path.open("rb") as file:
            return file.read(MAX_SET_BYTES + 1)
    except OSError as error:
        raise UpstreamError(
            Reason.UPSTREAM_DOWN, f"{str(path)[:200]!r} cannot be read ({error.strerror})", effect_possible=False
        ) from None


def jwks_uri(metadata: bytes, issuer: str) -> str:
    """Where the keys are, from a discovery document that is certainly this issuer's (OpenID Connect Discovery 4.3).

    Raises:
        CallerError: not JSON, of another issuer, or keys at a place that nothing is fetched from.
    """
    document: Any = read(metadata, _LIMITS, max_bytes=_MAX_METADATA).value
    if not isinstance(document, dict) or document.get("issuer") != issuer:
        raise CallerError(Reason.UNAUTHENTICATED, "the discovery document is of another issuer")
    place = document.get("jwks_uri")
    # Only an issuer that the settings place inside may have its keys inside: the others would choose where we knock (SSRF).
    if (
        not isinstance(place, str)
        or not fetchable(place)
        or (issuer.startswith("https:") and not place.startswith("https:"))
        or (_is_inward(place) and not _is_inward(issuer))
    ):
        raise CallerError(Reason.UNAUTHENTICATED, "the discovery document names no place for keys that is https")
    return place


def _is_inward(url: str) -> bool:
    """Whether a URL's host, as it is written, stands for something inside.

    Raises:
        CallerError: two readers could take it for different hosts.
    """
    host = urlsplit(url).hostname or ""
    return read_host(f"[{host}]" if ":" in host else host, "jwks_uri").private


def _read(issuer: IssuerSettings, data: bytes) -> Published:
    if issuer.kind == "spiffe":
        return read_bundle(data)
    keys = read_key_set(data, "sig")
    return Published(keys.version, keys)


def read_bundle(data: bytes) -> Published:
    """A SPIFFE bundle (SPIFFE Trust Domain and Bundle 4): keys of JWT-SVIDs and roots of X.509-SVIDs, each by its `use`.

    Raises:
        CallerError: not a bundle, nothing in it that could be used, an equal `kid` twice, a published secret.
    """
    documents = key_documents(data)
    of_tokens = [one for one in documents if one.get("use") == "jwt-svid"]
    roots = tuple(sorted(_root(one) for one in documents if one.get("use") == "x509-svid"))
    if not of_tokens and not roots:
        raise CallerError(Reason.UNAUTHENTICATED, "the bundle has neither keys of JWT-SVIDs nor roots of X.509-SVIDs")
    keys = key_set_of(of_tokens, "jwt-svid") if of_tokens else None
    version = sha256_digest(
        b"\n".join([(keys.version if keys else "").encode(), *(sha256_digest(r).encode() for r in roots)])
    )
    return Published(version, keys, roots)


def _root(document: dict[str, Any]) -> bytes:
    """`x5c` with exactly one certificate, in standard base64 (SPIFFE Trust Domain and Bundle 4.2.1)."""
    chain = document.get("x5c")
    if isinstance(chain, list) and len(chain) == 1 and isinstance(chain[0], str):
        try:
            return b64decode(chain[0], validate=True)
        except ValueError:
            pass
    raise CallerError(Reason.UNAUTHENTICATED, "a root of the bundle is not one certificate")
