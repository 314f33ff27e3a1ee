"""Tokens of configured issuers: who they are of, what is kept and for how long, what a changed file does."""

import json
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import pytest

from lictor.identity import issuers as module
from lictor.identity.issuers import Issuers
from lictor.identity.kept import CAP_MS, MAX_KEPT_CHARS, Kept, KeptTokens, holds
from lictor.identity.replays import FileReplays
from lictor.identity.settings import IssuerSettings
from lictor.model.errors import CallerError
from lictor.model.identity import Proven
from svids import bundle, issue
from tokens import AUDIENCE, ISSUER, NOW_MS, NOW_S, b64, jwk, jwks, token

SVID = "spiffe://t.example/agent/pay"
SETTINGS = {
    "ci": IssuerSettings(kind="jwks", url=ISSUER, file="ci.json"),
    "mesh": IssuerSettings(kind="spiffe", url="spiffe://t.example", file="mesh.json"),
    "solo": IssuerSettings(kind="keys", url="agent-7", file="solo.json"),
    "strict": IssuerSettings(
        kind="jwks",
        url="https://strict.example",
        file="ci.json",
        algs=("Ed25519",),
        audience="lictor",
        leeway_s=0,
        max_life_s=60,
    ),
}
Make = Callable[[dict[str, IssuerSettings]], Issuers]


@pytest.fixture
async def make(tmp_path: Path) -> AsyncIterator[Make]:
    """Issuers on files of this folder."""
    (tmp_path / "ci.json").write_bytes(jwks("p256", "ed25519"))
    (tmp_path / "mesh.json").write_bytes(bundle(issue(ca=True), tokens=["p256-mesh"]))
    (tmp_path / "solo.json").write_bytes(jwks("p256-solo"))
    opened: list[Issuers] = []
    replays = FileReplays(tmp_path / "r.db")

    def made(settings: dict[str, IssuerSettings] = SETTINGS) -> Issuers:
        opened.append(Issuers(settings, folder=tmp_path, replays=replays, report=lambda _: None))
        return opened[-1]

    yield made
    for one in opened:
        await one.close()
    replays.close()


async def verify(issuers: Issuers, made: str, *, audience: str = AUDIENCE, now_ms: int = NOW_MS) -> Proven:
    return await issuers.verify(made, audience=audience, now_ms=now_ms)


async def refused(issuers: Issuers, made: str, **changes: Any) -> str:
    with pytest.raises(CallerError) as caught:
        await verify(issuers, made, **changes)
    return caught.value.reason.value


async def test_each_kind_proves_who_it_is(make: Make) -> None:
    """Issuer by the settings' name, subject and claims as signed."""
    issuers = make(SETTINGS)
    found = await verify(issuers, token(repository="acme/shop", groups=["a"]))
    assert (found.issuer, found.subject, found.how, found.thumbprint) == ("ci", "workload-1", "jwt", "")
    assert found.claims["repository"] == "acme/shop"
    assert found.expires_at_ms == (NOW_S + 300) * 1_000
    found = await verify(issuers, token("p256-mesh", iss=None, sub=SVID))
    assert (found.issuer, found.subject, found.how) == ("mesh", SVID, "jwt_svid")
    found = await verify(issuers, token("p256-solo", iss="agent-7", sub="agent-7", jti="1", exp=NOW_S + 60))
    assert (found.issuer, found.subject, found.how) == ("solo", "agent-7", "private_key_jwt")


async def test_an_issuers_own_settings_count(make: Make) -> None:
    """Algorithms, audience, leeway and longest life are those of the issuer the token is of."""
    issuers = make(SETTINGS)
    good: dict[str, Any] = {"iss": "https://strict.example", "aud": "lictor", "iat": NOW_S, "exp": NOW_S + 60}
    assert (await verify(issuers, token("ed25519", "Ed25519", **good))).issuer == "strict"
    assert await refused(issuers, token("p256", **good)) == "alg_not_allowed"
    for changes in ({"exp": NOW_S}, {"exp": NOW_S + 61}, {"iat": NOW_S + 1}):
        assert await refused(issuers, token("ed25519", "Ed25519", **(good | changes))) == "unauthenticated"
    assert await refused(issuers, token("ed25519", "Ed25519", **(good | {"aud": AUDIENCE}))) == "audience"


async def test_one_issuers_key_signs_nothing_for_another(make: Make) -> None:
    """Each token is held against the keys of the issuer it names, and of no other."""
    issuers = make(SETTINGS)
    for made in (
        token("p256-mesh"),
        token("p256-solo"),
        token("p256", iss=None, sub=SVID),
        token("p256-solo", iss=None, sub=SVID),
        token("p256", iss="agent-7", sub="agent-7", jti="1", exp=NOW_S + 60),
        token("p256-mesh", sub=SVID),
        token(iss="mesh"),
        token(iss="ci"),
        token(iss="spiffe://t.example"),
        token(iss=None),
        token("p256-mesh", iss=None, sub="spiffe://t.example.evil.example/agent/pay"),
        token("p256-mesh", iss=None, sub="spiffe://T.EXAMPLE/agent/pay"),
        token(iss="https://unknown.example"),
        "",
        "ä" * 10,
        "a" * 20_000,
    ):
        assert await refused(issuers, made) == "unauthenticated"


async def test_an_assertion_is_good_once(make: Make) -> None:
    """Also for another instance on the same state folder; another `jti` is another assertion."""
    issuers, other = make(SETTINGS), make(SETTINGS)
    made = token("p256-solo", iss="agent-7", sub="agent-7", jti="1", exp=NOW_S + 60)
    await verify(issuers, made)
    assert await refused(issuers, made) == "unauthenticated"
    assert await refused(other, made) == "unauthenticated"
    await verify(other, token("p256-solo", iss="agent-7", sub="agent-7", jti="2", exp=NOW_S + 60))


async def test_a_changed_file_counts_within_a_second_or_two(make: Make, tmp_path: Path) -> None:
    """A withdrawn key proves nobody, kept verifications included; a new one does."""
    issuers = make(SETTINGS)
    made = token()
    await verify(issuers, made)
    (tmp_path / "ci.json").write_bytes(jwks("p384"))
    assert await refused(issuers, made, now_ms=NOW_MS + 2_000) == "unauthenticated"
    await verify(issuers, token("p384", "ES384"), now_ms=NOW_MS + 2_000)


async def test_a_broken_file_keeps_the_last_good_keys(make: Make, tmp_path: Path) -> None:
    """For an hour; then nobody is proved by them."""
    issuers = make(SETTINGS)
    made = token(exp=NOW_S + 3_590)
    await verify(issuers, made)
    (tmp_path / "ci.json").write_bytes(jwks("p256", jwk("p256-b", kid="p256")))
    await verify(issuers, made, now_ms=NOW_MS + 10_000)
    assert "two keys of one kid" in issuers.problems()["ci"]
    (tmp_path / "ci.json").unlink()
    await verify(issuers, made, now_ms=NOW_MS + 3_500_000)
    later = token(iat=NOW_S + 3_700, exp=NOW_S + 4_000)
    assert await refused(issuers, later, now_ms=NOW_MS + 3_800_000) == "unauthenticated"


async def test_a_trust_domain_without_token_keys_proves_no_tokens(make: Make, tmp_path: Path) -> None:
    """Its certificates are another matter."""
    (tmp_path / "mesh.json").write_bytes(bundle(issue(ca=True), tokens=[]))
    issuers = make(SETTINGS)
    assert await refused(issuers, token("p256-mesh", iss=None, sub=SVID)) == "unauthenticated"
    assert len((await issuers.roots("t.example", NOW_MS))[1]) == 1


# -- what is kept --------------------------------------------------------------------------------------------------------------


async def test_what_is_kept_is_what_verifying_again_would_say(make: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    """Same answer without a signature being checked again; another audience, a changed byte and another time are not kept."""
    issuers = make(SETTINGS)
    made = token()
    first = await verify(issuers, made)
    calls: list[int] = []
    real = module.verify_token
    monkeypatch.setattr(module, "verify_token", lambda *parts: calls.append(1) or real(*parts))
    assert await verify(issuers, made) == first
    assert not calls
    assert await refused(issuers, made, audience="https://other.example") == "audience"
    assert await refused(issuers, made[:-2] + ("AA" if made[-2:] != "AA" else "BA")) == "unauthenticated"
    assert await refused(issuers, made, now_ms=(NOW_S + 331) * 1_000) == "unauthenticated"
    assert await refused(issuers, made, now_ms=(NOW_S - 41) * 1_000) == "unauthenticated"
    assert len(calls) >= 3


@pytest.mark.parametrize("offset", range(-60, 400, 7))
async def test_kept_and_fresh_agree_at_every_moment(offset: int, make: Make) -> None:
    """Whatever the time, an instance that has seen the token answers as one that has not."""
    made = token(nbf=NOW_S + 5)
    seen, fresh = make(SETTINGS), make(SETTINGS)
    await verify(seen, made, now_ms=NOW_MS + 6_000)
    answers = []
    for issuers in (seen, fresh):
        try:
            answers.append(repr(await verify(issuers, made, now_ms=NOW_MS + offset * 1_000)))
        except CallerError as error:
            answers.append(error.reason.value)
    assert answers[0] == answers[1]


def test_an_entry_holds_for_its_keys_and_its_time_only() -> None:
    """The version of the keys, the token's own time, and never longer than the cap."""
    proven = Proven(issuer="ci", subject="x", how="jwt", expires_at_ms=NOW_MS)
    kept = Kept(proven, "v1", NOW_MS, NOW_MS + 10)
    assert holds(kept, "v1", NOW_MS)
    assert not any((holds(kept, "v2", NOW_MS), holds(kept, "v1", NOW_MS - 1), holds(kept, "v1", NOW_MS + 10)))
    assert CAP_MS <= 300_000


def test_it_is_bounded_and_the_least_recently_used_goes() -> None:
    """4,096 entries, or as many as said."""
    tokens = KeptTokens(most=2)
    kept = Kept(Proven(issuer="ci", subject="x", how="jwt", expires_at_ms=0), "v", 0, 1)
    tokens.keep("a", "g", kept)
    tokens.keep("b", "g", kept)
    assert tokens.find("a", "g")
    tokens.keep("c", "g", kept)
    assert [bool(tokens.find(name, "g")) for name in "abc"] == [True, False, True]


async def test_a_kept_verification_of_an_issuer_that_cannot_be_asked_dies_with_its_keys(
    make: Make, tmp_path: Path
) -> None:
    """Keys that are stale prove nobody, also nobody that was proved before."""
    issuers = make(SETTINGS)
    made = token(iat=NOW_S, exp=NOW_S + 3_600)
    await verify(issuers, made)
    (tmp_path / "ci.json").unlink()
    await verify(issuers, made, now_ms=NOW_MS + 3_599_000)
    assert await refused(issuers, made, now_ms=NOW_MS + 3_600_000) == "unauthenticated"


async def test_a_binding_comes_out(make: Make) -> None:
    """`cnf` is in the identity, for the door to check."""
    issuers = make(SETTINGS)
    thumb = b64(b"x" * 32)
    assert (await verify(issuers, token(cnf={"jkt": thumb}))).thumbprint == f"jkt:{thumb}"
    assert (await verify(issuers, token(cnf={"x5t#S256": thumb}))).thumbprint == f"x5t:{thumb}"
    assert json.dumps(thumb)


async def test_what_is_kept_is_bounded_in_size_too(make: Make) -> None:
    """One issuer of several signs as many large tokens as it likes: they push each other out, and take no more room."""
    issuers = make(SETTINGS)
    filler = "x" * 9_000
    for number in range(MAX_KEPT_CHARS // 12_000 + 20):
        await verify(issuers, token(jti=str(number), filler=filler))
    assert sum(one.size for one in issuers._kept._kept.values()) <= MAX_KEPT_CHARS
    assert len(issuers._kept._kept) > 10
