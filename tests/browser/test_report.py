"""The report in a real browser: light, dark, on a phone and printed; nothing is asked of any network, nothing runs."""

from pathlib import Path

import pytest
from playwright.async_api import Browser

import report_world as world
from browser.window import AXE, DESKTOP, PHONE, WIDE, axe
from lictor.cli.main import main

FEWER = """() => document.querySelectorAll("#frameworks article:nth-of-type(n+3), #controls article:nth-of-type(n+5)")
  .forEach((one) => one.remove())"""
"""The rest is of the same parts: the checker takes its time for each."""


@pytest.fixture(scope="module")
def page_of(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A report on disk."""
    folder = tmp_path_factory.mktemp("report")
    world.deployment(folder / "lictor", world.many_steps(40))
    target = folder / "report.html"
    assert (
        main(
            ["report", "--bundle", str(folder / "lictor"), "--since", "all", "--until", world.UNTIL, "-o", str(target)]
        )
        == 0
    )
    return target


@pytest.mark.parametrize(("scheme", "size"), [("light", DESKTOP), ("dark", PHONE)])
async def test_it_reads_well(browser: Browser, page_of: Path, images: Path, scheme: str, size: dict[str, int]) -> None:
    """Its policy refuses nothing of its own, it fits its window, and the accessibility checker finds nothing serious; in the dark, its colours."""
    context = await browser.new_context(color_scheme=scheme, viewport=size)
    said: list[str] = []
    page = await context.new_page()
    page.on("console", lambda message: said.append(message.text))
    page.on("request", lambda request: said.append(request.url) if request.url != page_of.as_uri() else None)
    await page.goto(page_of.as_uri())
    assert await page.locator("h1").count() == 1
    assert await page.evaluate(WIDE) == []
    await page.screenshot(path=images / f"report-{scheme}.png")
    assert said == []
    await context.close()
    context = await browser.new_context(color_scheme=scheme, viewport=size, bypass_csp=True)
    page = await context.new_page()
    await page.goto(page_of.as_uri())
    await page.evaluate(FEWER)
    await page.add_script_tag(content=axe())
    assert await page.evaluate(AXE, [] if scheme == "light" else ["color-contrast"]) == []
    await context.close()


async def test_a_script_in_it_would_not_run(browser: Browser, page_of: Path, tmp_path: Path) -> None:
    """Control of its policy: even with a script in the file nothing runs; without the policy it would."""
    text = page_of.read_text("utf-8")
    script = "<script>document.title = 'mine'</script></body>"
    titles = []
    for name, body in (("with", text), ("without", text.replace("Content-Security-Policy", "x-nothing"))):
        target = tmp_path / f"{name}.html"
        target.write_text(body.replace("</body>", script), "utf-8")
        context = await browser.new_context()
        page = await context.new_page()
        await page.goto(target.as_uri())
        titles.append(await page.title())
        await context.close()
    assert titles == ["What this deployment shows", "mine"]


async def test_it_prints(browser: Browser, page_of: Path) -> None:
    """On paper there is no navigation, nothing is cut off at the side, and it is black on white in any scheme."""
    context = await browser.new_context(color_scheme="dark", viewport={"width": 760, "height": 1000})
    page = await context.new_page()
    await page.emulate_media(media="print", color_scheme="dark")
    await page.goto(page_of.as_uri())
    assert not await page.locator("nav").is_visible()
    assert await page.evaluate(WIDE) == []
    assert await page.evaluate("getComputedStyle(document.body).backgroundColor") == "rgb(255, 255, 255)"
    assert await page.evaluate("getComputedStyle(document.body).color") == "rgb(22, 32, 44)"
    await context.close()
