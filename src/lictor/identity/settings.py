"""`[issuers.NAME]` of `lictor.toml`: whose word about a workload counts, and for what. Refuses to know agents."""

from typing import Final, Literal
from urllib.parse import urlsplit

import msgspec

from lictor.model.errors import OperatorError
from lictor.model.reasons import Reason

MAX_LEEWAY_S: Final = 60
"""Clocks of servers that are kept in time differ by less; more keeps dead tokens alive (case IDEN-09)."""
MAX_SVID_LIFE_S: Final = 30 * 24 * 3_600
"""A certificate that lives longer is a password in a file. SPIRE's live for an hour unless told otherwise."""
MAX_LIFE_S: Final = 24 * 3_600
"""No token of a workload needs to live longer than a day."""
_LOOPBACK: Final = frozenset({"localhost", "127.0.0.1", "::1"})
Kind = Literal["oidc", "jwks", "spiffe", "keys"]


class IssuerSettings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One issuer. Every token is checked for signature, type, audience and time, whatever is set here."""

    kind: Kind
    """`oidc`: keys are found by discovery. `jwks`: keys are at `jwks_url` or in `file`. `spiffe`: a trust domain with its bundle.
    `keys`: one client that signs its own assertions (`private_key_jwt`, RFC 7523)."""
    url: str
    """What its tokens call it, exactly: `iss`; `spiffe://<trust domain>`; for `keys` the client's id."""
    jwks_url: str = ""
    """Where its keys or its bundle are published."""
    file: str = ""
    """The same in a file of this host, read again when it changes; relative to the bundle folder."""
    ca_file: str = ""
    """PEM certificates of a private authority that its HTTPS server is checked against, instead of the system's."""
    audience: str = ""
    """What `aud` must be; empty: this gateway."""
    algs: tuple[str, ...] = ()
    """Algorithms it may sign with; empty: ES256, ES384, RS256, PS256, Ed25519 (under both its names)."""
    leeway_s: int = 30
    """Seconds its clock may differ from ours, at most 60."""
    max_life_s: int = 3_600
    """Seconds a token of it may live at most."""
    svid_life_s: int = 86_400
    """Seconds an X.509-SVID of it may live at most, from its first moment to its last. Nobody asks whether one was revoked, in
    SPIFFE as here: its short life is what ends it."""
    human_claim: str = "sub"
    """The claim that names a person, where its tokens stand for people."""
    client_id: str = ""
    """The client its tokens must have been issued to (`azp` or `client_id`)."""

    @property
    def trust_domain(self) -> str:
        """Of a `spiffe` issuer."""
        return self.url.removeprefix("spiffe://") if self.kind == "spiffe" else ""


def check_issuers(issuers: dict[str, IssuerSettings], where: str) -> None:
    """Refuse what could not work or would be ambiguous.

    Raises:
        OperatorError: `config_refused`.
    """
    named: dict[str, str] = {}
    for name, issuer in issuers.items():
        place = f"{where} [issuers.{name}]"
        problem = _problem(name, issuer)
        if problem:
            raise OperatorError(Reason.CONFIG_REFUSED, problem, where=place, remedy="see docs/how-to/identity.md")
        if issuer.url in named:
            raise OperatorError(
                Reason.CONFIG_REFUSED, f"issuers {named[issuer.url]!r} and {name!r} have the same url", where=place
            )
        named[issuer.url] = name


def _problem(name: str, issuer: IssuerSettings) -> str:
    if not 0 < len(name) <= 64 or not all(char.isascii() and (char.isalnum() or char in "-_.") for char in name):
        return "an issuer's name is at most 64 letters, digits, dots, dashes and underscores"
    if name == "os":
        return "people of this machine are called os:NAME; an issuer of that name could make itself any of them"
    if not 0 <= issuer.leeway_s <= MAX_LEEWAY_S:
        return f"leeway_s is 0 to {MAX_LEEWAY_S}, not {issuer.leeway_s}"
    if not 0 < issuer.max_life_s <= MAX_LIFE_S:
        return f"max_life_s is 1 to {MAX_LIFE_S}, not {issuer.max_life_s}"
    if not 0 < issuer.svid_life_s <= MAX_SVID_LIFE_S:
        return f"svid_life_s is 1 to {MAX_SVID_LIFE_S}, not {issuer.svid_life_s}"
    if not issuer.url or not issuer.url.isprintable():
        return "url is what the issuer's tokens call it, and must not be empty"
    return _unknown_algs(issuer) or _place_problem(issuer) or _kind_problem(issuer)


def _unknown_algs(issuer: IssuerSettings) -> str:
    if not issuer.algs:
        return ""
    from lictor.protocol.jose.algs import ALGS  # noqa: PLC0415 - the library behind it is loaded only where issuers are

    unknown = sorted(set(issuer.algs) - ALGS.keys())
    return f"algs: {unknown[0]!r:.40} is no algorithm that can be allowed" if unknown else ""


def _place_problem(issuer: IssuerSettings) -> str:
    if issuer.jwks_url and issuer.file:
        return "jwks_url and file exclude each other"
    if issuer.jwks_url and not fetchable(issuer.jwks_url):
        return "jwks_url must be https (http for loopback only)"
    if issuer.kind == "oidc" and (issuer.jwks_url or issuer.file):
        return "kind oidc finds its keys by discovery; use kind jwks to name them"
    if issuer.kind != "oidc" and not (issuer.jwks_url or issuer.file):
        return f"kind {issuer.kind} needs jwks_url or file"
    return ""


def _kind_problem(issuer: IssuerSettings) -> str:
    if issuer.kind == "oidc" and not fetchable(issuer.url):
        return "the url of kind oidc must be https (http for loopback only)"
    if issuer.kind == "spiffe":
        from lictor.protocol.jose.spiffe import trust_domain_problem  # noqa: PLC0415 - as above

        if not issuer.url.startswith("spiffe://"):
            return "the url of kind spiffe is spiffe://<trust domain>"
        return trust_domain_problem(issuer.trust_domain)
    return ""


def fetchable(url: str) -> bool:
    """Whether documents are fetched from there: https, or http on loopback; no user, no fragment."""
    try:
        parts = urlsplit(url)
        host = parts.hostname or ""
        _ = parts.port
    except ValueError:
        return False
    plain = parts.scheme == "http" and host in _LOOPBACK
    printable = url.isascii() and url.isprintable() and " " not in url
    return (
        printable
        and bool(host)
        and (parts.scheme == "https" or plain)
        and "@" not in parts.netloc
        and not parts.fragment
    )
