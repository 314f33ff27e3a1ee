"""The generated schema: parses, types every thing, keeps common facts common."""

import pytest
from cedarpy import Schema, validate_policies

from bundles import bundle
from lictor.model.action import ActionKind
from lictor.model.catalog import CatalogEntry, EffectClass
from lictor.pdp.engine.schematext import read_schema
from lictor.policy.cedarschema import action_type, schema_text
from lictor.policy.compile import bundle_actions

ACTIONS = bundle_actions(bundle())


def _valid(policy: str, *, phantoms: bool = True) -> bool:
    return bool(validate_policies(policy, Schema.from_str(schema_text(ACTIONS, phantoms=phantoms))).validation_passed)


def test_each_thing_is_one_action_in_its_groups():
    """Class, kind and tags are groups; resources of a server are one action."""
    shape = read_schema(str(Schema.from_str(schema_text(ACTIONS))))
    assert shape.ancestors("fs/fetch") == {"read", "tool.call", "communicates"}
    assert shape.ancestors("resource:fs") == {"read", "resource.read"}
    assert shape.ancestors("prompt:fs/ask") == {"read", "prompt.get"}
    assert shape.ancestors("feature:fs/sampling") == {"write", "feature.use"}
    assert sum(name.startswith("resource:") for name in shape.actions) == 1


@pytest.mark.parametrize(
    "policy",
    [
        'forbid (principal, action, resource) when { context.labels.contains("x") };',
        'forbid (principal, action in [Action::"spends"], resource) when { context has value && context.value.amount > 5 };',
        'permit (principal, action == Action::"fs/write-file/v1.2", resource) when { context.input has mode && context.input.mode < 8 };',
        'permit (principal, action == Action::"resource:fs", resource) when { context.input.uri like "file:///docs/*" };',
        'permit (principal, action == Action::"prompt:fs/ask", resource in Server::"fs") when { context.input.topic == "x" };',
        'forbid (principal, action in [Action::"executes"], resource) when { principal.autonomy > 2 };',
        'forbid (principal, action in [Action::"destructive"], resource is Prompt);',
    ],
)
def test_policies_validate(policy):
    """Unscoped forbids on common facts, typed input of one thing, and rules about classes that are still empty."""
    assert _valid(policy)


@pytest.mark.parametrize(
    "policy",
    [
        'permit (principal, action in [Action::"read"], resource) when { context.input.path == "x" };',
        'permit (principal, action == Action::"fs/write-file/v1.2", resource) when { context.input.mode < 8 };',
        'permit (principal, action == Action::"fs/nothing", resource);',
        'permit (principal, action in [Action::"unheard-of"], resource);',
        "forbid (principal, action, resource) when { context.value.amount > 5 };",
    ],
)
def test_policies_that_could_err_do_not(policy):
    """Optional facts need `has`; unknown actions and groups are errors."""
    assert not _valid(policy)


def test_phantoms_are_for_checking_only():
    """The engine's schema declares no action that stands for nothing."""
    assert "lictor:nothing" not in schema_text(ACTIONS)
    Schema.from_str(schema_text([], phantoms=True))
    Schema.from_str(schema_text([]))


@pytest.mark.parametrize("name", ['a"b', "a\\b", "a/b.c-d", "é", "9", "if", "x y", "\U0001f600"])
def test_any_name_can_stand_in_it(name):
    """Quotes, backslashes, keywords and letters of any script are escaped, in actions and in attributes."""
    entry = CatalogEntry(server="fs", kind=ActionKind.TOOL, name=name, effect=EffectClass.READ)
    definition = {"inputSchema": {"type": "object", "properties": {name: {"type": "string"}}}}
    text = schema_text([action_type(entry, definition)])
    assert text.isascii()
    assert f"fs/{name}" in read_schema(str(Schema.from_str(text))).actions
