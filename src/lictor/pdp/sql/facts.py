"""SQL text as typed facts: what kinds of statements, on which tables, calling what, and whether it provably only reads.

"The top node is SELECT" is not "read only": 13 of 15 such texts wrote, locked, read files or ran remote SQL (facts, security
goals). So the proof is positive: every statement, node, function and word has to be known to read. Whatever is not proven is a
write; whatever is not read for certain is refused. Refuses to know what views and triggers behind the names do: grants of the
database account belong there.
"""

from typing import Any, Final

import msgspec

from lictor.pdp.sql.lexer import statements, unknown

CEDAR_TYPE: Final = (
    "{ statements: Long, kinds: Set<String>, read_only: Bool, tables: Set<String>, "
    "functions: Set<String>, where: Bool, stacked: Bool }"
)
"""The Cedar record type of `SqlFacts.cedar()`; every member is required."""

KINDS: Final = frozenset(
    ["select", "insert", "update", "delete", "merge", "ddl", "call", "copy", "set", "transaction", "explain", "other"]
)
DIALECTS: Final = frozenset(
    [
        "postgres",
        "mysql",
        "sqlite",
        "bigquery",
        "clickhouse",
        "databricks",
        "duckdb",
        "oracle",
        "redshift",
        "snowflake",
        "trino",
        "tsql",
    ]
)
"""Dialects a catalogue may declare. Only the first three have lists of pure functions and scanners of their own; in the others
a query that calls anything is a write, and only text that all dialects read alike is accepted."""
PROVABLE: Final = frozenset(["postgres", "mysql", "sqlite"])


class SqlFacts(msgspec.Struct, frozen=True, kw_only=True):
    """What a query text does. Tuples are sorted and without repetition."""

    statements: int
    kinds: tuple[str, ...]
    """Of `KINDS`: of every statement and of every data-modifying part within one."""
    read_only: bool
    """Provably nothing but queries. False means: treat it as a write."""
    tables: tuple[str, ...]
    """Named tables, dotted as written, folded as the dialect does. `*` stands for tables that cannot be named."""
    functions: tuple[str, ...]
    """Called functions, lower case, dotted as written. `*` stands for what cannot be named."""
    where: bool
    """Every UPDATE and DELETE has a condition on the data. True where there is none of them, false where that is not known."""
    stacked: bool
    """More than one statement."""

    def cedar(self) -> dict[str, Any]:
        """Plain Cedar JSON of type `CEDAR_TYPE`."""
        return {
            "statements": self.statements,
            "kinds": list(self.kinds),
            "read_only": self.read_only,
            "tables": list(self.tables),
            "functions": list(self.functions),
            "where": self.where,
            "stacked": self.stacked,
        }


def sql_facts(text: str, dialect: str) -> SqlFacts:
    """The facts of a query text in a declared dialect (one of `DIALECTS`).

    Raises:
        CallerError: `unknown_query`: not a text, a dialect that is not known, over a bound, malformed, or read differently by two
            readers.
    """
    if not isinstance(text, str):
        raise unknown("the query is missing or not a string")
    if dialect not in DIALECTS:
        raise unknown(f"the dialect {dialect[:40]!r} is not known")
    # The parser takes a tenth of a second to import; bundles without SQL never pay for it.
    from lictor.pdp.sql.tree import judge  # noqa: PLC0415

    judged = [judge(tokens, text, dialect) for tokens in statements(text, dialect)]
    return SqlFacts(
        statements=len(judged),
        kinds=tuple(sorted({kind for one in judged for kind in one.kinds})),
        read_only=dialect in PROVABLE and all(one.read_only for one in judged),
        tables=tuple(sorted({name for one in judged for name in one.tables})),
        functions=tuple(sorted({name for one in judged for name in one.functions})),
        where=all(one.where for one in judged),
        stacked=len(judged) > 1,
    )
