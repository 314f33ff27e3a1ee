"""The anatomy of a JSON Schema document: its dialect, which keywords hold subschemas, local references, and its size.

`survey` walks a tool's schema once, with references expanded, and refuses what nothing else here should have to meet:
remote references, embedded resources, malformed keywords, and schemas that are too deep or too large. This module
refuses to know what the keywords mean.
"""

from collections.abc import Iterator, Mapping
from typing import Any, Final, TypeAlias
from urllib.parse import unquote

from lictor.model.errors import OperatorError
from lictor.model.reasons import Reason

Schema: TypeAlias = dict[str, Any] | bool

SCHEMA_DEPTH: Final = 32
"""Nested subschemas, references expanded."""
SCHEMA_SUBSCHEMAS: Final = 2000
"""Subschemas altogether, references expanded."""

IN_PLACE_LISTS: Final = ("allOf", "anyOf", "oneOf")
"""Keywords whose subschemas judge the same value as the schema that holds them."""
IN_PLACE: Final = ("not", "if", "then", "else")
IN_PLACE_MAPS: Final = ("dependentSchemas", "dependencies")
CHILD: Final = (
    "items",
    "additionalItems",
    "contains",
    "additionalProperties",
    "unevaluatedItems",
    "unevaluatedProperties",
    "propertyNames",
)
"""Keywords whose subschema judges a part of the value."""
CHILD_MAPS: Final = ("properties", "patternProperties")
ANNOTATIONS: Final = frozenset(
    {
        *("$schema", "$id", "id", "$comment", "$defs", "definitions", "$anchor"),
        *("title", "description", "default", "deprecated", "examples", "readOnly", "writeOnly"),
    }
)
"""Keywords that never refuse a value."""

_DIALECTS: Final = {"draft-04": 4, "draft-06": 6, "draft-07": 7, "2019-09": 2019, "2020-12": 2020}


def unusable(message: str, where: str = "") -> OperatorError:
    """The one error of this floor: the tool cannot be offered, and why."""
    return OperatorError(
        Reason.TOOL_UNUSABLE, message, where=where, remedy="the tool is not offered; report it upstream"
    )


def dialect(root: Schema) -> int:
    """4, 6, 7, 2019 or 2020: what `$schema` names; without it 2020, the default of MCP.

    Raises:
        OperatorError: `TOOL_UNUSABLE`: another dialect, whose meaning nobody here knows.
    """
    named = root.get("$schema") if isinstance(root, dict) else None
    if named is None:
        return 2020
    for part, number in _DIALECTS.items():
        if isinstance(named, str) and part in named:
            return number
    raise unusable(f"unknown $schema {str(named)[:80]!r}")


def only_reference(schema: Mapping[str, Any], draft: int) -> bool:
    """Whether nothing but the reference counts: before 2019-09 it silences its siblings."""
    return "$ref" in schema and (draft <= 7 or not schema.keys() - ANNOTATIONS - {"$ref"})


def resolve(root: Schema, reference: Any) -> Schema:
    """The subschema a local reference (`#` or `#/json/pointer`) names.

    Raises:
        OperatorError: `TOOL_UNUSABLE`: not of that form (no remote references, ever: facts 9), or it names nothing.
    """
    if not isinstance(reference, str) or not (reference == "#" or reference.startswith("#/")):
        raise unusable(f"reference {str(reference)[:80]!r} is not a local JSON pointer")
    here: Any = root
    for step in unquote(reference[2:]).split("/") if len(reference) > 2 else []:
        key = step.replace("~1", "/").replace("~0", "~")
        if isinstance(here, dict) and key in here:
            here = here[key]
        elif isinstance(here, list) and key.isascii() and key.isdigit() and int(key) < len(here):
            here = here[int(key)]
        else:
            raise unusable(f"reference {reference[:80]!r} names nothing")
    return _checked(here, reference)


def children(schema: Mapping[str, Any]) -> Iterator[tuple[str, Schema]]:
    """Every direct subschema with its place (`properties/name`, `anyOf/0`), definitions left out.

    Raises:
        OperatorError: `TOOL_UNUSABLE`: a keyword holds something that is no subschema.
    """
    for keyword, value in schema.items():
        if keyword in CHILD_MAPS or keyword in IN_PLACE_MAPS:
            if not isinstance(value, dict):
                raise unusable(f"{keyword} is not an object")
            for name, part in value.items():
                if keyword == "dependencies" and isinstance(part, list):
                    continue  # the list of names of draft 7
                yield f"{keyword}/{name}", _checked(part, keyword)
        elif keyword in IN_PLACE_LISTS or keyword == "prefixItems" or (keyword == "items" and isinstance(value, list)):
            if not isinstance(value, list):
                raise unusable(f"{keyword} is not an array")
            for index, part in enumerate(value):
                yield f"{keyword}/{index}", _checked(part, keyword)
        elif keyword in IN_PLACE or keyword in CHILD:
            yield keyword, _checked(value, keyword)


def _checked(value: Any, place: str) -> Schema:
    if not isinstance(value, dict | bool):
        raise unusable(f"{place[:80]} does not hold a schema")
    return value


class Survey:
    """What one walk over a document found out.

    Attributes:
        subschemas: how many there are with references expanded, a recursive one counted once per path.
        tangled: it recurses and has a choice between several structures. Validation then stays fast, but the list of
            what failed in each branch doubles with each level, so nobody may ask for it.
    """

    def __init__(self, root: Schema, draft: int, depth: int, subschemas: int) -> None:
        self._root = root
        self._draft = draft
        self._max_depth = depth
        self._max_subschemas = subschemas
        self._open: set[str] = set()
        self._recursive = False
        self._choices = False
        self.subschemas = 0
        self._visit(root, "", 1)

    @property
    def tangled(self) -> bool:
        """See the class."""
        return self._recursive and self._choices

    def _visit(self, schema: Schema, where: str, depth: int) -> None:
        self.subschemas += 1
        if self.subschemas > self._max_subschemas:
            raise unusable(f"more than {self._max_subschemas} subschemas, references expanded")
        if depth > self._max_depth:
            raise unusable(f"more than {self._max_depth} nested subschemas, references expanded", where[:200])
        if isinstance(schema, bool):
            return
        self._refuse_foreign(schema, where)
        if "$ref" in schema:
            self._follow(schema["$ref"], where, depth)
            if self._draft <= 7:
                return
        for keyword in ("anyOf", "oneOf"):
            branches = schema.get(keyword)
            if isinstance(branches, list) and sum(map(_structured, branches)) > 1:
                self._choices = True
        for place, part in children(schema):
            self._visit(part, f"{where}/{place}", depth + 1)

    def _refuse_foreign(self, schema: Mapping[str, Any], where: str) -> None:
        for keyword in ("$dynamicRef", "$recursiveRef"):
            if keyword in schema:
                raise unusable(f"{keyword} is not supported", where[:200])
        # A new base URI would change what `#/…` below it means.
        if where and any(
            isinstance(schema.get(keyword), str) for keyword in (("id",) if self._draft == 4 else ("$id",))
        ):
            raise unusable("an embedded $id is not supported", where[:200])

    def _follow(self, reference: Any, where: str, depth: int) -> None:
        target = resolve(self._root, reference)
        if reference in self._open:
            self._recursive = True
            return
        self._open.add(reference)
        self._visit(target, where or "/$ref", depth + 1)
        self._open.discard(reference)


def _structured(branch: Any) -> bool:
    """Whether a branch can be more than one scalar."""
    if not isinstance(branch, dict):
        return False
    kinds = branch.get("type")
    listed = kinds if isinstance(kinds, list) else [kinds]
    return kinds is None or "object" in listed or "array" in listed


def survey(root: Schema, *, depth: int = SCHEMA_DEPTH, subschemas: int = SCHEMA_SUBSCHEMAS) -> Survey:
    """Walk `root` once and say what there is.

    Raises:
        OperatorError: `TOOL_UNUSABLE`: too deep, too many, a reference that is not local, an embedded resource, a
            malformed keyword, an unknown dialect.
    """
    return Survey(root, dialect(root), depth, subschemas)
