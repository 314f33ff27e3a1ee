"""Hosts as the resolver will see them, with what a reader should know.

One parser (WHATWG, `ada_url`), the same that finds the destination of an action. Refuses to know which host is trusted.
Messages may quote raw input: the caller renders them with `display.show` before anyone sees them.
"""

import re
from collections.abc import Iterator

import ada_url

from lictor.protocol.confusables import disguised, skeleton

_ADDRESS = re.compile(r"[A-Za-z][A-Za-z0-9+.\-]{0,31}:[/\\]{2}[^\s<>\"'`]{1,2048}")
_MAX_ADDRESSES = 20
_PLAIN_HOST = re.compile(r"[A-Za-z0-9._\-]{1,253}|\[[0-9A-Fa-f:.]{2,64}\]")


def host_display(host: str) -> tuple[str, tuple[str, ...]]:
    """The ASCII (punycode) form of a host, and warnings.

    Args:
        host: a host name or address without scheme, port and user.

    Returns:
        The form that is looked up (always ASCII), and one-line warnings, not yet rendered. A host that cannot be
        normalised comes back as a quoted, ASCII-escaped literal with the warning `not a valid host name`.
    """
    resolved = _resolved(host)
    if resolved is None:
        return ascii(host), ("not a valid host name",)
    return resolved, tuple(_host_warnings(host, resolved))


def address_warnings(text: str) -> Iterator[tuple[str, str]]:
    """(code, message) for each web address in a text whose host is not what it seems. Messages quote raw input."""
    seen: set[str] = set()
    for number, match in enumerate(_ADDRESS.finditer(text)):
        if number == _MAX_ADDRESSES:
            yield "address", f"more than {_MAX_ADDRESSES} addresses: the rest was not examined"
            return
        address = match.group()
        authority = re.split(r"[/\\?#]", re.sub(r"^[^:]*:[/\\]{2}", "", address), maxsplit=1)[0]
        if authority in seen:
            continue
        seen.add(authority)
        yield from _authority_warnings(address, authority)


def _authority_warnings(address: str, authority: str) -> Iterator[tuple[str, str]]:
    user, at, _ = authority.rpartition("@")
    host = authority[len(user) + len(at) :]
    written = re.sub(r":\d{0,5}$", "", host)
    shown, warnings = host_display(written)
    if warnings:
        yield "host", f"address with host {shown}: {'; '.join(warnings)}"
    if at:
        yield "host", f"address with a user name before the host: the host is {shown}"
    if "\\" in address[: address.find(authority)]:
        yield "host", f"address with backslashes: the host is {shown}"


def _resolved(host: str) -> str | None:
    if not host or any(char in host for char in "/\\?#@") or any(char <= " " for char in host):
        return None
    if ":" in host and not host.startswith("["):
        return None
    try:
        name: str = ada_url.URL(f"https://{host}/").hostname
    except ValueError:
        return None
    return name if _PLAIN_HOST.fullmatch(name) else None


def _host_warnings(written: str, resolved: str) -> Iterator[str]:
    labels = [_unicode_label(label) for label in resolved.split(".")]
    name = ".".join(labels)
    if any(label.startswith("xn--") for label in resolved.split(".")):
        yield "internationalised name"
        _, mixed, imitating = disguised(name)
        if mixed:
            yield "mixed script"
        if imitating:
            yield "letters that look like ASCII"
        imitated = skeleton(name)
        if imitated.isascii() and not any(label.startswith("xn--") for label in labels):
            yield f"may be mistaken for {imitated}"
    elif written.lower() != resolved:
        yield f"written differently: {written}"


def _unicode_label(label: str) -> str:
    if not label.startswith("xn--"):
        return label
    decoded: str = ada_url.idna.decode(label)
    return decoded or label
