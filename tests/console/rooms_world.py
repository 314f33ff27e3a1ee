"""The console over a real store, bundle and gateway core, and a browser that keeps cookies (httpx over ASGI)."""

import contextlib
import re
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import httpx2

from lictor.console.web import Console, console_app
from lictor.model.ids import HumanId
from lictor.model.record import BundleActivated
from lictor.ports import Batch, RecordStore
from lictor.service.policy import PolicyInForce
from recorded_world import TrafficWorld, world_bundle

URL = "https://console.example"
OPERATOR, APPROVER, AUTHOR = HumanId("os:bob"), HumanId("os:carol"), HumanId("os:dora")
ALICE = HumanId("os:alice")
APPROVERS = """\
four_eyes = false
operators = ["money"]
authors = ["writers"]

[approvers."os:bob"]
groups = ["owner", "money"]

[approvers."os:carol"]
groups = ["owner"]

[approvers."os:dora"]
groups = ["writers"]

[approvers."os:alice"]
groups = ["others"]
"""


def console_of(world: TrafficWorld, **more: Any) -> Console:
    """Everything a console is given, of a world."""
    store: Any = world.store
    return Console(
        **{
            "store": world.store,
            "policy": PolicyInForce(world.pdp),
            "answer": world.answer,
            "clock": world.clock,
            "ids": world.ids,
            "recording": lambda: True,
            "public_url": URL,
            "hosts": frozenset({"console.example"}),
            "contain": world.contain,
            "open_log": lambda: contextlib.nullcontext(store),
            "verifier_key": store.verifier_key.text(),
            "invariants": lambda: None,
            **more,
        }
    )


class Browser:
    """One visitor."""

    def __init__(self, console: Console) -> None:
        self.console = console
        self.app = console_app(console)
        self.client = httpx2.AsyncClient(transport=httpx2.ASGITransport(app=self.app), base_url=URL)

    async def get(self, path: str, **more: Any) -> httpx2.Response:
        """A page."""
        return await self.client.get(path, **more)

    async def post(
        self, path: str, form: Mapping[str, str], *, csrf: str | None = None, **more: Any
    ) -> httpx2.Response:
        """A form, with the sign-in's token unless another is given."""
        token = await self.csrf() if csrf is None else csrf
        return await self.client.post(path, data={"csrf": token, **form}, headers={"Origin": URL, **more})

    async def csrf(self) -> str:
        """The token that every form of this sign-in carries."""
        return token_of((await self.get("/records/verify")).text)

    async def sign_in(self, human: HumanId) -> "Browser":
        """By an enrolled secret, as people do."""
        answer = self.console.answer
        secret = await answer.enrol(human, by="test", vouched_by=human)
        page = await self.get("/login")
        done = await self.client.post(
            "/login", data={"csrf": token_of(page.text), "secret": secret}, headers={"Origin": URL}
        )
        assert done.status_code == 303, done.text
        return self


def token_of(page: str) -> str:
    """The token of a page's forms."""
    found = re.findall(r'name="csrf" value="([^"]+)"', page)
    assert found
    return str(found[-1])


def text_of(page: str) -> str:
    """What is left of a page without its markup, on one line."""
    return re.sub(r"\s+", " ", re.sub(r"<[^>]+>", " ", page))


async def world(store: RecordStore | None = None, **files: str | None) -> TrafficWorld:
    """A world whose bundle is on record as activated."""
    made = TrafficWorld(world_bundle(**{"approvers.toml": APPROVERS, **files}), store)
    record = BundleActivated(revision=made.bundle.revision, previous=None, files=len(made.bundle.files))
    await made.store.commit(Batch(at_ms=made.clock.now_ms(), records=(record,)))
    return made


async def visitor(made: TrafficWorld, human: HumanId = OPERATOR, **more: Any) -> Browser:
    """Somebody who is signed in."""
    return await Browser(console_of(made, **more)).sign_in(human)


__all__ = [
    "ALICE",
    "APPROVER",
    "AUTHOR",
    "OPERATOR",
    "URL",
    "Browser",
    "console_of",
    "replace",
    "text_of",
    "visitor",
    "world",
]
