"""The JSON Schema of the log's entries, made from the types themselves: one definition a tag, and the envelope.

For readers of a log that are not ours. Version rule: a published type only ever gains members with defaults, so what a reader
knows stays valid; anything else is a new tag. The schema of a release describes what that release writes and nothing else:
unknown members and tags are refused by it, as they are by `decode_entry`. It refuses to know where it is published.
"""

from typing import Any, Final, get_args

import msgspec

from lictor.model.record import LogEntry, Record

SCHEMA_ID: Final = "urn:lictor:records:1"
"""Of the envelope's version 1."""
DIALECT: Final = "https://json-schema.org/draft/2020-12/schema"
_TEMPLATE: Final = "#/$defs/{name}"


def record_tags() -> dict[str, type[msgspec.Struct]]:
    """Every record type by its tag, in the order of the tags."""
    found = {str(one.__struct_config__.tag): one for one in get_args(Record)}
    return dict(sorted(found.items()))


def record_schema() -> dict[str, Any]:
    """One JSON Schema document (draft 2020-12) of an entry; `$defs` has each record under its tag."""
    _, components = msgspec.json.schema_components([LogEntry], ref_template=_TEMPLATE)
    tags = {one.__name__: tag for tag, one in record_tags().items()}
    named = _renamed(components, tags)
    # The writer leaves out no member of the envelope, and readers refuse what it would not have written.
    entry = {**named.pop("LogEntry"), "required": ["v", "at", "record"]}
    return {
        "$schema": DIALECT,
        "$id": SCHEMA_ID,
        **entry,
        "title": "Lictor log entry",
        "$defs": dict(sorted(named.items())),
    }


def _renamed(node: Any, tags: dict[str, str]) -> Any:
    """The same with records under their tags. `discriminator` is OpenAPI's and no word of JSON Schema: it goes."""
    match node:
        case dict():
            found = {tags.get(key, key): _renamed(value, tags) for key, value in node.items() if key != "discriminator"}
            reference = found.get("$ref")
            if isinstance(reference, str):
                name = reference.rpartition("/")[2]
                found["$ref"] = _TEMPLATE.format(name=tags.get(name, name))
            return found
        case list() | tuple():
            return [_renamed(one, tags) for one in node]
        case _:
            return node
