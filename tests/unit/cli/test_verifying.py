"""Verifying a state folder: in one process or many, streamed, with rolls or without, always the same answer."""

import sqlite3

import pytest

from lictor.cli import verifying
from lictor.cli.verifying import entries_in, odd_in, verify_state
from lictor.records.roll import open_roll
from lictor.records.verify import verify_log
from lictor.stores import tables
from lictor.stores.keys import Keys
from lictor.stores.sqlite import SqliteStore
from store_samples import batch, decided, ended, opened, payload, received, started

ORIGIN = "test.local/log"


@pytest.fixture
async def state(tmp_path, monkeypatch):
    monkeypatch.setattr(tables, "EVERY", 16)
    folder = tmp_path / "state"
    with SqliteStore(folder / "log.db", signer=Keys.open(folder).signer, origin=ORIGIN) as store:
        await store.commit(batch(opened()))
        for number in range(20):
            request, execution = f"req_{number}", f"exe_{number}"
            asked = batch(received(request), decided(request), started(execution, request=request))
            await store.commit(asked)
            await store.commit(batch(ended(execution)))
        await store.commit(batch(started("exe_odd", request="req_none"), decided("req_0")))
    return folder


def changed(folder, *statements):
    connection = sqlite3.connect(folder / "log.db", isolation_level=None)
    for statement in statements:
        connection.execute(statement)
    connection.close()


def test_many_processes_find_the_same(state, monkeypatch):
    """A long log is split over the cores, a short one is not."""
    here = verify_state(state, ORIGIN, None, lambda _done: None)
    monkeypatch.setattr(verifying, "FEW", 1)
    assert verify_state(state, ORIGIN, None, lambda _done: None) == here
    odd = [(one["kind"], one["position"]) for one in here["findings"]]
    assert odd == [("inconsistent", 81), ("inconsistent", 82)]
    assert (here["ok"], here["size"], here["sealed"], entries_in(state)) == (False, 83, False, 83)


def test_what_cannot_be_read_is_a_finding(state):
    """An entry that is no record, and a log without its table: findings or an error of ours, in both halves."""
    changed(state, "DROP TRIGGER entries_update", "UPDATE entries SET data = x'00' WHERE seq = 40")
    found = verify_state(state, ORIGIN, None, lambda _done: None)["findings"]
    assert {("entry", 40), ("inconsistent", 40)} <= {(one["kind"], one["position"]) for one in found}
    changed(state, "ALTER TABLE entries RENAME TO gone")
    found = verify_state(state, ORIGIN, None, lambda _done: None)["findings"]
    assert {one["kind"] for one in found} >= {"unreadable", "truncated"}
    assert (entries_in(state), odd_in(state / "log.db", 9)) == (0, [])


def test_rolls_are_written_on_the_way_and_cover_every_checkpoint_but_the_newest(state):
    """Each commit that reaches a multiple signs one, over what no roll covers yet; another process's checkpoints too."""
    with SqliteStore.open_unverified(state / "log.db") as view:
        key = Keys.open(state).verifier_key(ORIGIN)
        rolls = [open_roll(text, parsed(key)) for text in view.rolls()]
        checkpoints = list(view.checkpoints())
        assert verify_log(view.entries(), view.checkpoints(), key, rolls=view.rolls()).ok
    assert len(rolls) == 83 // 16
    assert sum(roll.count for roll in rolls) == len(
        [one for one in checkpoints if int(one.split("\n")[1]) <= rolls[-1].last]
    )
    assert [roll.first for roll in rolls[1:]] > [roll.last for roll in rolls[:-1]]


def parsed(text):
    from lictor.records.checkpoint import VerifierKey

    return VerifierKey.parse(text)


async def test_a_log_of_an_earlier_release_gets_rolls_from_now_on(state, monkeypatch):
    """Its table is added when it is opened; what came before is checked signature by signature."""
    changed(state, "DROP TABLE rolls")
    with SqliteStore.open_unverified(state / "log.db") as view:
        assert list(view.rolls()) == []
    before = verify_state(state, ORIGIN, None, lambda _done: None)
    assert [one["kind"] for one in before["findings"]] == ["inconsistent", "inconsistent"]
    monkeypatch.setattr("lictor.stores.rolls.MOST", 4)
    with SqliteStore(state / "log.db", signer=Keys.open(state).signer, origin=ORIGIN) as store:
        for number in range(30, 40):
            await store.commit(
                batch(received(f"req_{number}"), decided(f"req_{number}"), payloads=[payload(f"req_{number}")])
            )
    with SqliteStore.open_unverified(state / "log.db") as view:
        first = open_roll(next(iter(view.rolls())), parsed(Keys.open(state).verifier_key(ORIGIN)))
        assert first.count == 4
    assert [one["kind"] for one in verify_state(state, ORIGIN, None, lambda _done: None)["findings"]] == [
        "inconsistent"
    ] * 2


def test_rolls_only_grow(state):
    """As all that is evidence: the file itself refuses any other change."""
    for statement in ("DELETE FROM rolls", "UPDATE rolls SET text = ''", "INSERT INTO rolls VALUES(1, '')"):
        with pytest.raises(sqlite3.IntegrityError):
            changed(state, statement)
