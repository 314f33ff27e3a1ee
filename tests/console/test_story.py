"""The room of tasks over HTTP: the list, one task's story, and the flow of its data."""

import re
from dataclasses import dataclass

import pytest
import pytest_asyncio

from console.bench import Bench, Browser, Page
from console.story_world import HOSTILE, bench, story
from lictor.console import story as room
from lictor.model.containment import Containment, Restriction, Scope
from lictor.model.contract import Binding, Clause, Contract, ContractSource
from lictor.model.ids import AgentId, TaskId
from lictor.model.limits import Limits
from lictor.model.record import ContainmentLaid, PayloadsErased, TaskClosed
from lictor.model.task import Budget
from lictor.ports import Batch
from lictor.service.tasks.delegate import Delegate
from store_samples import erasure

pytestmark = pytest.mark.asyncio(loop_scope="module")


@dataclass(frozen=True)
class Told:
    """A bench in which a story happened, its task, and somebody who looks."""

    made: Bench
    browser: Browser
    task: TaskId


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def told() -> Told:
    """One for all who only look."""
    return await fresh()


async def fresh() -> Told:
    """One of one's own."""
    made = bench()
    state = await story(made)
    return Told(made, await made.browser("os:bob"), state.task.id)


def moments(page: Page) -> list[str]:
    """What each step of the timeline says."""
    found = re.findall(r'<li class="moment.*?</li>', page.html, re.DOTALL)
    return [" ".join(re.sub(r"<[^>]+>", " ", one).split()) for one in found]


async def test_the_list(told: Told) -> None:
    """A task has a line with its state, whom it is for, and what it used."""
    page = await told.browser.get("/tasks")
    assert page.status == 200
    for words in ("development", "coder for os:alice", "4 of 1000 calls", "open", "untrusted:web"):
        assert words in page.text


@pytest.mark.parametrize(
    ("query", "there"),
    [
        ("state=open", True),
        ("state=closed", False),
        ("state=nonsense", True),
        ("agent=coder", True),
        ("agent=guest", False),
        ("human=os%3Aalice", True),
        ("human=os%3Abob", False),
        ("from=50", False),
        ("from=x", True),
    ],
)
async def test_filters(query: str, there: bool, told: Told) -> None:
    """A word of the query leaves out what does not fit; one that is not understood leaves out nothing."""
    page = await told.browser.get(f"/tasks?{query}")
    assert (told.task in page.html) is there


async def test_no_task_yet() -> None:
    """The empty list says how a task is opened."""
    page = await (await bench().browser("os:bob")).get("/tasks")
    assert "No task was opened yet" in page.text


async def test_one_task(told: Told) -> None:
    """Its page has authority, budget, what it has seen, and every step in order with what became of it."""
    page = await told.browser.get(f"/tasks/{told.task}")
    assert page.status == 200
    steps = moments(page)
    assert len(steps) == 10
    assert "fs/read_file allow executed" in steps[0]
    assert "from here on it has seen confidential:files" in steps[0]
    assert "fs/fetch deny forbidden" in steps[4]
    assert "hold: pending" in steps[6]
    assert "could not be read refused invalid_arguments" in steps[9]
    for words in ("4 of 1000", "0 of 100000", "coder for os:alice"):
        assert words in page.text


async def test_the_flow_of_data(told: Told) -> None:
    """Values are followed from the person's text and from results, through tools, to destinations, with their labels."""
    page = await told.browser.get(f"/tasks/{told.task}")
    table = page.html.partition("The same as a table")[2].partition("</table>")[0]
    rows = [" ".join(re.sub(r"<[^>]+>", " ", row).split()) for row in table.split("<tr>")[2:]]
    assert any(row.partition(" ")[2].startswith("what the person asked fs/fetch url none 1") for row in rows)
    assert any("fs/read_file fs/fetch url confidential" in row for row in rows)
    assert any("no known origin fs/fetch url none 1 1 stopped" in row for row in rows)
    assert any(
        "fs/fetch https://evil.example:443 the whole call confidential:files untrusted:web 1 1 stopped" in row
        for row in rows
    )
    assert '<svg class="flow"' in page.html
    assert "style=" not in page.html


async def test_pages_of_a_story(monkeypatch: pytest.MonkeyPatch, told: Told) -> None:
    """However few steps a page holds, all pages together have each step once; only the last refreshes itself."""
    monkeypatch.setattr(room, "STEPS", 3)
    found: list[str] = []
    path = f"/tasks/{told.task}"
    for _ in range(10):
        page = await told.browser.get(path)
        found += moments(page)
        later = re.search(r'href="([^"]*)" rel="next"', page.html)
        assert ('id="steps" hx-get' in page.html) is (later is None)
        if later is None:
            break
        path = later[1]
    assert len(found) == 10


async def test_a_refresh_leaves_the_rest_out(told: Told) -> None:
    """What a page asks for by itself costs no drawing."""
    page = await told.browser.get(f"/tasks/{told.task}?part=steps&after=0")
    assert len(moments(page)) == 10
    assert "<svg" not in page.html


async def test_no_such_task(told: Told) -> None:
    """A name of nothing, or none at all, is not found."""
    assert (await told.browser.get("/tasks/task_none")).status == 404
    assert (await told.browser.get("/tasks/%3Cscript%3E")).status == 404


async def test_erased_facts_are_said() -> None:
    """When a task's key is gone its steps stand, and of the flow it is said why there is none."""
    found = await fresh()
    await found.made.house.store.commit(erasure(found.task, at=found.made.house.clock.now_ms()))
    page = await found.browser.get(f"/tasks/{found.task}")
    assert len(moments(page)) == 10
    assert "The arguments and facts of its steps were erased" in page.text


async def test_restrictions_are_said_first() -> None:
    """What is laid on the agent stands on the task's page and marks it in the list."""
    found = await fresh()
    laid = Containment(
        id="con_1", scope=Scope.AGENT, target="coder", restriction=Restriction.READ_ONLY, by="os:olga", why=HOSTILE
    )
    house = found.made.house
    await house.store.commit(Batch(at_ms=house.clock.now_ms(), records=(ContainmentLaid(containment=laid),)))
    page = await found.browser.get(f"/tasks/{found.task}")
    assert "read only on agent coder by os:olga" in page.text
    assert "<script>alert" not in page.html
    assert "restricted" in (await found.browser.get("/tasks")).text


async def test_a_tree_of_delegation_and_a_contract() -> None:
    """A child is shown below its parent, each leads to the other; a contract is told clause by clause."""
    agents = bench_agents()
    made = bench(**{"agents.toml": agents})
    house = made.house
    contract = Contract(
        source=ContractSource.DRAFTED,
        clauses=(Clause(action="fs/fetch", bind={"url": Binding(values=(HOSTILE,))}, calls=2),),
    )
    parent = await house.task(contract=contract)
    delegate = Delegate(store=house.store, policy=house.policy, clock=house.clock, ids=house.ids, limits=Limits())
    child = await delegate(
        parent.task.id,
        agent=AgentId("guest"),
        ttl_s=60,
        budget=Budget(calls=1, value={}),
        by=f"task:{parent.task.id}",
        text="",
        contract=None,
    )
    browser = await made.browser("os:bob")
    page = await browser.get(f"/tasks/{parent.task.id}")
    assert "2 tasks in one tree" in page.text
    assert f"/tasks/{child.task.id}" in page.html
    assert "fs/fetch, at most 2 times" in page.text
    assert "Nobody has confirmed this draft" in page.text
    assert "<script>alert" not in page.html
    below = await browser.get(f"/tasks/{child.task.id}")
    assert f"/tasks/{parent.task.id}" in below.html
    assert "delegated" in (await browser.get("/tasks")).text


def bench_agents() -> str:
    """The registry, in which one agent may pass work on."""
    import bundles

    return bundles.FILES["agents.toml"].replace(
        'groups = ["coders"]\n', 'groups = ["coders"]\ndelegates_to = ["guest"]\n'
    )


async def test_an_erased_task_says_so() -> None:
    """Who erased it and when; its steps stay, its data is not drawn."""
    told = await fresh()
    store = told.made.house.store
    before = moments(await told.browser.get(f"/tasks/{told.task}"))
    now = told.made.house.clock.now_ms()
    gone = PayloadsErased(task=told.task, by=HOSTILE)
    await store.commit(Batch(at_ms=now, records=(TaskClosed(task=told.task, by="test"), gone)))
    page = await told.browser.get(f"/tasks/{told.task}")
    assert "What it carried was erased by" in page.text
    assert "were erased" in page.text
    assert "<script>alert" not in page.html
    assert len(moments(page)) == len(before)
