"""Hosts: one spelling for each, or none. A name that two readers could take for different hosts is unknown.

The WHATWG reading (ada) is the answer. A name with non-ASCII letters has to be the same for strict IDNA 2008 and for IDNA 2003
too, because clients of both kinds will dial it (`faß.example` is two hosts). Names are not looked up: whether a public name leads
to a private address is for whoever dials.
"""

import ipaddress
import re
import unicodedata
from functools import lru_cache
from typing import Final

import ada_url
import idna
import msgspec

from lictor.model.errors import CallerError
from lictor.model.reasons import Reason
from lictor.pdp.normalise.addresses import inward_4, inward_6

MAX_HOST: Final = 255
_PLAIN: Final = re.compile(r"(?:\[[0-9A-Fa-f:.]+\]|[^/?#\\@%:\[\]\x00-\x20\x7f]+)")
_OCTAL: Final = re.compile(r"0[0-9]")
_LABEL: Final = re.compile(r"(?!-)[a-z0-9_-]{1,63}(?<!-)", re.ASCII)
_INWARD_NAMES: Final = ("localhost", "local", "internal", "home.arpa", "lan", "intranet", "corp", "home")
"""Names that stand for something inside: RFC 6761, RFC 6762, RFC 8375, ICANN's `internal`, and what is used as such."""
_TOGETHER: Final = (
    frozenset({"CJK", "HIRAGANA", "KATAKANA", "KATAKANA-HIRAGANA"}),
    frozenset({"CJK", "HANGUL"}),
    frozenset({"CJK", "BOPOMOFO"}),
)


class Host(msgspec.Struct, frozen=True, kw_only=True):
    """One host in its one spelling."""

    name: str
    """ASCII, lower case, A-labels, no trailing dot; IPv4 dotted; IPv6 compressed in brackets."""
    ip: bool
    private: bool
    """An address that is not an ordinary public one, or a name that stands for something inside."""
    idn: bool
    mixed_script: bool
    """A label mixes letters of scripts that no one language writes together (UTS 39, 5.1)."""


def read_host(raw: str, where: str) -> Host:
    """The host a text names, by itself: no port, no path.

    Raises:
        CallerError: `unknown_destination`.
    """
    try:
        return _host(raw)
    except CallerError as error:
        raise CallerError(error.reason, error.message, where=where) from None


@lru_cache(maxsize=4096)
def _host(raw: str) -> Host:
    if len(raw) > MAX_HOST or _PLAIN.fullmatch(raw) is None:
        raise _unknown("this is no plain host")
    try:
        name = str(ada_url.URL(f"https://{raw}/").hostname)
    except (ValueError, UnicodeError):
        raise _unknown("this is no host") from None
    if name.startswith("["):
        return _address_6(name)
    name = name.removesuffix(".")
    address = _dotted(name)
    if address is not None:
        return _address_4(raw, name, address)
    if not raw.isascii():
        _check_international(raw, name)
    labels = name.split(".")
    if not all(_LABEL.fullmatch(label) for label in labels):
        raise _unknown("a label of the host is empty, too long, or has an unusual character")
    spelled = [_unicode(label) for label in labels]
    return Host(
        name=name,
        ip=False,
        private=len(labels) == 1 or any(name == inner or name.endswith(f".{inner}") for inner in _INWARD_NAMES),
        idn=any(label.startswith("xn--") for label in labels),
        mixed_script=any(_mixes(label) for label in spelled if not label.isascii()),
    )


def _address_6(name: str) -> Host:
    try:
        address = ipaddress.IPv6Address(name[1:-1])
    except ValueError:
        raise _unknown("this is no valid address") from None
    shown = str(address.ipv4_mapped) if address.ipv4_mapped else f"[{address.compressed}]"
    return Host(name=shown, ip=True, private=inward_6(address), idn=False, mixed_script=False)


def _address_4(raw: str, name: str, address: ipaddress.IPv4Address) -> Host:
    """Decimal, hexadecimal and short forms have one reading; a leading zero is octal to some and decimal to others."""
    if not raw.isascii() or any(_OCTAL.match(part) for part in raw.split(".")):
        raise _unknown("this address has two readings")
    return Host(name=name, ip=True, private=inward_4(address), idn=False, mixed_script=False)


def _dotted(name: str) -> ipaddress.IPv4Address | None:
    if not name[-1:].isdigit():
        return None
    try:
        return ipaddress.IPv4Address(name)
    except ValueError:
        return None


def _check_international(raw: str, name: str) -> None:
    text = raw.removesuffix(".").lower()
    try:
        strict = idna.encode(text).decode("ascii")
        old = text.encode("idna").decode("ascii")
    except (idna.IDNAError, UnicodeError):
        raise _unknown("this international name is not valid in the strict form") from None
    if not strict == old == name:
        raise _unknown("this international name has two readings")


def _unicode(label: str) -> str:
    if not label.startswith("xn--"):
        return label
    try:
        spelled = idna.ulabel(label)
        if idna.alabel(spelled).decode("ascii") == label:
            return spelled
    except (idna.IDNAError, UnicodeError):
        pass
    raise _unknown("a label of the host is no valid international name")


def _mixes(label: str) -> bool:
    scripts = {_script(char) for char in label if unicodedata.category(char).startswith("L")}
    return len(scripts) > 1 and not any(scripts <= allowed for allowed in _TOGETHER)


def _script(char: str) -> str:
    """The first word of a letter's Unicode name: `LATIN`, `CYRILLIC`, `CJK`."""
    return unicodedata.name(char, "?").partition(" ")[0]


def _unknown(message: str) -> CallerError:
    return CallerError(Reason.UNKNOWN_DESTINATION, message)
