"""The room of policy: what is in force and was, why a decision came out, and what if; nothing of it is recorded or runs."""

import re
from typing import Any

import pytest

from console.rooms_world import ALICE, APPROVER, AUTHOR, OPERATOR, Browser, console_of, replace, text_of, visitor, world
from lictor.console import policies_form as forms
from lictor.console import policies_whatif as what_if
from lictor.console.policies_asked import Asked, find
from lictor.console.policies_shelf import MAX_WAITING, Shelf, Volume
from lictor.console.policies_view import MAX_LINES, PER_FILE_PAGE, PER_PAGE, claims_of, lines_of, matching, policies_of
from lictor.model.decision import Deny
from lictor.model.errors import CallerError, StoreError
from lictor.model.ids import RequestId
from lictor.model.limits import Limits
from lictor.model.record import BundleActivated, BundleApproved, RequestReceived, decode_entry
from lictor.ports import Batch
from lictor.service.calls.deciding import decided_in_time
from lictor.service.evidence.shadow import Counts, InShadow
from recorded_world import (
    ASKED,
    CHANGED,
    ERASE,
    FETCH,
    GUEST,
    HELD_READ,
    NOTHING,
    POLICY,
    READ,
    RESOURCE,
    STRANGER,
    WRONG,
    Step,
    TrafficWorld,
    world_bundle,
)
from store_samples import erasure

HOSTILE = "<script>alert(1)</script>\u202e\u200bx"
LONG = Step("write-file/v1.2", (("path", "b"), ("content", "x" * 40_000)))
STEPS = (READ, FETCH, STRANGER, ASKED, GUEST, CHANGED, WRONG, NOTHING, ERASE, HELD_READ, RESOURCE)


async def busy(*steps: Step, **files: str | None) -> TrafficWorld:
    """A world in which these were asked."""
    made = await world(**files)
    for step in steps or STEPS:
        await made.step(step)
    return made


def requests(made: TrafficWorld) -> list[RequestReceived]:
    """Every request, in order."""
    found = [decode_entry(entry.data).record for entry in made.store.entries()]
    return [record for record in found if isinstance(record, RequestReceived)]


async def recorded(made: TrafficWorld, number: int = -1) -> Asked:
    """One of them, read back."""
    return await find(made.store, requests(made)[number].request)


_VOLUMES: dict[str, Volume] = {}


async def volume_of(made: TrafficWorld) -> Volume:
    """The world's bundle on a shelf, compiled once for all tests."""
    if made.bundle.revision not in _VOLUMES:
        _VOLUMES[made.bundle.revision] = await Shelf(made.store).volume(made.bundle.revision)
    return _VOLUMES[made.bundle.revision]


async def asked_again(made: TrafficWorld, number: int = -1, **fields: Any) -> what_if.Result:
    """What if, without a page."""
    one = await recorded(made, number)
    volume = await volume_of(made)
    form = replace(forms.form_of(one), **fields)
    return what_if.ask(one, form, volume, volume, Limits())


def assert_safe(page: str) -> None:
    """No markup of theirs and nothing hidden."""
    assert "<script>alert" not in page
    assert not {"\u202e", "\u200b", "\x1b"} & set(page)


# -- the bundle ------------------------------------------------------------------------------------------------------------


async def test_the_bundle_in_force_is_shown_with_how_often_policies_decided() -> None:
    """Revision, when, each policy with its words; counts are those of the log."""
    made = await busy(READ, READ, ERASE)
    browser = await visitor(made, APPROVER)
    page = text_of((await browser.get("/policy")).text)
    assert made.bundle.revision in page
    assert "Of the newest 3 decisions" in page.replace("Determined: of", "Of")
    rows = (await browser.get("/policy")).text
    row = next(part for part in rows.split("<tr>") if "id=erases" in part)
    assert re.search(r"Determined\W+class=\"num\">\s*1", row)
    assert "never" in text_of(row)


async def test_what_runs_in_shadow_is_said_with_its_figures() -> None:
    """Which candidate, how many differences, what it lacks, and where each stands; nothing where none is to run."""
    made = await busy(READ)
    assert "In shadow" not in (await (await visitor(made)).get("/policy")).text
    told = InShadow(f"../{HOSTILE}", None)
    page = await (await visitor(made, shadow=lambda: told)).get("/policy")
    assert "nothing is compared yet" in page.text
    assert "<script>alert" not in page.text
    counts = Counts(started_at_ms=made.clock.now_ms(), revision=made.bundle.revision, judged=340, differed=12)
    counts.trouble, counts.skipped = f"refused: {HOSTILE}", 7
    page = await (await visitor(made, shadow=lambda: InShadow("../candidate", counts))).get("/policy")
    words = text_of(page.text)
    assert "12 of 340 decisions would have come out otherwise" in words
    assert "7 entries of the log were skipped" in words
    assert made.bundle.revision[:19] in words
    assert "lictor shadow" in words
    assert "<script>alert" not in page.text
    assert 'href="/records?kind=signal.shadow_differed"' in page.text


async def test_search_narrows_and_pages_hold_a_bounded_number() -> None:
    """Words of id, reason, owner and text; effect; a bundle with many policies is paged."""
    many = "".join(
        f'@id("p/{number:04}") @reason("r{number}") @owner("alice")\nforbid (principal, action in [Action::"spends"], resource);\n'
        for number in range(PER_PAGE + 30)
    )
    made = await busy(READ, **{"policies/many.cedar": many})
    browser = await visitor(made)
    first = (await browser.get("/policy?q=p/")).text
    assert first.count("id=p/") == PER_PAGE or first.count("id=p%2F") == PER_PAGE
    assert "page=2" in first
    second = (await browser.get("/policy?q=p/&page=2")).text
    assert "p/0129" in text_of(second)
    assert "p/0001" not in text_of(second)
    policies = policies_of(made.bundle, {})
    assert [one.id for one in matching(policies, "NEVER", "")] == ["erases"]
    assert matching(policies, "never", "permit") == []
    assert (await browser.get("/policy?q=nothinghasthis&effect=odd&page=999999999")).status_code == 200
    over = await browser.get("/policy/one?id=p/0120")
    assert over.status_code == 303
    place = over.headers["location"]
    assert "page=2" in place
    assert place.endswith("#policy-p/0120")
    assert 'id="policy-p/0120"' in (await browser.get(place)).text
    assert PER_FILE_PAGE == 100


async def test_source_has_the_lines_of_the_file() -> None:
    """Line numbers are the file's own; the download is the very file, as an attachment."""
    made = await busy(READ)
    browser = await visitor(made)
    page = (await browser.get("/policy/file?path=policies/main.cedar")).text
    text = made.bundle.files["policies/main.cedar"].decode()
    line = text.split("\n").index('@id("erases")') + 1
    block = page.split('id="policy-erases"')[1].split("</section>")[0]
    assert f'start="{line}"' in block
    assert "@id" in text_of(block)
    done = await browser.get("/policy/file/download?path=policies/main.cedar")
    assert done.text == text
    assert done.headers["content-disposition"] == 'attachment; filename="policies_main.cedar"'
    assert done.headers["content-type"].startswith("text/plain")
    other = (await browser.get("/policy/file?path=agents.toml")).text
    assert 'id="L1"' in other
    assert "coder" in text_of(other)


ODD = [
    "/policy/file",
    "/policy/file?path=../../etc/passwd",
    "/policy/file?path=lictor.toml",
    f"/policy/file?path={'a' * 5_000}",
    "/policy/file/download?path=%00",
    "/policy/one?id=nothing",
    "/policy/one?id=reads&id=writes",
]


async def test_what_is_not_in_the_revision_is_not_found() -> None:
    """Only the revision's own files, by their exact names."""
    browser = await visitor(await busy(READ))
    for path in ODD:
        assert (await browser.get(path)).status_code == 404, path


async def test_an_older_revision_can_be_looked_at_and_says_that_it_is_old() -> None:
    """By its hash; one that was never kept is refused."""
    made = await busy(READ)
    newer = world_bundle(POLICY.replace("reading is fine", "reading is still fine"))
    made.store.keep_bundle(newer.revision, dict(newer.files))
    browser = await visitor(made)
    page = text_of(
        (await browser.get("/policy/file", params={"path": "policies/main.cedar", "revision": newer.revision})).text
    )
    assert "still fine" in page
    assert "is not in force now" in page
    assert (await browser.get("/policy/files", params={"revision": "sha256:" + "0" * 64})).status_code == 409
    made.store._bundles[newer.revision]["agents.toml"] = b"# other"  # type: ignore[attr-defined]
    fresh = await visitor(made)
    assert (await fresh.get("/policy/files", params={"revision": newer.revision})).status_code == 409


async def test_history_names_who_stood_for_a_change() -> None:
    """Activations and approvals, newest first, with what they widen."""
    made = await busy(READ)
    widens = (f"permits {HOSTILE}",)
    revision = made.bundle.revision
    records = (
        BundleApproved(revision=revision, previous=revision, by=OPERATOR, widens=widens, why="looked"),
        BundleActivated(revision=revision, previous=revision, files=7),
    )
    await made.store.commit(Batch(at_ms=made.clock.now_ms(), records=records))
    browser = await visitor(made)
    page = (await browser.get("/policy/history")).text
    assert_safe(page)
    assert "os:bob" in page
    assert "stands for it as the second person" in text_of(page)
    assert "os:bob" in text_of((await browser.get("/policy")).text)


async def test_checks_tell_lints_and_claims() -> None:
    """The same lints as the command's; the standing claims and the bundle's own; a broken file is said and not fatal."""
    made = await busy(READ, **{"policies/loose.cedar": '@id("loose")\npermit (principal, action, resource);\n'})
    own = f'[invariants.mine]\ntitle = "{HOSTILE}"\nwhen = "true"\nnever = "allow"\n[waived.labels_only_tighten]\nreason = "old"\n'.encode()
    page = (await (await visitor(made, invariants=lambda: own)).get("/policy/checks")).text
    assert_safe(page)
    text = text_of(page)
    for word in ("loose", "mine", "no_unapproved_destruction", "waived: old", "lictor policy prove"):
        assert word in text
    broken = (await (await visitor(made, invariants=lambda: b"[[[")).get("/policy/checks")).text
    assert "invariants.toml cannot be read" in text_of(broken)


@pytest.mark.parametrize(
    "own", [b"\xff", b"x" * 300_000, b"a = " + b"[" * 5_000, b"invariants = 3", b"[waived]\nx = 3"]
)
def test_any_file_of_claims_is_survived(own: bytes) -> None:
    """Whatever stands there, the standing claims are told."""
    claims, _ = claims_of(own)
    assert any(one.built_in for one in claims)


def test_a_long_file_is_cut_and_says_so() -> None:
    """Lines left out and lines cut are counted."""
    found = lines_of(b"x\n" * (MAX_LINES + 7) + b"")
    assert (len(found.lines), found.left_out, found.cut) == (MAX_LINES, 7, 0)
    assert lines_of(b"y" * 5_000).cut == 1


# -- why -------------------------------------------------------------------------------------------------------------------


async def test_every_kind_of_decision_is_explained() -> None:
    """Allowed, held, denied by policy or before it: the page has the answer, its reason and the policies."""
    made = await busy(READ, ASKED, CHANGED, ERASE)
    browser = await visitor(made, APPROVER)
    for number in range(4):
        one = await recorded(made, number)
        page = await browser.get(f"/policy/explain/{one.request.id}")
        assert page.status_code == 200
        text = text_of(page.text)
        assert one.made.reason in text
        for name in one.made.policies:
            assert name in text


async def test_the_smallest_change_is_told() -> None:
    """A stranger's fetch is denied because of what the task has seen; the page says what would have changed it."""
    made = await busy(FETCH, STRANGER)
    page = text_of((await (await visitor(made)).get(f"/policy/explain/{requests(made)[-1].request}")).text)
    assert "it would have been allowed if" in page
    assert "not met" in page


async def test_a_request_is_found_by_typing_its_id_and_nothing_else_is() -> None:
    """Unknown, erased, too long, of other characters: refused in words; the log is not walked for it."""
    made = await busy(READ)
    browser = await visitor(made)
    name = requests(made)[0].request
    assert (await browser.get("/policy/explain", params={"request": f" {name} "})).headers[
        "location"
    ] == f"/policy/explain/{name}"
    for odd in ("req_nobody", "x" * 100, "<b>", "../..", "%"):
        assert (await browser.get("/policy/explain", params={"request": odd})).status_code == 409
    store: Any = made.store
    await store.commit(erasure(store.tasks()[0].task.id))
    assert (await browser.get(f"/policy/explain/{name}")).status_code == 409


async def test_what_is_sealed_must_be_what_was_recorded() -> None:
    """Other arguments or other facts under the request's name are damage, not an explanation."""
    made = await busy(READ)
    name = requests(made)[0].request
    store: Any = made.store
    kept = store._payloads[name]
    for spoiled in (
        {"arguments": b'{"path":"other"}'},
        {"snapshot": kept.snapshot.replace(b'"development"', b'"other"')},
        {"snapshot": b"{}"},
    ):
        store._payloads[name] = type(kept)(
            request=kept.request,
            task=kept.task,
            arguments=spoiled.get("arguments", kept.arguments),
            snapshot=spoiled.get("snapshot", kept.snapshot),
        )
        with pytest.raises(StoreError):
            await find(made.store, name)
    store._payloads[name] = kept
    assert (await find(made.store, name)).request.id == name


async def test_finding_a_request_reads_a_bounded_part_of_a_long_log() -> None:
    """By its time: entries of other days are not read."""
    made = await busy(READ)
    for _ in range(60):
        made.clock.advance(3_600_000)
        records = tuple(BundleActivated(revision=made.bundle.revision, previous=None, files=1) for _ in range(50))
        await made.store.commit(Batch(at_ms=made.clock.now_ms(), records=records))
    read: list[int] = []
    store: Any = made.store
    plain = store.entries

    def counted(start: int = 0, stop: int | None = None) -> Any:
        for entry in plain(start, stop):
            read.append(entry.seq)
            yield entry

    store.entries = counted
    assert (await find(store, requests(made)[0].request)).seq == 3
    read.clear()
    await find(store, RequestId("req_1"))
    assert len(read) < 400


# -- what if ---------------------------------------------------------------------------------------------------------------


async def test_unchanged_facts_give_the_recorded_answer() -> None:
    """Of every kind of decision, with nothing said to be otherwise; `OTHERWISE` is the control."""
    made = await busy(*STEPS)
    for number in range(len(STEPS)):
        result = await asked_again(made, number)
        assert result.changed == ()
        assert result.assumed == ()
        assert (result.now.outcome, result.now.reason) == (result.was.outcome, result.was.reason)
        assert [one.id for one in result.now.policies] == [one.id for one in result.was.policies]


OTHERWISE: list[tuple[Step, dict[str, Any], str, str]] = [
    (READ, {"restrictions": frozenset({"suspended"})}, "deny", "contained"),
    (READ, {"restrictions": frozenset({"step_up"})}, "needs_approval", "contained"),
    (ASKED, {"restrictions": frozenset({"read_only"})}, "deny", "contained"),
    (HELD_READ, {"restrictions": frozenset()}, "allow", "permitted"),
    (ASKED, {"approval": "people", "people": "os:carol"}, "allow", "permitted"),
    (ASKED, {"approval": "people", "people": "os:bob, os:carol", "strength": "3"}, "allow", "permitted"),
    (ASKED, {"approval": "people", "people": "os:dora"}, "deny", "not_permitted"),
    (STRANGER, {"labels": ""}, "allow", "permitted"),
    (FETCH, {"arguments": '{"url": "https://evil.example/x"}', "labels": "untrusted:web"}, "deny", "forbidden"),
    (READ, {"arguments": '{"nothing": 1}'}, "deny", "invalid_arguments"),
    (READ, {"time": "2027-06-01T00:00:00"}, "deny", "agent_review_overdue"),
    (READ, {"time": "2026-11-22T12:00:00"}, "deny", "task_expired"),
]


@pytest.mark.parametrize(("step", "fields", "outcome", "reason"), OTHERWISE)
async def test_one_other_fact_gives_the_answer_it_would_have(
    step: Step, fields: dict[str, Any], outcome: str, reason: str
) -> None:
    """Each fact of the form is the fact that is decided on, and is listed as changed."""
    made = await busy(FETCH, step) if step is STRANGER else await busy(step)
    result = await asked_again(made, **fields)
    assert (result.now.outcome, result.now.reason) == (outcome, reason)
    assert result.changed
    assert (result.was.outcome, result.was.reason) != (outcome, reason)


async def test_the_agents_autonomy_is_what_policy_reads() -> None:
    """The registry's entity is another one, not only the snapshot's word; a number out of range is refused."""
    policy = (
        POLICY
        + '\n@id("tame") @reason("x") @owner("alice")\nforbid (principal, action, resource) when { principal.autonomy >= 4 };\n'
    )
    made = await busy(READ, **{"policies/main.cedar": policy})
    assert (await asked_again(made, autonomy="3")).now.outcome == "allow"
    result = await asked_again(made, autonomy="4")
    assert result.now.outcome == "deny"
    assert [one.id for one in result.now.policies] == ["tame"]
    for odd in ("6", "-1", "x", "٣", "1e1"):
        with pytest.raises(forms.WrongFormError):
            await asked_again(made, autonomy=odd)


async def test_groups_of_the_human_are_what_policy_reads() -> None:
    """As they are typed."""
    policy = POLICY + (
        '\n@id("staff") @reason("x") @owner("alice")\nforbid (principal, action, resource)'
        ' when { context.user.groups.contains("interns") };\n'
    )
    made = await busy(READ, **{"policies/main.cedar": policy})
    assert (await asked_again(made, groups="interns, others")).now.outcome == "deny"
    assert (await asked_again(made, groups="others")).now.outcome == "allow"


async def test_what_nobody_gathered_is_assumed_and_said() -> None:
    """Other arguments: where their values come from and what was counted for them is not known."""
    made = await busy(FETCH)
    result = await asked_again(made, arguments='{"url": "https://stranger.example/"}')
    assert any("seen nowhere" in one for one in result.assumed)
    assert not result.tells


async def test_another_policy_is_asked_with_the_facts_of_then() -> None:
    """The bundle in force instead of that of then; what only the new one asks for is said."""
    made = await busy(READ)
    newer = world_bundle(POLICY.replace('"coders"', '"nobody"'))
    made.store.keep_bundle(newer.revision, dict(newer.files))
    shelf = Shelf(made.store)
    then, now = await shelf.volume(made.bundle.revision), await shelf.volume(newer.revision)
    one = await recorded(made)
    result = what_if.ask(one, replace(forms.form_of(one), policy="now"), then, now, Limits())
    assert (result.was.outcome, result.now.outcome) == ("allow", "deny")
    assert result.changed[0].fact == "policy"


WRONG_FIELDS = [
    ({"arguments": "{"}, "arguments"),
    ({"arguments": "[1]"}, "arguments"),
    ({"arguments": '{"path": 1, "path": 2}'}, "arguments"),
    ({"arguments": '{"path": 1e999}'}, "arguments"),
    ({"arguments": "x" * (forms.MAX_ARGUMENTS + 1)}, "arguments"),
    ({"arguments": "[" * 20_000}, "arguments"),
    ({"time": "tomorrow"}, "time"),
    ({"time": "9999-12-31T23:59:59"}, "time"),
    ({"approval": "people", "people": ""}, "people"),
    ({"approval": "people", "people": "os:mallory"}, "people"),
    ({"approval": "people", "people": "os:bob", "strength": "4"}, "strength"),
    ({"labels": ",".join("x" * 10 for _ in range(500))}, "labels"),
    ({"groups": "g" * 300}, "groups"),
]


async def test_a_field_that_cannot_be_read_is_named() -> None:
    """By the page, with status 400, at the field; and by the use without one."""
    made = await busy(ASKED)
    one = await recorded(made)
    browser = await visitor(made)
    for fields, wrong in WRONG_FIELDS:
        with pytest.raises(forms.WrongFormError) as refused:
            await asked_again(made, **fields)
        assert refused.value.field == wrong
        page = await browser.post(f"/policy/what-if/{one.request.id}", {**sent(one), **fields})
        assert page.status_code == 400, fields
        assert re.search(rf'id="{wrong}"[^>]*aria-invalid="true"', page.text), fields


def sent(one: Asked, **fields: str) -> dict[str, str]:
    """The form as a browser sends it back."""
    form = forms.form_of(one)
    plain = {
        name: str(getattr(form, name)) for name in ("arguments", "labels", "groups", "autonomy", "approval", "people")
    }
    checked = {f"restrict_{name}": "yes" for name in form.restrictions}
    return {**plain, **checked, "strength": form.strength, "time": form.time, "policy": form.policy, **fields}


async def test_the_form_asks_and_nothing_is_recorded() -> None:
    """Two answers side by side; the log, the holds and the executions are as they were; sealed arguments are said to be opened."""
    made = await busy(ASKED)
    one = await recorded(made)
    browser = await visitor(made, AUTHOR)
    before = (made.store.size(), len(made.store.holds()), len(made.store.open_executions()))
    page = await browser.get(f"/policy/what-if/{one.request.id}")
    assert "opens sealed arguments" in text_of(page.text)
    same = text_of((await browser.post(f"/policy/what-if/{one.request.id}", sent(one))).text)
    assert "these are the facts it was decided on" in same
    other = await browser.post(f"/policy/what-if/{one.request.id}", sent(one, approval="people", people="os:bob"))
    text = text_of(other.text)
    assert "As it was decided needs approval" in text
    assert "As it would be allow" in text
    assert (made.store.size(), len(made.store.holds()), len(made.store.open_executions())) == before


async def test_what_if_is_for_authors_and_operators() -> None:
    """An approver and a plain viewer see neither the form nor an answer; a forged form asks nothing."""
    made = await busy(ASKED)
    one = await recorded(made)
    path = f"/policy/what-if/{one.request.id}"
    for person, status in ((OPERATOR, 200), (AUTHOR, 200), (APPROVER, 403), (ALICE, 403)):
        browser = await visitor(made, person)
        assert (await browser.get(path)).status_code == status, person
        assert (await browser.post(path, sent(one))).status_code == status, person
        assert ("/policy/what-if/" in (await browser.get("/policy")).text) is (status == 200)
    browser = await visitor(made, OPERATOR)
    assert (await browser.post(path, sent(one), csrf="forged")).status_code == 403
    assert (await Browser(console_of(made)).get(path)).status_code == 303


async def test_hostile_arguments_are_opened_as_what_they_are() -> None:
    """In the form as escapes of JSON, elsewhere as the display writes them; what comes back is the same action."""
    step = Step("write-file/v1.2", (("path", f"{HOSTILE}\x7f\u0430"), ("content", "</textarea><b>")))
    made = await busy(step)
    one = await recorded(made)
    browser = await visitor(made)
    page = (await browser.get(f"/policy/what-if/{one.request.id}")).text
    assert_safe(page)
    assert "<b>" not in page
    assert "\\u202e" in page
    assert "\\u007f" in page
    assert_safe((await browser.get(f"/policy/explain/{one.request.id}")).text)
    crlf = sent(one)["arguments"].replace("\n", "\r\n")
    back = text_of((await browser.post(f"/policy/what-if/{one.request.id}", sent(one, arguments=crlf))).text)
    assert "these are the facts it was decided on" in back


async def test_long_arguments_stay_as_they_were() -> None:
    """They are too long for a form; everything else can be otherwise."""
    made = await busy(LONG)
    one = await recorded(made)
    browser = await visitor(made)
    page = (await browser.get(f"/policy/what-if/{one.request.id}")).text
    assert "too long for a form" in text_of(page)
    assert len(page) < 60_000
    back = await browser.post(f"/policy/what-if/{one.request.id}", sent(one, restrict_suspended="yes"))
    assert "contained" in text_of(back.text)


async def test_a_form_beyond_its_bound_asks_nothing() -> None:
    """It reads as empty, so even its token is not there."""
    made = await busy(ASKED)
    one = await recorded(made)
    browser = await visitor(made)
    reply = await browser.post(f"/policy/what-if/{one.request.id}", sent(one, arguments="x" * (forms.MAX_FORM + 1)))
    assert reply.status_code == 403


async def test_a_late_answer_is_a_denial_as_for_agents() -> None:
    """The decision's deadline holds here too."""
    made = await busy(READ)
    one = await recorded(made)
    volume = await volume_of(made)
    limits = Limits(decide_timeout_s=1e-9)
    result = what_if.ask(one, forms.form_of(one), volume, volume, limits)
    assert (result.now.outcome, result.now.reason) == ("deny", "policy_timeout")
    late = decided_in_time(volume.pdp, one.request, one.snapshot, one.snapshot.encode(), 1e-9)
    assert isinstance(late, Deny)


async def test_the_engine_in_force_is_never_asked() -> None:
    """What a page asks is asked of a bundle of its own, so that it never waits for agents, nor they for it."""
    made = await busy(READ)
    console = console_of(made)

    class Untouchable:
        def __getattr__(self, name: str) -> Any:
            raise AssertionError(name)

    console.policy.swap(replace(made.pdp, engine=Untouchable()))
    browser = await Browser(console).sign_in(OPERATOR)
    name = requests(made)[0].request
    assert (await browser.get(f"/policy/explain/{name}")).status_code == 200
    assert (await browser.post(f"/policy/what-if/{name}", sent(await recorded(made)))).status_code == 200


async def test_those_who_wait_are_bounded() -> None:
    """One thread does what pages ask; a crowd is told to come back."""
    made = await busy(READ)
    shelf = Shelf(made.store)
    shelf._waiting = MAX_WAITING
    with pytest.raises(CallerError):
        await shelf.work(lambda: None)
