"""Whether a server may be lent a credential, by the settings alone. No connection is looked at and nothing is asked."""

from urllib.parse import urlsplit

from lictor.config import ServerSettings
from lictor.model.lease import Credential
from lictor.policy.authority import COMMAND
from lictor.service.credentials.loan import Where

_PORTS = {"http": 80, "https": 443}


def where_of(settings: ServerSettings) -> Where:
    """Where a server's connection leads, by the settings alone (CRED-03)."""
    return Where(destination=origin_of(settings.url), url=settings.url) if settings.url else Where(destination=COMMAND)


def origin_of(url: str) -> str:
    """Scheme, host and port of a URL in lower case; the scheme's own port is left out."""
    parts = urlsplit(url)
    host = parts.hostname or ""
    host = f"[{host}]" if ":" in host else host
    port = f":{parts.port}" if parts.port is not None and parts.port != _PORTS.get(parts.scheme) else ""
    return f"{parts.scheme}://{host}{port}"


def in_the_clear(settings: ServerSettings) -> bool:
    """Whether what is sent to a server can be read on the way there."""
    url = settings.url
    return url.lower().startswith("http:") and (urlsplit(url).hostname or "") not in {"localhost", "127.0.0.1", "::1"}


def problem_of(credential: Credential, settings: ServerSettings | None) -> str:
    """Why a credential can never be lent in this configuration; empty where it can, or its server is not ours."""
    if settings is None:
        return ""
    if settings.shared:
        return f"server {credential.server!r} is shared by all tasks; take `shared` away, or the credential"
    where = where_of(settings)
    if where.destination != credential.destination:
        return f"it is for {credential.destination!r}, and server {credential.server!r} is at {where.destination!r}"
    if in_the_clear(settings):
        return f"server {credential.server!r} is reached without TLS; nothing is sent there in the clear"
    return ""
