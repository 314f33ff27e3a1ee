"""What a hostile reader tried against approvals: an effect nobody said yes to, or a yes to something else than what runs."""

import resource
import sqlite3
from pathlib import Path
from typing import Any

import msgspec
import pytest

import bundles
from lictor.model.action import ActionKind as Kind
from lictor.model.action import ActionRequest, SealedArguments
from lictor.model.approval import Hold, HoldStatus, Strength, Terms, seal_of
from lictor.model.catalog import CommandSelector, SqlSelector
from lictor.model.containment import Restriction, Scope
from lictor.model.errors import CallerError
from lictor.model.ids import AgentId, HumanId, InstanceId, RequestId, ServerName
from lictor.model.limits import Limits
from lictor.model.preview import Precondition, Preview
from lictor.model.preview_rule import CommandPreview, SqlPreview
from lictor.model.reasons import Reason
from lictor.model.record import (
    AllowanceGiven,
    AllowanceRevoked,
    ApprovalGiven,
    ApprovalWithdrawn,
    DecisionMade,
    DenyOverridden,
    ExecutionEnded,
    ExecutionStarted,
    HoldDenied,
    HoldOpened,
    decode_entry,
    encode_entry,
)
from lictor.model.task import Budget, Task
from lictor.pdp.decide import Pdp
from lictor.policy.compile import compile_bundle
from lictor.ports import Batch, StoredEntry
from lictor.previews.parts import MAX_BYTES, Found
from lictor.previews.settings import SqliteAuthority
from lictor.previews.statement import inserted, plain_change
from lictor.service.calls.authorize import Authorize, Granted, Held, Outcome, Refused
from lictor.service.calls.requests import held_preview
from lictor.service.containment.contain import Contain
from lictor.service.evidence.consistency import inconsistencies
from lictor.service.evidence.replay import Replay, ReplayStatus
from lictor.service.people.approve import Answer, Proof
from lictor.service.people.override import Override
from lictor.service.people.reconcile import Reconcile
from lictor.service.policy import PolicyInForce
from lictor.service.tasks.tasks import Tasks
from lictor.stores.memory import MemoryStore
from lictor.testing.clock import ManualClock
from lictor.testing.ids import SequenceIds
from previews_world import Bench, entry, told

BOB, CAROL, DAVE = HumanId("os:bob"), HumanId("os:carol"), HumanId("os:dave")
APPROVERS = """\
overriders = ["glass"]

[approvers."os:bob"]
groups = ["money", "owner"]

[approvers."os:carol"]
groups = ["owner"]

[approvers."os:dave"]
groups = ["glass", "money"]
"""
POLICY = """\
@id("fetches")
@reason("the owner looks")
@owner("alice")
permit (principal, action == Action::"fs/fetch", resource)
when { context has approval && context.approval.groups.contains("owner") };

@id("far")
@reason("money pays for what is far")
@owner("alice")
forbid (principal, action == Action::"fs/fetch", resource)
when { context.task.calls > 1 }
unless { context has approval && context.approval.groups.contains("money") };

@id("pays")
@reason("money")
@owner("alice")
permit (principal, action == Action::"fs/pay", resource)
when { context has approval && context.approval.groups.contains("money") };

@id("reads")
@reason("reading is fine")
@owner("alice")
permit (principal, action == Action::"fs/read_file", resource);

@id("erases")
@reason("never")
@owner("alice")
forbid (principal, action in [Action::"destructive"], resource);

@id("busy")
@reason("never after it has begun")
@owner("alice")
forbid (principal, action in [Action::"destructive"], resource)
when { context.task.calls > 1 };
"""


class Desk:
    """Use cases over one store."""

    def __init__(self, policy: str = POLICY, store: MemoryStore | None = None, **changes: str | None) -> None:
        bundle = bundles.bundle(policy, **{"approvers.toml": APPROVERS, **changes})
        self.pdp: Pdp = compile_bundle(bundle)
        self.store, self.clock, self.ids = store or MemoryStore(), ManualClock(bundles.NOW), SequenceIds()
        self.store.keep_bundle(bundle.revision, dict(bundle.files))
        in_force = PolicyInForce(self.pdp)
        parts: dict[str, Any] = {"store": self.store, "policy": in_force, "clock": self.clock, "ids": self.ids}
        self.tasks = Tasks(**parts, limits=Limits())
        self.answer = Answer(**parts, limits=Limits())
        self.override = Override(**parts, limits=Limits())
        self.contain = Contain(store=self.store, clock=self.clock, ids=self.ids)
        self.reconcile = Reconcile(store=self.store, policy=in_force, clock=self.clock)
        self.authorize = Authorize(**parts, limits=Limits(), instance=InstanceId("ins"))

    async def task(self, human: str = "os:alice") -> Task:
        opened = await self.tasks.open(
            agent=AgentId("coder"), human=HumanId(human), purpose="development", trusted_text="", ttl_s=28_000,
            budget=Budget(calls=100, value={"EUR": 100_000}), audience="local", by="test", token=False,
        )  # fmt: skip
        return opened.task

    async def ask(self, task: Task, name: str, **arguments: Any) -> Outcome:
        self.clock.advance(100)
        request = ActionRequest.make(
            id=RequestId(self.ids.new("req")), kind=Kind.TOOL, server=ServerName("fs"), name=name,
            arguments=SealedArguments.seal(arguments), agent=task.agent, human=task.human, task=task.id,
        )  # fmt: skip
        offering = self.pdp.offering(request.kind, request.server, request.name)
        return await self.authorize(request, definition=offering.entry.pin if offering else None)

    async def held(self, task: Task, name: str, **arguments: Any) -> Hold:
        outcome = await self.ask(task, name, **arguments)
        assert isinstance(outcome, Held), outcome
        return outcome.hold

    async def yes(self, hold: Hold, human: HumanId, strength: Strength = Strength.LOGIN, note: str = "") -> Hold:
        current = self.store.hold(hold.id)
        assert current is not None
        seal = seal_of(current)
        signed = seal if strength >= Strength.PASSKEY else None
        return await self.answer.approve(hold.id, Proof(human=human, strength=strength, signed=signed), seal, note)

    async def ahead(self, hold: Hold, human: HumanId, *, most: int = 5, value: int = 0) -> Any:
        terms = Terms(most=most, most_value=value, until_ms=self.clock.now_ms() + 3_600_000, this_task=False)
        return await self.answer.allow_ahead(hold.id, Proof(human=human, strength=Strength.LOGIN), seal_of(hold), terms)

    async def denied(self, task: Task) -> int:
        """The entry of a fresh deny."""
        outcome = await self.ask(task, "erase")
        assert isinstance(outcome, Refused)
        entries = self.store.entries()
        return max(entry.seq for entry in entries if isinstance(decode_entry(entry.data).record, DecisionMade))


async def refused(work: Any) -> Reason:
    with pytest.raises(CallerError) as caught:
        await work
    return caught.value.reason


# -- approved ahead --------------------------------------------------------------------------------------------------------


async def test_what_was_approved_ahead_does_not_step_up() -> None:
    """A restriction that wants a person to look at each action is not met by a yes given before it was laid."""
    desk = Desk()
    task = await desk.task()
    await desk.ahead(await desk.held(task, "fetch", url="https://docs.example/a"), BOB)
    fresh = await desk.task()
    assert isinstance(await desk.ask(fresh, "fetch", url="https://docs.example/b"), Granted)
    await desk.contain.lay(Scope.EVERYTHING, "", Restriction.STEP_UP, by="os:carol", why="odd")
    assert isinstance(await desk.ask(await desk.task(), "fetch", url="https://docs.example/c"), Held)
    assert {one.status for one in Replay(desk.store, lambda *_: desk.pdp)()} == {ReplayStatus.IDENTICAL}


async def test_an_allowance_counts_as_the_groups_that_were_asked() -> None:
    """Bob is in two groups and was asked as one of them: what wants the other as well is asked about."""
    desk = Desk()
    task = await desk.task()
    hold = await desk.held(task, "fetch", url="https://docs.example/a")
    assert [way.groups for way in hold.ways] == [("owner",)]
    await desk.ahead(hold, BOB)
    assert isinstance(await desk.ask(task, "fetch", url="https://docs.example/a"), Granted)
    second = await desk.held(task, "fetch", url="https://docs.example/b")
    assert [way.groups for way in second.ways] == [("money", "owner")]


async def test_an_allowance_of_value_does_not_cover_what_says_no_value_any_more() -> None:
    """The catalogue stops reading the amount: any amount would fit."""
    store = MemoryStore()
    desk = Desk(store=store)
    await desk.ahead(await desk.held(await desk.task(), "pay", amount="1.00"), BOB, value=200)
    blind = bundles.CATALOGUE.replace('value = { amount = "/amount", currency = "EUR", currencies = ["EUR"] }\n', "")
    assert blind != bundles.CATALOGUE
    later = Desk(store=store, **{"catalog/fs.toml": blind})
    later.ids, later.clock = desk.ids, desk.clock
    later = _same_clock(later, desk)
    assert isinstance(await later.ask(await later.task(), "pay", amount="1.00"), Held)


def _same_clock(later: Desk, desk: Desk) -> Desk:
    for use_case in (later.tasks, later.answer, later.authorize):
        use_case._clock, use_case._ids = desk.clock, desk.ids  # type: ignore[attr-defined]
    later.authorize._gather._clock = desk.clock
    return later


async def test_an_allowance_for_one_branch_covers_no_other_and_no_force() -> None:
    """Approved ahead: pushes to a branch. What it reaches is the ref, and how, and not the repository alone."""
    push = bundles.FETCH | {
        "name": "push",
        "inputSchema": {
            "type": "object",
            "properties": {"remote": {"type": "string"}, "ref": {"type": "string"}, "force": {"type": "boolean"}},
            "required": ["remote", "ref"],
        },
    }
    catalogue = bundles.CATALOGUE + (
        '\n[tools.push]\neffect = "write"\npin = "' + bundles.pin_of(push) + '"\n'
        'destination = { git = "/remote", ref = "/ref", force = "/force" }\n'
    )
    definitions = msgspec.json.decode(bundles.FILES["catalog/fs.definitions.json"])
    definitions["tools"].append(push)
    policy = POLICY + (
        '\n@id("pushes")\n@reason("the owner looks")\n@owner("alice")\n'
        'permit (principal, action == Action::"fs/push", resource)\nwhen { context has approval };\n'
    )
    files = {"catalog/fs.toml": catalogue, "catalog/fs.definitions.json": msgspec.json.encode(definitions).decode()}
    desk = Desk(policy, **files)
    task, remote = await desk.task(), "https://github.com/o/r.git"
    await desk.ahead(await desk.held(task, "push", remote=remote, ref="feature"), BOB)
    assert isinstance(await desk.ask(await desk.task(), "push", remote=remote, ref="feature"), Granted)
    for other in ({"ref": "main"}, {"ref": "feature", "force": True}, {"ref": "+feature"}, {"ref": ":feature"}):
        assert isinstance(await desk.ask(await desk.task(), "push", remote=remote, **other), Held), other


# -- break-glass -----------------------------------------------------------------------------------------------------------


async def test_an_override_is_good_against_the_deny_that_was_shown_and_no_other() -> None:
    """Another policy denies by the time it is used, which nobody overrode."""
    desk = Desk()
    task = await desk.task()
    hold = await desk.override.open(await desk.denied(task), DAVE)
    await desk.yes(hold, DAVE, Strength.PASSKEY, "the disk is on fire")
    assert isinstance(await desk.ask(task, "read_file", path="/a"), Granted)
    outcome = await desk.ask(task, "erase")
    assert isinstance(outcome, Refused)
    assert outcome.reason is Reason.PRECONDITION_CHANGED
    assert desk.store.hold(hold.id).status is HoldStatus.EXPIRED  # type: ignore[union-attr]
    again = await desk.override.open(await desk.denied(task), DAVE)
    await desk.yes(again, DAVE, Strength.PASSKEY, "it still is")
    assert isinstance(await desk.ask(task, "erase"), Granted), "control: both denies were shown"


async def test_an_override_does_not_outlive_the_bundle_it_is_over() -> None:
    """The forbid was written anew meanwhile: what its id stood for was overridden, not what it stands for now."""
    store = MemoryStore()
    desk = Desk(store=store)
    task = await desk.task()
    hold = await desk.override.open(await desk.denied(task), DAVE)
    await desk.yes(hold, DAVE, Strength.PASSKEY, "the disk is on fire")
    later = _same_clock(Desk(POLICY.replace('@reason("never")', '@reason("not now")'), store), desk)
    later.clock, later.ids = desk.clock, desk.ids
    outcome = await later.ask(task, "erase")
    assert isinstance(outcome, Refused)
    assert outcome.reason is Reason.PRECONDITION_CHANGED


# -- who says what became of it --------------------------------------------------------------------------------------------


async def test_nobody_gives_themselves_their_budget_back() -> None:
    """The human behind a task is an approver too: that it never happened is for somebody else to say."""
    desk = Desk()
    task = await desk.task(human="os:bob")
    hold = await desk.held(task, "pay", amount="7.00")
    await desk.yes(hold, DAVE)
    outcome = await desk.ask(task, "pay", amount="7.00")
    assert isinstance(outcome, Granted)
    execution = outcome.grant.execution
    ended = ExecutionEnded(execution=execution, outcome="indeterminate")
    await desk.store.commit(Batch(at_ms=desk.clock.now_ms(), records=(ended,)))
    assert await refused(desk.reconcile(execution, BOB, "refuted")) is Reason.APPROVER_IS_REQUESTER
    assert desk.store.task(task.id).value_used == {"EUR": 700}  # type: ignore[union-attr]
    await desk.reconcile(execution, CAROL, "refuted")
    assert desk.store.task(task.id).value_used == {"EUR": 0}  # type: ignore[union-attr]


# -- what the log shows ----------------------------------------------------------------------------------------------------


def forged(desk: Desk, *, without: type | None = None, **changed: Any) -> list[str]:
    """What verification says of the log with kinds of records left out, or members of records changed."""
    entries = []
    for stored in desk.store.entries():
        decoded = decode_entry(stored.data)
        record = decoded.record
        if without is not None and isinstance(record, without):
            continue
        new = {name: value for name, value in changed.items() if isinstance(record, ExecutionStarted)}
        record = msgspec.structs.replace(record, **new) if new else record
        entries.append(StoredEntry(len(entries), encode_entry(decoded.at, record), b""))
    return [one.message for one in inconsistencies(entries)]


async def test_the_log_shows_an_allowance_that_never_was_or_was_used_up() -> None:
    """Control: as it is, nothing is found."""
    desk = Desk()
    task = await desk.task()
    allowance = await desk.ahead(await desk.held(task, "fetch", url="https://docs.example/a"), BOB, most=1)
    assert isinstance(await desk.ask(await desk.task(), "fetch", url="https://docs.example/b"), Granted)
    assert forged(desk) == []
    assert any("never given" in one for one in forged(desk, without=AllowanceGiven))
    assert any("had not approved" in one for one in forged(desk, without=ApprovalGiven))
    assert any("does not cover its value" in one for one in forged(desk, value=5, currency="EUR"))
    start = next(entry for entry in desk.store.entries() if b"execution.started" in entry.data)
    over = AllowanceRevoked(allowance=allowance.id, by=BOB)
    entries = [*desk.store.entries()]
    entries.insert(start.seq - 2, StoredEntry(0, encode_entry(bundles.NOW, over), b""))
    assert any("which was over" in one.message for one in inconsistencies(entries))
    twice = [*desk.store.entries(), start]
    assert any("which was over" in one.message or "used before" in one.message for one in inconsistencies(twice))


async def test_the_log_shows_an_override_that_nobody_gave() -> None:
    """Without its record, or its answer, or with the answer taken back, it could not have run."""
    desk = Desk()
    task = await desk.task()
    hold = await desk.override.open(await desk.denied(task), DAVE)
    await desk.yes(hold, DAVE, Strength.PASSKEY, "the disk is on fire")
    assert isinstance(await desk.ask(task, "erase"), Granted)
    assert forged(desk) == []
    assert any("no override" in one for one in forged(desk, without=DenyOverridden))
    assert any("or never" in one for one in forged(desk, without=ApprovalGiven))
    assert any("not opened for it" in one for one in forged(desk, without=HoldOpened))
    assert any("without anybody" in one for one in forged(desk, hold=None))
    start = next(entry for entry in desk.store.entries() if b"execution.started" in entry.data)
    for record, word in (
        (HoldDenied(hold=hold.id, by=BOB), "was denied"),
        (ApprovalWithdrawn(hold=hold.id, by=DAVE), "never"),
    ):
        entries = [*desk.store.entries()]
        entries.insert(start.seq - 2, StoredEntry(0, encode_entry(bundles.NOW, record), b""))
        assert any(word in one.message for one in inconsistencies(entries)), word


# -- previews: SQLite --------------------------------------------------------------------------------------------------------

SQL = entry(sql=SqlSelector(text="/sql", dialect="sqlite"), preview=SqlPreview(authority="shop"), effect="destructive")
TABLES = """
CREATE TABLE pays (id INTEGER PRIMARY KEY, payee TEXT, at TEXT DEFAULT CURRENT_TIMESTAMP);
INSERT INTO pays(payee) VALUES ('nobody'), ('nobody');
CREATE TABLE book (payee TEXT);
INSERT INTO book VALUES ('alice');
"""

MANY = "WITH RECURSIVE c(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM c LIMIT {}) INSERT INTO pays(payee) "
WIDE = "ALTER TABLE pays ADD COLUMN g BLOB GENERATED ALWAYS AS (zeroblob(900000)) VIRTUAL; "


@pytest.fixture
def shop(tmp_path: Path) -> Bench:
    (tmp_path / "data").mkdir()
    with sqlite3.connect(tmp_path / "data" / "shop.db") as made:
        made.executescript(TABLES)
    made.close()
    return Bench(tmp_path, authorities={"shop": SqliteAuthority(path="/data/shop.db")})


def meanwhile(bench: Bench, sql: str) -> None:
    with sqlite3.connect(f"{bench.base}/data/shop.db") as there:
        there.execute(sql)
    there.close()


@pytest.mark.parametrize(
    "text",
    [
        "UPDATE pays SET payee = (SELECT payee FROM book) WHERE id = 1",
        "INSERT INTO pays(payee) SELECT payee FROM book",
    ],
)
async def test_what_rows_become_is_what_was_shown(shop: Bench, text: str) -> None:
    """The value comes from a row that the statement does not touch, and that row is swapped meanwhile."""
    made = await shop.preview(SQL, {"sql": text})
    assert "alice" in told(made)
    assert await shop.changed(made) == ""
    meanwhile(shop, "UPDATE book SET payee = 'mallory'")
    assert await shop.changed(made)


async def test_somebody_elses_new_row_is_no_other_effect(shop: Bench) -> None:
    """A new row's number and time are not what people looked at."""
    made = await shop.preview(SQL, {"sql": "INSERT INTO pays(payee) VALUES ('alice')"})
    meanwhile(shop, "INSERT INTO pays(payee) VALUES ('bob')")
    assert await shop.changed(made) == ""


async def test_values_from_the_clock_are_said_to_be_unchecked(shop: Bench) -> None:
    """They can never be compared, so the approval is not said to rest on them."""
    made = await shop.preview(SQL, {"sql": "UPDATE pays SET payee = datetime('now') WHERE id = 1"})
    assert not made.whole
    assert "clock" in told(made)


@pytest.mark.parametrize(
    "text",
    [
        "UPDATE pays SET payee = zeroblob(16000000)",
        MANY.format(90_000) + "SELECT hex(zeroblob(50000)) FROM c",
        WIDE + MANY.format(9_000) + "SELECT 1 FROM c",
    ],
)
async def test_a_statement_does_not_fill_our_memory(shop: Bench, text: str) -> None:
    """Values, rows and computed columns: all of it is bounded, and what is not found out is said."""
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    made = await shop.preview(SQL, {"sql": text})
    assert not made.whole
    assert "unknown number of rows" in told(made)
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 400 * 1024


# -- previews: commands and files ------------------------------------------------------------------------------------------

COMMAND = entry(command=CommandSelector(argv="/argv"), preview=CommandPreview(base="/ws"))


@pytest.mark.parametrize(
    ("words", "path"),
    [
        (["python", "jo\u200bb.py"], "/ws/jo\u200bb.py"),
        (["python", "./" * 600 + "job.py"], "/ws/job.py"),
        (["make", "-fjob.mk"], "/ws/job.mk"),
        (["curl", "-d@job.txt"], "/ws/job.txt"),
        (["curl", "--data", "@job.txt"], "/ws/job.txt"),
        (["python", "folder"], "/ws/folder/__main__.py"),
        (["python", "-m", "job"], "/ws/job.py"),
        (["python", "-mjob"], "/ws/job.py"),
    ],
)
async def test_a_file_is_looked_at_or_people_are_told_that_it_was_not(
    tmp_path: Path, words: list[str], path: str
) -> None:
    """However its name is written, its content is bound, or the preview is not whole."""
    bench = Bench(tmp_path)
    bench.write(path, "print(1)")
    made = await bench.preview(COMMAND, {"argv": words})
    bench.write(path, "print('evil')")
    assert not made.whole or await bench.changed(made)


async def test_the_gateways_own_files_are_not_shown(tmp_path: Path) -> None:
    """Its keys are read by it alone: neither a page nor the log has them."""
    bench = Bench(tmp_path, private=("/state",))
    bench.write("/state/keys/master", "the master key")
    made = await bench.preview(COMMAND, {"argv": ["cat", "/state/keys/master"]})
    assert "master key" not in told(made)
    assert not made.whole
    assert await bench.changed(made)


# -- previews: PostgreSQL --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "text",
    [
        "UPDATE pays SET payee = (SELECT payee FROM book) WHERE id = 1",
        "UPDATE pays SET payee = (SELECT payee FROM book)",
        "UPDATE pays SET (payee, n) = (SELECT payee, 1 FROM book) WHERE id = 1",
    ],
)
def test_values_out_of_other_rows_are_no_plain_change(text: str) -> None:
    """The versions of the rows that change say nothing of those, so an approval cannot rest on them alone."""
    assert plain_change(text, "postgres") is None
    assert plain_change(
        text.replace("(SELECT payee FROM book)", "'x'").replace("(SELECT payee, 1 FROM book)", "('x', 1)"), "postgres"
    )


def test_an_insert_that_asks_other_rows_is_no_list_of_values() -> None:
    """`VALUES ((SELECT …))` is no value that people see."""
    assert inserted("INSERT INTO pays(payee) VALUES ((SELECT payee FROM book))", "postgres") is None
    assert inserted("INSERT INTO pays(payee) VALUES ('x'), ('y')", "postgres") == 2


def test_a_preview_that_rests_on_nothing_any_more_says_so() -> None:
    """A statement longer than a preview may be takes its own precondition away: people are told."""
    found = Found()
    found.say("Rows", "1 row changes")
    found.rests_on("rows", "x" * MAX_BYTES, "sha256:1")
    made = found.preview("sql", 1, str)
    assert made.preconditions == ()
    assert not made.whole
    assert "Nothing is checked again" in [part.title for part in made.parts]


# -- break-glass, with what it rests on ------------------------------------------------------------------------------------


class Looker:
    """A previewer whose one precondition is a member of its own."""

    world = "as it was"

    async def preview(self, request: ActionRequest, entry: Any, resolved: Any) -> Preview | None:
        return Preview(
            kind="file", made_at_ms=1, preconditions=(Precondition(kind="file", target="it", value=self.world),)
        )

    async def changed(self, preview: Preview) -> str:
        return "" if preview.preconditions[0].value == self.world else "it is another"


@pytest.mark.parametrize("swapped", [False, True])
async def test_an_override_rests_on_what_was_shown(swapped: bool) -> None:
    """Who breaks the glass sees the effect as well, and a swap meanwhile voids it. Control: without the swap it runs."""
    desk, looker = Desk(), Looker()
    desk.override.previewer = desk.authorize._previewer = looker
    offering = desk.pdp.exact[Kind.TOOL, ServerName("fs"), "erase"]
    object.__setattr__(offering, "entry", msgspec.structs.replace(offering.entry, preview=object()))
    task = await desk.task()
    hold = await desk.override.open(await desk.denied(task), DAVE)
    assert held_preview(desk.store, hold) is not None
    await desk.yes(hold, DAVE, Strength.PASSKEY, "the disk is on fire")
    looker.world = "swapped" if swapped else looker.world
    outcome = await desk.ask(task, "erase")
    assert isinstance(outcome, Refused if swapped else Granted)


async def test_an_override_of_an_action_with_paths_is_for_the_place_they_led_to() -> None:
    """Where a path leads is part of what is overridden; unchanged, it runs."""
    hosted = bundles.CATALOGUE.replace(
        '[tools."write-file/v1.2"]\neffect = "write"\n',
        '[tools."write-file/v1.2"]\neffect = "write"\n'
        'path = { pointer = "/path", roots = { ws = "/ws" }, resolve = "host" }\n',
    )
    assert hosted != bundles.CATALOGUE
    leads = {"there": "/ws/a"}

    class Leading:
        async def resolve(self, paths: Any) -> dict[str, str]:
            return dict.fromkeys(paths, leads["there"])

    for moved in (False, True):
        desk = Desk(**{"catalog/fs.toml": hosted})
        desk.authorize._files = Leading()
        leads["there"] = "/ws/a"
        task = await desk.task()
        outcome = await desk.ask(task, "write-file/v1.2", path="/ws/a")
        assert isinstance(outcome, Refused)
        assert outcome.reason is Reason.NOT_PERMITTED
        hold = await desk.override.open(desk.store.size() - 1, DAVE)
        await desk.yes(hold, DAVE, Strength.PASSKEY, "fire")
        leads["there"] = "/ws/b" if moved else "/ws/a"
        outcome = await desk.ask(task, "write-file/v1.2", path="/ws/a")
        assert isinstance(outcome, Refused if moved else Granted), outcome
