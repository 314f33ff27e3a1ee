"""The account room over HTTP: sign-in by passkey and its end, keys, vouching; with an authenticator in software."""

import asyncio
import html
import json
import re
from dataclasses import dataclass, field
from typing import Any

import httpx2
import pytest

from authenticator import Authenticator
from lictor.console.signin import LIFETIME_MS
from lictor.console.web import Console, console_app
from lictor.model.ids import HumanId
from lictor.model.record import ApproverEnrolled, PartyRefused, PasskeyRemoved, SignedIn
from lictor.service.people.passkey_acts import RemoveKey
from passkey_world import BOB, CAROL, World, raw

LOCAL, NUMBER = "http://localhost:8700", "http://127.0.0.1:8700"


@dataclass
class Browser:
    """One browser at a console."""

    world: World
    app: Any
    at: str = LOCAL
    http: httpx2.AsyncClient = field(init=False)
    page: str = ""

    def __post_init__(self) -> None:
        self.http = httpx2.AsyncClient(transport=httpx2.ASGITransport(app=self.app), base_url=self.at)

    async def get(self, path: str) -> httpx2.Response:
        answer = await self.http.get(path)
        self.page = html.unescape(answer.text)
        return answer

    async def post(self, path: str, headers: dict[str, str] | None = None, **fields: str) -> httpx2.Response:
        """The form with that action on the page shown last, with fields changed."""
        form = {**self.fields(path), **fields}
        answer = await self.http.post(path, data=form, headers={"Origin": self.at, **(headers or {})})
        self.page = html.unescape(answer.text) if answer.text else self.page
        return answer

    def fields(self, action: str) -> dict[str, str]:
        """Hidden fields of a form."""
        found = re.search(rf'<form[^>]*action="{action}".*?</form>', self.page, re.DOTALL)
        return dict(re.findall(r'name="(\w+)" value="([^\n]*?)">', found[0])) if found else {}

    def attribute(self, name: str) -> str:
        found = re.search(rf'data-passkey-{name}="(.*?)"(?= data-|>| hidden)', self.page, re.DOTALL)
        assert found is not None, name
        return found[1]

    def signed(self, device: Authenticator, **changes: Any) -> str:
        """The assertion that the page shown asks for."""
        return device.get(raw(self.attribute("challenge")), **changes)

    async def sign_in(self, device: Authenticator, **changes: Any) -> httpx2.Response:
        await self.get("/login")
        return await self.post("/login/passkey", assertion=self.signed(device, **changes))

    async def by_secret(self, secret: str) -> httpx2.Response:
        await self.get("/login")
        return await self.post("/login", secret=secret)

    async def inside(self) -> bool:
        return (await self.http.get("/account")).status_code == 200

    async def add(self, device: Authenticator, name: str = "phone") -> httpx2.Response:
        await self.get("/account")
        challenge = raw(json.loads(self.attribute("create"))["challenge"])
        return await self.post("/account/passkeys", name=name, credential=device.create(challenge))


@pytest.fixture
def world() -> World:
    return World()


def app_of(world: World, *, with_passkeys: bool = True, public_url: str = NUMBER, issuer: str = "") -> Any:
    return console_app(
        Console(
            store=world.store, policy=world.policy, answer=world.answer, clock=world.clock, ids=world.passkeys._challenges._ids,
            recording=lambda: True, public_url=public_url, hosts=frozenset({"127.0.0.1:8700", "localhost:8700"}),
            passkeys=world.passkeys if with_passkeys else None, issuer=issuer,
        )
    )  # fmt: skip


@pytest.fixture
def browser(world: World) -> Browser:
    return Browser(world, app_of(world))


async def secret_of(world: World, human: HumanId = BOB) -> str:
    return await world.answer.enrol(human, "test", vouched_by=human)


# -- signing in --------------------------------------------------------------------------------------------------------


async def test_sign_in_by_passkey(world: World, browser: Browser) -> None:
    """No name, a fresh session, on record with the passkey and its counter."""
    device = await world.first()
    await browser.get("/login")
    browser.http.cookies.set("lictor_signin", "chosen-by-somebody")
    answer = await browser.post("/login/passkey", assertion=browser.signed(device))
    assert (answer.status_code, answer.headers["location"]) == (303, "/")
    cookie = next(one for one in answer.headers.get_list("set-cookie") if one.startswith("lictor_signin="))
    assert "HttpOnly" in cookie
    assert "samesite=strict" in cookie.lower()
    assert "chosen-by-somebody" not in cookie
    await browser.get("/account")
    assert BOB in browser.page
    assert "passkey laptop" in browser.page
    signed = world.records()[-1]
    assert signed == SignedIn(human=BOB, how="passkey", passkey=device.name, uses=1)


async def test_a_link_to_a_hold_is_kept_and_no_other(world: World, browser: Browser) -> None:
    """Through the sign-in."""
    device = await world.first()
    for wanted, place in (("hold_7Qx", "/holds/hold_7Qx"), ("//evil.example", "/"), ("x/../y", "/")):
        await browser.get(f"/login?hold={wanted}")
        answer = await browser.post("/login/passkey", assertion=browser.signed(device))
        assert answer.headers["location"] == place


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"said": {"origin": NUMBER}}, "passkey_origin"),
        ({"flags": 1}, "passkey_unverified"),
        ({"rp_id": "evil.example"}, "passkey_origin"),
    ],
)
async def test_a_refused_sign_in_says_why(world: World, browser: Browser, changes: Any, reason: str) -> None:
    """On the same page, which can be tried again; nobody is signed in and nothing recorded."""
    device = await world.first()
    before = len(world.records())
    answer = await browser.sign_in(device, **changes)
    assert answer.status_code == 403
    assert reason in browser.page
    assert not await browser.inside()
    assert len(world.records()) == before
    assert (await browser.post("/login/passkey", assertion=browser.signed(device))).status_code == 303


async def test_a_sign_in_is_not_replayed(world: World, browser: Browser) -> None:
    """The same form again, from the same browser and from another; also by a passkey that does not count."""
    device = await world.first(device=Authenticator(counts=False))
    await browser.get("/login")
    form = {**browser.fields("/login/passkey"), "assertion": browser.signed(device)}
    cookie = browser.http.cookies["lictor_form"]
    assert (await browser.http.post("/login/passkey", data=form)).status_code == 303
    for jar in ({}, {"lictor_form": cookie}):
        other = Browser(world, browser.app)
        other.http.cookies.update(jar)
        assert (await other.http.post("/login/passkey", data=form)).status_code == 403
        assert not await other.inside()


async def test_a_sign_in_form_of_another_browser_is_refused(world: World, browser: Browser) -> None:
    """Nobody signs a visitor in as themselves: form and cookie belong together."""
    device = await world.first()
    await browser.get("/login")
    form = {**browser.fields("/login/passkey"), "assertion": browser.signed(device)}
    victim = Browser(world, browser.app)
    await victim.get("/login")
    assert (await victim.http.post("/login/passkey", data=form)).status_code == 403
    own = {**form, "csrf": victim.fields("/login/passkey")["csrf"]}
    assert (await victim.http.post("/login/passkey", data=own)).status_code == 403
    assert not await victim.inside()


async def test_another_site_cannot_post_it(world: World, browser: Browser) -> None:
    """The origin is looked at before anything else."""
    device = await world.first()
    await browser.get("/login")
    for headers in ({"Origin": "https://evil.example"}, {"Origin": "null"}, {"Sec-Fetch-Site": "cross-site"}):
        answer = await browser.http.post(
            "/login/passkey",
            data={**browser.fields("/login/passkey"), "assertion": browser.signed(device)},
            headers={"Origin": LOCAL, **headers},
        )
        assert answer.status_code == 403, headers


async def test_who_is_nobody_here_is_not_signed_in(world: World, browser: Browser) -> None:
    """A passkey of somebody who left: on record, no session."""
    from bundles import pdp

    device = await world.first()
    world.policy.swap(pdp(**{"approvers.toml": '[approvers."os:carol"]\ngroups = ["owner", "money"]\n'}))
    assert (await browser.sign_in(device)).status_code == 403
    assert isinstance(world.records()[-1], PartyRefused)
    assert not await browser.inside()


async def test_two_sign_ins_with_one_counter_are_one(world: World, browser: Browser) -> None:
    """The store folds the counter: of two answers with the same one, the second is not signed in."""
    device = await world.first()
    other = Browser(world, browser.app)
    await browser.get("/login")
    await other.get("/login")
    first = browser.signed(device, uses=7)
    second = other.signed(device, uses=7)
    found = await asyncio.gather(
        browser.post("/login/passkey", assertion=first), other.post("/login/passkey", assertion=second)
    )
    assert min(one.status_code for one in found) == 303
    assert [one.status_code for one in found].count(303) == 1


# -- what ends a sign-in -------------------------------------------------------------------------------------------------


async def test_signing_out_ends_it(world: World, browser: Browser) -> None:
    """At the server too: the old cookie is worth nothing."""
    await browser.sign_in(await world.first())
    cookie = browser.http.cookies["lictor_signin"]
    await browser.get("/account")
    await browser.post("/logout")
    browser.http.cookies.set("lictor_signin", cookie)
    assert not await browser.inside()


async def test_it_ends_after_half_an_hour(world: World, browser: Browser) -> None:
    """Used or not."""
    await browser.sign_in(await world.first())
    world.clock.advance(LIFETIME_MS - 1)
    assert await browser.inside()
    world.clock.advance(1)
    assert not await browser.inside()


async def test_it_ends_when_its_passkey_is_removed(world: World, browser: Browser) -> None:
    """And one begun with another passkey stays."""
    first, spare = await world.first(), Authenticator()
    await world.act(BOB, await world.create(BOB, spare), first)
    other = Browser(world, browser.app)
    await browser.sign_in(first)
    await other.sign_in(spare)
    await world.act(BOB, RemoveKey(passkey=first.name), spare)
    assert not await browser.inside()
    assert await other.inside()


async def test_a_sign_in_by_secret_ends_with_the_secret_only(world: World, browser: Browser) -> None:
    """Replacing the secret ends it; a session by passkey goes on."""
    device = await world.first()
    other = Browser(world, browser.app)
    assert (await browser.by_secret(await secret_of(world))).status_code == 303
    await other.sign_in(device)
    await secret_of(world)
    assert not await browser.inside()
    assert await other.inside()


# -- keys --------------------------------------------------------------------------------------------------------------


async def test_a_first_passkey_after_a_sign_in_by_secret(world: World, browser: Browser) -> None:
    """Added at once; then one can sign in with it."""
    await browser.by_secret(await secret_of(world))
    device = Authenticator()
    answer = await browser.add(device, "my <b>phone</b> \u202e")
    assert answer.headers["location"] == "/account"
    raw_page = (await browser.get("/account")).text
    assert "<b>phone" not in raw_page
    assert "\u202e" not in raw_page
    assert (await Browser(world, browser.app).sign_in(device)).status_code == 303


async def test_a_stolen_secret_adds_no_passkey(world: World, browser: Browser) -> None:
    """Whoever has the secret of somebody with a passkey is asked for that passkey, and gets nowhere without it."""
    owner, thief = await world.first(), Authenticator()
    await browser.by_secret(await secret_of(world))
    assert (await browser.add(thief)).status_code == 200
    assert "already have" in browser.page
    assert len(world.passkeys.of(BOB)) == 1
    answer = await browser.post("/account/confirm", assertion=browser.signed(thief))
    assert answer.status_code == 409
    assert "passkey_unknown" in browser.page
    await browser.add(thief)
    answer = await browser.post("/account/confirm", assertion="")
    assert "passkey_refused" in browser.page
    assert len(world.passkeys.of(BOB)) == 1
    await browser.add(Authenticator())
    assert (await browser.post("/account/confirm", assertion=browser.signed(owner))).status_code == 303
    assert len(world.passkeys.of(BOB)) == 2


async def test_removing_and_its_last(world: World, browser: Browser) -> None:
    """A page says what is removed and asks for a passkey; the last is not offered and not taken."""
    first, spare = await world.first(), Authenticator()
    await browser.sign_in(first)
    await browser.get("/account")
    assert "your only one" in browser.page
    await browser.post("/account/ask", csrf=await csrf(browser), act="remove", passkey=first.name)
    assert "conflict" in browser.page
    await world.act(BOB, await world.create(BOB, spare), first)
    token = await csrf(browser)
    await browser.post("/account/ask", csrf=token, act="remove", passkey=first.name)
    assert "Remove your passkey" in browser.page
    assert [key.id for key in world.passkeys.of(BOB)] != [spare.name]
    assert (await browser.post("/account/confirm", assertion=browser.signed(spare))).status_code == 303
    assert [key.id for key in world.passkeys.of(BOB)] == [spare.name]


async def csrf(browser: Browser) -> str:
    await browser.get("/account")
    return browser.fields("/logout")["csrf"]


async def test_vouching_from_the_page(world: World, browser: Browser) -> None:
    """A fresh secret is shown once; forgetting somebody's passkeys ends their sign-ins; both need the passkey."""
    bobs, carols = await world.first(), await world.first(CAROL)
    carol = Browser(world, browser.app)
    await carol.sign_in(carols)
    await browser.sign_in(bobs)
    await browser.post("/account/ask", csrf=await csrf(browser), act="enrol", human=CAROL)
    assert not any(isinstance(one, ApproverEnrolled) for one in world.records())
    await browser.post("/account/confirm", assertion=browser.signed(bobs))
    secret = re.search(r'id="fresh-secret">(las_[\w-]+)<', browser.page)
    assert secret is not None
    assert world.answer.authenticate(secret[1]) == CAROL
    await browser.post("/account/ask", csrf=await csrf(browser), act="forget", human=CAROL)
    await browser.post("/account/confirm", assertion=browser.signed(bobs))
    assert isinstance(world.records()[-1], PasskeyRemoved)
    assert not await carol.inside()


@pytest.mark.parametrize("act", ["enrol", "forget", "remove", "", "kill"])
async def test_without_a_passkey_nobody_vouches(world: World, browser: Browser, act: str) -> None:
    """The page does not offer it, and a form made by hand is refused."""
    await world.first(CAROL)
    await browser.by_secret(await secret_of(world))
    token = await csrf(browser)
    assert "Let people in" not in browser.page
    answer = await browser.post("/account/ask", csrf=token, act=act, human=CAROL, passkey="x")
    assert answer.status_code in {400, 409}
    assert len(world.passkeys.of(CAROL)) == 1


async def test_forms_without_their_token_do_nothing(world: World, browser: Browser) -> None:
    """Each of the room's."""
    await browser.sign_in(await world.first())
    for path in ("/account/passkeys", "/account/ask", "/account/confirm"):
        assert (await browser.http.post(path, data={"csrf": "x"})).status_code == 403
        assert (await browser.http.post(path)).status_code == 403
    assert (await Browser(world, browser.app).http.post("/account/ask")).status_code == 303


# -- where -------------------------------------------------------------------------------------------------------------


async def test_at_the_number_the_page_leads_to_the_name(world: World, browser: Browser) -> None:
    """No passkey belongs to an IP address: the sign-in page and the account say where they work."""
    at_number = Browser(world, browser.app, NUMBER)
    await at_number.get("/login?hold=hold_1")
    assert f'href="{LOCAL}/login?hold=hold_1"' in at_number.page
    assert "data-passkey-challenge" not in at_number.page
    await at_number.by_secret(await secret_of(world))
    await at_number.get("/account")
    assert f'href="{LOCAL}/account"' in at_number.page
    assert "data-passkey-create" not in at_number.page


async def test_where_no_passkeys_work(world: World) -> None:
    """The rooms say so and work without."""
    browser = Browser(world, app_of(world, with_passkeys=False))
    await browser.get("/login")
    assert "data-passkey" not in browser.page
    await browser.by_secret(await secret_of(world))
    await browser.get("/account")
    assert "No passkeys work at this address" in browser.page
    token = browser.fields("/logout")["csrf"]
    for path in ("/account/passkeys", "/account/confirm"):
        assert "passkey_origin" in (await browser.post(path, csrf=token)).text
    assert (await browser.post("/account/ask", csrf=token, act="enrol", human=BOB)).status_code == 409


async def test_as_many_as_anybody_may_have(world: World, browser: Browser) -> None:
    """The page stays and says so."""
    first = await world.first(device=Authenticator(counts=False))
    for _ in range(19):
        await world.act(BOB, await world.create(BOB, Authenticator()), first)
    await browser.sign_in(first)
    assert (await browser.get("/account")).status_code == 200
    assert "as many as anybody may have" in browser.page


async def test_a_round_with_the_issuer_begins_where_it_ends(world: World) -> None:
    """Its cookie belongs to the address that the issuer sends people back to."""
    for at, start in ((LOCAL, f"{NUMBER}/login/start"), (NUMBER, "/login/start")):
        browser = Browser(world, app_of(world, issuer="corp"), at)
        await browser.get("/login")
        assert f'href="{start}"' in browser.page


async def test_looking_writes_nothing(world: World, browser: Browser) -> None:
    """Not a record, however often the pages are opened; and nothing is kept for it."""
    await browser.sign_in(await world.first())
    before = len(world.records())
    for _ in range(50):
        await browser.get("/account")
        await browser.get("/login")
    assert len(world.records()) == before
    assert len(world.passkeys._challenges._spent) <= 2


async def test_the_script_is_served_and_allowed(browser: Browser) -> None:
    """From our own origin; nothing inline on the pages."""
    answer = await browser.get("/login")
    assert "script-src 'self'" in answer.headers["content-security-policy"]
    script = re.search(r'src="(/static/lictor\.js[^"]*)"', browser.page)
    assert script is not None
    answer = await browser.http.get(script[1])
    assert answer.headers["content-type"].startswith("text/javascript")
    assert len(answer.text.splitlines()) < 150
    assert not re.search(r"\son\w+=|<script>|style=", browser.page)
