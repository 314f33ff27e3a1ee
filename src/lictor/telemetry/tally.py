"""Counts from the log: each record that was committed, by whichever process, makes the counters what the log says.

Refuses to know how the log is read. Names come from the catalogue in force; what it does not list is `other`.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final, Protocol, TypeVar

import msgspec

from lictor.model.action import ActionKind
from lictor.model.catalog import CatalogEntry
from lictor.model.reasons import Reason
from lictor.model.record import (
    ApprovalGiven,
    ApprovalWithdrawn,
    BundleActivated,
    ContainmentLaid,
    ContainmentLifted,
    DecisionMade,
    DenyOverridden,
    ExecutionEnded,
    ExecutionReconciled,
    ExecutionStarted,
    FindingOpened,
    HoldDenied,
    HoldExpired,
    HoldOpened,
    HoldRefused,
    LeaseAsked,
    LeaseEnded,
    LeaseGiven,
    LeaseKept,
    LogEntry,
    PartyRefused,
    RequestReceived,
    RequestRefused,
    ShadowDiffered,
    SignalObserved,
    SignalRefused,
    TaskClosed,
    TaskOpened,
    ToolQuarantined,
)
from lictor.telemetry.families import OTHER
from lictor.telemetry.figures import Figures

REASONS: Final = frozenset(reason.value for reason in Reason)
_OUTCOMES: Final = frozenset({"allow", "deny", "needs_approval"})
_ENDED: Final = frozenset({"executed", "failed", "indeterminate"})
_LEASE_ENDS: Final = frozenset({"revoked", "expired", "never"})
_WHERE: Final = frozenset({"token", "sign_in"})
_RECONCILED: Final = frozenset({"confirmed", "refuted"})
_KNOWN: Final = {
    "lictor_approvals": ("given", "denied", "expired", "refused", "withdrawn", "overridden"),
    "lictor_tasks": ("opened", "closed"),
    "lictor_leases": ("asked", "given", "kept", "revoked", "expired", "never"),
    "lictor_containments": ("laid", "lifted"),
    "lictor_signals": ("observed", "refused"),
}
REMEMBERED: Final = 16_384
"""Requests, holds and executions whose beginning is remembered for their end; of older ones the server is `other`."""

_entry = msgspec.json.Decoder(LogEntry)


class InCatalogue(Protocol):
    """The catalogue in force."""

    def __call__(self, kind: ActionKind, server: str, name: str) -> CatalogEntry | None:
        """A thing's entry; None: it has none."""
        ...


@dataclass(frozen=True, slots=True)
class _Asked:
    """What an action was, in labels. The record's own words are not kept: a client can make them long."""

    server: str
    kind: str
    name: str
    effect: str


_UNKNOWN: Final = _Asked(OTHER, OTHER, OTHER, OTHER)

K = TypeVar("K")
V = TypeVar("V")


class _Recent(dict[K, V]):
    """Forgets the oldest above `REMEMBERED`."""

    def keep(self, key: K, value: V) -> None:
        """Remember one."""
        if len(self) >= REMEMBERED:
            del self[next(iter(self))]
        self[key] = value


class Tally:
    """Folds records into figures."""

    def __init__(self, figures: Figures, catalogue: InCatalogue, servers: frozenset[str]) -> None:
        """`servers`: those that are configured."""
        self._figures = figures
        self._catalogue = catalogue
        self._servers = servers
        self._asked: _Recent[str, _Asked] = _Recent()
        self._running: _Recent[str, str] = _Recent()
        self._holds: _Recent[str, int] = _Recent()
        self._begin()
        self._folds: dict[type, Callable[[Any, int], None]] = {
            RequestReceived: self._received,
            RequestRefused: lambda record, _: figures.add("lictor_refusals", reason_of(record.reason)),
            PartyRefused: self._party,
            DecisionMade: self._decided,
            ExecutionStarted: self._started,
            ExecutionEnded: self._ended,
            ExecutionReconciled: self._reconciled,
            HoldOpened: self._opened,
            ApprovalGiven: self._given,
            HoldDenied: self._denied,
            HoldExpired: lambda _, __: figures.add("lictor_approvals", "expired"),
            HoldRefused: lambda _, __: figures.add("lictor_approvals", "refused"),
            ApprovalWithdrawn: lambda _, __: figures.add("lictor_approvals", "withdrawn"),
            DenyOverridden: lambda _, __: figures.add("lictor_approvals", "overridden"),
            TaskOpened: lambda _, __: figures.add("lictor_tasks", "opened"),
            TaskClosed: lambda _, __: figures.add("lictor_tasks", "closed"),
            LeaseAsked: lambda _, __: figures.add("lictor_leases", "asked"),
            LeaseGiven: lambda _, __: figures.add("lictor_leases", "given"),
            LeaseKept: lambda _, __: figures.add("lictor_leases", "kept"),
            LeaseEnded: lambda record, _: figures.add("lictor_leases", among(record.outcome, _LEASE_ENDS)),
            ContainmentLaid: lambda _, __: figures.add("lictor_containments", "laid"),
            ContainmentLifted: lambda _, __: figures.add("lictor_containments", "lifted"),
            SignalObserved: lambda _, __: figures.add("lictor_signals", "observed"),
            SignalRefused: lambda _, __: figures.add("lictor_signals", "refused"),
            ShadowDiffered: self._differed,
            FindingOpened: lambda _, __: figures.add("lictor_findings"),
            ToolQuarantined: lambda record, _: figures.add("lictor_quarantines", self._server(record.server)),
            BundleActivated: lambda _, __: figures.add("lictor_bundles_activated"),
        }

    def entry(self, data: bytes) -> None:
        """Count one log entry; one that cannot be read counts as a record of type `other`."""
        try:
            entry = _entry.decode(data)
        except (msgspec.MsgspecError, UnicodeDecodeError):
            self._figures.add("lictor_records", OTHER)
            return
        record = entry.record
        self._figures.add("lictor_records", str(record.__struct_config__.tag))
        fold = self._folds.get(type(record))
        if fold is not None:
            fold(record, entry.at)

    # -- inside ------------------------------------------------------------------------------------------------------------

    def _begin(self) -> None:
        """What has few values begins at 0: the first time is a step up from 0 then, and no series that appears."""
        for name, labels in _KNOWN.items():
            for label in labels:
                self._figures.add(name, label, by=0)
        for server in self._servers:
            for outcome in _ENDED:
                self._figures.add("lictor_executions", server, outcome, by=0)

    def _server(self, name: str) -> str:
        return among(name, self._servers)

    def _received(self, record: RequestReceived, _: int) -> None:
        entry = self._catalogue(record.kind, record.server, record.name)
        server, kind = self._server(record.server), record.kind.value
        name, effect = (OTHER, OTHER) if entry is None else (entry.name, entry.effect.value)
        self._asked.keep(record.request, _Asked(server, kind, name, effect))
        self._figures.add("lictor_requests", kind, server)

    def _party(self, record: PartyRefused, _: int) -> None:
        self._figures.add("lictor_parties_refused", among(record.where, _WHERE), reason_of(record.reason))

    def _decided(self, record: DecisionMade, _: int) -> None:
        asked = self._asked.get(record.request, _UNKNOWN)
        outcome = among(record.outcome, _OUTCOMES)
        self._figures.add("lictor_decisions", outcome, reason_of(record.reason), asked.effect)
        self._figures.add("lictor_action_decisions", asked.server, asked.kind, asked.name, outcome)

    def _started(self, record: ExecutionStarted, _: int) -> None:
        server = self._asked.get(record.request, _UNKNOWN).server
        self._running.keep(record.execution, server)
        self._figures.add("lictor_executions_started", server)

    def _ended(self, record: ExecutionEnded, _: int) -> None:
        server = self._running.pop(record.execution, OTHER)
        self._figures.add("lictor_executions", server, among(record.outcome, _ENDED))
        if record.is_error:
            self._figures.add("lictor_execution_errors", server)

    def _reconciled(self, record: ExecutionReconciled, _: int) -> None:
        self._figures.add("lictor_reconciliations", among(record.outcome, _RECONCILED))

    def _differed(self, record: ShadowDiffered, _: int) -> None:
        """With those of its sort that have no record of their own."""
        labels = among(record.was, _OUTCOMES), among(record.outcome, _OUTCOMES)
        self._figures.add("lictor_shadow_differences", *labels, by=1 + record.more)

    def _opened(self, record: HoldOpened, at_ms: int) -> None:
        self._holds.keep(record.hold.id, at_ms)
        self._figures.add("lictor_holds_opened")

    def _given(self, record: ApprovalGiven, at_ms: int) -> None:
        self._answered(record.approval.hold, "given", at_ms)

    def _denied(self, record: HoldDenied, at_ms: int) -> None:
        self._answered(record.hold, "denied", at_ms)

    def _answered(self, hold: str, outcome: str, at_ms: int) -> None:
        self._figures.add("lictor_approvals", outcome)
        opened = self._holds.get(hold)
        if opened is not None:
            times = self._figures.histogram("lictor_approval_answer_seconds", outcome)
            times.observe(max(0, at_ms - opened) / 1_000)


def among(value: str, known: frozenset[str]) -> str:
    """The value, if it is one of ours."""
    return value if value in known else OTHER


def reason_of(value: str) -> str:
    """A reason code, if it is one."""
    return among(value, REASONS)
