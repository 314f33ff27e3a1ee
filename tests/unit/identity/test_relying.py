"""The issuer people sign in with, when strangers begin many sign-ins, and when its tokens are for others too."""

import asyncio
import json
from pathlib import Path
from typing import Any

import pytest

from lictor.identity import relying as module
from lictor.identity.front import Front
from lictor.identity.issuers import Issuers
from lictor.identity.relying import OidcRelying
from lictor.identity.replays import FileReplays
from lictor.identity.settings import IssuerSettings
from lictor.model.errors import CallerError, UpstreamError
from lictor.model.reasons import Reason
from lictor.model.secret import Secret
from lictor.testing.clock import ManualClock
from tokens import ISSUER, NOW_MS, jwks, token

DOCUMENT = {"issuer": ISSUER, "authorization_endpoint": f"{ISSUER}/auth", "token_endpoint": f"{ISSUER}/token"}


class Elapsed:
    """Seconds, by hand."""

    now = 1_000.0

    def __call__(self) -> float:
        return self.now


def relying(folder: Path, elapsed: Elapsed, **settings: Any) -> OidcRelying:
    """One issuer, whose keys are in a file here."""
    (folder / "keys.json").write_bytes(jwks("p256"))
    one = IssuerSettings(kind="jwks", url=ISSUER, file="keys.json", **settings)
    replays = FileReplays(folder / "r.db")
    front = Front(
        issuers=Issuers({"idp": one}, folder=folder, replays=replays, report=lambda _: None),
        replays=replays,
        clock=ManualClock(NOW_MS),
        audience="gateway",
    )
    return OidcRelying(one, front=front, folder=folder, client_id="console", client_secret=None, elapsed=elapsed)


async def test_many_sign_ins_ask_the_issuer_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Anybody can begin a sign-in: each would take a thread that other issuers' keys are fetched with."""
    asked: list[str] = []

    def slow(url: str, **_: Any) -> bytes:
        asked.append(url)
        return json.dumps(DOCUMENT).encode()

    monkeypatch.setattr(module, "fetch", slow)
    one = relying(tmp_path, Elapsed())
    found = await asyncio.gather(*(one.endpoints() for _ in range(20)))
    assert {each.token for each in found} == {f"{ISSUER}/token"}
    assert len(asked) == 1


async def test_an_issuer_that_is_down_is_not_asked_by_everybody(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A failure is everybody's for a few seconds, and is then asked about again."""
    asked: list[str] = []

    def down(url: str, **_: Any) -> bytes:
        asked.append(url)
        raise UpstreamError(Reason.UPSTREAM_DOWN, "down", effect_possible=False)

    monkeypatch.setattr(module, "fetch", down)
    elapsed = Elapsed()
    one = relying(tmp_path, elapsed)
    found = await asyncio.gather(*(one.endpoints() for _ in range(20)), return_exceptions=True)
    assert all(isinstance(each, UpstreamError) for each in found)
    assert len(asked) == 1
    elapsed.now += module.RETRY_S + 1
    with pytest.raises(UpstreamError):
        await one.endpoints()
    assert len(asked) == 2


async def test_an_id_token_is_for_this_client_whatever_audience_the_issuer_has_elsewhere(tmp_path: Path) -> None:
    """The issuer's `audience` is that of its access tokens: with it alone, any of those would sign a person in."""
    one = relying(tmp_path, Elapsed(), audience="api")
    with pytest.raises(CallerError) as caught:
        await one.verify(Secret(token(aud="api")))
    assert caught.value.reason.value == "audience"
    assert (await relying(tmp_path, Elapsed()).verify(Secret(token(aud="console")))).subject == "workload-1"
