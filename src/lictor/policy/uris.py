"""Which resource URIs may be matched by a prefix: those that can be read in one way only.

`file:///docs/*` must not let `file:///docs/../etc/passwd` through, nor any spelling of it that a server might undo. Refuses to
know schemes and servers, so it refuses a spelling instead of undoing it.
"""

import re
from typing import Any, Final

from lictor.model.errors import CallerError
from lictor.model.reasons import Reason

_DOTS: Final = re.compile(r"(?:^|[/?#&=:;])\.{1,2}(?:$|[/?#&;])")
_HIDDEN: Final = re.compile(
    r"%(?:25)*(?:2[def]|5[cf]|0[0-9a-f]|1[0-9a-f]|7[ef]|3[0-9]|[46][1-9a-f]|[57][0-9a])", re.IGNORECASE
)
"""Escapes that a server may undo into another path: dots, slashes, controls, and what is never escaped (RFC 3986 2.3)."""
_SCHEME: Final = re.compile(r"[A-Za-z][A-Za-z0-9+.\-]*:(?://)?", re.ASCII)
_PLAIN: Final = re.compile(r"[!-\[\]-~]+", re.ASCII)
_PERCENT: Final = re.compile(r"%(?![0-9A-Fa-f]{2})")


def check_uri(uri: Any) -> None:
    """Return if the URI is printable ASCII in one spelling: no dot or empty segments, nothing escaped that needs no escape.

    Raises:
        CallerError: `invalid_arguments` (RFC 3986 2, 5.2.4, 6.2.2; CWE-22).
    """
    if (
        type(uri) is not str
        or _PLAIN.fullmatch(uri) is None
        or _DOTS.search(uri)
        or _HIDDEN.search(uri)
        or _has_empty_segment(uri)
        or _PERCENT.search(uri)
    ):
        raise CallerError(
            Reason.INVALID_ARGUMENTS,
            "the URI is not in its plain form",
            remedy="no `.`, `..` or empty segments, no backslash, no escaped letter, digit, dot, slash or control character",
            where="/uri",
        )


def _has_empty_segment(uri: str) -> bool:
    """Whether the path, behind scheme and `//`, holds `//`: servers collapse it, and read `/docs//secret` as `/docs/secret`."""
    path = _SCHEME.sub("", re.split("[?#]", uri, maxsplit=1)[0], count=1)
    return "//" in path
