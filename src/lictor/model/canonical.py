"""The one canonical form (RFC 8785, JCS) and the one digest.

Whatever is hashed, judged, stored or sent is first made into these bytes, once. This module refuses to know what the
bytes mean and where the value came from.

Two encoders give the same bytes for ordinary data; the quick one differs from RFC 8785 in two places: numbers that are
not integers, and the order of keys outside the Basic Multilingual Plane (RFC 8785 3.2.3 sorts UTF-16 units, the quick
one code points). It runs only when neither occurs (ADR 0003).
"""

import hashlib
from math import isfinite
from typing import Final, TypeAlias

import msgspec
import rfc8785

from lictor.model.errors import CallerError
from lictor.model.limits import DEPTH_CEILING
from lictor.model.reasons import Reason

JsonValue: TypeAlias = "bool | int | float | str | list[JsonValue] | dict[str, JsonValue] | None"

SAFE_INTEGER: Final = 2**53 - 1
"""Largest magnitude that every JSON reader keeps exactly (RFC 8785 3.2.2.3, RFC 7493 2.2)."""

EXPONENT_FROM: Final = 1e21
"""From here on RFC 8785 writes numbers with an exponent, so that they are read back as what they were."""

_LAST_BMP: Final = "\uffff"
_quick = msgspec.json.Encoder(order="sorted").encode


def canonical(value: JsonValue) -> bytes:
    """The RFC 8785 bytes of any JSON value.

    Args:
        value: built of exactly the types of `JsonValue`; subclasses, tuples and enums are a defect of the caller.

    Raises:
        CallerError: `UNSAFE_INTEGER` for an integer beyond 2^53-1 or a float that would be written as one,
            `NUMBER_RANGE` for NaN and infinities, `INVALID_UNICODE` for lone surrogates, `TOO_DEEP` beyond
            `DEPTH_CEILING`.
        TypeError: the value is not JSON.
    """
    return _exact(value) if _needs_exact(value, DEPTH_CEILING) else _encode(value)


def canonical_trusted(value: JsonValue, *, plain: bool) -> bytes:
    """`canonical` without the walk, for a value that the strict reader made and has not been changed since.

    Args:
        value: (part of) what `protocol.json.read` returned.
        plain: what the reader says: no float, no big integer, no key outside the BMP. False takes the careful way.

    Raises:
        CallerError: as `canonical`.
    """
    return _encode(value) if plain else canonical(value)


def sha256_digest(data: bytes) -> str:
    """`sha256:<64 lower-case hex digits>` of these bytes."""
    return f"sha256:{hashlib.sha256(data).hexdigest()}"


def float_is_unsafe(number: float) -> bool:
    """Whether RFC 8785 writes this float as an integer literal that no reader may trust: 2^53 up to 10^21.

    Such bytes would not be accepted back by our own reader, and a server that reads them as an integer sees digits that
    nobody sent.
    """
    return SAFE_INTEGER < abs(number) < EXPONENT_FROM


def _encode(value: JsonValue) -> bytes:
    try:
        return _quick(value)
    except UnicodeEncodeError as error:
        raise CallerError(Reason.INVALID_UNICODE, "a string holds a lone surrogate") from error


def _exact(value: JsonValue) -> bytes:
    try:
        encoded: bytes = rfc8785.dumps(value)
    except (rfc8785.CanonicalizationError, UnicodeEncodeError) as error:
        # `_needs_exact` has refused every number and type that could fail, so text is all that is left.
        raise CallerError(Reason.INVALID_UNICODE, "a string holds a lone surrogate") from error
    return encoded


def _needs_exact(value: object, depth: int) -> bool:
    """Refuse what has no canonical form; tell whether the quick encoder could differ. `depth`: levels still allowed."""
    kind = type(value)
    if kind is str or kind is bool or value is None:
        return False
    if isinstance(value, int) and kind is int:
        if not -SAFE_INTEGER <= value <= SAFE_INTEGER:
            raise CallerError(Reason.UNSAFE_INTEGER, "an integer is beyond 2^53-1 and has no canonical form")
        return False
    if isinstance(value, float) and kind is float:
        _check_float(value)
        return True
    if depth == 0:
        raise CallerError(Reason.TOO_DEEP, f"more than {DEPTH_CEILING} nested containers")
    exact = False
    if isinstance(value, list) and kind is list:
        for item in value:
            exact |= _needs_exact(item, depth - 1)
        return exact
    if isinstance(value, dict) and kind is dict:
        for key, item in value.items():
            if type(key) is not str:
                raise TypeError(f"a JSON object key must be a string, not {type(key).__name__}")
            exact |= not key.isascii() and max(key) > _LAST_BMP
            exact |= _needs_exact(item, depth - 1)
        return exact
    raise TypeError(f"not a JSON value: {kind.__name__}")


def _check_float(number: float) -> None:
    if not isfinite(number):
        raise CallerError(Reason.NUMBER_RANGE, "a number is not finite and has no canonical form")
    if float_is_unsafe(number):
        raise CallerError(
            Reason.UNSAFE_INTEGER, "a number between 2^53 and 10^21 would be written as an inexact integer"
        )
