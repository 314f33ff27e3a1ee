"""A held action in the terminal, framed so that its content can draw nothing of ours."""

import shutil
from collections.abc import Iterator

import msgspec

from lictor.app import House
from lictor.console.held import hold_view
from lictor.console.views import HoldView, PartView, PreviewView, WayView
from lictor.model.approval import Hold
from lictor.protocol.display import render
from lictor.protocol.display_frame import Field, frame


def describe(house: House, hold: Hold) -> str:
    """Everything a person decides on, as framed text."""
    view = hold_view(house.store, house.policy.current(), hold, house.clock.now_ms())
    return frame(_fields(view), shutil.get_terminal_size((100, 24)).columns)


def _fields(view: HoldView) -> list[Field]:
    undo = "can be undone" if view.reversible else "cannot be undone"
    fields = [
        Field("action", f"{view.server}/{view.tool} ({view.kind}, {view.effect}, {undo})", "gateway"),
        Field("asked by", f"agent {view.agent} for {view.human}, task {view.task}: {view.purpose}", "gateway"),
    ]
    fields += [
        Field(fact.label.lower(), f"{fact.text} ({fact.note})" if fact.note else fact.text, "gateway")
        for fact in view.facts
    ]
    if view.labels:
        fields.append(Field("the task has seen", ", ".join(view.labels), "gateway"))
    fields += _effect(view.preview) if view.preview is not None else []
    fields += [Field(f"argument {arg.path} ({arg.kind})", arg.text, "gateway") for arg in view.arguments]
    fields.append(Field("approvers", " or ".join(map(_way, view.ways)), "gateway"))
    fields += [Field(f"{one.label} has", one.text, "gateway") for one in view.answered]
    fields.append(Field("expires", view.expires_at, "gateway"))
    fields.append(Field("the action's digest", view.digest, "gateway"))
    fields.append(Field("an approval is for exactly this seal", view.seal, "gateway"))
    return fields


def _effect(preview: PreviewView) -> list[Field]:
    """What the gateway found out about the effect: warnings first, and what is not known or not shown is said."""
    found = []
    if not preview.whole:
        found.append(Field("effect", "not all of it could be found out", "gateway"))
    for part in sorted(preview.parts, key=lambda part: not part.warning):
        warning = "WARNING: " if part.warning else ""
        # The form stands before the title, which was chosen outside: no text looks like a difference or a table.
        found += [
            Field(f"{warning}effect ({preview.kind}{form}): {part.title}", text, "gateway")
            for form, text in _forms(part)
        ]
    return found


def _forms(part: PartView) -> Iterator[tuple[str, str]]:
    """What there is of a part: in what form, and its text."""
    if part.text:
        yield "", part.text
    if part.lines:
        yield _difference(part.lines)
    if part.rows:
        # As JSON, so that no cell can look like two.
        yield f", {len(part.rows) - 1} rows", "\n".join(msgspec.json.encode(row).decode() for row in part.rows)
    if part.left_out or not (part.text or part.lines or part.rows):
        yield ", not whole", f"{part.left_out} more not shown here"


def _difference(lines: tuple[tuple[str, str], ...]) -> tuple[str, str]:
    """Marked lines. Where one of them has a line break in it all are escaped once more, so that it cannot look like two."""
    if any("\n" in text for _, text in lines):
        return ", line by line, escaped", "\n".join(f"{mark} {render(text)}" for mark, text in lines)
    return ", line by line", "\n".join(f"{mark} {text}" for mark, text in lines)


def _way(way: WayView) -> str:
    proof = f" with {way.proof}" if way.proof else ""
    people = f"{way.people} people of " if way.people > 1 else ""
    return f"{people}{' and '.join(way.groups)}{proof}"
