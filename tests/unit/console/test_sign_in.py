"""Sign-ins at the console: on record, and over as soon as what they came from is."""

import re
from dataclasses import replace
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import pytest

from lictor.console.web import Console, console_app
from lictor.model.ids import HumanId
from lictor.model.record import SignedIn, SignedOut, decode_entry
from token_bench import URL, Bench, bench


class Browser:
    """Sends requests to the console as one browser does: it keeps cookies."""

    def __init__(self, made: Bench, url: str) -> None:
        parts = made.parts
        self.url = url
        self.cookies: dict[str, str] = {}
        self.app = console_app(
            Console(
                store=made.store,
                policy=parts.policy,
                answer=parts.answer,
                clock=made.clock,
                ids=parts.ids,
                recording=lambda: True,
                public_url=url,
                hosts=frozenset({url.partition("://")[2]}),
            )
        )

    async def ask(self, method: str, path: str, **form: str) -> tuple[int, str]:
        """One request; the status and the page."""
        sent: list[dict[str, Any]] = []
        body = urlencode(form).encode()

        async def receive() -> dict[str, Any]:
            return {"type": "http.request", "body": body, "more_body": False}

        async def send(message: dict[str, Any]) -> None:
            sent.append(message)

        cookies = "; ".join(f"{name}={value}" for name, value in self.cookies.items())
        headers = [(b"host", self.url.partition("://")[2].encode()), (b"cookie", cookies.encode())]
        scope = {"type": "http", "method": method, "path": path, "query_string": b"", "headers": headers, "app": None}
        await self.app({**scope, "scheme": "https", "server": ("x", 1), "root_path": ""}, receive, send)
        for name, value in sent[0]["headers"]:
            if name == b"set-cookie":
                found = re.match(r"([^=]+)=([^;]*)", value.decode())
                assert found is not None
                self.cookies[found[1]] = found[2].strip('"')
        return sent[0]["status"], b"".join(one.get("body", b"") for one in sent[1:]).decode()

    async def sign_in(self, secret: str) -> int:
        """By the form."""
        _, page = await self.ask("GET", "/login")
        return (await self.ask("POST", "/login", csrf=csrf_of(page), secret=secret))[0]

    async def signed_in(self) -> bool:
        """Whether the inbox is shown."""
        return (await self.ask("GET", "/"))[0] == 200


def csrf_of(page: str) -> str:
    found = re.search(r'name="csrf" value="([^"]+)"', page)
    assert found is not None
    return found[1]


@pytest.fixture
def made(tmp_path: Path) -> Bench:
    """A bench whose one approver is os:ann."""
    return bench(tmp_path)


def presence(made: Bench) -> list[object]:
    """What is on record of it."""
    found = [decode_entry(one.data).record for one in made.store.entries(0, made.store.size())]
    return [one for one in found if isinstance(one, SignedIn | SignedOut)]


async def test_signing_in_and_out_is_on_record(made: Bench) -> None:
    """Before it counts; a wrong secret is nobody's and leaves nothing."""
    secret = await made.parts.answer.enrol(HumanId("os:ann"), by="test")
    browser = Browser(made, URL)
    assert await browser.sign_in("las_wrong") == 403
    assert presence(made) == []
    assert await browser.sign_in(secret) == 303
    assert presence(made) == [SignedIn(human=HumanId("os:ann"), how="secret")]
    _, page = await browser.ask("GET", "/")
    await browser.ask("POST", "/logout", csrf="forged")
    assert await browser.signed_in()
    await browser.ask("POST", "/logout", csrf=csrf_of(page))
    assert not await browser.signed_in()
    assert presence(made)[1:] == [SignedOut(human=HumanId("os:ann"))]


async def test_a_replaced_secret_ends_what_it_began(made: Bench) -> None:
    """Somebody enrols again because the old secret is in other hands: those are signed out at once."""
    person = HumanId("os:ann")
    stolen = await made.parts.answer.enrol(person, by="test")
    thief = Browser(made, URL)
    await thief.sign_in(stolen)
    assert await thief.signed_in()
    fresh = await made.parts.answer.enrol(person, by="test", vouched_by=person)
    assert not await thief.signed_in()
    assert await thief.sign_in(fresh) == 303
    assert await thief.signed_in()


async def test_who_is_no_approver_any_more_sees_nothing(made: Bench) -> None:
    """A bundle without the person ends their sign-ins, too."""
    browser = Browser(made, URL)
    await browser.sign_in(await made.parts.answer.enrol(HumanId("os:ann"), by="test"))
    assert await browser.signed_in()
    pdp = made.parts.policy.current()
    made.parts.policy.swap(replace(pdp, approvers=replace(pdp.approvers, groups_of={})))
    assert not await browser.signed_in()


@pytest.mark.parametrize(("url", "name"), [(URL, "__Host-lictor_signin"), ("http://127.0.0.1:8700", "lictor_signin")])
async def test_no_other_host_plants_a_session(made: Bench, url: str, name: str) -> None:
    """With https the cookie is of this host alone; without the prefix it counts for nothing."""
    browser = Browser(made, url)
    await browser.sign_in(await made.parts.answer.enrol(HumanId("os:ann"), by="test"))
    assert name in browser.cookies
    browser.cookies = {"lictor_signin": browser.cookies[name]}
    assert await browser.signed_in() is (name == "lictor_signin")
