"""A plain change is cut out of its own words, or is none."""

import pytest

from lictor.previews.statement import plain_change


@pytest.mark.parametrize(
    ("text", "source", "table", "condition"),
    [
        ("UPDATE users SET admin=true", "users", "users", ""),
        (
            "update ONLY a.b AS x set c = sum(1) filter (where 1=1) where x.id in (1,2) returning *",
            "ONLY a.b AS x",
            "a.b",
            "x.id in (1,2)",
        ),
        ("DELETE FROM \"T t\" WHERE a = 'where'", '"T t"', '"T t"', "a = 'where'"),
        ("delete from t x where 1=1 -- all\n;", "t x", "t", "1=1"),
        ("DELETE FROM t RETURNING id", "t", "t", ""),
        ("UPDATE t SET a = b -- where\n WHERE c", "t", "t", "c"),
    ],
)
def test_plain(text: str, source: str, table: str, condition: str) -> None:
    """Table and condition as written."""
    found = plain_change(text, "postgres")
    assert found is not None
    assert (found.source, found.table, found.condition) == (source, table, condition)


@pytest.mark.parametrize(
    "text",
    [
        "UPDATE t SET a=1 FROM u WHERE t.x=u.x",
        "DELETE FROM t USING u WHERE t.a=u.a",
        "WITH x AS (SELECT 1) DELETE FROM t",
        "DELETE FROM t; DELETE FROM u",
        "DELETE FROM t WHERE CURRENT OF c",
        "INSERT INTO t VALUES (1)",
        "SELECT 1",
        "UPDATE t",
        "DELETE FROM",
        "DROP TABLE t",
        "DELETE FROM t, u WHERE true",
        "UPDATE t * SET a=1",
        "DELETE FROM t WHERE",
        "",
        "DELETE FROM f(1) WHERE true",
    ],
)
def test_not_plain(text: str) -> None:
    """More tables, cursors, other statements."""
    assert plain_change(text, "postgres") is None
