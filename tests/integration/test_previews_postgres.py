"""SQL previews on a real PostgreSQL: rows are counted, nothing is changed, and rows that change meanwhile void."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import asyncpg
import pytest

from lictor.model.catalog import SqlSelector
from lictor.model.preview_rule import SqlPreview
from lictor.model.secret import Secret
from lictor.previews.settings import PostgresAuthority
from previews_world import Bench, entry, told
from servers import postgres
from servers.postgres import Postgres as Server

SETUP = """
CREATE TABLE users (id serial PRIMARY KEY, name text, admin bool DEFAULT false);
INSERT INTO users(name) VALUES ('ada'), ('bob'), ('eve');
CREATE TABLE orders (id int, buyer int REFERENCES users(id) ON DELETE CASCADE);
CREATE TABLE noted (id int); CREATE TABLE notes (t text);
INSERT INTO noted VALUES (1), (2);
CREATE FUNCTION note() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN INSERT INTO notes VALUES (1); RETURN OLD; END';
CREATE TRIGGER on_delete BEFORE DELETE ON noted FOR EACH ROW EXECUTE FUNCTION note();
CREATE FUNCTION outside() RETURNS bool LANGUAGE plpgsql AS 'BEGIN PERFORM pg_sleep(5); RETURN true; END';
CREATE VIEW admins AS SELECT * FROM users WHERE admin;
CREATE ROLE looker LOGIN PASSWORD 'looker-pw'; GRANT SELECT ON ALL TABLES IN SCHEMA public TO looker;
CREATE ROLE runner LOGIN PASSWORD 'runner-pw'; GRANT ALL ON ALL TABLES IN SCHEMA public TO runner;
GRANT ALL ON ALL SEQUENCES IN SCHEMA public TO runner;
"""
SQL = entry(sql=SqlSelector(text="/sql", dialect="postgres"), preview=SqlPreview(authority="db"), effect="destructive")


@pytest.fixture(scope="module")
def server() -> Iterator[Server]:
    with postgres.running() as running:
        yield running


@pytest.fixture(autouse=True)
def patient(monkeypatch: pytest.MonkeyPatch) -> None:
    """A slow machine is not what these tests are about."""
    monkeypatch.setattr("lictor.previews.previewer.TIME_S", 20.0)
    monkeypatch.setattr("lictor.previews.postgres.DEADLINE_S", 15.0)


@contextlib.asynccontextmanager
async def admin(server: Server, database: str = "postgres") -> AsyncIterator[Any]:
    connection = await asyncpg.connect(
        host="127.0.0.1", port=server.port, user="postgres", password=server.password, database=database, ssl=False
    )
    try:
        yield connection
    finally:
        connection.terminate()


@pytest.fixture
def database(server: Server) -> str:
    """A fresh database; roles are the cluster's."""
    name = "shop"

    async def make() -> None:
        async with admin(server) as there:
            await there.execute(f"DROP DATABASE IF EXISTS {name} WITH (FORCE)")
            for role in ("looker", "runner"):
                await there.execute(f"DROP ROLE IF EXISTS {role}")
            await there.execute(f"CREATE DATABASE {name}")
        async with admin(server, name) as there:
            await there.execute(SETUP)

    asyncio.run(make())
    return name


def bench_on(tmp_path: Path, server: Server, name: str, user: str = "looker", **changed: Any) -> Bench:
    async def secrets(name: str) -> Secret:
        assert name == "db"
        return Secret(f"{user}-pw")

    said = {
        "host": "127.0.0.1",
        "port": server.port,
        "database": name,
        "user": user,
        "password_secret": "db",
        "tls": "off",
    }
    return Bench(tmp_path, authorities={"db": PostgresAuthority(**{**said, **changed})}, secrets=secrets)


@pytest.fixture
def bench(tmp_path: Path, server: Server, database: str) -> Bench:
    return bench_on(tmp_path, server, database)


async def rows(server: Server, sql: str) -> Any:
    async with admin(server, "shop") as there:
        return await there.fetchval(sql)


async def test_all_rows_and_nothing_changed(bench: Bench, server: Server) -> None:
    """APRV-18, by an account that may only read."""
    made = await bench.preview(SQL, {"sql": "UPDATE users SET admin = true"})
    assert made.parts[0].warning
    assert "all rows (N = 3) of users change" in told(made)
    assert "2 | bob | False" in told(made)
    assert await rows(server, "SELECT count(*) FROM users WHERE admin") == 0


@pytest.mark.parametrize(
    ("meanwhile", "voids"),
    [
        ("UPDATE users SET name = 'x' WHERE id = 3", True),
        ("INSERT INTO users(name) VALUES ('eve')", True),
        ("DELETE FROM users WHERE name = 'eve'", True),
        ("UPDATE users SET name = 'x' WHERE id = 1", False),
    ],
)
async def test_row_versions_are_held_to(bench: Bench, server: Server, meanwhile: str, voids: bool) -> None:
    """Only those of the rows it is about."""
    made = await bench.preview(SQL, {"sql": "DELETE FROM users AS u WHERE u.name = 'eve'"})
    assert "1 row go, of 3 in users" in told(made)
    assert "rows of orders go or change with them" in told(made)
    assert await bench.changed(made) == ""
    await rows(server, meanwhile)
    assert bool(await bench.changed(made)) is voids


@pytest.mark.parametrize(
    ("sql", "said"),
    [
        ("DELETE FROM noted", "on_delete: what they do is not known here"),
        ("INSERT INTO orders SELECT id, id FROM users", "unknown number of rows"),
        ("UPDATE users SET admin = true FROM orders o WHERE o.buyer = users.id", "unknown number of rows"),
        ("DELETE FROM users WHERE outside()", "unknown number of rows"),
        ("UPDATE admins SET name = 'x'", "unknown number of rows"),
        ("DROP TABLE users", "unknown number of rows"),
        ("DELETE FROM nowhere", "unknown number of rows"),
        ("DELETE FROM users; DELETE FROM orders", "unknown number of rows"),
        ("DELETE FROM users WHERE name = $1", "unknown number of rows"),
        ("DELETE FROM users WHERE id IN (SELECT id FROM noted)", "2 rows go, of 3 in users"),
    ],
)
async def test_what_is_not_plain_is_unknown(bench: Bench, server: Server, sql: str, said: str) -> None:
    """And nothing of it happens."""
    made = await bench.preview(SQL, {"sql": sql})
    assert said in told(made)
    assert not made.whole
    assert await rows(server, "SELECT (SELECT count(*) FROM users) * 10 + (SELECT count(*) FROM notes)") == 30


async def test_the_planner_is_asked_for_what_cannot_be_counted(tmp_path: Path, server: Server, database: str) -> None:
    """And what it guesses is called a guess."""
    bench = bench_on(tmp_path, server, database, "runner")
    made = await bench.preview(SQL, {"sql": "INSERT INTO orders SELECT id, id FROM users"})
    assert "unknown number of rows; the planner guesses" in told(made)


async def test_rows_that_a_statement_names_are_counted(bench: Bench) -> None:
    """By an account that may only read."""
    made = await bench.preview(SQL, {"sql": "INSERT INTO orders VALUES (1, 1), (2, (1 + 1)) RETURNING id"})
    assert "2 rows come into orders" in told(made)
    made = await bench.preview(SQL, {"sql": "INSERT INTO orders VALUES (1, 1) ON CONFLICT DO NOTHING"})
    assert "unknown number of rows" in told(made)


async def test_run_and_rolled_back_where_the_operator_says_so(tmp_path: Path, server: Server, database: str) -> None:
    """Rows as they would be; the table as it was."""
    bench = bench_on(tmp_path, server, database, "runner", rollback=True)
    made = await bench.preview(SQL, {"sql": "UPDATE users SET admin = true WHERE id < 3"})
    assert "[Run and rolled back] 2 rows" in told(made)
    assert "1 | ada | True" in told(made)
    assert await rows(server, "SELECT count(*) FROM users WHERE admin") == 0
    made = await bench.preview(SQL, {"sql": "INSERT INTO users(name) VALUES ('x'), ('y')"})
    assert "[Run and rolled back] 2 rows" in told(made)
    assert await rows(server, "SELECT count(*) FROM users") == 3


@pytest.mark.parametrize(
    "sql",
    [
        "DELETE FROM noted",
        "DELETE FROM users WHERE outside()",
        "DELETE FROM users; COMMIT",
        "UPDATE users SET id = nextval('users_id_seq')",
    ],
)
async def test_what_a_rollback_may_not_undo_is_not_run(tmp_path: Path, server: Server, database: str, sql: str) -> None:
    """Triggers, functions nobody knows, several statements."""
    bench = bench_on(tmp_path, server, database, "runner", rollback=True)
    made = await bench.preview(SQL, {"sql": sql})
    assert "Run and rolled back" not in told(made)
    assert await rows(server, "SELECT (SELECT count(*) FROM users) * 10 + (SELECT count(*) FROM noted)") == 32


@pytest.mark.parametrize("changed", [{"port": 1}, {"database": "none"}, {"user": "nobody"}, {"host": "/nowhere"}])
async def test_a_database_that_cannot_be_asked_is_an_unknown_number(
    tmp_path: Path, server: Server, database: str, changed: dict[str, Any]
) -> None:
    """Said, without what the driver says."""
    bench = bench_on(tmp_path, server, database, **{"user": "looker", **changed})
    made = await bench.preview(SQL, {"sql": "UPDATE users SET admin = true"})
    assert "all rows of users: unknown number of rows" in told(made)
    assert "-pw" not in told(made)


async def test_a_database_that_hangs_is_given_up(bench: Bench, server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    """In time; and an approval that rests on it is void."""
    made = await bench.preview(SQL, {"sql": "DELETE FROM users WHERE id = 1"})
    monkeypatch.setattr("lictor.previews.postgres.DEADLINE_S", 0.3)
    with server.hanging():
        assert await bench.changed(made)
        late = await bench.preview(SQL, {"sql": "DELETE FROM users WHERE id = 1"})
    assert "unknown number of rows" in told(late)
