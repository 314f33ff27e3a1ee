"""From the JSON Schema of a tool's arguments to the shape policy sees (facts 9).

Every part is either typed, and then each value that passes validation is of that type, or it is `Opaque` with a reason,
or the tool is refused: never guessed. A schema is read as a *conjunction of layers* (its own keywords, what it refers
to, each `allOf` member, the union of each `anyOf` and `oneOf`). This module refuses to know values and Cedar.
"""

from collections.abc import Iterable, Mapping
from typing import Any, Final, NamedTuple

from lictor.pdp.shapes import (
    Address,
    Decimal4,
    Fields,
    Flag,
    Many,
    Member,
    Moment,
    Opaque,
    Shape,
    Text,
    Whole,
    reserved_name,
)
from lictor.policy.subschemas import (
    SCHEMA_DEPTH,
    SCHEMA_SUBSCHEMAS,
    Schema,
    dialect,
    only_reference,
    resolve,
    survey,
    unusable,
)

_KINDS: Final[Mapping[str, Shape]] = {"string": Text(), "integer": Whole(), "number": Decimal4(), "boolean": Flag()}
_FORMATS: Final[Mapping[str, Shape]] = {"date-time": Moment(), "ipv4": Address(), "ipv6": Address()}


class _Layer(NamedTuple):
    """What one part of a schema says about a value.

    Attributes:
        shape: its shape; `Opaque` when it is of several kinds; None when nothing but null is left.
        nullable: null passes.
        assured: no value of another kind passes. Only then may a member be typed by it.
    """

    shape: Shape | None
    nullable: bool
    assured: bool


_UNTYPED: Final = _Layer(Opaque("no type is declared"), nullable=True, assured=False)


def shape_of(
    input_schema: dict[str, Any] | bool | None,
    *,
    schema_depth: int = SCHEMA_DEPTH,
    schema_subschemas: int = SCHEMA_SUBSCHEMAS,
) -> Fields:
    """The shape of a tool's arguments; a missing schema means that there are none.

    Args:
        input_schema: the tool's `inputSchema` as parsed JSON, 2020-12 unless `$schema` says otherwise; not changed.
        schema_depth: nested subschemas, references expanded.
        schema_subschemas: subschemas altogether, references expanded.

    Raises:
        OperatorError: `TOOL_UNUSABLE`, with the reason.
    """
    if input_schema is None or input_schema is False:
        return Fields({}, closed=True)
    if input_schema is True:
        return Fields({}, closed=False)
    survey(input_schema, depth=schema_depth, subschemas=schema_subschemas)
    shape = _Reader(input_schema).layer(input_schema).shape
    # Arguments are an object by the protocol, so a root without `type` is as good as one with it.
    return shape if isinstance(shape, Fields) else Fields({}, closed=False)


class _Reader:
    """One document. Size and references have been checked by `survey`; what recurses here is bounded by it."""

    def __init__(self, root: Schema) -> None:
        self._root = root
        self._draft = dialect(root)
        self._open: set[str] = set()

    def layer(self, schema: Schema) -> _Layer:
        """What `schema` as a whole says."""
        if isinstance(schema, bool):
            return _UNTYPED if schema else _Layer(Opaque("no value is allowed"), nullable=False, assured=True)
        layers = []
        if "$ref" in schema:
            layers.append(self._referred(schema["$ref"]))
        if not only_reference(schema, self._draft):
            layers.append(self._own(schema))
            layers.extend(self.layer(part) for part in schema.get("allOf", ()))
            layers.extend(
                _union([self.layer(part) for part in schema[keyword]])
                for keyword in ("anyOf", "oneOf")
                if schema.get(keyword)
            )
        met = _meet(layers)
        return met if not _lets_more_in(schema) else _opened(met)

    def _referred(self, reference: str) -> _Layer:
        if reference in self._open:
            return _Layer(Opaque(f"recursive reference {reference[:80]!r}"), nullable=True, assured=False)
        self._open.add(reference)
        try:
            return self.layer(resolve(self._root, reference))
        finally:
            self._open.discard(reference)

    def _own(self, schema: Mapping[str, Any]) -> _Layer:
        layers = []
        if "type" in schema:
            kinds = schema["type"] if isinstance(schema["type"], list) else [schema["type"]]
            layers.append(_union([self._kind(kind, schema) for kind in kinds]))
        elif "properties" in schema:
            layers.append(_Layer(self._fields(schema), nullable=True, assured=False))
        if "enum" in schema:
            if not isinstance(schema["enum"], list):
                raise unusable("enum is not an array")
            layers.append(_union([_literal(value) for value in schema["enum"]]))
        if "const" in schema:
            layers.append(_literal(schema["const"]))
        return _meet(layers)

    def _kind(self, kind: Any, schema: Mapping[str, Any]) -> _Layer:
        if kind == "null":
            return _Layer(None, nullable=True, assured=True)
        if kind == "object":
            return _Layer(self._fields(schema), nullable=False, assured=True)
        if kind == "array":
            return _Layer(self._many(schema), nullable=False, assured=True)
        if not isinstance(kind, str) or kind not in _KINDS:
            raise unusable(f"unknown type {str(kind)[:80]!r}")
        form = schema.get("format")
        if kind == "string" and isinstance(form, str):
            return _Layer(_FORMATS.get(form, Text()), nullable=False, assured=True)
        return _Layer(_KINDS[kind], nullable=False, assured=True)

    def _fields(self, schema: Mapping[str, Any]) -> Fields:
        required = schema.get("required", [])
        if not isinstance(required, list):  # draft 3 put a Boolean here
            raise unusable("required is not an array")
        members = {}
        for name, part in schema.get("properties", {}).items():
            layer = self.layer(part)
            shape = _settled(layer)
            problem = reserved_name(name)
            if problem:
                shape = Opaque(problem)
            members[name] = Member(shape, required=name in required and not layer.nullable)
        return Fields(members, closed="properties" in schema or schema.get("additionalProperties") is False)

    def _many(self, schema: Mapping[str, Any]) -> Many:
        first = schema.get("prefixItems", [])
        rest: Any = schema.get("items", True)
        if isinstance(rest, list):  # tuples before 2020-12
            first, rest = rest, schema.get("additionalItems", True)
        layers = [self.layer(part) for part in first]
        if rest is not False:
            layers.append(self.layer(rest))
        if not layers:
            return Many(Opaque("no item is allowed"))
        item = _union(layers)
        shape = _settled(item)
        return Many(shape, nullable=item.nullable and not isinstance(shape, Opaque))


def _settled(layer: _Layer) -> Shape:
    """The shape a member or item gets from all that is known of it."""
    if layer.shape is None:
        return Opaque("nothing but null is allowed")
    if layer.assured or isinstance(layer.shape, Opaque):
        return layer.shape
    return Opaque("properties are declared, but values that are not objects pass too")


def _literal(value: Any) -> _Layer:
    """The layer of a value listed in the schema."""
    shape: Shape | None
    match value:
        case None:
            return _Layer(None, nullable=True, assured=True)
        case bool():
            shape = Flag()
        case int():
            shape = Whole()
        case float():
            shape = Decimal4()
        case str():
            shape = Text()
        case _:
            shape = Opaque("a listed value is an object or an array")
    return _Layer(shape, nullable=False, assured=True)


def _union(layers: Iterable[_Layer]) -> _Layer:
    """One of the layers holds. Typed only where every one of them has the same shape, or one shape holds them all."""
    shape: Shape | None = None
    nullable = False
    assured = True
    for layer in layers:
        nullable = nullable or layer.nullable
        assured = assured and layer.assured
        shape = _wider(shape, layer.shape)
    if shape is None and not nullable:
        return _Layer(Opaque("no value is allowed"), nullable=False, assured=True)
    return _Layer(shape, nullable, assured)


def _wider(left: Shape | None, right: Shape | None) -> Shape | None:
    if left is None or right is None or left == right:
        return right if left is None else left
    match left, right:
        case (Opaque(), _):
            return left
        case (_, Opaque()):
            return right
        case (Whole() | Decimal4(), Whole() | Decimal4()):
            return Decimal4()
        case (Text() | Moment() | Address(), Text() | Moment() | Address()):
            return Text()
        case (Many(), Many()):
            item = _wider(left.item, right.item) or left.item
            return Many(item, nullable=(left.nullable or right.nullable) and not isinstance(item, Opaque))
        case _:
            return Opaque(f"a choice of {_name(left)} and {_name(right)}, which differ")


def _name(shape: Shape) -> str:
    """The word of JSON Schema for `shape`."""
    match shape:
        case Whole():
            return "integer"
        case Decimal4():
            return "number"
        case Flag():
            return "boolean"
        case Many():
            return "array"
        case Fields():
            return "object"
        case _:
            return "string"


def _meet(layers: Iterable[_Layer]) -> _Layer:
    """All of the layers hold. What one leaves open another may type; what they type differently is opaque."""
    said = [layer for layer in layers if layer != _UNTYPED]
    if not said:
        return _UNTYPED
    nullable = all(layer.nullable for layer in said)
    if any(layer.shape is None for layer in said):
        return _Layer(None if nullable else Opaque("no value is allowed"), nullable, assured=True)
    typed = [layer for layer in said if not isinstance(layer.shape, Opaque)]
    shape: Shape | None = None
    for layer in typed or said[:1]:
        shape = layer.shape if shape is None or layer.shape is None else _narrower(shape, layer.shape)
    met = _Layer(shape, nullable, any(layer.assured for layer in typed or said))
    # An opaque layer cannot contradict what another one assures, but it can bring members nobody has typed.
    return met if len(typed) == len(said) else _opened(met)


def _narrower(left: Shape, right: Shape) -> Shape:
    if left == right:
        return left
    match left, right:
        case (Fields(), Fields()):
            return _merged(left, right)
        case (Whole(), Decimal4()) | (Decimal4(), Whole()):
            return Whole()
        case (Text(), Moment() | Address()):
            return right
        case (Moment() | Address(), Text()):
            return left
        case (Many(), Many()):
            # An untyped side adds nothing; two different typed sides are not trivially merged.
            if isinstance(left.item, Opaque):
                return right
            return left if isinstance(right.item, Opaque) else Many(Opaque("allOf of different items"))
        case _:
            return Opaque(f"{_name(left)} and {_name(right)} at the same time")


def _merged(left: Fields, right: Fields) -> Fields:
    """Both hold; closed only where both are for sure."""
    members = dict(left.members)
    for name, member in right.members.items():
        other = members.get(name)
        if other is None:
            members[name] = member
        else:
            met = _meet([_Layer(part.shape, not part.required, assured=True) for part in (other, member)])
            members[name] = Member(_settled(met), other.required or member.required)
    return Fields(members, closed=left.closed and right.closed)


def _lets_more_in(schema: Mapping[str, Any]) -> bool:
    """Whether members beside the declared ones are explicitly or possibly allowed."""
    for keyword in ("additionalProperties", "unevaluatedProperties"):
        if schema.get(keyword, False) is not False:
            return True
    return not schema.keys().isdisjoint({"patternProperties", "then", "else", "dependentSchemas", "dependencies"})


def _opened(layer: _Layer) -> _Layer:
    return layer._replace(shape=Fields(layer.shape.members, closed=False)) if isinstance(layer.shape, Fields) else layer
