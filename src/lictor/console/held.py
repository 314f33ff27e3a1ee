"""A hold as people see it: made from the sealed bytes and the gateway's own facts, the same for page and terminal.

Refuses to know pages, terminals, and whether an answer suffices.
"""

import re
from collections.abc import Iterator, Mapping
from typing import Any, Final

import msgspec

from lictor.console import waiting
from lictor.console.frame import moment
from lictor.console.held_facts import sealed_facts
from lictor.console.views import AheadView, ArgumentView, FieldView, HoldView, PartView, PreviewView
from lictor.model.action import SealedArguments
from lictor.model.approval import Approval, Hold, HoldStatus, Strength, seal_of
from lictor.model.canonical import canonical
from lictor.model.catalog import CatalogEntry
from lictor.model.errors import StoreError
from lictor.model.ids import HumanId
from lictor.model.preview import Preview
from lictor.model.reasons import Reason
from lictor.pdp.approval import may_be_ahead, targets_of
from lictor.pdp.decide import Pdp, facts_of
from lictor.pdp.normalise import Destination, Selected, Target, Value
from lictor.pdp.normalise.money import decimal_of, digits_of
from lictor.ports import RecordStore
from lictor.protocol.display import render
from lictor.protocol.display_hosts import host_display
from lictor.service.calls.requests import held_preview, held_request, held_snapshot

_PLAIN_NAME: Final = re.compile(r"[A-Za-z_$][A-Za-z0-9_$-]*", re.ASCII)
MAX_ARGUMENTS: Final = 500
"""Leaves shown one by one; past it the whole object is shown as one canonical text, so nothing is ever left out."""
_PROVED: Final[Mapping[int, str]] = {
    Strength.SECRET: "with their secret",
    Strength.LOGIN: "signed in",
    Strength.PASSKEY: "with a passkey",
}

answerable = waiting.answerable


def hold_view(store: RecordStore, pdp: Pdp, hold: Hold, now_ms: int, person: HumanId | None = None) -> HoldView:
    """What a person decides on.

    Raises:
        StoreError: the sealed payload is gone or is not the hold's: nothing truthful could be shown, so nothing is.
    """
    request = held_request(store, hold)
    entry, destination, value = facts_of(pdp, request)
    state = store.task(hold.task)
    status = _status(hold, now_ms)
    why_not = _why_not(pdp, hold, status, person)
    return HoldView(
        id=hold.id,
        agent=hold.agent,
        human=hold.human,
        task=hold.task,
        purpose=state.task.purpose if state else "",
        server=hold.server,
        kind=hold.kind.value,
        tool=hold.name,
        effect=entry.effect.value if entry else "unknown",
        reversible=entry.reversible if entry else False,
        digest=hold.digest,
        seal=seal_of(hold),
        groups=hold.groups,
        opened_at=moment(hold.opened_at_ms),
        expires_at=moment(hold.expires_at_ms),
        arguments=tuple(arguments_of(request.arguments)),
        facts=(*_facts(entry, destination, value), *sealed_facts(pdp, request, held_snapshot(store, hold))),
        preview=_preview(store, hold),
        ways=waiting.ways_of(hold),
        labels=state.labels if state else (),
        status=status,
        answered=tuple(_answers(hold)),
        override=hold.override,
        may_answer=not why_not,
        why_not=why_not,
        may_deny=status == "pending" and person is not None and waiting.may_deny(pdp, person),
        may_withdraw=person is not None and waiting.may_withdraw(store, hold, person, now_ms),
        ahead=None if why_not or hold.override else _ahead(entry, destination, value),
    )


def arguments_of(sealed: SealedArguments) -> list[ArgumentView]:
    """Every leaf of the arguments with its path; strings as themselves, anything else as canonical JSON."""
    document = sealed.open()
    leaves = list(_leaves(document, "")) if document else []
    if len(leaves) > MAX_ARGUMENTS:
        return [ArgumentView(path="(all arguments)", kind="object", text=sealed.data.decode())]
    return leaves


def _leaves(value: Any, path: str) -> Iterator[ArgumentView]:
    if isinstance(value, dict) and value:
        for name, member in value.items():
            yield from _leaves(member, _below(path, name))
    elif isinstance(value, list) and value:
        for index, member in enumerate(value):
            yield from _leaves(member, f"{path}[{index}]")
    elif isinstance(value, str):
        yield ArgumentView(path=path, kind="string", text=value)
    else:
        yield ArgumentView(path=path, kind=_kind(value), text=canonical(value).decode())


def _below(path: str, name: str) -> str:
    """A member's path; a name that could be read as a path itself is quoted, so that no two members look alike (R12)."""
    if _PLAIN_NAME.fullmatch(name) is None:
        return f"{path}[{msgspec.json.encode(name).decode()}]"
    return f"{path}.{name}" if path else name


def _kind(value: Any) -> str:
    match value:
        case None:
            return "null"
        case bool():
            return "boolean"
        case int() | float():
            return "number"
        case list():
            return "array"
        case _:
            return "object"


def _facts(entry: CatalogEntry | None, destination: Destination | None, value: Value | None) -> Iterator[FieldView]:
    if destination is not None:
        for target in destination.targets:
            yield from _target(target)
    if value is not None:
        note = f"{value.amount} minor units"
        yield FieldView(label="Value", text=money(entry, value.amount, value.currency), note=note)


def money(entry: CatalogEntry | None, amount: int, currency: str) -> str:
    """An amount as people write it, by the digits that the tool's selector declares."""
    if entry is None or entry.value is None:
        return f"{amount} minor units of {currency}"
    return f"{decimal_of(amount, digits_of(entry.value, currency))} {currency}"


def _target(target: Target) -> Iterator[FieldView]:
    host, warnings = host_display(target.host) if target.host else ("", ())
    vouched = f"in the directory: {', '.join(target.directory)}" if target.directory else ""
    inward = ("inside: a private address or an internal name",) if target.private else ()
    unknown = () if vouched else ("external: not in the directory",)
    note = "; ".join([*map(render, warnings), *inward, *unknown])
    yield FieldView(label="Destination", text=_place(target, host), note=note)
    if vouched:
        yield FieldView(label="Known host" if target.kind in {"url", "host"} else "Known", text=vouched)


def _place(target: Target, host: str) -> str:
    match target.kind:
        case "url":
            return f"{target.scheme}://{host}:{target.port}"
        case "host":
            return f"{host}:{target.port}" if target.port else host
        case "email":
            return f"{target.address.rpartition('@')[0]}@{host}"
        case "git":
            return f"{target.scheme}://{host}:{target.port}/{target.repository}"
        case "account":
            return target.address


def _status(hold: Hold, now_ms: int) -> str:
    if hold.status is HoldStatus.PENDING and now_ms >= hold.expires_at_ms:
        return "expired"
    return hold.status.value


def _why_not(pdp: Pdp, hold: Hold, status: str, person: HumanId | None) -> str:
    if status != "pending":
        return f"this hold is {status}"
    if person is None:
        return "sign in to answer"
    return waiting.why_not(pdp, hold, person)


def _preview(store: RecordStore, hold: Hold) -> PreviewView | None:
    try:
        preview = held_preview(store, hold)
    except msgspec.DecodeError:
        raise StoreError(Reason.LOG_DAMAGED, f"the sealed preview of hold {hold.id!r} cannot be read") from None
    return None if preview is None else preview_view(preview)


def preview_view(preview: Preview) -> PreviewView:
    """Every part of a preview, as it is sealed; nothing is left out that it does not say itself."""
    parts = tuple(
        PartView(
            title=part.title,
            text=part.text,
            lines=tuple((line.mark, line.text) for line in part.lines),
            rows=part.rows,
            warning=part.warning,
            left_out=part.left_out,
        )
        for part in preview.parts
    )
    return PreviewView(
        kind=preview.kind,
        made_at=moment(preview.made_at_ms),
        parts=parts,
        whole=preview.whole,
        rests_on=tuple((one.kind, one.target) for one in preview.preconditions),
    )


def _answers(hold: Hold) -> Iterator[FieldView]:
    """Who said what so far."""
    yes = hold.given or (hold.approval.people if hold.approval is not None else ())
    for one in yes:
        yield FieldView(label=one.approver, text=_said(one))
    if hold.status is HoldStatus.DENIED and hold.answered_by:
        at = f", {moment(hold.answered_at_ms)}" if hold.answered_at_ms else ""
        yield FieldView(label=hold.answered_by, text=f"denied{at}", note=hold.note)


def _said(one: Approval) -> str:
    if one.allowance:
        return f"approved ahead, {moment(one.given_at_ms)}"
    return f"approved {_PROVED.get(one.strength, 'somehow')}, {moment(one.given_at_ms)}"


def _ahead(entry: CatalogEntry | None, destination: Destination | None, value: Value | None) -> AheadView | None:
    """What an allowance would be for; None: it can be approved one by one only, as `Answer.allow_ahead` says again."""
    if entry is None or not may_be_ahead(entry):
        return None
    if (entry.destination is not None and destination is None) or (entry.value is not None and value is None):
        return None
    return AheadView(
        targets=targets_of(Selected(destination=destination)),
        currency=value.currency if value is not None and value.amount > 0 else "",
        amount=value.amount if value is not None else 0,
    )
