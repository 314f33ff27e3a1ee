"""DPoP proofs (RFC 9449 4.3): a table of what is refused, and verifiers with one check removed."""

from collections.abc import Callable
from typing import Any

import pytest

from lictor.model.errors import CallerError
from lictor.protocol.jose import dpop as checks
from lictor.protocol.jose.dpop import comparable_url, read_proof
from tokens import AUDIENCE, NOW_MS, NOW_S, b64, dpop, jwk, thumbprint

TOKEN = "a.b.c"


def outcome(proof: str, **changes: Any) -> str:
    """The reason, or `accepted`."""
    request: dict[str, Any] = {"method": "POST", "url": AUDIENCE, "token": TOKEN, "now_ms": NOW_MS}
    try:
        read_proof(proof, **{**request, **changes})
    except CallerError as error:
        return error.reason.value
    return "accepted"


def good(**changes: Any) -> str:
    return dpop(access_token=TOKEN, **changes)


BAD: dict[str, tuple[Callable[[], str], str]] = {
    "garbage": (lambda: "x", "unauthenticated"),
    "typ of a token": (lambda: good(header={"typ": "JWT"}), "unauthenticated"),
    "no typ": (lambda: good(header={"typ": ""}), "unauthenticated"),
    "symmetric": (lambda: good(header={"alg": "HS256"}), "alg_not_allowed"),
    "key of somebody else": (lambda: good(header={"jwk": jwk("p256-other")}), "unauthenticated"),
    "private key": (lambda: good(header={"jwk": {**jwk("p256-dpop"), "d": "AAAA"}}), "unauthenticated"),
    "symmetric key": (lambda: good(header={"jwk": {"kty": "oct", "k": "AAAA"}}), "unauthenticated"),
    "no key": (lambda: good(header={"jwk": None}), "unauthenticated"),
    "key elsewhere": (lambda: good(header={"jku": "https://evil.example"}), "unauthenticated"),
    "weak key": (lambda: dpop("rsa1024", "RS256", access_token=TOKEN), "unauthenticated"),
    "crit": (lambda: good(header={"crit": ["x"]}), "crit_not_understood"),
    "another method": (lambda: good(htm="GET"), "unauthenticated"),
    "method in lower case": (lambda: good(htm="post"), "unauthenticated"),
    "no method": (lambda: good(htm=None), "unauthenticated"),
    "another path": (lambda: good(htu="https://gateway.example/token"), "unauthenticated"),
    "another host": (lambda: good(htu="https://gateway.example.evil.example/mcp"), "unauthenticated"),
    "another scheme": (lambda: good(htu="http://gateway.example/mcp"), "unauthenticated"),
    "another port": (lambda: good(htu="https://gateway.example:8443/mcp"), "unauthenticated"),
    "with a user": (lambda: good(htu="https://evil@gateway.example/mcp"), "unauthenticated"),
    "backslash": (lambda: good(htu="https://gateway.example\\mcp"), "unauthenticated"),
    "path in capitals": (lambda: good(htu="https://gateway.example/MCP"), "unauthenticated"),
    "htu is a list": (lambda: good(htu=[AUDIENCE]), "unauthenticated"),
    "no htu": (lambda: good(htu=None), "unauthenticated"),
    "stale": (lambda: good(iat=NOW_S - 60), "unauthenticated"),
    "from the future": (lambda: good(iat=NOW_S + 11), "unauthenticated"),
    "no iat": (lambda: good(iat=None), "unauthenticated"),
    "iat is text": (lambda: good(iat=str(NOW_S)), "unauthenticated"),
    "iat is true": (lambda: good(iat=True), "unauthenticated"),
    "no jti": (lambda: good(jti=None), "unauthenticated"),
    "short jti": (lambda: good(jti="1"), "unauthenticated"),
    "jti is a number": (lambda: good(jti=12345678901), "unauthenticated"),
    "huge jti": (lambda: good(jti="x" * 257), "unauthenticated"),
    "no token": (dpop, "unauthenticated"),
    "another token": (lambda: dpop(access_token="d.e.f"), "unauthenticated"),
    "ath of nothing": (lambda: good(ath=b64(b"")), "unauthenticated"),
}


@pytest.mark.parametrize("name", BAD)
def test_a_proof_with_one_fault_is_refused(name: str) -> None:
    """Every row ends with its own reason."""
    make, reason = BAD[name]
    assert outcome(make()) == reason


def test_good_proofs_are_accepted_and_name_their_key() -> None:
    """The thumbprint is RFC 7638's, computed apart from ours; and a proof is to be remembered as long as it would be accepted."""
    for key, alg in (("p256-dpop", "ES256"), ("rsa2048", "RS256"), ("ed25519", "EdDSA")):
        proof = read_proof(dpop(key, alg, access_token=TOKEN), method="POST", url=AUDIENCE, token=TOKEN, now_ms=NOW_MS)
        assert proof.thumbprint == thumbprint(key)
        assert outcome(dpop(key, alg, access_token=TOKEN), now_ms=proof.until_ms - 1) == "accepted"
        assert outcome(dpop(key, alg, access_token=TOKEN), now_ms=proof.until_ms) == "unauthenticated"


def test_a_proof_for_a_token_endpoint_has_no_ath() -> None:
    """Without a token a proof must not claim one, and must not be usable with one."""
    assert outcome(dpop(), token="") == "accepted"
    assert outcome(good(), token="") == "unauthenticated"


@pytest.mark.parametrize(
    "htu",
    [
        "https://GATEWAY.example/mcp",
        "HTTPS://gateway.example/mcp",
        "https://gateway.example:443/mcp",
        AUDIENCE + "?a=b",
        AUDIENCE + "#f",
    ],
)
def test_urls_that_are_the_same_by_rfc_3986_are(htu: str) -> None:
    """Case of scheme and host, the default port, query and fragment do not matter (RFC 9449 4.3 step 9)."""
    assert outcome(good(htu=htu)) == "accepted"


def test_urls_that_readers_could_split_differently_are_none() -> None:
    """They compare equal to nothing, not even to themselves."""
    for url in (
        "https://a b/",
        "https://a\\b/",
        "https://ä.example/",
        "https://u@a/",
        "ftp://a/",
        "https:///x",
        "https://a:x/",
        "//a/",
        "",
    ):
        assert comparable_url(url) is None
        assert outcome(good(htu=url), url=url) == "unauthenticated"
    assert comparable_url("http://[::1]:80") == "http://[::1]/"


CONTROLS: dict[str, tuple[str, Any, set[str]]] = {
    "url not compared": ("comparable_url", lambda _: "x", {"another path", "another host"}),
    "token not compared": ("_check_token", lambda *_: None, {"another token", "no token"}),
    "time not compared": ("_issued_ms", lambda *_: NOW_MS, {"stale", "from the future", "no iat"}),
    "signature not checked": ("check_signature", lambda *_: None, {"key of somebody else"}),
    "any type": ("_TYPES", frozenset({"dpop+jwt", "jwt", ""}), {"typ of a token"}),
}


@pytest.mark.parametrize("name", CONTROLS)
def test_the_table_catches_a_check_that_is_gone(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """With the check removed, these rows are accepted."""
    attribute, value, rows = CONTROLS[name]
    monkeypatch.setattr(checks, attribute, value)
    assert rows <= {row for row, (make, _) in BAD.items() if outcome(make()) == "accepted"}
