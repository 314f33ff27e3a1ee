"""E-mail addresses: plain ones in one spelling, everything else unknown."""

import pytest
from email_validator import EmailNotValidError, validate_email

from lictor.model.catalog import DestinationSelector
from lictor.model.errors import CallerError
from lictor.model.reasons import Reason
from lictor.pdp.normalise import Directory, destination_of

KNOWN = Directory(emails={"boss": ("ann@corp.example",)}, domains={"corp": ("corp.example",)})


def reached(to, **more):
    return destination_of(DestinationSelector(**({"email": "/to"} | more)), {"to": to}, KNOWN)


def test_one_address():
    """Lower case, groups by address and by domain."""
    found = reached("Ann@Corp.Example")
    assert (found.address, found.host, found.directory, found.external) == (
        "ann@corp.example",
        "corp.example",
        ("boss", "corp"),
        False,
    )
    assert reached("ann@mail.corp.example").directory == ("corp",)
    assert reached("ann@evilcorp.example").external


def test_international_domains():
    """A-labels, and the sign of it."""
    found = reached("x@bücher.example")
    assert (found.address, found.idn) == ("x@xn--bcher-kva.example", True)


@pytest.mark.parametrize(
    "to",
    [
        "Ann <ann@corp.example>",
        "<ann@corp.example>",
        '"ann"@corp.example',
        "ann(x)@corp.example",
        "ann@corp.example (x)",
        "ann@[10.0.0.1]",
        "ann@[IPv6:::1]",
        "@evil.example:ann@corp.example",
        "ann%evil.example@corp.example",
        "evil.example!ann@corp.example",
        "ann@corp.example,eve@evil.example",
        "ann@corp.example;eve@evil.example",
        "ann@corp.example\r\nBcc: eve@evil.example",
        " ann@corp.example",
        "ann@corp.example ",
        "ann@@corp.example",
        "ann@evil.example@corp.example",
        ".ann@corp.example",
        "ann.@corp.example",
        "a..n@corp.example",
        "-oX@corp.example",
        "ann@corp.example.",
        "ann@localhost",
        "ann@10.0.0.1",
        "ann@corp_.example",
        "ann@-corp.example",
        "ann@corp..example",
        "änn@corp.example",
        "ann@faß.example",
        "ann@ｃorp.example",
        "ann\x00@corp.example",
        "|prog@corp.example",
        "a" * 65 + "@corp.example",
        "ann@" + "a" * 64 + ".example",
        "ann@" + "a." * 130 + "example",
        "ann",
        "@corp.example",
        "ann@",
        "",
        None,
        7,
        ["ann@corp.example"],
        {"address": "ann@corp.example"},
    ],
)
def test_what_is_no_plain_address(to):
    """Legal somewhere, or nowhere: unknown here."""
    with pytest.raises(CallerError) as error:
        reached(to)
    assert error.value.reason is Reason.UNKNOWN_DESTINATION


def test_lists():
    """Arrays, several pointers, and strings with a declared separator."""
    selector = DestinationSelector(email=("/to", "/cc/*"), separator=",;")
    found = destination_of(
        selector, {"to": "a@corp.example, b@corp.example;c@corp.example", "cc": ["eve@evil.example"]}, KNOWN
    )
    assert found.cedar()["addresses"] == ["a@corp.example", "b@corp.example", "c@corp.example", "eve@evil.example"]
    assert (found.external, found.directory, found.address) == (True, (), "")
    for bad in ("a@corp.example,", ",", "a@corp.example,,b@corp.example", "a@corp.example\n,b@corp.example"):
        with pytest.raises(CallerError):
            destination_of(selector, {"to": bad}, KNOWN)


@pytest.mark.parametrize(
    "to", ["ann@corp.com", "Ann.B+tag@Mail.Corp.com", "o'neil@corp.com", "x@bücher.com", "a_b-c=d&e#f~g^h@x.co.uk"]
)
def test_a_second_reader_agrees(to):
    """Differential: what is accepted, email-validator accepts with the same domain."""
    found = reached(to)
    other = validate_email(to, check_deliverability=False)
    assert found.address == f"{other.local_part.lower()}@{other.ascii_domain}"


def test_the_second_reader_is_not_stricter_anywhere_in_ascii():
    """Differential, swept: every ASCII character in three places of an address; ours accepted implies theirs."""
    for code in range(128):
        for text in (f"a{chr(code)}b@x.com", f"{chr(code)}b@x.com", f"b@x{chr(code)}y.com"):
            try:
                found = reached(text).address
            except CallerError:
                continue
            try:
                assert validate_email(text, check_deliverability=False).normalized.lower() == found
            except EmailNotValidError as error:
                pytest.fail(f"{text!r}: {error}")
