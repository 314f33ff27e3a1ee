"""Whatever bytes come as a token: a refusal of ours, or exactly what the issuer signed (R11).

Random text, structured garbage, and real tokens with bytes, characters, parts, header members and claims changed. Controls: a
verifier that does not check signatures, one that decodes leniently, and one that reads JSON leniently are found out.
"""

import base64
import functools
import json
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from lictor.identity.publications import jwks_uri, read_bundle
from lictor.model.errors import LictorError
from lictor.protocol.jose import compact, profiles
from lictor.protocol.jose.algs import DEFAULT_ALGS
from lictor.protocol.jose.compact import read_jws
from lictor.protocol.jose.dpop import comparable_url, read_proof
from lictor.protocol.jose.keys import KeySet, read_key_set
from lictor.protocol.jose.profiles import Profile, VerifiedToken, verify_token
from lictor.protocol.jose.spiffe import read_spiffe_id
from tokens import AUDIENCE, ISSUER, NOW_MS, b64, claims, dpop, forge, jwk, jwks, token

ALPHABET = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"
PROFILE = Profile(how="jwt", issuer=ISSUER, audience=AUDIENCE, algs=DEFAULT_ALGS, leeway_s=30, max_life_s=3_600)
QUIET = {"suppress_health_check": [HealthCheck.function_scoped_fixture, HealthCheck.too_slow], "deadline": None}


@functools.cache
def keys() -> KeySet:
    """What the issuer publishes."""
    return read_key_set(jwks("p256", "rsa2048", "ed25519"), "sig")


@functools.cache
def genuine() -> tuple[str, ...]:
    """What it has signed."""
    return (
        token(),
        token("rsa2048", "RS256", groups=["a", "b"], nested={"x": [1, 2.5, None, True]}),
        token("ed25519", "Ed25519", sub="ünïcode", note="\u2028"),
        token("rsa2048", "PS256", cnf={"jkt": b64(b"x" * 32)}),
    )


def verified(made: str) -> VerifiedToken | None:
    """What comes out; None for a refusal of ours. Anything else is a failure of the test."""
    try:
        return verify_token(read_jws(made), PROFILE, keys(), NOW_MS)
    except LictorError:
        return None


@functools.cache
def signed() -> dict[str, Any]:
    """Claims of each genuine token, by itself."""
    found = {one: verified(one) for one in genuine()}
    assert all(found.values())
    return {one: kept.claims for one, kept in found.items() if kept}


anything = st.one_of(
    st.text(max_size=200),
    st.text(alphabet=ALPHABET + ".=", max_size=400),
    st.binary(max_size=300).map(lambda data: data.decode("latin-1")),
    st.tuples(st.binary(max_size=80), st.binary(max_size=80), st.binary(max_size=80)).map(
        lambda parts: ".".join(map(b64, parts))
    ),
)
leaf = st.one_of(st.none(), st.booleans(), st.integers(), st.floats(), st.text(max_size=20))
values = st.recursive(
    leaf,
    lambda inner: st.one_of(st.lists(inner, max_size=4), st.dictionaries(st.text(max_size=8), inner, max_size=4)),
    max_leaves=8,
)
MEMBERS = ("kty", "crv", "x", "y", "n", "e", "kid", "alg", "use", "key_ops", "x5c", "d")


def as_json(value: Any) -> bytes:
    """Also what is not quite JSON."""
    return json.dumps(value).encode("utf-8", "surrogatepass")


published = st.one_of(
    st.binary(max_size=300),
    values.map(as_json),
    st.lists(st.dictionaries(st.sampled_from(MEMBERS), values, max_size=6), max_size=3).map(
        lambda listed: as_json({"keys": listed})
    ),
)
HEADER = ("alg", "kid", "typ", "crit", "jwk", "jku", "x5c", "x5u", "b64", "zip", "enc", "cty", "x")
CLAIMS = ("iss", "sub", "aud", "exp", "nbf", "iat", "azp", "client_id", "cnf", "jti", "x")


@given(anything)
@settings(max_examples=150, **QUIET)
def test_random_text_is_refused(made: str) -> None:
    """Never another exception, never an identity."""
    assert verified(made) is None


@st.composite
def mutated(draw: st.DrawFn) -> str:
    """A genuine token with one to three small changes of its text."""
    made = draw(st.sampled_from(genuine()))
    for _ in range(draw(st.integers(1, 3))):
        place = draw(st.integers(0, len(made)))
        match draw(st.integers(0, 6)):
            case 0:
                made = made[:place] + draw(st.sampled_from(ALPHABET)) + made[place + 1 :]
            case 1:
                made = made[:place] + made[place + 1 :]
            case 2:
                made = made[:place] + draw(st.characters()) + made[place:]
            case 3:
                other = draw(st.integers(0, len(made)))
                made = made[: min(place, other)] + made[max(place, other) :]
            case 5:  # the last character of a part has bits that mean nothing
                parts = made.split(".")
                index = draw(st.integers(0, len(parts) - 1))
                if parts[index]:
                    last = ALPHABET.find(parts[index][-1]) + draw(st.integers(1, 3))
                    parts[index] = parts[index][:-1] + ALPHABET[last % len(ALPHABET)]
                made = ".".join(parts)
            case 4:
                parts, others = made.split("."), draw(st.sampled_from(genuine())).split(".")
                index = draw(st.integers(0, 2))
                parts[index : index + 1] = others[index : index + 1]
                made = ".".join(parts)
            case _:
                made = (
                    made[:place]
                    + draw(st.sampled_from(["=", " ", "\n", "\t", ".", "+", "/", "\x00", "%3D"]))
                    + made[place:]
                )
    return made


def only_what_was_signed(made: str) -> None:
    """Accepted means: the very text of a genuine token, with its claims."""
    found = verified(made)
    if found is not None:
        assert made in signed(), made
        assert found.claims == signed()[made]


@given(mutated())
@settings(max_examples=150, **QUIET)
def test_a_changed_token_is_refused_or_is_the_same(made: str) -> None:
    """No other spelling of a token is that token; no part of one fits another."""
    only_what_was_signed(made)


@st.composite
def rewritten(draw: st.DrawFn) -> str:
    """Header and claims of anybody's choice, with the signature of a genuine token, or with none, or with garbage."""
    head = {"alg": "ES256", "kid": "p256", **draw(st.dictionaries(st.sampled_from(HEADER), values, max_size=3))}
    body = claims(**draw(st.dictionaries(st.sampled_from(CLAIMS), values, max_size=3)))
    texts = [json.dumps(part) for part in (head, body)]
    if draw(st.booleans()):
        extra = '"sub":"admin",'
        texts[1] = "{" + extra + texts[1][1:]
    signature = draw(st.sampled_from([part.split(".")[2] for part in genuine()]) | st.binary(max_size=64).map(b64))
    return (
        f"{b64(texts[0].encode('utf-8', 'surrogatepass'))}.{b64(texts[1].encode('utf-8', 'surrogatepass'))}.{signature}"
    )


@given(rewritten())
@settings(max_examples=150, **QUIET)
def test_nothing_is_accepted_that_was_not_signed(made: str) -> None:
    """Whatever header and claims say."""
    only_what_was_signed(made)


@given(
    st.dictionaries(st.sampled_from(HEADER), values, max_size=3),
    st.dictionaries(st.sampled_from(CLAIMS), values, max_size=3),
)
@settings(max_examples=150, **QUIET)
def test_whatever_an_issuer_signs_is_refused_or_holds(header: dict[str, Any], changes: dict[str, Any]) -> None:
    """Odd headers and claims with a good signature: refused by us, or issuer, audience, subject and time are as they must be."""
    try:
        made = forge({"alg": "ES256", "kid": "p256", **header}, claims(**changes), "p256", "ES256")
    except UnicodeEncodeError:
        return
    found = verified(made)
    if found is None:
        return
    stated = found.claims
    assert stated["iss"] == ISSUER
    assert stated["aud"] in (AUDIENCE, [AUDIENCE]) or set(stated["aud"]) == {AUDIENCE}
    assert isinstance(stated["sub"], str)
    assert stated["exp"] * 1_000 + 30_000 > NOW_MS
    assert all(stated.get(name, 0) * 1_000 <= NOW_MS + 30_000 for name in ("nbf", "iat"))
    assert (
        not {"crit", "jwk", "jku", "x5c", "x5u", "b64", "zip", "enc", "cty"}
        & json.loads(base64.urlsafe_b64decode(made.split(".")[0] + "==")).keys()
    )


@given(anything | mutated())
@settings(max_examples=150, **QUIET)
def test_a_proof_is_refused_by_us_or_is_the_genuine_one(made: str) -> None:
    """No other exception; a mutated proof of possession is none."""
    with pytest.raises(LictorError):
        read_proof(made, method="POST", url=AUDIENCE, token="", now_ms=NOW_MS)
    good = dpop()
    assert read_proof(good, method="POST", url=AUDIENCE, token="", now_ms=NOW_MS).jti


@given(published)
@settings(max_examples=150, **QUIET)
def test_whatever_is_published_is_refused_or_read(data: bytes) -> None:
    """Key sets, bundles and discovery documents of strangers: no other exception."""
    for reader in (
        lambda: read_key_set(data, "sig"),
        lambda: read_bundle(data),
        lambda: jwks_uri(data, "https://a.example"),
    ):
        try:
            reader()
        except LictorError:
            continue


@given(st.dictionaries(st.sampled_from(["kty", "crv", "x", "y", "kid", "alg", "use", "key_ops"]), values, max_size=3))
@settings(max_examples=200, **QUIET)
def test_a_key_with_odd_members_is_left_out_or_is_the_key(changes: dict[str, Any]) -> None:
    """Beside a good key, whatever else is in the set."""
    try:
        found = read_key_set(jwks(jwk("p256-b", **{"kid": "odd", **changes}), "p384"), "sig")
    except (LictorError, UnicodeEncodeError):
        return
    assert "p384" in {key.kid for key in found.keys}


@given(
    st.text(max_size=60) | st.text(alphabet="spiffe:/t.example%aZ", max_size=40).map(lambda text: f"spiffe://{text}")
)
@settings(max_examples=150, **QUIET)
def test_a_spiffe_id_says_the_same_again(text: str) -> None:
    """What is read writes as it was read; `comparable_url` raises nothing."""
    comparable_url(text)
    try:
        found = read_spiffe_id(text)
    except LictorError:
        return
    assert str(found) == text


# -- controls ------------------------------------------------------------------------------------------------------------------


def _lenient(text: str) -> bytes:
    kept = "".join(char for char in text if char in ALPHABET)
    return base64.urlsafe_b64decode(kept + "=" * (-len(kept) % 4)) if len(kept) % 4 != 1 else b""


@pytest.mark.parametrize(
    ("module", "name", "broken"),
    [(profiles, "check_signature", lambda *_: None), (compact, "decode", _lenient)],
    ids=["no signature", "lenient base64"],
)
def test_a_lenient_verifier_is_found_out(module: Any, name: str, broken: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """With the check gone, the same generator finds a token that is accepted and was not signed."""
    assert signed()
    monkeypatch.setattr(module, name, broken)

    @given(mutated())
    @settings(max_examples=2_000, database=None, **QUIET)
    def search(made: str) -> None:
        only_what_was_signed(made)

    with pytest.raises(AssertionError):
        search()
