"""Which resource URIs may be matched by a prefix: those that can be read in one way only.

`file:///docs/*` must not let `file:///docs/../etc/passwd` through, nor any spelling of it that a server might undo. Refuses to
know schemes and servers, so it refuses a spelling instead of undoing it.
"""

import re
from typing import Any, Final

from lictor.model.errors import CallerError
from lictor.model.reasons import Reason

_DOTS: Final = re.compile(r"(?:^|[/?#&=:;])\.{1,2}(?:$|[/?#&;])")
_HIDDEN: Final = re.compile(r"%(?:25)*(?:2[ef]|5c|0[0-9a-f]|1[0-9a-f]|7f)", re.IGNORECASE)
_PLAIN: Final = re.compile(r"[!-\[\]-~]+", re.ASCII)
_PERCENT: Final = re.compile(r"%(?![0-9A-Fa-f]{2})")


def check_uri(uri: Any) -> None:
    """Return if the URI has no dot segments, no escaped dots, slashes or control characters, and is printable ASCII.

    Raises:
        CallerError: `invalid_arguments` (RFC 3986 2, 5.2.4, 6.2.2; CWE-22).
    """
    if (
        type(uri) is not str
        or _PLAIN.fullmatch(uri) is None
        or _DOTS.search(uri)
        or _HIDDEN.search(uri)
        or _PERCENT.search(uri)
    ):
        raise CallerError(
            Reason.INVALID_ARGUMENTS,
            "the URI is not in its plain form",
            remedy="no `.` or `..` segments, no backslash, no escaped dot, slash or control character",
            where="/uri",
        )
