"""The approvals room in a real browser: what is new appears by itself, nothing is blocked, and it fits a phone."""

import asyncio
import contextlib
import socket
from collections.abc import AsyncIterator

import pytest
import uvicorn
from playwright.async_api import Page, async_playwright

from console.bench import PEOPLE, Bench
from integration.peers import chromium
from lictor.model.preview import Line, Part, Preview

pytestmark = [pytest.mark.xdist_group("console"), pytest.mark.timeout(120)]

LONG = "x" * 300 + " \u202egnp.exe " + "\u4e2d" * 60
SIZES = {"phone": (360, 780), "desktop": (1280, 900)}


@contextlib.asynccontextmanager
async def opened(**bundle: str | None) -> AsyncIterator[tuple[Bench, Page, list[str]]]:
    """A served console, somebody signed in, and what the browser complains about."""
    listener = socket.create_server(("127.0.0.1", 0))
    bench = Bench(url=f"http://127.0.0.1:{listener.getsockname()[1]}", **bundle)
    server = uvicorn.Server(uvicorn.Config(bench.app, log_level="warning", lifespan="off"))
    serving = asyncio.create_task(server.serve(sockets=[listener]))
    complaints: list[str] = []
    try:
        async with async_playwright() as driver:
            browser = await driver.chromium.launch(executable_path=chromium())
            page = await browser.new_page()
            page.set_default_timeout(10_000)
            page.on("console", lambda said: complaints.append(said.text) if said.type in {"error", "warning"} else None)
            page.on("pageerror", lambda error: complaints.append(str(error)))
            await page.goto(f"{bench.url}/login")
            await page.fill("input[name=secret]", await bench.secret("os:bob"))
            await page.press("input[name=secret]", "Enter")
            await page.wait_for_url(f"{bench.url}/")
            yield bench, page, complaints
            await browser.close()
    finally:
        server.should_exit = True
        await serving


async def test_a_hold_is_on_the_approvers_screen_within_a_second() -> None:
    """Without a reload, and without the browser having refused anything of ours."""
    async with opened() as (bench, page, complaints):
        task = await bench.house.task()
        await page.evaluate("window.kept = 'same page'")
        await asyncio.sleep(0.5)
        for number in range(3):
            hold = await bench.ask(task, {"path": f"/ws/{number}"})
            # Twice the second that is promised: other tests have the processors, too.
            await page.wait_for_selector(f'a[href="/holds/{hold.id}"]', timeout=2_000)
        assert await page.evaluate("window.kept") == "same page"
        await page.get_by_role("link", name="Look at 3 together").click()
        await page.get_by_label("I have read all 3 actions").check()
        await page.get_by_role("button", name="Approve each once").click()
        assert (await page.inner_text("main")).count("approved, once") == 3
        assert complaints == []


async def test_another_persons_answer_is_seen() -> None:
    """Whoever looks at a hold learns that it has been answered meanwhile, and what they typed stays."""
    async with opened() as (bench, page, complaints):
        hold = await bench.hold()
        await page.goto(f"{bench.url}/holds/{hold.id}")
        await page.fill("#note", "thinking")
        await asyncio.sleep(0.5)
        carol = await bench.browser("os:carol")
        await carol.answer(hold, "deny")
        await page.wait_for_selector("#state .closed", timeout=2_000)
        assert await page.input_value("#note") == "thinking"
        assert complaints == []


@pytest.mark.parametrize("size", SIZES)
async def test_every_list_fits_the_screen(size: str) -> None:
    """Nothing hangs over the edge, whatever stands in names and previews; every page has one heading of the first order."""
    people = PEOPLE.replace('["owner"]', '["owner", "a-group-with-quite-a-long-name-indeed"]')
    async with opened(**{"approvers.toml": people}) as (bench, page, complaints):
        width, height = SIZES[size]
        await page.set_viewport_size({"width": width, "height": height})
        part = Part(title=LONG, lines=(Line(mark="+", text=LONG),), left_out=4)
        table = Part(title="rows", rows=(("a", LONG), ("b", LONG)))
        bench.previewer.preview_is = Preview(kind="list", made_at_ms=0, parts=(part, table), whole=False)
        task = await bench.house.task()
        hold = await bench.ask(task, {"path": LONG, "content": LONG})
        await bench.ask(task, {"path": LONG, "content": "b"})
        ahead = await bench.ask(task, {"path": LONG, "content": "c"})
        bob = await bench.browser("os:bob")
        await bob.answer(ahead, "ahead", most="1", hours="1", reach="all", seen_end="yes")
        for path in (
            "/",
            f"/holds/{hold.id}",
            f"/holds/{hold.id}/together",
            "/approvals/answered",
            "/approvals/ahead",
            "/approvals/unknown",
            "/approvals/people",
            "/nothing",
        ):
            await page.goto(bench.url + path)
            over = await page.evaluate("document.documentElement.scrollWidth - document.documentElement.clientWidth")
            assert over <= 0, path
            assert await page.locator("h1").count() == 1, path
        assert [one for one in complaints if "404" not in one] == []
