"""Arguments into facts: destination and value. What cannot be normalised is unknown, and unknown is denied.

Pure and deterministic; hostile input assumed. One WHATWG parser reads URLs (ada): two parsers disagree on 20 of 34 hostile
URLs (`docs/explanation/threats.md`), so nothing else in the house splits a URL for a decision.
"""

import ipaddress
import re
from typing import Any, Final

import ada_url
import msgspec

from lictor.model.catalog import DestinationSelector, ValueSelector
from lictor.model.errors import CallerError
from lictor.model.reasons import Reason

SAFE_INTEGER: Final = 2**53
_MISSING: Final = object()
_PLAIN_URL: Final = re.compile(
    r"[A-Za-z][A-Za-z0-9+.\-]*://[^/?#\\@%\x00-\x20\x7f]+(?:[/?#][^\x00-\x20\x7f]*)?", re.DOTALL
)
"""A URL whose host every parser finds in the same place. A server reads the raw text with a parser of its own; for a backslash,
user information, a missing slash, an escape or a blank in front of the path each takes another host."""
_AMOUNT: Final = re.compile(r"[0-9]{1,16}(?:\.([0-9]{1,4}))?", re.ASCII)
_HOST_PATTERN: Final = re.compile(r"(\*\.)?[a-z0-9.\-\[\]:]+", re.ASCII)
_DEFAULT_PORTS: Final = {"http": 80, "https": 443, "ftp": 21, "ws": 80, "wss": 443}


class Destination(msgspec.Struct, frozen=True, kw_only=True):
    """Where data goes: ASCII host (punycode, lower case, no trailing dot), explicit port, and the directory's names for it."""

    scheme: str
    host: str
    port: int
    directory: tuple[str, ...]
    """Names of the directory's host groups that list it, sorted; empty means nobody vouched for it."""

    @property
    def external(self) -> bool:
        """Not in the directory at all."""
        return not self.directory


class Value(msgspec.Struct, frozen=True, kw_only=True):
    """Money as an integer of minor units; never a float."""

    amount: int
    currency: str


class Directory(msgspec.Struct, frozen=True, kw_only=True):
    """Trusted hosts by group. A pattern is `host`, `host:port` or `*.domain` (sub-domains only), already lower case."""

    hosts: dict[str, tuple[str, ...]] = {}

    def names_of(self, host: str, port: int, *, default_port: bool) -> tuple[str, ...]:
        """Groups that list this host; a pattern without port stands for the scheme's default port only."""
        found = {
            group
            for group, patterns in self.hosts.items()
            if any(_matches(pattern, host, port, default_port=default_port) for pattern in patterns)
        }
        return tuple(sorted(found))


def valid_host_pattern(pattern: str) -> bool:
    """Whether a directory pattern has a form that can match something."""
    return pattern == pattern.lower() and _HOST_PATTERN.fullmatch(pattern) is not None


def destination_of(selector: DestinationSelector, arguments: dict[str, Any], directory: Directory) -> Destination:
    """The destination an action's arguments name.

    Raises:
        CallerError: `unknown_destination`: absent, not a string, not a URL, another scheme, userinfo, empty host.
    """
    raw = point(arguments, selector.url)
    if not isinstance(raw, str):
        raise CallerError(Reason.UNKNOWN_DESTINATION, "the destination is missing or not a string", where=selector.url)
    if _PLAIN_URL.fullmatch(raw) is None:
        raise CallerError(Reason.UNKNOWN_DESTINATION, "the destination is not a plain absolute URL", where=selector.url)
    try:
        url = ada_url.URL(raw)
    except ValueError:
        raise CallerError(Reason.UNKNOWN_DESTINATION, "the destination is not a URL", where=selector.url) from None
    scheme = str(url.protocol).removesuffix(":")
    if scheme not in selector.schemes:
        raise CallerError(Reason.UNKNOWN_DESTINATION, f"scheme {scheme!r} is not accepted", where=selector.url)
    if url.username or url.password:
        raise CallerError(Reason.UNKNOWN_DESTINATION, "a URL with user information is refused", where=selector.url)
    host = str(url.hostname).rstrip(".")
    if not host:
        raise CallerError(Reason.UNKNOWN_DESTINATION, "the URL names no host", where=selector.url)
    default = _DEFAULT_PORTS.get(scheme, 0)
    port = int(url.port) if url.port else default
    names = directory.names_of(_unmapped(host), port, default_port=port == default)
    return Destination(scheme=scheme, host=_unmapped(host), port=port, directory=names)


def value_of(selector: ValueSelector, arguments: dict[str, Any]) -> Value:
    """The monetary value an action's arguments name.

    Raises:
        CallerError: `unknown_value`: absent, not of the declared form, not positive, over 2^53 minor units, unknown currency.
    """
    raw = point(arguments, selector.amount)
    currency = point(arguments, selector.currency) if selector.currency.startswith("/") else selector.currency
    if not isinstance(currency, str) or currency not in selector.currencies:
        raise CallerError(Reason.UNKNOWN_VALUE, "the currency is missing or not one of the declared ones")
    amount = _minor(raw, selector) if selector.unit == "minor" else _decimal(raw, selector)
    if not 0 < amount <= SAFE_INTEGER:
        raise CallerError(Reason.UNKNOWN_VALUE, "the amount is not positive or too large", where=selector.amount)
    return Value(amount=amount, currency=currency)


def _minor(raw: Any, selector: ValueSelector) -> int:
    if isinstance(raw, bool) or not isinstance(raw, int):
        raise CallerError(Reason.UNKNOWN_VALUE, "the amount is not an integer of minor units", where=selector.amount)
    return raw


def _decimal(raw: Any, selector: ValueSelector) -> int:
    if not isinstance(raw, str):
        raise CallerError(Reason.UNKNOWN_VALUE, "the amount is not a decimal string", where=selector.amount)
    match = _AMOUNT.fullmatch(raw)
    fraction = (match.group(1) or "") if match else ""
    if match is None or len(fraction) > selector.digits:
        raise CallerError(
            Reason.UNKNOWN_VALUE,
            f"the amount is not a decimal string with at most {selector.digits} places",
            where=selector.amount,
        )
    whole = raw.partition(".")[0]
    scale: int = 10**selector.digits
    return int(whole) * scale + int(fraction.ljust(selector.digits, "0") or "0")


def point(document: Any, pointer: str) -> Any:
    """The value a JSON pointer (RFC 6901) names, or a private marker that is no JSON value."""
    value = document
    for token in pointer.split("/")[1:]:
        name = token.replace("~1", "/").replace("~0", "~")
        if isinstance(value, dict) and name in value:
            value = value[name]
        elif isinstance(value, list) and name.isascii() and name.isdigit() and int(name) < len(value):
            value = value[int(name)]
        else:
            return _MISSING
    return value


def _matches(pattern: str, host: str, port: int, *, default_port: bool) -> bool:
    bare, _, wanted = pattern.rpartition(":") if re.search(r":[0-9]+$", pattern) else (pattern, "", "")
    if wanted:
        if port != int(wanted):
            return False
    elif not default_port:
        return False
    if bare.startswith("*."):
        return host.endswith(bare[1:]) and len(host) > len(bare) - 1
    return host == bare


def _unmapped(host: str) -> str:
    """An IPv4-mapped IPv6 literal as the IPv4 address it is."""
    if not host.startswith("["):
        return host
    try:
        address = ipaddress.IPv6Address(host[1:-1])
    except ValueError:
        raise CallerError(Reason.UNKNOWN_DESTINATION, "the URL names no valid address") from None
    return str(address.ipv4_mapped) if address.ipv4_mapped else f"[{address.compressed}]"
