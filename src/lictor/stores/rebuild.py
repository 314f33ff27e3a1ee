"""State from the log once more, compared with the tables: they are a convenience, the log is the truth (ADR 0006).

It refuses to know where either is stored.
"""

from collections.abc import Iterable
from dataclasses import dataclass

import msgspec

from lictor.lifecycle.fold import fold
from lictor.lifecycle.rows import Key, Row
from lictor.model.errors import ConflictError
from lictor.model.record import decode_entry
from lictor.ports import StoredEntry


@dataclass(frozen=True, slots=True)
class Difference:
    """One thing the tables and the log do not agree on.

    Attributes:
        what: `missing` (the log says it, no row), `extra` (a row, the log does not say it), `changed` (they differ),
            `unreadable` (the row), `entry` (the log holds what the life cycles do not permit, or cannot be read).
        key: of the row, or `("entry", number)`.
        message: one line for a person.
    """

    what: str
    key: Key
    message: str


def differences(entries: Iterable[StoredEntry], stored: Iterable[tuple[Key, Row | None]]) -> list[Difference]:
    """Fold a whole log and compare.

    Args:
        entries: all, in order; read first.
        stored: all rows, in any order; None stands for one that cannot be decoded.

    Raises:
        StoreError: what the arguments raise while they are read.
    """
    found: list[Difference] = []
    rows = _fold_all(entries, found)
    for key, row in stored:
        expected = rows.pop(key, None)
        if row is None:
            found.append(Difference("unreadable", key, f"the row of {key[0]} {key[1]!r:.80} is not readable"))
        elif expected is None:
            found.append(Difference("extra", key, f"the log knows no {key[0]} {key[1]!r:.80}"))
        elif row != expected:
            message = f"{key[0]} {key[1]!r:.80} is {row.status!r}, by the log {expected.status!r}"
            found.append(Difference("changed", key, message))
    found.extend(Difference("missing", key, f"{key[0]} {key[1]!r:.80} has no row") for key in rows)
    return found


def _fold_all(entries: Iterable[StoredEntry], found: list[Difference]) -> dict[Key, Row]:
    rows: dict[Key, Row] = {}
    for stored in entries:
        try:
            entry = decode_entry(stored.data)
            changes = fold(rows.get, entry.record, entry.at)
        except (msgspec.MsgspecError, UnicodeDecodeError, ConflictError) as error:
            message = f"entry {stored.seq}: {str(error)!r:.160}"
            found.append(Difference("entry", ("entry", str(stored.seq)), message))
            continue
        for key, row in changes.items():
            if row is None:
                rows.pop(key, None)
            else:
                rows[key] = row
    return rows
