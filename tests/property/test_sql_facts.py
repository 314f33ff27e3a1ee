"""SQL facts against two judges that are not ours: SQLite's own authorizer, and PostgreSQL's own parser (libpg_query)."""

import functools
import json
import re
import sqlite3
from collections.abc import Callable, Iterator
from typing import Any

import pglast
import pytest
import sqlglot
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlglot import exp

from lictor.model.errors import CallerError
from lictor.model.reasons import Reason
from lictor.pdp.sql import SqlFacts, sql_facts
from lictor.pdp.sql.names import PURE_FUNCTIONS

FactsOf = Callable[[str, str], SqlFacts]

# -- texts: valid ones from a small grammar, hostile ones by dropping something into them ---------------------------------

_NAMES = st.sampled_from(["t", "u", "T", '"A b"', "main.t", '"U"', "v"])
_COLUMNS = st.sampled_from(["a", "b", "t.a", '"a"', "*", "x.a"])
_LITERALS = st.sampled_from(
    ["1", "'x'", "''", "'it''s'", "';drop table t'", "'/*'", "'--'", "x'00'", "null", "'\\'", "1.5e3"]
)
_CALLS = st.sampled_from(
    ["lower", "abs", "count", "coalesce", "max", "nextval", "pg_sleep", "load_extension", "random", "pg_read_file", '"abs"', "changes",
     "filter", "json_each", "query_to_xml", "left", "set_config", "replace", "pg_catalog.lower", "public.lower"]
)  # fmt: skip
_GAPS = st.sampled_from([" ", " ", " ", "\n", "/* c */", " -- x\n", "/*;*/", "\t", "/**/"])
_DROPPED = st.sampled_from(
    ["'", '"', ";", "/*", "*/", "--", "\\", "`", "[", "]", "$$", "$x$", "E'", "(", ")", "/*!", " into z ", " for update ", "; drop table t", "\x00",
     "\u00a0", "#", "::", " operator(pg_catalog.+) ", "U&'", " returning ", "{", "\r", "@", "é", " as materialized ", " only ", " union "]
)  # fmt: skip


@st.composite
def expressions(draw: st.DrawFn, depth: int = 2) -> str:
    """An expression, with sub-queries and calls in it."""
    shape = draw(st.integers(0, 9 if depth else 1))
    sub = expressions(depth - 1) if depth else _LITERALS
    match shape:
        case 0:
            return draw(_COLUMNS.filter(lambda name: name != "*"))
        case 1:
            return draw(_LITERALS)
        case 2:
            return f"{draw(_CALLS)}({draw(sub)})"
        case 3:
            operator = draw(st.sampled_from(["+", "=", "||", "and", "like", "is not", "->>", "in (1) or"]))
            return f"{draw(sub)} {operator} {draw(sub)}"
        case 4:
            return f"({draw(selects(depth - 1))})"
        case 5:
            return f"exists ({draw(selects(depth - 1))})"
        case 6:
            return f"{draw(sub)} in ({draw(selects(depth - 1))})"
        case 7:
            return f"case when {draw(sub)} then {draw(sub)} end"
        case 8:
            return f"cast({draw(sub)} as {draw(st.sampled_from(['text', 'integer', 'mytype', 'varchar(3)']))})"
        case _:
            return f"{draw(_CALLS)}({draw(sub)}) over (partition by {draw(sub)})"


@st.composite
def sources(draw: st.DrawFn, depth: int) -> str:
    """What stands behind FROM."""
    match draw(st.integers(0, 5 if depth > 0 else 1)):
        case 0:
            return draw(_NAMES)
        case 1:
            return f"{draw(_NAMES)} as x"
        case 2:
            return f"({draw(selects(depth - 1))}) as x"
        case 3:
            return f"{draw(_NAMES)}, {draw(sources(depth - 1))}"
        case 4:
            return f"{draw(_NAMES)} left join {draw(sources(depth - 1))} on {draw(expressions(0))}"
        case _:
            return draw(
                st.sampled_from(
                    ["json_each('[1]')", "pragma_table_info('t')", "generate_series(1,2)", "lateral (select 1) x"]
                )
            )


@st.composite
def selects(draw: st.DrawFn, depth: int = 2) -> str:
    """A query; its common table expressions bear the names of tables, so that scope matters."""
    parts = []
    if depth > 0 and draw(st.booleans()):
        made = [
            f"{draw(_NAMES)} as ({draw(st.one_of(selects(depth - 1), changes(depth - 1)))})"
            for _ in range(draw(st.integers(1, 2)))
        ]
        parts.append(f"with {draw(st.sampled_from(['', 'recursive ']))}{', '.join(made)}")
    parts.append(f"select {draw(st.one_of(_COLUMNS, expressions(max(depth, 0))))}")
    if draw(st.booleans()):
        parts.append(f"from {draw(sources(depth))}")
    if draw(st.booleans()):
        parts.append(f"where {draw(expressions(max(depth, 0)))}")
    if depth > 0 and draw(st.integers(0, 3)) == 0:
        parts.append(f"union all {draw(selects(depth - 1))}")
    if draw(st.integers(0, 5)) == 0:
        parts.append(
            draw(
                st.sampled_from(
                    ["limit 1", "order by 1", "for update", "for share", "group by 1", "fetch first row only"]
                )
            )
        )
    return " ".join(parts)


@st.composite
def changes(draw: st.DrawFn, depth: int = 1) -> str:
    """A statement that writes, or one of the odd ones."""
    name = draw(_NAMES)
    return draw(
        st.sampled_from(
            [f"insert into {name}(a) values (1) returning a", f"update {name} set a = 1", f"delete from {name} where a = 1 returning *",
             f"insert into {name} select * from u", f"select * into z from {name}", f"create table z as select * from {name}", f"drop table {name}",
             "pragma user_version", "pragma user_version = 3", "begin", "explain select 1", f"explain analyze delete from {name}", "vacuum",
             f"replace into {name}(a) values (1)", "values (1), (2)", f"table {name}", f"update {name} set a = 1 where 1 = 1"]
        )
    )  # fmt: skip


@st.composite
def texts(draw: st.DrawFn) -> str:
    """One or two statements with odd gaps, and often with something dropped into the middle."""
    text = draw(st.one_of(selects(), selects(), changes()))
    if draw(st.integers(0, 9)) == 0:
        text = f"{text}; {draw(st.one_of(selects(1), changes()))}"
    if draw(st.booleans()):
        text = "".join(draw(_GAPS) if char == " " else char for char in text)
    for _ in range(draw(st.sampled_from([0, 0, 1, 1, 2]))):
        position = draw(st.integers(0, len(text)))
        text = text[:position] + draw(_DROPPED) + text[position:]
    return text


# -- SQLite: what its authorizer sees --------------------------------------------------------------------------------------

_READING = {sqlite3.SQLITE_SELECT, sqlite3.SQLITE_READ, sqlite3.SQLITE_FUNCTION, sqlite3.SQLITE_RECURSIVE}
_BY_OPERATOR = {"->", "->>", "like", "glob", "match", "regexp"}


@functools.cache
def database() -> sqlite3.Connection:
    """Tables that the texts name."""
    connection = sqlite3.connect(":memory:")
    connection.executescript('create table t(a, b); create table u(a, c); create table v(a); create table "A b"(a);')
    for function in ("json_each('[1]')", "json_tree('[1]')", "pragma_table_info('t')"):
        connection.execute(
            f"select * from {function}"
        ).fetchall()  # on first use SQLite declares it, which looks like a write
    return connection


def seen_by_sqlite(text: str) -> tuple[list[tuple[int, str, str]], bool] | None:
    """Every action the text needs, and whether there is a second statement; None where SQLite refuses it."""
    seen: list[tuple[int, str, str]] = []

    def allow(action: int, first: str | None, second: str | None, *_: Any) -> int:
        seen.append((action, (first or "").lower(), (second or "").lower()))
        return sqlite3.SQLITE_OK

    connection = database()
    connection.set_authorizer(allow)
    try:
        connection.execute(f"explain {text}")
    except sqlite3.Warning:
        return seen, True
    except (sqlite3.Error, ValueError, UnicodeError) as error:
        return (seen, True) if "one statement" in str(error) else None
    finally:
        connection.set_authorizer(None)
        connection.rollback()
    return seen, False


def check_sqlite(facts_of: FactsOf, text: str) -> None:
    """Whatever the authorizer sees as more than reading is no read; whatever it reads is named; a second statement is seen."""
    try:
        facts = facts_of(text, "sqlite")
    except CallerError as error:
        assert error.reason is Reason.UNKNOWN_QUERY
        return
    if text.lower().lstrip().startswith("explain"):
        return
    judged = seen_by_sqlite(text)
    if judged is None:
        return
    seen, stacked = judged
    assert facts.stacked or not stacked, text
    if stacked:
        return
    names = {name.rpartition(".")[2].strip('"').lower() for name in facts.tables} | set(facts.functions)
    read = {
        name for action, name, _ in seen if action == sqlite3.SQLITE_READ and not name.startswith("sqlite_") and name
    }
    assert "*" in facts.tables or read <= names, (text, read, facts)
    if facts.read_only:
        assert {action for action, _, _ in seen} <= _READING, (text, seen)
        called = {name for action, _, name in seen if action == sqlite3.SQLITE_FUNCTION}
        assert called <= PURE_FUNCTIONS["sqlite"] | _BY_OPERATOR, (text, called)


# -- PostgreSQL: what its own grammar sees ---------------------------------------------------------------------------------

_WRITING = {
    "intoClause",
    "lockingClause",
    "InsertStmt",
    "UpdateStmt",
    "DeleteStmt",
    "MergeStmt",
    "CopyStmt",
    "CreateTableAsStmt",
    "CallStmt",
}
_BY_SYNTAX = {
    "timezone",
    "like_escape",
    "similar_to_escape",
    "position",
    "overlay",
    "date_part",
    "xmlexists",
    "pg_collation_for",
    "is_normalized",
}


def members(node: Any) -> Iterator[tuple[str, Any]]:
    """Every member of a JSON tree, at any depth."""
    if isinstance(node, dict):
        for key, value in node.items():
            yield key, value
            yield from members(value)
    elif isinstance(node, list):
        for item in node:
            yield from members(item)


def tables_in(node: Any, scope: frozenset[str] = frozenset()) -> Iterator[str]:
    """Tables by PostgreSQL's rules of scope: a WITH holds for its statement, and for its own later queries."""
    if isinstance(node, list):
        for item in node:
            yield from tables_in(item, scope)
    if not isinstance(node, dict):
        return
    if "RangeVar" in node or "relname" in node:
        variable = node.get("RangeVar", node)
        if not ("schemaname" not in variable and variable["relname"] in scope):
            parts = [variable[part] for part in ("catalogname", "schemaname", "relname") if part in variable]
            yield ".".join(
                part if re.fullmatch(r"[^\W\d][\w$]*", part) else '"' + part.replace('"', '""') + '"' for part in parts
            )
        return
    clause = node.get("withClause")
    if isinstance(clause, dict):
        for item in clause["ctes"]:
            cte = item["CommonTableExpr"]
            inner = scope | {cte["ctename"]} if clause.get("recursive") else scope
            yield from tables_in(cte["ctequery"], inner)
            scope |= {cte["ctename"]}
    for key, value in node.items():
        if key == "relation" and isinstance(value, dict) and "relname" in value:
            yield from tables_in(value, frozenset())
        elif key != "withClause":
            yield from tables_in(value, scope)


def check_postgres(facts_of: FactsOf, text: str) -> None:
    """The same number of statements; nothing that writes is read-only; every call is a known one; every table is named."""
    try:
        facts = facts_of(text, "postgres")
    except CallerError as error:
        assert error.reason is Reason.UNKNOWN_QUERY
        return
    try:
        tree = json.loads(pglast.parser.parse_sql_json(text))
    except (pglast.parser.ParseError, UnicodeError, ValueError):
        return
    found = tree.get("stmts", [])
    assert len(found) == facts.statements, text
    tables = set(tables_in(found))
    assert "*" in facts.tables or tables <= set(facts.tables), (text, tables, facts)
    if not facts.read_only:
        return
    for statement in found:
        assert statement["stmt"].keys() <= {"SelectStmt", "ExplainStmt", "VariableShowStmt"}, text
    flat = list(members(found))
    assert not _WRITING & {key for key, _ in flat}, text
    called = {value["funcname"][-1]["String"]["sval"] for key, value in flat if key == "FuncCall"}
    assert called <= PURE_FUNCTIONS["postgres"] | _BY_SYNTAX, (text, called)


_FEW = settings(max_examples=250, deadline=None, suppress_health_check=list(HealthCheck))


@_FEW
@given(texts())
def test_nothing_sqlite_would_write_is_read_only(text: str) -> None:
    """SQLite's authorizer never sees more than reading in what we call read-only, nor a table that we do not name."""
    check_sqlite(sql_facts, text)


@_FEW
@given(texts())
def test_nothing_postgres_would_write_is_read_only(text: str) -> None:
    """PostgreSQL's grammar never sees a write, an unknown call or an unnamed table in what we call read-only."""
    check_postgres(sql_facts, text)


@settings(_FEW, max_examples=300)
@given(st.text(alphabet=st.sampled_from(list("a1'\"`$\\;-/*!#[](){}\n\r\t .,=:@EUx\u00a0\u2028é")), max_size=24))
def test_no_text_makes_anything_but_facts_or_a_refusal(noise: str) -> None:
    """Token noise behind a SELECT ends in facts that both judges bear out, or in `unknown_query`."""
    check_sqlite(sql_facts, f"select {noise}")
    check_postgres(sql_facts, f"select {noise}")


# -- controls: what the checks are for -------------------------------------------------------------------------------------


def top_node(text: str, dialect: str) -> SqlFacts:
    """The usual mistake: a SELECT on top is a read, and every CTE name is no table."""
    trees = [tree for tree in sqlglot.parse(text, read=dialect) if tree]
    ctes = {cte.alias for tree in trees for cte in tree.find_all(exp.CTE)}
    return SqlFacts(
        statements=len(trees),
        kinds=("select",),
        read_only=all(isinstance(tree, exp.Select) for tree in trees),
        tables=tuple(table.name for tree in trees for table in tree.find_all(exp.Table) if table.name not in ctes),
        functions=(),
        where=True,
        stacked=len(trees) > 1,
    )


@pytest.mark.parametrize(
    ("check", "text"),
    [
        (check_sqlite, "select load_extension('x')"),
        (check_sqlite, "select a from t where exists (with t as (select 1) select * from t)"),
        (check_postgres, "with d as (delete from t returning *) select * from d"),
        (check_postgres, "select * into z from t"),
        (check_postgres, "select * from pg_read_file('/etc/passwd')"),
        (check_postgres, "select * from t for update"),
        (check_postgres, "with u as (select a from t), t as (select 1) select * from u"),
    ],
)
def test_a_naive_reader_is_caught(check: Callable[[FactsOf, str], None], text: str) -> None:
    """The same check fails for a judge that looks at the top node only, and holds for ours."""
    check(sql_facts, text)
    with pytest.raises(AssertionError):
        check(top_node, text)
