"""SPIFFE IDs (SPIFFE-ID 2) as they stand: what would have to be normalised is refused (IDEN-18). Refuses to know documents."""

import re
from typing import Final

import msgspec

from lictor.protocol.jose.refusing import refuse

MAX_ID: Final = 2_048
"""SPIFFE-ID 2.3."""
_DOMAIN: Final = re.compile(r"[a-z0-9._-]{1,255}", re.ASCII)
_SEGMENT: Final = re.compile(r"[A-Za-z0-9._-]+", re.ASCII)
_SCHEME: Final = "spiffe://"


class SpiffeId(msgspec.Struct, frozen=True):
    """A workload's name."""

    trust_domain: str
    path: str
    """With its leading slash; empty for the trust domain itself."""

    def __str__(self) -> str:
        return f"{_SCHEME}{self.trust_domain}{self.path}"


def trust_domain_problem(name: str) -> str:
    """Why a text is no trust domain (SPIFFE-ID 2.1); empty when it is one."""
    return (
        "" if _DOMAIN.fullmatch(name) else "a trust domain is lower-case letters, digits, dots, dashes and underscores"
    )


def read_spiffe_id(text: str) -> SpiffeId:
    """A SPIFFE ID of a workload or a trust domain (SPIFFE-ID 2.1-2.4).

    Raises:
        CallerError: `unauthenticated`: capitals in the trust domain, a port, user, query or fragment, an empty, `.` or `..`
            segment, a trailing slash, percent-encoding, anything outside the character set, too long.
    """
    if len(text) > MAX_ID or not text.startswith(_SCHEME):
        refuse("the subject is no SPIFFE ID")
    domain, slash, path = text.removeprefix(_SCHEME).partition("/")
    if trust_domain_problem(domain):
        refuse("the subject's trust domain is not well formed")
    for segment in path.split("/") if slash else ():
        if segment in {"", ".", ".."} or _SEGMENT.fullmatch(segment) is None:
            refuse("the path of the SPIFFE ID is not well formed")
    return SpiffeId(domain, slash + path)


def workload_id(text: str, trust_domain: str) -> SpiffeId:
    """A SPIFFE ID of a workload of this trust domain, and of no other that looks like it.

    Raises:
        CallerError: `unauthenticated`: as `read_spiffe_id`, of another trust domain, or without a path (X509-SVID 2, JWT-SVID
            3.1: a trust domain is no workload).
    """
    found = read_spiffe_id(text)
    if found.trust_domain != trust_domain:
        refuse("the SPIFFE ID is of another trust domain")
    if not found.path:
        refuse("the SPIFFE ID names no workload")
    return found
