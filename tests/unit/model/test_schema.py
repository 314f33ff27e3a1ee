"""The published schema: made from the types, valid by itself, and as strict as the reader."""

import json
from pathlib import Path
from typing import Any

import jsonschema_rs
import msgspec
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from lictor.model.record import decode_entry, encode_entry
from lictor.model.schema import record_schema, record_tags
from lictor.ports import StoredEntry
from recorded_world import ERASE, FETCH, GUEST, HELD_READ, READ, WRITE, drive, world_bundle

PUBLISHED = Path(__file__).parents[3] / "docs" / "reference" / "schema" / "records.json"
SCHEMA = record_schema()
VALID = jsonschema_rs.Draft202012Validator(SCHEMA)


def entries() -> list[StoredEntry]:
    """A real log: tasks, requests, denials, holds, approvals, executions, a restriction."""
    return list(drive(world_bundle(), (READ, FETCH, WRITE, ERASE, GUEST, HELD_READ)).store.entries())


def test_the_published_schema_is_that_of_the_types() -> None:
    """Whoever changes a type writes it anew: `lictor log schema > docs/reference/schema/records.json`."""
    assert json.loads(PUBLISHED.read_text("utf-8")) == SCHEMA


def test_the_schema_is_one_and_has_every_tag() -> None:
    """Valid by its own dialect; every reference leads somewhere; each tag has its definition and no other name."""
    jsonschema_rs.meta.validate(SCHEMA)
    assert set(record_tags()) <= set(SCHEMA["$defs"])
    text = json.dumps(SCHEMA)
    references = {part.split('"')[0] for part in text.split('"#/$defs/')[1:]}
    assert references <= set(SCHEMA["$defs"])
    listed = [one["$ref"].rpartition("/")[2] for one in SCHEMA["properties"]["record"]["anyOf"]]
    assert sorted(listed) == sorted(record_tags())
    for tag in record_tags():
        definition = SCHEMA["$defs"][tag]
        assert definition["properties"]["type"] == {"enum": [tag]}
        assert definition["additionalProperties"] is False


def test_every_entry_of_a_real_log_is_valid() -> None:
    """Records of all kinds, as they stand in the log."""
    seen = set()
    for entry in entries():
        value = json.loads(entry.data)
        VALID.validate(value)
        seen.add(value["record"]["type"].partition(".")[0])
    assert seen == {"request", "decision", "approval", "execution", "privilege"}


def strategy(info: msgspec.inspect.Type) -> st.SearchStrategy[Any]:
    """Values of a type, as it is declared."""
    match info:
        case msgspec.inspect.StrType():
            return st.text(max_size=5)
        case msgspec.inspect.IntType():
            return st.integers(-(2**53), 2**53)
        case msgspec.inspect.BoolType():
            return st.booleans()
        case msgspec.inspect.NoneType():
            return st.none()
        case msgspec.inspect.LiteralType(values=values):
            return st.sampled_from(values)
        case msgspec.inspect.EnumType(cls=cls):
            return st.sampled_from(list(cls))
        case msgspec.inspect.UnionType(types=types):
            return st.one_of(*map(strategy, types))
        case msgspec.inspect.VarTupleType(item_type=item):
            return st.lists(st.deferred(lambda: strategy(item)), max_size=2).map(tuple)
        case msgspec.inspect.TupleType(item_types=items):
            return st.tuples(*map(strategy, items))
        case msgspec.inspect.DictType(key_type=key, value_type=value):
            return st.dictionaries(strategy(key), strategy(value), max_size=2)
        case msgspec.inspect.StructType(cls=cls, fields=fields):
            named = {one.name: st.deferred(lambda one=one: strategy(one.type)) for one in fields}
            needed = {one.name: named.pop(one.name) for one in fields if one.required}
            return st.fixed_dictionaries(needed, optional=named).map(lambda members: cls(**members))
    raise AssertionError(f"no values for {info!r}")


@pytest.mark.parametrize("tag", record_tags())
@given(data=st.data())
@settings(max_examples=6, deadline=None, suppress_health_check=list(HealthCheck))
def test_any_record_of_any_tag_is_valid(tag: str, data: st.DataObject) -> None:
    """Whatever its members hold, what the writer writes is what the schema describes, and another tag's it is not."""
    record = data.draw(strategy(msgspec.inspect.type_info(record_tags()[tag])))
    value = json.loads(encode_entry(1, record))
    VALID.validate(value)
    assert not VALID.is_valid(_with(value, surplus=1))
    assert not VALID.is_valid(_with(value, type="signal.invented"))


def _with(value: dict[str, Any], **changes: Any) -> dict[str, Any]:
    return {**value, "record": {**value["record"], **changes}}


def test_what_the_reader_refuses_the_schema_refuses() -> None:
    """Unknown members, tags and versions, and members left out: both say no, and to the entry itself both say yes."""
    for entry in entries()[:12]:
        value = json.loads(entry.data)
        spoiled = [
            _with(value, more=1),
            _with(value, type="request.invented"),
            {**value, "v": 2},
            {**value, "more": 1},
            {key: member for key, member in value.items() if key != "v"},
            {**value, "at": "now"},
        ]
        required = SCHEMA["$defs"][value["record"]["type"]]["required"]
        for name in set(required) - {"type"}:
            left = {key: member for key, member in value["record"].items() if key != name}
            spoiled.append({**value, "record": left})
        assert VALID.is_valid(value)
        for one in spoiled:
            assert not VALID.is_valid(one), one
            with pytest.raises(msgspec.ValidationError):
                decode_entry(msgspec.json.encode(one, order="sorted"))
