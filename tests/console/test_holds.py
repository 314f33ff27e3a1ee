"""The approvals room: who is asked, what is shown, and that an answer is for exactly what was shown."""

import itertools
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from hypothesis import given, settings
from hypothesis import strategies as st

import bundles
from console.bench import WRITE, Bench, Browser
from lictor.console import holds, waiting
from lictor.console.figures import MANY, figures
from lictor.console.held import hold_view
from lictor.model.approval import Approval, Hold, HoldStatus, Need, Passkey, Strength, Terms, seal_ahead, seal_of
from lictor.model.errors import CallerError
from lictor.model.ids import ApprovalId, DecisionId, ExecutionId, HoldId, HumanId, RequestId, SealDigest
from lictor.model.preview import Line, Part, Precondition, Preview
from lictor.model.reasons import Reason
from lictor.model.record import (
    AllowanceRevoked,
    ApprovalGiven,
    ApprovalWithdrawn,
    ExecutionEnded,
    ExecutionReconciled,
    HoldOpened,
    PasskeyAdded,
)
from lictor.ports import Batch
from lictor.service.people.approve import Proof
from lictor.service.people.passkey_site import Site
from lictor.service.people.passkeys import Ask
from lictor.stores.sqlite import SqliteStore
from security.house import reason
from store_samples import erasure

BOB = HumanId("os:bob")
TWO = bundles.POLICY.replace(
    'context.approval.groups.contains("owner") };\n\n@id("pays")',
    'context.approval.groups.contains("owner") && context.approval.people >= 2 };\n\n@id("pays")',
)
STRONG = bundles.POLICY.replace(
    'context.approval.groups.contains("owner") };\n\n@id("pays")',
    'context.approval.groups.contains("owner") && context.approval.strength >= 3 };\n\n@id("pays")',
)
assert bundles.POLICY not in (TWO, STRONG)
PREVIEW = Preview(
    kind="list",
    made_at_ms=bundles.NOW,
    parts=(
        Part(title="Touches a protected place", text="/ws/.git", warning=True),
        Part(title="/ws/a", lines=(Line(mark="-", text="old"), Line(mark="+", text="n\u202eew"))),
    ),
    preconditions=(Precondition(kind="file", target="/ws/a", value="sha256:00"),),
    whole=False,
)


def kept(bench: Bench, hold: Hold) -> Hold:
    """It, as it is now."""
    found = bench.house.store.hold(hold.id)
    assert found is not None
    return found


def records(bench: Bench, kind: type) -> list[Any]:
    """Every record of a kind."""
    return [one for one in bench.house.records() if isinstance(one, kind)]


# -- one hold ----------------------------------------------------------------------------------------------------------------


async def test_a_hold_is_approved_and_runs_once() -> None:
    """The page's seal goes back; the agent's retry runs, and a second one asks again."""
    bench = Bench()
    hold = await bench.hold({"path": "/ws/a", "content": "hello"})
    bob = await bench.browser("os:bob")
    page = await bob.answer(hold, "approve", note="fine")
    assert (page.status, "approved, once" in page.text) == (200, True)
    [given] = records(bench, ApprovalGiven)
    assert (given.approval.seal, given.approval.strength, given.note) == (seal_of(hold), Strength.SECRET, "fine")
    task = bench.house.store.task(hold.task)
    assert task is not None
    assert reason(await bench.house.call(task, WRITE, {"path": "/ws/a", "content": "hello"})) == ""
    assert kept(bench, hold).status is HoldStatus.CONSUMED
    assert reason(await bench.house.call(task, WRITE, {"path": "/ws/a", "content": "hello"})) == "needs_approval"


async def test_everything_that_is_sealed_is_shown() -> None:
    """Arguments, effect, warnings, what it rests on, who has to approve, and the seal in short and in full."""
    bench = Bench()
    bench.previewer.preview_is = PREVIEW
    hold = await bench.hold({"path": "/ws/a", "content": "hello"})
    page = await (await bench.browser("os:bob")).get(f"/holds/{hold.id}")
    text = page.text
    top = text[: text.index("What will happen")]
    for said in ("not all of it could be found out", "Touches a protected place", "reordering"):
        assert said in top, said
    assert text.index("What will happen") < text.index("What will be sent") < text.index("End of the action")
    assert "[U+202E]" in text
    assert "\u202e" not in page.html
    for said in (
        hold.digest,
        seal_of(hold),
        waiting.short_seal(seal_of(hold)),
        "Rests on 1 thing",
        "owner",
        "development",
    ):
        assert said in text, said


async def test_another_seal_is_refused() -> None:
    """What was shown is not what is held: with another hold's seal, another preview's, the digest, or none, nothing is approved."""
    bench = Bench()
    hold, other = await bench.hold(), await bench.hold({"path": "/ws/b"})
    bob = await bench.browser("os:bob")
    for seal in (seal_of(other), seal_of(replaced(hold, preview="sha256:" + "0" * 64)), hold.digest, ""):
        page = await bob.answer(hold, "approve", seal=seal)
        assert (page.status, "action_hash_mismatch" in page.text) == (409, True)
    assert kept(bench, hold).status is HoldStatus.PENDING
    assert records(bench, ApprovalGiven) == []


def replaced(hold: Hold, **members: Any) -> Hold:
    """It, with other members."""
    return Hold(**{**{name: getattr(hold, name) for name in hold.__struct_fields__}, **members})


async def test_long_content_is_confirmed_to_the_end() -> None:
    """APRV-02: the effect counts as well as the arguments; the server asks even if the form does not."""
    bench = Bench()
    bench.previewer.preview_is = Preview(
        kind="list", made_at_ms=0, parts=(Part(title="t", lines=tuple(Line(mark="+", text=str(n)) for n in range(60))),)
    )
    hold = await bench.hold()
    bob = await bench.browser("os:bob")
    page = await bob.answer(hold, "approve")
    assert (page.status, "read to the end" in page.text) == (409, True)
    assert kept(bench, hold).status is HoldStatus.PENDING
    assert (await bob.answer(hold, "approve", seen_end="yes")).status == 200


async def test_who_is_in_no_group_can_only_deny() -> None:
    """And an approval written by hand is refused all the same."""
    bench = Bench()
    hold = await bench.hold()
    olga = await bench.browser("os:olga")
    page = await olga.get(f"/holds/{hold.id}")
    assert 'value="approve"' not in page.html
    assert "none of the groups" in page.text
    form = {"csrf": page.form("/logout")["csrf"], "seal": seal_of(hold), "answer": "approve"}
    page = await olga.post(f"/holds/{hold.id}", form)
    assert (page.status, "not_an_approver" in page.text) == (409, True)


async def test_the_person_it_is_for_does_not_approve() -> None:
    """four_eyes: said on the page, and checked behind it."""
    bench = Bench()
    hold = await bench.hold(human=BOB)
    bob = await bench.browser("os:bob")
    page = await bob.get(f"/holds/{hold.id}")
    assert "somebody else has to answer" in page.text
    form = {"csrf": page.form("/logout")["csrf"], "seal": seal_of(hold), "answer": "approve"}
    assert "approver_is_requester" in (await bob.post(f"/holds/{hold.id}", form)).text


async def test_two_people_one_after_the_other() -> None:
    """The first yes is on record and the page says whose; it can be taken back; with the second it runs."""
    bench = Bench(**{"policies/main.cedar": TWO})
    hold = await bench.hold()
    bob, carol = await bench.browser("os:bob"), await bench.browser("os:carol")
    assert "2 people of" in (await bob.get(f"/holds/{hold.id}")).text
    assert "more people have to approve" in (await bob.answer(hold, "approve")).text
    page = await bob.get(f"/holds/{hold.id}")
    assert "you have approved it; more people have to" in page.text
    assert "1 of 2 so far: os:bob" in page.text
    assert f"/holds/{hold.id}/withdraw" in page.forms()
    assert "1 of 2 so far" in (await carol.get("/")).text
    await bob.send(f"/holds/{hold.id}", f"/holds/{hold.id}/withdraw", note="changed my mind")
    assert [one.note for one in records(bench, ApprovalWithdrawn)] == ["changed my mind"]
    await carol.answer(kept(bench, hold), "approve")
    assert kept(bench, hold).status is HoldStatus.PENDING
    assert "approved, once" in (await bob.answer(kept(bench, hold), "approve")).text
    assert kept(bench, hold).status is HoldStatus.APPROVED


async def test_a_yes_can_be_taken_back_until_it_is_used() -> None:
    """Under one's answers; afterwards there is no form, and a form written by hand is refused."""
    bench = Bench()
    hold = await bench.hold()
    bob = await bench.browser("os:bob")
    await bob.answer(hold, "approve")
    action = f"/holds/{hold.id}/withdraw"
    assert action in (await bob.get("/approvals/answered")).forms()
    page = await bob.send("/approvals/answered", action)
    assert (page.status, kept(bench, hold).status) == (200, HoldStatus.PENDING)
    await bob.answer(kept(bench, hold), "approve")
    task = bench.house.store.task(hold.task)
    assert task is not None
    await bench.house.call(task, WRITE, {"path": "/ws/a", "content": "x"})
    page = await bob.get("/approvals/answered")
    assert action not in page.forms()
    assert "now used" in page.text
    assert (await bob.post(action, {"csrf": page.form("/logout")["csrf"]})).status == 409


async def test_an_unknown_hold_is_not_found() -> None:
    """404, whoever asks, for ids that cannot be and ids that are not."""
    bob = await Bench().browser("os:bob")
    for name in ("hold_none", "%22%3E%3Cscript%3E", "x" * 300):
        assert (await bob.get(f"/holds/{name}")).status == 404


# -- passkeys ----------------------------------------------------------------------------------------------------------------


class Keys:
    """A passkey service with one key; what is signed is what it is given."""

    site = Site(rp_id="localhost", origin="http://localhost:1")

    def __init__(self) -> None:
        self.signed: list[tuple[str, str, str]] = []

    def of(self, human: HumanId) -> tuple[str, ...]:
        """Bob has one."""
        return ("key",) if human == BOB else ()

    def ask_about(self, human: HumanId, seal: str) -> Ask:
        """For an answer."""
        return Ask(challenge="AAEC", ids=("a", "b"), rp_id="localhost")

    async def prove(self, human: HumanId, seal: str, assertion: str) -> Proof:
        """Only what begins right."""
        self.signed.append((human, seal, assertion))
        if assertion != "good":
            raise CallerError(Reason.PASSKEY_REFUSED, "it proves nothing")
        return Proof(human=human, strength=Strength.PASSKEY, passkey="key", signed=SealDigest(seal))


async def test_a_passkey_signs_the_seal_of_this_very_hold() -> None:
    """What is proved is the seal of the hold as it is kept; the form says what to sign; a bad assertion approves nothing."""
    keys = Keys()
    bench = Bench(console={"passkeys": keys}, **{"policies/main.cedar": STRONG})
    bob = await bench.browser("os:bob")
    key = Passkey(id="key", human=BOB, public_key="x", name="k")
    await bench.house.store.commit(
        Batch(at_ms=bench.house.clock.now_ms(), records=(PasskeyAdded(passkey=key, by=BOB),))
    )
    hold = await bench.hold()
    page = await bob.get(f"/holds/{hold.id}")
    assert 'data-passkey-challenge="AAEC" data-passkey-ids="a b" data-passkey-rp="localhost"' in page.html
    assert "data-passkey-optional" not in page.html
    assert "with a passkey" in page.text
    assert "passkey_refused" in (await bob.answer(hold, "approve", assertion="bad")).text
    assert "approval_too_weak" in (await bob.answer(hold, "approve", assertion="")).text
    assert kept(bench, hold).status is HoldStatus.PENDING
    assert "approved, once" in (await bob.answer(hold, "approve", assertion="good")).text
    assert keys.signed == [(BOB, seal_of(hold), one) for one in ("bad", "good")]
    [given] = records(bench, ApprovalGiven)
    assert given.approval.strength == Strength.PASSKEY


async def test_a_passkey_signs_the_terms_of_a_yes_ahead() -> None:
    """They are said in words on a page of their own, and signed with the moment that stands there; anything else is refused."""
    keys = Keys()
    bench = Bench(console={"passkeys": keys}, **{"policies/main.cedar": STRONG})
    key = Passkey(id="key", human=BOB, public_key="x", name="k")
    bob, hold, now = await bench.browser("os:bob"), await bench.hold(), bench.house.clock.now_ms()
    await bench.house.store.commit(Batch(at_ms=now, records=(PasskeyAdded(passkey=key, by=BOB),)))
    path = f"/holds/{hold.id}"
    page = await bob.answer(hold, "ahead", most="2", hours="4", reach="task")
    assert "How many more2" in page.text
    assert list(bench.house.store.allowances()) == []
    form = page.form(path)
    assert (form["terms"], form["reach"], form["most"]) == (str(now + 4 * 3_600_000), "task", "2")
    bench.house.clock.advance(30_000)
    assert "approval_too_weak" in (await bob.post(path, {**form, "answer": "ahead", "assertion": ""})).text
    done = await bob.post(path, {**form, "answer": "ahead", "assertion": "good"})
    assert "2 more like it" in done.text
    terms = Terms(most=2, most_value=0, until_ms=now + 4 * 3_600_000, this_task=True)
    assert keys.signed == [(BOB, seal_ahead(hold, terms), "good")]
    [allowance] = bench.house.store.allowances()
    assert (allowance.until_ms, allowance.approval.strength) == (terms.until_ms, Strength.PASSKEY)


async def test_every_approver_can_deny_whatever_their_yes_is_worth() -> None:
    """No passkey, or none of the groups: a no needs neither."""
    bench = Bench(console={"passkeys": Keys()}, **{"policies/main.cedar": STRONG})
    hold, other = await bench.hold(), await bench.hold({"path": "/ws/other"})
    for person, one in (("os:carol", hold), ("os:olga", other)):
        browser = await bench.browser(person)
        form = (await browser.get(f"/holds/{one.id}")).form(f"/holds/{one.id}")
        page = await browser.post(f"/holds/{one.id}", {**form, "answer": "deny"})
        assert "Denied" in page.text
        assert kept(bench, one).status is HoldStatus.DENIED


async def test_without_a_passkey_there_is_no_button_that_cannot_work() -> None:
    """Who has none is told so, and where to add one."""
    bench = Bench(console={"passkeys": Keys()}, **{"policies/main.cedar": STRONG})
    hold = await bench.hold()
    page = await (await bench.browser("os:carol")).get(f"/holds/{hold.id}")
    assert "add one on the page Account" in page.text
    assert 'value="approve"' not in page.html


async def test_a_sign_in_is_never_worth_a_passkey() -> None:
    """Even one that was begun with a passkey: that proved who came, not what they saw."""
    bench = Bench()
    hold = await bench.hold()
    bob = await bench.browser("os:bob")
    form = (await bob.get(f"/holds/{hold.id}")).form(f"/holds/{hold.id}")
    rooms = next(iter(holds_rooms(bench)))
    for token, one in list(rooms.sign_ins._by_token.items()):
        rooms.sign_ins._by_token[token] = replace(one, strength=Strength.PASSKEY)
    await bob.post(f"/holds/{hold.id}", {**form, "answer": "approve"})
    [given] = records(bench, ApprovalGiven)
    assert given.approval.strength == Strength.LOGIN


def holds_rooms(bench: Bench) -> list[Any]:
    """The rooms of the running console."""
    from console.test_frame import _rooms

    return [_rooms(bench)]


# -- ahead -------------------------------------------------------------------------------------------------------------------


async def test_more_of_the_like_can_be_approved_ahead_and_ended() -> None:
    """With its limits; it is listed, and whoever approves can end it."""
    bench = Bench()
    hold = await bench.hold()
    bob, carol = await bench.browser("os:bob"), await bench.browser("os:carol")
    page = await bob.answer(hold, "ahead", most="2", hours="4", reach="task")
    assert "2 more like it" in page.text
    [allowance] = bench.house.store.allowances()
    assert (allowance.most, allowance.task, allowance.until_ms) == (
        2,
        hold.task,
        bench.house.clock.now_ms() + 4 * 3_600_000,
    )
    page = await carol.get("/approvals/ahead")
    assert "0 of 2" in page.text
    done = await carol.send("/approvals/ahead", f"/approvals/ahead/{allowance.id}", note="enough")
    assert (done.status, done.path) == (303, "/approvals/ahead")
    assert [(one.by, one.note) for one in records(bench, AllowanceRevoked)] == [("os:carol", "enough")]
    assert "Nothing is approved ahead" in (await carol.get("/approvals/ahead")).text


@pytest.mark.parametrize(
    "fields",
    [
        {"most": "0"},
        {"most": "101"},
        {"most": "-1"},
        {"most": "1e3"},
        {"most": "\u0665"},
        {"hours": "25"},
        {"hours": "0"},
        {"hours": "9" * 15},
        {"reach": ""},
        {"reach": "everything"},
        {"most_value": "5"},
    ],
)
async def test_no_allowance_without_sensible_limits(fields: dict[str, str]) -> None:
    """Refused, and the hold itself is not approved either."""
    bench = Bench()
    hold = await bench.hold()
    bob = await bench.browser("os:bob")
    page = await bob.answer(hold, "ahead", **{"most": "1", "hours": "1", "reach": "task", **fields})
    assert page.status in {400, 409}
    assert kept(bench, hold).status is HoldStatus.PENDING
    assert list(bench.house.store.allowances()) == []


async def test_what_destroys_is_never_approved_ahead() -> None:
    """No button, and a form written by hand is refused."""
    policy = bundles.POLICY.replace("never", "people").replace(
        'forbid (principal, action in [Action::"destructive"], resource);',
        'permit (principal, action in [Action::"destructive"], resource)\n'
        'when { context has approval && context.approval.groups.contains("owner") };',
    )
    bench = Bench(**{"policies/main.cedar": policy})
    hold = await bench.hold({}, "erase")
    bob = await bench.browser("os:bob")
    page = await bob.get(f"/holds/{hold.id}")
    assert 'value="ahead"' not in page.html
    page = await bob.answer(hold, "ahead", most="1", hours="1", reach="task")
    assert (page.status, kept(bench, hold).status) == (409, HoldStatus.PENDING)


# -- lists -------------------------------------------------------------------------------------------------------------------


async def test_mine_come_first_and_what_is_related_stands_together() -> None:
    """Who can answer sees it under their name; others see it as others'; what they cannot answer is not offered together."""
    bench = Bench()
    task = await bench.house.task()
    for name in "ab":
        await bench.ask(task, {"path": f"/ws/{name}"})
    await bench.hold({"path": "/ws/c"}, human=BOB)
    bob, carol = await bench.browser("os:bob"), await bench.browser("os:carol")
    text = (await bob.get("/")).text
    assert "Waiting for you 2" in text
    assert "Waiting for others 1" in text
    assert "Look at 2 together" in text
    page = await carol.get("/")
    assert "Waiting for you 3" in page.text
    assert "Waiting for others" not in page.text
    assert page.text.startswith("(3) Approvals")


async def test_an_empty_room_says_so() -> None:
    """Each list has its sentence for nothing."""
    bob = await Bench().browser("os:bob")
    for path, said in {
        "/": "Nothing waits for you",
        "/approvals/answered": "You have answered nothing",
        "/approvals/ahead": "Nothing is approved ahead",
        "/approvals/unknown": "The outcome of everything",
        "/approvals/people": "Over the newest 0 holds",
    }.items():
        page = await bob.get(path)
        assert (page.status, said in page.text) == (200, True), path


async def test_what_is_over_waits_for_nobody() -> None:
    """A hold that expired, or whose task did, is in no list, and its page has no form."""
    bench = Bench()
    hold = await bench.hold()
    other = await bench.hold(ttl_s=60)
    bob = await bench.browser("os:bob")
    assert "Waiting for you 2" in (await bob.get("/")).text
    bench.house.clock.advance(61_000)
    assert "Waiting for you 1" in (await bob.get("/")).text
    bench.house.clock.advance(900_000)
    text = (await bob.get("/")).text
    assert "Waiting for you 0" in text
    page = await bob.get(f"/holds/{hold.id}")
    assert "this hold is expired" in page.text
    assert f"/holds/{hold.id}" not in page.forms()
    assert kept(bench, other).status is HoldStatus.PENDING


async def test_an_outcome_nobody_knows_is_settled_by_a_person() -> None:
    """It is listed with what it was; a word that is none of ours settles nothing; then it is gone, and on record with the note."""
    bench = Bench()
    hold = await bench.hold({"path": "/ws/a"})
    bob = await bench.browser("os:bob")
    await bob.answer(hold, "approve")
    house = bench.house
    task = house.store.task(hold.task)
    assert task is not None
    real = house.store.commit

    async def lost(batch: Batch) -> Any:
        ends = [
            ExecutionEnded(execution=one.execution, outcome="indeterminate") if isinstance(one, ExecutionEnded) else one
            for one in batch.records
        ]
        return await real(Batch(at_ms=batch.at_ms, records=tuple(ends), payloads=batch.payloads, key=batch.key))

    house.store.commit = lost  # type: ignore[method-assign]
    await house.call(task, WRITE, {"path": "/ws/a"})
    house.store.commit = real  # type: ignore[method-assign]
    [started] = house.store.indeterminate()
    page = await bob.get("/approvals/unknown")
    assert "write-file/v1.2" in page.text
    assert "Unknown outcomes 1" in page.text
    action = f"/approvals/unknown/{started.execution}"
    assert (await bob.post(action, {**page.form(action), "outcome": "whatever"})).status == 400
    done = await bob.post(action, {**page.form(action), "outcome": "confirmed", "note": "the file is there"})
    assert (done.status, done.path) == (303, "/approvals/unknown")
    [record] = records(bench, ExecutionReconciled)
    assert (record.execution, record.outcome, record.by, record.note) == (
        ExecutionId(started.execution),
        "confirmed",
        "os:bob",
        "the file is there",
    )
    assert (await bob.post(action, {**page.form(action), "outcome": "refuted"})).status == 409


# -- together ----------------------------------------------------------------------------------------------------------------


async def test_related_holds_are_answered_together_each_for_itself() -> None:
    """Every one in full with its seal; one that has changed or is gone meanwhile is not done, and the others are."""
    bench = Bench()
    task = await bench.house.task()
    asked = [await bench.ask(task, {"path": f"/ws/{n}", "content": f"text {n}"}) for n in range(3)]
    bob, carol = await bench.browser("os:bob"), await bench.browser("os:carol")
    at = f"/holds/{asked[0].id}/together"
    page = await bob.get(at)
    assert all(f"text {n}" in page.text for n in range(3))
    form = page.form("/holds/together")
    assert {name: seal for name, seal in form.items() if name != "csrf"} == {
        f"seal.{one.id}": seal_of(one) for one in asked
    }
    assert (await bob.post("/holds/together", {**form, "answer": "approve"})).status == 409
    await carol.answer(asked[1], "deny")
    form[f"seal.{asked[2].id}"] = seal_of(asked[0])
    done = await bob.post("/holds/together", {**form, "answer": "approve", "seen_end": "yes"})
    assert done.status == 200
    assert [kept(bench, one).status.value for one in asked] == ["approved", "denied", "pending"]
    assert "action_hash_mismatch" in done.text
    assert (await bob.post("/holds/together", {"csrf": form["csrf"], "answer": "deny"})).status == 400


async def test_not_more_together_than_anybody_reads() -> None:
    """Twenty at the most, the rest is said; too long ones, and those that need a signature each, are not offered."""
    bench = Bench()
    tasks = [await bench.house.task() for _ in range(2)]
    asked = [await bench.ask(task, {"path": f"/ws/{n}"}) for task in tasks for n in range(11)]
    bob = await bench.browser("os:bob")
    page = await bob.get(f"/holds/{asked[0].id}/together")
    assert page.html.count("End of action") == holds.MOST_TOGETHER
    assert "2 more wait after these" in page.text
    forged = {f"seal.{one.id}": seal_of(one) for one in asked}
    sent = {**forged, "csrf": page.form("/logout")["csrf"], "answer": "approve", "seen_end": "yes"}
    assert (await bob.post("/holds/together", sent)).status == 400
    long = Bench()
    task = await long.house.task()
    first = await long.ask(task, {"path": "/ws/a", "content": "x" * 40_000})
    await long.ask(task, {"path": "/ws/b", "content": "y" * 40_000})
    assert (await (await long.browser("os:bob")).get(f"/holds/{first.id}/together")).status == 409
    strong = Bench(**{"policies/main.cedar": STRONG})
    first = await strong.hold()
    bob = await strong.browser("os:bob")
    page = await bob.get(f"/holds/{first.id}/together")
    assert (page.status, "One by one" in page.text) == (409, True)
    sent = {
        f"seal.{first.id}": seal_of(first),
        "csrf": page.form("/logout")["csrf"],
        "answer": "approve",
        "seen_end": "yes",
    }
    assert "open it by itself" in (await bob.post("/holds/together", sent)).text
    assert kept(strong, first).status is HoldStatus.PENDING


# -- break-glass -------------------------------------------------------------------------------------------------------------


async def test_an_override_is_a_hold_for_those_who_may() -> None:
    """From a deny of policy, by number; another request's number, and what is no deny, open nothing."""
    bench = Bench()
    task = await bench.house.task()
    await bench.house.call(task, "erase", {})
    entries = [(entry, bundles_record(entry)) for entry in bench.house.store.entries()]
    [(seq, made)] = [(entry.seq, one) for entry, one in entries if getattr(one, "outcome", "") == "deny"]
    olga = await bench.browser("os:olga")
    token = (await olga.get("/")).form("/logout")["csrf"]
    for request, number in (("other", seq), (made.request, seq - 1), (made.request, "x"), (made.request, "-1")):
        page = await olga.post(f"/requests/{request}/override", {"csrf": token, "seq": str(number)})
        assert page.status in {400, 409}, (request, number)
    assert bench.house.store.holds(pending_only=True) == []
    page = await olga.post(f"/requests/{made.request}/override", {"csrf": token, "seq": str(seq)})
    [hold] = bench.house.store.holds(pending_only=True)
    assert (page.status, page.path) == (303, f"/holds/{hold.id}")
    text = (await olga.get(f"/holds/{hold.id}")).text
    assert "Policy denies this" in text
    assert hold.override


def bundles_record(entry: Any) -> Any:
    """The record of an entry."""
    from lictor.model.record import decode_entry

    return decode_entry(entry.data).record


# -- many --------------------------------------------------------------------------------------------------------------------

MANY_OPEN = 1_000


async def flood(store: Any, first: Hold) -> None:
    """A thousand open holds like one, as tasks of many agents would leave them; none has a payload of its own."""
    made = [
        HoldOpened(
            hold=replaced(first, id=HoldId(f"hold_{n:04}"), digest=f"sha256:{n:064}", request=RequestId(f"req_{n}"))
        )
        for n in range(MANY_OPEN - 1)
    ]
    for part in itertools.batched(made, 100) if hasattr(itertools, "batched") else _parts(made, 100):
        await store.commit(Batch(at_ms=first.opened_at_ms, records=tuple(part)))


def _parts(found: list[Any], size: int) -> Any:
    return (found[at : at + size] for at in range(0, len(found), size))


async def test_a_thousand_open_holds_are_listed_without_opening_one(monkeypatch: pytest.MonkeyPatch) -> None:
    """No payload is read for any list, fifty rows make a page, and every hold is on one of them."""
    bench = Bench()
    await flood(bench.house.store, await bench.hold())
    bob = await bench.browser("os:bob")
    opened: list[str] = []
    real = bench.house.store.payload
    monkeypatch.setattr(bench.house.store, "payload", lambda request: opened.append(request) or real(request))
    page = await bob.get("/")
    assert "Waiting for you 1000" in page.text
    assert "1 to 50 of 1000" in page.text
    seen = set()
    for start in range(0, MANY_OPEN, 50):
        rows = {line for line in (await bob.get(f"/?from={start}")).html.split('href="') if line.startswith("/holds/")}
        found = {row.partition('"')[0] for row in rows if "/together" not in row.partition('"')[0]}
        assert len(found) == 50
        seen |= found
    assert len(seen) == MANY_OPEN
    for path in ("/approvals/answered", "/approvals/people", "/approvals/ahead", "/approvals/unknown"):
        assert (await bob.get(path)).status == 200
    assert opened == []


# -- pure --------------------------------------------------------------------------------------------------------------------

APPROVED = Approval(
    id=ApprovalId("a"),
    hold=HoldId("h"),
    digest="sha256:0",  # type: ignore[arg-type]
    approver=BOB,
    groups=("money", "owner"),
    given_at_ms=10_000,
    expires_at_ms=20_000,
)
PLAIN = Hold(
    id=HoldId("h"),
    request=RequestId("r"),
    digest="sha256:0",  # type: ignore[arg-type]
    task="t",  # type: ignore[arg-type]
    agent="coder",  # type: ignore[arg-type]
    human="os:alice",  # type: ignore[arg-type]
    kind="tool",  # type: ignore[arg-type]
    server="fs",  # type: ignore[arg-type]
    name=WRITE,
    groups=(("owner",),),
    opened_at_ms=4_000,
    expires_at_ms=50_000,
    decision=DecisionId("d"),
)


def test_who_always_says_yes_is_marked() -> None:
    """Many answers, never no; one no takes the mark away; what was approved ahead is nobody's answer."""
    pdp = bundles.pdp()
    yes = replaced(PLAIN, status=HoldStatus.CONSUMED, approval=APPROVED)
    no = replaced(PLAIN, status=HoldStatus.DENIED, answered_by=BOB, answered_at_ms=9_000)
    by = {one.person: one for one in figures(pdp, [yes] * MANY)}
    assert (by[BOB].always, by[BOB].share, by[BOB].median_ms, by[BOB].asked) == (True, 100, 6_000, MANY)
    assert not any(one.always for one in figures(pdp, [yes] * (MANY - 1)))
    by = {one.person: one for one in figures(pdp, [*[yes] * MANY, no])}
    assert (by[BOB].always, by[BOB].no) == (False, 1)
    ahead = Approval(**{**{name: getattr(APPROVED, name) for name in APPROVED.__struct_fields__}, "allowance": "alw_1"})
    by = {one.person: one for one in figures(pdp, [replaced(PLAIN, status=HoldStatus.CONSUMED, approval=ahead)] * MANY)}
    assert by[BOB].answered == 0


PEOPLE = st.sampled_from(["os:alice", "os:bob", "os:carol", "os:nobody"])
NEEDS = st.builds(
    Need, groups=st.sampled_from([("owner",), ("money",), ("owner", "money"), ("none",)]), people=st.integers(1, 3)
)


@given(st.lists(st.tuples(PEOPLE, NEEDS, st.booleans()), max_size=6), PEOPLE)
@settings(max_examples=200)
def test_every_open_hold_is_in_exactly_one_list(asked: list[tuple[str, Need, bool]], person: str) -> None:
    """Never lost, never twice; and mine are exactly those that `why_not` has nothing against."""
    pdp = bundles.pdp()
    found = [
        replaced(PLAIN, id=HoldId(f"h{n}"), human=HumanId(human), needs=(need,), given=(APPROVED,) if given_ else ())
        for n, (human, need, given_) in enumerate(asked)
    ]
    sorted_ = waiting.sort_out(pdp, found, HumanId(person))
    assert sorted({*sorted_.mine, *sorted_.others}, key=lambda one: one.id) == found
    assert len(sorted_.mine) + len(sorted_.others) == len(found)
    assert all(not waiting.why_not(pdp, one, HumanId(person)) for one in sorted_.mine)


async def test_the_list_is_quick_on_a_real_disk(tmp_path: Path) -> None:
    """A thousand rows of SQLite are one query: what a list costs is counted in reads of the store, not in seconds."""
    bench = Bench()
    first = await bench.hold()
    store = SqliteStore(tmp_path / "log", signer=Ed25519PrivateKey.generate(), origin="test/log")
    try:
        for entry in bench.house.store.entries():
            record = bundles_record(entry)
            if not isinstance(record, ApprovalGiven):
                await store.commit(Batch(at_ms=bench.house.clock.now_ms(), records=(record,)))
        await flood(store, first)
        reads: list[str] = []
        real = store._all
        store._all = lambda sql, *more: reads.append(sql) or real(sql, *more)  # type: ignore[method-assign]
        begun = time.perf_counter()
        found = waiting.open_holds(store, bench.house.clock.now_ms())
        print(f"{len(found)} open holds in {(time.perf_counter() - begun) * 1_000:.0f} ms, {len(reads)} reads")
        assert len(found) == MANY_OPEN
        assert len(reads) <= 3
    finally:
        store.close()


async def test_a_view_says_nothing_when_the_payload_is_gone() -> None:
    """Erased arguments cannot be shown truthfully, so nothing is; the list shows the hold all the same."""
    bench = Bench()
    hold = await bench.hold()
    await bench.house.store.commit(erasure(hold.task, at=bench.house.clock.now_ms()))
    bob: Browser = await bench.browser("os:bob")
    assert (await bob.get("/")).status == 200
    page = await bob.get(f"/holds/{hold.id}")
    assert (page.status, "log_damaged" in page.text) == (409, True)
    with pytest.raises(Exception, match="are gone"):
        hold_view(bench.house.store, bench.house.policy.current(), hold, bench.house.clock.now_ms())
