"""Accounts: IBANs in one spelling, declared identifiers as they stand."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from stdnum import iban as stdnum_iban

from lictor.model.catalog import DestinationSelector
from lictor.model.errors import CallerError
from lictor.pdp.normalise import Directory, destination_of
from lictor.pdp.normalise.account import _LENGTHS, iban

GOOD = "DE89370400440532013000"
KNOWN = Directory(accounts={"landlord": (GOOD,), "own": ("acc-1",)})


def test_an_iban():
    """As printed or not, capital or not: one account."""
    for text in (GOOD, "DE89 3704 0044 0532 0130 00", GOOD.lower()):
        found = destination_of(DestinationSelector(account="/to"), {"to": text}, KNOWN)
        assert (found.address, found.directory, found.host) == (GOOD, ("landlord",), "")


@pytest.mark.parametrize(
    "text",
    [
        "DE88370400440532013000",
        "DE8937040044053201300",
        "ZZ89370400440532013000",
        "DE89 37040044 0532 0130 00",
        GOOD + " ",
        "",
        "ＤE" + GOOD[2:],
        GOOD[:-1] + "٠",
    ],
)
def test_no_iban(text):
    """Wrong check digits, length, country, blanks, digits of other scripts."""
    with pytest.raises(CallerError):
        destination_of(DestinationSelector(account="/to"), {"to": text}, KNOWN)


def test_declared_identifiers():
    """Compared as they stand: case counts."""
    selector = DestinationSelector(account="/to", form="id")
    assert destination_of(selector, {"to": "acc-1"}, KNOWN).directory == ("own",)
    assert destination_of(selector, {"to": "ACC-1"}, KNOWN).external
    for bad in ("", " acc-1", "acc 1", "acc\n1", "acc‐1", "-x", 1, None):
        with pytest.raises(CallerError):
            destination_of(selector, {"to": bad}, KNOWN)


@given(st.sampled_from(sorted(_LENGTHS)), st.data())
def test_a_second_reader_never_refuses_what_we_take(country, data):
    """Differential: python-stdnum's check digits agree on every IBAN we accept, with valid or random ones."""
    body = data.draw(st.text("0123456789ABCXYZ", min_size=_LENGTHS[country] - 4, max_size=_LENGTHS[country] - 4))
    digits = data.draw(st.sampled_from(["00", "01", "97", stdnum_iban.calc_check_digits(country + "00" + body)]))
    text = country + digits + body
    if iban(text) is not None:
        assert stdnum_iban.calc_check_digits(text) == digits
