"""The map of controls as a document, without any log: which published requirements each control of ours answers to.

`docs/explanation/standards.md` is this, and a test compares.
"""

from lictor.cli.reporting.document import (
    Cell,
    Document,
    Group,
    Items,
    Para,
    Section,
    Table,
    mixed,
    nothing,
    ours,
    typed,
)
from lictor.policy.standards import Control, how_checked, standards
from lictor.service.evidence.reporting.evidence import mechanisms
from lictor.service.evidence.reporting.titles import TITLES


def document_of_map() -> Document:
    """All of it."""
    known = standards()
    used = {key: {name for one in known.controls for name in one.maps.get(key, ())} for key in known.frameworks}
    return Document(
        title="Published requirements, and what of Lictor answers to them",
        about=(
            ("As of", ours(known.version)),
            ("Made by", mixed(typed("lictor report --map"))),
            ("Judged by", ours("the project: the identifiers are the publishers', which of them fits is our opinion")),
        ),
        sections=(
            Section("use", "What it is for", (Items(_uses()),)),
            Section("controls", "Our controls", tuple(_control(one) for one in known.controls)),
            Section("frameworks", "Publications", tuple(_framework(key, used[key]) for key in known.frameworks)),
        ),
    )


def _uses() -> tuple[Cell, ...]:
    return (
        mixed(
            typed("lictor report"),
            " counts what the log of a deployment shows for each of them, and says where that is nothing.",
        ),
        mixed(
            "A policy names what it is for: ",
            typed('@control("ASI01, NHI5:2025")'),
            ". The report counts its decisions there.",
        ),
        mixed(typed("lictor policy check"), " warns of an identifier that does not stand on this page."),
        ours("A fit that is marked loose is named because people ask for it. It is evidence for nothing."),
        ours("Nobody conforms to anything because a control stands here. A report says what a log shows."),
    )


def _control(one: Control) -> Group:
    mechanism = mechanisms()[one.id]
    rows = []
    for key, names in one.maps.items():
        framework = standards().frameworks[key]
        marked = (
            f"{name} (closest)" if name in one.primary else f"{name} (loose)" if name in one.loose else name
            for name in names
        )
        rows.append((ours(framework.short), ours(", ".join(marked))))
    counted = "; ".join(TITLES[name] for name in mechanism.figures)
    says = (
        ours(f"Evidence: {counted}.")
        if counted
        else mixed(nothing(f"A log shows nothing of it: {mechanism.why_none}."))
    )
    table = Table(one.id, ("Publication", "Requirements"), tuple(rows), "")
    return Group(f"{one.id} {one.name}", None, (Para(ours(mechanism.how)), Para(says), table))


def _framework(key: str, used: set[str]) -> Group:
    framework = standards().frameworks[key]
    rows = []
    for name, one in standards().identifiers[key].items():
        through = [control.id for control in standards().controls if name in control.maps.get(key, ())]
        rows.append((ours(name), ours(one.words), ours(", ".join(through)) if through else mixed(nothing())))
    words = (
        f"{framework.publisher}, version {framework.version}, identifiers {how_checked(framework.check)}. "
        f"{len(used)} of the {len(rows)} that are listed have a control."
    )
    head = ("Requirement", "Title", "Our controls")
    return Group(framework.name, None, (Para(ours(words)), Table(framework.name, head, tuple(rows), "")))
