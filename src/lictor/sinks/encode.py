"""An entry as one line of a format. Whatever the format, a line is printable ASCII (`protocol.events.ascii_json`)."""

from collections.abc import Callable
from typing import Any, Final

import msgspec

from lictor.protocol.cloudevents import cloudevent
from lictor.protocol.events import Told, ascii_json
from lictor.protocol.ocsf import ocsf_event
from lictor.service.log.pump import Event

INFORMATIONAL: Final = 6
NOTICE: Final = 5
WARNING: Final = 4


def own(told: Told) -> dict[str, Any]:
    """The entry as it stands in the log, with its place. Its canonical bytes are `entry` with sorted keys, without blanks."""
    entry = msgspec.json.decode(told.data)
    return {"origin": told.origin, "seq": told.seq, "leaf": told.leaf.hex(), "entry": entry}


FORMATS: Final[dict[str, Callable[[Told], dict[str, Any]]]] = {
    "ocsf": ocsf_event,
    "cloudevents": cloudevent,
    "lictor": own,
}


def encoder(name: str) -> Callable[[Told], Event]:
    """What writes entries in a format by its name."""
    form = FORMATS[name]

    def encode(told: Told) -> Event:
        return Event(told.seq, told.at_ms, _severity(told), told.tag, ascii_json(form(told)))

    return encode


def _severity(told: Told) -> int:
    refused = told.tag.endswith(".refused") or told.record.get("outcome") in {"deny", "indeterminate"}
    if refused or told.kind == "signal":
        return WARNING
    return NOTICE if told.kind in {"privilege", "approval"} else INFORMATIONAL
