"""Money as an integer of minor units. No float ever takes part in arithmetic."""

import re
from typing import Any, Final

import msgspec

from lictor.model.catalog import ValueSelector
from lictor.model.errors import CallerError
from lictor.model.reasons import Reason
from lictor.pdp.normalise.pointers import point, values

SAFE_INTEGER: Final = 2**53
_AMOUNT: Final = re.compile(r"[0-9]{1,16}(?:\.([0-9]{1,4}))?", re.ASCII)
_EXPONENTS: Final = {
    code: digits
    for digits, codes in {
        0: "BIF CLP DJF GNF ISK JPY KMF KRW PYG RWF UGX UYI VND VUV XAF XOF XPF",
        3: "BHD IQD JOD KWD LYD OMR TND",
        4: "CLF UYW",
    }.items()
    for code in codes.split()
}
NO_MINOR_UNIT: Final = frozenset(
    {"XAU", "XAG", "XPT", "XPD", "XDR", "XBA", "XBB", "XBC", "XBD", "XSU", "XUA", "XTS", "XXX"}
)
"""Codes for which ISO 4217 gives no minor unit."""


class Value(msgspec.Struct, frozen=True, kw_only=True):
    """Money as an integer of minor units; never a float."""

    amount: int
    currency: str


def exponent(currency: str) -> int:
    """Fractional digits of a currency (ISO 4217)."""
    return _EXPONENTS.get(currency, 2)


def decimal_of(amount: int, digits: int) -> str:
    """Minor units as people write them: `decimal_of(123456, 2)` is `1234.56`."""
    if digits <= 0:
        return str(amount)
    whole, fraction = divmod(amount, 10**digits)
    return f"{whole}.{fraction:0{digits}}"


def digits_of(selector: ValueSelector, currency: str) -> int:
    """Fractional digits that an amount of this selector has: as declared, otherwise those of ISO 4217."""
    return exponent(currency) if selector.digits is None else selector.digits


def value_of(selector: ValueSelector, arguments: dict[str, Any]) -> Value:
    """The monetary value an action's arguments name; of several amounts the sum.

    Raises:
        CallerError: `unknown_value`: absent, not of the declared form, not positive, over 2^53 minor units, unknown currency.
    """
    currency = _currency(selector, arguments)
    digits = digits_of(selector, currency)
    if "*" not in selector.amount:
        return Value(
            amount=_one(point(arguments, selector.amount), selector, digits, selector.amount), currency=currency
        )
    found = values(arguments, (selector.amount,), Reason.UNKNOWN_VALUE)
    total = sum(_one(raw, selector, digits, where) for where, raw in found)
    if total > SAFE_INTEGER:
        raise CallerError(Reason.UNKNOWN_VALUE, "the amounts together are too large", where=selector.amount)
    return Value(amount=total, currency=currency)


def _currency(selector: ValueSelector, arguments: dict[str, Any]) -> str:
    if not selector.currency.startswith("/"):
        found: list[Any] = [selector.currency]
    elif "*" in selector.currency:
        found = [raw for _, raw in values(arguments, (selector.currency,), Reason.UNKNOWN_VALUE)]
    else:
        found = [point(arguments, selector.currency)]
    first = found[0]
    if not isinstance(first, str) or first not in selector.currencies or any(other != first for other in found):
        raise CallerError(Reason.UNKNOWN_VALUE, "the currency is missing or not one of the declared ones")
    return first


def _one(raw: Any, selector: ValueSelector, digits: int, where: str) -> int:
    match selector.unit:
        case "minor":
            amount = _minor(raw, where)
        case "number":
            amount = _number(raw, digits, where)
        case _:
            amount = _decimal(raw, digits, where)
    if not 0 < amount <= SAFE_INTEGER:
        raise CallerError(Reason.UNKNOWN_VALUE, "the amount is not positive or too large", where=where)
    return amount


def _minor(raw: Any, where: str) -> int:
    if isinstance(raw, bool) or not isinstance(raw, int):
        raise CallerError(Reason.UNKNOWN_VALUE, "the amount is not an integer of minor units", where=where)
    return raw


def _number(raw: Any, digits: int, where: str) -> int:
    """A JSON number by its canonical text: the shortest that reads back as it (RFC 8785 3.2.2.3), which is what is sent on.

    Python writes an exponent for more numbers than RFC 8785 does; both are refused.
    """
    if isinstance(raw, bool) or not isinstance(raw, int | float):
        raise CallerError(Reason.UNKNOWN_VALUE, "the amount is not a number", where=where)
    text = repr(raw)
    return _decimal(text.removesuffix(".0") if isinstance(raw, float) else text, digits, where)


def _decimal(raw: Any, digits: int, where: str) -> int:
    if not isinstance(raw, str):
        raise CallerError(Reason.UNKNOWN_VALUE, "the amount is not a decimal string", where=where)
    match = _AMOUNT.fullmatch(raw)
    fraction = (match.group(1) or "") if match else ""
    if match is None or len(fraction) > digits:
        message = f"the amount is not a decimal string with at most {digits} places"
        raise CallerError(Reason.UNKNOWN_VALUE, message, where=where)
    scale: int = 10**digits
    return int(raw.partition(".")[0]) * scale + int(fraction.ljust(digits, "0") or "0")
