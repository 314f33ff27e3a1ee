"""Every page of the console, found by its links, as people see it: at a desk and on a phone, light and dark, with and without scripts."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urldefrag, urlsplit

import pytest
import pytest_asyncio
from playwright.async_api import Browser
from starlette.routing import Match

from browser import window as windows
from browser.bundle import ADA, ME
from browser.conftest import Open
from browser.house import House, running
from browser.story import Story
from browser.window import DESKTOP, PHONE, Window
from lictor.console.web import Console, console_app

UNLINKED = {
    "/holds/{hold}/state",
    "/events",
    "/static/{name}",
    "/healthz",
    "/login",
    "/login/start",
    "/login/callback",
    "/requests/{request}",
}
"""What is no page, or is for people who are not signed in, or leads on to another page."""
OF_A_MOMENT = {"/approvals/answered", "/containment/kill"}
MOST = 1
"""Pages of one kind that are looked at."""
ON_A_PHONE = ("aria-hidden-focus", "scrollable-region-focusable", "label", "link-name", "button-name", "target-size")
"""What can differ there."""
LINKS = """() => [...document.querySelectorAll("a[href], form[method=get][action]")]
  .map((one) => new URL(one.getAttribute("href") ?? one.getAttribute("action"), document.baseURI).href)"""


@dataclass(frozen=True)
class Map:
    """Addresses of pages, by the route that answers them."""

    pages: dict[str, list[str]]

    @property
    def all(self) -> list[str]:
        return [page for pages in self.pages.values() for page in pages]

    @property
    def one_each(self) -> list[str]:
        return [pages[0] for pages in self.pages.values()]


def routes(house: House) -> list[Any]:
    """The console's pages."""
    inner = house.inner
    parts = {name: getattr(inner, name) for name in ("store", "policy", "answer", "clock", "ids")}
    app = console_app(Console(**parts, recording=lambda: True, public_url=house.base, hosts=frozenset()))
    return [route for route in app.routes if "GET" in (route.methods or ())]


def route_of(found: list[Any], path: str) -> str:
    """The route that answers a path."""
    scope = {"type": "http", "path": path, "method": "GET", "root_path": ""}
    return next((route.path for route in found if route.matches(scope)[0] is Match.FULL), "")


async def crawl(window: Window, house: House) -> Map:
    """Follow links from the first page; a few pages of each kind."""
    known, pages, ahead = routes(house), {}, ["/"]
    while ahead:
        page = ahead.pop(0)
        route = route_of(known, urlsplit(page).path)
        if not route or page in pages.get(route, ()) or len(pages.get(route, ())) >= MOST:
            continue
        response = await window.go(page) if not _download(route) else None
        assert response is None or response.status == 200, page
        pages.setdefault(route, []).append(page)
        if response is None:
            continue
        for link in await window.page.evaluate(LINKS):
            address = urldefrag(link).url
            assert address.startswith(f"{window.base}/"), f"{page} leads to {address}"
            ahead.append(address.removeprefix(window.base))
    return Map({route: found for route, found in pages.items() if not _download(route)})


def _download(route: str) -> bool:
    return route in {
        "/records/{seq}/data",
        "/records/{seq}/proof",
        "/records/checkpoints/newest",
        "/policy/file/download",
        "/requests/{request}",
    }


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def found(opened: Open, house: House, story: Story) -> Map:
    """Every page of the story."""
    async with opened() as window:
        return await crawl(window, house)


async def test_every_page_is_reached_by_links(found: Map, house: House) -> None:
    """Nothing of the console is hidden from whoever only follows links."""
    every = {route.path for route in routes(house)} - UNLINKED
    assert every - set(found.pages) - {route for route in every if _download(route)} == set()


@pytest.mark.timeout(300)
async def test_every_page_at_a_desk_and_on_a_phone(found: Map, opened: Open) -> None:
    """200, one h1, nothing wrong in the browser, no wider than a phone, and accessible in both colour schemes."""
    wrong: list[str] = []
    async with opened() as window:
        for page in found.all:
            response = await window.go(page)
            assert response.status == 200, page
            wrong += await window.look(page)
            wrong += await window.accessible(f"{page} light")
            await window.page.emulate_media(color_scheme="dark")
            wrong += await window.accessible(f"{page} dark", "color-contrast")
            await window.page.set_viewport_size(PHONE)
            wrong += await window.look(f"{page} on a phone")
            await window.page.emulate_media(color_scheme="light")
            wrong += await window.accessible(f"{page} on a phone", *ON_A_PHONE)
            await window.page.set_viewport_size(DESKTOP)
    assert not wrong, "\n".join(wrong)


async def test_every_page_without_scripts(found: Map, opened: Open) -> None:
    """The same words are there."""
    wrong: list[str] = []
    async with opened(java_script_enabled=False) as window:
        for page in found.one_each:
            assert (await window.go(page)).status == 200, page
            if await window.page.locator("h1").count() != 1 or len(await window.text()) < 40:
                wrong.append(page)
    assert not wrong, "\n".join(wrong)


ROOMS = ("/", "/decisions", "/tasks", "/agents", "/tools", "/policy", "/records", "/containment", "/account")
IMAGES = Path(__file__).parents[2] / "docs" / "images"
"""The README's pictures: a test run with LICTOR_IMAGES set to this folder makes them."""
FOCUSED = """() => {
  const one = document.activeElement;
  const style = getComputedStyle(one);
  return { href: one.getAttribute("href"), id: one.id, ring: style.outlineStyle !== "none" || style.boxShadow !== "none" };
}"""


async def test_every_room_by_keyboard_alone(opened: Open, story: Story) -> None:
    """Tab reaches the skip link first, then each room in order, with a ring one can see; Enter goes there."""
    async with opened() as window:
        for number, room in enumerate(ROOMS):
            await window.go("/")
            await window.page.keyboard.press("Tab")
            skip = await window.page.evaluate(FOCUSED)
            assert skip["href"] == "#main"
            for _ in range(number + 2):  # past the brand
                await window.page.keyboard.press("Tab")
            focused = await window.page.evaluate(FOCUSED)
            assert (focused["href"], focused["ring"]) == (room, True)
            async with window.page.expect_navigation():
                await window.page.keyboard.press("Enter")
            assert window.page.url == f"{window.base}{room}"
        await window.page.keyboard.press("Tab")
        await window.page.keyboard.press("Enter")
        assert (await window.page.evaluate(FOCUSED))["id"] == "main"


async def test_what_does_not_exist_says_so(opened: Open, story: Story) -> None:
    """Unknown ids are pages like others: 404, a heading, a way back, no defect."""
    wrong: list[str] = []
    async with opened() as window:
        for page in (
            "/nothing",
            "/holds/hold_nothing",
            "/decisions/999999",
            "/requests/req_nothing",
            "/tasks/task_nothing",
            "/agents/nobody",
            "/tools/entry?kind=tool&server=bank&name=nothing",
            "/policy/one?id=nothing",
            "/policy/file?path=nothing.cedar",
            "/policy/explain/req_nothing",
            "/policy/what-if/req_nothing",
            "/records/999999",
            "/containment/nothing",
        ):
            response = await window.go(page)
            if response.status not in {404, 409}:
                wrong.append(f"{page}: {response.status}")
            wrong += await window.look(page)
            wrong += await window.accessible(page)
    assert not wrong, "\n".join(wrong)


async def test_a_fresh_gateway_says_that_nothing_is_there(
    browser: Browser, tmp_path_factory: pytest.TempPathFactory
) -> None:
    """Every room of a gateway that has seen nothing yet: 200, words instead of nothing, accessible; then with a broken log."""
    wrong: list[str] = []
    async with running(tmp_path_factory.mktemp("fresh")) as fresh:
        window = await windows.window(browser, fresh.base)
        await window.sign_in(fresh.secrets[ME])
        for page in (*ROOMS, "/approvals/answered", "/approvals/ahead", "/approvals/unknown", "/approvals/people"):
            response = await window.go(page)
            if response.status != 200 or len(await window.text()) < 60:
                wrong.append(f"{page}: {response.status}")
            wrong += await window.look(page)
            wrong += await window.accessible(page)
        await window.context.close()
    assert not wrong, "\n".join(wrong)


async def test_pictures(opened: Open, house: House, story: Story, images: Path) -> None:
    """The pictures of the README can be taken, and none is empty."""
    images.mkdir(parents=True, exist_ok=True)
    holds = [one for one in house.inner.store.holds() if one.task == story.release.task and one.status == "pending"]
    pages = {
        "inbox": "/",
        "hold": f"/holds/{holds[-1].id}",
        "decisions": "/decisions",
        "task": f"/tasks/{story.release.task}",
        "quarantine": "/tools/entry?kind=tool&server=bank&name=refund",
        "containment": "/containment",
    }
    async with opened(ADA) as window:
        for scheme in ("light", "dark"):
            await window.page.emulate_media(color_scheme=scheme)
            for name, page in pages.items():
                await window.page.set_viewport_size(DESKTOP)
                await window.go(page)
                await window.page.screenshot(path=images / f"{name}-{scheme}.png")
        await window.page.set_viewport_size({"width": 390, "height": 844})
        await window.go(pages["hold"])
        await window.page.screenshot(path=images / "hold-phone.png")
        await window.go("/")
        await window.page.screenshot(path=images / "inbox-phone.png")
    assert all(picture.stat().st_size > 10_000 for picture in images.glob("*.png"))
