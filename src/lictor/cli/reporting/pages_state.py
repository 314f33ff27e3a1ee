"""Restrictions, credentials, executions, policy and refusals: what happened and what stands."""

from lictor.cli.reporting.document import (
    Cell,
    Group,
    Para,
    Section,
    Table,
    at,
    badge,
    mixed,
    name,
    nothing,
    number,
    ours,
    theirs,
)
from lictor.service.evidence.reporting.shapes import Report
from lictor.service.evidence.reporting.standing import PolicyChange, Restricted, Unknown


def restrictions(report: Report) -> Section:
    """Containment, the kill switch, findings and quarantined tools."""
    head = ("Laid (UTC)", "Scope", "Target", "Restriction", "By", "Why", "Lifted")
    now = tuple(_restricted(one) for one in report.in_force)
    then = tuple(_restricted(one) for one in report.restrictions)
    findings = tuple(
        (at(one.at_ms), theirs(one.finding), theirs(one.task), theirs(one.signal), theirs(one.restriction))
        for one in report.findings
    )
    tools = tuple((at(one.at_ms), theirs(one.server), theirs(one.name)) for one in report.quarantined)
    totals = report.totals
    return Section(
        "restrictions",
        "Stopped, restricted, looked into",
        (
            Group(
                "In force at the end",
                badge(f"{totals['in_force']:,}", "warn") if now else None,
                (Table("Restrictions in force", head, now, "Nothing is restricted.", totals["in_force"] - len(now)),),
            ),
            Group(
                "Laid or lifted in the period",
                None,
                (Table("Restrictions of the period", head, then, "None.", totals["restrictions"] - len(then)),),
            ),
            Group(
                "Findings",
                None,
                (
                    Table(
                        "Findings",
                        ("Opened (UTC)", "Finding", "Task", "From", "Restricted by itself"),
                        findings,
                        "None was opened.",
                        totals["findings"] - len(findings),
                    ),
                ),
            ),
            Group(
                "Tools that were not what somebody had looked at",
                None,
                (
                    Table(
                        "Quarantined tools",
                        ("When (UTC)", "Server", "Tool"),
                        tools,
                        "None.",
                        totals["quarantined"] - len(tools),
                    ),
                ),
            ),
        ),
    )


def _restricted(one: Restricted) -> tuple[Cell, ...]:
    lifted = (
        mixed(*at(one.lifted_at_ms).parts, " by ", name(one.lifted_by))
        if one.lifted_at_ms
        else mixed(nothing("not lifted"))
    )
    return (
        at(one.at_ms),
        ours(one.scope),
        theirs(one.target) if one.target else mixed(nothing("all")),
        mixed(badge(one.restriction.replace("_", " "), "bad" if one.restriction == "suspended" else "warn")),
        theirs(one.by),
        theirs(one.why),
        lifted,
    )


def credentials(report: Report) -> Section:
    """What was lent and what is still out."""
    head = (
        "Credential",
        "For",
        "Provider",
        "Agent",
        "Asked (UTC)",
        "Ends by (UTC)",
        "Revocations in vain",
        "What the provider said",
    )
    rows = tuple(
        (
            theirs(one.credential),
            theirs(one.destination),
            theirs(one.provider),
            theirs(one.agent),
            at(one.asked_at_ms),
            at(one.expires_at_ms),
            number(one.attempts, "bad"),
            theirs(one.why),
        )
        for one in report.leases
    )
    words = (
        f"{report.count('privilege.lease_given'):,} credentials were made in the period, "
        f"{report.count('lease.revoked'):,} revoked at their provider, "
        f"{report.count('lease.expired'):,} ended with their own life. Still out at the end of the period:"
    )
    return Section(
        "credentials",
        "Credentials on loan",
        (Para(ours(words)), Table("Credentials still out", head, rows, "None.", report.totals["leases"] - len(rows))),
    )


def executions(report: Report) -> Section:
    """Those of which nobody knows what became."""
    head = ("Started (UTC)", "Execution", "Agent", "Action", "Task", "Why nobody knows")
    unknown = tuple(_unknown(one) for one in report.unknown)
    running = tuple(_unknown(one) for one in report.running)
    sent = report.count("joined.as_decided")
    words = (
        f"{report.count('execution.started'):,} executions started in the period; "
        f"{sent:,} calls left with exactly the bytes that were decided."
    )
    return Section(
        "executions",
        "Executions",
        (
            Para(ours(words)),
            Group(
                "It may have happened, and nobody has found out",
                badge(f"{report.totals['unknown']:,}", "bad") if unknown else None,
                (Table("Unknown outcomes", head, unknown, "None.", report.totals["unknown"] - len(unknown)),),
            ),
            Group(
                "Under way at the end of the period",
                None,
                (Table("Under way", head, running, "None.", report.totals["running"] - len(running)),),
            ),
        ),
    )


def _unknown(one: Unknown) -> tuple[Cell, ...]:
    return (
        at(one.at_ms),
        theirs(one.execution),
        theirs(one.agent),
        theirs(one.action),
        theirs(one.task),
        theirs(one.reason),
    )


def policy(report: Report) -> Section:
    """Changes with their second person, and what policies decided."""
    changes = tuple(_change(one) for one in report.changes)
    decided = tuple(
        (theirs(one.policy), number(one.denied), number(one.held), number(one.allowed), at(one.last_ms))
        for one in report.policies
    )
    head = (
        "In force from (UTC)",
        "Revision",
        "Instead of",
        "Files",
        "By",
        "Changed files of",
        "Second person",
        "Wider in",
        "Why",
    )
    return Section(
        "policy",
        "Policy",
        (
            Group(
                "Changes",
                None,
                (
                    Para(ours("Where the settings ask for a second person, what permits more waits for their yes.")),
                    Table(
                        "Changes of policy",
                        head,
                        changes,
                        "None in the period.",
                        report.totals["changes"] - len(changes),
                    ),
                ),
            ),
            Group(
                "What policies decided",
                None,
                (
                    Table(
                        "Decisions by policy",
                        ("Policy", "Denied", "Held", "Allowed", "Last (UTC)"),
                        decided,
                        "No decision of the period names a policy.",
                    ),
                ),
            ),
        ),
    )


def _change(one: PolicyChange) -> tuple[Cell, ...]:
    return (
        at(one.at_ms),
        theirs(one.revision[:19]),
        theirs(one.previous[:19]),
        number(one.files),
        theirs(one.by) if one.by else mixed(nothing("not recorded")),
        theirs(", ".join(one.authors)) if one.authors else mixed(nothing("nobody known")),
        theirs(one.approved_by) if one.approved_by else mixed(nothing("nobody")),
        number(one.widens),
        theirs(one.why),
    )


def refusals(report: Report) -> Section:
    """Why things were turned away."""
    rows = tuple((ours(one.name), ours(one.words), number(one.count), at(one.last_ms)) for one in report.reasons)
    return Section(
        "refusals",
        "Turned away, by reason",
        (
            Table(
                "Reasons",
                ("Reason", "What it is about", "Times", "Last (UTC)"),
                rows,
                "Nothing was turned away in the period.",
            ),
        ),
    )
