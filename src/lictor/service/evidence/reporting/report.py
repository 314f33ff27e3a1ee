"""The report, put together: what was counted, who answered, what stands, joined with the bundle in force at the end.

Everything in it comes from the log, the kept bundles and the period: the same of each gives the same report. Every `str` that the
log brought is raw; whoever draws it renders it. Refuses to know how it is drawn.
"""

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any, Final

from lictor.model.ids import AgentId, HumanId
from lictor.policy.bundle import Bundle
from lictor.policy.standards import standards
from lictor.policy.unused import Unused
from lictor.service.evidence.reporting.counted import SHOWN, Figure, Latest
from lictor.service.evidence.reporting.evidence import Shown, controls_shown, frameworks_shown
from lictor.service.evidence.reporting.people import Answers
from lictor.service.evidence.reporting.rules import Rules, controls_named
from lictor.service.evidence.reporting.shapes import (
    AgentShown,
    Answered,
    Counted,
    Day,
    LogShown,
    PolicyShown,
    Report,
    Surplus,
)
from lictor.service.evidence.reporting.standing import restricted
from lictor.service.evidence.reporting.tally import DAY_MS, Did, Tally
from lictor.service.evidence.reporting.titles import TITLES
from lictor.service.evidence.reporting.turned import GROUPS, group_of
from lictor.service.registry import state_of

MAX_DAYS: Final = 92
"""Days that are shown one by one."""
NOT_REGISTERED: Final = "not registered"


def report_of(
    found: Tally,
    rules: Rules,
    *,
    bundle: Bundle | None,
    log: LogShown,
    version: str,
    surplus: tuple[Unused, ...] | None = None,
    covered_days: int = 0,
) -> Report:
    """Put it together.

    Args:
        found: the counts.
        rules: decisions joined with policies.
        bundle: in force at the period's end; None: there was none, or it was not kept.
        log: the log itself.
        version: of Lictor.
        surplus: what agents may do and never did; None: nobody looked.
        covered_days: how many days of the log that could tell.
    """
    figures = _figures(found, rules, log)
    controls = controls_shown(figures)
    naming = controls_named(bundle.policies) if bundle is not None else {}
    now = found.standing
    listed: dict[str, Latest[Any]] = {
        "overrides": found.people.overrides,
        "restrictions": now.laid,
        "findings": now.findings,
        "quarantined": now.quarantined,
        "edits": now.edits,
        "changes": now.policies,
    }
    return Report(
        lictor=version,
        standards=standards().version,
        since_ms=found.since_ms,
        until_ms=found.until_ms,
        first_ms=found.first_ms,
        counted=found.counted,
        log=log,
        revision=now.revision or "",
        figures=tuple(Shown(name, TITLES.get(name, name), one.count, one.last_ms) for name, one in figures.items()),
        controls=controls,
        frameworks=frameworks_shown(controls, rules.controls, naming),
        approvers=_approvers(found, bundle),
        overrides=tuple(found.people.overrides),
        restrictions=tuple(now.laid),
        in_force=tuple(restricted(*one) for one in now.in_force.values())[-SHOWN:],
        findings=tuple(now.findings),
        quarantined=tuple(now.quarantined),
        agents=_agents(found, bundle),
        edits=tuple(now.edits),
        surplus=None if surplus is None else tuple(_surplus(one) for one in surplus[:SHOWN]),
        covered_days=covered_days,
        leases=tuple(now.live.values())[-SHOWN:],
        unknown=tuple(now.unknown.values())[-SHOWN:],
        running=tuple(now.running.values())[-SHOWN:],
        changes=tuple(now.policies),
        policies=_policies(rules),
        reasons=_reasons(found),
        days=_days(found.days),
        totals={
            **{name: one.total for name, one in listed.items()},
            "in_force": len(now.in_force),
            "leases": len(now.live),
            "unknown": len(now.unknown),
            "running": len(now.running),
            "surplus": len(surplus or ()),
        },
        left_out=_left_out(found, rules),
    )


def _figures(found: Tally, rules: Rules, log: LogShown) -> dict[str, Figure]:
    """Every figure that is not nothing, by name. What was checked now counts as of the period's end."""
    figures = {**found.figures, **rules.stopped}
    if log.verified:
        figures["check.verified"] = Figure(1, found.until_ms)
        if seen := sum(one.size > 0 for one in log.witnesses):
            figures["check.witnessed"] = Figure(seen, found.until_ms)
    if log.replayed is not None:
        for name, key in (("check.replayed", "identical"), ("check.differing", "different")):
            if log.replayed.get(key):
                figures[name] = Figure(log.replayed[key], found.until_ms)
    return dict(sorted(figures.items()))


def _approvers(found: Tally, bundle: Bundle | None) -> tuple[Answered, ...]:
    groups_of: Mapping[HumanId, frozenset[str] | tuple[str, ...]] = bundle.approvers.groups_of if bundle else {}
    rows = []
    for human in sorted({*groups_of, *found.people.answers}):
        mine = found.people.answers.get(human, Answers())
        groups = tuple(sorted(groups_of.get(human, ())))
        rows.append(
            Answered(
                human=human,
                groups=groups,
                asked=sum(many for named, many in found.people.asked.items() if not set(groups).isdisjoint(named)),
                given=mine.given,
                denied=mine.denied,
                withdrawn=mine.withdrawn,
                overrides=mine.overrides,
                ahead=mine.ahead,
                with_passkey=mine.with_passkey,
                fast=mine.fast,
                median_s=mine.took.median_s(),
                longest_s=mine.took.longest_s(),
                last_ms=mine.last_ms,
            )
        )
    return tuple(sorted(rows, key=lambda row: (-(row.given + row.denied), row.human)))


def _agents(found: Tally, bundle: Bundle | None) -> tuple[AgentShown, ...]:
    laid = tuple(one for one, _ in found.standing.in_force.values())
    registered = bundle.agents if bundle is not None else {}
    rows = []
    for name in sorted({*registered, *found.agents}):
        did, agent = found.agents.get(AgentId(name), Did()), registered.get(AgentId(name))
        state = state_of(agent, found.until_ms, laid) if agent is not None else None
        rows.append(
            AgentShown(
                agent=name,
                owner=agent.owner if agent else "",
                team=agent.team if agent else "",
                autonomy=agent.autonomy if agent else 0,
                environment=agent.environment if agent else "",
                standing=state.standing.value if state else NOT_REGISTERED,
                words=state.words if state else "it is in the log and not in the registry",
                review_by_ms=agent.review_by_ms if agent else 0,
                allowed=did.allowed,
                held=did.held,
                denied=did.denied,
                last_ms=did.last_ms,
            )
        )
    return tuple(rows)


def _surplus(one: Unused) -> Surplus:
    return Surplus(
        agent=one.agent,
        permit=one.permit,
        where=one.where,
        unused=len(one.actions),
        reached=one.reached,
        change=one.change,
    )


def _policies(rules: Rules) -> tuple[PolicyShown, ...]:
    rows = [
        PolicyShown(policy=name, allowed=one.allowed, held=one.held, denied=one.denied, last_ms=one.last_ms)
        for name, one in rules.policies.items()
    ]
    return tuple(sorted(rows, key=lambda row: (-row.denied - row.held, -row.allowed, row.policy))[:SHOWN])


def _reasons(found: Tally) -> tuple[Counted, ...]:
    rows = [
        Counted(name=name, words=GROUPS[group_of(name)], count=one.count, last_ms=one.last_ms)
        for name, one in found.reasons.items()
    ]
    return tuple(sorted(rows, key=lambda row: (-row.count, row.name)))


def _days(days: Mapping[int, list[int]]) -> tuple[Day, ...]:
    """Each day from the first to the last that had a decision, those between without any too; the last `MAX_DAYS`."""
    if not days:
        return ()
    last = max(days)
    return tuple(
        Day(
            day=datetime.fromtimestamp(day * DAY_MS / 1_000, UTC).strftime("%Y-%m-%d"),
            allowed=days.get(day, [0, 0, 0])[0],
            held=days.get(day, [0, 0, 0])[1],
            denied=days.get(day, [0, 0, 0])[2],
        )
        for day in range(max(min(days), last - MAX_DAYS + 1), last + 1)
    )


def _left_out(found: Tally, rules: Rules) -> dict[str, int]:
    left = dict(found.left_out)
    if found.standing.forgotten:
        left["open executions or credentials"] = found.standing.forgotten
    if rules.unread:
        left["decisions whose policies were not kept"] = rules.unread
    return dict(sorted(left.items()))
