"""The gateway is killed (-9) in the middle of each step of an approval: the hold is still there, and there is one effect at most."""

import asyncio
from collections.abc import AsyncIterator

import httpx2
import pytest_asyncio
from playwright.async_api import Browser

from browser import house as houses
from browser.bundle import ME
from browser.house import Agent, House
from browser.window import Window, window


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def fragile(tmp_path_factory) -> AsyncIterator[House]:
    """A gateway of its own, where a held call is answered at once."""
    async with houses.running(tmp_path_factory.mktemp("fragile"), hold_wait_s=0.0) as served:
        yield served


async def crashed(house: House) -> None:
    """`kill -9`, and up again."""
    await asyncio.to_thread(house.crash)


async def opened(browser: Browser, house: House, hold: str) -> Window:
    """Signed in, through a link to the hold: sign-ins are lost with the process."""
    made = await window(browser, house.base)
    await made.sign_in(house.secrets[ME], hold)
    await made.go(f"/holds/{hold}")
    return made


async def asked(agent: Agent, name: str) -> str:
    """A write; the hold it waits at."""
    told = await agent.write(name)
    assert "needs_approval" in told.text, told
    return told.hold


async def test_killed_at_every_step(fragile: House, browser: Browser) -> None:
    """After the hold, on the open page, after the yes, and after the effect."""
    agent = await fragile.task()
    hold = await asked(agent, "steps.md")
    await crashed(fragile)
    assert await asked(agent, "steps.md") == hold, "the same hold, not another"
    tab = await opened(browser, fragile, hold)
    await crashed(fragile)
    # The page of before asks for a sign-in, and its answer counts for nothing.
    await tab.press("Approve once")
    assert fragile.hold(hold).status == "pending"
    assert "/login" in tab.page.url
    await tab.sign_in(fragile.secrets[ME], hold)
    await tab.go(f"/holds/{hold}")
    await tab.press("Approve once")
    await tab.heading("Approved")
    await crashed(fragile)
    assert fragile.hold(hold).status == "approved"
    assert not (await agent.write("steps.md")).failed
    await crashed(fragile)
    assert "needs_approval" in (await agent.write("steps.md")).text, "spent"
    assert fragile.effects("write:steps.md") == 1
    await tab.context.close()


async def test_killed_while_it_runs(fragile: House, browser: Browser) -> None:
    """What became of it is not known, it is not run again, and a person settles it."""
    agent = await fragile.task()
    call = asyncio.create_task(agent.call("files__export", name="cut", ms=20_000))
    for _ in range(200):
        if fragile.effects("export:cut"):
            break
        await asyncio.sleep(0.05)
    await crashed(fragile)
    outcome = await asyncio.gather(call, return_exceptions=True)
    assert isinstance(outcome[0], httpx2.HTTPError)
    tab = await window(browser, fragile.base)
    await tab.sign_in(fragile.secrets[ME])
    await tab.go("/approvals/unknown")
    card = tab.page.locator("section.card", has_text=agent.task)
    await card.get_by_role("button", name="It did not happen", exact=True).click()
    await card.wait_for(state="detached")
    await tab.context.close()
