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
MAX_KEPT_CHARS: Final = 2 * 1024 * 1024
"""Characters of all tokens that are kept; read, a token's claims take up to twenty times as many bytes."""


class Kept(msgspec.Struct, frozen=True):
    """One verification, and when it holds."""

    proven: Proven
    version: str
    from_ms: int
    until_ms: int
    size: int = 0
    """Characters of the token."""


class KeptTokens:
    """Least recently used goes first. For one event loop."""

    def __init__(self, most: int = MAX_KEPT, most_chars: int = MAX_KEPT_CHARS) -> None:
        self._most = most
        self._most_chars = most_chars
        self._chars = 0
        self._kept: OrderedDict[tuple[str, str], Kept] = OrderedDict()

    def find(self, digest: str, audience: str) -> Kept | None:
        """What is kept for a token; whether it still holds is for `holds`."""
        kept = self._kept.get((digest, audience))
        if kept is not None:
            self._kept.move_to_end((digest, audience))
        return kept

    def keep(self, digest: str, audience: str, kept: Kept) -> None:
        """Keep one."""
        self.forget(digest, audience)
        self._kept[digest, audience] = kept
        self._chars += kept.size
        while len(self._kept) > self._most or self._chars > self._most_chars:
            self._chars -= self._kept.popitem(last=False)[1].size

    def forget(self, digest: str, audience: str) -> None:
        """Drop one that holds no more."""
        gone = self._kept.pop((digest, audience), None)
        if gone is not None:
            self._chars -= gone.size

    def clear(self) -> None:
        """Drop all."""
        self._kept.clear()
        self._chars = 0


def holds(kept: Kept, version: str, now_ms: int) -> bool:
    """Whether an entry is still worth what a fresh verification would be."""
    return kept.version == version and kept.from_ms <= now_ms < kept.until_ms
