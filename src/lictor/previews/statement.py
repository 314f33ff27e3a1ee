"""A plain change of rows, cut out of its own text: which table, under which condition. Pure.

Only the exact words of the statement are used, so what is counted is what will be changed. Anything beside one table and one
condition (another FROM, USING, WITH, a cursor) is no plain change. Refuses to know databases.
"""

from itertools import pairwise
from typing import Final, Literal

import msgspec

from lictor.model.errors import CallerError
from lictor.pdp.sql.lexer import Token, statements

_ELSEWHERE: Final = frozenset({"from", "using", "with", "limit", "order", "join", "natural", "cross", "default"})
"""Words at the top level of a change that bring in more than one table, or pick among its rows."""


class Change(msgspec.Struct, frozen=True, kw_only=True):
    """One UPDATE or DELETE of one table."""

    verb: Literal["update", "delete"]
    source: str
    """The table as written, with ONLY and alias: what stands behind FROM in a query."""
    table: str
    """The table's name alone, as written."""
    condition: str
    """Empty: every row."""

    def query(self, columns: str) -> str:
        """The rows it is about, as a query."""
        where = f" WHERE ({self.condition}\n)" if self.condition else ""
        return f"SELECT {columns} FROM {self.source}{where}"  # noqa: S608 - the statement's own words, proven to read


def plain_change(text: str, dialect: str) -> Change | None:
    """The change that a text is; None: it is another statement, several, or not plain."""
    try:
        found = statements(text, dialect)
    except CallerError:
        return None
    if len(found) != 1:
        return None
    tokens = found[0]
    words = [_word(token) for token in tokens]
    match words[:2]:
        case ["update", _]:
            return _change("update", text, tokens, words, 1, "set")
        case ["delete", "from"]:
            return _change("delete", text, tokens, words, 2, "where")
        case _:
            return None


def inserted(text: str, dialect: str) -> int | None:
    """How many rows an INSERT names itself; None: it is another statement, or takes rows from elsewhere."""
    try:
        found = statements(text, dialect)
    except CallerError:
        return None
    words = [_word(token) for token in found[0]]
    if len(found) != 1 or words[:2] != ["insert", "into"]:
        return None
    top = _top(found[0])
    start = next((i for i in top if words[i] == "values"), None)
    if start is None or "select" in words or "table" in words:
        return None
    stop = next((i for i in top if i > start and words[i] == "returning"), len(words))
    between = [found[0][i].text for i in top if start < i < stop]
    # Of a row in parentheses only the closing one is at the top level.
    return between.count(")") if between and set(between) <= {")", ","} else None


def _change(
    verb: Literal["update", "delete"], text: str, tokens: list[Token], words: list[str], start: int, ends: str
) -> Change | None:
    top = _top(tokens)
    end = next((i for i in top if i >= start and words[i] in {ends, "where", "returning"}), len(tokens))
    name_at = start + (words[start : start + 1] == ["only"])
    name_end = name_at
    while name_end < end and (name_end == name_at or tokens[name_end - 1].text == "." or tokens[name_end].text == "."):
        name_end += 1
    if name_end == name_at or (verb == "update" and (end == len(tokens) or words[end] != "set")):
        return None
    alias = tokens[name_end:end]
    named = [_word(token) for token in alias]
    if (
        len(alias) > 2
        or any(token.kind not in {"word", "quoted"} for token in alias)
        or not _ELSEWHERE.isdisjoint(named)
    ):
        return None
    where = next((i for i in top if i >= end and words[i] == "where"), None)
    stop = next((i for i in top if i >= end and words[i] == "returning"), len(tokens))
    between = [words[i] for i in top if i >= end and i < stop]
    if not _ELSEWHERE.isdisjoint(between) or ("current", "of") in set(pairwise(between)):
        return None
    if verb == "update" and not {"select", "table"}.isdisjoint(words[end : where if where is not None else stop]):
        return None  # what its rows become stands in other rows, of which no version of its own rows says anything
    condition = text[tokens[where].end : tokens[stop - 1].end].strip() if where is not None else ""
    if where is not None and (not condition or stop <= where):
        return None
    source = text[tokens[start].start : tokens[end - 1].end]
    table = text[tokens[name_at].start : tokens[name_end - 1].end]
    return Change(verb=verb, source=source, table=table, condition=condition)


def _word(token: Token) -> str:
    return token.text.lower() if token.kind == "word" else ""


def _top(tokens: list[Token]) -> list[int]:
    """Positions outside all parentheses."""
    found, depth = [], 0
    for index, token in enumerate(tokens):
        depth += {"(": 1, "[": 1, ")": -1, "]": -1}.get(token.text, 0) if token.kind == "op" else 0
        if depth == 0:
            found.append(index)
    return found
