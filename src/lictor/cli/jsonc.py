"""JSON and JSON-with-comments with the position of every value, so that one value changes and no other byte moves.

For configuration files of other programs. Refuses to know what the values mean. Not the reader of the strict door:
nothing from the wire comes through here.

Grammar: RFC 8259; with `comments`, also `//` and `/* */` comments and one trailing comma per container, as the editors'
own reader takes them. A leading byte-order mark is kept. Duplicate keys are refused also after unescaping: two readers
would see two different documents.
"""

import json
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from lictor.model.errors import OperatorError
from lictor.model.reasons import Reason

MAX_DEPTH = 128
"""Nested containers. The deepest client configuration seen in practice has 8 levels."""

_BOM = "\ufeff"
_BLANK = re.compile(r"[ \t\r\n]*+")
# No possessive quantifiers on groups: before Python 3.11.5 they match wrongly. None of these has two ways to match a text.
_BLANK_OR_COMMENT = re.compile(r"(?:[ \t\r\n]+|//[^\r\n]*|/\*[^*]*\*+(?:[^/*][^*]*\*+)*/)*")
_STRING = re.compile(r'"[^"\\\x00-\x1f]*(?:\\(?:["\\/bfnrt]|u[0-9a-fA-F]{4})[^"\\\x00-\x1f]*)*"')
_NUMBER = re.compile(r"-?(?:0|[1-9][0-9]*)(?:\.[0-9]+)?(?:[eE][+-]?[0-9]+)?")
_WORD = re.compile(r"[A-Za-z0-9_$+.-]++")
_LITERALS: dict[str, bool | None] = {"true": True, "false": False, "null": None}
_LINE_END = re.compile(r"\r\n|\n|\r")


@dataclass(frozen=True, slots=True)
class Number:
    """A number, as written: `1`, `1.0` and `1e0` are three different values here, because none may be rewritten."""

    text: str


@dataclass(frozen=True, slots=True)
class Scalar:
    """A string, number, `true`, `false` or `null` at `text[start:end]`."""

    start: int
    end: int
    value: str | Number | bool | None


@dataclass(frozen=True, slots=True)
class Array:
    """`[…]` at `text[start:end]`, brackets included."""

    start: int
    end: int
    items: tuple["Node", ...]


@dataclass(frozen=True, slots=True)
class Object:
    """`{…}` at `text[start:end]`, braces included; members in the order written, keys unique."""

    start: int
    end: int
    members: "tuple[Member, ...]"

    def get(self, key: str) -> "Node | None":
        """The value under `key` (unescaped), or None."""
        member = self.member(key)
        return None if member is None else member.value

    def member(self, key: str) -> "Member | None":
        """The member whose unescaped key is `key`, or None."""
        return next((member for member in self.members if member.key == key), None)


Node = Scalar | Array | Object


@dataclass(frozen=True, slots=True)
class Member:
    """`"key": value`; `start` is where the key's quotation mark stands."""

    key: str
    start: int
    value: Node


@dataclass(frozen=True, slots=True)
class Edit:
    """Replace `text[start:end]` by `new`."""

    start: int
    end: int
    new: str


def parse(text: str, *, comments: bool, name: str) -> Node:
    """Read one document.

    Args:
        text: the decoded file, line endings and byte-order mark as they are.
        comments: whether comments and trailing commas are allowed in this file.
        name: what to call the file in errors.

    Returns:
        The root value; all positions count code points from the start of `text`.

    Raises:
        OperatorError: `invalid_json`, `duplicate_key`, `too_deep` or `trailing_data`, with `name:line`.
    """
    return _Reader(text, comments=comments, name=name).document()


def line_of(text: str, position: int) -> int:
    """The line of a position, counted from 1; CRLF, LF and CR each end a line."""
    return len(_LINE_END.findall(text, 0, position)) + 1


def plain(node: Node) -> object:
    """The value as dict, list, str, bool, None and `Number`."""
    match node:
        case Scalar():
            return node.value
        case Array():
            return [plain(item) for item in node.items]
        case Object():
            return {member.key: plain(member.value) for member in node.members}


def quote(value: str) -> str:
    """A JSON string token for `value`."""
    return json.dumps(value, ensure_ascii=False)


def apply_edits(text: str, edits: Iterable[Edit]) -> str:
    """Make the edits.

    Raises:
        ValueError: two edits overlap: a defect of the caller.
    """
    parts: list[str] = []
    at = 0
    for edit in sorted(edits, key=lambda edit: (edit.start, edit.end)):
        if edit.start < at:
            raise ValueError("edits overlap")
        parts += (text[at : edit.start], edit.new)
        at = edit.end
    return "".join((*parts, text[at:]))


def insert_first(text: str, array: Array, tokens: Sequence[str]) -> Edit:
    """Put tokens before the first item, laid out as the array already is; `remove_first` is its inverse."""
    if not array.items:
        return Edit(array.start + 1, array.start + 1, ", ".join(tokens))
    first = array.items[0].start
    lead = text[array.start + 1 : first]
    between = lead if lead and not lead.strip(" \t\r\n") and _LINE_END.search(lead) else " "
    return Edit(first, first, "".join(f"{token},{between}" for token in tokens))


def remove_first(text: str, array: Array, count: int) -> Edit:
    """Take the first `count` items out, with the commas and blanks that separated them.

    Raises:
        ValueError: the array has fewer items: a defect of the caller.
    """
    if not 0 < count <= len(array.items):
        raise ValueError("no such items")
    start, rest = array.items[0].start, array.items[count:]
    if rest:
        return Edit(start, rest[0].start, "")
    end = array.items[-1].end
    gap = _BLANK_OR_COMMENT.match(text, end)
    comma = end if gap is None else gap.end()
    # A trailing comma goes with the last item: `[,]` is no array.
    return Edit(start, comma + 1 if text.startswith(",", comma) else end, "")


def insert_after(text: str, parent: Object, member: Member, key: str, token: str) -> Edit:
    """Put `"key": token` after a member, indented as that member is."""
    index = parent.members.index(member)
    gap = text[parent.members[index - 1].value.end if index else parent.start + 1 : member.start]
    between = gap[len(gap.rstrip(" \t\r\n")) :] or " "
    end = member.value.end
    return Edit(end, end, f",{between}{quote(key)}: {token}")


class _Reader:
    """Recursive descent over the text; one method a production."""

    def __init__(self, text: str, *, comments: bool, name: str) -> None:
        self._text = text
        self._comments = comments
        self._blank = _BLANK_OR_COMMENT if comments else _BLANK
        self._name = name
        self._at = 1 if text.startswith(_BOM) else 0

    def document(self) -> Node:
        self._skip()
        root = self._value(0)
        self._skip()
        if self._at != len(self._text):
            raise self._fault("more text after the end of the document", Reason.TRAILING_DATA)
        return root

    def _fault(self, what: str, reason: Reason = Reason.INVALID_JSON) -> OperatorError:
        remedy = ""
        if not self._comments and self._peek() == "/":
            remedy = "this client reads plain JSON: comments are not allowed in this file"
        return OperatorError(reason, what, remedy=remedy, where=f"{self._name}:{line_of(self._text, self._at)}")

    def _peek(self) -> str:
        return self._text[self._at : self._at + 1]

    def _skip(self) -> None:
        if match := self._blank.match(self._text, self._at):
            self._at = match.end()
        if self._comments and self._text.startswith("/*", self._at):
            raise self._fault("a comment is not closed")

    def _value(self, depth: int) -> Node:
        match self._peek():
            case "{":
                return self._object(depth + 1)
            case "[":
                return self._array(depth + 1)
            case '"':
                start = self._at
                value = self._string()
                return Scalar(start, self._at, value)
            case "":
                raise self._fault("the document ends too early")
            case _:
                return self._bare()

    def _bare(self) -> Scalar:
        start = self._at
        if (number := _NUMBER.match(self._text, start)) is not None:
            token, value = number[0], Number(number[0])
            if (word := _WORD.match(self._text, start)) is not None and word[0] == token:
                self._at = number.end()
                return Scalar(start, self._at, value)
        if (word := _WORD.match(self._text, start)) is not None and word[0] in _LITERALS:
            self._at = word.end()
            return Scalar(start, self._at, _LITERALS[word[0]])
        raise self._fault(f"expected a value, found {self._text[start : start + 20]!r}")

    def _string(self) -> str:
        match = _STRING.match(self._text, self._at)
        if match is None:
            raise self._fault("a string is not closed, has a raw control character or an unknown escape")
        self._at = match.end()
        token = match[0]
        if "\\" not in token:
            return token[1:-1]
        decoded: str = json.loads(token)
        return decoded

    def _enter(self, depth: int) -> int:
        if depth > MAX_DEPTH:
            raise self._fault(f"nested deeper than {MAX_DEPTH} levels", Reason.TOO_DEEP)
        start = self._at
        self._at += 1
        self._skip()
        return start

    def _more(self, closing: str) -> bool:
        """After an item: step over a comma; whether another item follows."""
        self._skip()
        if self._peek() == closing:
            return False
        if self._peek() != ",":
            raise self._fault(f"expected ',' or {closing!r}, found {self._peek()!r}")
        comma = self._at
        self._at += 1
        self._skip()
        if self._peek() != closing:
            return True
        if not self._comments:
            self._at = comma
            raise self._fault("a trailing comma is not allowed in this file")
        return False

    def _array(self, depth: int) -> Array:
        start = self._enter(depth)
        items: list[Node] = []
        more = self._peek() != "]"
        while more:
            items.append(self._value(depth))
            more = self._more("]")
        self._at += 1
        return Array(start, self._at, tuple(items))

    def _object(self, depth: int) -> Object:
        start = self._enter(depth)
        members: dict[str, Member] = {}
        more = self._peek() != "}"
        while more:
            member = self._member(depth)
            if member.key in members:
                self._at = member.start
                raise self._fault(f"duplicate key {member.key[:80]!r}", Reason.DUPLICATE_KEY)
            members[member.key] = member
            more = self._more("}")
        self._at += 1
        return Object(start, self._at, tuple(members.values()))

    def _member(self, depth: int) -> Member:
        start = self._at
        if self._peek() != '"':
            raise self._fault(f"expected a key in double quotes, found {self._peek()!r}")
        key = self._string()
        self._skip()
        if self._peek() != ":":
            raise self._fault(f"expected ':' after the key {key[:80]!r}")
        self._at += 1
        self._skip()
        return Member(key, start, self._value(depth))
