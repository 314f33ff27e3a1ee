"""A held action in the terminal, framed so that its content can draw nothing of ours."""

import shutil

from lictor.app import House
from lictor.console.held import hold_view
from lictor.console.views import HoldView
from lictor.model.approval import Hold
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
    fields += [Field(f"argument {arg.path} ({arg.kind})", arg.text, "gateway") for arg in view.arguments]
    groups = " or ".join(" and ".join(needed) for needed in view.groups)
    fields.append(Field("approvers", groups, "gateway"))
    fields.append(Field("expires", view.expires_at, "gateway"))
    fields.append(Field("an approval is for exactly this digest", view.digest, "gateway"))
    return fields
