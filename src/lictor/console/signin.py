"""Who is signed in at the console: server-side sessions of authenticated approvers. Lost on restart, by intent.

A sign-in lasts no longer than what it came from: the person in the bundle, and the enrolled secret or the passkey it was begun
with. Refuses to know how somebody proved who they are, and every page.
"""

import hmac
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from lictor.model.approval import Strength
from lictor.model.ids import HumanId

LIFETIME_MS: Final = 30 * 60 * 1_000
"""A sign-in ends after half an hour, used or not."""
MAX_SIGNED_IN: Final = 1_000
"""Bounded: the oldest sign-in ends first."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SignedIn:
    """One sign-in. `csrf` is what every form of it sends back."""

    human: HumanId
    csrf: str
    expires_at_ms: int
    secret: str = ""
    """SHA-256 of the enrolled secret it was begun with; empty: it was not begun with one."""
    strength: Strength = Strength.SECRET
    """How they proved who they are when they signed in. An answer without a proof of its own is at most `LOGIN`."""
    passkey: str = ""
    """Id of the passkey it was begun with; empty: it was not begun with one."""


class SignIns:
    """All sign-ins of one process."""

    def __init__(self, new_token: Callable[[], str]) -> None:
        self._new_token = new_token
        self._by_token: dict[str, SignedIn] = {}

    def begin(
        self,
        human: HumanId,
        now_ms: int,
        *,
        secret: str = "",
        strength: Strength = Strength.SECRET,
        passkey: str = "",
    ) -> str:
        """A fresh token for a person who just proved who they are (no session fixation: never one the client chose)."""
        while len(self._by_token) >= MAX_SIGNED_IN:
            del self._by_token[next(iter(self._by_token))]
        token = self._new_token()
        self._by_token[token] = SignedIn(
            human=human,
            csrf=self._new_token(),
            expires_at_ms=now_ms + LIFETIME_MS,
            secret=secret,
            strength=strength,
            passkey=passkey,
        )
        return token

    def find(self, token: str, now_ms: int) -> SignedIn | None:
        """The sign-in behind a cookie, if it still lasts."""
        found = self._by_token.get(token)
        if found is None or now_ms >= found.expires_at_ms:
            self._by_token.pop(token, None)
            return None
        return found

    def end(self, token: str) -> None:
        """Sign out."""
        self._by_token.pop(token, None)


def same(given: str, expected: str) -> bool:
    """Compare two secrets in constant time; an empty expectation matches nothing."""
    return bool(expected) and hmac.compare_digest(given.encode("utf-8", "surrogatepass"), expected.encode())
