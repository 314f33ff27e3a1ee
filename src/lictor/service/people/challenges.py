"""Challenges for passkeys: each for one purpose, of one browser, for two minutes, good once.

Nothing is kept until one has been used, so nobody fills memory by asking: a challenge is a keyed digest of what it is for, and is
made again when the answer comes. Refuses to know what is signed, and who signs it.
"""

import hashlib
import hmac
from dataclasses import dataclass
from typing import Final

from lictor.model.canonical import canonical
from lictor.model.errors import CallerError
from lictor.model.reasons import Reason
from lictor.ports import Clock, Ids

LIFE_MS: Final = 2 * 60 * 1_000
"""For a person to find their key and touch it."""
_MAX_STAMP: Final = 80


@dataclass(frozen=True, slots=True, kw_only=True)
class Challenge:
    """One challenge. `stamp` goes with the form and comes back with the answer; it says when, and is no secret."""

    value: bytes
    stamp: str


class Challenges:
    """The challenges of one process; a restart ends them."""

    def __init__(self, clock: Clock, ids: Ids) -> None:
        self._clock = clock
        self._ids = ids
        self._key = hashlib.sha256(f"{ids.new('key')} {ids.new('key')}".encode()).digest()
        self._spent: dict[bytes, int] = {}

    def issue(self, *about: str) -> Challenge:
        """A fresh one for a purpose.

        Args:
            about: what it is for, and whose: all of it comes again with `again`.
        """
        stamp = f"{self._clock.now_ms()}.{self._ids.new('ch')}"
        return Challenge(value=self._value(stamp, about), stamp=stamp)

    def again(self, stamp: str, *about: str) -> bytes:
        """The challenge that was issued with this stamp for this purpose.

        A stamp that was never issued gives a challenge that nobody has ever seen, so no signature fits it.

        Raises:
            CallerError: `passkey_challenge`: no stamp, or too old, or used already.
        """
        issued, _, nonce = stamp.partition(".")
        if not nonce or len(stamp) > _MAX_STAMP or not (issued.isascii() and issued.isdecimal()):
            raise _refused("there is no such challenge")
        if not 0 <= self._clock.now_ms() - int(issued) < LIFE_MS:
            raise _refused("it took too long")
        value = self._value(stamp, about)
        if value in self._spent:
            raise _refused("it was used already")
        return value

    def spend(self, value: bytes) -> None:
        """It has been answered well: never again.

        Raises:
            CallerError: `passkey_challenge`: somebody was first.
        """
        now = self._clock.now_ms()
        for old in [one for one, until in self._spent.items() if until <= now]:
            del self._spent[old]
        if value in self._spent:
            raise _refused("it was used already")
        self._spent[value] = now + LIFE_MS

    def _value(self, stamp: str, about: tuple[str, ...]) -> bytes:
        return hmac.new(self._key, canonical(["lictor passkey challenge v1", stamp, *about]), hashlib.sha256).digest()


def _refused(message: str) -> CallerError:
    return CallerError(Reason.PASSKEY_CHALLENGE, message, remedy="open the page again")
