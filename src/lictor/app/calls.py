"""What an action passes on its way: decided, claimed, sent once, written down, and stopped when its authority ends.

Refuses to know how servers are reached and where credentials come from.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

from lictor.app.house import House
from lictor.app.lending import Lending
from lictor.model.approval import Hold
from lictor.model.ids import InstanceId
from lictor.pep.mcp.connections import Connections
from lictor.pep.mcp.gateway import Gateway
from lictor.pep.mcp.holding import Holding
from lictor.pep.mcp.naming import Naming
from lictor.pep.mcp.state import StateSeal
from lictor.ports import Files, Previewer, Watch
from lictor.service.calls.authorize import Authorize
from lictor.service.calls.execute import Execute
from lictor.service.calls.gate import Gate
from lictor.service.calls.guard import Guard
from lictor.service.calls.offers import Offers
from lictor.service.calls.outcomes import Outcomes
from lictor.service.calls.unwatched import UNWATCHED
from lictor.service.containment.revoke import Revoke
from lictor.stores.clock import SystemClock, read_mark

CALM_S = 0.5
"""The newest state was confirmed so lately: some looks of `Revoke`, so the store answers."""


class OpenFiles(Files, Protocol):
    """A file system that has to be let go."""

    def close(self) -> None:
        """Let go."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Calls:
    """The use cases of one action, and the guard that says whether this process may use them at all."""

    outcomes: Outcomes
    authorize: Authorize
    guard: Guard
    gate: Gate
    execute: Execute
    offers: Offers


def calls_of(
    house: House,
    instance: InstanceId,
    files: Files,
    *,
    previewer: Previewer | None = None,
    on_held: Callable[[Hold], None] | None = None,
    watch: Watch = UNWATCHED,
) -> Calls:
    """The use cases of a house's actions, in the name of this process."""
    guard, outcomes = guard_of(house), Outcomes(store=house.store, clock=house.clock)
    gate = Gate(store=house.store, policy=house.policy, clock=house.clock, guard=guard)
    authorize = Authorize(
        store=house.store,
        policy=house.policy,
        clock=house.clock,
        ids=house.ids,
        limits=house.settings.limits,
        instance=instance,
        files=files,
        previewer=previewer,
        on_held=on_held,
        outcomes=outcomes,
        watch=watch,
    )
    return Calls(
        outcomes=outcomes,
        authorize=authorize,
        guard=guard,
        gate=gate,
        execute=Execute(store=house.store, clock=house.clock, outcomes=outcomes, gate=gate),
        offers=Offers(store=house.store, policy=house.policy, clock=house.clock),
    )


def guard_of(house: House) -> Guard:
    """Whether the newest state is known here and the clock is believed. From now on the house goes by what is believed of it."""
    limits, clock = house.settings.limits, house.clock
    ours = isinstance(clock, SystemClock)  # one under somebody's control has no other time
    guard = Guard(
        SystemClock() if ours else clock,
        lease_s=limits.epoch_lease_s,
        skew_s=limits.clock_skew_s,
        mark_ms=read_mark(house.state),
        elapsed=clock.elapsed if ours else None,
    )
    if ours:
        clock.believed = guard.now_ms
    return guard


def gateway_of(
    house: House,
    calls: Calls,
    lending: Lending,
    connections: Connections,
    naming: Naming,
    *,
    watch: Watch = UNWATCHED,
) -> Gateway:
    """The enforcement point for MCP."""
    leaks = lending.leaks
    return Gateway(
        connections=connections,
        naming=naming,
        authorize=calls.authorize,
        execute=calls.execute,
        offers=calls.offers,
        holding=Holding(
            store=house.store,
            clock=house.clock,
            seal=StateSeal(house.keys.state_key),
            approval_url=house.approval_url,
            wait_s=house.settings.hold_wait_s,
        ),
        clock=house.clock,
        ids=house.ids,
        limits=house.settings.limits,
        on_defect=lambda error: house.say(leaks.text(f"defect: {type(error).__name__}: {error}")),
        guard=calls.guard.check,
        ended=calls.gate.ended,
        check_sent=leaks.check_sent,
        watch=watch,
    )


def revoke_of(house: House, guard: Guard, gateway: Gateway, lending: Lending) -> Revoke:
    """What learns that authority has ended, and stops what is under way with it."""
    lending.reaper.calm = lambda: guard.age_s < CALM_S
    return Revoke(
        probe=house.probe(),
        guard=guard,
        stops=gateway.underway,
        clock=house.clock,
        agents=lambda: house.policy.current().agents,
        say=house.say,
        on_stopped=[gateway.underway.forget, lending.reaper.stopped],
    )
