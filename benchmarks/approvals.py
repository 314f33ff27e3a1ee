"""What people wait for: a hold on the open page, an approval's effect, and an inbox with a thousand holds that wait.

One `lictor serve`, one stdio server, one Chromium that shows the inbox, all on this machine. Moments are of one process's monotonic
clock: a hold's is when its `approval.hold_opened` can be read from the log; a page's is when the browser shows the row's link; an effect's is written by the server itself. The agent's call waits for its answer; nobody retries.
"""

import asyncio
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from benchmarks.machine import scratch
from benchmarks.stats import percentile, table, verdict, verdicts

sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))

OPEN = 1_000
"""Holds that wait."""
TASKS = 60
"""Of so many tasks: a task may ask for twenty a minute."""
LOOKS = 100
ANSWERS = 8
"""Of a round."""


def run(rounds: int, seconds: float) -> tuple[str, dict[str, Any]]:
    """Measure; `seconds` is of no use here."""
    del seconds
    found: dict[str, list[float]] = asyncio.run(_measured(rounds))
    rows = []
    for name, values in found.items():
        values.sort()
        rows.append((name, len(values), *(f"{one:,.1f}" for one in (*_shares(values), values[-1]))))
    shown, effect, inbox = (_p99(found[name]) for name in (SHOWN, EFFECT, INBOX))
    bars = [
        verdict("hold on the open page, p99, ms", shown, 1_000),
        verdict("approval to effect, beyond the server's own time, p99, ms", effect, 300),
        verdict(f"inbox with {OPEN:,} open holds, p99, ms", inbox, 300),
    ]
    text = "\n\n".join(
        (
            table(("ms", "n", "p50", "p99", "max"), rows),
            SHARED,
            verdicts(bars),
        )
    )
    return text, {"bars": bars, "ms": found}


SHARED = (
    "No core is kept free and nothing has priority here: browser, gateway, agent and clock shared two cores with each other and "
    "with whatever else ran on the machine (see the jitter probe)."
)
SHOWN = "hold committed to its row on the open inbox"
EFFECT = "approval's form sent to the effect at the server"
INBOX = f"inbox with {OPEN:,} open holds, over HTTP"


def _shares(values: list[float]) -> tuple[float, float]:
    return percentile(values, 0.5), percentile(values, 0.99)


def _p99(values: list[float]) -> float:
    return percentile(sorted(values), 0.99)


async def _measured(rounds: int) -> dict[str, list[float]]:
    from playwright.async_api import async_playwright

    from browser import house as houses
    from browser.bundle import ME
    from browser.window import window
    from integration.peers import chromium

    found: dict[str, list[float]] = {SHOWN: [], EFFECT: [], INBOX: []}
    with tempfile.TemporaryDirectory(dir=scratch()) as folder:
        async with houses.running(Path(folder) / "office", hold_wait_s=20.0) as house, async_playwright() as playwright:
            browser = await playwright.chromium.launch(
                executable_path=chromium(), args=["--no-sandbox", "--disable-gpu"]
            )
            tab = await window(browser, house.base)
            await tab.sign_in(house.secrets[ME])
            for number in range(rounds * ANSWERS):
                await _answered(house, tab, number, found)
            await _inbox(house, tab, found)
            await browser.close()
    return found


async def _answered(house: Any, tab: Any, number: int, found: dict[str, list[float]]) -> None:
    """One hold that appears, is approved, and runs."""
    from lictor.model.record import HoldOpened, decode_entry

    name = f"bench{number}.md"
    agent = await house.task()
    await tab.go("/")
    await tab.page.wait_for_timeout(300)
    before = house.inner.store.size()
    call = asyncio.create_task(agent.write(name))
    hold = None
    while hold is None:
        for entry in house.inner.store.entries(before):
            record = decode_entry(entry.data).record
            hold = record.hold.id if isinstance(record, HoldOpened) else hold
        await asyncio.sleep(0.002)
    committed = time.perf_counter()
    await tab.page.locator(f"a.button[href='/holds/{hold}']").wait_for()
    found[SHOWN].append((time.perf_counter() - committed) * 1_000)
    await tab.go(f"/holds/{hold}")
    form = {
        "csrf": await tab.page.locator("form[action^='/holds'] input[name=csrf]").first.input_value(),
        "seal": await tab.page.locator("input[name=seal]").first.input_value(),
        "answer": "approve",
    }
    sent = time.monotonic_ns()
    await tab.page.request.post(f"{tab.base}/holds/{hold}", form=form, headers={"Origin": tab.base})
    assert not (await call).failed
    found[EFFECT].append((_effect_ns(house, name) - sent) / 1e6)


def _effect_ns(house: Any, name: str) -> int:
    lines = (house.folder / "effects").read_text("utf-8").splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith(f"write:{name} "))


async def _inbox(house: Any, tab: Any, found: dict[str, list[float]]) -> None:
    """A thousand holds that wait, then the inbox again and again, with the log growing in between."""
    import httpx2

    agents = [await house.task() for _ in range(TASKS)]
    calls: list[asyncio.Task[Any]] = []
    for number in range(OPEN):
        calls.append(asyncio.create_task(agents[number % TASKS].write(f"many{number}.md")))
        if len(calls) >= 40:
            await _opened(house, number + 1)
            for call in calls:
                call.cancel()
            await asyncio.gather(*calls, return_exceptions=True)
            calls.clear()
    await _opened(house, OPEN)
    for call in calls:
        call.cancel()
    cookies = {one["name"]: one["value"] for one in await tab.context.cookies()}
    async with httpx2.AsyncClient(base_url=tab.base, cookies=cookies, timeout=30) as client:
        for number in range(LOOKS):
            if number % 4 == 0:  # what is kept of the list is no longer true
                await agents[0].call("files__read_file", path=str(house.project / "README.md"))
            at = time.perf_counter()
            page = await client.get("/")
            found[INBOX].append((time.perf_counter() - at) * 1_000)
            assert page.status_code == 200
    assert "1,000" in page.text or "1000" in page.text


async def _opened(house: Any, number: int) -> None:
    """Wait until so many holds wait."""
    while True:
        found = house.inner.store.holds(limit=2 * OPEN)
        if sum(one.status == "pending" for one in found) >= number:
            return
        await asyncio.sleep(0.1)
