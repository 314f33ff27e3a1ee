"""Request environments: one action with one principal type and one resource type, and the types of all they can carry.

Everything is read from the schema that the engine itself renders; no member is known here by name. Refuses to know policies.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final

from cedarpy import Schema

from lictor.model.errors import OperatorError
from lictor.pdp.engine.schematext import RecordOf, SchemaShape, read_schema
from lictor.policy.prove.unsupported import Unsupported

_NAME: Final = r"[A-Za-z_][A-Za-z0-9_]*(?:::[A-Za-z_][A-Za-z0-9_]*)*"
_ENTITY: Final = re.compile(
    rf"entity\s+(?P<name>{_NAME})(?:\s+in\s+\[(?P<parents>[^\]]*)\])?\s*(?:=?\s*(?P<record>\{{.*\}}))?\s*(?P<tags>tags\s[^;]*)?;",
    re.DOTALL,
)
_STATEMENT: Final = re.compile(r'(?:"(?:\\.|[^"\\])*"|[^";])*;', re.DOTALL)
_APPLIES: Final = re.compile(r"principal\s*:\s*\[([^\]]*)\]\s*,\s*resource\s*:\s*\[([^\]]*)\]", re.DOTALL)


@dataclass(frozen=True, slots=True)
class EntityType:
    """What an entity type declares: attributes, and every type it can be in, transitively."""

    attributes: RecordOf
    above: frozenset[str]


@dataclass(frozen=True, slots=True, kw_only=True)
class Environment:
    """One way a request can be typed."""

    action: str
    groups: frozenset[str]
    """Every group of the action, transitively."""
    principal: str
    resource: str
    context: RecordOf
    entities: Mapping[str, EntityType] = field(repr=False)


def environments(schema: str) -> tuple[Environment, ...]:
    """Every environment of a schema, by action.

    Args:
        schema: Cedar schema text.

    Raises:
        OperatorError: `bundle_refused`: not a schema, or more than the schema's reader knows.
        Unsupported: an entity declaration not known here (an enumeration, several names at once).
    """
    shape = read_schema(str(Schema.from_str(schema)))
    entities = _entity_types(shape)
    found: list[Environment] = []
    for action in sorted(shape.actions):
        declared = shape.actions[action]
        if declared.applies is None:
            continue
        match = _APPLIES.search(declared.applies)
        if match is None:
            raise Unsupported(f"what action {action[:60]!r} applies to")
        found.extend(
            Environment(
                action=action,
                groups=shape.ancestors(action),
                principal=principal,
                resource=resource,
                context=declared.context,
                entities=entities,
            )
            for principal in _names(match[1])
            for resource in _names(match[2])
        )
    return tuple(found)


def _entity_types(shape: SchemaShape) -> dict[str, EntityType]:
    """Entity declarations, their records read by the same reader as contexts: each is handed to it as one."""
    types, direct, records = [], {}, []
    for statement in _STATEMENT.findall(shape.declarations):
        text = statement.strip()
        if text.startswith("type"):
            types.append(text)
            continue
        match = _ENTITY.fullmatch(text)
        if match is None:
            raise Unsupported(f"the declaration {' '.join(text.split())[:60]!r}")
        name = match["name"]
        direct[name] = _names(match["parents"] or "")
        record = match["record"] or "{}"
        records.append(f'action "{name}" appliesTo {{ principal: [{name}], resource: [{name}], context: {record} }};')
    try:
        read = read_schema("\n".join((*types, *records)))
    except OperatorError as error:
        raise Unsupported(f"entity declarations: {error.message}") from error
    return {name: EntityType(read.actions[name].context, _closure(name, direct)) for name in direct}


def _closure(name: str, direct: Mapping[str, tuple[str, ...]]) -> frozenset[str]:
    found: set[str] = set()
    stack = [name]
    while stack:
        for parent in direct.get(stack.pop(), ()):
            if parent not in found:
                found.add(parent)
                stack.append(parent)
    return frozenset(found)


def _names(text: str) -> tuple[str, ...]:
    return tuple(name.strip() for name in text.split(",") if name.strip())
