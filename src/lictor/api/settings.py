"""`[oauth]`, `[sign_in]` and `[listen.tls]` of `lictor.toml`. Refuses to know issuers beyond their names."""

from collections.abc import Mapping
from typing import Protocol

import msgspec

from lictor.model.errors import OperatorError
from lictor.model.reasons import Reason


class OAuth(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Who is believed at the token service and at the MCP endpoint. Issuers by their names in `[issuers.NAME]`."""

    people: tuple[str, ...] = ()
    """Issuers whose tokens may stand for a person, who opens tasks. None: no token does."""
    mcp_clients: tuple[str, ...] = ()
    """Authorisation servers whose access tokens are accepted at the MCP endpoint itself; announced to clients (RFC 9728)."""


class SignIn(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """How people sign in at the console, besides enrolled secrets."""

    issuer: str = ""
    """Name of an issuer of kind `oidc`; empty: enrolled secrets only."""
    client_id: str = ""
    """What this gateway is to it; its redirect URI is `<public_url>/login/callback`."""
    client_secret_env: str = ""
    """Environment variable with the client's secret; empty: a public client, PKCE alone."""
    scope: str = "openid"
    """What is asked for."""


class Tls(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """TLS at our own door. Without it the gateway speaks plain HTTP. Files are relative to the bundle folder."""

    cert: str = ""
    """PEM chain of the server; empty: no TLS."""
    key: str = ""
    """PEM private key."""
    client_ca: str = ""
    """PEM roots that client certificates (X.509-SVIDs) are checked against; empty: none is asked for."""
    require: bool = False
    """Whether a client without certificate is turned away in the handshake. Browsers cannot sign in then."""


class _Issuer(Protocol):
    @property
    def kind(self) -> str: ...


def check_oauth(oauth: OAuth, sign_in: SignIn, tls: Tls, issuers: Mapping[str, _Issuer], where: str) -> None:
    """Refuse what names nobody or contradicts itself.

    Raises:
        OperatorError: `config_refused`.
    """
    for place, names in (("people", oauth.people), ("mcp_clients", oauth.mcp_clients)):
        for name in names:
            if name not in issuers or issuers[name].kind not in {"oidc", "jwks"}:
                _refuse(f"{name!r:.80} is no issuer of kind oidc or jwks", f"{where} [oauth] {place}")
    if sign_in.issuer:
        if sign_in.issuer not in issuers or issuers[sign_in.issuer].kind != "oidc":
            _refuse(f"{sign_in.issuer!r:.80} is no issuer of kind oidc", f"{where} [sign_in] issuer")
        if not sign_in.client_id:
            _refuse("client_id is what this gateway is to the issuer", f"{where} [sign_in]")
        if "openid" not in sign_in.scope.split(" "):
            _refuse("scope has to hold openid", f"{where} [sign_in]")
    elif sign_in != SignIn():
        _refuse("issuer is missing", f"{where} [sign_in]")
    if bool(tls.cert) != bool(tls.key):
        _refuse("cert and key come together", f"{where} [listen.tls]")
    if (tls.client_ca and not tls.cert) or (tls.require and not tls.client_ca):
        _refuse("client_ca needs cert and key, require needs client_ca", f"{where} [listen.tls]")


def _refuse(message: str, where: str) -> None:
    raise OperatorError(Reason.CONFIG_REFUSED, message, where=where, remedy="see docs/how-to/tokens.md")
