"""A log entry as a CloudEvents 1.0 event in its JSON form, for one event or a batch of them. Refuses to know transports.

`source` and `id` together name the entry: two deliveries of it are equal in both, as the specification asks of duplicates.
"""

from datetime import UTC, datetime
from typing import Any, Final

from lictor.protocol.events import Told

TYPE_PREFIX: Final = "dev.lictor."


def cloudevent(told: Told) -> dict[str, Any]:
    """The event: context attributes, and the record as `data`.

    `sequence` is the CloudEvents extension of that name. `leafhash` is the entry's RFC 6962 leaf hash in hexadecimal.
    `subject` is what the record is about: its request, or else its task.
    """
    names = told.names
    event: dict[str, Any] = {
        "specversion": "1.0",
        "id": str(told.seq),
        "source": told.origin,
        "type": f"{TYPE_PREFIX}{told.tag}",
        "time": moment(told.at_ms),
        "datacontenttype": "application/json",
        "sequence": f"{told.seq:020d}",
        "leafhash": told.leaf.hex(),
    }
    subject = names.request or names.task
    if subject:
        event["subject"] = subject
    return {**event, "data": {"at": told.at_ms, "record": told.record}}


def moment(at_ms: int) -> str:
    """RFC 3339, in UTC, to the millisecond."""
    return datetime.fromtimestamp(at_ms / 1_000, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
