"""What another process committed is seen by the next read, although rows are kept in memory (facts R4: use after close)."""

import os
import subprocess
import sys
from contextlib import contextmanager
from pathlib import Path

import pytest

from lictor.stores.keys import Keys
from lictor.stores.sqlite import SqliteStore
from lictor.stores.wal_index import WalIndex
from store_samples import DIGEST, batch, held, opened, received, started

ORIGIN = "test.local/log"
TESTS = Path(__file__).parents[1]
ROUNDS = 60

OTHER = """
import asyncio, sys
from pathlib import Path
from lictor.model.record import HoldDenied, TaskClosed
from lictor.stores.keys import Keys
from lictor.stores.sqlite import SqliteStore
from store_samples import DIGEST, batch, held

folder = Path(sys.argv[1])
store = SqliteStore(folder / "log.db", signer=Keys.open(folder).signer, origin=sys.argv[2])
print("ready", flush=True)
for line in sys.stdin:
    verb, task = line.split()
    if verb == "close":
        asyncio.run(store.commit(batch(TaskClosed(task=task, by="op"))))
    elif verb == "hold":
        asyncio.run(store.commit(batch(held(f"hold_{task}", task=task))))
    elif verb == "deny":
        asyncio.run(store.commit(batch(HoldDenied(hold=f"hold_{task}", by="bob", note="no"))))
    print(store.task(task).status.value, store.task(task).calls_used, flush=True)
"""


@pytest.fixture
def store(tmp_path):
    folder = tmp_path / "state"
    with SqliteStore(folder / "log.db", signer=Keys.open(folder).signer, origin=ORIGIN) as made:
        yield made


@contextmanager
def other_process(folder):
    """A process with the same log open; what it prints comes back."""
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(TESTS.parent / "src"), str(TESTS)])}
    command = [sys.executable, "-c", OTHER, str(folder), ORIGIN]
    with subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=environment
    ) as process:

        def ask(verb, task):
            process.stdin.write(f"{verb} {task}\n")
            process.stdin.flush()
            return process.stdout.readline().strip()

        assert process.stdout.readline() == "ready\n"
        yield ask
        process.stdin.close()
        process.wait(30)


async def stale_reads(store, folder, rounds):
    """Rounds in which a read, after the other process was told that its commit is durable, shows what was before."""
    stale = []
    with other_process(folder) as ask:
        for number in range(rounds):
            task = f"task_{number}"
            await store.commit(batch(opened(task, token=f"token_{number}")))
            await store.commit(batch(received(f"req_{number}", task=task), started(f"exec_{number}", task=task)))
            # Read twice: now everything is kept.
            for _ in range(2):
                assert store.task_by_token(f"token_{number}").status.value == "open"
                assert store.live_hold(task, DIGEST) is None
            assert ask("look", task) == "open 1"
            ask("hold", task)
            seen = [store.live_hold(task, DIGEST) is not None]
            store.live_hold(task, DIGEST)
            ask("deny", task)
            live = store.live_hold(task, DIGEST)
            seen.append(live is not None and live.status.value == "denied")
            assert ask("close", task) == "closed 1"
            seen.append(store.task_by_token(f"token_{number}").status.value == "closed")
            seen.append(store.task(task).status.value == "closed")
            if not all(seen):
                stale.append(number)
    return stale


async def test_what_another_process_committed_is_seen_by_the_next_read(store, tmp_path):
    """Closed task, new hold, denied hold: each seen at once, in every round, although all of it was kept in memory before."""
    assert await stale_reads(store, tmp_path / "state", ROUNDS) == []


async def test_the_other_side_sees_ours_as_well(store, tmp_path):
    """The same the other way round: what we acknowledge, another process reads next."""
    with other_process(tmp_path / "state") as ask:
        await store.commit(batch(opened()))
        for number in range(ROUNDS):
            assert ask("look", "task_1") == f"open {number}"
            await store.commit(batch(started(f"exec_{number}")))


async def test_the_check_finds_a_store_that_does_not_look(store, tmp_path, monkeypatch):
    """Control: rows that are kept without looking whether anybody has committed are found stale by the same check."""
    if store._known._index is None:
        pytest.skip("nothing is kept on this platform")
    monkeypatch.setattr(WalIndex, "raw", lambda self: bytes(96))
    monkeypatch.setattr(WalIndex, "stamp", lambda self: bytes(96))
    assert await stale_reads(store, tmp_path / "state", 2) == [0, 1]


async def test_without_an_index_every_read_goes_to_the_file(tmp_path, monkeypatch):
    """Where SQLite's index cannot be looked at nothing is kept, and nothing is stale."""
    monkeypatch.setattr(WalIndex, "find", classmethod(lambda cls, path: None))
    folder = tmp_path / "state"
    with SqliteStore(folder / "log.db", signer=Keys.open(folder).signer, origin=ORIGIN) as store:
        assert await stale_reads(store, folder, 3) == []
        assert store._known._state == (b"", {}, {})


async def test_a_change_by_a_foreign_tool_is_seen(store, tmp_path):
    """Also one that knows nothing of us: the index is SQLite's own."""
    await store.commit(batch(opened(), held()))
    assert store.task("task_1") == store.task("task_1") is not None
    script = "import sqlite3, sys; c = sqlite3.connect(sys.argv[1]); c.execute(\"DELETE FROM rows WHERE kind = 'task'\"); c.commit()"
    subprocess.run([sys.executable, "-c", script, str(tmp_path / "state" / "log.db")], check=True, timeout=30)
    assert store.task("task_1") is None
