"""Passkeys in a real browser against `lictor serve`: Chromium's own authenticator makes and signs, `static/lictor.js` asks it."""

import asyncio
import base64
import getpass
import io
import json
import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, redirect_stderr, redirect_stdout
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio
from playwright.async_api import Browser, CDPSession, ConsoleMessage, Page, async_playwright
from playwright.async_api import Error as PlaywrightError

from integration.peers import (
    Heard,
    Served,
    Stage,
    chromium,
    client,
    free_port,
    pulled,
    reviewed,
    server_tables,
    serving,
    streamable,
    write_bundle,
)
from lictor.cli.main import main

pytestmark = [
    pytest.mark.xdist_group("passkeys"),
    pytest.mark.timeout(120),
    pytest.mark.asyncio(loop_scope="module"),
]

ME = f"os:{getpass.getuser()}"
APPROVERS = f"""\
four_eyes = false
[approvers."{ME}"]
groups = ["owner"]
[approvers."os:friend"]
groups = ["owner"]
"""
POLICY = """\
@id("reads")
@owner("tests")
@reason("reading is allowed")
permit (principal, action in Action::"read", resource);

@id("writes")
@owner("tests")
@reason("a person decides, with a passkey")
permit (principal, action in Action::"write", resource)
when { context has approval && context.approval.groups.contains("owner") && context.approval.strength >= 3 };
"""
DEVICE = {
    "protocol": "ctap2",
    "ctap2Version": "ctap2_1",
    "transport": "internal",
    "hasResidentKey": True,
    "hasUserVerification": True,
    "isUserVerified": True,
    "automaticPresenceSimulation": True,
}


def _wrong(message: ConsoleMessage) -> bool:
    """Whether the browser complains: of a script, of the policy, of anything but a refusal that the test asked for."""
    return message.type in {"error", "warning"} and "Failed to load resource" not in message.text


@dataclass
class Window:
    """A browser window with one authenticator at a time."""

    page: Page
    base: str
    cdp: CDPSession
    device: str = ""
    said: list[str] = field(default_factory=list)

    async def plug(self, **changes: Any) -> None:
        """Another authenticator in place of the one before."""
        if self.device:
            await self.cdp.send("WebAuthn.removeVirtualAuthenticator", {"authenticatorId": self.device})
        made = await self.cdp.send("WebAuthn.addVirtualAuthenticator", {"options": {**DEVICE, **changes}})
        self.device = made["authenticatorId"]

    async def keys(self) -> list[dict[str, Any]]:
        found = await self.cdp.send("WebAuthn.getCredentials", {"authenticatorId": self.device})
        return list(found["credentials"])

    async def put(self, key: dict[str, Any]) -> None:
        """A key of before into the authenticator of now."""
        await self.cdp.send("WebAuthn.addCredential", {"authenticatorId": self.device, "credential": key})

    async def verified(self, *, yes: bool) -> None:
        await self.cdp.send("WebAuthn.setUserVerified", {"authenticatorId": self.device, "isUserVerified": yes})

    async def by_secret(self, secret: str) -> None:
        await self.page.goto(f"{self.base}/login")
        await self.page.fill("input[name=secret]", secret)
        await self.press("Sign in with the secret")
        await self.page.wait_for_url(f"{self.base}/")

    async def by_passkey(self) -> None:
        await self.page.goto(f"{self.base}/login")
        await self.press("Sign in with a passkey")

    async def press(self, name: str) -> None:
        try:
            await self.page.get_by_role("button", name=name, exact=True).click()
        except PlaywrightError as error:
            error.add_note(f"no {name!r} at {self.page.url}: {await self.text()}")
            raise

    async def add(self, name: str) -> None:
        await self.page.goto(f"{self.base}/account")
        await self.page.fill("input[name=name]", name)
        await self.press("Add a passkey")

    async def added(self, name: str) -> None:
        """Until the account lists this passkey: the address says nothing, it was the account's before."""
        await self.page.locator("tr", has_text=name).wait_for()

    async def says(self, words: str) -> None:
        """Until the page says it."""
        await self.page.locator("main", has_text=words).wait_for()

    async def text(self) -> str:
        return await self.page.inner_text("main")

    async def error(self) -> str:
        """What the script says went wrong."""
        place = self.page.locator("[data-passkey-error]:visible").first
        await place.wait_for()
        return await place.inner_text()


@dataclass(frozen=True)
class Done:
    """What a command answered."""

    returncode: int
    stdout: str
    stderr: str


async def command(bundle: Path, *words: str, secret: str = "") -> Done:
    """`lictor`, in this process: what is loaded once is not loaded for each command again."""
    out, err = io.StringIO(), io.StringIO()
    with pytest.MonkeyPatch.context() as patch, redirect_stdout(out), redirect_stderr(err):
        patch.setenv("LICTOR_APPROVER_SECRET", secret)
        code = await asyncio.to_thread(main, [*words, "--bundle", str(bundle), "--json"])
    return Done(code, out.getvalue(), err.getvalue())


@dataclass(frozen=True)
class House:
    """A running gateway whose writes want a passkey."""

    served: Served
    stage: Stage
    browser: Browser
    secrets: dict[str, str]

    @property
    def base(self) -> str:
        return f"http://localhost:{self.served.port}"

    @asynccontextmanager
    async def window(self) -> AsyncIterator[Window]:
        context = await self.browser.new_context()
        context.set_default_timeout(10_000)
        page = await context.new_page()
        cdp = await context.new_cdp_session(page)
        await cdp.send("WebAuthn.enable", {"enableUI": False})
        window = Window(page, self.base, cdp)
        page.on("console", lambda message: window.said.append(message.text) if _wrong(message) else None)
        await window.plug()
        try:
            yield window
            assert window.said == []
        finally:
            await context.close()

    async def command(self, *words: str, secret: str = "") -> "Done":
        """`lictor` on this bundle."""
        return await command(self.served.bundle, *words, secret=secret)

    async def task(self) -> str:
        """A fresh task's token."""
        done = await self.command("task", "open", "--agent", "tester", "--purpose", "test")
        return str(json.loads(done.stdout)["token"])

    async def hold(self, token: str, name: str) -> tuple[str, Path, Any]:
        """A held write: its page, the file, and how to call again."""
        path = self.stage.project / name

        async def again() -> str:
            async with client(streamable(self.served.url, token, Heard()), "2026-07-28") as session:
                result = await session.call_tool("files__write_file", {"path": str(path), "content": "text"})
                return str(result.content[0].text)

        found = re.search(r"/holds/(hold_[\w-]+)", await again())
        assert found is not None
        return f"{self.base}/holds/{found[1]}", path, again


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def house(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[House]:
    folder = tmp_path_factory.mktemp("passkeys")
    stage = Stage(folder)
    stage.reset()
    lists = await pulled({"files": stage.commands["files"]}, stage.environment)
    catalogue = reviewed("files", lists["files"], ("write_file",))
    port = free_port()
    bundle = write_bundle(
        folder / "bundle",
        catalogue,
        port=port,
        servers=server_tables(stage, ["files"]),
        policy=POLICY,
        approvers=APPROVERS,
    )
    secrets: dict[str, str] = {}
    for person in (ME, "os:friend"):
        done = await command(bundle, "approver", "enrol", person, secret=secrets.get(ME, ""))
        secrets[person] = json.loads(done.stdout)["secret"]
    with serving(bundle, port) as served:
        async with async_playwright() as playwright:
            flags = ["--no-sandbox", "--disable-gpu", "--disable-background-networking"]
            browser = await playwright.chromium.launch(executable_path=chromium(), args=flags)
            yield House(served, stage, browser, secrets)
            await browser.close()


async def test_from_secret_to_passkey(house: House) -> None:
    """Add a passkey, sign out, sign in with it without a name; the account says by which."""
    async with house.window() as window:
        await window.by_secret(house.secrets[ME])
        await window.add("laptop")
        await window.added("laptop")
        [key] = await window.keys()
        assert (key["rpId"], key["isResidentCredential"]) == ("localhost", True)
        await window.press("Sign out")
        await window.by_passkey()
        await window.page.wait_for_url(f"{house.base}/")
        await window.page.goto(f"{house.base}/account")
        assert "passkey laptop" in await window.text()
        # The same device is not asked for a second one.
        await window.add("again")
        assert "already has a passkey" in await window.error()
        # A second one, on another device, is confirmed with the first, which is not there then.
        await window.plug()
        await window.add("phone")
        await window.says("already have")
        await window.press("Use a passkey")
        assert "Nothing was signed" in await window.error()
        phone = (await window.keys())[0]
        await window.plug()
        await window.put(key | {"signCount": 40})
        await window.press("Use a passkey")
        await window.added("phone")
        # The first is removed with the second; it signs nobody in any more.
        await window.page.locator("tr", has_text="laptop").get_by_role("button").click()
        await window.plug()
        await window.put(phone)
        await window.press("Use a passkey")
        await window.page.wait_for_url(re.compile(r"/(account|login)$"))
        await window.plug()
        await window.put(key | {"signCount": 50})
        await window.by_passkey()
        await window.says("passkey_unknown")
    await vouching(house)


async def vouching(house: House) -> None:
    """On the host: a secret vouches no more when its owner has a passkey; somebody else's forgets it."""
    mine, friends = house.secrets[ME], house.secrets["os:friend"]
    [key] = json.loads((await house.command("approver", "passkeys", ME)).stdout)
    assert (key["human"], key["name"]) == (ME, "phone")
    done = await house.command("approver", "enrol", "os:friend", secret=mine)
    assert (done.returncode, "passkey_required" in done.stderr) == (5, True), done.stderr
    done = await house.command("approver", "forget", ME, f"--passkey={key['passkey'][:12]}", secret=friends)
    assert json.loads(done.stdout)["forgotten"] == [key["passkey"]]


async def test_an_action_that_wants_a_passkey(house: House) -> None:
    """Neither secret nor command line suffice; a signature of what is shown does, once, and the action runs."""
    token = await house.task()
    page, path, again = await house.hold(token, "signed.txt")
    hold = page.rpartition("/")[2]
    done = await house.command("approve", hold, "--yes", secret=house.secrets["os:friend"])
    assert "approval_too_weak" in done.stderr
    async with house.window() as window:
        await window.by_secret(house.secrets["os:friend"])
        await window.page.goto(page)
        assert "a passkey" in await window.text()
        assert await window.page.get_by_role("button", name="Approve once").count() == 0
        await window.add("key ring")
        await window.added("key ring")
        await window.page.goto(page)
        seal = await window.page.input_value("input[name=seal]")
        form = window.page.locator("form[data-passkey-challenge]")
        challenge = await form.get_attribute("data-passkey-challenge")
        assert challenge is not None
        assert base64.urlsafe_b64decode(challenge + "==").hex() == seal.removeprefix("sha256:")
        await window.verified(yes=False)
        await window.press("Approve once")
        assert "Nothing was signed" in await window.error()
        # By hand, without an assertion, and with one of another page.
        csrf = await form.locator("input[name=csrf]").input_value()
        for assertion, reason in (("", "approval_too_weak"), ("{}", "passkey_refused")):
            answer = await window.page.request.post(
                page, form={"csrf": csrf, "seal": seal, "answer": "approve", "assertion": assertion}
            )
            assert reason in await answer.text()
        assert "needs_approval" in await again()
        await window.verified(yes=True)
        await window.press("Approve once")
        await window.page.get_by_role("heading", name="Approved").wait_for()
        await again()
        assert path.read_text("utf-8") == "text"
        await terms_are_signed(house, window, token)
        [key] = await window.keys()
    [kept] = json.loads((await house.command("approver", "passkeys", "os:friend")).stdout)
    assert kept["uses"] == key["signCount"] > 0


async def terms_are_signed(house: House, window: Window, token: str) -> None:
    """A yes ahead: a page says how many, how long and for whom; that is what the passkey signs, and nothing counts before."""
    page, path, again = await house.hold(token, "ahead.txt")
    await window.page.goto(page)
    await window.page.get_by_text("Approve this one and more like it").click()
    await window.page.fill("input[name=most]", "3")
    await window.press("Approve once, and these ahead")
    await window.says("How many more")
    assert "needs_approval" in await again()
    await window.verified(yes=False)
    await window.press("Approve with these terms")
    assert "Nothing was signed" in await window.error()
    await window.verified(yes=True)
    await window.press("Approve with these terms")
    await window.page.get_by_role("heading", name="Approved ahead").wait_for()
    await again()
    assert path.read_text("utf-8") == "text"


async def test_denying_needs_no_passkey(house: House) -> None:
    """The button is not intercepted, whoever one is."""
    token = await house.task()
    page, path, again = await house.hold(token, "denied.txt")
    async with house.window() as window:
        await window.by_secret(house.secrets["os:friend"])
        await window.page.goto(page)
        await window.press("Deny")
        await window.page.get_by_role("heading", name="Denied").wait_for()
    assert "approval_denied" in await again()
    assert not path.exists()


async def test_a_device_that_does_not_look_who_it_is(house: House) -> None:
    """The browser itself refuses, and nothing is sent."""
    async with house.window() as window:
        await window.verified(yes=False)
        await window.by_passkey()
        assert "Nothing was signed" in await window.error()
        assert window.page.url.endswith("/login")


async def test_at_the_number_there_are_no_passkeys(house: House) -> None:
    """The page leads to the name instead, also with the hold that was asked for."""
    async with house.window() as window:
        await window.page.goto(f"{house.served.base}/login?hold=hold_1")
        assert await window.page.get_by_role("button", name="Sign in with a passkey").count() == 0
        await window.page.get_by_role("link", name=house.base).click()
        assert window.page.url == f"{house.base}/login?hold=hold_1"
        await window.page.get_by_role("button", name="Sign in with a passkey").wait_for()


async def test_without_scripts_the_secret_remains(house: House) -> None:
    """Everything but passkeys works without a script."""
    context = await house.browser.new_context(java_script_enabled=False)
    page = await context.new_page()
    await page.goto(f"{house.base}/login")
    assert await page.get_by_role("button", name="Sign in with a passkey").count() == 0
    await page.fill("input[name=secret]", house.secrets["os:friend"])
    await page.get_by_role("button", name="Sign in with the secret").click()
    await page.goto(f"{house.base}/account")
    assert "needs a browser with passkeys, and scripts" in await page.inner_text("main")
    assert await page.get_by_role("button", name="Add a passkey").count() == 0
    await context.close()
