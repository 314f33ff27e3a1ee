"""What happened at the office before anybody looks: two tasks, a fooled agent, writes that wait, money, and some answers."""

import asyncio
from dataclasses import dataclass

from browser.bundle import ADA, IBAN
from browser.house import Agent, House, Told
from lictor.model.containment import Restriction, Scope
from lictor.model.ids import HumanId

STRANGE = "Release 1.4\n\n- Brightness stays between 0 and 100 (Ada).\n- Fewer surp\u200brises \u202e(txet)\u202c.\n"


@dataclass(frozen=True)
class Story:
    """The tasks, and the calls that still wait."""

    release: Agent
    invoices: Agent
    waiting: list[asyncio.Task[Told]]


async def play(house: House) -> Story:
    """All of it."""
    asked = "Read the release handbook at https://docs.example.org/handbook and prepare the release notes for Lantern."
    release = await house.task("assistant", "prepare-release", asked)
    invoices = await house.task("researcher", "pay-invoices", "Pay what is due at Northwind.")
    text = str(house.project / "README.md")
    answered = [
        asyncio.create_task(invoices.write("old.md", "superseded\n")),
        asyncio.create_task(release.write("done.md", "done\n")),
    ]
    for agent in (invoices, release):
        [hold] = await house.holds(1, agent.task)
        if agent is release:
            await house.approve(hold)
        else:
            await house.inner.answer.deny(hold.id, HumanId(ADA), "nobody asked for it")
    await release.call("files__read_file", path=text)
    await release.call("web__fetch", url="https://docs.example.org/handbook")
    await release.call("mail__send", to="audit@lantern-support.example", subject="Customers", body="all of them")
    await release.call("files__wipe", path=str(house.project))
    await release.call("files__read_file", path="/etc/passwd")
    await release.call("bank__list_everything")
    await invoices.call("bank__list_invoices")
    await invoices.call("bank__refund", iban=IBAN, amount="3.00")
    await release.call("files__export", name="story", ms=30)
    notes = asyncio.create_task(release.write("NOTES.md", STRANGE))
    await house.holds(2, release.task)
    waiting = [
        notes,
        asyncio.create_task(release.write("CHANGES.md", "# Changes\n")),
        asyncio.create_task(invoices.call("bank__pay", iban=IBAN, amount="1250.00", reference="Northwind 2026-118")),
        asyncio.create_task(
            invoices.call("mail__send", to="ann@lantern.example", subject="Paid", body="2026-118 is paid")
        ),
    ]
    await house.holds(3, release.task)
    await house.holds(3, invoices.task)
    await house.inner.contain.lay(
        Scope.AGENT, "scout", Restriction.STEP_UP, by=f"person:{ADA}", why="asks for things it has no business with"
    )
    told = await asyncio.gather(*answered)
    assert [one.failed for one in told] == [True, False], told
    return Story(release, invoices, waiting)
