"""The room of containment: who may restrict what, a kill that is typed out, lifting after a second look; by the real use case."""

import asyncio
import re
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from console.rooms_world import ALICE, APPROVER, OPERATOR, URL, Browser, console_of, text_of, visitor, world
from integration.stopping import Stage, now_ns
from lictor.console import containment as room
from lictor.console.containment_view import read_scope, written
from lictor.console.rooms import Console
from lictor.model.containment import Containment, Restriction, Scope
from lictor.model.ids import HumanId
from lictor.model.record import (
    ContainmentLaid,
    ContainmentLifted,
    FindingOpened,
    SignalObserved,
    SignalRefused,
    TaskClosed,
    decode_entry,
)
from lictor.model.signal import Signal
from lictor.ports import Batch
from lictor.service.calls.authorize import Refused
from recorded_world import ASKED, READ, TrafficWorld

HOSTILE = "<script>alert(1)</script>\u202e\u200bx\x1b[2J"


async def busy() -> TrafficWorld:
    """A world with an open task and a hold that waits."""
    made = await world()
    await made.step(READ)
    await made.step(ASKED)
    return made


def laid(made: TrafficWorld) -> list[Containment]:
    """What is in force."""
    return list(made.store.containments())


def recorded(made: TrafficWorld, *kinds: type) -> list[Any]:
    """Records of these types."""
    found = [decode_entry(entry.data).record for entry in made.store.entries()]
    return [record for record in found if isinstance(record, kinds)]


RESTRICT = {"on": "agent:coder", "restriction": "step_up", "why": "odd"}
KILL = {"on": "agent:coder", "typed": "agent:coder", "why": "odd"}


# -- looking ---------------------------------------------------------------------------------------------------------------


async def test_the_page_says_what_is_restricted_and_what_runs() -> None:
    """Restrictions with who, why and since; open tasks; how the gateway is."""
    made = await busy()
    await made.contain.lay(Scope.AGENT, "guest", Restriction.READ_ONLY, by="person:os:bob", why="asked too much")
    page = text_of((await (await visitor(made)).get("/containment")).text)
    for word in (
        "read only",
        "guest",
        "person:os:bob",
        "asked too much",
        "task_1",
        "Calls run where policy allows them",
    ):
        assert word in page


async def test_an_empty_house_says_so() -> None:
    """Every table has a sentence where there is nothing."""
    page = text_of((await (await visitor(await world())).get("/containment")).text)
    for said in (
        "Nothing is restricted beyond policy",
        "No call is under way",
        "No task is open",
        "No credential is on loan",
    ):
        assert said in page


@pytest.mark.parametrize(
    "broken", [{"health": lambda: "the newest state was not confirmed for 1.5 s"}, {"recording": lambda: False}]
)
async def test_a_gateway_that_runs_nothing_says_so(broken: dict[str, Any]) -> None:
    """The lease, the clock and the store are told before anything else."""
    page = text_of((await (await visitor(await world(), **broken)).get("/containment")).text)
    assert "Nothing runs" in page
    assert "Calls run where" not in page


async def test_signals_and_findings_are_listed_with_their_entries() -> None:
    """The newest first; each leads to its record."""
    made = await busy()
    state = made.store.tasks()[0]
    signal = Signal(id="sig_1", kind="odd", task=state.task.id, score=900, source=f"det{HOSTILE}")
    records = (
        SignalObserved(signal=signal),
        FindingOpened(finding="fnd_1", signal="sig_1", task=state.task.id, restriction=Restriction.STEP_UP),
        SignalRefused(task=state.task.id, source="edr", why="no number", digest="sha256:0"),
    )
    await made.store.commit(Batch(at_ms=made.clock.now_ms(), records=records))
    page = (await (await visitor(made)).get("/containment")).text
    for word in ("finding", "odd", "0.9", "unreadable signal", "no number"):
        assert word in text_of(page)
    assert_safe(page)


async def test_hostile_names_are_shown_as_what_they_are() -> None:
    """In targets, reasons and names; on the list, the restriction's page and the page before a kill."""
    made = await busy()
    one = await made.contain.lay(Scope.SERVER, f"s{HOSTILE}", Restriction.STEP_UP, by=f"p{HOSTILE}", why=HOSTILE)
    browser = await visitor(made)
    for path in ("/containment", f"/containment/{one.id}"):
        assert_safe((await browser.get(path)).text)
    refused = await browser.get("/containment/kill", params={"on": f"server:{HOSTILE}"})
    assert refused.status_code == 400
    assert_safe(refused.text)
    assert_safe((await browser.get("/containment/kill", params={"on": HOSTILE})).text)
    assert_safe((await browser.post("/containment", {**RESTRICT, "on": HOSTILE})).text)


def assert_safe(page: str) -> None:
    """No markup of theirs and nothing hidden."""
    assert "<script>alert" not in page
    assert not {"\u202e", "\u200b", "\x1b"} & set(page)


# -- restricting -----------------------------------------------------------------------------------------------------------


async def test_an_operator_restricts_and_the_next_decision_is_stricter() -> None:
    """From the commit on; with name and reason on record; the same again lays nothing more."""
    made = await busy()
    browser = await visitor(made)
    assert not isinstance(await made.step(READ), Refused)
    done = await browser.post("/containment", {**RESTRICT, "restriction": "read_only"})
    assert done.status_code == 303
    (one,) = laid(made)
    assert done.headers["location"] == f"/containment/{one.id}"
    assert (one.scope, one.target, one.by, one.why) == (Scope.AGENT, "coder", "person:os:bob", "odd")
    assert isinstance(await made.step(ASKED), Refused)
    await browser.post("/containment", {**RESTRICT, "restriction": "read_only"})
    assert len(laid(made)) == 1


WRONG = [
    ({**RESTRICT, "on": "coder"}, "is no scope"),
    ({**RESTRICT, "on": "everything:x"}, "is no scope"),
    ({**RESTRICT, "on": "agent:"}, "is no scope"),
    ({**RESTRICT, "on": ""}, "is no scope"),
    ({**RESTRICT, "on": "x" * 5_000}, "is no scope"),
    ({**RESTRICT, "restriction": "loosened"}, "how hard"),
    ({**RESTRICT, "why": "  "}, "say why"),
    ({**RESTRICT, "why": "w" * 1_001}, "at most"),
]


@pytest.mark.parametrize(("form", "said"), WRONG)
async def test_what_cannot_be_meant_restricts_nothing(form: dict[str, str], said: str) -> None:
    """The page says what is wrong."""
    made = await busy()
    reply = await (await visitor(made)).post("/containment", form)
    assert reply.status_code == 400
    assert said in text_of(reply.text)
    assert laid(made) == []


async def test_nobody_but_an_operator_restricts_what_is_not_theirs() -> None:
    """An approver of another group, by any scope; their own task they may stop, and only that."""
    made = await busy()
    task = made.store.tasks()[0].task.id
    for person, mine in ((APPROVER, False), (ALICE, True)):
        browser = await visitor(made, person)
        for scope in ("agent:coder", "everything", "owner:alice", "server:fs", "action:fs/read_file", "task:nobodys"):
            for path, form in (
                ("/containment", {**RESTRICT, "on": scope}),
                ("/containment/kill", {**KILL, "on": scope, "typed": scope}),
            ):
                assert (await browser.post(path, form)).status_code == 400, (person, scope, path)
            assert (await browser.get("/containment/kill", params={"on": scope})).status_code == 400
        assert laid(made) == []
        reply = await browser.post("/containment", {**RESTRICT, "on": f"task:{task}"})
        assert (reply.status_code == 303) is mine
    (one,) = laid(made)
    assert (one.scope, one.target, one.by) == (Scope.TASK, task, "person:os:alice")


async def test_the_room_for_restrictions_is_not_one_persons() -> None:
    """Who is no operator lays so many and no more."""
    made = await busy()
    task = made.store.tasks()[0].task.id
    records = tuple(
        ContainmentLaid(
            containment=Containment(
                id=f"c{number}",
                scope=Scope.TASK,
                target=f"t{number}",
                restriction=Restriction.STEP_UP,
                by="person:os:alice",
            )
        )
        for number in range(room.MOST_OF_ONE)
    )
    await made.store.commit(Batch(at_ms=made.clock.now_ms(), records=records))
    browser = await visitor(made, ALICE)
    assert (await browser.post("/containment", {**RESTRICT, "on": f"task:{task}"})).status_code == 409
    kill = {**KILL, "on": f"task:{task}", "typed": f"task:{task}"}
    assert (await browser.post("/containment/kill", kill)).status_code == 409
    assert len(laid(made)) == room.MOST_OF_ONE
    operator = await visitor(made)
    assert (await operator.post("/containment", {**RESTRICT, "on": f"task:{task}"})).status_code == 303


# -- killing ---------------------------------------------------------------------------------------------------------------


async def test_looking_at_a_kill_stops_nothing() -> None:
    """A GET says what it would stop, whatever stands in its query; so does a POST that has not been typed out."""
    made = await busy()
    browser = await visitor(made)
    size = made.store.size()
    page = await browser.get("/containment/kill?on=agent:coder&typed=agent:coder&why=x&csrf=x")
    text = text_of(page.text)
    assert "1 open task is stopped" in text
    assert "1 hold that waits for people ends denied" in text
    for typed in ("", "agent:code", "AGENT:CODER", "agent: coder", "everything", "agent:coder x"):
        reply = await browser.post("/containment/kill", {**KILL, "typed": typed})
        assert reply.status_code == 400, typed
        assert "not what would be killed" in reply.text
    assert (await browser.post("/containment/kill", {**KILL, "why": " "})).status_code == 400
    begun = await browser.post("/containment", {**RESTRICT, "restriction": "suspended"})
    assert begun.status_code == 200
    assert "to confirm" in text_of(begun.text)
    assert made.store.size() == size
    assert laid(made) == []


async def test_forged_kills_are_refused() -> None:
    """Without the form's token, from another site, by who is not signed in: nothing is laid."""
    made = await busy()
    browser = await visitor(made)
    assert (await browser.post("/containment/kill", KILL, csrf="forged")).status_code == 403
    assert (await browser.post("/containment/kill", KILL, Origin="https://evil.example")).status_code == 403
    stranger = Browser(console_of(made))
    assert (await stranger.post("/containment/kill", KILL, csrf="x")).status_code == 303
    assert laid(made) == []


async def test_a_kill_closes_the_task_and_says_what_it_met() -> None:
    """The result has an address of its own; the restriction is in force; the task is closed for good; the hold is over."""
    made = await busy()
    browser = await visitor(made)
    task = made.store.tasks()[0].task.id
    done = await browser.post("/containment/kill", {"on": f"task:{task}", "typed": f" task:{task} ", "why": "enough"})
    assert done.status_code == 303
    page = text_of((await browser.get(done.headers["location"])).text)
    assert "What it stopped" in page
    assert re.search(r"Tasks closed\s+1", page)
    assert re.search(r"Holds ended\s+1", page)
    assert recorded(made, TaskClosed)[0].by == "person:os:bob"
    (one,) = laid(made)
    assert (one.restriction, one.why, one.by) == (Restriction.SUSPENDED, "enough", "person:os:bob")
    assert isinstance(await made.step(READ), Refused)


async def test_a_look_alike_is_typed_as_it_is_shown() -> None:
    """A name with a foreign letter can be killed by what the page shows of it, and not by what it imitates."""
    made = await busy()
    browser = await visitor(made)
    name = "agent:c\u043eder"
    assert "[U+043E]" in text_of((await browser.get("/containment/kill", params={"on": name})).text)
    assert (await browser.post("/containment/kill", {**KILL, "on": name, "typed": "agent:coder"})).status_code == 400
    assert laid(made) == []
    done = await browser.post("/containment/kill", {**KILL, "on": name, "typed": "agent:c[U+043E]der"})
    assert done.status_code == 303
    assert [one.target for one in laid(made)] == ["c\u043eder"]


async def test_a_name_that_nobody_has_is_warned_of() -> None:
    """A slip of the hand must not pass for a kill."""
    made = await busy()
    browser = await visitor(made)
    assert "Nothing of this name is known" in (await browser.get("/containment/kill?on=agent:cdoer")).text
    assert "Nothing of this name is known" not in (await browser.get("/containment/kill?on=agent:coder")).text


async def test_a_kill_from_the_page_stops_a_call_under_way(tmp_path: Path) -> None:
    """A real gateway and a real server that keeps having effects: they end, and the page says that it may have happened."""
    stage = Stage(tmp_path, "ignores")
    people = 'four_eyes = false\noperators = ["owner"]\n[approvers."os:me"]\ngroups = ["owner"]\n'
    (stage.bundle / "approvers.toml").write_text(people, "utf-8")
    async with stage.gateway() as live:
        browser = await Browser(console_of_house(live)).sign_in(HumanId("os:me"))
        _, token = await live.task()
        calling = asyncio.create_task(live.call(token, "long", 8_000))
        await live.begun("long")
        assert "1 call under way is stopped" in text_of((await browser.get("/containment/kill?on=agent:coder")).text)
        assert "clock/tick" in (await browser.get("/containment")).text
        at = now_ns()
        done = await browser.post("/containment/kill", KILL)
        page = text_of((await browser.get(done.headers["location"])).text)
        assert "1 may have happened" in page
        assert "clock/tick" in page
        assert await calling == "contained"
        await asyncio.sleep(1.0)  # long enough for an effect that was not stopped
        assert stage.quiet("long", at) <= 2_000
        assert await live.call(token, "more") == "contained"
        lifted = await browser.post(f"{done.headers['location']}/lift", {"why": "looked"})
        assert lifted.status_code == 200
        assert await live.call(token, "again") == "permitted"


def console_of_house(live: Any) -> Console:
    """The console beside a live gateway."""
    house = live.house
    return Console(
        store=house.store,
        policy=house.policy,
        answer=house.answer,
        clock=house.clock,
        ids=house.ids,
        recording=lambda: live.runtime.ready,
        public_url=URL,
        hosts=frozenset({"console.example"}),
        contain=house.contain,
        health=live.runtime.guard.fault,
    )


# -- lifting ---------------------------------------------------------------------------------------------------------------


async def test_lifting_takes_an_operator_a_second_look_and_a_reason() -> None:
    """Nobody else, never by a GET, never without a reason; on record with the name."""
    made = await busy()
    one = await made.contain.lay(Scope.AGENT, "coder", Restriction.SUSPENDED, by="rule:x")
    other = await visitor(made, APPROVER)
    assert (await other.get(f"/containment/{one.id}")).status_code == 200
    assert (await other.post(f"/containment/{one.id}/lift", {"why": "mine"})).status_code == 403
    browser = await visitor(made)
    assert "1 open task would be under no restriction any more" in text_of(
        (await browser.get(f"/containment/{one.id}")).text
    )
    assert (await browser.get(f"/containment/{one.id}/lift?why=x")).status_code in {404, 405}
    assert (await browser.post(f"/containment/{one.id}/lift", {"why": " "})).status_code == 400
    assert (await browser.post(f"/containment/{one.id}/lift", {"why": "looked"}, csrf="x")).status_code == 403
    assert laid(made) == [one]
    assert (await browser.post(f"/containment/{one.id}/lift", {"why": "looked"})).status_code == 200
    assert laid(made) == []
    assert recorded(made, ContainmentLifted) == [ContainmentLifted(containment=one.id, by=OPERATOR, why="looked")]
    assert (await browser.post(f"/containment/{one.id}/lift", {"why": "again"})).status_code == 404


async def test_what_stays_restricted_is_said_before_lifting() -> None:
    """A second restriction on the same task keeps it held."""
    made = await busy()
    one = await made.contain.lay(Scope.AGENT, "coder", Restriction.SUSPENDED, by="rule:x")
    await made.contain.lay(Scope.OWNER, "alice", Restriction.READ_ONLY, by="rule:y")
    page = text_of((await (await visitor(made)).get(f"/containment/{one.id}")).text)
    assert "0 open tasks would be under no restriction any more; 1 stays under another one" in page


async def test_odd_ids_are_not_found() -> None:
    """Too long, of other characters, of nobody."""
    browser = await visitor(await busy())
    for odd in ("nobody", "x" * 300, "%2e%2e", "<b>", "kill%00"):
        assert (await browser.get(f"/containment/{odd}")).status_code == 404, odd


async def test_a_console_without_the_use_case_restricts_nothing() -> None:
    """It says where to go instead."""
    made = await busy()
    browser = await visitor(made, contain=None)
    assert "lictor kill" in (await browser.get("/containment")).text
    assert (await browser.post("/containment", RESTRICT)).status_code == 409
    assert (await browser.post("/containment/kill", KILL)).status_code == 409
    assert laid(made) == []


@given(scope=st.sampled_from(Scope), target=st.text(min_size=1, max_size=20))
def test_a_scope_is_read_as_it_is_written(scope: Scope, target: str) -> None:
    """What is typed to confirm is one scope and no other."""
    target = "" if scope is Scope.EVERYTHING else target.strip() or "x"
    assert read_scope(written(scope, target)) == (scope, target)
