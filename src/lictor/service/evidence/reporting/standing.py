"""What stands at the end of the period: restrictions, credentials, executions without a known outcome, policy, tasks.

A fold over records from the log's beginning, bounded by what is open. Of what happened it keeps the newest.
"""

from dataclasses import dataclass, field
from typing import Any, Final

import msgspec

from lictor.model.containment import Containment
from lictor.model.ids import ExecutionId, LeaseId, PolicyRevision
from lictor.model.record import (
    AgentChanged,
    BundleActivated,
    BundleApproved,
    ContainmentLaid,
    ContainmentLifted,
    ExecutionEnded,
    ExecutionReconciled,
    ExecutionStarted,
    FindingOpened,
    LeaseAsked,
    LeaseEnded,
    LeaseGiven,
    LeaseKept,
    Record,
    ToolQuarantined,
)
from lictor.service.evidence.reporting.counted import Latest

MAX_OPEN: Final = 100_000
"""Executions and credentials remembered until they end; the oldest goes first, and is said to have been forgotten."""


class Restricted(msgspec.Struct, kw_only=True):
    """One restriction, and who lifted it."""

    id: str
    at_ms: int
    scope: str
    target: str
    restriction: str
    by: str
    why: str
    lifted_at_ms: int = 0
    lifted_by: str = ""


class Lent(msgspec.Struct, kw_only=True):
    """One credential on loan."""

    lease: str
    credential: str
    destination: str
    provider: str
    agent: str
    task: str
    asked_at_ms: int
    expires_at_ms: int
    attempts: int = 0
    why: str = ""


class Unknown(msgspec.Struct, kw_only=True):
    """An execution of which nobody knows what became."""

    execution: str
    task: str
    action: str
    agent: str
    at_ms: int
    reason: str = ""


class PolicyChange(msgspec.Struct, frozen=True, kw_only=True):
    """A bundle put in force, and the second person who stood for it, where one had to."""

    at_ms: int
    revision: str
    previous: str
    files: int
    by: str = ""
    """Who put it in force; empty: a record that does not say."""
    authors: tuple[str, ...] = ()
    """Owners of the files that changed."""
    approved_by: str = ""
    why: str = ""
    widens: int = 0


class AgentEdit(msgspec.Struct, frozen=True, kw_only=True):
    """One change of the registry."""

    at_ms: int
    agent: str
    what: str
    by: str


class Finding(msgspec.Struct, frozen=True, kw_only=True):
    """Something that somebody had to look into."""

    at_ms: int
    finding: str
    signal: str
    task: str
    restriction: str


class Quarantined(msgspec.Struct, frozen=True, kw_only=True):
    """A tool that was not what somebody had looked at."""

    at_ms: int
    server: str
    name: str


@dataclass(slots=True)
class Standing:
    """The fold."""

    in_force: dict[str, tuple[Containment, int]] = field(default_factory=dict)
    """Restrictions, and when their record was written."""
    laid: Latest[Restricted] = field(default_factory=Latest)
    live: dict[LeaseId, Lent] = field(default_factory=dict)
    running: dict[ExecutionId, Unknown] = field(default_factory=dict)
    unknown: dict[ExecutionId, Unknown] = field(default_factory=dict)
    """Indeterminate, and nobody has found out."""
    forgotten: int = 0
    revision: PolicyRevision | None = None
    policies: Latest[PolicyChange] = field(default_factory=Latest)
    approvals: dict[tuple[str, str], BundleApproved] = field(default_factory=dict)
    edits: Latest[AgentEdit] = field(default_factory=Latest)
    findings: Latest[Finding] = field(default_factory=Latest)
    quarantined: Latest[Quarantined] = field(default_factory=Latest)

    def take(self, record: Record, at_ms: int, *, counted: bool, action: str = "", agent: str = "") -> None:
        """Fold one record in.

        Args:
            record: the next of the log.
            at_ms: when it was written.
            counted: whether it is of the period.
            action: of an execution that starts: what was asked for.
            agent: of an execution that starts: who asked.
        """
        match record:
            case ExecutionStarted():
                started = Unknown(execution=record.execution, task=record.task, action=action, agent=agent, at_ms=at_ms)
                _keep(self, self.running, record.execution, started)
            case ExecutionEnded():
                self._ended(record)
            case ExecutionReconciled():
                self.unknown.pop(record.execution, None)
            case LeaseAsked() | LeaseGiven() | LeaseKept() | LeaseEnded():
                self._lease(record)
            case ContainmentLaid() | ContainmentLifted():
                self._contained(record, at_ms, counted=counted)
            case BundleActivated() | BundleApproved():
                self._policy(record, at_ms, counted=counted)
            case _ if counted:
                self._listed(record, at_ms)
            case _:
                pass

    def _ended(self, record: ExecutionEnded) -> None:
        started = self.running.pop(record.execution, None)
        if record.outcome != "indeterminate":
            return
        found = started or Unknown(execution=record.execution, task="", action="", agent="", at_ms=0)
        found.reason = record.reason
        _keep(self, self.unknown, record.execution, found)

    def _lease(self, record: Any) -> None:
        match record:
            case LeaseAsked(lease=lease):
                lent = Lent(
                    lease=lease.id,
                    credential=f"{lease.server}/{lease.credential}",
                    destination=lease.destination,
                    provider=lease.provider,
                    agent=lease.agent,
                    task=lease.task,
                    asked_at_ms=lease.asked_at_ms,
                    expires_at_ms=lease.expires_at_ms,
                )
                _keep(self, self.live, lease.id, lent)
            case LeaseEnded():
                self.live.pop(record.lease, None)
            case LeaseGiven() if record.lease in self.live:
                self.live[record.lease].expires_at_ms = record.expires_at_ms
            case LeaseKept() if record.lease in self.live:
                self.live[record.lease].attempts = record.attempts
                self.live[record.lease].why = record.why
            case _:
                pass

    def _contained(self, record: ContainmentLaid | ContainmentLifted, at_ms: int, *, counted: bool) -> None:
        if isinstance(record, ContainmentLaid):
            one = record.containment
            self.in_force[one.id] = one, at_ms
            if counted:
                self.laid.add(restricted(one, at_ms))
            return
        lifted = self.in_force.pop(record.containment, None)
        if not counted:
            return
        known = next((one for one in self.laid if one.id == record.containment), None)
        if known is None:
            if lifted is None:
                return
            known = restricted(*lifted)
            self.laid.add(known)
        known.lifted_at_ms, known.lifted_by = at_ms, record.by

    def _policy(self, record: BundleActivated | BundleApproved, at_ms: int, *, counted: bool) -> None:
        if isinstance(record, BundleApproved):
            self.approvals = {(record.revision, record.previous): record}  # good for this change, once
            return
        self.revision = record.revision
        stood = self.approvals.get((record.revision, record.previous or ""))
        if counted:
            change = PolicyChange(
                at_ms=at_ms,
                revision=record.revision,
                previous=record.previous or "",
                files=record.files,
                by=record.by,
                authors=record.authors,
                approved_by=stood.by if stood else "",
                why=stood.why if stood else "",
                widens=len(stood.widens) if stood else 0,
            )
            self.policies.add(change)

    def _listed(self, record: Any, at_ms: int) -> None:
        match record:
            case AgentChanged():
                self.edits.add(AgentEdit(at_ms=at_ms, agent=record.agent, what=record.what, by=record.by))
            case FindingOpened():
                restriction = record.restriction.value if record.restriction is not None else ""
                self.findings.add(
                    Finding(
                        at_ms=at_ms,
                        finding=record.finding,
                        signal=record.signal,
                        task=record.task,
                        restriction=restriction,
                    )
                )
            case ToolQuarantined():
                self.quarantined.add(Quarantined(at_ms=at_ms, server=record.server, name=record.name))
            case _:
                pass


def restricted(one: Containment, at_ms: int) -> Restricted:
    """A restriction as it was laid."""
    return Restricted(
        id=one.id,
        at_ms=at_ms,
        scope=one.scope.value,
        target=one.target,
        restriction=one.restriction.value,
        by=one.by,
        why=one.why,
    )


def _keep(standing: Standing, kept: dict[Any, Any], key: Any, value: Any) -> None:
    kept[key] = value
    if len(kept) > MAX_OPEN:
        kept.pop(next(iter(kept)))
        standing.forgotten += 1
