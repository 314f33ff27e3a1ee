"""The path of a URL, in the one spelling every reader arrives at, or none.

Clients, proxies and servers disagree about a path: whether `//` is one slash, whether `;x` belongs to a segment, when an
escape is decoded, and whether dot segments are resolved before or after (CVE-2026-48710; Tomcat's `..;`). A path that comes
out differently for some of them has no certain reading, and is not told. Refuses to know what a path leads to.
"""

import re
import unicodedata
from typing import Final
from urllib.parse import unquote_to_bytes

_PLAIN: Final = re.compile(r"(?:/[A-Za-z0-9_~!$&'()*+,=:@-][A-Za-z0-9._~!$&'()*+,=:@-]*)*/?", re.ASCII)
"""Reads the same everywhere as it stands: no escape, no empty segment, none that begins with a dot."""
_TWO_READINGS: Final = re.compile(r"//|[;\\]")
_ESCAPES: Final = re.compile(r"%(?:[0-9A-Fa-f]{2})?")
_NEVER_ESCAPED: Final = frozenset(
    b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-._~/\\%;?#\x7f" + bytes(range(32))
)
"""Unreserved characters, which nobody honest escapes (RFC 3986, 2.3), and those that mean something else once decoded."""
_STRUCTURE: Final = frozenset("/\\.;%?#")


def read_path(text: str) -> str:
    """A path that begins with a slash, decoded once and without dot segments; empty if it has more than one reading.

    Args:
        text: what stands between a URL's host and its query, as it was sent.
    """
    if _PLAIN.fullmatch(text):
        return text or "/"
    if _TWO_READINGS.search(text) or any(not _may_be_escaped(escape) for escape in _ESCAPES.findall(text)):
        return ""
    try:
        decoded = unquote_to_bytes(text).decode("utf-8")
    except UnicodeError:
        return ""
    return _resolved(decoded) if decoded.isascii() or _has_one_form(decoded) else ""


def _may_be_escaped(escape: str) -> bool:
    return len(escape) == len("%20") and int(escape[1:], 16) not in _NEVER_ESCAPED


def _has_one_form(text: str) -> bool:
    """No character that a server's best fit turns into structure (U+FF0F, U+2024), none that does not show."""
    return unicodedata.normalize("NFC", text) == text and not any(
        not char.isascii()
        and (unicodedata.category(char)[0] in "CZ" or _STRUCTURE.intersection(unicodedata.normalize("NFKC", char)))
        for char in text
    )


def _resolved(path: str) -> str:
    """Without dot segments (RFC 3986, 5.2.4); empty where they lead above the root, which some refuse and others clamp."""
    found: list[str] = []
    segments = path.split("/")[1:]
    for segment in segments:
        if segment == "..":
            if not found:
                return ""
            found.pop()
        elif segment not in {".", ""}:
            found.append(segment)
    last = "/" if found and segments[-1] in {"", ".", ".."} else ""
    return "/" + "/".join(found) + last
