"""What an issuer publishes, kept for a bounded time and asked for again in time. Refuses to know tokens.

| age of what we have | what happens |
|---|---|
| fresh | used |
| up to twice that | used, and asked for again meanwhile |
| older | asked for again first; used where that fails |
| beyond `stale_ms` | used no more: nobody is proved by it |

One request at a time; after a failure the next follows `retry_ms` later, for a key we have never heard of `unknown_ms` after the
last. A document that is refused (an ambiguous `kid`, a published secret) changes nothing: the last good one stays until it is
stale, and the operator is told. A clock that has gone back counts as old.
"""

import asyncio
import contextlib
from collections.abc import Awaitable, Callable
from typing import Final

import msgspec

from lictor.model.errors import CallerError, LictorError
from lictor.model.reasons import Reason
from lictor.protocol.jose.algs import Alg
from lictor.protocol.jose.keys import Key, KeySet

Report = Callable[[str], None]
"""Tells the operator one line."""


class Pace(msgspec.Struct, frozen=True, kw_only=True):
    """How long something published is used, in milliseconds."""

    fresh_ms: int
    stale_ms: int
    retry_ms: int
    unknown_ms: int


REMOTE: Final = Pace(fresh_ms=300_000, stale_ms=3_600_000, retry_ms=5_000, unknown_ms=30_000)
"""An issuer that is down for an hour stops nobody; one that has withdrawn a key is believed within five minutes."""
LOCAL: Final = Pace(fresh_ms=1_000, stale_ms=3_600_000, retry_ms=1_000, unknown_ms=1_000)
"""A file costs one look a second."""


class Published(msgspec.Struct, frozen=True, eq=False):
    """One document, read."""

    version: str
    """Changes with the keys; part of what a kept verification depends on."""
    keys: KeySet | None = None
    """For tokens; None: none are published."""
    roots: tuple[bytes, ...] = ()
    """Certificates of authorities, DER (SPIFFE `x509-svid`)."""


Load = Callable[[], Awaitable[Published]]
"""Asks once. Raises LictorError."""


class Source:
    """See the module. Lives on one event loop."""

    def __init__(self, name: str, load: Load, pace: Pace, report: Report) -> None:
        self._name = name
        self._load = load
        self._pace = pace
        self._report = report
        self._published: Published | None = None
        self._loaded_ms = self._asked_ms = 0
        self._asking: asyncio.Task[None] | None = None
        self.problem = ""
        """Why the last attempt failed; empty: it did not."""

    async def current(self, now_ms: int) -> Published:
        """What is published, as far as it may still be used.

        Raises:
            CallerError: `unauthenticated`: nothing usable is known, and asking did not help.
        """
        age = now_ms - self._loaded_ms
        if self._published is None or not 0 <= age < 2 * self._pace.fresh_ms:
            await self._ask_again(now_ms, self._pace.retry_ms)
        elif age >= self._pace.fresh_ms:
            self._start_asking(now_ms, self._pace.retry_ms)
        return self._usable(now_ms)

    async def key(self, kid: str | None, alg: Alg, now_ms: int) -> tuple[Published, Key]:
        """The document and the key of it that a token names; asks again, rarely, for one that is not in it.

        Raises:
            CallerError: `unauthenticated`: no such key, or as `current`.
        """
        published = await self.current(now_ms)
        found = published.keys.find(kid, alg) if published.keys else None
        if found is None and await self._ask_again(now_ms, self._pace.unknown_ms):
            published = self._usable(now_ms)
            found = published.keys.find(kid, alg) if published.keys else None
        if found is None:
            raise CallerError(Reason.UNAUTHENTICATED, "the token names no key of its issuer that fits")
        return published, found

    async def close(self) -> None:
        """End what is under way."""
        if self._asking is not None:
            self._asking.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._asking

    def _usable(self, now_ms: int) -> Published:
        published = self._published
        if published is None or not 0 <= now_ms - self._loaded_ms < self._pace.stale_ms:
            raise CallerError(Reason.UNAUTHENTICATED, f"the keys of issuer {self._name!r} are not known")
        return published

    async def _ask_again(self, now_ms: int, every_ms: int) -> bool:
        """Ask, or wait for whoever asks already; False when it is too early to."""
        asking = self._start_asking(now_ms, every_ms)
        if asking is None:
            return False
        # Whoever gives up waiting must not end it for the others.
        await asyncio.shield(asking)
        return True

    def _start_asking(self, now_ms: int, every_ms: int) -> asyncio.Task[None] | None:
        if self._asking is not None and not self._asking.done():
            return self._asking
        if self._asked_ms and 0 <= now_ms - self._asked_ms < every_ms:
            return None
        self._asked_ms = now_ms
        self._asking = asyncio.get_running_loop().create_task(self._ask(now_ms))
        return self._asking

    async def _ask(self, now_ms: int) -> None:
        try:
            published = await self._load()
        except LictorError as error:
            self._failed(error.message)
        except Exception as error:  # noqa: BLE001 - nobody waits for what runs meanwhile: a defect has to be seen all the same
            self._failed(f"a defect of ours: {type(error).__name__}")
        else:
            self._published, self._loaded_ms, self.problem = published, now_ms, ""

    def _failed(self, why: str) -> None:
        if why != self.problem:
            meanwhile = (
                "nobody is proved by it" if self._published is None else "what it published last is used for a while"
            )
            self._report(f"issuer {self._name!r}: {why}; {meanwhile}")
        self.problem = why
