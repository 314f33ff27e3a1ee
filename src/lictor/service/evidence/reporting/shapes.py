"""The report's shapes. Every `str` that the log brought is raw; whoever draws it renders it (`protocol.display`).

Refuses to know how they are filled and drawn.
"""

import msgspec

from lictor.service.evidence.reporting.evidence import ControlShown, FrameworkShown, Shown
from lictor.service.evidence.reporting.people import Override
from lictor.service.evidence.reporting.standing import (
    AgentEdit,
    Finding,
    Lent,
    PolicyChange,
    Quarantined,
    Restricted,
    Unknown,
)


class Witnessed(msgspec.Struct, frozen=True, kw_only=True):
    """One witness of the settings, and the largest checkpoint of this log that it cosigned."""

    witness: str
    size: int
    """0: none yet."""
    at_ms: int


class LogShown(msgspec.Struct, frozen=True, kw_only=True):
    """The log itself, and what was found when it was checked."""

    name: str
    size: int
    root: str
    """Hex of the Merkle root over all its records; empty: not computed for this report."""
    checkpoint: str
    """The newest signed checkpoint."""
    verified: bool | None
    """None: not asked for."""
    anchor: str
    """What it was compared with, in words."""
    findings: tuple[str, ...]
    witnesses: tuple[Witnessed, ...] = ()
    """The log was found to contain what each has seen, where it was verified."""
    sealed: bool = False
    """The state folder was restored from a backup, and nothing runs on it until somebody unseals it."""
    replayed: dict[str, int] | None = None
    """Decisions by what replaying them showed; None: not asked for."""


class Answered(msgspec.Struct, frozen=True, kw_only=True):
    """One approver."""

    human: str
    groups: tuple[str, ...]
    asked: int
    """Holds of the period that one of their groups could answer."""
    given: int
    denied: int
    withdrawn: int
    overrides: int
    ahead: int
    with_passkey: int
    fast: int
    median_s: int | None
    longest_s: int | None
    last_ms: int


class AgentShown(msgspec.Struct, frozen=True, kw_only=True):
    """One agent."""

    agent: str
    owner: str
    team: str
    autonomy: int
    environment: str
    standing: str
    words: str
    review_by_ms: int
    allowed: int
    held: int
    denied: int
    last_ms: int
    """When it last asked for anything, in or before the period; 0: never in this log."""


class Surplus(msgspec.Struct, frozen=True, kw_only=True):
    """What one permit gives an agent that never needed it."""

    agent: str
    permit: str
    where: str
    unused: int
    reached: int
    change: str


class Counted(msgspec.Struct, frozen=True, kw_only=True):
    """One reason, or one policy, and how often."""

    name: str
    words: str
    count: int
    last_ms: int


class PolicyShown(msgspec.Struct, frozen=True, kw_only=True):
    """One policy's decisions."""

    policy: str
    allowed: int
    held: int
    denied: int
    last_ms: int


class Day(msgspec.Struct, frozen=True, kw_only=True):
    """One day (UTC)."""

    day: str
    allowed: int
    held: int
    denied: int


class Report(msgspec.Struct, frozen=True, kw_only=True):
    """All of it. Lists hold the newest `SHOWN`; `totals` says how many there were."""

    report: int = 1
    lictor: str
    standards: str
    since_ms: int
    until_ms: int
    first_ms: int
    counted: int
    log: LogShown
    revision: str
    figures: tuple[Shown, ...]
    controls: tuple[ControlShown, ...]
    frameworks: tuple[FrameworkShown, ...]
    approvers: tuple[Answered, ...]
    overrides: tuple[Override, ...]
    restrictions: tuple[Restricted, ...]
    in_force: tuple[Restricted, ...]
    findings: tuple[Finding, ...]
    quarantined: tuple[Quarantined, ...]
    agents: tuple[AgentShown, ...]
    edits: tuple[AgentEdit, ...]
    surplus: tuple[Surplus, ...] | None
    """None: it was not asked for, or no bundle was kept."""
    covered_days: int
    leases: tuple[Lent, ...]
    unknown: tuple[Unknown, ...]
    running: tuple[Unknown, ...]
    changes: tuple[PolicyChange, ...]
    policies: tuple[PolicyShown, ...]
    reasons: tuple[Counted, ...]
    days: tuple[Day, ...]
    totals: dict[str, int]
    left_out: dict[str, int]

    def count(self, figure: str) -> int:
        """How often one figure was counted."""
        return next((one.count for one in self.figures if one.name == figure), 0)
