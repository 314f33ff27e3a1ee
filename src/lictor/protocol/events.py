"""One log entry as others are told it: the record, its place in the log, and whom and what it is about.

Most records name what they belong to by an id only; `Joins` remembers the records those ids came from, so that an event can
say which agent, for whom, asked for what. Texts are data from outside: nothing here renders, shortens or trusts them, and
`ascii_json` writes them so that no byte of theirs is anything but printable ASCII (facts LOGI). It refuses to know formats,
files and networks.
"""

import json
from typing import Any, Final

import msgspec

from lictor.model.action import ActionKind, action_name
from lictor.model.errors import StoreError
from lictor.model.reasons import Reason

MOST_JOINED: Final = 10_000
"""Ids remembered of each kind; the oldest goes first. An event about an older one says its id alone."""


class Names(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """Whom and what a record is about, as far as it is known. Empty: it is about none, or none is known."""

    task: str = ""
    request: str = ""
    hold: str = ""
    execution: str = ""
    lease: str = ""
    agent: str = ""
    human: str = ""
    kind: str = ""
    """Of the action: `tool`, `resource`, …"""
    server: str = ""
    name: str = ""

    @property
    def action(self) -> str:
        """What policy calls the action; empty where the record is about none."""
        if not self.kind:
            return ""
        known = self.kind in ActionKind.__members__.values()
        return action_name(ActionKind(self.kind), self.server, self.name) if known else f"{self.server}/{self.name}"


class Told(msgspec.Struct, frozen=True, kw_only=True):
    """One log entry, read.

    Attributes:
        origin: the log's name.
        seq: the entry's place in it, from 0.
        at_ms: milliseconds since the epoch.
        data: the entry's canonical bytes: the Merkle leaf's data.
        leaf: its RFC 6962 leaf hash, SHA-256 over a zero byte and `data`.
        record: the record as it was decoded, `type` among its members.
        names: what it is about.
    """

    origin: str
    seq: int
    at_ms: int
    data: bytes
    leaf: bytes
    record: dict[str, Any]
    names: Names

    @property
    def tag(self) -> str:
        """The record's tag."""
        return str(self.record["type"])

    @property
    def kind(self) -> str:
        """The word before the dot."""
        return self.tag.partition(".")[0]

    @property
    def by(self) -> str:
        """Who did it, as far as the record or the noun it carries says; empty: it does not."""
        record, approval, laid = self.record, self.record.get("approval"), self.record.get("containment")
        said = [
            approval.get("approver") if isinstance(approval, dict) else None,
            record.get("by"),
            record.get("opened_by"),
        ]
        said.append(laid.get("by") if isinstance(laid, dict) else None)
        return next((one for one in said if isinstance(one, str) and one), "")

    @property
    def uid(self) -> str:
        """Names this entry for good: two deliveries of it have the same."""
        return f"{self.origin}/{self.seq}"


class Joins:
    """Reads entries in the order of the log and says what each is about. For one reader."""

    def __init__(self, origin: str) -> None:
        self._origin = origin
        self._known: dict[str, dict[str, Names]] = {kind: {} for kind in _KEPT}

    def read(self, seq: int, data: bytes, leaf: bytes) -> Told:
        """One entry.

        Raises:
            StoreError: `log_damaged`: the bytes are no entry.
        """
        try:
            entry = msgspec.json.decode(data)
            record, at_ms = entry["record"], entry["at"]
            names = self._names(record)
        except (msgspec.MsgspecError, KeyError, TypeError, AttributeError) as error:
            raise StoreError(
                Reason.LOG_DAMAGED, f"entry {seq} cannot be read", remedy="see: lictor log verify"
            ) from error
        self._remember(names)
        return Told(origin=self._origin, seq=seq, at_ms=at_ms, data=data, leaf=leaf, record=record, names=names)

    def _remember(self, names: Names) -> None:
        for kind, members in _KEPT.items():
            one, known = getattr(names, kind), self._known[kind]
            if not one or (one in known and _says(known[one]) >= _says(names)):
                continue
            if one not in known and len(known) >= MOST_JOINED:
                del known[next(iter(known))]
            known[one] = Names(**{member: getattr(names, member) for member in members})

    def _names(self, record: dict[str, Any]) -> Names:
        """What the record itself says, then what the records say that it names."""
        found = _said(record)
        for kind, known in self._known.items():
            origin = known.get(found.get(kind, ""))
            if origin is not None:
                for member in Names.__struct_fields__:
                    if value := getattr(origin, member):
                        found.setdefault(member, value)
        return Names(**found)


_TASK: Final = ("task", "agent", "human")
_ACTION: Final = ("kind", "server", "name")
_KEPT: Final = {
    "task": _TASK,
    "request": ("request", *_TASK, *_ACTION),
    "hold": ("hold", "request", *_TASK, *_ACTION),
    "execution": ("execution", "request", "hold", *_TASK, *_ACTION),
    "lease": ("lease", *_TASK),
}
"""What is true of everything that names one of these ids, and therefore handed on."""
_INNER: Final = {
    "task": "task",
    "hold": "hold",
    "lease": "lease",
    "approval": "",
    "allowance": "",
    "signal": "",
    "passkey": "",
    "containment": "",
}
"""Members that may hold a whole noun: whose id it is that its `id` says."""


def _says(names: Names) -> tuple[bool, bool]:
    """How much is known: more of an id replaces less of it."""
    return bool(names.agent), bool(names.kind)


def _said(record: dict[str, Any]) -> dict[str, str]:
    """What stands in the record and in the noun it carries."""
    found: dict[str, str] = {}
    for member, of in _INNER.items():
        inner = record.get(member)
        if isinstance(inner, dict):
            found |= _texts(inner)
            if of:
                found[of] = str(inner.get("id", ""))
    return found | _texts(record)


def _texts(members: dict[str, Any]) -> dict[str, str]:
    named = {name: members.get(name) for name in Names.__struct_fields__}
    # A credential's lease has a server and no kind; a passkey's and a signal's `name` and `kind` are no action's.
    if "server" not in members:
        del named["name"], named["kind"]
    return {name: value for name, value in named.items() if isinstance(value, str) and value}


def read_kinds(kinds: tuple[str, ...], tag: str) -> bool:
    """Whether a record is wanted: no kinds want all; a kind is a whole tag, or the word before its dot."""
    return not kinds or tag in kinds or tag.partition(".")[0] in kinds


def ascii_json(value: Any) -> bytes:
    """JSON of one line in which every byte is printable ASCII: what is not is written as its escape (LOGI-01 to LOGI-03).

    Any JSON parser reads the text back as it was. Nothing in it ends a line, moves a cursor or reorders what is shown.
    """
    return json.dumps(value, ensure_ascii=True, separators=(",", ":")).replace("\x7f", "\\u007f").encode("ascii")
