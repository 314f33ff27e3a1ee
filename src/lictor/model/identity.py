"""Who somebody has proved to be, and what has to be proved to be somebody. No token text and no key is kept here."""

from typing import Any, Literal

import msgspec

How = Literal["jwt", "jwt_svid", "x509_svid", "private_key_jwt", "secret", "local"]


class Proof(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, omit_defaults=True):
    """One way to prove oneself, as the bundle states it. Everything it names must hold, and it names a subject or a claim."""

    issuer: str
    """Name of an issuer in the settings (`[issuers.NAME]`)."""
    subject: str = ""
    """`sub`, or the SPIFFE ID; compared as it stands, nothing is normalised."""
    claims: dict[str, str] = {}
    """Claims by name, compared as they stand; a list in the token must hold the value."""


class Proven(msgspec.Struct, frozen=True, kw_only=True):
    """A verified identity: signature, audience and time have been checked; what it may do has not."""

    issuer: str
    """Name of the issuer in the settings, never the token's own word for it."""
    subject: str
    how: How
    expires_at_ms: int
    claims: dict[str, Any] = {}
    """As signed."""
    thumbprint: str = ""
    """What the sender is bound to (`cnf`): `jkt:<RFC 7638>` or `x5t:<RFC 8705>`; empty: a bearer."""
    token_digest: str = ""
    """SHA-256 (hex) of the token, for records and replay checks."""


class Opener(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, omit_defaults=True):
    """Who asks for a task. An agent can ask for a part of its own only, for an agent that its registry entry names."""

    kind: Literal["person", "application", "operator", "agent"]
    """`operator`: somebody with access to the state folder, through the command line."""
    name: str
    groups: tuple[str, ...] = ()
