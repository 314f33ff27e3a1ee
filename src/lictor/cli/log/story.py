"""`lictor log show --task`: what a task asked for, what was decided, who was asked, what ran and what came of it.

Each request stands where it was asked, with all that came of it below. Only draws: what belongs together is
`service.evidence.telling`'s.
"""

from collections.abc import Iterable, Iterator
from datetime import UTC, datetime
from typing import Any, Final

import msgspec

from lictor.cli.log.words import gist, rest
from lictor.cli.output import Out, moment, safe
from lictor.model.approval import Strength
from lictor.model.record import LogEntry
from lictor.model.task import TaskState, TaskStatus
from lictor.service.evidence.telling import Chapter

_STRENGTHS: Final = {Strength.SECRET: "secret", Strength.LOGIN: "login", Strength.PASSKEY: "passkey"}
_KNOWN: Final = frozenset({"task", "request", "decision", "digest"})


def heading(
    out: Out, state: TaskState, children: Iterable[TaskState], erased: tuple[int, str] | None, *, now_ms: int
) -> Iterator[str]:
    """What is known of the task itself.

    Args:
        children: the tasks delegated directly below it.
        erased: when and by whom its payloads were erased; None: they were not.
    """
    task = state.task
    yield f"{out.bold(task.id)}  {safe(task.agent)} for {safe(task.human)}: {safe(task.purpose)}"
    standing = "expired" if state.status is TaskStatus.OPEN and now_ms >= task.expires_at_ms else state.status.value
    yield f"opened {moment(task.opened_at_ms)}, until {moment(task.expires_at_ms)}; {standing}"
    yield f"{state.calls_used} of {task.budget.calls} calls used"
    if task.parents:
        yield f"delegated below {' below '.join(task.parents)}"
    for child in children:
        yield f"delegated to {child.task.id}  {safe(child.task.agent)}"
    if erased is not None:
        at_ms, by = erased
        yield out.warm(
            f"its arguments and facts were erased by {safe(by, 60)} at {moment(at_ms)}: its decisions do not replay"
        )
    yield ""


def told(out: Out, found: Iterable[Chapter], task: str) -> Iterator[str]:
    """The story of a task, line by line."""
    for chapter in found:
        for index, (seq, entry) in enumerate(chapter.records):
            inner = bool(chapter.request) and entry.record.__struct_config__.tag != "request.received"
            number = f"{seq:>6}"
            at = datetime.fromtimestamp(entry.at / 1_000, UTC).strftime("%m-%d %H:%M:%S")
            text = said(out, chapter, index, entry, task)
            yield f"{out.dim(f'{number}  {at}')}  {'    ' if inner else ''}{text}"
        if chapter.request and not chapter.over:
            yield f"{' ' * 24}{out.warm('nothing more is recorded of it so far')}"


def said(out: Out, chapter: Chapter, index: int, entry: LogEntry, task: str) -> str:
    """One record of a chapter."""
    record: dict[str, Any] = msgspec.to_builtins(entry.record)
    tag = record["type"]
    match tag:
        case "request.received":
            return f"{gist(out, record)}  {out.dim(record['request'])}"
        case "decision.made":
            # "needs_approval needs_approval" says it twice.
            twice = record["outcome"] == record["reason"]
            return f"decided: {gist(out, {**record, 'reason': ''} if twice else record)}"
        case "execution.started":
            hold = f" on {record['hold']}" if record.get("hold") else ""
            under = f" under {record['allowance']}" if record.get("allowance") else ""
            return f"started{hold}{under}  {out.dim(record['execution'])}"
        case "execution.ended":
            took = _took(chapter, index, entry)
            fault = ", the server says it failed" if record.get("is_error") else ""
            return f"{gist(out, record)}{took}{fault}  {out.dim(record.get('result', '')[:19])}".rstrip()
        case "execution.reconciled":
            return f"{record['outcome']} by {safe(record['by'], 60)}{_note(record)}"
        case "request.refused":
            return out.bad(f"refused at the door: {record['reason']}")
        case "privilege.task_opened" if record["task"]["id"] != task:
            return f"delegated: {gist(out, record)}"
        case "privilege.task_opened":
            bound = ", bound to a contract" if record.get("contract") else ""
            return f"opened by {safe(record['opened_by'], 60)}{bound}"
        case "privilege.task_closed":
            return f"closed by {safe(record['by'], 60)}"
        case "privilege.payloads_erased":
            return out.warm(f"payloads erased by {gist(out, record).partition(' by ')[2]}")
        case _ if tag.startswith("approval."):
            return _approval(out, record)
        case _:
            return f"{tag.partition('.')[2].replace('_', ' ')}: {rest(record, _KNOWN) or gist(out, record)}"


def _approval(out: Out, record: dict[str, Any]) -> str:
    match record["type"]:
        case "approval.hold_opened":
            hold = record["hold"]
            ways = " or ".join("+".join(groups) for groups in hold["groups"])
            return f"{out.warm('held')} {hold['id']}: somebody of {safe(ways, 80)} has to answer"
        case "approval.given":
            given = record["approval"]
            how = _STRENGTHS.get(given["strength"], str(given["strength"]))
            return f"{out.good('approved')} by {safe(given['approver'], 60)} ({how}){_note(record)}"
        case "approval.denied":
            return f"{out.bad('denied')} by {safe(record['by'], 60)}{_note(record)}"
        case "approval.withdrawn":
            return f"taken back by {safe(record['by'], 60)}{_note(record)}"
        case "approval.overridden":
            return f"{out.warm('overridden')} by {safe(record['by'], 60)}: {safe(record['why'], 100)}"
        case "approval.expired":
            why = f": {safe(record['why'], 100)}" if record.get("why") else ""
            return f"expired unanswered{why}" if not why else f"expired{why}"
        case "approval.refused":
            return f"not asked: {record['reason']}"
        case tag:
            return f"{tag.partition('.')[2].replace('_', ' ')}: {rest(record, _KNOWN)}"


def _note(record: dict[str, Any]) -> str:
    return f": {safe(record['note'], 100)}" if record.get("note") else ""


def _took(chapter: Chapter, index: int, entry: LogEntry) -> str:
    """How long it ran, by the times of its records."""
    execution = getattr(entry.record, "execution", "")
    for _, before in chapter.records[:index]:
        tag = before.record.__struct_config__.tag
        if tag == "execution.started" and getattr(before.record, "execution", None) == execution:
            return f" after {max(0, entry.at - before.at)} ms"
    return ""
