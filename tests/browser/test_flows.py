"""What people do in the console, each flow from a call that waits to its effect, in a real browser against a real gateway."""

import asyncio
import re
import time

from browser.bundle import ADA, BOB, IBAN
from browser.conftest import Open
from browser.house import Agent, House, Told, waiting
from browser.story import Story
from browser.window import Window

SHOWN_S = 1.0
"""From a hold's commit to the approver's open page."""
LOADED = 4
"""How much slower a machine may be that does other things too; benchmarks/results/approvals.md has the times of the bars."""


async def held(window: Window, agent: Agent, name: str, text: str = "text\n") -> tuple[asyncio.Task[Told], str]:
    """A write that waits, open in a window; (the call, its hold)."""
    call = asyncio.create_task(agent.write(name, text))
    for _ in range(400):
        mine = [one for one in agent.house.inner.store.holds() if one.task == agent.task and one.status == "pending"]
        if mine:
            await window.go(f"/holds/{mine[0].id}")
            return call, mine[0].id
        await asyncio.sleep(0.05)
    raise AssertionError("nothing is held")


async def test_a_hold_appears_by_itself_and_its_answer_lets_the_call_run(house: House, opened: Open) -> None:
    """The open inbox shows it within a second; approving it there lets the waiting call go on, once."""
    agent = await house.task()
    async with opened() as window:
        await window.go("/")
        await window.page.wait_for_timeout(500)
        async with waiting(agent.write("live.md")) as call:
            [hold] = await house.holds(1, agent.task)
            at = time.monotonic()
            link = window.page.locator(f"a.button[href='/holds/{hold.id}']")
            await link.wait_for()
            assert time.monotonic() - at <= SHOWN_S * LOADED
            await link.click()
            await window.heading(re.compile("write_file"))
            assert not (house.project / "live.md").exists()
            await window.press("Approve once")
            await window.heading("Approved")
            assert not (await call).failed
    assert house.effects("write:live.md") == 1


async def test_a_denied_call_is_told_so(house: House, opened: Open) -> None:
    """Deny with a reason; nothing happens, and it is among one's answers."""
    agent = await house.task()
    async with opened() as window:
        call, hold = await held(window, agent, "denied.md")
        await window.page.fill("textarea[name=note]", "not before the release")
        await window.press("Deny")
        await window.heading("Denied")
        assert "approval_denied" in (await call).text
        await window.go("/approvals/answered")
        assert await window.page.locator(f"a[href='/holds/{hold}']").count() > 0
    assert house.effects("write:denied.md") == 0


async def test_a_yes_is_taken_back(house: House, opened: Open) -> None:
    """Approved, taken back before it is used: the next call waits again."""
    agent = await house.task()
    async with opened() as window:
        call, hold = await held(window, agent, "back.md")
        call.cancel()
        await window.press("Approve once")
        await window.heading("Approved")
        await window.go(f"/holds/{hold}")
        await window.press("Take back my approval")
        await window.heading("Taken back")
    assert house.hold(hold).status == "pending"
    assert house.effects("write:back.md") == 0


async def test_two_people_sign_with_passkeys(house: House, opened: Open) -> None:
    """Money leaves when the second of two has signed, and not before."""
    agent = await house.task("researcher", "pay-invoices")
    async with (
        opened(ADA) as ada,
        opened(BOB) as bob,
        waiting(agent.call("bank__pay", iban=IBAN, amount="12.50", reference="two people")) as call,
    ):
        [hold] = await house.holds(1, agent.task)
        for window, name in ((ada, "ada's key"), (bob, "bob's key")):
            await window.plug()
            await window.add_passkey(name)
        await ada.go(f"/holds/{hold.id}")
        await ada.press("Approve once")
        await ada.heading("Approved by you")
        assert house.hold(hold.id).status == "pending"
        await ada.go(f"/holds/{hold.id}")
        assert await ada.page.get_by_role("button", name="Approve once").count() == 0
        await bob.go(f"/holds/{hold.id}")
        assert "1" in await bob.text()
        await bob.press("Approve once")
        await bob.heading("Approved")
        told = await call
        if told.failed:  # two passkeys took longer than the call waited: the agent asks again
            told = await agent.call("bank__pay", iban=IBAN, amount="12.50", reference="two people")
        assert not told.failed, told
        await glass(house, ada)
    assert house.effects("pay:12.50") == 1


async def glass(house: House, ada: Window) -> None:
    """Break the glass over a deny of policy: a passkey and a reason, once. In Ada's window, because her key is there."""
    agent = await house.task()
    await agent.call("files__wipe", path=str(house.project / "gone"))
    await ada.go("/decisions?answer=deny")
    await ada.page.locator("main a[href^='/decisions/']").first.click()
    await ada.heading(re.compile("wipe"))
    await ada.page.locator(".glass button[type=submit]").click()
    await ada.heading(re.compile("wipe"))
    await ada.page.fill("textarea[name=note]", "the disk is full, agreed with Bob")
    await ada.press("Override once")
    await ada.heading("Approved")
    told = await agent.call("files__wipe", path=str(house.project / "gone"))
    assert not told.failed, told
    assert (await agent.call("files__wipe", path=str(house.project / "gone"))).failed
    await ada.go("/containment")
    assert "somebody overrode a deny" in await ada.text()
    assert house.effects("wipe:" + str(house.project / "gone")) == 1


async def test_ahead(house: House, opened: Open) -> None:
    """Approved with two more like it: they run without asking, are counted, and end when somebody says so."""
    agent = await house.task()
    async with opened() as window:
        call, _ = await held(window, agent, "ahead.md")
        await window.page.get_by_text("Approve this one and more like it").click()
        await window.page.fill("input[name=most]", "2")
        await window.press("Approve once, and these ahead")
        await window.heading("Approved ahead")
        assert not (await call).failed
        assert not (await agent.write("ahead.md")).failed
        await window.go("/approvals/ahead")
        assert "1 of 2" in await window.text()
        await window.page.locator("main button", has_text="End it").first.click()
        await window.page.get_by_text("Nothing is approved ahead").wait_for()
        async with waiting(agent.write("ahead.md")):
            for _ in range(100):
                if [one for one in house.inner.store.holds() if one.task == agent.task and one.status == "pending"]:
                    break
                await asyncio.sleep(0.05)
            else:
                raise AssertionError("it ran")
    assert house.effects("write:ahead.md") == 2


async def test_killed_from_the_page_and_settled(house: House, opened: Open) -> None:
    """A running call ends when its task is killed; nobody knows what became of it until a person says so."""
    agent = await house.task()
    async with opened() as window:
        async with waiting(agent.call("files__export", name="killed", ms=60_000)) as call:
            for _ in range(200):
                if house.effects("export:killed"):
                    break
                await asyncio.sleep(0.05)
            await window.go(f"/containment/kill?on=task:{agent.task}")
            assert "1 call under way" in await window.text()
            await window.page.fill("#why", "it runs and runs")
            await window.page.fill("#typed", f"task:{agent.task}")
            await window.press("Kill it now")
            assert (await call).failed
        count = house.effects("export:killed")
        await asyncio.sleep(0.5)
        assert house.effects("export:killed") == count
        await window.go("/approvals/unknown")
        card = window.page.locator("section.card", has_text=agent.task)
        await card.locator("input[name=note]").fill("the file is half there")
        await card.get_by_role("button", name="It happened", exact=True).click()
        await card.wait_for(state="detached")


async def test_policy_is_asked_about_what_was_decided(house: House, story: Story, opened: Open) -> None:
    """From a deny to the rule behind it, to what would have changed it, to what if the facts were others."""
    async with opened() as window:
        await window.go("/decisions?answer=deny&task=" + story.release.task)
        await window.page.locator("main a[href^='/decisions/']", has_text="mail").first.click()
        await window.heading(re.compile("mail"))
        assert "strangers/no-mail-after-the-web" in await window.text()
        await window.page.get_by_role("link", name="What if the facts were others").click()
        await window.heading(re.compile("^What if"))
        await window.page.fill("#labels", "")
        await window.press("What would be decided?")
        await window.page.get_by_text("As it would be").wait_for()
        assert "labels" in await window.page.locator("table").first.inner_text()


async def test_a_record_with_its_proof(story: Story, opened: Open) -> None:
    """An entry of the log, its data and its proof to take away; the whole log verified."""
    async with opened() as window:
        await window.go("/records")
        await window.page.locator("main th a[href^='/records/']").first.click()
        for name in ("data", "proof"):
            link = window.page.locator(f"a[href$='/{name}']").first
            answer = await window.page.request.get(f"{window.base}{await link.get_attribute('href')}")
            assert answer.status == 200
            assert len(await answer.body()) > 40
        await window.go("/records/verify")
        await window.press("Verify now")
        for _ in range(40):
            if "Nothing is wrong" in await window.text():
                break
            await window.page.wait_for_timeout(250)
            await window.go("/records/verify")
        else:
            raise AssertionError(await window.text())


async def test_agents_and_their_reviews(story: Story, opened: Open) -> None:
    """Whose review is overdue is said, and what each agent may do is one link away."""
    async with opened() as window:
        await window.go("/agents")
        assert "scout" in await window.text()
        assert "overdue" in (await window.text()).lower()
        await window.page.locator("main a[href='/agents/assistant']").first.click()
        await window.heading(re.compile("assistant"))
