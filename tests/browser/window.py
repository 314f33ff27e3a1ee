"""One tab of a real browser in which whatever goes wrong is written down: scripts, policy, requests to elsewhere, accessibility."""

import re
from dataclasses import dataclass, field
from functools import cache
from typing import Any

from playwright.async_api import Browser, BrowserContext, CDPSession, ConsoleMessage, Page, Request, Response

from integration.peers import package

DEVICE = {
    "protocol": "ctap2",
    "ctap2Version": "ctap2_1",
    "transport": "internal",
    "hasResidentKey": True,
    "hasUserVerification": True,
    "isUserVerified": True,
    "automaticPresenceSimulation": True,
}
DESKTOP = {"width": 1280, "height": 900}
PHONE = {"width": 360, "height": 780}
WATCH = """
window.refusedByPolicy = [];
document.addEventListener("securitypolicyviolation", (event) =>
  window.refusedByPolicy.push(`${event.violatedDirective} ${event.blockedURI}`));
"""
AXE = """async (rules) => {
  const only = rules.length ? { runOnly: { type: "rule", values: rules } } : {};
  const found = await axe.run(document, { resultTypes: ["violations"], ...only });
  return found.violations
    .filter((one) => ["serious", "critical"].includes(one.impact))
    .map((one) => `${one.impact} ${one.id}: ${one.nodes.slice(0, 3).map((node) => node.html.slice(0, 160)).join(" | ")}`);
}"""
WIDE = """() => {
  const most = document.documentElement.clientWidth;
  if (document.documentElement.scrollWidth <= most) return [];
  return [...document.querySelectorAll("body *")]
    .filter((one) => one.getBoundingClientRect().right > most + 1)
    .slice(0, 4).map((one) => one.outerHTML.slice(0, 120));
}"""


@cache
def axe() -> str:
    """The accessibility checker's source."""
    with open(package("axe-core", "axe.min.js"), encoding="utf-8") as file:  # noqa: PTH123 - `package` gives text
        return file.read()


@dataclass
class Window:
    """A tab of somebody's browser."""

    context: BrowserContext
    page: Page
    base: str
    cdp: CDPSession
    wrong: list[str] = field(default_factory=list)
    """Whatever should not have happened."""
    device: str = ""

    # -- going

    async def go(self, path: str) -> Response:
        """Open a page of the console."""
        response = await self.page.goto(f"{self.base}{path}")
        assert response is not None, path
        return response

    async def sign_in(self, secret: str, hold: str = "") -> None:
        """With an enrolled secret."""
        await self.go(f"/login?hold={hold}" if hold else "/login")
        await self.page.fill("input[name=secret]", secret)
        await self.press("Sign in with the secret")
        await self.page.locator("nav[aria-label=Rooms]").first.wait_for(state="attached")

    async def press(self, name: str) -> None:
        """A button of this name."""
        await self.page.get_by_role("button", name=name, exact=True).first.click()

    async def text(self) -> str:
        """What the page says."""
        return await self.page.inner_text("main")

    async def heading(self, name: str | re.Pattern[str], timeout_ms: float = 10_000) -> None:
        """Wait for a heading."""
        await self.page.get_by_role("heading", name=name).first.wait_for(timeout=timeout_ms)

    # -- passkeys

    async def plug(self) -> None:
        """An authenticator that says yes."""
        await self.cdp.send("WebAuthn.enable", {"enableUI": False})
        made = await self.cdp.send("WebAuthn.addVirtualAuthenticator", {"options": DEVICE})
        self.device = made["authenticatorId"]

    async def keys(self) -> list[dict[str, Any]]:
        """What is on it."""
        found = await self.cdp.send("WebAuthn.getCredentials", {"authenticatorId": self.device})
        return list(found["credentials"])

    async def put(self, key: dict[str, Any]) -> None:
        """A key of before onto it."""
        await self.cdp.send("WebAuthn.addCredential", {"authenticatorId": self.device, "credential": key})

    async def add_passkey(self, name: str) -> None:
        """On the page Account."""
        await self.go("/account")
        await self.page.fill("input[name=name]", name)
        await self.press("Add a passkey")
        await self.page.get_by_text(name, exact=True).first.wait_for()

    # -- looking

    async def look(self, where: str, *, scripts: bool = True) -> list[str]:
        """What is wrong with the page as it stands."""
        found = [f"{where}: {one}" for one in self.wrong]
        self.wrong.clear()
        if await self.page.locator("h1").count() != 1:
            found.append(f"{where}: not one h1")
        wide = await self.page.evaluate(WIDE)
        found += [f"{where}: too wide: {one}" for one in wide]
        if scripts:
            found += [f"{where}: csp {one}" for one in await self.page.evaluate("window.refusedByPolicy || []")]
        return found

    async def accessible(self, where: str, *rules: str) -> list[str]:
        """What axe thinks of it: by all its rules, or by some."""
        if not await self.page.evaluate("Boolean(window.axe)"):
            await self.page.evaluate(axe())
        return [f"{where}: {one}" for one in await self.page.evaluate(AXE, list(rules))]


def _wrong(message: ConsoleMessage) -> bool:
    """Whether the browser complains of anything but the answer to a request, which tests look at themselves."""
    return message.type in {"error", "warning"} and "Failed to load resource" not in message.text


async def window(browser: Browser, base: str, **how: Any) -> Window:
    """A fresh browser profile; the caller closes its context."""
    context = await browser.new_context(**{"viewport": DESKTOP, "reduced_motion": "reduce", **how})
    context.set_default_timeout(15_000)
    await context.add_init_script(WATCH)
    page = await context.new_page()
    made = Window(context, page, base, await context.new_cdp_session(page))

    def asked(request: Request) -> None:
        if not request.url.startswith((f"{base}/", "data:")):
            made.wrong.append(f"asked {request.url}")

    page.on("console", lambda message: made.wrong.append(message.text) if _wrong(message) else None)
    page.on("pageerror", lambda error: made.wrong.append(str(error)))
    page.on("request", asked)
    return made
