"""The tables that a statement's tree touches, by name; imported only where a bundle reads SQL.

A name counts as that of a common table expression only where every dialect agrees that it is in scope; in doubt it is a table. So
the list may name too much and never too little. Refuses to know search paths, views and what the names stand for.
"""

import re
from collections.abc import Iterable
from typing import Final

from sqlglot import exp

_PLAIN: Final = re.compile(r"[^\W\d][\w$]*")


def tables_of(nodes: Iterable[exp.Expr], dialect: str) -> frozenset[str]:
    """Names of the tables among the nodes of a tree, dotted, folded as the dialect does; a name that needs quotes keeps them.

    Where the dialect leaves it to the server whether case matters (MySQL and others), a name with capitals is listed as written
    and in lower case: an allow list refuses it, a deny list finds it.
    """
    found: set[str] = set()
    for node in nodes:
        if isinstance(node, exp.Table) and isinstance(node.this, exp.Identifier) and not _is_cte(node, dialect):
            found.update(_names(node, dialect))
        elif isinstance(node, exp.Table) and not isinstance(node.this, exp.Identifier) and not _is_call(node.this):
            found.add("*")
    return frozenset(found)


def _is_call(node: object) -> bool:
    """A table function, perhaps behind the name of a schema."""
    return isinstance(node, exp.Func) or (isinstance(node, exp.Dot) and _is_call(node.expression))


def _names(node: exp.Table, dialect: str) -> Iterable[str]:
    parts = node.parts
    if not all(isinstance(part, exp.Identifier) for part in parts):
        return ["*"]
    written = ".".join(_quoted(part.name) for part in parts)
    folded = ".".join(_quoted(_folded(part, dialect)) for part in parts)
    return [folded] if dialect in ("postgres", "sqlite") else {written, folded}


def _folded(part: exp.Expr, dialect: str) -> str:
    """PostgreSQL keeps the case of a quoted name; SQLite never does. Only ASCII is folded, as both do."""
    if dialect == "postgres" and part.args.get("quoted"):
        return part.name
    return "".join(char.lower() if char.isascii() else char for char in part.name)


def _quoted(name: str) -> str:
    if _PLAIN.fullmatch(name):
        return name
    doubled = name.replace('"', '""')
    return f'"{doubled}"'


def _is_cte(table: exp.Table, dialect: str) -> bool:
    """Whether a bare name is that of a common table expression in scope: one of an enclosing WITH, before this place in it."""
    if table.args.get("db") is not None or _is_target(table):
        return False
    wanted = _folded(table.this, dialect)
    below: exp.Expr = table
    node = table.parent
    inside: exp.CTE | None = None
    while node is not None:
        if isinstance(node, exp.CTE):
            inside = node
        elif isinstance(node, exp.With):
            if wanted in _visible(node, inside, dialect):
                return True
        else:
            clause = node.args.get("with_")
            if isinstance(clause, exp.With) and below is not clause and wanted in _visible(clause, None, dialect):
                return True
        below, node = node, node.parent
    return False


def _visible(clause: exp.With, inside: exp.CTE | None, dialect: str) -> set[str]:
    """Names a WITH gives to a place: all of them behind it; within one of its queries those before, and itself if recursive."""
    names: set[str] = set()
    for cte in clause.expressions:
        alias = cte.args.get("alias")
        name = alias.this if alias is not None else None
        if cte is inside and not clause.args.get("recursive"):
            break
        if isinstance(name, exp.Identifier):
            names.add(_folded(name, dialect))
        if cte is inside:
            break
    return names


def _is_target(table: exp.Table) -> bool:
    """The table a statement writes is never a common table expression."""
    holder = table.parent
    if isinstance(holder, exp.Schema):
        holder = holder.parent
    writing = isinstance(holder, exp.Insert | exp.Update | exp.Delete | exp.Merge | exp.Into | exp.Create | exp.Drop)
    return writing or isinstance(holder, exp.TruncateTable | exp.Alter)
