"""The what-if form: a recorded request's facts as text fields, and what a browser sends back read into them.

Refuses to know what the facts mean to a decision.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Final

from lictor.console.policies_asked import Asked
from lictor.model.containment import Restriction
from lictor.model.errors import CallerError
from lictor.model.reasons import Reason
from lictor.model.snapshot import Snapshot
from lictor.pdp.facts import families
from lictor.protocol.display import render

MAX_ARGUMENTS: Final = 32 * 1024
"""Bytes of arguments that a form holds; longer ones stay as they were recorded."""
MAX_FORM: Final = 3 * MAX_ARGUMENTS + 16 * 1024
"""Bytes of the whole form: a byte may be written as three."""
MAX_NAMES: Final = 100
MAX_NAME: Final = 200
_TIME: Final = "%Y-%m-%dT%H:%M:%S"
APPROVAL: Final = ("recorded", "nobody", "people")
POLICIES: Final = ("then", "now")


class WrongFormError(CallerError):
    """A field of the form cannot be read. `field` is its name."""

    def __init__(self, field: str, message: str) -> None:
        """`message`: one line, for whoever filled it in."""
        super().__init__(Reason.INVALID_ARGUMENTS, message)
        self.field = field


@dataclass(frozen=True, slots=True, kw_only=True)
class Form:
    """The form's fields as text, as they are shown again."""

    arguments: str
    """Empty: as recorded, because they are too long for a form."""
    labels: str
    groups: str
    autonomy: str
    approval: str
    people: str
    strength: str
    restrictions: frozenset[str]
    time: str
    policy: str = "then"


def form_of(asked: Asked) -> Form:
    """The form as it was recorded."""
    snapshot = asked.snapshot
    # In ASCII: nothing in a text field is hidden or reordered, and JSON's own escapes are read back as what they stand for.
    text = json.dumps(asked.request.arguments.open(), indent=2).replace("\x7f", "\\u007f")
    agent, approval = snapshot.agent, snapshot.approval
    return Form(
        arguments=text if len(text.encode()) <= MAX_ARGUMENTS else "",
        labels=render(", ".join(labels_of(snapshot))),
        groups=render(", ".join(snapshot.human_groups)),
        autonomy=str(agent.autonomy) if agent is not None else "",
        approval="recorded",
        people=render(", ".join(one.approver for one in approval.people)) if approval is not None else "",
        strength=str(int(min(one.strength for one in approval.people))) if approval is not None else "1",
        restrictions=frozenset(one.restriction.value for one in snapshot.containments),
        time=moment_text(snapshot.at_ms),
    )


def read_form(fields: Mapping[str, str], recorded: Form) -> Form:
    """The form as it was sent; unknown words of a choice become its first.

    Args:
        fields: of the request.
        recorded: `form_of`.
    """
    approval, policy = fields.get("approval", ""), fields.get("policy", "")
    return Form(
        # A browser ends lines with CR LF, whatever was between them before.
        arguments=_ascii(fields.get("arguments", "").replace("\r\n", "\n")) if recorded.arguments else "",
        labels=fields.get("labels", ""),
        groups=fields.get("groups", ""),
        autonomy=fields.get("autonomy", ""),
        approval=approval if approval in APPROVAL else APPROVAL[0],
        people=fields.get("people", ""),
        strength=fields.get("strength", "1"),
        restrictions=frozenset(one.value for one in Restriction if fields.get(f"restrict_{one.value}") == "yes"),
        time=fields.get("time", ""),
        policy=policy if policy in POLICIES else POLICIES[0],
    )


def _ascii(text: str) -> str:
    """JSON text with the same meaning, in ASCII: what was pasted is shown as what it is."""
    if text.isascii():
        return text
    return "".join(char if char.isascii() else json.dumps(char)[1:-1] for char in text)


def labels_of(snapshot: Snapshot) -> tuple[str, ...]:
    """What the tasks of the chain have seen, as policy reads it."""
    chain = [state for state in (snapshot.task, *snapshot.parents) if state is not None]
    return tuple(families(tuple(label for state in chain for label in state.labels)))


def names_in(field: str, text: str) -> tuple[str, ...]:
    """Names apart by commas."""
    names = tuple(name for part in text.split(",") if (name := part.strip()))
    if len(names) > MAX_NAMES or any(len(name) > MAX_NAME for name in names):
        raise WrongFormError(field, f"at most {MAX_NAMES} names of {MAX_NAME} characters, with commas between them")
    return names


def moment_text(ms: int) -> str:
    """A moment as the form writes it, in UTC, to the second."""
    return datetime.fromtimestamp(ms // 1_000, UTC).strftime(_TIME)


def read_moment(text: str) -> int:
    """Milliseconds since the epoch of a moment as a browser writes it.

    Raises:
        WrongFormError: it is none, or out of range.
    """
    try:
        found = datetime.strptime(text, _TIME if text.count(":") > 1 else "%Y-%m-%dT%H:%M").replace(tzinfo=UTC)
    except ValueError:
        raise WrongFormError("time", "the time is written as 2026-11-21T12:00:00, in UTC") from None
    if not 1970 <= found.year <= 9_000:
        raise WrongFormError("time", "the time is out of range")
    return int(found.timestamp() * 1_000)
