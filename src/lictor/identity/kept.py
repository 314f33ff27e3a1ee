"""Verified tokens, kept for a while: identity only, never a decision (facts, performance 12.3).

An entry depends on the token's digest, the audience and the version of its issuer's keys, holds no longer than the token does
and than `CAP_MS`, and goes when there is no room. What belongs to a request (possession, certificate) is checked outside each
time; failures and what may be used once are not kept.
"""

from collections import OrderedDict
from typing import Final

import msgspec

from lictor.model.identity import Proven

CAP_MS: Final = 300_000
MAX_KEPT: Final = 4_096
"""A token's claims are at most 12 KB, and usually one."""


class Kept(msgspec.Struct, frozen=True):
    """One verification, and when it holds."""

    proven: Proven
    version: str
    from_ms: int
    until_ms: int


class KeptTokens:
    """Least recently used goes first. For one event loop."""

    def __init__(self, most: int = MAX_KEPT) -> None:
        self._most = most
        self._kept: OrderedDict[tuple[str, str], Kept] = OrderedDict()

    def find(self, digest: str, audience: str) -> Kept | None:
        """What is kept for a token; whether it still holds is for `holds`."""
        kept = self._kept.get((digest, audience))
        if kept is not None:
            self._kept.move_to_end((digest, audience))
        return kept

    def keep(self, digest: str, audience: str, kept: Kept) -> None:
        """Keep one."""
        self._kept[digest, audience] = kept
        self._kept.move_to_end((digest, audience))
        if len(self._kept) > self._most:
            self._kept.popitem(last=False)

    def forget(self, digest: str, audience: str) -> None:
        """Drop one that holds no more."""
        self._kept.pop((digest, audience), None)

    def clear(self) -> None:
        """Drop all."""
        self._kept.clear()


def holds(kept: Kept, version: str, now_ms: int) -> bool:
    """Whether an entry is still worth what a fresh verification would be."""
    return kept.version == version and kept.from_ms <= now_ms < kept.until_ms
