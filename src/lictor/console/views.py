"""What the approvals room's pages show, as data: filled by `held` and `waiting`, drawn by `pages`.

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
class PartView:
    """One part of what the gateway found out about the effect. One of `text`, `lines` and `rows` says something."""

    title: str
    text: str = ""
    lines: tuple[tuple[str, str], ...] = ()
    """Mark (`+`, `-`, blank, `@`) and text of each line of a difference."""
    rows: tuple[tuple[str, ...], ...] = ()
    """A table; the first row is its head."""
    warning: bool = False
    left_out: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class PreviewView:
    """The effect, as far as the gateway could find it out."""

    kind: str
    made_at: str
    parts: tuple[PartView, ...]
    whole: bool
    rests_on: tuple[tuple[str, str], ...] = ()
    """What is looked at again when the approval is used: kind and target."""


@dataclass(frozen=True, slots=True, kw_only=True)
class WayView:
    """One way in which people can approve."""

    groups: tuple[str, ...]
    people: int
    proof: str
    """What everybody's answer has to be proved with at least; empty: any sign-in."""
    given: tuple[str, ...] = ()
    """Whose answers count towards it already."""


@dataclass(frozen=True, slots=True, kw_only=True)
class AheadView:
    """What approving ahead would be for."""

    targets: tuple[str, ...]
    """All destinations an action must have; none: it must have exactly these arguments."""
    currency: str = ""
    """Empty: it moves no value."""
    amount: int = 0
    """Of this one, in minor units."""


@dataclass(frozen=True, slots=True, kw_only=True)
class AskView:
    """How this person's browser asks a passkey to sign the seal."""

    challenge: str
    ids: str
    """Credential ids, blanks between."""
    rp_id: str
    required: bool
    """No way can be met without."""


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
    """The action digest an approval is for."""
    seal: str = ""
    """What an approval is bound to: action, effect as shown, preconditions, decision."""
    groups: tuple[tuple[str, ...], ...]
    """The smallest sufficient sets of approver groups; any one is enough."""
    opened_at: str
    expires_at: str
    arguments: tuple[ArgumentView, ...]
    facts: tuple[FieldView, ...] = ()
    """Destination, value, resource: whatever was resolved, in reading order."""
    preview: PreviewView | None = None
    """None: the catalogue asks for none, and the arguments are all there is to see."""
    ways: tuple[WayView, ...] = ()
    labels: tuple[str, ...] = ()
    agent_reason: str | None = None
    """What the model said. Shown last, apart, marked."""
    status: str = "pending"
    answered: tuple[FieldView, ...] = ()
    """Who answered what, and what became of it."""
    override: bool = False
    """It would override a deny of policy."""
    may_answer: bool = True
    """False draws the page without a form; `why_not` says why."""
    why_not: str = ""
    may_deny: bool = False
    """Any approver may say no, whether or not their yes would count: a no needs no proof."""
    may_withdraw: bool = False
    ahead: AheadView | None = None
    """None: this can be approved one by one only."""
    ask: AskView | None = None
    """None: this person has no passkey here."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RowView:
    """One hold in a list. Nothing in it is from the sealed arguments: no payload is opened for a list."""

    id: str
    server: str
    tool: str
    kind: str
    effect: str
    agent: str
    human: str
    purpose: str
    ways: tuple[WayView, ...]
    short: str
    """The seal in short, as the hold's page shows it."""
    opened_ms: int
    ago_ms: int
    left_ms: int
    status: str = "pending"
    override: bool = False
    answered: str = ""
    """In the list of answers: what this person said."""
    may_withdraw: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class GroupView:
    """Related holds: the same agent asks for the same action for the same person."""

    rows: tuple[RowView, ...]
    together: bool = False
    """Whether this person can look at them and answer them on one page."""
