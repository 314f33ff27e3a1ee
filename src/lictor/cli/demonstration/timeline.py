"""What the demo prints: who asked what, what was decided, by which policy, why, and what happened then."""

import textwrap
from collections.abc import Mapping
from dataclasses import dataclass

from lictor.cli.output import Out, safe
from lictor.model.record import DecisionMade, ExecutionEnded, HoldOpened, RequestReceived, decode_entry
from lictor.ports import RecordStore


@dataclass(frozen=True, slots=True, kw_only=True)
class Told:
    """The newest decision in the log, as the timeline needs it."""

    outcome: str
    reason: str
    policies: tuple[str, ...]
    approvers: tuple[tuple[str, ...], ...]
    hold: str
    executed: str


class Timeline:
    """Prints numbered steps."""

    def __init__(self, out: Out, store: RecordStore, why: Mapping[str, str]) -> None:
        self._out = out
        self._store = store
        self._why = why
        self._step = 0

    def title(self, text: str) -> None:
        """A heading."""
        self._out.line()
        self._out.line(self._out.bold(text))

    def note(self, label: str, text: str) -> None:
        """A labelled line."""
        self._out.line(f"     {self._out.dim(f'{label:<8}')} {text}")

    def step(self, who: str, what: str) -> None:
        """Somebody does something."""
        self._step += 1
        self._out.line()
        self._out.line(f"{self._step:>3}  {self._out.bold(f'{who:<8}')} {what}")

    def decided(self) -> Told:
        """Print the newest decision from the log: not what the gateway said, what it wrote down."""
        told = self._newest()
        paint = {"allow": self._out.good, "deny": self._out.bad}.get(told.outcome, self._out.warm)
        word = {"allow": "ALLOW", "deny": "DENY", "needs_approval": "HOLD"}.get(told.outcome, told.outcome)
        waits = " or ".join("+".join(groups) for groups in told.approvers)
        policies = f"waits for a person of: {waits}" if waits else ", ".join(told.policies) or "no policy permits it"
        self._out.line(f"     {self._out.dim('lictor  ')} {paint(word)}  {told.reason}  {self._out.dim(policies)}")
        for policy in told.policies:
            if policy in self._why:
                self._out.line(f"     {'':<8} {self._out.dim('because ' + self._why[policy])}")
        return told

    def quote(self, label: str, text: str, width: int = 92) -> None:
        """What somebody was told, wrapped, made safe for a terminal."""
        for index, line in enumerate(textwrap.wrap(safe(text, 600), width)):
            name = label if index == 0 else ""
            self._out.line(f"     {self._out.dim(name.ljust(8))} {line}")

    def _newest(self) -> Told:
        size = self._store.size()
        made: DecisionMade | None = None
        hold = executed = ""
        for entry in self._store.entries(max(0, size - 12)):
            match decode_entry(entry.data).record:
                case RequestReceived():
                    hold = executed = ""
                case DecisionMade() as record:
                    made = record
                case HoldOpened(hold=opened):
                    hold = opened.id
                case ExecutionEnded(outcome=outcome):
                    executed = outcome
                case _:
                    pass
        if made is None:
            return Told(outcome="nothing", reason="not recorded", policies=(), approvers=(), hold="", executed="")
        return Told(
            outcome=made.outcome,
            reason=made.reason,
            policies=made.policies,
            approvers=made.approvers,
            hold=hold,
            executed=executed,
        )
