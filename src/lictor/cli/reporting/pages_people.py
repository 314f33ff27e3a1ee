"""Who approved what, and which agents there are."""

from lictor.cli.reporting.attention import STALE_DAYS, always_yes, stale
from lictor.cli.reporting.document import (
    Block,
    Cell,
    Group,
    Para,
    Section,
    Table,
    Text,
    Tone,
    at,
    badge,
    day,
    mixed,
    name,
    nothing,
    number,
    ours,
    span,
    theirs,
)
from lictor.service.evidence.reporting.people import FAST_S
from lictor.service.evidence.reporting.shapes import AgentShown, Answered, Report
from lictor.service.registry import Standing


def people(report: Report) -> Section:
    """Approvers, four eyes and break-glass."""
    head = (
        "Approver", "Asked", "Yes", "No", "Share of yes", "Median time", f"Under {FAST_S} s",
        "By passkey", "Taken back", "Overrides", "Yes ahead", "Last (UTC)",
    )  # fmt: skip
    asked = (
        "Asked counts the held actions that one of their groups could answer. Time runs from the hold to the answer. "
        "A person without an answer was not needed, or did not look."
    )
    rows = tuple(_approver(one) for one in report.approvers)
    overrides = tuple(
        (at(one.at_ms), theirs(one.by), theirs(one.agent), theirs(one.action), theirs(one.why))
        for one in report.overrides
    )
    return Section(
        "people",
        "Who approved what",
        (
            Para(ours(asked)),
            Table("Approvers", head, rows, "Nobody is an approver, and nobody answered."),
            Group("Four eyes", None, (_two_people(report),)),
            Group(
                "Break-glass",
                _overridden(report),
                (
                    Table(
                        "Overrides",
                        ("When (UTC)", "Who", "Agent", "Action", "Why"),
                        overrides,
                        "No deny was overridden in the period.",
                        report.totals["overrides"] - len(overrides),
                    ),
                ),
            ),
        ),
    )


def _overridden(report: Report) -> Text | None:
    return badge(f"{report.totals['overrides']:,}", "warn") if report.totals["overrides"] else None


def _two_people(report: Report) -> Block:
    spent, two = report.count("execution.approved"), report.count("joined.two_people")
    if not spent:
        return Para(ours("No execution spent an approval in the period."))
    return Para(ours(f"{two:,} of {spent:,} executions behind an approval were approved by two or more people."))


def _approver(one: Answered) -> tuple[Cell, ...]:
    answers = one.given + one.denied
    return (
        mixed(name(one.human), Text(" of ", tone="none"), name(", ".join(one.groups)))
        if one.groups
        else theirs(one.human),
        number(one.asked),
        number(one.given),
        number(one.denied),
        ours(always_yes(one)) if answers else mixed(nothing("no answer")),
        ours(span(one.median_s)) if answers else mixed(nothing()),
        number(one.fast),
        number(one.with_passkey),
        number(one.withdrawn),
        number(one.overrides, "warn"),
        number(one.ahead),
        at(one.last_ms),
    )


def agents(report: Report) -> Section:
    """The registry, its changes, and what nobody needs."""
    head = (
        "Agent",
        "Standing",
        "Owner",
        "Team",
        "Autonomy",
        "Environment",
        "Review by",
        "Allowed",
        "Held",
        "Denied",
        "Last asked (UTC)",
    )
    rows = tuple(_agent(one, report.until_ms) for one in report.agents)
    edits = tuple((at(one.at_ms), theirs(one.agent), ours(one.what), theirs(one.by)) for one in report.edits)
    return Section(
        "agents",
        "Agents",
        (
            Table("Agents", head, rows, "No agent is registered, and none is in the log."),
            Group(
                "Changes of the registry",
                None,
                (
                    Table(
                        "Changes of the registry",
                        ("When (UTC)", "Agent", "What", "By"),
                        edits,
                        "None was recorded in the period.",
                        report.totals["edits"] - len(edits),
                    ),
                ),
            ),
            Group("Permissions that nobody used", None, _unused(report)),
        ),
    )


def _unused(report: Report) -> tuple[Block, ...]:
    if report.surplus is None:
        return (Para(mixed(nothing("Not looked at: no bundle was kept for the end of the period."))),)
    head = ("Agent", "Permit", "Where", "Never used", "Of", "Smallest change")
    rows = tuple(
        (
            theirs(one.agent),
            theirs(one.permit),
            theirs(one.where),
            number(one.unused),
            number(one.reached),
            theirs(one.change),
        )
        for one in report.surplus
    )
    words = (
        f"What a permit reaches and its agent was not allowed once in {report.covered_days} days. "
        "Rare work may only look unneeded."
    )
    empty = "Everything that policy may permit was used."
    return (Para(ours(words)), Table("Unused permissions", head, rows, empty, report.totals["surplus"] - len(rows)))


_TONES: dict[str, Tone] = {
    Standing.OK.value: "good",
    Standing.DUE.value: "warn",
    Standing.OVERDUE.value: "bad",
    Standing.SUSPENDED.value: "bad",
    Standing.NO_OWNER.value: "bad",
}


def _agent(one: AgentShown, until_ms: int) -> tuple[Cell, ...]:
    unused: tuple[Text | str, ...] = (
        (" ", badge(f"unused for {STALE_DAYS} days", "warn")) if stale(one, until_ms) else ()
    )
    return (
        theirs(one.agent),
        mixed(badge(one.standing.lower(), _TONES.get(one.standing, "none")), *unused),
        theirs(one.owner),
        theirs(one.team),
        Cell(number(one.autonomy).parts, number=True),
        mixed(name(one.environment)),
        Cell((Text(day(one.review_by_ms), whole=True),)) if one.review_by_ms else mixed(nothing()),
        number(one.allowed),
        number(one.held),
        number(one.denied),
        at(one.last_ms),
    )
