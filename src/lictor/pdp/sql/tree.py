"""One SQL statement into facts, through sqlglot's tree; imported only where a bundle reads SQL.

A parser is a helper here, not a judge: its tokens have to cover ours exactly, every node of its tree has to be one that is known
to read, and every call is named by our own tokens, because the parser renames functions. Its work is counted, because its time
can double with each level of nesting. Refuses to know what a policy makes of the facts.
"""

from itertools import pairwise
from typing import Any, Final, NamedTuple

from sqlglot import exp
from sqlglot.dialects.dialect import Dialect
from sqlglot.errors import SqlglotError
from sqlglot.parser import Parser, logger
from sqlglot.tokenizer_core import Token as ParserToken
from sqlglot.tokenizer_core import TokenType

from lictor.pdp.sql.lexer import Token, unknown
from lictor.pdp.sql.names import (
    EXPLAIN,
    EXPLAIN_OPTIONS,
    NOT_FUNCTIONS,
    OPAQUE,
    PARSED,
    PURE_FUNCTIONS,
    TYPE_NAMES,
    WRITE_WORDS,
)
from lictor.pdp.sql.tables import tables_of

ANY: Final = "*"
"""In `tables` and `functions`: something that cannot be named. No list a policy writes contains it."""
# The parser writes hostile text into its log; what it has to say comes back as an error.
logger.disabled = True

_STEPS_PER_TOKEN: Final = 20
_STEPS: Final = 1_000
_FAILURES: Final = (SqlglotError, RecursionError, ValueError, TypeError, AttributeError, LookupError, AssertionError)
"""What a parser of hostile text raises, its own defects included: each is a refusal."""

_READING_WORDS: Final = """
Select From Where Join Group Having Order Ordered Limit Offset Fetch LimitOptions Distinct With CTE TableAlias Alias
Aliases Subquery Union Intersect Except Values Tuple Table Column Identifier Star Literal Null Boolean Paren Dot
Lateral Window WindowSpec Windows Filter WithinGroup TableSample Cube Rollup GroupingSets IgnoreNulls RespectNulls
IndexTableHint Placeholder Parameter Var Interval IntervalSpan DataType DataTypeParam Bracket Slice Collate
AtTimeZone Escape In Between Not Neg BitwiseNot Is Any All Exists JSONPath JSONPathRoot JSONPathKey
JSONPathSubscript RawString ByteString HexString BitString SessionParameter Default Default_ HavingMax National
JSONKeyValue JSONExtractQuote PositionalColumn CharacterSet Introducer Lambda
"""
_READING: Final = frozenset(_READING_WORDS.split())
"""Classes of nodes that read. Beside them: operators and functions, except those below."""
_NOT_READING: Final = frozenset(["PropertyEQ", "Operator", "NextValueFor", "ColumnDef", "Kwarg", "Pragma", "ToMap"])
_WRITES: Final[tuple[tuple[type[Any], str], ...]] = (
    (exp.Insert, "insert"),
    (exp.Update, "update"),
    (exp.Delete, "delete"),
    (exp.Merge, "merge"),
    (exp.Into, "ddl"),
    (exp.Create, "ddl"),
    (exp.Drop, "ddl"),
    (exp.Alter, "ddl"),
    (exp.TruncateTable, "ddl"),
)


class Judged(NamedTuple):
    """What is known of one statement; the members are those of `SqlFacts`."""

    kinds: frozenset[str]
    read_only: bool
    tables: frozenset[str]
    functions: frozenset[str]
    where: bool


def judge(tokens: list[Token], text: str, dialect: str) -> Judged:
    """The facts of one statement, given as its tokens; `text` is the whole text they were taken from.

    Raises:
        CallerError: `unknown_query`: the parser fails, gives up, or reads the text in another way than our scanner.
    """
    first = tokens[0].text.lower() if tokens[0].kind in ("word", "op") else ""
    if first in EXPLAIN:
        return _explained(tokens, text, dialect)
    if first == "show":
        return Judged(frozenset(["other"]), _plain_show(tokens, dialect), frozenset([ANY]), frozenset(), where=True)
    if first in OPAQUE:
        return _opaque(OPAQUE[first])
    if first not in PARSED:
        raise unknown(f"no statement begins with {tokens[0].text[:40]!r}")
    tree = _parsed(tokens, text, dialect)
    return _judged(tree, tokens, dialect)


def _opaque(kind: str) -> Judged:
    everything = frozenset[str]() if kind == "transaction" else frozenset([ANY])
    return Judged(
        frozenset([kind]), read_only=False, tables=everything, functions=everything, where=kind == "transaction"
    )


def _plain_show(tokens: list[Token], dialect: str) -> bool:
    """`SHOW` of PostgreSQL and MySQL reads settings and definitions; with an expression in it it might compute."""
    return (
        dialect in PURE_FUNCTIONS
        and dialect != "sqlite"
        and all(token.kind in ("word", "quoted", "string") or token.text == "." for token in tokens)
    )


def _explained(tokens: list[Token], text: str, dialect: str) -> Judged:
    """What is explained counts as if it ran: with ANALYZE it does."""
    index = 1
    while index < len(tokens) and (tokens[index].text in "(),=" or tokens[index].text.lower() in EXPLAIN_OPTIONS):
        if tokens[index].text == "(" and index > 1:
            break
        index += 1
    rest = tokens[index:]
    if not rest:
        raise unknown("nothing is explained")
    if dialect == "mysql" and _is_name(rest):
        return Judged(
            frozenset(["explain"]), read_only=True, tables=frozenset([ANY]), functions=frozenset(), where=True
        )
    if rest[0].text.lower() not in PARSED:
        return _opaque("explain")
    inner = judge(rest, text, dialect)
    return inner._replace(kinds=inner.kinds | {"explain"})


def _is_name(tokens: list[Token]) -> bool:
    """One table, perhaps dotted: MySQL's `DESCRIBE t`. Words in a row may be a statement: `EXPLAIN DELETE FROM t`."""
    first = tokens[0].text.lower()
    names, dots = tokens[::2], tokens[1::2]
    return (
        len(tokens) % 2 == 1
        and first not in PARSED
        and first not in OPAQUE
        and all(token.kind in ("word", "quoted") for token in names)
        and all(token.text == "." for token in dots)
    )


# -- the parser, on a short lead -----------------------------------------------------------------------------------------


def _parsed(tokens: list[Token], text: str, dialect: str) -> exp.Expr:
    source = text[: tokens[-1].end]
    start = tokens[0].start
    if tokens[0].text.lower() == "replace":
        # The parser keeps `REPLACE INTO` as text; it is an insert that also deletes.
        source = source[:start] + "insert " + source[start + 7 :]
        tokens = [Token("word", "insert", start, start + 6), *tokens[1:]]
    try:
        grammar = Dialect.get_or_raise(dialect)
        read = grammar.tokenize(" " * start + source[start:])
        _same_boundaries(tokens, read)
        parser = _bounded(grammar, _STEPS + _STEPS_PER_TOKEN * len(read))
        trees = parser.parse(read, source)
    except _FAILURES as error:
        raise unknown(f"the query is not understood ({type(error).__name__})") from error
    if parser.steps == 0 or len(trees) != 1 or trees[0] is None:
        raise unknown("the query is not one statement")
    tree: exp.Expr = trees[0]
    return tree


class _Lead:
    """A parser that counts its steps and never keeps a statement as text."""

    steps: int
    budget: int


_PARSERS: Final[dict[type[Any], type[Any]]] = {}


def _bounded(grammar: Dialect, budget: int) -> Any:
    """A parser of this dialect that gives up after `budget` steps."""
    base = grammar.parser_class
    if base not in _PARSERS:
        _PARSERS[base] = _leashed(base)
    parser = _PARSERS[base](dialect=grammar)
    parser.steps = 0
    parser.budget = budget
    return parser


def _leashed(base: type[Parser]) -> type[Parser]:
    class Bounded(base, _Lead):  # type: ignore[misc,valid-type]
        def _advance(self, times: int = 1) -> None:
            self.steps += 1
            if self.steps > self.budget:
                raise RecursionError("the parser takes too many steps")
            super()._advance(times)

        def _warn_unsupported(self) -> None:
            raise ValueError("the statement would be kept as text")

    return Bounded


def _same_boundaries(ours: list[Token], read: list[ParserToken]) -> None:
    """Every token of ours lies within one of the parser's, every literal is exactly one, and nothing of a comment is a token.

    Raises:
        CallerError: `unknown_query`.
    """
    position = 0
    for token in read:
        covered = position
        while position < len(ours) and ours[position].end <= token.end + 1:
            position += 1
        inside = ours[covered:position]
        starts = bool(inside) and inside[0].start == token.start and inside[-1].end == token.end + 1
        literal = any(one.kind in ("string", "quoted") for one in inside)
        if not starts or (literal and len(inside) != 1) or token.token_type is TokenType.SEMICOLON:
            raise unknown("two readers of the query disagree on where a token ends")
        if literal is not (token.token_type in _LITERALS):
            raise unknown("two readers of the query disagree on what a literal is")
    if position != len(ours):
        raise unknown("two readers of the query disagree on where it ends")


_LITERALS: Final = frozenset(
    [
        TokenType.STRING,
        TokenType.IDENTIFIER,
        TokenType.BIT_STRING,
        TokenType.HEX_STRING,
        TokenType.BYTE_STRING,
        TokenType.HEREDOC_STRING,
        TokenType.RAW_STRING,
        TokenType.NATIONAL_STRING,
        TokenType.UNICODE_STRING,
    ]
)


# -- the tree ------------------------------------------------------------------------------------------------------------


def _judged(tree: exp.Expr, tokens: list[Token], dialect: str) -> Judged:
    nodes = list(tree.walk())
    kinds = {kind for node in nodes for known, kind in _WRITES if isinstance(node, known)}
    if isinstance(tree, exp.Query | exp.Values):
        kinds.add("select")
    if not kinds:
        raise unknown(f"a statement of kind {type(tree).__name__.lower()!r} is not understood")
    calls = _calls(tokens, nodes)
    read_only = (
        kinds == {"select"}
        and all(_reads(node) for node in nodes)
        and calls <= PURE_FUNCTIONS.get(dialect, frozenset())
        and not _writing_word(tokens)
    )
    where = all(_filtered(node) for node in nodes if isinstance(node, exp.Update | exp.Delete))
    return Judged(frozenset(kinds), read_only, tables_of(nodes, dialect), frozenset(calls - TYPE_NAMES), where)


def _filtered(node: exp.Expr) -> bool:
    """Whether a change is limited by a condition on the data: `WHERE true` limits nothing. A branch of MERGE has its own."""
    if isinstance(node.parent, exp.When):
        return True
    where = node.args.get("where")
    return where is not None and where.find(exp.Column) is not None


def _reads(node: exp.Expr) -> bool:
    name = type(node).__name__
    if name in _NOT_READING:
        return False
    if isinstance(node, exp.DataType):
        return node.this is not exp.DType.USERDEFINED
    if isinstance(node, exp.Select):
        return not node.args.get("into") and not node.args.get("locks")
    return name in _READING or isinstance(node, exp.Func | exp.Binary | exp.Unary | exp.Predicate)


def _writing_word(tokens: list[Token]) -> bool:
    """A word that only a write needs. The tree has no place for some of them, and what it drops it does not report."""
    words = [token.text.lower() if token.kind == "word" else "" for token in tokens]
    if not WRITE_WORDS.isdisjoint(words):
        return True
    pairs = set(pairwise(words))
    return not pairs.isdisjoint([("next", "value"), ("for", "share"), ("for", "no"), ("for", "key"), ("share", "mode")])


def _calls(tokens: list[Token], nodes: list[exp.Expr]) -> set[str]:
    """Names of everything called, as written: a name with an opening parenthesis behind it, unless the tree says it is none."""
    declared = _declared(nodes)
    found = {name for node in nodes if (name := _anonymous(node))}
    for index, token in enumerate(tokens[1:], 1):
        before = tokens[index - 1]
        if token.text != "(" or token.kind != "op" or before.kind not in ("word", "quoted"):
            continue
        if before.start in declared or (before.kind == "word" and before.text.lower() in NOT_FUNCTIONS):
            continue
        found.add(_qualified(tokens, index - 1))
    return {name.removeprefix("pg_catalog.") for name in found}


def _anonymous(node: exp.Expr) -> str:
    """The bare name of a call that the parser does not know, in case it is spelled like a keyword of ours."""
    name = node.name.lower() if isinstance(node, exp.Anonymous | exp.AnonymousAggFunc) else ""
    return name if name in NOT_FUNCTIONS and name not in _BENIGN else ""


_BENIGN: Final = frozenset(["values", "any", "all", "some", "exists", "array", "row", "rows"])


def _declared(nodes: list[exp.Expr]) -> set[int]:
    """Where names stand that take columns in parentheses and call nothing: aliases, and tables that are written or made."""
    found: set[int] = set()
    for node in nodes:
        if isinstance(node, exp.Identifier) and isinstance(
            node.parent, exp.TableAlias | exp.Table | exp.Schema | exp.Index
        ):
            start = node.meta.get("start")
            if isinstance(start, int):
                found.add(start)
    return found


def _qualified(tokens: list[Token], index: int) -> str:
    """The dotted name that ends at a token, lower case, without its quotes."""
    parts = [_plain(tokens[index])]
    while index >= 2 and tokens[index - 1].text == "." and tokens[index - 2].kind in ("word", "quoted"):
        index -= 2
        parts.append(_plain(tokens[index]))
    return ".".join(reversed(parts))


def _plain(token: Token) -> str:
    """A quoted name keeps its case and, where it is not a plain word, its quotes: `"Lower"` is not `lower`."""
    if token.kind == "word":
        return token.text.lower()
    inner = token.text[1:-1]
    return inner if inner.isidentifier() else token.text
