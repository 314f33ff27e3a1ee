"""What the console's pages show, as data: filled by the web layer, drawn by `pages`.

Every `str` here is raw: it is rendered with `protocol.display` when it is drawn, so nothing has to be escaped before.
Refuses to know stores, sessions and HTTP.
"""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class FieldView:
    """One fact the gateway vouches for, e.g. label `Destination`, text `xn--pple-43d.com`, note `mixed script`."""

    label: str
    text: str
    note: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class ArgumentView:
    """One argument as it will be sent: its path (`to`, `items[0].name`) and its value.

    A JSON string goes in as the string itself, anything else as its canonical JSON; `kind` says which (`string`,
    `number`, `boolean`, `null`, `array`, `object`), so that "1" and 1 differ on the page too.
    """

    path: str
    kind: str
    text: str


@dataclass(frozen=True, slots=True, kw_only=True)
class HoldView:
    """One sealed action that waits for people. Times are shown as given (`2026-11-21 05:12:09 UTC`)."""

    id: str
    agent: str
    human: str
    task: str
    purpose: str
    server: str
    kind: str
    tool: str
    effect: str
    """`read`, `write`, `destructive`; anything else is drawn as the most dangerous."""
    reversible: bool
    digest: str
    """The action digest an approval is bound to."""
    groups: tuple[tuple[str, ...], ...]
    """The smallest sufficient sets of approver groups; any one is enough."""
    opened_at: str
    expires_at: str
    arguments: tuple[ArgumentView, ...]
    facts: tuple[FieldView, ...] = ()
    """Destination, value, resource, preview: whatever was resolved, in reading order."""
    labels: tuple[str, ...] = ()
    agent_reason: str | None = None
    """What the model said. Shown last, apart, marked."""
    status: str = "pending"
    may_answer: bool = True
    """False draws the page without a form; `why_not` says why."""
    why_not: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class DecisionView:
    """One line of recent decisions."""

    at: str
    agent: str
    action: str
    answer: str
    """`allow`, `deny`, `needs_approval`."""
    reason: str
    outcome: str = ""
