"""A registered non-human identity, as the bundle's `agents.toml` states it."""

import msgspec

from lictor.model.ids import AgentId


class Agent(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One agent. Without owner or past its review date it has no authority (OWASP NHI1, ASI03)."""

    id: AgentId
    owner: str
    team: str = ""
    autonomy: int = 0
    """0 (every step asked for) to 5 (unattended)."""
    environment: str = "development"
    groups: tuple[str, ...] = ()
    review_by_ms: int
    """Milliseconds since the epoch; from then on the agent is refused until reviewed."""
    active: bool = True
    delegates_to: tuple[AgentId, ...] = ()
    """Agents that may receive a part of its authority for a part of its task; nobody else."""
