"""Money: exact minor units or unknown."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lictor.model.canonical import canonical
from lictor.model.catalog import ValueSelector
from lictor.model.errors import CallerError
from lictor.model.reasons import Reason
from lictor.pdp.normalise import value_of


def amount(raw, currency="EUR", **more):
    selector = ValueSelector(amount="/a", currency=currency, currencies=(currency,), **more)
    return value_of(selector, {"a": raw}).amount


def refused(raw, currency="EUR", **more):
    with pytest.raises(CallerError) as error:
        amount(raw, currency, **more)
    assert error.value.reason is Reason.UNKNOWN_VALUE


@pytest.mark.parametrize(
    ("raw", "currency", "minor"),
    [
        ("100", "EUR", 10000),
        ("0.01", "EUR", 1),
        ("1.5", "EUR", 150),
        ("100", "JPY", 100),
        ("1.234", "KWD", 1234),
        ("1", "CLF", 10000),
    ],
)
def test_decimals(raw, currency, minor):
    """Exponents by ISO 4217."""
    assert amount(raw, currency) == minor


@pytest.mark.parametrize(
    "raw",
    [
        "NaN",
        "Infinity",
        "-1",
        "+1",
        "1e3",
        "1,00",
        "0",
        "0.00",
        "1.234",
        ".5",
        "5.",
        " 5",
        "5\n",
        "٥",
        "0x10",
        "1_0",
        "",
        None,
        True,
        5,
        5.0,
        "9" * 17,
    ],
)
def test_no_decimals(raw):
    """NUMB-01, 02, 03, 06: unknown."""
    refused(raw)


def test_digits_may_be_declared():
    """And then replace the currency's own."""
    assert amount("1", "JPY", digits=2) == 100
    refused("0.1", "JPY")


@pytest.mark.parametrize(
    ("raw", "minor"),
    [(1, 100), (100.5, 10050), (0.01, 1), (100.0, 10000), (9007199254740.99, 900719925474099), (0.07, 7), (1.1, 110)],
)
def test_numbers(raw, minor):
    """JSON numbers, by the text that is sent on."""
    assert amount(raw, unit="number") == minor


@pytest.mark.parametrize(
    "raw", [100.005, 0.1 + 0.2, 1e16, 1e-7, 1e22, -1.5, 0, 0.0, True, "1", float("inf"), float("nan"), 2**53]
)
def test_no_numbers(raw):
    """More places than the currency has, exponents, and no numbers at all."""
    refused(raw, unit="number")


@given(st.integers(1, 10**12))
def test_numbers_are_exact(minor):
    """Property: what a client writes as cents / 100 comes back as just those cents, and is what canonical bytes say."""
    number = minor / 100
    assert amount(number, unit="number") == minor
    text = canonical(number).decode()
    whole, _, fraction = text.partition(".")
    assert int(whole) * 100 + int(fraction.ljust(2, "0")) == minor


def test_float_arithmetic_would_be_wrong():
    """Control: the obvious way loses a cent on some of the same numbers."""
    assert any(int(minor / 100 * 100) != minor for minor in range(1, 10_000))


def test_several_amounts_add_up():
    """Splitting one call's payment into items changes nothing; the currency is one."""
    selector = ValueSelector(amount="/p/*/a", currency="/p/*/c", currencies=("EUR", "USD"))
    found = value_of(selector, {"p": [{"a": "1.50", "c": "EUR"}, {"a": "2", "c": "EUR"}]})
    assert (found.amount, found.currency) == (350, "EUR")
    for bad in (
        [{"a": "1", "c": "EUR"}, {"a": "1", "c": "USD"}],
        [{"a": "1", "c": "EUR"}, {"a": "-1", "c": "EUR"}],
        [],
    ):
        with pytest.raises(CallerError):
            value_of(selector, {"p": bad})
    with pytest.raises(CallerError):
        value_of(selector, {"p": [{"a": "9" * 14, "c": "EUR"}] * 10})


def test_minor_units():
    """Integers only."""
    assert amount(5, unit="minor") == 5
    for bad in (True, 5.0, "5", -5, 0, 2**53 + 1):
        refused(bad, unit="minor")
