"""Small valid records for tests of stores and life cycles."""

from lictor.model.action import ActionKind
from lictor.model.approval import Approval, Hold
from lictor.model.record import (
    ApprovalGiven,
    DecisionMade,
    ExecutionEnded,
    ExecutionStarted,
    HoldOpened,
    PayloadsErased,
    RequestReceived,
    TaskClosed,
    TaskOpened,
)
from lictor.model.task import Budget, Task
from lictor.ports import Batch, Payload

NOW = 1_700_000_000_000
DIGEST = "sha256:" + "a" * 64
OTHER = "sha256:" + "b" * 64


def task(task_id="task_1", *, calls=1_000, value=None, expires=NOW + 3_600_000, opened=NOW):
    return Task(
        id=task_id, agent="agent", human="alice", purpose="support", trusted_text_digest=DIGEST, audience="http://127.0.0.1:8700",
        opened_at_ms=opened, expires_at_ms=expires, budget=Budget(calls=calls, value=value or {}),
    )  # fmt: skip


def opened(task_id="task_1", *, token="", **kwargs):
    return TaskOpened(task=task(task_id, **kwargs), opened_by="operator", token=token)


def received(request="req_1", *, task="task_1", digest=DIGEST):
    return RequestReceived(
        request=request, kind=ActionKind.TOOL, server="files", name="write_file", arguments=DIGEST, digest=digest,
        agent="agent", human="alice", task=task,
    )  # fmt: skip


def decided(request="req_1", *, digest=DIGEST, outcome="allow"):
    return DecisionMade(
        decision=f"dec_{request}", request=request, digest=digest, snapshot=DIGEST, revision=DIGEST, engine="cedar",
        outcome=outcome, reason="permitted",
    )  # fmt: skip


def started(
    execution="exec_1",
    *,
    task="task_1",
    hold=None,
    digest=DIGEST,
    labels=(),
    value=0,
    currency="",
    instance="inst_1",
    request="req_1",
):
    return ExecutionStarted(
        execution=execution, request=request, decision=f"dec_{request}", digest=digest, arguments=DIGEST, task=task,
        instance=instance, hold=hold, labels=labels, currency=currency, value=value,
    )  # fmt: skip


def ended(execution="exec_1", outcome="executed"):
    return ExecutionEnded(execution=execution, outcome=outcome)


def hold(hold_id="hold_1", *, task="task_1", digest=DIGEST, at=NOW, expires=NOW + 900_000):
    return Hold(
        id=hold_id, request="req_1", digest=digest, task=task, agent="agent", human="alice", kind=ActionKind.TOOL, server="files",
        name="write_file", groups=(("admins",),), opened_at_ms=at, expires_at_ms=expires,
    )  # fmt: skip


def held(hold_id="hold_1", **kwargs):
    return HoldOpened(hold=hold(hold_id, **kwargs))


def approved(hold_id="hold_1", *, digest=DIGEST, expires=NOW + 600_000):
    return ApprovalGiven(
        approval=Approval(
            id=f"appr_{hold_id}",
            hold=hold_id,
            digest=digest,
            approver="bob",
            groups=("admins",),
            given_at_ms=NOW,
            expires_at_ms=expires,
        )
    )


def payload(request="req_1", *, task="task_1", arguments=b'{"a":1}', snapshot=b'{"s":2}'):
    return Payload(request=request, task=task, arguments=arguments, snapshot=snapshot)


def erasure(task_id="task_1", *, at=NOW):
    """A task is closed, and its key destroyed on the record."""
    return batch(TaskClosed(task=task_id, by="test"), PayloadsErased(task=task_id, by="test"), at=at)


def batch(*records, at=NOW, payloads=()):
    return Batch(at_ms=at, records=records, payloads=tuple(payloads))
