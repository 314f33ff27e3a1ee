"""Behavioural signals: observations from outside the decision, in thousandths. They may tighten; they never authorise.

A score is never read as "low risk": the highest one of a kind counts for the whole tree of tasks, and one that cannot be read
counts as none at all (BEHV-01 to BEHV-05).
"""

import msgspec

from lictor.model.catalog import EffectClass
from lictor.model.containment import Restriction
from lictor.model.ids import RequestId, TaskId

FULL = 1_000
"""The highest score."""


class Signal(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, omit_defaults=True):
    """One observation about a task."""

    id: str
    kind: str
    task: TaskId
    score: int
    """0 to `FULL`."""
    source: str
    request: RequestId | None = None
    """What it was observed on, where it is about one request."""


class SignalRule(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, omit_defaults=True):
    """What a bundle makes of a kind of signal (`signals.toml`)."""

    kind: str
    at_least: int
    """From this score on the restriction holds."""
    restriction: Restriction
    effects: tuple[EffectClass, ...] = (EffectClass.READ, EffectClass.WRITE, EffectClass.DESTRUCTIVE)
    """Actions it is about."""
    needed: bool = False
    """Whether an action it is about needs a signal of this kind at all: none, or an unreadable one, restricts too."""
