"""A hold as people see it: made from the sealed bytes and the gateway's own facts, the same for page and terminal."""

import re
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from typing import Any, Final

import msgspec

from lictor.console.held_facts import sealed_facts
from lictor.console.views import ArgumentView, DecisionView, FieldView, HoldView
from lictor.model.action import ActionRequest, SealedArguments, action_words
from lictor.model.approval import Hold, HoldStatus
from lictor.model.canonical import canonical
from lictor.model.errors import StoreError
from lictor.model.ids import HumanId
from lictor.model.reasons import Reason
from lictor.model.record import DecisionMade, ExecutionEnded, ExecutionStarted, RequestReceived, decode_entry
from lictor.model.snapshot import Snapshot
from lictor.model.task import TaskStatus
from lictor.pdp.decide import Pdp, facts_of
from lictor.pdp.normalise import Destination, Target, Value
from lictor.ports import RecordStore
from lictor.protocol.display import render
from lictor.protocol.display_hosts import host_display

_PLAIN_NAME: Final = re.compile(r"[A-Za-z_$][A-Za-z0-9_$-]*", re.ASCII)
MAX_ARGUMENTS = 500
"""Leaves shown one by one; past it the whole object is shown as one canonical text, so nothing is ever left out."""


def hold_view(store: RecordStore, pdp: Pdp, hold: Hold, now_ms: int, person: HumanId | None = None) -> HoldView:
    """What a person decides on.

    Raises:
        StoreError: the sealed payload is gone or is not the hold's: nothing truthful could be shown, so nothing is.
    """
    request = sealed_request(store, hold)
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
        groups=hold.groups,
        opened_at=clock_text(hold.opened_at_ms),
        expires_at=clock_text(hold.expires_at_ms),
        arguments=tuple(arguments_of(request.arguments)),
        facts=(*_facts(destination, value), *sealed_facts(pdp, request, sealed_snapshot(store, hold))),
        labels=state.labels if state else (),
        status=status,
        may_answer=not why_not,
        why_not=why_not,
    )


def answerable(store: RecordStore, hold: Hold, now_ms: int) -> bool:
    """Whether an answer could still matter: the hold waits, and the task it belongs to lives."""
    state = store.task(hold.task)
    alive = state is not None and state.status is TaskStatus.OPEN and now_ms < state.task.expires_at_ms
    return alive and hold.status is HoldStatus.PENDING and now_ms < hold.expires_at_ms


def sealed_request(store: RecordStore, hold: Hold) -> ActionRequest:
    """The held request, rebuilt from its sealed payload and checked against the digest the hold is for.

    Raises:
        StoreError: `log_damaged`: payload missing or of another action.
    """
    payload = store.payload(hold.request)
    if payload is None:
        raise StoreError(Reason.LOG_DAMAGED, f"the sealed arguments of hold {hold.id!r} are gone")
    request = ActionRequest.make(
        id=hold.request,
        kind=hold.kind,
        server=hold.server,
        name=hold.name,
        arguments=SealedArguments.seal(msgspec.json.decode(payload.arguments)),
        agent=hold.agent,
        human=hold.human,
        task=hold.task,
    )
    if request.digest != hold.digest:
        raise StoreError(
            Reason.LOG_DAMAGED, f"the sealed arguments of hold {hold.id!r} are not those it was opened for"
        )
    return request


def sealed_snapshot(store: RecordStore, hold: Hold) -> Snapshot:
    """The facts the hold was opened on.

    Raises:
        StoreError: `log_damaged`: they are gone or are not a snapshot.
    """
    payload = store.payload(hold.request)
    try:
        return Snapshot.decode(payload.snapshot if payload is not None else b"")
    except msgspec.DecodeError:
        raise StoreError(Reason.LOG_DAMAGED, f"the sealed facts of hold {hold.id!r} are gone") from None


def arguments_of(sealed: SealedArguments) -> list[ArgumentView]:
    """Every leaf of the arguments with its path; strings as themselves, anything else as canonical JSON."""
    document = sealed.open()
    leaves = list(_leaves(document, "")) if document else []
    if len(leaves) > MAX_ARGUMENTS:
        return [ArgumentView(path="(all arguments)", kind="object", text=sealed.data.decode())]
    return leaves


def decision_views(store: RecordStore, *, limit: int) -> list[DecisionView]:
    """The newest decisions, newest first, with what became of them where it is known."""
    size = store.size()
    requests: dict[str, RequestReceived] = {}
    outcomes: dict[str, str] = {}
    started: dict[str, str] = {}
    found: list[tuple[int, DecisionMade]] = []
    for entry in store.entries(max(0, size - limit * 6)):
        at, record = (decoded := decode_entry(entry.data)).at, decoded.record
        match record:
            case RequestReceived():
                requests[record.request] = record
            case DecisionMade():
                found.append((at, record))
            case ExecutionStarted():
                started[record.execution] = record.request
                outcomes[record.request] = "started"
            case ExecutionEnded() if record.execution in started:
                outcomes[started[record.execution]] = record.outcome
            case _:
                pass
    return [
        _decision(at, made, requests[made.request], outcomes.get(made.request, ""))
        for at, made in reversed(found[-limit:])
        if made.request in requests
    ]


def clock_text(ms: int) -> str:
    """A moment for people, in UTC."""
    return datetime.fromtimestamp(ms / 1_000, UTC).strftime("%Y-%m-%d %H:%M:%S UTC")


def _decision(at: int, made: DecisionMade, asked: RequestReceived, outcome: str) -> DecisionView:
    return DecisionView(
        at=clock_text(at),
        agent=asked.agent,
        action=action_words(asked.kind, asked.server, asked.name),
        answer=made.outcome,
        reason=made.reason,
        outcome=outcome,
    )


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


def _facts(destination: Destination | None, value: Value | None) -> Iterator[FieldView]:
    if destination is not None:
        for target in destination.targets:
            yield from _target(target)
    if value is not None:
        yield FieldView(label="Value", text=f"{value.amount} minor units of {value.currency}")


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
    groups = set(pdp.approvers.groups_of.get(person, ()))
    if not any(_sufficient(needed, groups) for needed in hold.groups):
        return "you are in none of the groups that can approve this"
    if pdp.approvers.four_eyes and person == hold.human:
        return "the agent works for you: somebody else has to answer (four_eyes)"
    return ""


def _sufficient(needed: Sequence[str], groups: set[str]) -> bool:
    return set(needed).issubset(groups)
