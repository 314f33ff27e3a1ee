"""AgentAck's trace of a gateway: what was asked, shown and answered by the gateway's log; what was done by the server's own account.

Events stand in the order of the log. An effect stands where the log was when it happened, so that an effect before its record shows.
Refuses to judge: that is `agentack check`.
"""

import json
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from lictor.model.approval import Approval
from lictor.model.record import (
    ApprovalGiven,
    ContainmentLaid,
    DecisionMade,
    ExecutionStarted,
    HoldDenied,
    HoldExpired,
    HoldOpened,
    HoldRefused,
    RequestReceived,
)
from yardsticks.world import Entry, World

POLICY = """\
version = 1

[approval]
max_age_seconds = 300
single_use = true
exact_action_binding = true
stop_is_terminal = true
require_for = ["sentinel:write-reviewed", "sentinel:send-reviewed"]
"""
"""What the bundle's policy wants people for, in the yardstick's words: its defaults otherwise."""


UNRECORDED = "unrecorded "


@dataclass(frozen=True, slots=True)
class Done:
    """One effect: the arguments as the server got them, and how long the log was at that moment."""

    tool: str
    arguments: dict[str, Any]
    size: int
    at_ms: int


@dataclass(slots=True)
class Action:
    """What the log says of one action: a request that was held, with its later tries; or a request for itself."""

    id: str
    hold: str = ""


@dataclass
class Trace:
    """Builds the trace of everything in a world's log."""

    world: World
    done: list[Done]
    by_request: dict[str, Action] = field(default_factory=dict)
    by_hold: dict[str, Action] = field(default_factory=dict)
    asked: dict[str, RequestReceived] = field(default_factory=dict)

    def write(self, path: Path) -> None:
        """The trace as JSON lines."""
        lines = [json.dumps({"schema_version": 2, "session_id": "lictor", **event}) for event in self.events()]
        path.write_text("\n".join(lines) + "\n", "utf-8")

    def events(self) -> Iterator[dict[str, Any]]:
        """Every event, in the order of the log."""
        entries = list(self.world.log())
        started = [entry.record for entry in entries if isinstance(entry.record, ExecutionStarted)]
        self._group(entries)
        effects = sorted(self.done, key=lambda done: done.size)
        last = entries[-1].at_ms
        for entry in entries:
            while effects and effects[0].size <= entry.seq:
                yield self._executed(effects.pop(0), started)
            yield from self._event(entry)
            last = max(last, entry.at_ms)
        for effect in effects:
            yield self._executed(effect, started)
        yield {"type": "session_end", "timestamp": _time(last), "reason": "the end of the log"}

    def _group(self, entries: list[Entry]) -> None:
        """Which action a request is a try of: the one whose hold it opened, spent or named; or the last that was the same."""
        named: dict[str, str] = {}
        for entry in entries:
            match entry.record:
                case RequestReceived() as asked:
                    self.asked[asked.request] = asked
                case HoldOpened(hold=hold):
                    named[hold.request] = hold.id
                    self.by_hold[hold.id] = Action(hold.request, hold.id)
                case ExecutionStarted(hold=str() as spent) as started:
                    named[started.request] = spent
                case HoldRefused(hold=str() as refused) as turned:
                    named[turned.request] = refused
        same: dict[tuple[str, str], Action] = {}
        for request, asked in self.asked.items():
            key = (asked.task, asked.digest)
            runs = any(isinstance(e.record, ExecutionStarted) and e.record.request == request for e in entries)
            if request in named:
                self.by_request[request] = same[key] = self.by_hold[named[request]]
            else:
                self.by_request[request] = Action(request) if runs else same.get(key) or Action(request)

    def _event(self, entry: Entry) -> Iterator[dict[str, Any]]:
        at = {"timestamp": _time(entry.at_ms)}
        match entry.record:
            case RequestReceived(request=request) if self.by_request[request].id == request:
                yield {"type": "action_proposed", **at, **self._about(request), "action": self._action(request)}
            case DecisionMade(request=request, outcome="deny") if self.by_request[request].id == request:
                yield self._blocked(at, self.by_request[request], str(entry.record.reason))
            case HoldOpened(hold=hold):
                about = self._about(hold.request)
                shown = {"approval_id": hold.id, "action": self._action(hold.request)}
                yield {"type": "approval_requested", **at, **about, **shown}
            case ApprovalGiven(approval=approval):
                yield self._decided(at, approval.hold, "allow", approval)
            case HoldDenied(hold=hold_id) as denied:
                yield self._decided(at, hold_id, "deny")
                yield self._blocked(at, self.by_hold[hold_id], denied.note or "denied")
            case HoldExpired(hold=hold_id) as expired:
                yield from self._expired(at, hold_id, expired.why or "expired")
            case ContainmentLaid(containment=laid):
                yield {"type": "interrupt", **at, "reason": laid.why}

    def _expired(self, at: dict[str, Any], hold_id: str, why: str) -> Iterator[dict[str, Any]]:
        hold = self.world.house.store.hold(hold_id)
        if hold is not None and hold.approval is None:
            yield self._decided(at, hold_id, "deny")  # no answer in time is a no
        yield self._blocked(at, self.by_hold[hold_id], why)

    def _decided(
        self, at: dict[str, Any], hold_id: str, decision: str, approval: Approval | None = None
    ) -> dict[str, Any]:
        event = {"type": "approval_decision", **at, **self._about(self.by_hold[hold_id].id), "approval_id": hold_id}
        until = {"expires_at": _time(approval.expires_at_ms)} if approval is not None else {}
        return {**event, "decision": decision, **until}

    def _blocked(self, at: dict[str, Any], action: Action, reason: str) -> dict[str, Any]:
        about = {**self._about(action.id), **({"approval_id": action.hold} if action.hold else {})}
        return {"type": "action_blocked", **at, **about, "reason": reason}

    def _executed(self, done: Done, started: list[ExecutionStarted]) -> dict[str, Any]:
        """An effect belongs to the first start, not yet taken, of the same tool for the same `action_id`."""
        doing = {"tool": "sentinel", "operation": done.tool, "parameters": done.arguments}
        event = {"type": "action_executed", "timestamp": _time(done.at_ms), "action": doing}
        found = next((one for one in started if self._fits(one, done)), None)
        if found is None:  # no record stands behind it
            return {**event, "action_id": f"{UNRECORDED}{done.arguments['action_id']}"}
        started.remove(found)
        action = self.by_hold[found.hold] if found.hold else self.by_request[found.request]
        return {**event, **self._about(action.id), **({"approval_id": found.hold} if found.hold else {})}

    def _fits(self, started: ExecutionStarted, done: Done) -> bool:
        asked = self.asked[started.request]
        same = self.world.arguments(started.request)["action_id"] == done.arguments["action_id"]
        return same and asked.name == done.tool

    def name(self, action: str) -> str:
        """What the agent called an action."""
        if action.startswith(UNRECORDED):
            return action.removeprefix(UNRECORDED)
        named: str = self.world.arguments(self.asked[action].request)["action_id"]
        return named

    def _about(self, request: str) -> dict[str, Any]:
        """What somebody wants is told by whom it reaches: another way to the same recipient is the same intent."""
        recipient = self.world.arguments(self.asked[request].request)["recipient"]
        return {"action_id": request, "intent_id": f"{self.asked[request].task} {recipient}"}

    def _action(self, request: str) -> dict[str, Any]:
        asked = self.asked[request]
        return {"tool": asked.server, "operation": asked.name, "parameters": self.world.arguments(asked.request)}


def _time(at_ms: int) -> str:
    return datetime.fromtimestamp(at_ms / 1_000, UTC).isoformat()
