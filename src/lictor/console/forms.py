"""What a browser sends with a request, read strictly: small forms, each field once; ids, numbers and words of a query, bounded.

Refuses to know what the fields mean.
"""

import asyncio
from collections.abc import Mapping
from typing import Final
from urllib.parse import parse_qs

from starlette.requests import Request

MAX_FORM_BYTES: Final = 16 * 1_024
MAX_FIELDS: Final = 100
FORM_TIMEOUT_S: Final = 10.0
MAX_QUERY: Final = 200
"""Characters of one word of a query."""
MAX_ID: Final = 128


async def read_form(request: Request, most_bytes: int = MAX_FORM_BYTES) -> Mapping[str, str]:
    """A small URL-encoded form; each field once.

    A form that is too large, late, or has a field twice reads as empty, which no check accepts; nothing is raised.
    """
    body = b""
    try:
        async with asyncio.timeout(FORM_TIMEOUT_S):
            async for chunk in request.stream():
                body += chunk
                if len(body) > most_bytes:
                    return {}
    except TimeoutError:
        return {}
    try:
        fields = parse_qs(
            body.decode("utf-8"),
            keep_blank_values=True,
            strict_parsing=True,
            max_num_fields=MAX_FIELDS,
            errors="strict",
        )
    except ValueError:
        return {}
    if any(len(values) != 1 for values in fields.values()):
        return {}
    return {name: values[0] for name, values in fields.items()}


def plausible(text: str) -> bool:
    """Whether it can be an id of ours: only such go into a redirect or a link (no open redirect, no header injection)."""
    return 0 < len(text) <= MAX_ID and text.isascii() and all(char.isalnum() or char in "_-" for char in text)


def word(request: Request, name: str, most: int = MAX_QUERY) -> str:
    """One word of the query; empty when it is not there, there twice, or longer than `most`."""
    values = request.query_params.getlist(name)
    return values[0] if len(values) == 1 and len(values[0]) <= most else ""


def number(request: Request, name: str, default: int, *, least: int = 0, most: int = 2**53) -> int:
    """One whole number of the query; the default when it is not there, is none, or is out of range."""
    text = word(request, name, 20)
    found = int(text) if text.isascii() and text.isdecimal() else default
    return found if least <= found <= most else default
