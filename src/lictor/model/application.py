"""A program that opens tasks for people, as the bundle's `applications.toml` states it. It is no agent: no model runs in it."""

import msgspec

from lictor.model.identity import Proof


class Application(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One application. Past its review date it opens nothing."""

    name: str
    owner: str
    review_by_ms: int
    """Milliseconds since the epoch; from then on it is refused until reviewed."""
    groups: tuple[str, ...] = ()
    proofs: tuple[Proof, ...] = ()
    """Ways to prove itself beside an enrolled secret."""
