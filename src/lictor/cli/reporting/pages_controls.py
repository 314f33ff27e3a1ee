"""Our controls with their figures, and the published requirements that they answer to."""

from typing import Final

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
    many,
    mixed,
    nothing,
    number,
    ours,
)
from lictor.policy.standards import how_checked
from lictor.service.evidence.reporting.evidence import EVIDENCE, NONE, ControlShown, FrameworkShown, Requirement
from lictor.service.evidence.reporting.shapes import Report


def controls(report: Report) -> Section:
    """Each control of ours."""
    shown = [one for one in report.controls if one.state == EVIDENCE]
    head = (
        f"{len(shown)} of {len(report.controls)} controls left records in the period. "
        "A control that was not used has no evidence here."
    )
    groups = tuple(_control(one) for one in report.controls)
    return Section("controls", "What each control shows", (Para(ours(head)), *groups))


_TONES: Final[dict[str, Tone]] = {EVIDENCE: "good", NONE: "warn"}


def _state(state: str) -> Text:
    return badge(state, _TONES.get(state, "none"))


def _control(one: ControlShown) -> Group:
    seen = [figure for figure in one.figures if figure.count]
    absent = [figure.title for figure in one.figures if not figure.count]
    blocks: list[Block] = [Para(ours(one.how))]
    if seen:
        rows = tuple((ours(figure.title), number(figure.count), at(figure.last_ms)) for figure in seen)
        blocks.append(Table(f"{one.id}: what was counted", ("Counted", "Times", "Last (UTC)"), rows, ""))
    if one.why:
        blocks.append(Para(ours(f"Nothing to count: {one.why}.")))
    if absent:
        blocks.append(Para(mixed(nothing(f"Nothing of these in the period: {'; '.join(absent)}."))))
    return Group(f"{one.id} {one.name}", _state(one.state), tuple(blocks))


def frameworks(report: Report) -> Section:
    """Each publication, with the requirements we map to."""
    intro = (
        "Published requirements, and through which of our controls this log shows something about them. "
        "Closest fits are marked; a loose fit is named and counts for nothing."
    )
    groups = tuple(_framework(one) for one in report.frameworks if one.requirements)
    return Section("frameworks", "Published requirements", (Para(ours(intro)), *groups))


def _framework(one: FrameworkShown) -> Group:
    shown = sum(row.state == EVIDENCE for row in one.requirements)
    head = ("Requirement", "Title", "This log", "Through", "Decided by policies that name it", "Last (UTC)")
    rows = tuple(_requirement(row) for row in one.requirements)
    words = (
        f"Version {one.version}; identifiers {how_checked(one.check)}. "
        f"{shown} of {many(len(one.requirements), 'requirement')} with evidence."
    )
    return Group(one.name, None, (Para(ours(words)), Table(one.name, head, rows, "")))


def _requirement(row: Requirement) -> tuple[Cell, ...]:
    return (ours(row.id), ours(row.words), mixed(_state(row.state)), _through(row), _named(row), at(row.last_ms))


def _through(row: Requirement) -> Cell:
    def marked(names: tuple[str, ...]) -> str:
        return ", ".join(f"{one} (closest)" if one in row.primary else one for one in names)

    absent = tuple(one for one in row.controls if one not in row.shown and one not in row.loose)
    parts: list[Text | str] = [marked(row.shown)] if row.shown else []
    if absent:
        parts.append(nothing(f"{'; ' if parts else ''}nothing from {marked(absent)}"))
    if row.loose:
        parts.append(nothing(f"{'; ' if parts else ''}loose: {', '.join(row.loose)}"))
    return mixed(*(parts or [nothing()]))


def _named(row: Requirement) -> Cell:
    if not row.policies and not (row.allowed or row.held or row.denied):
        return mixed(nothing("no policy names it"))
    counts = [(row.denied, "denied"), (row.held, "held"), (row.allowed, "allowed")]
    words = ", ".join(f"{count:,} {word}" for count, word in counts if count) or "no decision"
    return ours(f"{words} ({many(row.policies, 'policy', 'policies')} in force)")
