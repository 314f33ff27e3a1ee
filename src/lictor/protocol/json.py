"""The one reader of JSON for everything that comes in, stricter than RFC 8259 so that no two readers can disagree.

Two parsers that read the same bytes differently are how a gateway is passed: the first of two equal keys here, the
second behind us (CVE-2026-27896). So whatever readers treat differently is refused here, with a stable code and, where
it has one, a JSON pointer. This module refuses to know what a message means.

How: the C scanner of the standard library parses once, with hooks that notice equal keys and unusual numbers; when a
hook objects, a second parse that keeps everything finds the place. Only refused input pays for the second one.
"""

import json
import re
from collections.abc import Iterator
from math import isinf
from typing import Any, Final

import msgspec

from lictor.model.canonical import SAFE_INTEGER, JsonValue, float_is_unsafe
from lictor.model.errors import CallerError, UpstreamError
from lictor.model.limits import Limits
from lictor.model.reasons import Reason

_SAFE_DIGITS: Final = 15
"""Every literal up to this length is a safe integer, sign included; longer ones are looked at."""
_NUMBER_CHARS: Final = 1024
"""A longer number literal is refused: conversion is not linear in its length."""
_POINTER_CHARS: Final = 256
_SPACE: Final = " \t\n\r"
_BOMS: Final = (b"\xef\xbb\xbf", b"\xfe\xff", b"\xff\xfe")

# The closing quote is optional, so that a match never fails and the scan stays linear on hostile input.
_STRING: Final = re.compile(rb'"(?:[^"\\]++|\\.)*+(?:"|\\?\Z)', re.DOTALL)
_NOT_BRACKETS: Final = bytes(set(range(256)) - set(b"[]{}"))
_SURROGATE_ESCAPE: Final = re.compile(r"\\u[dD][89abAB]|\\u[dD][c-fC-F]")


class Parsed(msgspec.Struct, frozen=True):
    """What was read, and what the canonical encoder has to know about it.

    Attributes:
        value: the document.
        floats: a number with fraction or exponent was seen.
        big_ints: an integer beyond 2^53-1 was seen (upstream replies only; elsewhere it is refused).
        astral_keys: a key holds a character beyond U+FFFF.
    """

    value: JsonValue
    floats: bool = False
    big_ints: bool = False
    astral_keys: bool = False

    @property
    def plain(self) -> bool:
        """Whether `canonical_trusted` may take its quick way with any part of `value`."""
        return not (self.floats or self.big_ints or self.astral_keys)


class _Bounds(msgspec.Struct, frozen=True):
    """The limits that apply to one reading."""

    message_bytes: int
    depth: int
    members: int
    string_bytes: int
    key_bytes: int
    keep_big_ints: bool


def read(data: bytes, limits: Limits, *, max_bytes: int | None = None) -> Parsed:
    """Read one JSON document that a caller sent.

    Args:
        data: the whole document in UTF-8.
        limits: bounds on depth, members, strings and keys.
        max_bytes: bound on `data`; `limits.message_bytes` if not given.

    Raises:
        CallerError: NOT_UTF8, INVALID_JSON, TRAILING_DATA, DUPLICATE_KEY, INVALID_UNICODE, UNSAFE_INTEGER,
            NUMBER_RANGE, TOO_LARGE, TOO_DEEP, TOO_MANY; `where` is a JSON pointer where the fault has one. Sources: RFC
            8259, RFC 7493 (I-JSON), RFC 8785 3.1; cases JSON-01, -02, -06, -08, -10, -13.
    """
    size = limits.message_bytes if max_bytes is None else max_bytes
    bounds = _Bounds(size, limits.json_depth, limits.json_members, limits.string_bytes, limits.key_bytes, False)
    return _read(data, bounds)


def read_upstream(data: bytes, limits: Limits, *, effect_possible: bool) -> Parsed:
    """Read one message of a server behind us: as strict, but larger, and integers of any size stay exact.

    Args:
        data: the whole document in UTF-8.
        limits: the `upstream_*` bounds apply.
        effect_possible: goes into the error: whether the request it answers may have had its effect.

    Raises:
        UpstreamError: UPSTREAM_TOO_LARGE, or UPSTREAM_INVALID with the caller's wording of the fault.
    """
    size = limits.upstream_message_bytes
    bounds = _Bounds(size, limits.json_depth, limits.upstream_json_members, size, limits.key_bytes, True)
    try:
        return _read(data, bounds)
    except CallerError as error:
        reason = Reason.UPSTREAM_TOO_LARGE if error.reason in _SIZE_REASONS else Reason.UPSTREAM_INVALID
        raise UpstreamError(reason, error.message, effect_possible=effect_possible, where=error.where) from error


_SIZE_REASONS: Final = frozenset({Reason.TOO_LARGE, Reason.TOO_MANY, Reason.TOO_DEEP})


def _read(data: bytes, bounds: _Bounds) -> Parsed:
    if len(data) > bounds.message_bytes:
        raise CallerError(Reason.TOO_LARGE, f"{len(data)} bytes, at most {bounds.message_bytes} are accepted")
    text = _decode(data)
    _check_shape(data, bounds)
    hooks = _Hooks(bounds, text)
    try:
        value = _parse(hooks.decoder(), text)
    except _SuspectError:
        _refuse_at_place(text, bounds)
        raise CallerError(Reason.INVALID_JSON, "not acceptable as JSON") from None
    if hooks.surrogates:
        _check_surrogates(value, text, bounds)
    if len(data) > bounds.string_bytes:
        _refuse_at_place(text, bounds)
    return Parsed(value, hooks.floats, hooks.big_ints, hooks.astral_keys)


# -- before parsing ----------------------------------------------------------------------------------------------------


def _decode(data: bytes) -> str:
    """UTF-8 without byte order mark, or refuse (RFC 8259 8.1; case JSON-08: the standard library accepts UTF-16)."""
    # UTF-16 and UTF-32 without mark put a NUL beside the first ASCII character; NUL is never JSON.
    if data.startswith(_BOMS) or b"\x00" in data[:4]:
        raise CallerError(Reason.NOT_UTF8, "the text must be UTF-8 without byte order mark")
    try:
        return data.decode()
    except UnicodeDecodeError as error:
        place = error.start
    try:
        data.decode(errors="surrogatepass")
    except UnicodeDecodeError:
        raise CallerError(Reason.NOT_UTF8, f"the text is not UTF-8 at byte {place}") from None
    raise CallerError(Reason.INVALID_UNICODE, f"encoded surrogate at byte {place}")


def _check_shape(data: bytes, bounds: _Bounds) -> None:
    """Refuse nesting and crowds before the parser recurses or allocates; three byte counts in the usual case."""
    opened = data.count(b"{") + data.count(b"[")
    # n commas and m containers hold at most n + m members.
    if opened <= bounds.depth and opened + data.count(b",") <= bounds.members:
        return
    # A letter for each string keeps `[""]` apart from `[]`.
    structure = _STRING.sub(b"s", data).translate(None, b" \t\n\r")
    depth = 0
    # A document within the bound has at most two brackets for each member, so hostile ones are not scanned to their
    # end.
    for bracket in structure.translate(None, _NOT_BRACKETS)[: 2 * bounds.members + 3]:
        depth += 1 if bracket in b"[{" else -1
        if depth > bounds.depth:
            raise CallerError(Reason.TOO_DEEP, f"nested deeper than {bounds.depth} containers")
    members = sum(structure.count(sign) for sign in (b"{", b"[", b","))
    members -= structure.count(b"{}") + structure.count(b"[]")
    if members > bounds.members:
        raise CallerError(Reason.TOO_MANY, f"more than {bounds.members} members and elements")


# -- parsing -----------------------------------------------------------------------------------------------------------


class _SuspectError(Exception):
    """A hook saw something that must be refused; where it stands is found by the second parse."""


class _Hooks:
    """What the scanner calls for objects and numbers, and what they noticed. One instance reads one document."""

    __slots__ = ("_careful", "_keep_big_ints", "_key_bytes", "astral_keys", "big_ints", "floats", "surrogates")

    def __init__(self, bounds: _Bounds, text: str) -> None:
        self._keep_big_ints = bounds.keep_big_ints
        self._key_bytes = bounds.key_bytes
        self.surrogates = "\\u" in text and _SURROGATE_ESCAPE.search(text) is not None
        # Only then can a key be over the bound or outside the BMP.
        self._careful = self.surrogates or not text.isascii() or len(text) > bounds.key_bytes
        self.floats = self.big_ints = self.astral_keys = False

    def decoder(self) -> json.JSONDecoder:
        return json.JSONDecoder(
            object_pairs_hook=self._members_with_care if self._careful else self._members,
            parse_float=self._float,
            parse_int=self._int,
            parse_constant=self._constant,
        )

    def _members(self, pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        members = dict(pairs)
        if len(members) != len(pairs):
            raise _SuspectError
        return members

    def _members_with_care(self, pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        for key, _ in pairs:
            if _bytes_exceed(key, self._key_bytes):
                raise _SuspectError
            if not key.isascii() and max(key) > "\uffff":
                self.astral_keys = True
        return self._members(pairs)

    def _int(self, literal: str) -> int:
        if len(literal) <= _SAFE_DIGITS:
            return int(literal)
        if _number_fault(literal, self._keep_big_ints) is not None:
            raise _SuspectError
        number = int(literal)
        if not -SAFE_INTEGER <= number <= SAFE_INTEGER:
            self.big_ints = True
        return number

    def _float(self, literal: str) -> float:
        if _number_fault(literal, self._keep_big_ints) is not None:
            raise _SuspectError
        self.floats = True
        return float(literal)

    def _constant(self, _: str) -> float:
        raise _SuspectError


def _bytes_exceed(text: str, most: int) -> bool:
    if len(text) * 4 <= most:  # no character takes more than four bytes
        return False
    return len(text.encode(errors="surrogatepass")) > most


def _number_fault(literal: str, keep_big_ints: bool) -> tuple[Reason, str] | None:
    """What is wrong with a number literal that the grammar accepts (RFC 7493 2.2, RFC 8785 3.2.2.3)."""
    if len(literal) > _NUMBER_CHARS:
        return Reason.NUMBER_RANGE, f"a number has more than {_NUMBER_CHARS} characters"
    number = float(literal)
    if literal.lstrip("-").isdigit():
        if keep_big_ints or -SAFE_INTEGER <= int(literal) <= SAFE_INTEGER:
            return None
        return Reason.UNSAFE_INTEGER, f"integer {_short(literal)} is beyond 2^53-1"
    if isinf(number):
        return Reason.NUMBER_RANGE, f"number {_short(literal)} does not fit a 64-bit float"
    if float_is_unsafe(number) and not keep_big_ints:
        return Reason.UNSAFE_INTEGER, f"number {_short(literal)} would be written as an integer beyond 2^53-1"
    return None


def _parse(decoder: json.JSONDecoder, text: str) -> Any:
    """The whole text as one document."""
    start = len(text) - len(text.lstrip(_SPACE))
    if start == len(text):
        raise CallerError(Reason.INVALID_JSON, "empty document")
    try:
        value, end = decoder.raw_decode(text, start)
    except json.JSONDecodeError as error:
        # The wording of the library changes between versions, the position does not.
        raise CallerError(Reason.INVALID_JSON, f"not valid JSON at character {error.pos}") from None
    except RecursionError:
        raise CallerError(Reason.TOO_DEEP, "nested too deep") from None
    if end == len(text):
        return value
    tail = text[end:].lstrip(_SPACE)
    if not tail:
        return value
    if text[start] not in '{["' and text[end] not in _SPACE:  # `01`: the scanner reads the zero and stops
        raise CallerError(Reason.INVALID_JSON, f"not valid JSON at character {end}")
    raise CallerError(Reason.TRAILING_DATA, f"data after the document at character {len(text) - len(tail)}")


def _check_surrogates(value: Any, text: str, bounds: _Bounds) -> None:
    """Refuse unpaired escapes: RFC 8785 cannot carry them (case JSON-13)."""
    try:
        msgspec.json.encode(value)
    except UnicodeEncodeError:
        _refuse_at_place(text, bounds)
        raise CallerError(Reason.INVALID_UNICODE, "a string holds a lone surrogate") from None


# -- where it is wrong -------------------------------------------------------------------------------------------------


class _Members(list[tuple[str, Any]]):
    """An object as it was written: equal keys and order kept."""


class _Number:
    """A number as it was written, or one of the names that only look like one."""

    __slots__ = ("literal",)

    def __init__(self, literal: str) -> None:
        self.literal = literal


_KEEPING = json.JSONDecoder(
    object_pairs_hook=_Members,
    parse_float=_Number,
    parse_int=_Number,
    parse_constant=_Number,
)


def _refuse_at_place(text: str, bounds: _Bounds) -> None:
    """Raise for the first fault in document order, with its pointer; return if there is none."""
    path: list[str] = []
    for reason, message in _faults(_parse(_KEEPING, text), path, bounds):
        raise CallerError(reason, message, where=pointer(path))


def _faults(node: Any, path: list[str], bounds: _Bounds) -> Iterator[tuple[Reason, str]]:
    """Faults below `node`; while one is handed out, `path` names its place."""
    if isinstance(node, str):
        yield from _text_faults(node, bounds.string_bytes, "string")
    elif isinstance(node, _Number):
        yield from _literal_faults(node.literal, bounds)
    elif isinstance(node, _Members):
        seen: set[str] = set()
        for key, item in node:
            path.append(key)
            yield from _text_faults(key, bounds.key_bytes, "key")
            if key in seen:
                yield Reason.DUPLICATE_KEY, f"key {_short(key)} is given twice"
            seen.add(key)
            yield from _faults(item, path, bounds)
            path.pop()
    elif isinstance(node, list):
        for index, item in enumerate(node):
            path.append(str(index))
            yield from _faults(item, path, bounds)
            path.pop()


def _text_faults(text: str, most: int, noun: str) -> Iterator[tuple[Reason, str]]:
    try:
        text.encode()
    except UnicodeEncodeError:
        yield Reason.INVALID_UNICODE, f"a {noun} holds a lone surrogate"
    if _bytes_exceed(text, most):
        yield Reason.TOO_LARGE, f"a {noun} has more than {most} bytes"


def _literal_faults(literal: str, bounds: _Bounds) -> Iterator[tuple[Reason, str]]:
    if literal.endswith(("N", "y")):  # NaN, Infinity, -Infinity
        yield Reason.INVALID_JSON, f"{literal} is not JSON"
        return
    fault = _number_fault(literal, bounds.keep_big_ints)
    if fault is not None:
        yield fault


def _short(text: str) -> str:
    """Input as it may stand in a message: quoted, escaped, bounded."""
    return ascii(text if len(text) <= 64 else text[:61] + "...")


def pointer(path: list[str]) -> str:
    """RFC 6901, bounded, with unprintable keys escaped so that a log line stays one line and encodable."""
    steps = (step if step.isprintable() else ascii(step)[1:-1] for step in path)
    text = "".join("/" + step.replace("~", "~0").replace("/", "~1") for step in steps)
    return text if len(text) <= _POINTER_CHARS else text[: _POINTER_CHARS - 3] + "..."
