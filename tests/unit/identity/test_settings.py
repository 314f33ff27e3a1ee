"""`[issuers.NAME]`: what refuses the start."""

import pytest

from lictor.config import load_settings
from lictor.model.errors import OperatorError

GOOD = """
[issuers.ci]
kind = "oidc"
url = "https://token.actions.githubusercontent.com"
audience = "https://gateway.example/mcp"
algs = ["RS256"]
leeway_s = 60
max_life_s = 3600

[issuers.idp]
kind = "jwks"
url = "https://idp.example"
jwks_url = "https://idp.example/keys"
client_id = "agents"
human_claim = "email"

[issuers.mesh]
kind = "spiffe"
url = "spiffe://t.example"
file = "/run/spire/bundle.json"

[issuers.solo]
kind = "keys"
url = "agent-7"
file = "../agent-7.jwks.json"

[issuers.local]
kind = "oidc"
url = "http://127.0.0.1:9000"
"""


def test_good_settings_are_read() -> None:
    """Every kind, with its defaults."""
    issuers = load_settings(GOOD).issuers
    assert issuers["mesh"].trust_domain == "t.example"
    assert issuers["idp"].trust_domain == ""
    assert issuers["solo"].leeway_s == 30


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ('kind = "oidc"', 'kind = "saml"'),
        ("leeway_s = 60", "leeway_s = 61"),
        ("leeway_s = 60", "leeway_s = -1"),
        ("leeway_s = 60", "leeway_s = 1.5"),
        ("max_life_s = 3600", "max_life_s = 0"),
        ("max_life_s = 3600", "max_life_s = 864000"),
        ("max_life_s = 3600", "max_life_s = 3600\nsvid_life_s = 0"),
        ("max_life_s = 3600", "max_life_s = 3600\nsvid_life_s = 2592001"),
        ('algs = ["RS256"]', 'algs = ["HS256"]'),
        ('algs = ["RS256"]', 'algs = ["none"]'),
        ('algs = ["RS256"]', 'algs = ["RS256", "rs256"]'),
        ("audience = ", "audiance = "),
        ('url = "https://token.actions.githubusercontent.com"', 'url = ""'),
        ('url = "https://token.actions.githubusercontent.com"', 'url = "http://token.actions.githubusercontent.com"'),
        ('url = "https://token.actions.githubusercontent.com"', 'url = "https://idp.example"'),
        ('url = "https://token.actions.githubusercontent.com"', 'url = "https://a@b.example"'),
        (
            'url = "https://token.actions.githubusercontent.com"',
            'url = "https://a.example"\njwks_url = "https://a.example/k"',
        ),
        ('jwks_url = "https://idp.example/keys"', ""),
        ('jwks_url = "https://idp.example/keys"', 'jwks_url = "http://idp.example/keys"'),
        ('jwks_url = "https://idp.example/keys"', 'jwks_url = "https://idp.example/keys"\nfile = "x"'),
        ('url = "spiffe://t.example"', 'url = "t.example"'),
        ('url = "spiffe://t.example"', 'url = "spiffe://T.example"'),
        ('url = "spiffe://t.example"', 'url = "spiffe://t.example/agent"'),
        ('url = "spiffe://t.example"', 'url = "spiffe://"'),
        ('file = "/run/spire/bundle.json"', ""),
        ("[issuers.ci]", '[issuers."c i"]'),
        ("[issuers.ci]", '[issuers.""]'),
        ("[issuers.ci]", "[issuers.os]"),
    ],
)
def test_what_could_not_work_or_would_be_ambiguous_refuses_the_start(old: str, new: str) -> None:
    """Leeway beyond 60 s, symmetric algorithms, plain http, two issuers of one name, a misspelt key."""
    assert old in GOOD
    with pytest.raises(OperatorError) as caught:
        load_settings(GOOD.replace(old, new, 1))
    assert caught.value.reason == "config_refused"
