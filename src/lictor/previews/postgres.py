"""Rows a statement would touch in PostgreSQL, by an account of the gateway's own.

Nothing is changed: a plain UPDATE or DELETE is turned into a query of its own words, in a read-only transaction. Where the
operator says so it is run as well and rolled back, unless something on the table could reach outside the transaction. All else
is EXPLAINed. Refuses to know who asks, and what the acting account may see (row security, search path).
"""

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from ssl import SSLContext, create_default_context
from typing import TYPE_CHECKING, Any, Final, TypeAlias

import asyncpg
from asyncpg.connect_utils import SessionAttribute

from lictor.model.canonical import canonical, sha256_digest
from lictor.model.errors import CallerError, LictorError
from lictor.pdp.sql import SqlFacts, sql_facts
from lictor.pdp.sql.names import PURE_FUNCTIONS
from lictor.previews.asking import NotFoundOutError, Secrets
from lictor.previews.parts import Found, counted, cut
from lictor.previews.settings import PostgresAuthority
from lictor.previews.statement import Change, inserted, plain_change

if TYPE_CHECKING:
    Connection: TypeAlias = asyncpg.Connection[asyncpg.Record]

DIALECT: Final = "postgres"
DEADLINE_S: Final = 1.8
SAMPLE: Final = 10
MAX_VERSIONS: Final = 10_000
"""Rows whose versions an approval can rest on."""
MAX_CELL: Final = 200
_SESSION: Final = {
    "application_name": "lictor preview",
    "statement_timeout": "1200ms",
    "lock_timeout": "300ms",
    "idle_in_transaction_session_timeout": "3s",
    "standard_conforming_strings": "on",
    "row_security": "on",
}
_TABLE: Final = """
SELECT c.relkind::text AS kind, c.relhasrules AS rules, c.relrowsecurity AS secured,
  ARRAY(SELECT t.tgname::text FROM pg_trigger t WHERE t.tgrelid = c.oid AND NOT t.tgisinternal ORDER BY 1) AS triggers,
  ARRAY(SELECT DISTINCT k.conrelid::regclass::text FROM pg_constraint k WHERE k.confrelid = c.oid AND k.contype = 'f'
    AND (k.confdeltype IN ('c', 'n', 'd') OR k.confupdtype IN ('c', 'n', 'd')) ORDER BY 1) AS referring,
  EXISTS (SELECT FROM pg_inherits i WHERE i.inhparent = c.oid) AS parent
FROM pg_class c WHERE c.oid = to_regclass($1)
"""
_DML: Final = frozenset({"insert", "update", "delete"})


class PostgresLook:
    """One authority, for one look."""

    def __init__(self, authority: PostgresAuthority, secrets: Secrets) -> None:
        self._authority = authority
        self._secrets = secrets

    async def effect(self, text: str, facts: SqlFacts, found: Found, *, every: bool) -> str:
        """Find out what a statement touches; the value its rows have now, empty where that is not known.

        Raises:
            NotFoundOutError: the database cannot be asked.
        """
        async with self._asked() as connection:
            change = _provable(text)
            about = await self._about(connection, change.table if change else next(iter(facts.tables), ""), found)
            value = ""
            if change is not None and about is not None and about["kind"] in {"r", "p"}:
                value = await _read_rows(connection, change, found, every=every)
            elif (rows := inserted(text, DIALECT)) is not None:
                found.say("Rows", f"{counted(rows, 'row')} come into {', '.join(facts.tables)}")
            else:
                await _explained(connection, text, found)
            if self._authority.rollback and _may_run(facts, about):
                await _run_and_roll_back(connection, text, found)
            return value

    async def value(self, text: str) -> str:
        """The value of a statement's rows now.

        Raises:
            NotFoundOutError: it is not known.
        """
        change = _provable(text)
        if change is None:
            raise NotFoundOutError("the statement is no plain change")
        async with self._asked() as connection, connection.transaction(readonly=True):
            return await _versions(connection, change)

    async def _about(self, connection: "Connection", table: str, found: Found) -> asyncpg.Record | None:
        """What stands round a table and is not in any count of its rows."""
        about = await connection.fetchrow(_TABLE, table) if table and table != "*" else None
        if about is None:
            return None
        if about["triggers"]:
            names = ", ".join(cut(name, 80) for name in about["triggers"][:8])
            found.unknown("Triggers", f"{names}: what they do is not known here")
        if about["referring"]:
            names = ", ".join(cut(name, 80) for name in about["referring"][:8])
            found.unknown("Rows that refer to them", f"rows of {names} go or change with them")
        if about["rules"]:
            found.unknown("Rules", "rules rewrite what is done to this table")
        if about["secured"]:
            found.unknown("Row security", "the acting account may see other rows than this look did")
        return about

    @asynccontextmanager
    async def _asked(self) -> AsyncIterator["Connection"]:
        """A connection, within the deadline. Errors of the driver quote what was sent: none goes on."""
        try:
            async with asyncio.timeout(DEADLINE_S):
                connection = await self._connect()
                try:
                    yield connection
                finally:
                    connection.terminate()
        except TimeoutError:
            raise NotFoundOutError("the database did not answer in time") from None
        except asyncpg.PostgresError as error:
            code = str(error.sqlstate or "")[:5]
            raise NotFoundOutError(f"the database refuses it ({type(error).__name__}, {code})") from None
        except (OSError, asyncpg.InterfaceError, asyncpg.InternalClientError):
            raise NotFoundOutError("the database cannot be reached") from None
        except LictorError as error:
            raise NotFoundOutError(error.message) from None

    async def _connect(self) -> "Connection":
        """Nothing in the environment bends it (PGSSLMODE, PGSERVICE, .pgpass, …)."""
        authority = self._authority
        password = await self._secrets(authority.password_secret)
        return await asyncpg.connect(
            host=authority.host,
            port=authority.port,
            user=authority.user,
            password=password.reveal,  # called where it is sent
            database=authority.database,
            ssl=_tls(authority) or False,
            direct_tls=False,
            target_session_attrs=SessionAttribute.any,
            statement_cache_size=0,
            server_settings={**_SESSION, "search_path": _quoted(authority.schema)},
        )


def _tls(authority: PostgresAuthority) -> SSLContext | None:
    if authority.tls == "off" or authority.host.startswith("/"):
        return None
    return create_default_context(cafile=authority.ca_file or None)


def _quoted(name: str) -> str:
    return '"' + name.replace('"', '""') + '"'


def _provable(text: str) -> Change | None:
    """A plain change whose rows can be asked for by a query that is proven only to read."""
    change = plain_change(text, DIALECT)
    if change is None:
        return None
    try:
        reads = sql_facts(change.query("*"), DIALECT).read_only
    except CallerError:
        return None
    return change if reads else None


def _may_run(facts: SqlFacts, about: asyncpg.Record | None) -> bool:
    """Whether all that a statement does is undone by a rollback: plain rows, no call that is not known, nothing on the table."""
    return (
        about is not None
        and about["kind"] == "r"
        and not (about["triggers"] or about["rules"] or about["parent"])
        and len(facts.tables) == 1
        and not facts.stacked
        and bool(facts.kinds)
        and _DML.issuperset(facts.kinds)
        and PURE_FUNCTIONS[DIALECT].issuperset(facts.functions)
    )


async def _read_rows(connection: "Connection", change: Change, found: Found, *, every: bool) -> str:
    async with connection.transaction(readonly=True, isolation="repeatable_read"):
        total = await connection.fetchval(f"SELECT count(*) FROM {change.source}")  # noqa: S608 - its own words
        hit = await connection.fetchval(change.query("count(*)"))
        value = await _versions(connection, change)
        inner = change.query("*")
        rows = await connection.fetch(f"SELECT row_to_json(q)::text AS row FROM ({inner}) q LIMIT {SAMPLE}")  # noqa: S608
    verb = "change" if change.verb == "update" else "go"
    if every or (hit and hit == total):
        found.say("Rows", f"all rows (N = {total:,}) of {change.table} {verb}", warning=True)
    else:
        found.say("Rows", f"{counted(hit, 'row')} {verb}, of {total:,} in {change.table}")
    _sample(f"Rows of {change.table} as they are", [row["row"] for row in rows], hit, found)
    if not value:
        found.unknown(
            "Not checked again", f"more than {MAX_VERSIONS:,} rows: whether they change meanwhile is not known"
        )
    return value


async def _versions(connection: "Connection", change: Change) -> str:
    """Digest of which versions of which rows it is about; empty for too many. A row's version changes with any write to it."""
    query = change.query("tableoid::bigint AS t, ctid::text AS c, xmin::text AS x")
    rows = await connection.fetch(f"{query} ORDER BY 1, 2 LIMIT {MAX_VERSIONS + 1}")
    if len(rows) > MAX_VERSIONS:
        return ""
    return sha256_digest(canonical([[row["t"], row["c"], row["x"]] for row in rows]))


async def _run_and_roll_back(connection: "Connection", text: str, found: Found) -> None:
    transaction = connection.transaction()
    await transaction.start()
    try:
        statement = await connection.prepare(text)  # by the extended protocol, which takes one statement and no more
        await statement.fetch()
        status = (statement.get_statusmsg() or "").rpartition(" ")[2]
        mine = f"WHERE q.xmin = pg_current_xact_id()::xid LIMIT {SAMPLE}"
        table = sql_facts(text, DIALECT).tables[0]
        rows = await connection.fetch(f"SELECT row_to_json(q)::text AS row FROM {table} q {mine}")  # noqa: S608 - folded name
    finally:
        await transaction.rollback()
    count = int(status) if status.isdigit() else 0
    found.say("Run and rolled back", f"{counted(count, 'row')}; numbers that sequences gave stay taken")
    _sample("Rows as they would be", [row["row"] for row in rows], max(count, len(rows)), found)


async def _explained(connection: "Connection", text: str, found: Found) -> None:
    async with connection.transaction(readonly=True):
        plan = json.loads(await connection.fetchval(f"EXPLAIN (FORMAT JSON) {text}"))
    guess = _guess(plan[0]["Plan"] if isinstance(plan, list) and plan else {})
    found.unknown("Rows", f"unknown number of rows; the planner guesses {guess:,}")


def _guess(plan: dict[str, Any]) -> int:
    inner = plan.get("Plans", [])
    return max([int(plan.get("Plan Rows", 0)), *(int(one.get("Plan Rows", 0)) for one in inner)])


def _sample(title: str, rows: list[str], total: int, found: Found) -> None:
    read = [json.loads(row) for row in rows]
    head = list(dict.fromkeys(name for row in read for name in row))
    body = [[cut("NULL" if row.get(name) is None else str(row.get(name)), MAX_CELL) for name in head] for row in read]
    if body:
        found.table(title, head, body, left_out=max(0, total - len(body)))
