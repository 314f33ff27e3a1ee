"""Where passkeys work: the name a browser binds them to, and the origin their answers come from.

A passkey belongs to a *relying party id*: a domain, never an IP address (W3C WebAuthn level 3, section 4). Refuses to know
requests, cookies and keys.
"""

from dataclasses import dataclass
from typing import Final
from urllib.parse import urlsplit

import ada_url

_LOOPBACK: Final = frozenset({"127.0.0.1", "::1"})
_LOCAL: Final = "localhost"


@dataclass(frozen=True, slots=True, kw_only=True)
class Site:
    """The console, as a browser's passkeys know it."""

    rp_id: str
    origin: str
    """Exactly as the browser writes it, e.g. `https://gateway.example`."""


def people_url(public_url: str) -> str:
    """The address to give to people: with `localhost` in place of a loopback IP, which no passkey can belong to.

    Args:
        public_url: `scheme://host[:port]`; anything but a loopback IP comes back as it is.
    """
    parts = urlsplit(public_url)
    if parts.hostname not in _LOOPBACK:
        return public_url
    port = f":{parts.port}" if parts.port is not None else ""
    return f"{parts.scheme}://{_LOCAL}{port}"


def site_of(public_url: str) -> Site | None:
    """Where the passkeys of a console work; None: no browser offers any at this address.

    Browsers want https, or `localhost` (a secure context), and a name (no IP address).
    """
    try:
        url = ada_url.URL(people_url(public_url))
    except ValueError:
        return None
    host, local = url.hostname, url.hostname == _LOCAL or url.hostname.endswith(f".{_LOCAL}")
    name = url.host_type == ada_url.HostType.DEFAULT and bool(host)
    if not name or not (url.protocol == "https:" or (url.protocol == "http:" and local)):
        return None
    return Site(rp_id=host, origin=url.origin)
