"""The Cedar schema of a bundle: entity types, action groups, and one action a thing, typed from its own definition.

Types of tool data are inline records, never named types, so that any name at all can stand in them (facts 9). The common facts
have one type for every action, so that an unscoped forbid validates. Refuses to know policies and values.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from lictor.model.action import ActionKind, action_name
from lictor.model.catalog import CatalogEntry
from lictor.pdp.decide import Entity
from lictor.pdp.facts import COMMON_CONTEXT
from lictor.pdp.history import HISTORY_CONTEXT, measures_context
from lictor.pdp.shapes import Fields, cedar_type, quoted
from lictor.policy.authority import AUTHORITY, OPENING_OF_TASK, USE_OF_CREDENTIAL
from lictor.policy.names import CLASSES, KINDS, KNOWN_TAGS
from lictor.policy.toolschema import shape_of

ENTITY_TYPES: Final = """\
entity AgentGroup;
entity Agent in [AgentGroup] {owner: String, team: String, autonomy: Long, environment: String};
entity Server;
entity Tool in [Server];
entity Resource in [Server];
entity Prompt in [Server];
entity Feature in [Server];
entity Credential in [Server];
entity Purpose;
"""
RESOURCE_TYPE: Final[Mapping[ActionKind, str]] = {
    ActionKind.TOOL: "Tool",
    ActionKind.RESOURCE: "Resource",
    ActionKind.PROMPT: "Prompt",
    ActionKind.FEATURE: "Feature",
    ActionKind.CREDENTIAL: "Credential",
    ActionKind.TASK: "Purpose",
}
KIND_GROUP: Final[Mapping[ActionKind, str]] = dict(zip(RESOURCE_TYPE, KINDS, strict=True))
PHANTOM: Final = "lictor:nothing"
"""Begins the names of actions that stand for nothing; see `schema_text`."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ActionType:
    """One action of the schema: its groups, and the shape of its `input`."""

    name: str
    kind: ActionKind
    groups: tuple[str, ...]
    shape: Fields
    measures: tuple[str, ...] = ()
    """Every measure of the bundle: one type of the common facts for all actions."""

    def text(self) -> str:
        """Its declaration."""
        groups = ", ".join(map(quoted, self.groups))
        totals = measures_context(self.measures)
        context = f'{{"input": {cedar_type(self.shape)}, {COMMON_CONTEXT}, {HISTORY_CONTEXT}, {totals}}}'
        applies = f"principal: [Agent], resource: [{RESOURCE_TYPE[self.kind]}], context: {context}"
        return f"action {quoted(self.name)} in [{groups}] appliesTo {{{applies}}};\n"


def resource_of(entry: CatalogEntry) -> Entity:
    """The entity a thing is in policy: `Tool::"server/tool"` and so on; a resource is its catalogue entry."""
    return RESOURCE_TYPE[entry.kind], entry.name if entry.kind is ActionKind.TASK else f"{entry.server}/{entry.name}"


def arguments_schema(entry: CatalogEntry, definition: Mapping[str, Any] | None) -> dict[str, Any] | bool | None:
    """The JSON Schema of a thing's arguments: the tool's own, or what the protocol says of the other kinds.

    Prompts take the strings they declare (MCP 2025-11-25, server/prompts); a resource takes its URI; what a feature takes is the
    protocol's, so policy sees nothing of it (`input_opaque`).
    """
    match entry.kind:
        case ActionKind.TOOL:
            schema = (definition or {}).get("inputSchema")
            return schema if isinstance(schema, dict | bool) else None
        case ActionKind.PROMPT:
            return _prompt_schema((definition or {}).get("arguments"))
        case ActionKind.RESOURCE:
            return _strings({"uri": True})
        case ActionKind.FEATURE:
            return True
        case ActionKind.CREDENTIAL:
            return USE_OF_CREDENTIAL
        case ActionKind.TASK:
            return OPENING_OF_TASK


def action_type(entry: CatalogEntry, definition: Mapping[str, Any] | None, measures: Iterable[str] = ()) -> ActionType:
    """The action of one thing, in a bundle of these measures.

    Raises:
        OperatorError: `tool_unusable`.
    """
    return ActionType(
        name=action_name(entry.kind, entry.server, entry.name),
        kind=entry.kind,
        groups=_groups_of(entry),
        shape=shape_of(arguments_schema(entry, definition)),
        measures=tuple(sorted(measures)),
    )


def schema_text(actions: Iterable[ActionType], *, phantoms: bool = False) -> str:
    """The schema.

    Args:
        actions: in any order; names are unique.
        phantoms: declare, for each group that has nothing of a kind in it yet, an action that stands for nothing, so that a rule
            about a whole class validates against the common facts before there is anything in the class. For checking only.
    """
    known = sorted(actions, key=lambda action: action.name)
    tags = sorted({*KNOWN_TAGS, *(tag for action in known for tag in action.groups[2:])})
    groups = [f"action {quoted(name)};\n" for name in (*CLASSES, *KINDS, *tags)]
    extra = _phantoms(known, tags) if phantoms else ()
    return "".join([ENTITY_TYPES, *groups, *(action.text() for action in (*known, *extra))])


def _phantoms(actions: Sequence[ActionType], tags: Sequence[str]) -> Iterable[ActionType]:
    measures = actions[0].measures if actions else ()
    used = {(group, action.kind) for action in actions for group in action.groups}
    for kind in ActionKind:
        for group in (KIND_GROUP[kind],) if kind in AUTHORITY else (*CLASSES, *tags):
            if (group, kind) not in used:
                name = f"{PHANTOM} {kind.value} {group}"
                groups = tuple(dict.fromkeys((group, KIND_GROUP[kind])))
                yield ActionType(name=name, kind=kind, groups=groups, shape=Fields({}), measures=measures)


def _groups_of(entry: CatalogEntry) -> tuple[str, ...]:
    """What is about authority itself is in no effect class: a permit for everything that reads lends no credential."""
    kind = KIND_GROUP[entry.kind]
    return (kind,) if entry.kind in AUTHORITY else (entry.effect.value, kind, *entry.tags)


def _prompt_schema(arguments: object) -> dict[str, Any]:
    declared = arguments if isinstance(arguments, list) else []
    return _strings(
        {
            argument["name"]: argument.get("required") is True
            for argument in declared
            if isinstance(argument, dict) and isinstance(argument.get("name"), str)
        }
    )


def _strings(names: Mapping[str, bool]) -> dict[str, Any]:
    return {
        "type": "object",
        "properties": {name: {"type": "string"} for name in names},
        "required": [name for name, required in names.items() if required],
        "additionalProperties": False,
    }
