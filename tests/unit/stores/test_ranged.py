"""A log's tables by ranges: every row is in one of them, and what would be in none is said."""

import sqlite3

import pytest

from lictor.stores import tables
from lictor.stores.keys import Keys
from lictor.stores.ranged import ALL, RangedSnapshot
from lictor.stores.sqlite import SqliteStore
from store_samples import batch, decided, ended, opened, received, started

ORIGIN = "test.local/log"


@pytest.fixture
async def path(tmp_path, monkeypatch):
    monkeypatch.setattr(tables, "EVERY", 8)
    folder = tmp_path / "state"
    with SqliteStore(folder / "log.db", signer=Keys.open(folder).signer, origin=ORIGIN) as store:
        await store.commit(batch(opened()))
        for number in range(6):
            request, execution = f"req_{number}", f"exe_{number}"
            await store.commit(batch(received(request), decided(request), started(execution, request=request)))
            await store.commit(batch(ended(execution)))
    return folder / "log.db"


def changed(path, *statements):
    connection = sqlite3.connect(path, isolation_level=None)
    for (name,) in connection.execute("SELECT name FROM sqlite_schema WHERE type = 'trigger'").fetchall():
        connection.execute(f"DROP TRIGGER {name}")
    for statement in statements:
        connection.execute(statement)
    connection.close()


@pytest.mark.parametrize("width", [1, 4, 7, 64])
def test_ranges_together_are_the_log(path, width):
    """Entries, checkpoints and rolls: each once, in order, and of the rolls the one before."""
    with RangedSnapshot(path) as view:
        size = view.covered()
        assert size == view.size() == 25
        entries, heads, rolls = [], [], []
        for start in range(0, size, width):
            low, high = start or -1, min(start + width, size)
            entries += [row for page in view.pages(start, high) for row in page]
            heads += [text for _, text in view.heads(low, high)]
            found = list(view.rolls_from(low, high))
            before = [last for last, _ in found if last <= low]
            assert len(before) == any(last <= low for last, _ in rolls)
            rolls += found[len(before) :]
        assert entries == [(one.seq, one.data, one.leaf) for one in view.entries()]
        assert heads == list(view.checkpoints())
        assert [text for _, text in rolls] == list(view.rolls())
        assert list(view.heads_from(21)) == heads[-3:]
        assert list(view.heads_from(ALL)) == []
        assert (view.rolled_behind(0), view.rolled_behind(size)) == (True, False)


@pytest.mark.parametrize(
    ("statement", "size"),
    [
        ("DELETE FROM entries WHERE seq >= 22", 21),
        ("DELETE FROM entries", 0),
        ("DELETE FROM checkpoints", 0),
        ("UPDATE checkpoints SET size = -4 WHERE size = 4", 0),
        ("UPDATE rolls SET last = -1 WHERE last = (SELECT min(last) FROM rolls)", 0),
        ("UPDATE checkpoints SET size = 400 WHERE size = 25", 24),
        ("DROP TABLE rolls", 25),
    ],
)
def test_how_far_ranges_go(path, statement, size):
    """To the newest checkpoint whose entries are there; nowhere, where something would be in no range."""
    changed(path, statement)
    with RangedSnapshot(path) as view:
        assert view.covered() == size
