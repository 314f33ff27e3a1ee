"""Client assertions and JWT-SVIDs: what is asked of them beyond the common table; and SPIFFE IDs as they stand."""

from typing import Any

import pytest

from lictor.model.errors import CallerError
from lictor.protocol.jose import profiles
from lictor.protocol.jose.algs import DEFAULT_ALGS
from lictor.protocol.jose.compact import read_jws
from lictor.protocol.jose.keys import read_key_set
from lictor.protocol.jose.profiles import Profile, VerifiedToken, verify_token
from lictor.protocol.jose.spiffe import read_spiffe_id, workload_id
from tokens import AUDIENCE, NOW_MS, NOW_S, claims, forge, jwk, jwks, token

SVID = "spiffe://t.example/agent/pay"


def verified(made: str, how: Any, issuer: str, **changes: Any) -> VerifiedToken:
    """The token, by one profile."""
    settings: dict[str, Any] = {
        "how": how, "issuer": issuer, "audience": AUDIENCE, "algs": DEFAULT_ALGS, "leeway_s": 30, "max_life_s": 3_600,
    }  # fmt: skip
    use = "jwt-svid" if how == "jwt_svid" else "sig"
    return verify_token(
        read_jws(made), Profile(**{**settings, **changes}), read_key_set(jwks(jwk("p256", use=use)), use), NOW_MS
    )


def assertion(**changes: Any) -> str:
    return token(**{"iss": "agent-7", "sub": "agent-7", "jti": "one", "exp": NOW_S + 60, **changes})


def test_an_assertion_of_a_client_about_itself_is_accepted() -> None:
    """RFC 7523 3: `iss` and `sub` are the client, `jti` comes out to be remembered."""
    found = verified(assertion(), "private_key_jwt", "agent-7")
    assert found.jti == "one"
    assert found.times.until_ms == (NOW_S + 90) * 1_000


@pytest.mark.parametrize(
    "changes",
    [
        {"sub": "agent-8"},
        {"iss": "agent-8"},
        {"iss": "agent-8", "sub": "agent-8"},
        {"jti": None},
        {"jti": 7},
        {"jti": ""},
        {"jti": "x" * 257},
        {"exp": NOW_S + 3_000},
        {"exp": None},
        {"aud": "https://other.example"},
        {"aud": [AUDIENCE, "https://other.example"]},
        {"header": {"typ": "at+jwt"}},
    ],
)
def test_an_assertion_with_one_fault_is_refused(changes: dict[str, Any]) -> None:
    """About somebody else, without `jti`, living long, for others too."""
    with pytest.raises(CallerError):
        verified(assertion(**changes), "private_key_jwt", "agent-7")


def test_a_jwt_svid_is_accepted_by_its_trust_domain() -> None:
    """No `iss` is asked for (JWT-SVID 3); `typ` may be `JOSE`."""
    for header in ({}, {"typ": "JOSE"}):
        found = verified(token(iss=None, sub=SVID, header=header), "jwt_svid", "t.example")
        assert found.claims["sub"] == SVID


@pytest.mark.parametrize(
    "changes",
    [
        {"sub": "spiffe://t.example.evil.example/agent/pay"},
        {"sub": "spiffe://t.example/agent/pay/"},
        {"sub": "spiffe://t.example/agent/../agent/pay"},
        {"sub": "spiffe://T.EXAMPLE/agent/pay"},
        {"sub": "spiffe://t.example"},
        {"sub": "workload-1"},
        {"aud": [AUDIENCE, "other"], "azp": "x"},
        {"header": {"typ": "at+jwt"}},
        {"exp": None},
    ],
)
def test_a_jwt_svid_with_one_fault_is_refused(changes: dict[str, Any]) -> None:
    """Another trust domain, a path to normalise, several audiences (even where a client is set)."""
    with pytest.raises(CallerError):
        verified(token(**{"iss": None, "sub": SVID, **changes}), "jwt_svid", "t.example", client_id="x")


def test_the_name_of_a_workload_is_what_refuses_those(monkeypatch: pytest.MonkeyPatch) -> None:
    """Control: without that check another trust domain's workload is let in by this one's keys."""
    monkeypatch.setattr(profiles, "workload_id", lambda *_: None)
    assert verified(token(iss=None, sub="spiffe://t.example.evil.example/agent/pay"), "jwt_svid", "t.example")


def test_keys_of_a_bundle_are_only_those_for_tokens() -> None:
    """A key without `use: jwt-svid` verifies no JWT-SVID (SPIFFE Trust Domain and Bundle 4.2.2)."""
    made = token(iss=None, sub=SVID)
    for use in ("sig", "x509-svid", None):
        with pytest.raises(CallerError):
            read_key_set(jwks(jwk("p256", use=use)), "jwt-svid")
    assert made


@pytest.mark.parametrize(
    "text",
    [
        "spiffe://t.example.evil.example/agent/pay",
        "spiffe://t.example/agent/pay/",
        "spiffe://t.example/agent/../agent/pay",
        "spiffe://t.example/./agent",
        "spiffe://t.example//agent",
        "spiffe://t.example/",
        "spiffe://t.example",
        "spiffe://T.EXAMPLE/agent/pay",
        "SPIFFE://t.example/agent",
        "spiffe:/t.example/agent",
        "spiffe:///agent",
        "https://t.example/agent",
        "spiffe://t.example:443/agent",
        "spiffe://u@t.example/agent",
        "spiffe://t.example/agent?x=1",
        "spiffe://t.example/agent#x",
        "spiffe://t.example/agent%2Fpay",
        "spiffe://t.example/agént",
        "spiffe://t.example/agent pay",
        "spiffe://t.example/agent\n",
        "spiffe://t.example./agent",
        "spiffe://t.example/" + "a" * 2_048,
        "",
    ],
)
def test_what_would_have_to_be_normalised_is_no_workload(text: str) -> None:
    """SPIFFE-ID 2: exact trust domain, no empty or dot segment, a small character set (case IDEN-18)."""
    with pytest.raises(CallerError):
        workload_id(text, "t.example")


def test_ids_are_read_as_they_stand() -> None:
    """What is read says the same again; a path keeps its case."""
    for text in (
        SVID,
        "spiffe://t.example",
        "spiffe://1.2.3.4/x",
        "spiffe://a_b-c/X/..x/y.z",
        "spiffe://t.example/a/b/c",
    ):
        assert str(read_spiffe_id(text)) == text
    assert workload_id(SVID, "t.example").path == "/agent/pay"


def test_two_profiles_do_not_take_each_others_tokens() -> None:
    """A workload token is no assertion, an assertion no JWT-SVID (RFC 8725 3.12)."""
    with pytest.raises(CallerError):
        verified(token(), "private_key_jwt", "agent-7")
    with pytest.raises(CallerError):
        verified(assertion(), "jwt_svid", "t.example")
    with pytest.raises(CallerError):
        verified(
            forge({"alg": "ES256", "kid": "p256", "typ": "at+jwt"}, claims(iss=None, sub=SVID), "p256"),
            "jwt_svid",
            "t.example",
        )
