"""The closed copy of a tool's schema: undeclared members are refused unless the tool explicitly lets them in.

JSON Schema lets unknown members through by default; a gateway must not, for nobody has looked at them (facts 9). The
copy is 2020-12 whatever the original was, because there an object made of several subschemas can be closed as a whole.
It serves to find undeclared members of values that the original accepts; it never replaces the original. This module
refuses to know values.
"""

from collections.abc import Callable, Mapping
from enum import Enum
from typing import Any, Final

from lictor.policy.subschemas import ANNOTATIONS, CHILD, CHILD_MAPS, Schema, dialect, only_reference, resolve


class _Mode(Enum):
    WHOLE = "w"
    """Judges a value alone: is closed."""
    PART = "p"
    """Judges a value together with what holds it: is closed there, its children here."""
    RAW = "r"
    """Asks rather than judges (`not`, `if`, `contains`): closing would change the answer."""


_COMPOSING: Final = frozenset({"$ref", "allOf", "anyOf", "oneOf", "if", "then", "else", "dependentSchemas"})
_DROPPED: Final = ANNOTATIONS | {"additionalItems", "dependencies"}


def close(root: dict[str, Any]) -> dict[str, Any]:
    """The closed copy of `root`, which must have passed `survey`. `root` is not changed."""
    return _Closer(root).result()


class _Closer:
    def __init__(self, root: dict[str, Any]) -> None:
        self._root = root
        self._draft = dialect(root)
        self._names: dict[tuple[str, _Mode], str] = {}
        self._waiting: list[tuple[str, str, _Mode]] = []

    def result(self) -> dict[str, Any]:
        closed = dict(self._checked(self._root))
        definitions: dict[str, Schema] = {}
        while self._waiting:
            name, reference, mode = self._waiting.pop()
            definitions[name] = self._convert(resolve(self._root, reference), mode)
        if definitions:
            closed["$defs"] = definitions
        return closed

    def _checked(self, root: dict[str, Any]) -> dict[str, Any]:
        converted = self._convert(root, _Mode.WHOLE)
        return converted if isinstance(converted, dict) else {}

    def _convert(self, schema: Schema, mode: _Mode) -> Schema:
        if isinstance(schema, bool):
            return schema
        if only_reference(schema, self._draft):
            return {"$ref": self._target(schema["$ref"], mode)}
        inner = mode if mode is not _Mode.WHOLE or self._is_bare_choice(schema) else _Mode.PART
        copy = self._keywords(schema, inner)
        if mode is _Mode.WHOLE and inner is _Mode.PART:
            self._shut(schema, copy)
        return copy

    def _keywords(self, schema: Mapping[str, Any], mode: _Mode) -> dict[str, Any]:
        """A copy; `mode` is for subschemas that judge the same value."""
        child = _Mode.RAW if mode is _Mode.RAW else _Mode.WHOLE
        whole: Callable[[Schema], Schema] = lambda part: self._convert(part, child)  # noqa: E731
        raw: Callable[[Schema], Schema] = lambda part: self._convert(part, _Mode.RAW)  # noqa: E731
        same: Callable[[Schema], Schema] = lambda part: self._convert(part, mode)  # noqa: E731
        copy: dict[str, Any] = {}
        for keyword, value in schema.items():
            if keyword in _DROPPED:
                continue
            if keyword == "$ref":
                copy[keyword] = self._target(value, mode)
            elif keyword in CHILD_MAPS:
                copy[keyword] = {name: whole(part) for name, part in value.items()}
            elif keyword == "prefixItems":
                copy[keyword] = [whole(part) for part in value]
            elif keyword == "allOf":
                copy[keyword] = [same(part) for part in value]
            elif keyword in {"anyOf", "oneOf"}:
                copy[keyword] = [self._branch(part, mode, alone="properties" not in schema) for part in value]
            elif keyword in {"not", "if", "contains", "propertyNames"}:
                copy[keyword] = raw(value)
            elif keyword in {"then", "else"}:
                copy[keyword] = same(value)
            elif keyword == "dependentSchemas":
                copy[keyword] = {name: same(part) for name, part in value.items()}
            elif keyword in CHILD and not isinstance(value, list):
                copy[keyword] = whole(value)
            elif keyword not in CHILD:
                copy[keyword] = value
        self._upgrade(schema, copy, whole, same)
        return copy

    def _upgrade(
        self,
        schema: Mapping[str, Any],
        copy: dict[str, Any],
        whole: Callable[[Schema], Schema],
        same: Callable[[Schema], Schema],
    ) -> None:
        """What older dialects say in other words."""
        if isinstance(schema.get("items"), list):
            copy["prefixItems"] = [whole(part) for part in schema["items"]]
            copy["items"] = whole(schema.get("additionalItems", True))
        dependencies = schema.get("dependencies", {})
        lists = {name: part for name, part in dependencies.items() if isinstance(part, list)}
        schemas = {name: same(part) for name, part in dependencies.items() if not isinstance(part, list)}
        for keyword, found in (("dependentRequired", lists), ("dependentSchemas", schemas)):
            if found:
                copy[keyword] = {**copy.get(keyword, {}), **found}
        for keyword in ("exclusiveMinimum", "exclusiveMaximum"):
            if isinstance(copy.get(keyword), bool):  # draft 4; the original judges the bound
                del copy[keyword]

    def _branch(self, part: Schema, mode: _Mode, *, alone: bool) -> Schema:
        converted = self._convert(part, mode)
        # `{"type": "object"}` as one of several choices means a free-form object, and says so explicitly enough.
        free = alone and isinstance(part, dict) and not part.keys() - ANNOTATIONS - {"type"}
        if free and isinstance(converted, dict) and "object" in _listed(converted.get("type")):
            return {**converted, "additionalProperties": True}
        return converted

    def _target(self, reference: str, mode: _Mode) -> str:
        known = self._names.get((reference, mode))
        if known is None:
            known = f"{mode.value}{len(self._names)}"
            self._names[reference, mode] = known
            self._waiting.append((known, reference, mode))
        return f"#/$defs/{known}"

    def _is_bare_choice(self, schema: Mapping[str, Any]) -> bool:
        """Whether `schema` is one `anyOf`, `oneOf` or `allOf` of which one branch at most can be an object.

        Then that branch is closed itself, which is the same and far cheaper to check.
        """
        left = schema.keys() - ANNOTATIONS
        if len(left) != 1 or not left <= {"anyOf", "oneOf", "allOf"}:
            return False
        (keyword,) = left
        return sum(not _never_object(part) for part in schema[keyword]) <= 1

    def _shut(self, schema: dict[str, Any], copy: dict[str, Any]) -> None:
        if "additionalProperties" in schema or "unevaluatedProperties" in schema:
            return
        if not self._declares(schema, set()):
            return
        composing = not _COMPOSING.isdisjoint(copy)
        copy["unevaluatedProperties" if composing else "additionalProperties"] = False

    def _declares(self, schema: Schema, seen: set[str]) -> bool:
        """Whether `schema`, or a subschema that judges the same value, declares members."""
        if isinstance(schema, bool):
            return False
        reference = schema.get("$ref")
        if isinstance(reference, str) and reference not in seen:
            seen.add(reference)
            if self._declares(resolve(self._root, reference), seen):
                return True
        if reference is not None and self._draft <= 7:
            return False
        if any(keyword in schema for keyword in CHILD_MAPS):
            return True
        parts: list[Schema] = [part for keyword in ("allOf", "anyOf", "oneOf") for part in schema.get(keyword, ())]
        parts += [schema[keyword] for keyword in ("then", "else") if keyword in schema]
        for keyword in ("dependentSchemas", "dependencies"):
            parts += [part for part in schema.get(keyword, {}).values() if not isinstance(part, list)]
        return any(self._declares(part, seen) for part in parts)


def _listed(kinds: Any) -> list[Any]:
    return kinds if isinstance(kinds, list) else [kinds]


def _never_object(part: Schema) -> bool:
    return part is False or (isinstance(part, dict) and "type" in part and "object" not in _listed(part["type"]))
