"""A form as the token endpoint takes it (RFC 6749 3.2, appendix B): one spelling, each parameter once, nothing guessed.

Refuses to know which parameters there are.
"""

import re
from typing import Final
from urllib.parse import unquote_to_bytes

from lictor.protocol.oauth.errors import refuse

MAX_BYTES: Final = 64 * 1024
"""Two tokens of 16 KiB and the details of a task."""
_MAX_FIELDS: Final = 24
_PART: Final = re.compile(rb"(?:[A-Za-z0-9*\-._~+!$'(),;:@/?]|%[0-9A-Fa-f]{2})*")
"""What a form may hold between `&` and `=`: real senders leave more unescaped than the URL standard's serialiser does."""
_NAME: Final = re.compile(r"[a-z_]{1,40}", re.ASCII)


def read_form(body: bytes) -> dict[str, str]:
    """Parameters by name. One without a value counts as left out (RFC 6749 3.2).

    Raises:
        OAuthError: `invalid_request`: a parameter twice (whatever it is: two readers could take either), a character that has to
            be escaped, bytes that are not UTF-8, controls, too large.
    """
    if len(body) > MAX_BYTES:
        refuse("invalid_request", f"a form has at most {MAX_BYTES} bytes")
    found: dict[str, str] = {}
    pairs = body.split(b"&") if body else []
    if len(pairs) > _MAX_FIELDS:
        refuse("invalid_request", f"a form has at most {_MAX_FIELDS} parameters")
    for pair in pairs:
        name, equals, value = pair.partition(b"=")
        if not equals:
            refuse("invalid_request", "a parameter of the form has no '='")
        key, text = _text(name), _text(value)
        if _NAME.fullmatch(key) is None:
            refuse("invalid_request", f"{key[:40]!r} is no name of a parameter")
        if key in found:
            refuse("invalid_request", f"parameter {key!r} is given twice")
        found[key] = text
    return {name: text for name, text in found.items() if text}


def _text(part: bytes) -> str:
    if _PART.fullmatch(part) is None:
        refuse("invalid_request", "the form is not encoded as application/x-www-form-urlencoded")
    try:
        text = unquote_to_bytes(part.replace(b"+", b" ")).decode("utf-8")
    except UnicodeDecodeError:
        refuse("invalid_request", "the form is not UTF-8")
    if any((ord(char) < 32 and char not in "\t\n\r") or ord(char) == 127 for char in text):
        refuse("invalid_request", "the form has control characters")
    return text
