"""Reads the engine's own rendering of a schema (`str(Schema)`): entities, actions with their groups, context types.

Needed because cedarpy gives a schema back only as text. Refuses whatever it does not know, namespaces included: a
construct skipped here would be an action group that a forbid is not found by (facts S7, section 6).
"""

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Final

from lictor.model.errors import OperatorError
from lictor.model.reasons import Reason

_TOKEN: Final = re.compile(
    r"""\s+|//[^\n\r]*|(?P<string>"(?:\\[^\n]|[^"\\])*")|(?P<word>[A-Za-z_][A-Za-z0-9_]*(?:::[A-Za-z_][A-Za-z0-9_]*)*)"""
    r"""|(?P<mark>::|[{}\[\]<>(),;:=?@])"""
)
_ESCAPE: Final = re.compile(r"\\(?:u\{([0-9A-Fa-f]{1,6})\}|x([0-7][0-9A-Fa-f])|(.))", re.DOTALL)
_PLAIN: Final = {"n": "\n", "r": "\r", "t": "\t", "0": "\0", "'": "'", '"': '"', "\\": "\\"}
BUILT_IN: Final = frozenset({"String", "Long", "Bool", "datetime", "duration", "decimal", "ipaddr", "Set", "Record"})
"""Type names the engine owns; a schema that declares one of its own under such a name is refused."""


@dataclass(frozen=True, slots=True)
class Named:
    """A primitive, extension or entity type by name."""

    name: str


@dataclass(frozen=True, slots=True)
class SetOf:
    """`Set<element>`."""

    element: "Type"


@dataclass(frozen=True, slots=True)
class Attribute:
    """One member of a record: `quoted` is its name as the schema writes it."""

    type: "Type"
    optional: bool
    quoted: str


@dataclass(frozen=True, slots=True)
class RecordOf:
    """A closed record type, members by their unescaped name."""

    attributes: Mapping[str, Attribute] = field(default_factory=dict)


Type = Named | SetOf | RecordOf


@dataclass(frozen=True, slots=True, kw_only=True)
class ActionShape:
    """One action: `quoted` name, direct groups, and what it applies to (None: a group only)."""

    quoted: str
    parents: tuple[str, ...]
    applies: str | None
    """The `principal` and `resource` members of `appliesTo`, as text."""
    context: RecordOf


@dataclass(frozen=True, slots=True)
class SchemaShape:
    """A schema, read: entity declarations as text (types inlined where they are read), actions by unescaped name."""

    declarations: str
    actions: Mapping[str, ActionShape]

    def ancestors(self, action: str) -> frozenset[str]:
        """All groups of an action, transitively; the action itself is not among them unless it is in a cycle."""
        found: set[str] = set()
        stack = list(self.actions[action].parents)
        while stack:
            group = stack.pop()
            if group not in found:
                found.add(group)
                stack.extend(self.actions[group].parents)
        return frozenset(found)


def read_schema(text: str) -> SchemaShape:
    """Read a schema in the engine's rendering.

    Raises:
        OperatorError: `bundle_refused`: something this reader does not know, or a group that is not declared.
    """
    shape = _Reader(text).schema()
    for name, action in shape.actions.items():
        for group in action.parents:
            if group not in shape.actions:
                raise _refused(f"action {name[:80]!r} is in group {group[:80]!r}, which is not declared")
    return shape


def render_type(type_: Type) -> str:
    """A type as schema text."""
    match type_:
        case Named(name):
            return name
        case SetOf(element):
            return f"Set<{render_type(element)}>"
        case RecordOf(attributes):
            members = (f"{a.quoted}{'?' if a.optional else ''}: {render_type(a.type)}" for a in attributes.values())
            return "{" + ", ".join(members) + "}"


def render_action(shape: ActionShape, parents: tuple[str, ...], context: RecordOf) -> str:
    """One action declaration with another context. `parents` are quoted group names."""
    groups = f" in [{', '.join(f'Action::{p}' for p in parents)}]" if parents else ""
    applies = f" appliesTo {{ {shape.applies}, context: {render_type(context)} }}" if shape.applies is not None else ""
    return f"action {shape.quoted}{groups}{applies};\n"


def _refused(message: str) -> OperatorError:
    return OperatorError(Reason.BUNDLE_REFUSED, f"cannot read the schema: {message}")


def _unescape(quoted: str) -> str:
    def one(match: re.Match[str]) -> str:
        code = match[1] or match[2]
        if code is not None:
            return chr(int(code, 16))
        if match[3] not in _PLAIN:
            raise _refused(f"unknown escape in {quoted[:80]!r}")
        return _PLAIN[match[3]]

    return _ESCAPE.sub(one, quoted[1:-1])


def _tokens(text: str) -> Iterator[tuple[str, int, int]]:
    position = 0
    while position < len(text):
        match = _TOKEN.match(text, position)
        if match is None:
            raise _refused(f"unexpected {text[position : position + 20]!r}")
        if match.lastgroup is not None:
            yield match[0], match.start(), match.end()
        position = match.end()


class _Reader:
    """Recursive descent over the declarations; nesting is bounded by the engine having parsed the text already."""

    def __init__(self, text: str) -> None:
        self._text = text
        self._tokens = list(_tokens(text))
        self._at = 0
        self._types: dict[str, Type] = {}

    def schema(self) -> SchemaShape:
        declarations: list[str] = []
        actions: dict[str, ActionShape] = {}
        while self._at < len(self._tokens):
            self._annotations()
            start = self._tokens[self._at][1]
            match self._take():
                case "type":
                    self._common_type()
                    declarations.append(self._text[start : self._end()])
                case "entity":
                    self._own_name()
                    self._skip_statement()
                    declarations.append(self._text[start : self._end()])
                case "action":
                    actions.update(self._action())
                case other:
                    raise _refused(f"unknown declaration {other[:40]!r}")
        return SchemaShape("\n".join(declarations) + "\n", actions)

    def _peek(self) -> str:
        return self._tokens[self._at][0] if self._at < len(self._tokens) else ""

    def _take(self, expected: str | None = None) -> str:
        token = self._peek()
        if not token or (expected is not None and token != expected):
            raise _refused(f"expected {expected or 'more'!r}, found {token[:40]!r}")
        self._at += 1
        return token

    def _end(self) -> int:
        return self._tokens[self._at - 1][2]

    def _annotations(self) -> None:
        while self._peek() == "@":
            self._at += 2
            if self._peek() == "(":
                self._at += 3

    def _skip_statement(self) -> None:
        while self._take() != ";":
            pass

    def _name(self) -> tuple[str, str]:
        token = self._take()
        return (_unescape(token), token) if token.startswith('"') else (token, f'"{token}"')

    def _own_name(self) -> str:
        name = self._take()
        if name in BUILT_IN:
            raise _refused(f"a type named {name!r}")
        return name

    def _common_type(self) -> None:
        name = self._own_name()
        self._take("=")
        self._types[name] = self._type()
        self._take(";")

    def _action(self) -> dict[str, ActionShape]:
        names = [self._name()]
        while self._peek() == ",":
            self._take()
            names.append(self._name())
        parents: list[str] = []
        if self._peek() == "in":
            self._take()
            self._take("[")
            while self._peek() != "]":
                parents.append(self._group())
                if self._peek() == ",":
                    self._take()
            self._take("]")
        applies, context = self._applies() if self._peek() == "appliesTo" else (None, RecordOf())
        self._take(";")
        return {
            name: ActionShape(quoted=quoted, parents=tuple(parents), applies=applies, context=context)
            for name, quoted in names
        }

    def _group(self) -> str:
        self._take("Action")
        self._take("::")
        return _unescape(self._take())

    def _applies(self) -> tuple[str, RecordOf]:
        self._take("appliesTo")
        self._take("{")
        start = end = self._tokens[self._at][1]
        for member in ("principal", "resource"):
            self._take(member)
            self._take(":")
            self._take("[")
            while self._take() != "]":
                pass
            end = self._end()
            self._take(",")
        self._take("context")
        self._take(":")
        context = self._type()
        self._take("}")
        if not isinstance(context, RecordOf):
            raise _refused("a context that is not a record")
        return self._text[start:end], context

    def _type(self) -> Type:
        word = self._take()
        if word == "{":
            return self._record()
        if word == "Set":
            self._take("<")
            element = self._type()
            self._take(">")
            return SetOf(element)
        if word in self._types:
            return self._types[word]
        return Named(word)

    def _record(self) -> RecordOf:
        attributes: dict[str, Attribute] = {}
        while self._peek() != "}":
            self._annotations()
            name, quoted = self._name()
            optional = self._peek() == "?"
            if optional:
                self._take()
            self._take(":")
            attributes[name] = Attribute(self._type(), optional, quoted)
            if self._peek() == ",":
                self._take()
        self._take("}")
        return RecordOf(attributes)
