"""Accounts that money goes to: IBANs (ISO 13616) and identifiers declared by the operator."""

import re
from typing import Any, Final

from lictor.model.catalog import DestinationSelector
from lictor.model.errors import CallerError
from lictor.model.reasons import Reason
from lictor.pdp.normalise.directory import Directory
from lictor.pdp.normalise.target import Target

_IBAN: Final = re.compile(r"[A-Z]{2}[0-9]{2}[A-Z0-9]{11,30}", re.ASCII)
_PRINTED: Final = re.compile(r"[A-Za-z0-9]{4}(?: [A-Za-z0-9]{4})+(?: [A-Za-z0-9]{1,4})?", re.ASCII)
_ID: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9._:/+-]{0,127}", re.ASCII)
_LENGTHS: Final = {
    code: length
    for length, codes in {
        15: "NO",
        16: "BE",
        18: "DK FI FK FO GL NL SD",
        19: "MK SI",
        20: "AT BA EE KZ LT LU MN XK",
        21: "CH HR LI LV",
        22: "BG BH CR DE GB GE IE ME RS VA",
        23: "AE GI IL IQ OM SO TL",
        24: "AD CZ ES MD PK RO SA SE SK TN VG",
        25: "LY PT ST",
        26: "IS TR",
        27: "BI DJ FR GR IT MC MR SM",
        28: "AL AZ BY CY DO GT HN HU LB NI PL SV",
        29: "BR EG PS QA UA",
        30: "JO KW MU YE",
        31: "MT SC",
        32: "LC",
        33: "RU",
    }.items()
    for code in codes.split()
}
"""The IBAN registry: whole length by country."""
_DIGITS: Final = str.maketrans({chr(code): str(code - 55) for code in range(ord("A"), ord("Z") + 1)})
"""A letter counts as two digits (ISO 13616): A is 10."""


def account_target(raw: Any, selector: DestinationSelector, directory: Directory, where: str) -> Target:
    """One account.

    Raises:
        CallerError: `unknown_destination`: no string, no IBAN of a known country with right check digits, or no plain identifier.
    """
    if not isinstance(raw, str):
        raise CallerError(Reason.UNKNOWN_DESTINATION, "the account is missing or not a string", where=where)
    account = iban(raw) if selector.form == "iban" else raw if _ID.fullmatch(raw) else None
    if account is None:
        what = "IBAN" if selector.form == "iban" else "plain account identifier"
        raise CallerError(Reason.UNKNOWN_DESTINATION, f"this is no {what}", where=where)
    return Target(kind="account", address=account, directory=directory.names_of_account(account))


def iban(text: str) -> str | None:
    """An IBAN without blanks, in capitals; None when it is not one. Blanks only as printed: in groups of four."""
    joined = text.replace(" ", "") if _PRINTED.fullmatch(text) else text
    plain = joined.upper() if joined.isascii() else joined
    if _IBAN.fullmatch(plain) is None or len(plain) != _LENGTHS.get(plain[:2]):
        return None
    digits = f"{plain[4:]}{plain[:4]}".translate(_DIGITS)
    return plain if int(digits) % 97 == 1 and 2 <= int(plain[2:4]) <= 98 else None
