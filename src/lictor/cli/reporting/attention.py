"""What a reader should look at first, from the figures. Each line says what was found, and the command that says more.

It sorts and names; it judges nobody. A line without cause is not there, and that there is none is said.
"""

from collections.abc import Iterable, Iterator
from typing import Final

from lictor.cli.reporting.document import Cell, Text, Tone, badge, many, mixed, name, share, typed
from lictor.service.evidence.reporting.people import FAST_S
from lictor.service.evidence.reporting.shapes import AgentShown, Answered, Report
from lictor.service.evidence.reporting.tally import DAY_MS
from lictor.service.registry import Standing

MANY_ANSWERS: Final = 20
"""Answers from which on "always yes" says something."""
MANY_FAST: Final = 10
_NAMED: Final = 5
STALE_DAYS: Final = 30
_NO_AUTHORITY: Final = frozenset({Standing.OVERDUE.value, Standing.NO_OWNER.value})


def attention(report: Report) -> tuple[Cell, ...]:
    """The lines, worst first."""
    return (*_broken(report), *_unusual(report), *_agents(report), *_people(report), *_incomplete(report))


def _line(tone: Tone, word: str, *parts: Text | str) -> Cell:
    return mixed(badge(word, tone), " ", *parts)


def _broken(report: Report) -> Iterator[Cell]:
    if report.log.verified is False:
        found = many(len(report.log.findings), "finding")
        yield _line("bad", "log", f"the log is damaged: {found}. See: ", typed("lictor log verify"))
    if report.log.sealed:
        yield _line(
            "warn", "log", "restored from a backup and sealed, nothing runs on it until: ", typed("lictor log unseal")
        )
    contradicted = report.count("signal.log_contradicted")
    if contradicted:
        what = many(contradicted, "time")
        yield _line(
            "bad", "log", f"a witness has seen another log under this name, {what}. See: ", typed("lictor log verify")
        )
    other = report.count("joined.other_bytes")
    if other:
        yield _line("bad", "execution", f"{many(other, 'call')} left with other bytes than were decided")
    differing = report.count("check.differing")
    if differing:
        yield _line("bad", "replay", f"{many(differing, 'decision')} came out otherwise. See: ", typed("lictor replay"))
    unknown = report.totals["unknown"]
    if unknown:
        what = many(unknown, "execution")
        yield _line(
            "bad", "execution", f"{what} may have happened and nobody has found out: ", typed("lictor log show --open")
        )
    kept = [one for one in report.leases if one.attempts]
    if kept:
        names = _names(one.credential for one in kept)
        yield _line("bad", "credential", f"{many(len(kept), 'credential')} could not be revoked yet: ", *names)


def _unusual(report: Report) -> Iterator[Cell]:
    overrides = report.totals["overrides"]
    if overrides:
        yield _line("warn", "break-glass", f"{many(overrides, 'deny', 'denies')} overridden by a person")
    if report.totals["in_force"]:
        names = _names(f"{one.restriction} {one.scope} {one.target}".strip() for one in report.in_force)
        yield _line("warn", "restricted", f"{many(report.totals['in_force'], 'restriction')} in force: ", *names)
    if report.totals["findings"]:
        yield _line("warn", "finding", f"{many(report.totals['findings'], 'finding')} opened in the period")
    if report.totals["quarantined"]:
        names = _names(f"{one.server}/{one.name}" for one in report.quarantined)
        what = many(report.totals["quarantined"], "time")
        yield _line("warn", "tool", f"a definition was not the pinned one, {what}: ", *names)
    if report.count("turned.failing"):
        what = many(report.count("turned.failing"), "request")
        yield _line("warn", "failing", f"{what} denied because something was broken, late or unknown")


def _agents(report: Report) -> Iterator[Cell]:
    without = [one.agent for one in report.agents if one.standing in _NO_AUTHORITY]
    if without:
        what = many(len(without), "agent")
        yield _line(
            "warn",
            "agent",
            f"{what} without authority until somebody looks (no owner, or review overdue): ",
            *_names(without),
        )
    due = [one.agent for one in report.agents if one.standing == Standing.DUE.value]
    if due:
        yield _line("warn", "agent", f"{many(len(due), 'review')} due soon: ", *_names(due))
    unused = [one.agent for one in report.agents if stale(one, report.until_ms)]
    if unused:
        what = many(len(unused), "registered agent")
        yield _line("warn", "agent", f"{what} asked for nothing in {STALE_DAYS} days: ", *_names(unused))
    if report.totals["surplus"]:
        what = many(report.totals["surplus"], "permit")
        yield _line(
            "warn", "permission", f"{what} with actions that an agent never used: ", typed("lictor agents unused")
        )


def stale(agent: AgentShown, until_ms: int) -> bool:
    """Whether an agent that may act has asked for nothing in `STALE_DAYS`."""
    active = agent.standing in {Standing.OK.value, Standing.DUE.value, Standing.OVERDUE.value}
    return active and until_ms - agent.last_ms >= STALE_DAYS * DAY_MS


def _people(report: Report) -> Iterator[Cell]:
    for one in report.approvers:
        answers = one.given + one.denied
        if answers >= MANY_ANSWERS and not one.denied:
            yield _line("warn", "approver", name(one.human), f" approved all of {answers:,} actions and denied none")
        if one.fast >= MANY_FAST and one.fast * 2 >= one.given:
            part = share(one.fast, one.given)
            yield _line(
                "warn", "approver", name(one.human), f" gave {part} of {one.given:,} approvals within {FAST_S} seconds"
            )


def always_yes(one: Answered) -> str:
    """The share of yeses among the answers."""
    return share(one.given, one.given + one.denied) if one.given + one.denied else "no answer"


def _incomplete(report: Report) -> Iterator[Cell]:
    for what, count in report.left_out.items():
        yield _line("none", "not counted", f"{count:,} {what}")
    unseen = [one.witness for one in report.log.witnesses if not one.size]
    if unseen:
        yield _line("warn", "witness", "has cosigned nothing of this log yet: ", *_names(unseen))
    if report.log.verified is None:
        yield _line("none", "log", "the log was not verified for this report")


def _names(names: Iterable[str]) -> list[Text | str]:
    """Some of them, each once, with how many more."""
    found = list(dict.fromkeys(names))
    parts: list[Text | str] = []
    for place, one in enumerate(found[:_NAMED]):
        parts += [", " if place else "", name(one)]
    if len(found) > _NAMED:
        parts.append(f" and {len(found) - _NAMED} more")
    return parts
