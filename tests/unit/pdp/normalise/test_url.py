"""URLs and hosts: one host, its registered domain, what sort of address; or unknown."""

import ipaddress
import time
from urllib.parse import urlsplit

import pytest

from lictor.model.catalog import DestinationSelector
from lictor.model.errors import CallerError
from lictor.model.reasons import Reason
from lictor.pdp.normalise import Directory, destination_of
from lictor.pdp.normalise.domains import is_public_suffix

KNOWN = Directory(
    hosts={"docs": ("docs.example", "*.docs.example", "api.example:8443"), "both": ("docs.example",)},
    domains={"firm": ("firm.example",)},
)


def reached(url, **more):
    return destination_of(DestinationSelector(url="/u", **more), {"u": url}, KNOWN)


def refused(arguments, **selector):
    with pytest.raises(CallerError) as error:
        destination_of(DestinationSelector(**selector), arguments, KNOWN)
    assert error.value.reason is Reason.UNKNOWN_DESTINATION
    return error.value


def test_an_ordinary_url():
    """Host, domain, port and groups; nothing odd about it."""
    found = reached("https://A.Docs.Example/x?y#z").cedar()
    assert found == {
        "kind": "url",
        "scheme": "https",
        "host": "a.docs.example",
        "domain": "docs.example",
        "port": 443,
        "address": "",
        "path": "/x",
        "directory": ["docs"],
        "external": False,
        "ip": False,
        "private": False,
        "idn": False,
        "mixed_script": False,
        "count": 1,
        "hosts": ["a.docs.example"],
        "domains": ["docs.example"],
        "addresses": [],
    }


@pytest.mark.parametrize(
    ("host", "domain", "icann"),
    [
        ("a.b.co.uk", "b.co.uk", "b.co.uk"),
        ("co.uk", "", ""),
        ("x.evil.github.io", "evil.github.io", "github.io"),
        ("bucket.s3.amazonaws.com", "bucket.s3.amazonaws.com", "amazonaws.com"),
        ("localhost", "", ""),
        ("1.2.3.4", "", ""),
        ("x.xn--p1ai", "x.xn--p1ai", "x.xn--p1ai"),
    ],
)
def test_registered_domains(host, domain, icann):
    """By the Public Suffix List, with or without its private part."""
    assert reached(f"https://{host}/").domain == domain
    assert reached(f"https://{host}/", private_suffixes=False).domain == icann


def test_public_suffixes_are_told():
    """Below these anybody can register."""
    assert is_public_suffix("co.uk")
    assert is_public_suffix("github.io")
    assert not is_public_suffix("docs.example")


@pytest.mark.parametrize(
    "host",
    [
        "127.0.0.1",
        "10.1.2.3",
        "172.16.0.1",
        "192.168.0.1",
        "169.254.169.254",
        "100.64.0.1",
        "0.0.0.0",
        "0.1.2.3",
        "224.0.0.1",
        "255.255.255.255",
        "192.0.2.1",
        "0xA9FEA9FE",
        "2852039166",
        "169.254.43518",
        "127.1",
        "0x7f.1",
        "[::]",
        "[::1]",
        "[fe80::1]",
        "[fd00:ec2::254]",
        "[fc00::1]",
        "[ff02::1]",
        "[::ffff:10.0.0.1]",
        "[::10.0.0.1]",
        "[64:ff9b::10.0.0.1]",
        "[2002:a00:1::1]",
        "[2001:0:a00:1::1]",
        "[2001:0:5db8:d822::f5ff:fffe]",
        "[2606:4700::5efe:a00:1]",
        "[64:ff9b:1::1]",
        "[2001:db8::1]",
        "localhost",
        "a.localhost",
        "x.local",
        "metadata.google.internal",
        "intranet",
        "printer",
        "router.home.arpa",
    ],
)
def test_what_leads_inwards(host):
    """Private, loopback, link-local, metadata, reserved and multicast addresses in every literal form, and names for inside."""
    found = reached(f"http://{host}/")
    assert found.private
    assert found.external


@pytest.mark.parametrize(
    "host",
    [
        "93.184.216.34",
        "8.8.8.8",
        "[2606:4700::1111]",
        "[64:ff9b::8.8.8.8]",
        "[2002:808:808::1]",
        "docs.example",
        "172.32.0.1",
        "100.128.0.1",
    ],
)
def test_what_does_not(host):
    """The other half."""
    assert not reached(f"http://{host}/").private


def test_the_address_table_agrees_with_the_standard_library_or_is_stricter():
    """Differential: nothing that the interpreter calls private, reserved, multicast or link-local is public here."""
    numbers = [base + step for base in range(0, 2**32, 2**20) for step in (0, 1, 2**19)]
    for number in numbers:
        address = ipaddress.IPv4Address(number)
        if not address.is_global or address.is_multicast or address.is_reserved:
            assert reached(f"http://{address}/").private, address


def test_mapped_addresses_are_the_address():
    """`[::ffff:1.2.3.4]` is 1.2.3.4, for the directory too."""
    assert reached("http://[::ffff:1.2.3.4]/").host == "1.2.3.4"


@pytest.mark.parametrize(
    "url",
    [
        "http://010.8.8.8/",
        "http://0177.0.0.1/",
        "http://①⑥⑨.②⑤④.①⑥⑨.②⑤④/",
        "https://faß.example/",
        "https://ex\u00adample.example/",
        "https://ｄocs.example/",
        "https://a..example/",
        "https://-a.example/",
        "https://xn--a.example/",
        "https://xn--.example/",
        "https://docs.example:99999/",
        "https://docs.example:443:443/",
        "https://docs.example:0/",
        "https://[::1%25eth0]/",
        "https://1.2.3.4.5/",
        "https://256.1.1.1/",
        "https://docs.example^x/",
        "https://docs.example|x/",
        "https://user@docs.example/",
        "gopher://docs.example/",
        "https:docs.example",
        "//docs.example/",
        "https://evil.example%00.docs.example/",
        "https://" + "a" * 9000,
        "https://" + "a." * 150 + "example/",
        "",
        "docs.example",
        None,
        3,
        ["https://docs.example/"],
    ],
)
def test_what_has_two_readings_is_unknown(url):
    """Refused with the reason, before anything is judged."""
    refused({"u": url}, url="/u")


@pytest.mark.parametrize(
    ("host", "mixed"),
    [
        ("bücher.example", False),
        ("аpple.example", True),
        ("правда.example", False),
        ("日本かな.example", False),
        ("gооgle.com", True),
    ],
)
def test_international_names(host, mixed):
    """A-labels; a label of several scripts is told."""
    found = reached(f"https://{host}/")
    assert (found.idn, found.mixed_script, found.host.isascii()) == (True, mixed, True)


def test_a_dot_of_other_scripts():
    """It is a dot to every reader (RFC 3490 3.1, UTS 46, WHATWG URL), so it has one reading."""
    assert reached("https://docs。example/").host == "docs.example"


def test_ports_and_the_directory():
    """A pattern without a port stands for the default port only."""
    assert reached("https://docs.example/").directory == ("both", "docs")
    assert reached("https://docs.example:444/").directory == ()
    assert reached("https://api.example:8443/").directory == ("docs",)
    assert reached("https://api.example/").directory == ()
    assert reached("https://a.firm.example/").directory == ("firm",)
    assert reached("https://firm.example/").directory == ("firm",)
    assert reached("https://evilfirm.example/").directory == ()
    assert reached("https://firm.example:444/").directory == ()


def test_lists_are_as_good_as_their_worst():
    """External if any is, groups that list all, empty members where they differ."""
    arguments = {"u": ["https://docs.example/", "https://evil.example/", "http://10.0.0.1/"]}
    found = destination_of(DestinationSelector(url="/u/*"), arguments, KNOWN).cedar()
    assert (found["external"], found["private"], found["ip"], found["directory"], found["count"]) == (
        True,
        True,
        True,
        [],
        3,
    )
    assert (found["host"], found["scheme"], found["port"]) == ("", "", 0)
    assert found["hosts"] == ["10.0.0.1", "docs.example", "evil.example"]
    shared = destination_of(
        DestinationSelector(url="/u/*"), {"u": ["https://docs.example/", "https://a.docs.example"]}, KNOWN
    )
    assert (shared.directory, shared.external) == (("docs",), False)


def test_an_item_by_its_number():
    """A pointer may name one item, alone or among several."""
    for pointers in ("/u/1", ("/u/1", "/x")):
        found = destination_of(
            DestinationSelector(url=pointers), {"u": ["https://a.example", "https://b.example"]}, KNOWN
        )
        assert found.host == "b.example"
    refused({"u": ["https://a.example"]}, url=("/u/1", "/x"))


def test_lists_of_pointers():
    """An absent or null one is passed over, not all of them; a wrong form in the way is refused."""
    selector = DestinationSelector(url=("/a", "/b/*/u"))
    assert destination_of(selector, {"a": "https://docs.example/", "b": None}, KNOWN).host == "docs.example"
    assert len(destination_of(selector, {"b": [{"u": "https://x.example"}, {}]}, KNOWN).targets) == 1
    for bad in ({}, {"a": None}, {"b": []}, {"b": "https://x.example"}, {"b": [None]}, {"b": ["https://x.example"]}):
        refused(bad, url=("/a", "/b/*/u"))
    refused({"u": ["https://x.example"] * 257}, url="/u/*")


@pytest.mark.parametrize(
    ("host", "port", "name", "number"),
    [
        ("docs.example", None, "docs.example", 0),
        ("Docs.Example.", None, "docs.example", 0),
        ("docs.example:22", None, "docs.example", 22),
        ("docs.example", 22, "docs.example", 22),
        ("::1", None, "[::1]", 0),
        ("[::1]:5", None, "[::1]", 5),
        ("10.0.0.1", None, "10.0.0.1", 0),
    ],
)
def test_hosts(host, port, name, number):
    """Kind `host`: with and without port."""
    found = destination_of(DestinationSelector(host="/h", port="/p"), {"h": host, "p": port}, KNOWN)
    assert (found.host, found.port, found.kind) == (name, number, "host")


@pytest.mark.parametrize(
    "arguments",
    [
        {"h": "https://docs.example"},
        {"h": "docs.example/x"},
        {"h": "a b"},
        {"h": ""},
        {"h": "docs.example", "p": 0},
        {"h": "docs.example", "p": True},
        {"h": "docs.example", "p": "22"},
        {"h": "docs.example:22", "p": 23},
        {"h": "-oProxyCommand=x"},
    ],
)
def test_no_hosts(arguments):
    """Unknown."""
    refused(arguments, host="/h", port="/p")


def test_hosts_agree_with_urlsplit():
    """Differential on the accepted ones: the host that the standard library would dial, but for its spelling."""
    for url in ("https://A.example:8443/x@y", "http://x.example?@evil.example", "https://x.example#@evil.example"):
        assert reached(url).host == urlsplit(url).hostname


def test_cost():
    """A lookup that has been seen before is cheap, and a hostile one is bounded."""
    started = time.perf_counter()
    for index in range(300):
        with pytest.raises(CallerError):
            reached("https://" + "а" * 8000 + str(index))
    assert time.perf_counter() - started < 3
