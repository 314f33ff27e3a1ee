"""A log entry as one row of a table, for spreadsheets and data frames. Refuses to know files and packages that write them.

What stands in a record's names was chosen outside: a cell that a spreadsheet would take for a formula, or that would end a row,
is data all the same (LOGI; CWE-1236).
"""

from typing import Any, Final

from lictor.protocol.cloudevents import moment
from lictor.protocol.events import Told, ascii_json

COLUMNS: Final = (
    "seq",
    "at",
    "kind",
    "type",
    "task",
    "request",
    "hold",
    "execution",
    "lease",
    "agent",
    "human",
    "action",
    "outcome",
    "reason",
    "by",
    "leaf",
    "record",
)
"""`at` is a time, `seq` a number, everything else a text; empty where the record has none."""

_FORMULA: Final = ("=", "+", "-", "@", "'")
"""A cell that begins so is a formula, or would be read as one of ours."""


def row_of(told: Told) -> dict[str, Any]:
    """The entry's cells by column, as they are: `at` in milliseconds since the epoch, `record` as JSON of printable ASCII."""
    names, record = told.names, told.record
    found: dict[str, Any] = {
        "seq": told.seq,
        "at": told.at_ms,
        "kind": told.kind,
        "type": told.tag,
        **{member: getattr(names, member) for member in ("task", "request", "hold", "execution", "lease")},
        "agent": names.agent,
        "human": names.human,
        "action": names.action,
        "leaf": told.leaf.hex(),
        "record": ascii_json(record).decode("ascii"),
    }
    found["by"] = told.by
    for member in ("outcome", "reason"):
        value = record.get(member)
        found[member] = value if isinstance(value, str) else ""
    return {column: found[column] for column in COLUMNS}


def cells_of(told: Told) -> list[str]:
    """The row for a CSV file: times as RFC 3339, every text harmless. The record is: JSON of printable ASCII, in braces."""
    row = row_of(told)
    record = row.pop("record")
    return [*(harmless(moment(value) if name == "at" else str(value)) for name, value in row.items()), record]


def harmless(text: str) -> str:
    r"""A cell of one line of printable ASCII that no spreadsheet evaluates. Two texts never become the same.

    A text with anything else in it (or a backslash) is written with JSON's escapes; one that begins like a formula, or with
    our own mark, gets an apostrophe before it.
    """
    if not (text.isascii() and text.isprintable()) or "\\" in text:
        text = ascii_json(text)[1:-1].decode("ascii").replace('\\"', '"')
    return f"'{text}" if text.startswith(_FORMULA) else text
