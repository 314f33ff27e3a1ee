"""What a task has done and seen, as nouns: measures, origins, and the events that move them. Bounded, typed, no behaviour.

A measure is a named running total over past events; an origin says where an argument's value was first seen. Policy reads
both; neither is ever a claim of the model's. Threats: splitting one action into many (HIST-01..03), chaining a read into a
send (HIST-05..10), values planted by whoever wrote the content an agent reads (OWASP ASI01).
"""

from enum import StrEnum
from typing import Literal

import msgspec


class Per(StrEnum):
    """Whose total a measure is. Several together make one key; `task` means the whole tree of a task and its children."""

    TASK = "task"
    AGENT = "agent"
    HUMAN = "human"
    DESTINATION = "destination"
    TOOL = "tool"


class Matching(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, omit_defaults=True):
    """Which events count. Every member that is named must hold; an empty selector matches every event."""

    actions: tuple[str, ...] = ()
    """Action names, `server/tool`; exact."""
    tags: tuple[str, ...] = ()
    effects: tuple[str, ...] = ()
    servers: tuple[str, ...] = ()


class Measure(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, omit_defaults=True):
    """One named measure of a bundle (`measures.toml`). Amounts are integers; times are milliseconds."""

    name: str
    of: Literal["count", "sum", "distinct"]
    where: Matching
    per: tuple[Per, ...]
    window_ms: int
    """Length of the window; 0 counts for the whole life of the key."""
    fixed: bool = False
    """Windows that start at multiples of `window_ms` since the epoch, instead of one that slides."""
    field: str = ""
    """What is summed or told apart: `value:<ISO 4217>` (minor units), `destination`, `resource` or a JSON pointer."""
    on: Literal["started", "executed"] = "started"
    """`started` reserves before the effect and gives back what failed; `executed` counts only what came back without error."""
    since: Matching | None = None
    """An event of this kind sets the measure back to nothing: "A since B"."""


class Move(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, omit_defaults=True):
    """What one execution does to one measure row, complete in itself: the log alone rebuilds every total.

    `seen` is the version of the row that the decision was made on; the commit refuses another one, so two calls in parallel
    can never both be the one that still fits.
    """

    key: str
    """Row: the measure's name and a digest of whose total it is."""
    seen: int
    bucket_ms: int
    """Width of a bucket; 0: one bucket for ever."""
    kept: int
    """Buckets kept beside the newest."""
    amount: int = 0
    """0, without members and reset: the decision only read it."""
    members: tuple[str, ...] = ()
    """For distinct counts, the digests of the values, each once; instead of an amount."""
    reset: bool = False
    """Back to nothing first; what the same move adds counts again."""
    on_executed: bool = False
    """The amount or the members count when the execution comes back without error, not at its start."""


class Reading(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, omit_defaults=True):
    """One row of a measure as the decision saw it: `before` from the store; what this request adds follows from the bundle."""

    key: str
    version: int
    before: int
    counted: int = 0
    """For distinct counts: how many of this request's values are in the total already."""


class Total(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, omit_defaults=True):
    """A measure's row: constant size, whatever was counted. `lictor.pdp.tally` has its arithmetic."""

    version: int = 0
    """Grows with every change."""
    epoch: int = 0
    """Grows with every reset: what was counted before it is not given back after it."""
    shape: int = 0
    """Grows whenever the width of its buckets changes: what was counted before has no bucket of its own any more."""
    bucket_ms: int = 0
    kept: int = 0
    buckets: tuple[tuple[int, int], ...] = ()
    """(number, amount), oldest first; of distinct counts each value stands in the newest bucket it was seen in."""


class Member(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, omit_defaults=True):
    """One value of a distinct count: how often it was seen, by bucket. Worth nothing in another epoch or shape of its total."""

    epoch: int
    shape: int
    buckets: tuple[tuple[int, int], ...] = ()


class Taken(msgspec.Struct, frozen=True, array_like=True, forbid_unknown_fields=True):
    """Where one move of an execution was counted at its start, so that exactly that is given back."""

    epoch: int
    shape: int
    bucket: int


class Origin(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, omit_defaults=True):
    """Where one watched argument's value was seen before, positive evidence only; no source means nowhere.

    `sources`: `task` (the trusted text), `declared` (values given when the task was opened), `directory`,
    `tool:<server>/<name>` (a result). `labels`: those of the results among them. Of a list, `sources` holds what *all* items
    share and `labels` what *any* item carries.
    """

    sources: tuple[str, ...] = ()
    labels: tuple[str, ...] = ()
