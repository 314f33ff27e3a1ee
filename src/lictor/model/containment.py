"""Restrictions laid on something after a signal or by a person. They are joined after policy and can only raise the answer."""

from enum import StrEnum

import msgspec


class Scope(StrEnum):
    """What a restriction is laid on; `everything` has the empty target."""

    EVERYTHING = "everything"
    AGENT = "agent"
    OWNER = "owner"
    TASK = "task"
    SERVER = "server"
    ACTION = "action"


class Restriction(StrEnum):
    """From mild to hard."""

    STEP_UP = "step_up"
    """Whatever policy would allow needs approval."""
    READ_ONLY = "read_only"
    """Only actions of effect class `read`."""
    SUSPENDED = "suspended"
    """Nothing. Of a server or an action: it is removed."""


POSTURE = {Restriction.STEP_UP: 1, Restriction.READ_ONLY: 2, Restriction.SUSPENDED: 3}
"""How tightly something is held: 0 is not at all."""


class Containment(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, omit_defaults=True):
    """One restriction in force. Only a person lifts it, and that is a recorded privilege change."""

    id: str
    scope: Scope
    target: str
    restriction: Restriction
    by: str
    """A person, or the rule or signal it came from."""
    why: str = ""
    laid_at_ms: int = 0
