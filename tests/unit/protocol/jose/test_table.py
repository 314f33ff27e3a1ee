"""The table of tokens that are refused, each with its reason; and verifiers with one check removed, which the same table catches."""

import base64
import hmac
import json
import re
import warnings
from collections.abc import Callable
from typing import Any

import pytest

from lictor.model.errors import CallerError
from lictor.model.reasons import Reason
from lictor.protocol.jose import algs, base64url, compact, keys, profiles
from lictor.protocol.jose.algs import ALGS, DEFAULT_ALGS, Alg
from lictor.protocol.jose.compact import MAX_TOKEN, read_jws
from lictor.protocol.jose.keys import KeySet, read_key_set
from lictor.protocol.jose.profiles import Profile, verify_token
from tokens import (
    AUDIENCE,
    ISSUER,
    NOW_MS,
    NOW_S,
    b64,
    claims,
    forge,
    jwk,
    jwks,
    number,
    private_key,
    public_pem,
    token,
)

UNAUTHENTICATED, ALG, CRIT, AUD = "unauthenticated", "alg_not_allowed", "crit_not_understood", "audience"
EC, RSA = {"alg": "ES256", "kid": "p256"}, {"alg": "RS256", "kid": "rsa2048"}


def profile(**changes: Any) -> Profile:
    """The profile that the table is checked with."""
    settings: dict[str, Any] = {
        "how": "jwt",
        "issuer": ISSUER,
        "audience": AUDIENCE,
        "algs": DEFAULT_ALGS,
        "leeway_s": 60,
        "max_life_s": 3_600,
    }
    return Profile(**{**settings, **changes})


def key_set() -> KeySet:
    """What the issuer publishes: a key of each kind, one of them weak."""
    return read_key_set(
        jwks(
            "p256",
            "p384",
            "p521",
            "rsa2048",
            "rsa1024",
            "ed25519",
            jwk("p256-enc", use="enc"),
            jwk("p256-es", alg="ES256"),
        ),
        "sig",
    )


def spare_bits(good: str) -> str:
    """The same signature bytes in another spelling: a bit that base64url does not use is set."""
    alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"
    return good[:-1] + alphabet[alphabet.index(good[-1]) + 1]


def with_hmac(secret: bytes, head: dict[str, Any]) -> str:
    """Signed with HMAC under a secret that everybody knows."""
    signed = f"{b64(json.dumps(head))}.{b64(json.dumps(claims()))}"
    return f"{signed}.{b64(hmac.new(secret, signed.encode(), 'sha256').digest())}"


def doubled(member: str) -> str:
    """Good claims as text, with a member given once more in front: parsers differ in which counts."""
    return "{" + member + "," + json.dumps(claims())[1:]


TABLE: dict[str, tuple[Callable[[], str], str]] = {
    # -- the shape (RFC 7515 7.1) ------------------------------------------------------------------------------------------
    "empty": (lambda: "", UNAUTHENTICATED),
    "garbage": (lambda: "garbage", UNAUTHENTICATED),
    "one part": (lambda: token().split(".")[0], UNAUTHENTICATED),
    "two parts": (lambda: token().rpartition(".")[0], UNAUTHENTICATED),
    "trailing dot": (lambda: f"{token()}.", UNAUTHENTICATED),
    "leading dot": (lambda: f".{token()}", UNAUTHENTICATED),
    "encrypted (five parts)": (lambda: f"{token()}.AAAA.AAAA", UNAUTHENTICATED),
    "padding": (lambda: forge(EC, {**claims(), "x": "1"}, "p256") + "==", UNAUTHENTICATED),
    "blank behind": (lambda: f"{token()} ", UNAUTHENTICATED),
    "newline behind": (lambda: f"{token()}\n", UNAUTHENTICATED),
    "blank inside": (lambda: token().replace(".", ". ", 1), UNAUTHENTICATED),
    "spare bits": (lambda: spare_bits(token()), UNAUTHENTICATED),
    "standard base64": (lambda: f"{token().rpartition('.')[0]}.{'+/' * 43}", UNAUTHENTICATED),
    "unicode digits": (lambda: token().replace("e", "٣", 1), UNAUTHENTICATED),
    "fullwidth letter": (lambda: token().replace("e", "\uff45", 1), UNAUTHENTICATED),
    "null byte": (lambda: f"{token()}\x00", UNAUTHENTICATED),
    "huge": (lambda: forge(EC, claims(x="a" * MAX_TOKEN), "p256"), UNAUTHENTICATED),
    "huge header": (lambda: forge({**EC, "x": "a" * 5_000}, claims(), "p256"), UNAUTHENTICATED),
    "JSON serialisation": (lambda: json.dumps({"payload": b64("{}"), "signatures": []}), UNAUTHENTICATED),
    # -- its JSON ----------------------------------------------------------------------------------------------------------
    "header is a list": (lambda: forge("[]", claims(), b"x" * 64), UNAUTHENTICATED),
    "payload is text (nested)": (lambda: forge(EC, json.dumps(token()), "p256"), UNAUTHENTICATED),
    "payload is a token (nested)": (lambda: forge({**EC, "cty": "JWT"}, token(), "p256"), UNAUTHENTICATED),
    "duplicate alg": (
        lambda: forge('{"alg":"none","alg":"ES256","kid":"p256"}', claims(), "p256", "ES256"),
        UNAUTHENTICATED,
    ),
    "duplicate sub": (lambda: forge(EC, doubled('"sub":"admin"'), "p256"), UNAUTHENTICATED),
    "escaped duplicate": (lambda: forge(EC, doubled('"s\\u0075b":"admin"'), "p256"), UNAUTHENTICATED),
    "deep": (lambda: forge(EC, claims(x=json.loads("[" * 20 + "]" * 20)), "p256"), UNAUTHENTICATED),
    "NaN": (lambda: forge(EC, doubled('"x":NaN'), "p256"), UNAUTHENTICATED),
    "exp Infinity": (
        lambda: forge(EC, json.dumps(claims()).replace(str(NOW_S + 300), "Infinity"), "p256"),
        UNAUTHENTICATED,
    ),
    "exp 1e400": (lambda: forge(EC, json.dumps(claims()).replace(str(NOW_S + 300), "1e400"), "p256"), UNAUTHENTICATED),
    "byte order mark": (lambda: forge(EC, "\ufeff" + json.dumps(claims()), "p256"), UNAUTHENTICATED),
    "lone surrogate": (lambda: forge(EC, doubled('"x":"\\ud800"'), "p256"), UNAUTHENTICATED),
    "data behind": (lambda: forge(EC, json.dumps(claims()) + "{}", "p256"), UNAUTHENTICATED),
    # -- algorithms (RFC 8725 3.1) -----------------------------------------------------------------------------------------
    "none, unsigned": (lambda: forge({"alg": "none"}, claims(), b""), UNAUTHENTICATED),
    "none, signed": (lambda: forge({"alg": "none", "kid": "p256"}, claims(), "p256", "ES256"), ALG),
    "NONE": (lambda: forge({"alg": "NonE", "kid": "p256"}, claims(), b"x"), ALG),
    "HS256 with the RSA key's PEM": (lambda: with_hmac(public_pem("rsa2048"), {"alg": "HS256", "kid": "rsa2048"}), ALG),
    "HS256 with the modulus": (lambda: with_hmac(b64(b"n").encode(), {"alg": "HS256", "kid": "rsa2048"}), ALG),
    "HS256 with the empty key": (lambda: with_hmac(b"", {"alg": "HS256"}), ALG),
    "no alg": (lambda: forge({"kid": "p256"}, claims(), "p256", "ES256"), ALG),
    "alg is a list": (lambda: forge({"alg": ["ES256"], "kid": "p256"}, claims(), "p256", "ES256"), ALG),
    "alg in lower case": (lambda: forge({"alg": "es256", "kid": "p256"}, claims(), "p256", "ES256"), ALG),
    "alg not this issuer's": (lambda: token("p521", "ES512"), ALG),
    "unknown alg": (lambda: forge({"alg": "XX999", "kid": "p256"}, claims(), "p256", "ES256"), ALG),
    "ES256 with a P-384 key": (lambda: token("p384", "ES256"), UNAUTHENTICATED),
    "ES384 with a P-256 key": (lambda: token("p256", "ES384"), UNAUTHENTICATED),
    "RS256 with an EC key": (lambda: forge({"alg": "RS256", "kid": "p256"}, claims(), "rsa2048"), UNAUTHENTICATED),
    "ES384 with a key for ES256": (
        lambda: forge({"alg": "ES384", "kid": "p256-es"}, claims(), "p384"),
        UNAUTHENTICATED,
    ),
    "key for encryption": (lambda: token("p256-enc"), UNAUTHENTICATED),
    "weak RSA": (lambda: token("rsa1024", "RS256"), UNAUTHENTICATED),
    # -- signatures --------------------------------------------------------------------------------------------------------
    "zero signature (psychic)": (lambda: forge(EC, claims(), b"\x00" * 64), UNAUTHENTICATED),
    "r = n, s = n": (
        lambda: forge(
            EC, claims(), bytes.fromhex("ffffffff00000000ffffffffffffffffbce6faada7179e84f3b9cac2fc632551" * 2)
        ),
        UNAUTHENTICATED,
    ),
    "DER signature": (lambda: forge(EC, claims(), der()), UNAUTHENTICATED),
    "short signature": (lambda: forge(EC, claims(), b"x"), UNAUTHENTICATED),
    "another key of the same kind": (lambda: forge(EC, claims(), "p256-b"), UNAUTHENTICATED),
    "signature of another token": (
        lambda: f"{token(sub='admin').rpartition('.')[0]}.{token().rpartition('.')[2]}",
        UNAUTHENTICATED,
    ),
    "RSA signature of zeros": (lambda: forge(RSA, claims(), b"\x00" * 256), UNAUTHENTICATED),
    "RSA signature of one": (lambda: forge(RSA, claims(), b"\x00" * 255 + b"\x01"), UNAUTHENTICATED),
    "PS256 said, RS256 done": (
        lambda: forge({"alg": "PS256", "kid": "rsa2048"}, claims(), "rsa2048", "RS256"),
        UNAUTHENTICATED,
    ),
    "Ed25519 signature of zeros": (
        lambda: forge({"alg": "Ed25519", "kid": "ed25519"}, claims(), b"\x00" * 64),
        UNAUTHENTICATED,
    ),
    # -- keys --------------------------------------------------------------------------------------------------------------
    "unknown kid": (lambda: token(header={"kid": "other"}), UNAUTHENTICATED),
    "kid as a path": (lambda: token(header={"kid": "../../dev/null"}), UNAUTHENTICATED),
    "kid as SQL": (lambda: token(header={"kid": "x' UNION SELECT 'a"}), UNAUTHENTICATED),
    "kid is a number": (lambda: token(header={"kid": 1}), UNAUTHENTICATED),
    "kid is empty": (lambda: token(header={"kid": ""}), UNAUTHENTICATED),
    "no kid, two keys fit": (lambda: forge({"alg": "ES256"}, claims(), "p256"), UNAUTHENTICATED),
    "jwk in the header, forger's signature": (
        lambda: token("p256-evil", header={"jwk": jwk("p256-evil")}),
        UNAUTHENTICATED,
    ),
    "jwk in the header, honest signature": (lambda: token(header={"jwk": jwk("p256")}), UNAUTHENTICATED),
    "jku in the header": (lambda: token(header={"jku": "https://evil.example/jwks"}), UNAUTHENTICATED),
    "x5u in the header": (lambda: token(header={"x5u": "https://evil.example/x5c"}), UNAUTHENTICATED),
    "x5c in the header": (lambda: token(header={"x5c": ["AAAA"]}), UNAUTHENTICATED),
    # -- other members of the header ---------------------------------------------------------------------------------------
    "crit unknown": (lambda: token(header={"crit": ["x-policy"], "x-policy": 1}), CRIT),
    "crit cnf": (lambda: token(header={"crit": ["cnf"], "cnf": {"jkt": "x"}}), CRIT),
    "crit empty": (lambda: token(header={"crit": []}), CRIT),
    "crit null": (lambda: token(header={"crit": None}), CRIT),
    "crit names alg": (lambda: token(header={"crit": ["alg"]}), CRIT),
    "b64 false": (lambda: token(header={"b64": False}), UNAUTHENTICATED),
    "b64 false, critical": (lambda: token(header={"b64": False, "crit": ["b64"]}), CRIT),
    "zip": (lambda: token(header={"zip": "DEF"}), UNAUTHENTICATED),
    "enc": (lambda: token(header={"enc": "A256GCM"}), UNAUTHENTICATED),
    "cty JWT": (lambda: token(header={"cty": "JWT"}), UNAUTHENTICATED),
    "typ of a proof": (lambda: token(header={"typ": "dpop+jwt"}), UNAUTHENTICATED),
    "typ of a logout": (lambda: token(header={"typ": "logout+jwt"}), UNAUTHENTICATED),
    "typ is a number": (lambda: token(header={"typ": 1}), UNAUTHENTICATED),
    "typ is empty": (lambda: token(header={"typ": ""}), UNAUTHENTICATED),
    "typ with a Kelvin sign": (lambda: token(header={"typ": "at+jwt\u212a"}), UNAUTHENTICATED),
    # -- claims ------------------------------------------------------------------------------------------------------------
    "another issuer": (lambda: token(iss="https://issuer.example.evil.example"), UNAUTHENTICATED),
    "issuer with a slash": (lambda: token(iss=f"{ISSUER}/"), UNAUTHENTICATED),
    "issuer in capitals": (lambda: token(iss="https://ISSUER.example"), UNAUTHENTICATED),
    "issuer is a list": (lambda: token(iss=[ISSUER]), UNAUTHENTICATED),
    "no issuer": (lambda: token(iss=None), UNAUTHENTICATED),
    "no subject": (lambda: token(sub=None), UNAUTHENTICATED),
    "subject is a number": (lambda: token(sub=7), UNAUTHENTICATED),
    "subject is empty": (lambda: token(sub=""), UNAUTHENTICATED),
    "subject with a newline": (lambda: token(sub="a\nb"), UNAUTHENTICATED),
    "another audience": (lambda: token(aud="https://other.example"), AUD),
    "audience with a slash": (lambda: token(aud=f"{AUDIENCE}/"), AUD),
    "audience is a prefix": (lambda: token(aud="https://gateway.example"), AUD),
    "no audience": (lambda: token(aud=None), AUD),
    "audience is empty": (lambda: token(aud=[]), AUD),
    "audience is an object": (lambda: token(aud={AUDIENCE: 1}), AUD),
    "audience in a nested list": (lambda: token(aud=[[AUDIENCE]]), AUD),
    "for others too": (lambda: token(aud=[AUDIENCE, "https://other.example"]), AUD),
    "expired beyond the leeway": (lambda: token(exp=NOW_S - 61), UNAUTHENTICATED),
    "expired exactly at the leeway": (lambda: token(exp=NOW_S - 60, iat=NOW_S - 100), UNAUTHENTICATED),
    "no expiry": (lambda: token(exp=None), UNAUTHENTICATED),
    "expiry is text": (lambda: token(exp=str(NOW_S + 300)), UNAUTHENTICATED),
    "expiry is true": (lambda: token(exp=True), UNAUTHENTICATED),
    "expiry is negative": (lambda: token(exp=-1), UNAUTHENTICATED),
    "expiry in the year 60000": (lambda: token(exp=NOW_S * 1_000, iat=NOW_S * 1_000 - 5), UNAUTHENTICATED),
    "not yet valid": (lambda: token(nbf=NOW_S + 61), UNAUTHENTICATED),
    "nbf is text": (lambda: token(nbf="0"), UNAUTHENTICATED),
    "issued in the future": (lambda: token(iat=NOW_S + 61), UNAUTHENTICATED),
    "issued after it expires": (lambda: token(iat=NOW_S + 50, exp=NOW_S + 40), UNAUTHENTICATED),
    "lives too long": (lambda: token(exp=NOW_S + 3_600), UNAUTHENTICATED),
    "lives too long, no iat": (lambda: token(exp=NOW_S + 3_661, iat=None), UNAUTHENTICATED),
    "bound in an unknown way": (lambda: token(cnf={"kid": "x"}), UNAUTHENTICATED),
    "bound to a key given in the token": (lambda: token(cnf={"jwk": jwk("p256")}), UNAUTHENTICATED),
    "bound twice": (lambda: token(cnf={"jkt": b64(b"x" * 32), "x5t#S256": b64(b"x" * 32)}), UNAUTHENTICATED),
    "bound to nothing": (lambda: token(cnf={}), UNAUTHENTICATED),
    "bound to null": (lambda: forge(EC, {**claims(), "cnf": None}, "p256"), UNAUTHENTICATED),
    "bound to a short thumbprint": (lambda: token(cnf={"jkt": b64(b"x" * 31)}), UNAUTHENTICATED),
}
"""Each token has one fault; nothing else would refuse it."""


def der() -> bytes:
    """A good signature in the wrong form."""
    from cryptography.hazmat.primitives import hashes
    from cryptography.hazmat.primitives.asymmetric import ec

    signed = f"{b64(json.dumps(EC))}.{b64(json.dumps(claims()))}"
    return private_key("p256").sign(signed.encode(), ec.ECDSA(hashes.SHA256()))


def outcome(made: str) -> str:
    """The reason a token is refused for, or `accepted`."""
    try:
        verify_token(read_jws(made), profile(), key_set(), NOW_MS)
    except CallerError as error:
        return error.reason.value
    return "accepted"


def accepted() -> set[str]:
    """The rows of the table that are let in."""
    return {name for name, (make, _) in TABLE.items() if outcome(make()) == "accepted"}


@pytest.mark.parametrize("name", TABLE)
def test_a_token_with_one_fault_is_refused_for_it(name: str) -> None:
    """Every row ends with its own reason."""
    make, reason = TABLE[name]
    assert outcome(make()) == reason


@pytest.mark.parametrize("name", TABLE)
def test_a_refusal_repeats_nothing_of_the_token(name: str) -> None:
    """The text of a refusal goes to logs: no part of the token and no claim is in it."""
    made = TABLE[name][0]()
    with pytest.raises(CallerError) as caught:
        verify_token(read_jws(made), profile(), key_set(), NOW_MS)
    text = str(caught.value)
    for part in [*made.split("."), "admin", "workload-1", "other.example", "evil"]:
        assert len(part) < 5 or part not in text


GOOD: dict[str, Callable[[], str]] = {
    "ES256": token,
    "ES384": lambda: token("p384", "ES384"),
    "RS256": lambda: token("rsa2048", "RS256"),
    "PS256": lambda: token("rsa2048", "PS256"),
    "Ed25519": lambda: token("ed25519", "Ed25519"),
    "EdDSA": lambda: token("ed25519", "EdDSA"),
    "no typ": lambda: forge(EC, claims(), "p256"),
    "access token": lambda: token(header={"typ": "at+jwt"}),
    "access token, long form": lambda: token(header={"typ": "application/AT+JWT"}),
    "no kid, one key fits": lambda: forge({"alg": "ES384"}, claims(), "p384"),
    "audience as a list": lambda: token(aud=[AUDIENCE]),
    "expired within the leeway": lambda: token(exp=NOW_S - 59, iat=NOW_S - 100),
    "issued within the leeway": lambda: token(iat=NOW_S + 59),
    "fractions of a second": lambda: token(exp=NOW_S + 0.5),
    "no iat": lambda: token(iat=None),
    "lives as long as it may": lambda: token(iat=NOW_S - 10, exp=NOW_S + 3_590),
    "bound to a key": lambda: token(cnf={"jkt": b64(b"x" * 32)}),
    "unknown members": lambda: token(header={"x-note": 1}, groups=["a"]),
}


@pytest.mark.parametrize("name", GOOD)
def test_a_good_token_is_accepted(name: str) -> None:
    """The table does not refuse everything."""
    assert outcome(GOOD[name]()) == "accepted"


def test_for_others_too_is_accepted_with_the_one_client_set() -> None:
    """A list with other audiences is good where the settings name the client and the token was issued to it."""
    many = [AUDIENCE, "https://other.example"]
    ours = profile(client_id="agent-7")
    for good in (token(aud=many, azp="agent-7"), token(aud=many, client_id="agent-7"), token(azp="agent-7")):
        verify_token(read_jws(good), ours, key_set(), NOW_MS)
    for bad in (
        token(aud=many),
        token(),
        token(azp="agent-8"),
        token(azp="agent-7", client_id="agent-8"),
        token(azp=["agent-7"]),
    ):
        with pytest.raises(CallerError) as caught:
            verify_token(read_jws(bad), ours, key_set(), NOW_MS)
        assert caught.value.reason == "audience"


# -- controls: the table finds a verifier that has lost a check -------------------------------------------------------------

Patch = Callable[[pytest.MonkeyPatch], None]


class _AnyHmac:
    """What a library does that takes whatever key it is given for a secret."""

    def verify(self, data: bytes, given: bytes, key: Any) -> bool:
        return hmac.compare_digest(given, hmac.new(key.as_pem(), data, "sha256").digest())


class _Nothing:
    """`none`."""

    def verify(self, data: bytes, given: bytes, key: Any) -> bool:
        return True


def _also(name: str, model: Any, kty: str, crv: str) -> Patch:
    def patch(monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setitem(ALGS, name, Alg(name, kty, crv, model))
        monkeypatch.setattr("lictor.protocol.jose.header.ALGS", ALGS)
        everything = (*DEFAULT_ALGS, name)
        monkeypatch.setitem(profile.__globals__, "DEFAULT_ALGS", everything)

    return patch


def _without_header(*names: str) -> Patch:
    def patch(monkeypatch: pytest.MonkeyPatch) -> None:
        real = profiles.check_header

        def check(head: dict[str, Any], **rules: Any) -> Any:
            return real({key: value for key, value in head.items() if key not in names}, **rules)

        monkeypatch.setattr(profiles, "check_header", check)

    return patch


def _with_claims(**values: Any) -> Patch:
    """Claims are checked as if they said this."""

    def patch(monkeypatch: pytest.MonkeyPatch) -> None:
        real = profiles.check_claims
        monkeypatch.setattr(profiles, "check_claims", lambda stated, rules, now: real({**stated, **values}, rules, now))

    return patch


def _set(owner: Any, name: str, value: Any) -> Patch:
    return lambda monkeypatch: monkeypatch.setattr(owner, name, value)


def _lenient_base64(monkeypatch: pytest.MonkeyPatch) -> None:
    """As most decoders do it: what is not of the alphabet is skipped, padding is made up."""

    def decode(text: str) -> bytes:
        kept = "".join(char for char in text if char.isascii() and (char.isalnum() or char in "-_"))
        return base64.urlsafe_b64decode(kept + "=" * (-len(kept) % 4))

    monkeypatch.setattr(compact, "decode", decode)


def _any_shape(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(compact, "_SHAPE", re.compile(r".*", re.DOTALL))
    _lenient_base64(monkeypatch)


def _usual_json(monkeypatch: pytest.MonkeyPatch) -> None:
    class Parsed:
        def __init__(self, data: bytes) -> None:
            try:
                self.value = json.loads(data)
            except ValueError:
                raise CallerError(Reason.INVALID_JSON, "not JSON") from None

    monkeypatch.setattr(compact, "read", lambda data, limits, max_bytes: Parsed(data))


def _weak_keys(monkeypatch: pytest.MonkeyPatch) -> None:
    warnings.filterwarnings("ignore", "Key size should be")
    monkeypatch.setattr(keys, "MIN_RSA_BITS", 512)


CONTROLS: dict[str, tuple[Patch, set[str]]] = {
    "no signature check": (
        _set(profiles, "check_signature", lambda *_: None),
        {"zero signature (psychic)", "another key of the same kind", "signature of another token", "DER signature"},
    ),
    "a public key is a secret": (_also("HS256", _AnyHmac(), "RSA", ""), {"HS256 with the RSA key's PEM"}),
    "none is an algorithm": (_also("none", _Nothing(), "EC", "P-256"), {"none, signed"}),
    "any key for any algorithm": (
        _set(keys.Key, "fits", lambda self, alg: True),
        {"ES256 with a P-384 key", "ES384 with a P-256 key"},
    ),
    "weak keys": (_weak_keys, {"weak RSA"}),
    "use is not looked at": (_set(keys, "_for", lambda *_: True), {"key for encryption"}),
    "crit is not looked at": (_without_header("crit"), {"crit unknown", "crit cnf", "crit empty", "crit null"}),
    "keys in headers are only ignored": (
        _without_header("jwk", "jku", "x5u", "x5c"),
        {"jwk in the header, honest signature", "jku in the header", "x5u in the header", "x5c in the header"},
    ),
    "other members are ignored": (_without_header("b64", "zip", "enc", "cty"), {"b64 false", "zip", "enc", "cty JWT"}),
    "typ is not looked at": (_without_header("typ"), {"typ of a proof", "typ of a logout", "typ is empty"}),
    "any audience": (
        _with_claims(aud=AUDIENCE),
        {"another audience", "no audience", "for others too", "audience is a prefix"},
    ),
    "any issuer": (_with_claims(iss=ISSUER), {"another issuer", "issuer with a slash", "no issuer"}),
    "no expiry": (
        _with_claims(exp=NOW_S + 100),
        {"expired beyond the leeway", "no expiry", "lives too long", "expiry is true"},
    ),
    "no nbf": (_with_claims(nbf=0), {"not yet valid"}),
    "no iat": (_with_claims(iat=NOW_S - 5), {"issued in the future"}),
    "no subject": (_with_claims(sub="x"), {"no subject", "subject is empty"}),
    "cnf is dropped": (
        _set(profiles, "binding_of", lambda _: ""),
        {"bound in an unknown way", "bound twice", "bound to null"},
    ),
    "lenient base64": (_lenient_base64, {"spare bits"}),
    "lenient shape": (_any_shape, {"padding", "newline behind", "blank behind"}),
    "usual JSON": (_usual_json, {"duplicate sub", "escaped duplicate", "NaN", "deep"}),
    "keys are tried out": (
        _set(KeySet, "find", lambda self, kid, alg: next((key for key in self.keys if key.fits(alg)), None)),
        {"unknown kid", "kid as a path", "no kid, two keys fit"},
    ),
    "no size": (_set(compact, "MAX_TOKEN", 10**6), {"huge"}),
}


@pytest.mark.parametrize("name", CONTROLS)
def test_the_table_catches_a_verifier_without_this_check(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """With the check removed, these rows are accepted: so it is this check that refuses them."""
    patch, rows = CONTROLS[name]
    patch(monkeypatch)
    assert rows <= accepted()


# -- key sets ----------------------------------------------------------------------------------------------------------------

BAD_SETS: dict[str, bytes] = {
    "not JSON": b"{",
    "not an object": b"[]",
    "no keys": b"{}",
    "keys are an object": b'{"keys":{}}',
    "a key is text": b'{"keys":["x"]}',
    "empty": b'{"keys":[]}',
    "duplicate kid": jwks("p256", jwk("p256-b", kid="p256")),
    "duplicate kid, other type": jwks("p256", jwk("rsa2048", kid="p256")),
    "duplicate member": b'{"keys":[],"keys":[]}',
    "private key": jwks("p256", {**jwk("p384"), "d": "AAAA"}),
    "symmetric key": jwks("p256", {"kty": "oct", "k": "AAAA", "kid": "s"}),
    "only weak": jwks("rsa1024"),
    "only for encryption": jwks(jwk("p256", use="enc")),
    "kid is a list": jwks(jwk("p256", kid=["a"])),
    "too many": jwks(*[jwk("p256", kid=str(n)) for n in range(101)]),
    "huge": jwks({**jwk("p256"), "x-note": "a" * 300_000}),
}


@pytest.mark.parametrize("name", BAD_SETS)
def test_an_ambiguous_or_leaking_key_set_is_refused_whole(name: str) -> None:
    """One fault that matters refuses every key of the set."""
    with pytest.raises(CallerError) as caught:
        read_key_set(BAD_SETS[name], "sig")
    assert caught.value.reason == "unauthenticated"


UNUSABLE: dict[str, Callable[[], dict[str, Any]]] = {
    "unknown type": lambda: {"kty": "XX", "kid": "x"},
    "no type": lambda: {"kid": "x"},
    "unknown curve": lambda: jwk("p256", crv="secp256k1"),
    "curve of another type": lambda: {**jwk("ed25519"), "kty": "EC", "y": jwk("p256")["y"]},
    "off the curve": lambda: {**jwk("p256"), "y": jwk("p256-b")["y"]},
    "short coordinate": lambda: {**jwk("p256"), "x": b64(b"\x01" * 31)},
    "long coordinate": lambda: {**jwk("p256"), "x": b64(b"\x00" + b"\x01" * 32)},
    "padded coordinate": lambda: {**jwk("p256"), "x": jwk("p256")["x"] + "="},
    "missing coordinate": lambda: {key: value for key, value in jwk("p256").items() if key != "y"},
    "X25519": lambda: jwk("ed25519", crv="X25519"),
    "exponent 3": lambda: jwk("rsa2048", e=number(3)),
    "exponent 1": lambda: jwk("rsa2048", e=number(1)),
    "even exponent": lambda: jwk("rsa2048", e=number(65_538)),
    "modulus with a leading zero": lambda: jwk("rsa2048", n=b64(b"\x00" + b"\xff" * 256)),
    "16384 bits": lambda: jwk("rsa2048", n=b64(b"\xff" * 2_048)),
    "alg of another type": lambda: jwk("p256", alg="RS256"),
    "alg of another curve": lambda: jwk("p256", alg="ES384"),
    "symmetric alg": lambda: jwk("rsa2048", alg="HS256"),
    "alg is a list": lambda: jwk("p256", alg=["ES256"]),
    "key_ops without verify": lambda: jwk("p256", key_ops=["sign"]),
    "use of another profile": lambda: jwk("p256", use="jwt-svid"),
}


@pytest.mark.parametrize("name", UNUSABLE)
def test_a_key_that_cannot_be_used_is_left_out(name: str) -> None:
    """The rest of the set stays (RFC 7517 5)."""
    found = read_key_set(jwks(UNUSABLE[name](), "p384"), "sig")
    assert [key.kid for key in found.keys] == ["p384"]


def test_a_key_sets_version_changes_with_its_keys() -> None:
    """A key that comes, goes, changes or is renamed makes another version; order does not."""
    first = read_key_set(jwks("p256", "p384"), "sig").version
    assert read_key_set(jwks("p384", "p256"), "sig").version == first
    others = [
        jwks("p256"),
        jwks("p256", "p384", "rsa2048"),
        jwks("p256", jwk("p384", kid="x")),
        jwks(jwk("p256-b", kid="p256"), "p384"),
    ]
    assert first not in {read_key_set(other, "sig").version for other in others}


def test_duplicate_kid_would_be_ambiguous() -> None:
    """Control: in a set with an equal `kid` twice, two readers find different keys; ours finds none."""
    first, second = (read_key_set(jwks(jwk(name, kid="k")), "sig").keys[0] for name in ("p256", "p256-b"))
    both = KeySet((first, second), "")
    assert both.find("k", ALGS["ES256"]) is None


def test_no_setting_can_allow_a_symmetric_algorithm() -> None:
    """The table of algorithms has no `none`, no HMAC and nothing below SHA-256."""
    assert not [
        name
        for name in algs.ALGS
        if name.startswith("HS") or name.lower() == "none" or "1" in name.replace("512", "").replace("519", "")
    ]
    assert set(DEFAULT_ALGS) <= set(algs.ALGS)


def test_base64url_has_one_spelling() -> None:
    """What decodes encodes to itself."""
    for text in ("A", "AB==", "AB", "AC", "A+", "A/", "AAAA\n", " AAA", "AA\u0661A"):
        data = base64url.decode(text)
        assert data is None or base64url.encode(data) == text
    assert base64url.decode("AB") is None  # spare bits
    assert base64url.decode("AA") == b"\x00"
