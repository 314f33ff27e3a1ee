"""The wire form of one log entry: a small canonical JSON envelope round a body it refuses to interpret.

One entry has one encoding. Decoding encodes again and compares, so repeated keys, white space, other key orders, other
number forms and escapes are refused without a rule for each.
"""

import re
from typing import Any, Final

import msgspec

from lictor.model.errors import StoreError
from lictor.model.reasons import Reason

VERSION: Final = 1
MAX_DEPTH: Final = 32
"""Deepest nesting of a body; the body itself is depth 1."""
MAX_INTEGER: Final = 2**53 - 1
"""Largest absolute integer: what every JSON reader keeps exactly (RFC 7493 section 2.2)."""
MAX_ENTRY: Final = 1024 * 1024
"""Largest entry, in bytes: payloads are sealed beside the log, so an entry is small."""

_KIND = re.compile(r"[a-z][a-z0-9_]{0,62}(?:\.[a-z][a-z0-9_]{0,62})?", re.ASCII)


class _Envelope(msgspec.Struct, forbid_unknown_fields=True):
    v: int
    kind: str
    at: int
    body: dict[str, Any]


_ENCODER = msgspec.json.Encoder(order="sorted")
_DECODER = msgspec.json.Decoder(_Envelope)


def encode_entry(kind: str, at_ms: int, body: dict[str, Any]) -> bytes:
    """Canonical bytes of an entry: the Merkle leaf's data.

    Args:
        kind: `word` or `word.word`, lower case.
        at_ms: milliseconds since the epoch, 0 or later.
        body: strings, booleans, null, integers within 2^53, lists, dicts with string keys; no floats.

    Raises:
        StoreError: `cannot_record`: something else is in it. Nothing may run on a record that was not written.
    """
    fault = _fault(kind, at_ms, body)
    if fault:
        raise StoreError(Reason.CANNOT_RECORD, fault)
    try:
        data = _ENCODER.encode(_Envelope(VERSION, kind, at_ms, body))
    except UnicodeEncodeError as error:
        raise StoreError(Reason.CANNOT_RECORD, "a record holds a lone surrogate") from error
    if len(data) > MAX_ENTRY:
        raise StoreError(Reason.CANNOT_RECORD, f"a record of {len(data)} bytes; the limit is {MAX_ENTRY}")
    return data


def decode_entry(data: bytes) -> tuple[str, int, dict[str, Any]]:
    """Inverse of `encode_entry`: kind, milliseconds since the epoch, body.

    Raises:
        StoreError: `log_damaged`: not an entry of this version in its one encoding.
    """
    if len(data) > MAX_ENTRY:
        raise _damaged(f"an entry of {len(data)} bytes; the limit is {MAX_ENTRY}")
    try:
        envelope = _DECODER.decode(data)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise _damaged(f"not a log entry: {str(error)!r:.160}") from error
    if envelope.v != VERSION:
        raise _damaged(f"entry version {envelope.v!r:.40} is not known", "a newer release wrote this log")
    fault = _fault(envelope.kind, envelope.at, envelope.body)
    if fault:
        raise _damaged(fault)
    if _ENCODER.encode(envelope) != data:
        raise _damaged(f"a log entry is not in canonical form: {data!r:.80}")
    return envelope.kind, envelope.at, envelope.body


def _damaged(message: str, remedy: str = "") -> StoreError:
    return StoreError(Reason.LOG_DAMAGED, message, remedy=remedy)


def _fault(kind: object, at_ms: object, body: object) -> str:
    """What is wrong with an envelope; empty when nothing is."""
    if type(kind) is not str or _KIND.fullmatch(kind) is None:
        return f"not a record kind: {kind!r:.80}"
    if type(at_ms) is not int or not 0 <= at_ms <= MAX_INTEGER:
        return f"not a time in milliseconds: {at_ms!r:.80}"
    if type(body) is not dict:
        return f"a record body is an object, not {type(body).__name__}"
    return _value_fault(body, 1)


def _value_fault(value: object, depth: int) -> str:
    # Exact types: a subclass (an enum, a NewType'd float) could encode as something else than it shows.
    kind = type(value)
    if kind is str or kind is bool or value is None:
        return ""
    if type(value) is int:
        return "" if -MAX_INTEGER <= value <= MAX_INTEGER else f"integer out of range: {value!r:.40}"
    if depth > MAX_DEPTH:
        return f"nested deeper than {MAX_DEPTH}"
    if type(value) is dict:
        for key in value:
            if type(key) is not str:
                return f"a key is text, not {key!r:.40}"
        return _first_fault(list(value.values()), depth)
    if type(value) is list:
        return _first_fault(value, depth)
    return f"a record cannot hold a {kind.__name__}"


def _first_fault(values: list[object], depth: int) -> str:
    for value in values:
        if type(value) is str:  # nearly all of them; saves the call
            continue
        fault = _value_fault(value, depth + 1)
        if fault:
            return fault
    return ""
