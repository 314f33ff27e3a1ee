"""The room of decisions over HTTP: the list, its filters and pages, and one decision with why it came out so."""

import re
from dataclasses import dataclass

import pytest
import pytest_asyncio

from console.bench import Bench, Browser, Page
from console.story_world import EVIL, HOSTILE, bench, refuse, seqs, story
from lictor.console import decisions as room
from lictor.model.ids import HoldId, HumanId, RequestId
from lictor.model.record import DecisionMade, decode_entry
from store_samples import erasure

pytestmark = pytest.mark.asyncio(loop_scope="module")


@dataclass(frozen=True)
class Told:
    """A bench in which a story happened, and somebody who looks at it. Tests that change something make their own."""

    made: Bench
    browser: Browser


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def told() -> Told:
    """One for all who only look."""
    return await fresh()


async def fresh(person: str = "os:bob") -> Told:
    """One of one's own."""
    made = bench()
    await story(made)
    return Told(made, await made.browser(person))


def lines(page: Page) -> list[tuple[str, str]]:
    """Answer and action of each line."""
    found = re.findall(r'<li class="line">(.*?)</li>', page.html, re.DOTALL)
    texts = [re.sub(r"<[^>]+>", " ", one).split() for one in found]
    links = [re.search(r'href="(/decisions/\d+)"', one) for one in found]
    return [(text[0], link[1] if link else "") for text, link in zip(texts, links, strict=True)]


async def test_newest_first(told: Told) -> None:
    """Every decision has a line, the newest first, and what was turned away is among them."""
    made, browser = told.made, told.browser
    page = await browser.get("/decisions")
    assert page.status == 200
    found = [int(link.rpartition("/")[2]) for _, link in lines(page)]
    assert found == sorted(found, reverse=True)
    assert len(found) == 10
    assert max(found) == seqs(made)["refused"]
    assert "could not be read" in page.text


@pytest.mark.parametrize(
    ("query", "expected"),
    [
        ("answer=allow", 4),
        ("answer=deny", 3),
        ("answer=needs_approval", 2),
        ("answer=refused", 1),
        ("action=FETCH", 3),
        ("action=fetch&answer=deny", 2),
        ("reason=forbidden", 3),
        ("agent=coder", 10),
        ("agent=guest", 0),
        ("task=task_unknown", 0),
        ("within=15m", 10),
        ("until=2020-01-01T00:00", 0),
        ("until=2099-01-01T00:00", 10),
    ],
)
async def test_filters(query: str, expected: int, told: Told) -> None:
    """A word of the query leaves out what does not fit it; none invents anything."""
    browser = told.browser
    page = await browser.get(f"/decisions?{query}")
    assert len(lines(page)) == expected
    assert ("No decision fits" in page.text) is (expected == 0)


@pytest.mark.parametrize(
    "query",
    [
        "answer=maybe",
        "until=yesterday",
        "task=%3Cb%3E",
        "within=1y",
        "before=-1",
        "before=x",
        "before=999999999999999999999",
        "agent=" + "a" * 300,
        "answer=allow&answer=deny",
    ],
)
async def test_what_is_not_understood_is_not_applied(query: str, told: Told) -> None:
    """Strange words never fail and never reach the search; those that the form knows are named."""
    browser = told.browser
    page = await browser.get(f"/decisions?{query}")
    assert page.status == 200
    assert len(lines(page)) == 10
    name = query.partition("=")[0]
    if name in {"until", "task", "within"} or query == "answer=maybe":
        assert f"Not understood, so not applied: {name}" in page.text


async def test_pages_hold_everything_once(monkeypatch: pytest.MonkeyPatch, told: Told) -> None:
    """Following Older from the newest shows every decision once, in order, and ends."""
    monkeypatch.setattr(room, "PAGE", 3)
    browser = told.browser
    found, path = [], "/decisions?agent=coder"
    for _ in range(10):
        page = await browser.get(path)
        found += [link for _, link in lines(page)]
        older = re.search(r'href="([^"]*)" rel="next"', page.html)
        if older is None:
            break
        path = older[1].replace("&amp;", "&")
        assert "agent=coder" in path
    assert len(found) == len(set(found)) == 10


async def test_the_first_page_is_live_and_others_are_not(told: Told) -> None:
    """The newest page asks again when something was decided, for itself and with its filter; older pages stand still."""
    browser = told.browser
    page = await browser.get("/decisions?answer=deny")
    assert 'hx-get="/decisions?answer=deny" hx-trigger="sse:decisions' in page.html
    older = await browser.get("/decisions?before=20")
    assert "hx-get" not in older.html
    assert "sse-connect" not in older.html


async def test_nothing_yet() -> None:
    """An empty log says what would be here."""
    browser = await bench().browser("os:bob")
    page = await browser.get("/decisions")
    assert "No decisions yet" in page.text


async def test_one_decision(told: Told) -> None:
    """Its page says what was asked, why it came out so condition by condition, on what facts, and where it stands in the log."""
    made, browser = told.made, told.browser
    numbers = seqs(made)
    page = await browser.get(f"/decisions/{numbers['fetch']}")
    assert page.status == 200
    for words in ("fs/fetch", "forbidden", "nothing ran", "https://made-up.example/", "os:alice", "development"):
        assert words in page.text
    assert "forbid leaks applies decided it" in page.text
    assert "untrusted content was seen" in page.text
    assert 'contains("untrusted:web")' in page.text
    assert "external: not in the directory" in page.text
    assert f'href="/records/{numbers["fetch"]}"' in page.html


async def test_an_executed_decision_links_its_execution(told: Told) -> None:
    """What was started on it is among the entries, and what became of it is said."""
    made, browser = told.made, told.browser
    page = await browser.get(f"/decisions/{seqs(made)['read_file']}")
    assert "execution.started" in page.text
    assert "executed" in page.text


async def test_a_request_leads_to_its_decision(told: Told) -> None:
    """`/requests/{id}` is an address for whoever knows only the request."""
    made, browser = told.made, told.browser
    seq = seqs(made)["erase"]
    record = next(decode_entry(entry.data).record for entry in made.house.store.entries(seq, seq + 1))
    assert isinstance(record, DecisionMade)
    page = await browser.get(f"/requests/{record.request}")
    assert (page.status, page.path) == (303, f"/decisions/{seq}")
    assert (await browser.get("/requests/req_unknown")).status == 404
    assert (await browser.get("/requests/%3Cb%3E")).status == 404


async def test_a_request_far_back_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    """Also when it is not among the newest any more: from where its task began."""
    made = (await fresh()).made
    seq = seqs(made)["erase"]
    record = next(decode_entry(entry.data).record for entry in made.house.store.entries(seq, seq + 1))
    assert isinstance(record, DecisionMade)
    monkeypatch.setattr("lictor.service.evidence.decisions.FOLLOWED", 1)
    task = next(iter(made.house.store.tasks())).task.id
    for _ in range(5):
        await refuse(made.house, task)
    page = await (await made.browser("os:bob")).get(f"/requests/{record.request}")
    assert page.path == f"/decisions/{seq}"


@pytest.mark.parametrize("seq", ["0", "999999", "x", "-1", "1e3", "99999999999999999999", "%C2%B2", "%D9%A3"])
async def test_what_is_no_decision_is_not_found(seq: str, told: Told) -> None:
    """Other entries, numbers out of range and words are no decisions."""
    browser = told.browser
    assert (await browser.get(f"/decisions/{seq}")).status == 404


async def test_what_was_turned_away_has_a_page(told: Told) -> None:
    """Of a request that nobody could read it is said that policy was not asked."""
    made, browser = told.made, told.browser
    page = await browser.get(f"/decisions/{seqs(made)['refused']}")
    assert page.status == 200
    assert "Turned away before policy was asked" in page.text
    assert "invalid_arguments" in page.text
    assert "override" not in page.html


async def test_hostile_arguments_are_ink(told: Told) -> None:
    """Markup, escapes and invisible characters of arguments are shown as what they are; the page holds none of them."""
    made, browser = told.made, told.browser
    page = await browser.get(f"/decisions/{seqs(made)['write-file/v1.2']}")
    assert "<script>alert" not in page.html
    assert not set("\u202e\u200b\x1b").intersection(page.html)
    assert "[U+202E]" in page.html
    assert HOSTILE not in page.html


async def test_erased_arguments() -> None:
    """When the key of the task is gone, the page says so and shows what the record says."""
    found = await fresh()
    made, browser = found.made, found.browser
    seq = seqs(made)["fetch"]
    for state in made.house.store.tasks():
        await made.house.store.commit(erasure(state.task.id, at=made.house.clock.now_ms()))
    page = await browser.get(f"/decisions/{seq}")
    assert page.status == 200
    assert "were erased" in page.text
    assert EVIL not in page.text


async def test_a_bundle_that_was_not_kept() -> None:
    """Without the policy of that time there is no explanation, and everything else."""
    made = Bench()
    state = await made.house.task()
    await made.house.call(state, "read_file", {"path": "a"})
    page = await (await made.browser("os:bob")).get(f"/decisions/{seqs(made)['read_file']}")
    assert page.status == 200
    assert "the policy of that time was not kept" in page.text
    assert "Arguments, as they were sealed" in page.text


@pytest.mark.parametrize(("person", "tool", "offered"), [
    ("os:olga", "fetch", True),
    ("os:bob", "fetch", False),
    ("os:olga", "pay", False),
    ("os:olga", "read_file", False),
    ("os:olga", "refused", False),
])  # fmt: skip
async def test_break_glass_is_offered_to_overriders_over_a_deny_of_policy(
    person: str, tool: str, offered: bool, told: Told
) -> None:
    """Nobody else sees the form, and nothing else has it."""
    browser = await told.made.browser(person)
    page = await browser.get(f"/decisions/{seqs(told.made)[tool]}")
    assert any(action.endswith("/override") for action in page.forms()) is offered


async def test_break_glass_opens_a_hold() -> None:
    """The form leads to a hold over this very deny, and the page then leads there instead."""
    found = await fresh("os:olga")
    made, browser = found.made, found.browser
    path = f"/decisions/{seqs(made)['erase']}"
    page = await browser.get(path)
    action = next(one for one in page.forms() if one.endswith("/override"))
    opened = await browser.post(action, page.form(action))
    assert opened.status == 303
    hold = made.house.store.hold(HoldId(opened.path.rpartition("/")[2]))
    assert hold is not None
    assert hold.override
    assert hold.request == RequestId(action.split("/")[2])
    again = await browser.get(path)
    assert not any(one.endswith("/override") for one in again.forms())
    assert f"/holds/{hold.id}" in again.html


async def test_a_hold_is_followed() -> None:
    """A decision that asked people says what they said."""
    found = await fresh()
    made, browser = found.made, found.browser
    seq = seqs(made)["pay"]
    hold = next(one for one in made.house.store.holds() if one.name == "pay")
    assert "waits for people" in (await browser.get(f"/decisions/{seq}")).text
    await made.house.answer.deny(hold.id, HumanId("os:bob"))
    assert "denied" in (await browser.get(f"/decisions/{seq}")).text


async def test_viewers_see_and_strangers_do_not(told: Told) -> None:
    """Who may look may look here; who has not signed in is asked to."""
    made, browser = told.made, told.browser
    assert (await Browser(made).get("/decisions")).status == 303
    assert (await Browser(made).get("/decisions/28")).status == 303
    assert (await browser.get("/decisions")).headers["content-security-policy"].startswith("default-src 'none'")
