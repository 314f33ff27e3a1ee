"""Where passkeys work, and the address that is given to people."""

import pytest

from lictor.config import load_settings
from lictor.service.people.passkey_site import people_url, site_of


@pytest.mark.parametrize(
    ("url", "rp_id", "origin"),
    [
        ("http://127.0.0.1:8700", "localhost", "http://localhost:8700"),
        ("http://[::1]:8700", "localhost", "http://localhost:8700"),
        ("https://127.0.0.1", "localhost", "https://localhost"),
        ("http://localhost:1", "localhost", "http://localhost:1"),
        ("http://gate.localhost", "gate.localhost", "http://gate.localhost"),
        ("https://Gateway.Example", "gateway.example", "https://gateway.example"),
        ("https://gateway.example:443", "gateway.example", "https://gateway.example"),
        ("https://gateway.example:8443", "gateway.example", "https://gateway.example:8443"),
        ("https://bücher.example", "xn--bcher-kva.example", "https://xn--bcher-kva.example"),
    ],
)
def test_a_name_and_a_secure_origin(url: str, rp_id: str, origin: str) -> None:
    """As the browser writes them."""
    site = site_of(url)
    assert site is not None
    assert (site.rp_id, site.origin) == (rp_id, origin)


@pytest.mark.parametrize(
    "url",
    ["http://gateway.example", "http://lan:8700", "https://10.0.0.1", "https://[fd00::1]", "https://1.2", "http://127.0.0.2:1",
     "http://localhost.evil.example", "http://notlocalhost", "", "nonsense"],
)  # fmt: skip
def test_elsewhere_no_browser_offers_any(url: str) -> None:
    """Plain HTTP to another machine, and IP addresses."""
    assert site_of(url) is None


@pytest.mark.parametrize(
    ("url", "people"),
    [
        ("http://127.0.0.1:8700", "http://localhost:8700"),
        ("http://[::1]", "http://localhost"),
        ("http://127.0.0.2:1", "http://127.0.0.2:1"),
        ("https://gateway.example", "https://gateway.example"),
        ("http://10.0.0.1:8700", "http://10.0.0.1:8700"),
    ],
)
def test_people_are_given_a_name_on_loopback(url: str, people: str) -> None:
    """And what is configured everywhere else."""
    assert people_url(url) == people
    assert load_settings(f'[listen]\npublic_url = "{url}"\n').people_url == people
