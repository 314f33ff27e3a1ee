"""The front: header forms, bound tokens, proofs, certificates; no evidence is made good by other evidence."""

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from lictor.identity import front as module
from lictor.identity.front import Front, open_front
from lictor.identity.settings import IssuerSettings
from lictor.identity.x509 import thumbprint as certificate_thumbprint
from lictor.model.errors import CallerError
from lictor.testing.clock import ManualClock
from svids import bundle, issue
from tokens import AUDIENCE, ISSUER, NOW_MS, NOW_S, dpop, jwks, thumbprint, token

ROOT = issue(ca=True, uris=["spiffe://t.example"])
LEAF = issue(ROOT, uris=["spiffe://t.example/agent/pay"])
OTHER = issue(ROOT, uris=["spiffe://t.example/agent/other"])
SETTINGS = {
    "ci": IssuerSettings(kind="jwks", url=ISSUER, file="ci.json"),
    "mesh": IssuerSettings(kind="spiffe", url="spiffe://t.example", file="mesh.json"),
}


@pytest.fixture
async def front(tmp_path: Path) -> AsyncIterator[Front]:
    """A front with two issuers."""
    (tmp_path / "ci.json").write_bytes(jwks("p256"))
    (tmp_path / "mesh.json").write_bytes(bundle(ROOT))
    opened = open_front(
        SETTINGS, folder=tmp_path, state=tmp_path, audience=AUDIENCE, clock=ManualClock(NOW_MS), report=lambda _: None
    )
    yield opened
    await opened.close()


async def identify(front: Front, authorization: str | None, **changes: Any) -> str:
    """The subject, or `!` and the reason."""
    request: dict[str, Any] = {"method": "POST", "url": AUDIENCE}
    try:
        return (await front.identify(authorization=authorization, **{**request, **changes})).subject
    except CallerError as error:
        return f"!{error.reason.value}"


NOBODY = "!unauthenticated"


@pytest.mark.parametrize(
    "make",
    [
        lambda good: None,
        lambda good: "",
        lambda good: good,
        lambda good: f"Bearer  {good}",
        lambda good: f" Bearer {good}",
        lambda good: f"Bearer {good} ",
        lambda good: f"Bearer\t{good}",
        lambda good: f"Bearer {good}, Bearer {good}",
        lambda good: f"Bearer {good},x",
        lambda good: f"Basic {good}",
        lambda good: f"Token {good}",
        lambda good: "Bearer",
        lambda good: "Bearer ",
        lambda good: "Bearer garbage",
        lambda good: f"Bearer {good}\n",
        lambda good: f"\uff22earer {good}",
        lambda good: f"DPoP {good}",
    ],
)
async def test_only_a_well_formed_header_counts(make: Any, front: Front) -> None:
    """Anything else is nobody: there is no default principal (case IDEN-14)."""
    assert await identify(front, make(token())) == NOBODY


async def test_a_bearer_token_counts_whatever_the_case_of_its_scheme(front: Front) -> None:
    """RFC 9110 11.1."""
    for scheme in ("Bearer", "bearer", "BEARER"):
        assert await identify(front, f"{scheme} {token()}") == "workload-1"


async def test_a_certificate_speaks_only_where_no_token_was_sent(front: Front) -> None:
    """A bad token is not made good by a certificate, and a good one is not replaced by it."""
    chain = [LEAF.der]
    assert await identify(front, None, chain=chain) == "spiffe://t.example/agent/pay"
    assert await identify(front, "Bearer garbage", chain=chain) == NOBODY
    assert await identify(front, "", chain=chain) == NOBODY
    assert await identify(front, f"Bearer {token()}", chain=chain) == "workload-1"
    assert await identify(front, None, chain=chain, dpop=dpop()) == NOBODY


async def test_a_token_bound_to_a_certificate_needs_that_one(front: Front) -> None:
    """RFC 8705 3: the certificate of the connection, not any good one."""
    bound = token(cnf={"x5t#S256": certificate_thumbprint(LEAF.der).removeprefix("x5t:")})
    assert await identify(front, f"Bearer {bound}", chain=[LEAF.der]) == "workload-1"
    for chain in ([], [OTHER.der], [OTHER.der, LEAF.der]):
        assert await identify(front, f"Bearer {bound}", chain=chain) == NOBODY


def bound() -> str:
    """A token bound to the proofs' key."""
    return token(cnf={"jkt": thumbprint("p256-dpop")})


async def test_a_token_bound_to_a_key_needs_a_proof_each_time(front: Front) -> None:
    """RFC 9449 7.1: fresh for each request; the same proof again, none, or another key's is nobody."""
    made = bound()
    proof = dpop(access_token=made)
    assert await identify(front, f"DPoP {made}", dpop=proof) == "workload-1"
    assert await identify(front, f"DPoP {made}", dpop=proof) == NOBODY
    assert await identify(front, f"DPoP {made}", dpop=dpop(access_token=made, jti="another-proof")) == "workload-1"
    assert await identify(front, f"DPoP {made}") == NOBODY
    assert await identify(front, f"DPoP {made}", dpop=dpop("p256-evil", access_token=made, jti="evil-proof")) == NOBODY


async def test_a_bound_token_is_no_bearer(front: Front) -> None:
    """A stolen one is worth nothing, with or without a proof; and an unbound one is not dressed up as bound."""
    made = bound()
    assert await identify(front, f"Bearer {made}") == NOBODY
    assert await identify(front, f"Bearer {made}", dpop=dpop(access_token=made)) == NOBODY
    free = token()
    assert await identify(front, f"DPoP {free}", dpop=dpop(access_token=free)) == NOBODY
    assert await identify(front, f"Bearer {free}", dpop=dpop(access_token=free)) == NOBODY


async def test_a_strangers_proof_takes_no_room(front: Front, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing is remembered for a key that the token is not bound to."""
    spent: list[str] = []
    monkeypatch.setattr(front.possession, "spend", lambda proof, now_ms: spent.append(proof.jti))
    made = bound()
    assert await identify(front, f"DPoP {made}", dpop=dpop("p256-evil", access_token=made)) == NOBODY
    assert not spent


async def test_a_kept_token_still_needs_its_proof(front: Front) -> None:
    """What is kept is the token's verification; possession is checked for every request."""
    made = bound()
    assert await identify(front, f"DPoP {made}", dpop=dpop(access_token=made)) == "workload-1"
    assert await identify(front, f"DPoP {made}", dpop=dpop(access_token=made, jti="0123456789", htm="GET")) == NOBODY
    assert await identify(front, f"Bearer {made}") == NOBODY


async def test_a_token_in_a_body_follows_the_same_rules(front: Front) -> None:
    """`prove`: bound means bound; where it is not, the proof is left for what will be issued."""
    made = bound()
    request = {"method": "POST", "url": AUDIENCE}
    with pytest.raises(CallerError):
        await front.prove(made, **request)
    assert (await front.prove(made, dpop=dpop(access_token=made), **request)).subject == "workload-1"
    assert (await front.prove(made, dpop=dpop(jti="without-token"), **request)).subject == "workload-1"
    with pytest.raises(CallerError):
        await front.prove(made, dpop=dpop(jti="another-token", access_token="a.b.c"), **request)
    with pytest.raises(CallerError):
        await front.prove(made, dpop=dpop("p256-evil"), **request)
    proof = dpop(jti="for-what-is-issued")
    assert (await front.prove(token(), dpop=proof, **request)).thumbprint == ""
    read = front.possession.read(proof, token="", now_ms=NOW_MS, **request)
    assert read.thumbprint == thumbprint("p256-dpop")
    front.possession.spend(read, now_ms=NOW_MS)
    with pytest.raises(CallerError):
        front.possession.spend(read, now_ms=NOW_MS)


async def test_another_audience_can_be_asked_for(front: Front) -> None:
    """A token service and an MCP endpoint have different names."""
    made = token(aud="https://gateway.example/token")
    assert await identify(front, f"Bearer {made}") == "!audience"
    assert await identify(front, f"Bearer {made}", audience="https://gateway.example/token") == "workload-1"


@pytest.mark.parametrize("attribute", ["thumbprint"])
async def test_a_front_that_does_not_look_at_the_certificate_is_found_out(
    attribute: str, front: Front, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Control: with every certificate taken for the right one, a stolen bound token is let in."""
    made = token(cnf={"x5t#S256": certificate_thumbprint(LEAF.der).removeprefix("x5t:")})
    monkeypatch.setattr(module, attribute, lambda _: certificate_thumbprint(LEAF.der))
    assert await identify(front, f"Bearer {made}", chain=[OTHER.der]) == "workload-1"


async def test_a_front_without_memory_is_found_out(front: Front, monkeypatch: pytest.MonkeyPatch) -> None:
    """Control: with nothing remembered, the same proof is good twice."""
    monkeypatch.setattr(front.possession, "spend", lambda proof, now_ms: None)
    made = bound()
    proof = dpop(access_token=made)
    assert [await identify(front, f"DPoP {made}", dpop=proof) for _ in range(2)] == ["workload-1"] * 2
    assert NOW_S
