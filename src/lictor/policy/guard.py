"""What stands before the policy parser: new text is measured first, then parsed in a child process.

The parser kills its process on deep nesting (facts C1) and the syntax tree on long chains (facts C2). So: `scan_policy_text`
counts brackets and sizes without parsing; then a child runs `python -I -m lictor.policy.guard NAME`, reads the text on stdin,
and writes the policies as JSON on stdout (exit 0) or one line on stderr (exit 1). Any other end of the child, a signal or a
timeout included, is a refusal too; spawning it is for an outer layer.

Refuses to know what a policy means.
"""

import re
import sys
from dataclasses import dataclass
from typing import Any, Final

import msgspec

from lictor.model.errors import OperatorError
from lictor.model.reasons import Reason
from lictor.pdp.depth import MAX_EXPRESSION_DEPTH, expression_depth

MAX_FILE_BYTES: Final = 4 * 1024 * 1024
"""Bytes of one policy file in UTF-8: about 10,000 policies."""
MAX_STATEMENT_BYTES: Final = 64 * 1024
"""Bytes of one policy in UTF-8, its comments included (facts C1)."""
MAX_BRACKETS: Final = 64
"""Nested brackets of any kind, outside strings and comments (facts C1: 500 are fine, 700 kill the process)."""
MAX_IFS: Final = 64
"""`if` words in one policy: `else if` nests without brackets."""

MAX_CHAIN: Final = 64
"""Attribute accesses, calls and arithmetic operators in a row: the parser dies of some thousands."""

# Strings and comments exactly as the engine's lexer takes them: a comment ends at LF or CR, a string may span lines, and a
# backslash never stands before a line feed. What this does not take as a string is refused, so the two can not disagree.
_LEXEME: Final = re.compile(r'//[^\n\r]*|"(?:\\[^\n]|[^"\\])*"|"|\bif\b|[\[\](){};]|&&|\|\||[,<>=.+*-]')
_LINKS: Final = frozenset(".+*-")
_BREAKS: Final = frozenset({"&&", "||", ",", "<", ">", "="})
_OPENING: Final = frozenset("([{")
_CLOSING: Final = {")": "(", "]": "[", "}": "{"}
_BLANK: Final = re.compile(r"(?:\s+|//[^\n\r]*)+")


@dataclass(frozen=True, slots=True)
class Statement:
    """One policy as it stands in its file: line (from 1) of its first token, and its text with annotations."""

    line: int
    text: str


def scan_policy_text(name: str, text: str) -> tuple[Statement, ...]:
    """Measure policy text before any parser sees it, and find where each policy stands.

    Args:
        name: the file, for messages.
        text: its content.

    Raises:
        OperatorError: `bundle_refused` with `where="file:line"`: too large, too deep, unbalanced, or a string without end.
    """
    if len(text.encode("utf-8", "surrogatepass")) > MAX_FILE_BYTES:
        raise _refused(name, 1, f"the file is larger than {MAX_FILE_BYTES} bytes")
    statements: list[Statement] = []
    measured = _Measure()
    start = 0
    for match in _LEXEME.finditer(text):
        fault = measured.take(match[0])
        if fault:
            raise _refused(name, _line(text, match.start()), fault)
        if match[0] == ";":
            statements.append(_statement(name, text, start, match.end()))
            start = match.end()
            measured = _Measure()
    rest = _BLANK.match(text, start)
    if (rest.end() if rest else start) != len(text):
        raise _refused(name, _line(text, rest.end() if rest else start), "a policy is not closed with ';'")
    return tuple(statements)


class _Measure:
    """What is counted over the lexemes of one policy."""

    def __init__(self) -> None:
        self._opened: list[str] = []
        self._chains = [0]  # one for each open bracket, the outermost first
        self._ifs = 0

    def take(self, mark: str) -> str:
        """Count one lexeme; what is wrong with it, or nothing."""
        if mark in _OPENING:
            self._opened.append(mark)
            self._chains[-1] += 1
            self._chains.append(0)
        elif mark in _CLOSING:
            if not self._opened or self._opened.pop() != _CLOSING[mark]:
                return f"unexpected {mark!r}"
            self._chains.pop()
        elif mark in _LINKS:
            self._chains[-1] += 1
        elif mark in _BREAKS:
            self._chains[-1] = 0
        elif mark == "if":
            self._ifs += 1
        elif mark == '"':
            return "a string is not closed or has a broken escape"
        elif mark == ";" and self._opened:
            return f"';' inside {self._opened[-1]!r}"
        return self._excess()

    def _excess(self) -> str:
        if len(self._opened) > MAX_BRACKETS:
            return f"brackets nest deeper than {MAX_BRACKETS}"
        if self._chains[-1] > MAX_CHAIN:
            return f"more than {MAX_CHAIN} attributes, calls or arithmetic operators in a row"
        if self._ifs > MAX_IFS:
            return f"more than {MAX_IFS} conditionals in one policy"
        return ""


def _statement(name: str, text: str, start: int, end: int) -> Statement:
    blank = _BLANK.match(text, start, end)
    first = blank.end() if blank else start
    if len(text[start:end].encode("utf-8", "surrogatepass")) > MAX_STATEMENT_BYTES:
        raise _refused(name, _line(text, first), f"a policy is larger than {MAX_STATEMENT_BYTES} bytes")
    return Statement(_line(text, first), text[first:end])


def _line(text: str, position: int) -> int:
    return text.count("\n", 0, position) + 1


def _refused(name: str, line: int, message: str) -> OperatorError:
    return OperatorError(Reason.BUNDLE_REFUSED, message, where=f"{name}:{line}")


def measure(policy_json: str) -> None:
    """Refuse policies whose expressions nest too deeply, measured on their JSON form (facts C3, S5).

    Raises:
        ValueError: too deep.
    """
    try:
        document: dict[str, dict[str, Any]] = msgspec.json.decode(policy_json)
        deepest = max(
            (expression_depth(p) for kind in ("staticPolicies", "templates") for p in document.get(kind, {}).values()),
            default=0,
        )
    except RecursionError:
        deepest = MAX_EXPRESSION_DEPTH + 1
    if deepest > MAX_EXPRESSION_DEPTH:
        raise ValueError(f"expressions nest deeper than {MAX_EXPRESSION_DEPTH}: write a list as [...].contains(x)")


def parse_policy_text(name: str, text: str) -> str:
    """Scan, parse, measure: policy text into the engine's JSON. Only ever in a child process: the parser may die of it.

    Raises:
        OperatorError: `bundle_refused` with `where="file:line"`.
    """
    statements = scan_policy_text(name, text)
    try:
        return _parse(text)
    except (ValueError, RecursionError) as error:
        for statement in statements:
            try:
                _parse(statement.text)
            except (ValueError, RecursionError) as fault:
                raise _refused(name, statement.line, _one_line(fault)) from fault
        raise _refused(name, 1, _one_line(error)) from error


def _parse(text: str) -> str:
    from cedarpy import policies_to_json_str  # noqa: PLC0415 - the scan alone does not load the engine

    parsed = str(policies_to_json_str(text))
    measure(parsed)
    return parsed


def _one_line(error: Exception) -> str:
    return " ".join(str(error).split())[:500]


def parse_in_child_main(arguments: list[str]) -> int:
    """Entry point of the child: text on stdin, JSON on stdout and 0, or one line on stderr and 1.

    Args:
        arguments: the file's name, for messages.
    """
    name = arguments[0] if arguments else "policy"
    try:
        text = sys.stdin.buffer.read(MAX_FILE_BYTES + 1).decode()
        parsed = parse_policy_text(name, text)
    except UnicodeDecodeError as error:
        sys.stderr.write(f"{name}:1: not UTF-8 at byte {error.start}\n")
        return 1
    except OperatorError as error:
        sys.stderr.write(f"{error}\n")
        return 1
    sys.stdout.write(parsed)
    return 0


if __name__ == "__main__":
    sys.exit(parse_in_child_main(sys.argv[1:]))
