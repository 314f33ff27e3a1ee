"""What must be true after any crash, read from the log, the world (effects) and what people were told (acks).

The letters are those of the violations:

a  no effect without a durable decision to allow and a durable start of exactly these bytes
b  no double effect: once an execution, once a decision, once an approval, never for what policy denies
c  no approval lost: what an approver was told is kept; it is spent at most once, and until then it can be used or has ended
d  every start without an end is *Indeterminate* after recovery, and recovery touches nothing else in the world
e  the log verifies, contains its last anchor, and the rows are what the log says
"""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field

from crash.scene import EFFECTS
from crash.upstream import Effect
from lictor.model.approval import HoldStatus
from lictor.model.record import (
    ApprovalGiven,
    DecisionMade,
    ExecutionEnded,
    ExecutionStarted,
    HoldDenied,
    HoldExpired,
    HoldOpened,
    decode_entry,
)
from lictor.records.checkpoint import open_checkpoint
from lictor.records.verify import verify_log
from lictor.stores.sqlite import SqliteStore


@dataclass
class Ledger:
    """The log of a store, sorted by kind, each record with its place."""

    decisions: dict[str, DecisionMade] = field(default_factory=dict)
    started: dict[str, ExecutionStarted] = field(default_factory=dict)
    ended: dict[str, list[ExecutionEnded]] = field(default_factory=dict)
    holds: dict[str, HoldOpened] = field(default_factory=dict)
    approved: dict[str, ApprovalGiven] = field(default_factory=dict)
    stopped: dict[str, HoldDenied | HoldExpired] = field(default_factory=dict)
    place: dict[str, int] = field(default_factory=dict)
    size: int = 0

    @classmethod
    def read(cls, store: SqliteStore) -> "Ledger":
        """Everything that is durable."""
        ledger = cls()
        ledger.more(store)
        return ledger

    def more(self, store: SqliteStore) -> None:
        """What became durable since."""
        for entry in store.entries(self.size):
            self._take(entry.seq, decode_entry(entry.data).record)
            self.size = entry.seq + 1

    def _take(self, seq: int, record: object) -> None:
        match record:
            case DecisionMade():
                self.decisions[record.decision] = record
                self.place[record.decision] = seq
            case ExecutionStarted():
                self.started[record.execution] = record
                self.place[record.execution] = seq
            case ExecutionEnded():
                self.ended.setdefault(record.execution, []).append(record)
            case HoldOpened():
                self.holds[record.hold.id] = record
            case ApprovalGiven():
                self.approved[record.approval.hold] = record
                self.place[record.approval.id] = seq
            case HoldDenied() | HoldExpired():
                self.stopped[record.hold] = record
            case _:
                return

    @property
    def open(self) -> set[str]:
        """Executions started and not ended."""
        return self.started.keys() - self.ended.keys()

    # -- a and b ---------------------------------------------------------------------------------------------------------

    def effect_faults(self, effects: Sequence[Effect]) -> list[str]:
        """Every effect against the record that must stand behind it."""
        faults = [fault for effect in effects for fault in self._behind(effect)]
        for execution, times in Counter(effect.execution for effect in effects).items():
            if times > 1:
                faults.append(f"b: execution {execution} had {times} effects")
        spent = Counter(self.started[one.execution].hold for one in effects if one.execution in self.started)
        faults += [
            f"b: the approval of {hold} had {times} effects" for hold, times in spent.items() if hold and times > 1
        ]
        return faults + self._started_twice()

    def _behind(self, effect: Effect) -> list[str]:
        started = self.started.get(effect.execution)
        if started is None:
            return [f"a: effect of {effect.tool} without a durable start ({effect.execution})"]
        if effect.tool == "?":
            return []  # the `rerun` mutant's; counted above
        decision = self.decisions.get(started.decision)
        if decision is None or decision.outcome != "allow" or decision.digest != effect.digest:
            return [f"a: effect of {effect.tool} without a decision to allow it ({effect.execution})"]
        if (started.arguments, started.digest) != (effect.arguments, effect.digest):
            return [f"a: {effect.execution} sent other bytes than were decided"]
        if self.place[started.decision] >= self.place[started.execution]:
            return [f"a: {effect.execution} started before it was decided"]
        faults = []
        if EFFECTS[effect.tool] != "read" and (started.hold is None or started.hold not in self.approved):
            faults.append(f"a: effect of {effect.tool} without an approval ({effect.execution})")
        if effect.tool == "drop":
            faults.append(f"a: effect of what is never permitted ({effect.execution})")
        return faults

    def _started_twice(self) -> list[str]:
        faults = []
        for word in ("decision", "request", "hold"):
            counted = Counter(getattr(started, word) for started in self.started.values())
            faults += [
                f"b: {word} {name} started {n} times" for name, n in counted.items() if n > 1 and name is not None
            ]
        return faults

    # -- c ---------------------------------------------------------------------------------------------------------------

    def approval_faults(self, store: SqliteStore, acks: Sequence[tuple[str, str]], now_ms: int) -> list[str]:
        """Every answer an approver was told of, and every approval in the log."""
        faults = []
        for word, hold in acks:
            if hold not in (self.approved if word == "approved" else self.stopped):
                faults.append(f"c: hold {hold} was {word}, and the answer is lost")
        spent = {started.hold for started in self.started.values()}
        for name, given in self.approved.items():
            if (name in spent) + (name in self.stopped) > 1:
                faults.append(f"c: the approval of {name} was spent and stopped")
            if name in spent or name in self.stopped:
                continue
            approval = given.approval
            hold = store.live_hold(self.holds[name].hold.task, approval.digest)
            usable = hold is not None and hold.status is HoldStatus.APPROVED and hold.given == (approval,)
            if not usable and now_ms < approval.expires_at_ms:
                faults.append(f"c: the approval of {name} is neither spent nor usable")
        return faults

    # -- d ---------------------------------------------------------------------------------------------------------------

    def end_faults(self, effects: Sequence[Effect], opened: set[str]) -> list[str]:
        """Every start has one end, and it is a true one.

        Args:
            opened: executions that were open before recovery.
        """
        faults = [f"d: {execution} is still open" for execution in self.open]
        happened = {effect.execution for effect in effects}
        for execution, ends in self.ended.items():
            outcomes = [end.outcome for end in ends]
            if len(outcomes) != 1:
                faults.append(f"d: {execution} ended {outcomes}")
            if execution in opened and outcomes[-1] != "indeterminate":
                faults.append(f"d: {execution} was open and became {outcomes[-1]}")
            if outcomes[-1] == "executed" and execution not in happened:
                faults.append(f"d: {execution} is executed without effect")
            if outcomes[-1] == "failed" and execution in happened:
                faults.append(f"d: {execution} is failed although its effect happened")
        return faults


def log_faults(store: SqliteStore, anchor: str | None) -> list[str]:
    """e."""
    kept = open_checkpoint(anchor, store.verifier_key) if anchor else None
    report = verify_log(store.entries(), store.checkpoints(), store.verifier_key, anchor=kept)
    faults = [f"e: {finding.message}" for finding in report.findings]
    return faults + [f"e: {difference.what} {difference.message}" for difference in store.rebuild_rows()]
