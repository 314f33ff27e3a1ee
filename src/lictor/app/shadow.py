"""A bundle in shadow beside a gateway: its process, who of several gateways follows the log, and the counts beside it.

Refuses to know what a difference is.
"""

import asyncio
import contextlib
import os
import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

import msgspec

from lictor.app.house import House
from lictor.app.upkeep import confirmed_again
from lictor.model.errors import OperatorError
from lictor.model.reasons import Reason
from lictor.service.calls.guard import Guard
from lictor.service.evidence.shadow import COUNTS_FILE, EVERY_S, LONGEST_PAUSE_S, Counts, InShadow, Range, Shadow
from lictor.stores.instances import try_lock
from lictor.stores.private import FILE_MODE, replace_private

LOCK_FILE: Final = "shadow.lock"
PATIENCE_S: Final = 60.0
"""For one answer. A bundle of 10,000 policies is loaded in a fraction of it."""
KEEP_EVERY_MS: Final = 5_000
_MOST_BYTES: Final = 16 * 1024 * 1024
"""Of one answer: a part of the log with a difference at every entry stays far below."""
_COMMAND: Final = (sys.executable, "-I", "-m", "lictor.stores.shadowing")


class Child:
    """`service.evidence.shadow.Judge` in a process of its own, started when it is asked, and again when it has died."""

    def __init__(
        self, log: Path, bundle: Path, *, patience_s: float = PATIENCE_S, command: tuple[str, ...] = _COMMAND
    ) -> None:
        self._command = (*command, str(log), str(bundle))
        self._patience_s = patience_s
        self._process: asyncio.subprocess.Process | None = None
        self.size = 0

    async def judge(self, start: int) -> Range:
        """See `Judge.judge`.

        Raises:
            OperatorError: `internal_error`: it died, took too long or made no sense; the next call starts another.
        """
        try:
            async with asyncio.timeout(self._patience_s):
                return await self._ask(start)
        except TimeoutError:
            await self.close()
            raise _failed(f"the process of the bundle in shadow took longer than {self._patience_s:g} s") from None
        except (OSError, ValueError, msgspec.MsgspecError) as error:
            code = await self._ended()
            died = f"died ({code})" if code is not None else f"answered {type(error).__name__}"
            raise _failed(f"the process of the bundle in shadow {died}") from None
        except asyncio.CancelledError:
            await self.close()
            raise

    async def close(self) -> None:
        """End the process. Idempotent."""
        process, self._process = self._process, None
        if process is not None and process.returncode is None:
            with contextlib.suppress(ProcessLookupError):
                process.kill()
            await process.wait()

    async def _ask(self, start: int) -> Range:
        if self._process is None:
            # Its own words would be prose about calls on our standard error.
            self._process = await asyncio.create_subprocess_exec(
                *self._command,
                stdin=asyncio.subprocess.PIPE,
                stdout=asyncio.subprocess.PIPE,
                stderr=asyncio.subprocess.DEVNULL,
                limit=_MOST_BYTES,
            )
        asked, answered = self._process.stdin, self._process.stdout
        if asked is None or answered is None:
            raise OSError("no pipes")
        asked.write(b"%d\n" % start)
        await asked.drain()
        self.size = int(await answered.readline())
        return msgspec.json.decode(await answered.readline(), type=Range)

    async def _ended(self) -> int | None:
        """The exit code of a process that ended by itself."""
        if self._process is not None:
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._process.wait(), 1.0)
        code = self._process.returncode if self._process is not None else None
        await self.close()
        return code


@dataclass(slots=True, kw_only=True)
class Shadowed:
    """Runs the bundle in shadow that the settings name, in one of the gateways that share a log."""

    house: House
    guard: Guard
    every_s: float = EVERY_S
    patience_s: float = PATIENCE_S
    shadow: Shadow | None = field(default=None, init=False)
    """None: another gateway follows the log, or none yet."""
    _kept_ms: int = field(default=0, init=False)
    _kept: bytes = field(default=b"", init=False)

    async def run(self) -> None:
        """Until cancelled; at once, where no bundle runs in shadow."""
        if not self.house.settings.shadow.bundle:
            return
        lock = await self._turn()
        try:
            while True:
                try:
                    await self._follow()
                except Exception as error:  # noqa: BLE001 - nothing that goes wrong beside the calls may reach them
                    self.house.say(f"shadow: {type(error).__name__}: {str(error)[:300]}")
                    await asyncio.sleep(LONGEST_PAUSE_S)
        finally:
            os.close(lock)

    async def _follow(self) -> None:
        if not await confirmed_again(self.guard):  # a store that hangs would hang the event loop
            await asyncio.sleep(self.every_s)
            return
        house = self.house
        self.shadow = Shadow(
            store=house.store,
            clock=house.clock,
            judge=Child(house.state / "log.db", self._folder(), patience_s=self.patience_s),
            start=house.store.size(),
            say=house.say,
            keep=self._keep,
            every_s=self.every_s,
        )
        await self.shadow.run()

    def _folder(self) -> Path:
        return (self.house.folder.path / self.house.settings.shadow.bundle).resolve()

    async def _turn(self) -> int:
        """Wait until no other process follows the log; the lock dies with its process."""
        path, said = self.house.state / LOCK_FILE, ""
        while True:
            try:
                descriptor = os.open(path, os.O_RDWR | os.O_CREAT | getattr(os, "O_CLOEXEC", 0), FILE_MODE)
            except OSError as error:
                text = f"shadow: cannot open {LOCK_FILE}: {error.strerror}"
                if text != said:
                    self.house.say(text)
                said = text
            else:
                if try_lock(descriptor):
                    return descriptor
                os.close(descriptor)
            await asyncio.sleep(self.every_s)

    async def _keep(self, counts: Counts, last: bool) -> None:
        now, text = self.house.clock.now_ms(), msgspec.json.encode(counts)
        if text == self._kept or (0 <= now - self._kept_ms < KEEP_EVERY_MS and not last):
            return
        self._kept_ms, self._kept = now, text
        with contextlib.suppress(OSError):  # they are for a look; the log is what counts
            await asyncio.to_thread(replace_private, self.house.state / COUNTS_FILE, text)


def in_shadow(house: House) -> InShadow | None:
    """What is known of the bundle in shadow, also where another gateway runs it; None: none is to run."""
    bundle = house.settings.shadow.bundle
    return InShadow(bundle, kept_counts(house.state)) if bundle else None


def kept_counts(state: Path) -> Counts | None:
    """What the gateway that follows the log wrote last; None: nothing that can be read."""
    try:
        return msgspec.json.decode((state / COUNTS_FILE).read_bytes(), type=Counts)
    except (OSError, msgspec.MsgspecError):
        return None


def followed(state: Path) -> bool:
    """Whether a gateway follows the log for its bundle in shadow now."""
    try:
        descriptor = os.open(state / LOCK_FILE, os.O_RDWR | getattr(os, "O_CLOEXEC", 0))
    except OSError:
        return False
    try:
        return not try_lock(descriptor)
    finally:
        os.close(descriptor)


def _failed(message: str) -> OperatorError:
    return OperatorError(Reason.INTERNAL, message)
