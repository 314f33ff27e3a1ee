"""The room of agents over HTTP: who is registered, in which state, what they do and what they never needed."""

from dataclasses import dataclass

import pytest
import pytest_asyncio

import bundles
from console.bench import Bench, Browser
from console.story_world import HOSTILE, bench, story
from lictor.model.containment import Containment, Restriction, Scope
from lictor.model.record import ContainmentLaid
from lictor.ports import Batch

pytestmark = pytest.mark.asyncio(loop_scope="module")
AGENTS = """\
purposes = ["development"]

[agents.coder]
owner = "alice"
team = "platform"
review_by = 2027-01-31
groups = ["coders"]
autonomy = 2
delegates_to = ["guest"]
proofs = [{ issuer = "corp", subject = "svc-coder" }]

[agents.guest]
owner = "alice"
review_by = 2026-11-25

[agents.late]
owner = "alice"
review_by = 2026-01-31

[agents.gone]
owner = "alice"
review_by = 2027-01-31
active = false
"""


@dataclass(frozen=True)
class Told:
    """A bench in which a story happened, and somebody who looks."""

    made: Bench
    browser: Browser


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def told() -> Told:
    """One for all who only look."""
    made = bench(**{"agents.toml": AGENTS})
    await story(made)
    return Told(made, await made.browser("os:bob"))


async def test_the_registry(told: Told) -> None:
    """Those who need somebody's attention stand first, each with why; what they did is counted, and over what is said."""
    page = await told.browser.get("/agents")
    assert page.status == 200
    order = [page.html.index(f'href="/agents/{name}"') for name in ("late", "guest", "coder", "gone")]
    assert order == sorted(order)
    for words in ("OVERDUE", "review due in", "offboarded", "team platform", "1 open task", "10 decisions, 4 denied"):
        assert words in page.text
    assert "over the newest 10 of the log" in page.text


async def test_one_agent(told: Told) -> None:
    """Its page has owner, proofs, tasks, what it did with the reasons of denials, its reach, and the commands that change it."""
    page = await told.browser.get("/agents/coder")
    assert page.status == 200
    for words in (
        "alice",
        "platform",
        "issuer corp, subject svc-coder",
        "guest",
        "lictor agents review coder",
        "lictor agents offboard coder",
        "fs/read_file",
        "forbidden",
    ):
        assert words in page.text


async def test_what_it_never_needed(told: Told) -> None:
    """Permits whose things it never used are named with what to change, and how far back that looks."""
    page = await told.browser.get("/agents/coder")
    surplus = page.text.partition("What it never needed")[2]
    assert "reads" in surplus
    assert "never used" in surplus
    assert "writes gave it nothing" in surplus
    assert "lictor agents unused coder" in surplus


async def test_an_agent_that_did_nothing(told: Told) -> None:
    """Empty parts say so."""
    page = await told.browser.get("/agents/guest")
    for words in ("It has no open task", "It has asked for nothing lately", "none"):
        assert words in page.text


@pytest.mark.parametrize("name", ["nobody", "%3Cscript%3E", "a" * 500, "coder%20"])
async def test_no_such_agent(name: str, told: Told) -> None:
    """A name that is not registered is not found, and not repeated as markup."""
    page = await told.browser.get(f"/agents/{name}")
    assert page.status == 404
    assert "<script>" not in page.html


async def test_a_suspended_agent() -> None:
    """What is laid on it stands first, with who did it and why; hostile words are ink."""
    made = bench()
    house = made.house
    laid = Containment(
        id="con_1", scope=Scope.AGENT, target="coder", restriction=Restriction.SUSPENDED, by=HOSTILE, why=HOSTILE
    )
    await house.store.commit(Batch(at_ms=house.clock.now_ms(), records=(ContainmentLaid(containment=laid),)))
    browser = await made.browser("os:bob")
    page = await browser.get("/agents/coder")
    assert "suspended on agent coder" in page.text
    assert "suspended: it may do nothing" in page.text
    assert "<script>alert" not in page.html
    assert "\u202e" not in page.html
    assert "suspended" in (await browser.get("/agents")).text


async def test_nobody_is_registered() -> None:
    """An empty registry says how to begin."""
    agents = 'purposes = ["development"]\n'
    policy = bundles.POLICY.replace('principal in AgentGroup::"coders"', "principal")
    browser = await bench(**{"agents.toml": agents, "policies/main.cedar": policy}).browser("os:bob")
    page = await browser.get("/agents")
    assert "No agent is registered" in page.text
