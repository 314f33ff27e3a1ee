"""SQLite's own header as a stamp: it changes with every commit and with nothing else, and looking at it takes no locks away."""

import sqlite3
import subprocess
import sys
from pathlib import Path

import pytest

from lictor.stores.wal_index import WalIndex

pytestmark = pytest.mark.skipif(not sys.platform.startswith("linux"), reason="needs /proc")
OPEN_FILES = Path("/proc/self/fd")


@pytest.fixture
def path(tmp_path):
    return tmp_path / "x.db"


@pytest.fixture
def writer(path):
    connection = sqlite3.connect(path, isolation_level=None)
    connection.execute("PRAGMA journal_mode=WAL")
    connection.execute("PRAGMA wal_autocheckpoint=0")
    connection.execute("CREATE TABLE t(a)")
    yield connection
    connection.close()


@pytest.fixture
def index(path, writer):
    found = WalIndex.find(path)
    assert found is not None
    yield found
    found.close()


def test_it_changes_with_every_commit_and_with_nothing_else(index, writer):
    """Not when a transaction begins, writes or is taken back, not by reading, not by moving the log into the file."""
    seen = {index.stamp()}
    for number in range(50):
        before = index.stamp()
        writer.execute("SELECT count(*) FROM t").fetchall()
        writer.execute("BEGIN IMMEDIATE")
        writer.execute("INSERT INTO t VALUES(1)")
        assert index.stamp() == before
        writer.execute("ROLLBACK" if number % 2 else "COMMIT")
        assert (index.stamp() == before) == bool(number % 2)
        seen.add(index.stamp())
    before = index.stamp()
    writer.execute("PRAGMA wal_checkpoint(PASSIVE)").fetchall()
    assert index.stamp() == before
    assert len(seen) == 26
    assert b"" not in seen


def test_the_next_round_of_the_log_has_stamps_of_its_own(index, writer):
    """After the log was moved it is written from the start again: no stamp comes back."""
    seen = [index.stamp()]
    for _ in range(20):
        writer.execute("INSERT INTO t VALUES(1)")
        seen.append(index.stamp())
        writer.execute("PRAGMA wal_checkpoint(RESTART)").fetchall()
    assert len(set(seen)) == len(seen)


def test_another_process_is_seen(index, path):
    """What it committed before it said so has changed the stamp."""
    before = index.stamp()
    script = "import sqlite3, sys; c = sqlite3.connect(sys.argv[1]); c.execute('INSERT INTO t VALUES(1)'); c.commit()"
    subprocess.run([sys.executable, "-c", script, str(path)], check=True, timeout=30)
    assert index.stamp() not in (before, b"")


def test_a_header_in_the_middle_of_a_change_is_no_stamp(index):
    """Both copies must agree and hold something."""
    whole = index.stamp()
    index._header = type("Raw", (), {"raw": whole[:48] + bytes(48)})()
    assert index.stamp() == b""
    index._header = type("Raw", (), {"raw": bytes(96)})()
    assert index.stamp() == b""


def test_where_there_is_none_it_says_so(tmp_path):
    """No file, or one that this process has not open."""
    assert WalIndex.find(tmp_path / "nothing.db") is None
    (tmp_path / "y.db-shm").write_bytes(bytes(32768))
    assert WalIndex.find(tmp_path / "y.db") is None


def test_another_format_is_not_trusted(path, writer, monkeypatch):
    """A SQLite whose header we do not know is asked, not guessed."""
    monkeypatch.setattr("lictor.stores.wal_index._FORMAT", b"\x01\x02\x03\x04")
    assert WalIndex.find(path) is None


def test_looking_costs_sqlite_no_lock_and_no_descriptor(path, writer):
    """Opened and closed many times beside a transaction that reads: another process still cannot restart the log under it."""
    reader = sqlite3.connect(path, isolation_level=None)
    reader.execute("BEGIN")
    reader.execute("SELECT count(*) FROM t").fetchall()
    writer.execute("INSERT INTO t VALUES(1)")
    before = len(list(OPEN_FILES.iterdir()))
    for _ in range(20):
        index = WalIndex.find(path)
        index.close()
        index.close()
    assert len(list(OPEN_FILES.iterdir())) == before
    script = (
        "import sqlite3, sys; c = sqlite3.connect(sys.argv[1], timeout=0.1);"
        "print(c.execute('PRAGMA wal_checkpoint(TRUNCATE)').fetchone()[0])"
    )
    done = subprocess.run(
        [sys.executable, "-c", script, str(path)], capture_output=True, text=True, check=True, timeout=30
    )
    assert done.stdout.strip() == "1"  # busy: the reader's lock is held
    reader.execute("ROLLBACK")
    reader.close()


def test_a_closed_one_says_nothing(index):
    """It raises, rather than read what is no longer mapped."""
    index.close()
    with pytest.raises(ValueError, match="closed"):
        index.raw()
