"""One batch on its way into a store: its entries as bytes, and the rows the life cycles make of it. Knows no storage.

Both functions are pure, so a batch that is refused leaves no trace: what it would have changed is simply not used.
"""

from typing import Final

import msgspec

from lictor.lifecycle.fold import fold
from lictor.lifecycle.reading import Changes, Changing, Read
from lictor.model.errors import ConflictError, StoreError
from lictor.model.reasons import Reason
from lictor.model.record import decode_entry, encode_entry
from lictor.ports import Batch

MAX_AT_MS: Final = 2**53 - 1
"""Latest moment a record can carry: what every JSON reader keeps exactly."""


def entries_of(batch: Batch) -> list[bytes]:
    """The log entries of a batch, in order.

    Raises:
        StoreError: `cannot_record`: the batch is empty, its time is out of range, or a record has no encoding.
    """
    if not batch.records:
        raise StoreError(Reason.CANNOT_RECORD, "a batch without records")
    if not 0 <= batch.at_ms <= MAX_AT_MS:
        raise StoreError(Reason.CANNOT_RECORD, f"not a time in milliseconds: {batch.at_ms!r:.40}")
    try:
        return [encode_entry(batch.at_ms, record) for record in batch.records]
    except (ValueError, TypeError, OverflowError, msgspec.MsgspecError) as error:  # lone surrogates, huge integers
        raise StoreError(Reason.CANNOT_RECORD, f"a record has no encoding: {str(error)!r:.160}") from error


def changes_of(batch: Batch, read: Read) -> Changes:
    """The rows a batch changes; each record sees what those before it changed.

    Raises:
        ConflictError: the life cycles do not permit it.
    """
    now = Changing(read)
    for record in batch.records:
        now.changes.update(fold(now.read, record, batch.at_ms))
    return now.changes


def changes_of_entry(data: bytes, read: Read) -> Changes:
    """The rows that an entry changes which a batch has left in a log: the same as that batch's.

    Raises:
        StoreError: `log_damaged`: it cannot be read, or the life cycles do not permit it.
    """
    try:
        entry = decode_entry(data)
        return fold(read, entry.record, entry.at)
    except (msgspec.MsgspecError, UnicodeDecodeError, ConflictError) as error:
        raise StoreError(Reason.LOG_DAMAGED, f"an entry cannot be taken in again: {str(error)!r:.160}") from error
