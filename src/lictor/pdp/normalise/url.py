"""URLs and hosts as destinations.

One WHATWG parser reads hosts (ada): two parsers disagree on 20 of 34 hostile URLs (`docs/explanation/threats.md`), so a URL that
another parser could split elsewhere is refused before it is read. Refuses to know what is behind the host.
"""

import re
from typing import Any, Final

from lictor.model.catalog import DestinationSelector
from lictor.model.errors import CallerError
from lictor.model.reasons import Reason
from lictor.pdp.normalise.directory import Directory
from lictor.pdp.normalise.hosts import read_host
from lictor.pdp.normalise.target import Target, domain_of
from lictor.pdp.normalise.url_path import read_path

MAX_URL: Final = 8_192
DEFAULT_PORTS: Final = {"http": 80, "https": 443, "ftp": 21, "ws": 80, "wss": 443}
_PLAIN_URL: Final = re.compile(
    r"(?P<scheme>[A-Za-z][A-Za-z0-9+.\-]*)://"
    r"(?P<host>\[[0-9A-Fa-f:.]+\]|[^/?#\\@%:\[\]\x00-\x20\x7f]+)(?::(?P<port>[0-9]{1,5}))?"
    r"(?P<path>/[^?#\x00-\x20\x7f]*)?(?:[?#][^\x00-\x20\x7f]*)?",
    re.DOTALL,
)
"""A URL whose host every parser finds in the same place. A server reads the raw text with a parser of its own; for a backslash,
user information, a missing slash, an escape or a blank in front of the path each takes another host."""
_HOST_PORT: Final = re.compile(r"(?P<host>\[[0-9A-Fa-f:.]+\]|[^/?#\\@%:\[\]\x00-\x20\x7f]+)(?::(?P<port>[0-9]{1,5}))?")
_BARE_6: Final = re.compile(r"[0-9A-Fa-f]*:[0-9A-Fa-f:.]*:[0-9A-Fa-f.]*")
_MAX_PORT: Final = 65_535


def url_target(raw: Any, selector: DestinationSelector, directory: Directory, where: str) -> Target:
    """Where a URL leads.

    Raises:
        CallerError: `unknown_destination`: not a string, not a plain absolute URL, another scheme, no valid host, and, where the
            selector says so, a path of several readings.
    """
    if not isinstance(raw, str):
        raise _unknown("the destination is missing or not a string", where)
    match = _PLAIN_URL.fullmatch(raw) if len(raw) <= MAX_URL else None
    if match is None:
        raise _unknown("the destination is not a plain absolute URL", where)
    scheme = match["scheme"].lower()
    if scheme not in (("https", "http") if selector.schemes is None else selector.schemes):
        raise _unknown(f"scheme {scheme[:20]!r} is not accepted", where)
    host = read_host(match["host"], where)
    default = DEFAULT_PORTS.get(scheme, 0)
    port = _port(match["port"], where) or default
    path = read_path(match["path"] or "/")
    if not path and selector.unclear == "deny":
        raise _unknown("the path of this URL has more than one reading", where)
    return Target(
        kind="url",
        scheme=scheme,
        path=path,
        host=host.name,
        domain=domain_of(host, private_suffixes=selector.private_suffixes),
        port=port,
        directory=directory.names_of(host.name, port, default_port=port == default),
        ip=host.ip,
        private=host.private,
        idn=host.idn,
        mixed_script=host.mixed_script,
    )


def host_target(raw: Any, port: int, selector: DestinationSelector, directory: Directory, where: str) -> Target:
    """The host of `host`, `host:port`, `[v6]:port` or a bare IPv6 address; `port` is from an argument of its own, or 0.

    Raises:
        CallerError: `unknown_destination`.
    """
    if not isinstance(raw, str):
        raise _unknown("the host is missing or not a string", where)
    text = f"[{raw}]" if _BARE_6.fullmatch(raw) else raw
    match = _HOST_PORT.fullmatch(text) if len(text) <= MAX_URL else None
    if match is None:
        raise _unknown("this is no plain host", where)
    host = read_host(match["host"], where)
    written = _port(match["port"], where)
    if written and port and written != port:
        raise _unknown("the host names another port than the port argument", where)
    port = written or port
    return Target(
        kind="host",
        host=host.name,
        domain=domain_of(host, private_suffixes=selector.private_suffixes),
        port=port,
        directory=directory.names_of(host.name, port, default_port=port == 0),
        ip=host.ip,
        private=host.private,
        idn=host.idn,
        mixed_script=host.mixed_script,
    )


def port_of(raw: Any, where: str) -> int:
    """A port argument.

    Raises:
        CallerError: `unknown_destination`: no integer from 1 to 65535.
    """
    if isinstance(raw, bool) or not isinstance(raw, int) or not 0 < raw <= _MAX_PORT:
        raise _unknown("the port is not an integer from 1 to 65535", where)
    return raw


def _port(text: str | None, where: str) -> int:
    return port_of(int(text), where) if text else 0


def _unknown(message: str, where: str) -> CallerError:
    return CallerError(Reason.UNKNOWN_DESTINATION, message, where=where)
