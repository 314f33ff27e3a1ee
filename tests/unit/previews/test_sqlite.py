"""SQL on SQLite: run on a copy; the file stays as it was, and the rows that change are those that were shown."""

import hashlib
import sqlite3
from pathlib import Path

import pytest

from lictor.model.catalog import SqlSelector
from lictor.model.preview_rule import SqlPreview
from lictor.previews.settings import SqliteAuthority
from previews_world import Bench, entry, told

SQL = entry(sql=SqlSelector(text="/sql", dialect="sqlite"), preview=SqlPreview(authority="shop"), effect="destructive")
SETUP = """
CREATE TABLE users (id INTEGER PRIMARY KEY, name TEXT, admin INTEGER);
INSERT INTO users(name, admin) VALUES ('ada', 1), ('bob', 0), ('eve', 0);
CREATE TABLE logs (id INTEGER PRIMARY KEY, text TEXT);
CREATE TABLE orders (id INTEGER PRIMARY KEY, user INTEGER REFERENCES users(id) ON DELETE CASCADE);
CREATE TABLE keyed (k TEXT PRIMARY KEY, v TEXT) WITHOUT ROWID;
INSERT INTO keyed VALUES ('a', '1'), ('b', '2');
CREATE TRIGGER noted AFTER DELETE ON users BEGIN INSERT INTO logs(text) VALUES (old.name); END;
"""


@pytest.fixture
def bench(tmp_path: Path) -> Bench:
    path = tmp_path / "data" / "shop.db"
    path.parent.mkdir()
    with sqlite3.connect(path) as made:
        made.executescript(SETUP)
    made.close()
    return Bench(tmp_path, authorities={"shop": SqliteAuthority(path="/data/shop.db")})


def run(bench: Bench, sql: str) -> None:
    with sqlite3.connect(f"{bench.base}/data/shop.db") as there:
        there.execute(sql)
    there.close()


async def test_a_change_without_condition_says_all_rows(bench: Bench) -> None:
    """APRV-18: with their number."""
    made = await bench.preview(SQL, {"sql": "UPDATE users SET admin = 1"})
    assert made.parts[0].warning
    assert "all rows (N = 3) of users: 2 rows change" in told(made)
    assert "- | 2 | bob | 0\n+ | 2 | bob | 1" in told(made)


async def test_rows_are_counted_and_nothing_is_changed(bench: Bench) -> None:
    """The file is byte for byte the same."""
    path = Path(f"{bench.base}/data/shop.db")
    before = hashlib.sha256(path.read_bytes()).hexdigest()
    made = await bench.preview(SQL, {"sql": "DELETE FROM users WHERE name = 'eve'"})
    assert "1 row go, of 3 in users" in told(made)
    assert "1 row come, of 0 in logs" in told(made)  # by the trigger
    assert "orders refers to users" in told(made)
    assert hashlib.sha256(path.read_bytes()).hexdigest() == before
    assert await bench.changed(made) == ""


@pytest.mark.parametrize(
    ("meanwhile", "voids"),
    [
        ("UPDATE users SET admin = 1 WHERE name = 'eve'", True),
        ("INSERT INTO users(name, admin) VALUES ('eve', 0)", True),
        ("DELETE FROM users WHERE name = 'eve'", True),
        ("UPDATE users SET admin = 1 WHERE name = 'bob'", False),
        ("INSERT INTO keyed VALUES ('c', '3')", False),
    ],
)
async def test_rows_that_change_meanwhile_void(bench: Bench, meanwhile: str, voids: bool) -> None:
    """Only those the statement is about."""
    made = await bench.preview(SQL, {"sql": "DELETE FROM users WHERE name = 'eve'"})
    run(bench, meanwhile)
    assert bool(await bench.changed(made)) is voids


@pytest.mark.parametrize(
    ("sql", "said"),
    [
        ("DROP TABLE users", "the table users goes, with all rows (N = 3)"),
        ("INSERT INTO users(name) VALUES ('x'), ('y')", "2 rows come, of 3 in users"),
        ("UPDATE keyed SET v = 'x' WHERE k = 'a'", "1 row change"),
        ("DELETE FROM keyed", "all rows (N = 2) of keyed: 2 rows go"),
        ("DELETE FROM users WHERE name = 'nobody'", "no row changes"),
        ("SELECT * FROM users", "it only reads"),
        ("DELETE FROM users WHERE id = 1; DELETE FROM keyed", "all rows (N = 2) of keyed"),
        ("REPLACE INTO users(id, name) VALUES (1, 'new')", "1 row change"),
    ],
)
async def test_other_statements(bench: Bench, sql: str, said: str) -> None:
    """What each does."""
    assert said in told(await bench.preview(SQL, {"sql": sql}))


@pytest.mark.parametrize(
    "sql",
    [
        "ATTACH 'x.db' AS x",
        "PRAGMA journal_mode = DELETE",
        "UPDATE nothere SET a = 1",
        "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n) INSERT INTO logs(id) SELECT i FROM n",
        "INSERT INTO logs(text) VALUES (zeroblob(100000000))",
        "VACUUM INTO '/tmp/x'",
        "not sql at all",
        "UPDATE users SET admin = ?",
        7,
    ],
)
async def test_what_cannot_run_is_an_unknown_number(bench: Bench, sql) -> None:
    """Bounded, and never "no rows"."""
    made = await bench.preview(SQL, {"sql": sql})
    assert not made.whole
    assert made.parts[0].warning
    assert "no row changes" not in told(made)


@pytest.mark.parametrize(
    "kept",
    [{}, {"shop": SqliteAuthority(path="/none.db")}, {"shop": SqliteAuthority(path="/data/shop.db", max_bytes=1)}],
)
async def test_without_a_usable_authority_the_number_is_unknown(bench: Bench, kept) -> None:
    """APRV-18: said in so many words."""
    other = Bench(bench.base, authorities=kept)
    made = await other.preview(SQL, {"sql": "UPDATE users SET admin = 1"})
    assert "all rows of users: unknown number of rows" in told(made)
    assert not made.whole
    assert not Path(f"{bench.base}/none.db").exists()


async def test_a_log_that_is_still_apart_is_read(bench: Bench) -> None:
    """WAL: what the server committed counts, though it is not in the main file."""
    there = sqlite3.connect(f"{bench.base}/data/shop.db")
    there.execute("PRAGMA journal_mode = WAL")
    there.execute("INSERT INTO users(name, admin) VALUES ('new', 0)")
    there.commit()
    assert "all rows (N = 4)" in told(await bench.preview(SQL, {"sql": "DELETE FROM users"}))
    there.close()
