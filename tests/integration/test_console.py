"""The approval page in a real browser, and every way in which a client meets a held call; the gateway is `lictor serve`, the server real."""

import asyncio
import getpass
import json
import re
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx2
import mcp_types as types
import pytest
import pytest_asyncio
from mcp.client._input_required import InputRequiredRoundsExceededError
from playwright.async_api import Browser, Page, async_playwright

from integration.peers import (
    HELD_POLICY,
    LICTOR,
    Heard,
    Served,
    Stage,
    chromium,
    client,
    free_port,
    lictor,
    pulled,
    reviewed,
    server_tables,
    serving,
    stdio,
    streamable,
    write_bundle,
)
from lictor.service.people.passkey_site import people_url

pytestmark = [
    pytest.mark.xdist_group("console"),
    pytest.mark.timeout(120),
    pytest.mark.asyncio(loop_scope="module"),
]

ME = f"os:{getpass.getuser()}"
APPROVERS = """\
four_eyes = {four_eyes}
[approvers."{me}"]
groups = ["owner"]
[approvers."os:friend"]
groups = ["owner"]
[approvers."os:visitor"]
groups = ["others"]
"""
HOSTILE = "plain \u202etxt.exe\u202c \u200bzero \x1b[2J <img src=x onerror=alert(1)> <script>alert(2)</script> p\u0430ypal \U000e0041"


@dataclass(frozen=True)
class Gate:
    """A running gateway whose writes wait for people, the people's secrets, and a browser."""

    served: Served
    stage: Stage
    secrets: dict[str, str]
    browser: Browser

    @property
    def base(self) -> str:
        """The console as people are told to open it."""
        return people_url(self.served.base)

    @asynccontextmanager
    async def page(self, person: str = "") -> AsyncIterator[Page]:
        """A fresh browser window; signed in where a person is named."""
        context = await self.browser.new_context()
        context.set_default_timeout(10_000)
        page = await context.new_page()
        try:
            if person:
                await page.goto(self.base)
                await sign_in(page, self.secrets[person])
            yield page
        finally:
            await context.close()

    async def hold(self, token: str, name: str, content: str = "text") -> "Asked":
        """A write that is held."""
        asked = Asked(self.served, token, {"path": str(self.stage.project / name), "content": content})
        text = await asked.again()
        found = re.search(rf"{self.base}/holds/(hold_[\w-]+)", text)
        assert found, text
        return Asked(self.served, token, asked.arguments, found[0])

    async def answer(self, url: str, which: str, person: str = ME) -> str:
        """Open a link as a person does and press a button; what the page says then."""
        async with self.page() as page:
            await page.goto(url)
            await sign_in(page, self.secrets[person])
            assert page.url == url
            await page.get_by_role("button", name=which).click()
            return await page.inner_text("main")

    async def records(self) -> int:
        """How many records the log has."""
        done = await asyncio.to_thread(lictor, "log", "show", "--bundle", str(self.served.bundle), "-n", "0", "--json")
        return len(json.loads(done.stdout))


@dataclass(frozen=True)
class Asked:
    """One call of a client without any way to be asked."""

    served: Served
    token: str
    arguments: dict[str, Any]
    url: str = ""

    async def again(self) -> str:
        """Call (again); the text of the answer."""
        async with client(streamable(self.served.url, self.token, Heard()), "2026-07-28") as session:
            result = await session.call_tool("files__write_file", self.arguments)
            return str(result.content[0].text)

    def done(self) -> bool:
        path = Path(self.arguments["path"])
        return path.is_file() and path.read_text("utf-8") == self.arguments["content"]


async def sign_in(page: Page, secret: str) -> None:
    await page.fill("input[name=secret]", secret)
    await page.get_by_role("button", name="Sign in with the secret").click()


@asynccontextmanager
async def gate(folder: Path, browser: Browser, *, four_eyes: bool, ttl_s: float) -> AsyncIterator[Gate]:
    stage = Stage(folder)
    stage.reset()
    lists = await pulled({"files": stage.commands["files"]}, stage.environment)
    writes = ("write_file", "edit_file", "create_directory", "move_file")
    catalogue = reviewed("files", lists["files"], writes)
    port = free_port()
    bundle = write_bundle(
        folder / "bundle",
        catalogue,
        port=port,
        servers=server_tables(stage, ["files"]) + f"\n[limits]\nhold_ttl_s = {ttl_s}\n",
        policy=HELD_POLICY,
        approvers=APPROVERS.format(me=ME, four_eyes="true" if four_eyes else "false"),
    )
    secrets: dict[str, str] = {}
    for person in (ME, "os:friend", "os:visitor"):
        env = {"LICTOR_APPROVER_SECRET": secrets.get(ME, "")}
        done = await asyncio.to_thread(lictor, "approver", "enrol", "--bundle", str(bundle), person, "--json", env=env)
        assert done.returncode == 0, done.stderr
        secrets[person] = json.loads(done.stdout)["secret"]
    with serving(bundle, port) as served:
        yield Gate(served, stage, secrets, browser)


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def browser() -> AsyncIterator[Browser]:
    async with async_playwright() as playwright:
        flags = ["--no-sandbox", "--disable-gpu", "--disable-background-networking"]
        browser = await playwright.chromium.launch(executable_path=chromium(), args=flags)
        yield browser
        await browser.close()


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def house(tmp_path_factory: pytest.TempPathFactory, browser: Browser) -> AsyncIterator[Gate]:
    async with gate(tmp_path_factory.mktemp("gate"), browser, four_eyes=False, ttl_s=600) as found:
        yield found


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def token(house: Gate) -> str:
    return await asyncio.to_thread(house.served.task)


# -- the page ----------------------------------------------------------------------------------------------------------


async def test_signing_in_takes_the_secret(house: Gate) -> None:
    """A wrong secret shows nothing; the right one shows the inbox; signing out ends it."""
    async with house.page() as page:
        await page.goto(house.base)
        await sign_in(page, "las_wrong")
        assert "not known" in await page.inner_text("main")
        await sign_in(page, house.secrets[ME])
        assert page.url == f"{house.base}/"
        assert ME in await page.inner_text("header")
        cookie = next(one for one in await page.context.cookies() if one["name"] == "lictor_signin")
        assert (cookie["httpOnly"], cookie["sameSite"]) == (True, "Strict")
        await page.get_by_role("button", name="Sign out").click()
        await page.goto(house.base)
        assert page.url.endswith("/login")


async def test_the_page_shows_what_is_sealed(house: Gate, token: str, tmp_path: Path) -> None:
    """Bidi, control, zero-width and look-alike characters and markup are visible as what they are; nothing of them acts."""
    asked = await house.hold(token, "hostile.txt", HOSTILE)
    async with house.page(ME) as page:
        said: list[str] = []
        page.on("dialog", lambda dialog: said.append(dialog.message))
        page.on("console", lambda message: said.append(message.text))
        await page.goto(house.base)
        await page.locator(f"a[href='/holds/{asked.url.rpartition('/')[2]}']").first.click()
        await page.screenshot(path=tmp_path / "hold.png", full_page=True)
        text = await page.inner_text("main")
        for visible in (
            "U+202E",
            "U+202C",
            "U+200B",
            "\\x1b",
            "U+0430",
            "U+E0041",
            "<img src=x onerror=alert(1)>",
            "<script>alert(2)</script>",
        ):
            assert visible in text, visible
        for hidden in "\u202e\u202c\u200b\x1b\U000e0041":
            assert hidden not in text
        assert "paypal" not in text.lower().replace("\u0430", "?")
        assert await page.locator("main img, main script, main iframe").count() == 0
        assert said == []
    assert "Approved" in await house.answer(asked.url, "Approve once")
    assert not asked.done()
    await asked.again()
    assert asked.done()
    assert "needs_approval" in await asked.again()


async def test_a_denied_call_stays_denied(house: Gate, token: str) -> None:
    """For the rest of the task, without another question."""
    asked = await house.hold(token, "denied.txt")
    assert "Denied" in await house.answer(asked.url, "Deny")
    assert "approval_denied" in await asked.again()
    assert not asked.done()


async def test_looking_changes_nothing(house: Gate, token: str) -> None:
    """A GET of any page, with whatever in its query, writes no record and answers no hold (BIND-18)."""
    asked = await house.hold(token, "looked.txt")
    async with house.page(ME) as page:
        before = await house.records()  # that somebody signed in is one
        for path in ("/", "/?answer=approve", "/login", "/healthz"):
            await page.goto(house.base + path)
        await page.goto(f"{asked.url}?answer=approve&csrf=x&seal=y")
        for target in (asked.url, f"{house.base}/logout"):
            assert (await page.request.fetch(target, method="HEAD")).status in {200, 405}
    assert await house.records() == before
    assert "needs_approval" in await asked.again()


async def test_forged_forms_are_refused(house: Gate, token: str) -> None:
    """No token, another's token, another origin, no sign-in, another seal: nothing is approved."""
    asked = await house.hold(token, "forged.txt")
    async with house.page(ME) as page, house.page("os:friend") as other:
        await page.goto(asked.url)
        await other.goto(asked.url)
        own, foreign = [await one.input_value("form input[name=csrf] >> nth=-1") for one in (page, other)]
        seal = await page.input_value("input[name=seal]")
        good = {"csrf": own, "seal": seal, "answer": "approve", "note": ""}
        tries: list[tuple[dict[str, str], dict[str, str], int]] = [
            ({**good, "csrf": ""}, {}, 403),
            ({**good, "csrf": foreign}, {}, 403),
            ({key: value for key, value in good.items() if key != "csrf"}, {}, 403),
            (good, {"Origin": "http://evil.example"}, 403),
            (good, {"Origin": "null"}, 403),
            ({**good, "seal": "sha256:" + "0" * 64}, {}, 409),
            ({**good, "answer": "both"}, {}, 400),
        ]
        for form, headers, status in tries:
            reply = await page.request.post(asked.url, form=form, headers=headers, max_redirects=0)
            assert reply.status == status, (form, headers)
    async with house.page() as stranger:
        assert (await stranger.request.post(asked.url, form=good, max_redirects=0)).status == 303
    wrong_host = httpx2.get(asked.url, headers={"Host": "evil.example"})
    assert wrong_host.status_code == 421
    assert "needs_approval" in await asked.again()


async def test_another_site_cannot_press_the_button(house: Gate, token: str) -> None:
    """A page elsewhere that submits the form from the approver's own browser gets nowhere."""
    asked = await house.hold(token, "crossed.txt")
    async with house.page(ME) as page:
        await page.goto(asked.url)
        fields = {name: await page.input_value(f"form input[name={name}] >> nth=-1") for name in ("csrf", "seal")}
        inputs = "".join(
            f"<input name='{name}' value='{value}'>" for name, value in {**fields, "answer": "approve"}.items()
        )
        evil = f"<form method=post action='{asked.url}'>{inputs}</form><script>document.forms[0].submit()</script>"
        await page.route("http://evil.example/", lambda route: route.fulfill(body=evil, content_type="text/html"))
        await page.goto("http://evil.example/")
        await page.wait_for_url(f"{house.base}/**")
        assert "approved" not in (await page.inner_text("main")).lower()
    assert "needs_approval" in await asked.again()


async def test_who_may_not_answer_sees_why(house: Gate, token: str) -> None:
    """Somebody of another group sees the action and no button; a form of their own is refused."""
    asked = await house.hold(token, "visited.txt")
    async with house.page("os:visitor") as page:
        await page.goto(asked.url)
        assert "none of the groups" in await page.inner_text("main")
        assert await page.get_by_role("button", name="Approve once").count() == 0
        csrf = await page.input_value("form input[name=csrf] >> nth=0")
        form = {"csrf": csrf, "seal": "sha256:" + "0" * 64, "answer": "approve"}
        assert (await page.request.post(asked.url, form=form)).status == 409


async def test_four_eyes_and_expiry(tmp_path: Path, browser: Browser) -> None:
    """Nobody approves what works for them, somebody else does; a hold that nobody answered ends denied and says so."""
    async with gate(tmp_path, browser, four_eyes=True, ttl_s=6) as strict:
        token = await asyncio.to_thread(strict.served.task)
        asked = await strict.hold(token, "mine.txt")
        async with strict.page(ME) as page:
            await page.goto(asked.url)
            assert "somebody else has to answer" in await page.inner_text("main")
            assert await page.get_by_role("button", name="Approve once").count() == 0
        assert "Approved" in await strict.answer(asked.url, "Approve once", "os:friend")
        await asked.again()
        assert asked.done()
        late = await strict.hold(token, "late.txt")
        async with strict.page("os:friend") as page:
            await page.goto(late.url)
            await asyncio.sleep(6.2)
            await page.get_by_role("button", name="Approve once").click()
            assert "expired" in (await page.inner_text("main")).lower()
            await page.goto(late.url)
            assert "expired" in (await page.inner_text("main")).lower()
            assert await page.get_by_role("button", name="Approve once").count() == 0
        assert "approval_timeout" in await late.again()
        assert not late.done()


# -- the ways in which a client meets a hold -----------------------------------------------------------------------------

Callback = Callable[[Any, Any], Awaitable[Any]]


def opener(house: Gate, seen: list[str], which: str = "Approve once", action: Any = "accept") -> Callback:
    """What a client does with a link: shows it to its person, who answers on the page."""

    async def open_it(context: Any, params: Any) -> types.ElicitResult:
        assert isinstance(params, types.ElicitRequestURLParams)
        seen.append(params.url)
        if which:
            await house.answer(params.url, which)
        return types.ElicitResult(action=action)

    return open_it


@asynccontextmanager
async def session(house: Gate, front: str, mode: str, token: str, **options: Any) -> AsyncIterator[tuple[Any, str]]:
    """The official client at either front, and what it calls the tool."""
    if front == "http":
        transport, tool = streamable(house.served.url, token, Heard()), "files__write_file"
    else:
        command = [
            LICTOR,
            "run",
            "--bundle",
            str(house.served.bundle),
            "--server",
            "files",
            "--",
            *house.stage.commands["files"],
        ]
        transport, tool = stdio(command, {}, Heard()), "write_file"
    async with asyncio.timeout(60), client(transport, mode, **options) as connected:
        yield connected, tool


WAYS = [("http", "2026-07-28"), ("stdio", "2026-07-28"), ("stdio", "legacy"), ("http", "legacy")]


@pytest.mark.parametrize(("front", "mode"), WAYS)
async def test_a_client_that_opens_links_needs_one_call(house: Gate, token: str, front: str, mode: str) -> None:
    """Round trip (modern) and URL elicitation (legacy): the person approves on the page, the same call runs, once."""
    seen: list[str] = []
    path = house.stage.project / f"opened-{front}-{mode}.txt"
    arguments = {"path": str(path), "content": "once"}
    async with session(house, front, mode, token, elicitation_callback=opener(house, seen)) as (connected, tool):
        done = await connected.call_tool(tool, arguments)
        assert not done.is_error, done
        assert path.read_text("utf-8") == "once"
        assert len(seen) == 1
        path.unlink()
        await connected.call_tool(tool, {**arguments, "content": "other"})
        assert len(seen) == 2  # another action, another question
        assert seen[0] != seen[1]


@pytest.mark.parametrize(("front", "mode"), WAYS)
async def test_accepting_the_link_approves_nothing(house: Gate, token: str, front: str, mode: str) -> None:
    """A client that says yes by itself, without a person on the page, is told that approval is needed."""
    seen: list[str] = []
    path = house.stage.project / f"accepted-{front}-{mode}.txt"
    callback = opener(house, seen, which="")
    async with session(house, front, mode, token, elicitation_callback=callback, input_required_max_rounds=3) as (
        connected,
        tool,
    ):
        try:
            result = await connected.call_tool(tool, {"path": str(path), "content": "x"})
        except InputRequiredRoundsExceededError:  # this client asks again, its own number of times
            assert mode != "legacy"
        else:
            assert "needs_approval" in result.content[0].text
    assert seen
    assert not path.exists()


@pytest.mark.parametrize(("front", "mode"), WAYS)
async def test_a_declined_or_denied_link_runs_nothing(house: Gate, token: str, front: str, mode: str) -> None:
    """Closing the prompt leaves the hold; "Deny" on the page ends the matter."""
    path = house.stage.project / f"declined-{front}-{mode}.txt"
    arguments = {"path": str(path), "content": "x"}
    closed, denied = opener(house, [], which="", action="decline"), opener(house, [], which="Deny")
    async with session(house, front, mode, token, elicitation_callback=closed) as (connected, tool):
        assert "needs_approval" in (await connected.call_tool(tool, arguments)).content[0].text
    async with session(house, front, mode, token, elicitation_callback=denied) as (connected, tool):
        assert "approval_denied" in (await connected.call_tool(tool, arguments)).content[0].text
    assert not path.exists()


@pytest.mark.parametrize(("front", "mode"), WAYS)
async def test_any_other_client_gets_a_sentence(house: Gate, token: str, front: str, mode: str) -> None:
    """Refused with the link; after the approval the same arguments run, other arguments do not."""
    path = house.stage.project / f"told-{front}-{mode}.txt"
    arguments = {"path": str(path), "content": "told"}
    async with session(house, front, mode, token) as (connected, tool):
        told = (await connected.call_tool(tool, arguments)).content[0].text
        found = re.search(rf"Approve at ({house.base}/holds/[\w-]+)", told)
        assert found, told
        await house.answer(found[1], "Approve once")
        other = await connected.call_tool(tool, {**arguments, "content": "more"})
        assert "needs_approval" in other.content[0].text
        assert not (await connected.call_tool(tool, arguments)).is_error
        assert path.read_text("utf-8") == "told"
