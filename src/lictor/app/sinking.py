"""The sinks of a house: a pump each, started with the gateway, and what is known of how far they are.

Refuses to know what is sent. A sink is never on the path of a call; only one with `max_behind` can stop calls, by being behind.
"""

import asyncio
import concurrent.futures
from collections.abc import Callable, Mapping
from pathlib import Path
from time import monotonic
from typing import Final

from lictor.app.house import House
from lictor.channels.post import post_now
from lictor.channels.webhook import key_of, signed
from lictor.model.errors import OperatorError, StoreError
from lictor.model.reasons import Reason
from lictor.ports import Safe
from lictor.service.log.pump import Pump, Tail
from lictor.sinks.settings import SinkSettings
from lictor.stores.keys import LOG_FILE
from lictor.stores.places import FilePlace
from lictor.stores.tail import LogTail, StoreTail

KEY_S: Final = 30.0
"""How long a signing key that was read is used: a rotated one is taken up within this time."""
SAFE_WAIT_S: Final = 10.0
LAST_S: Final = 2.0
"""For the last records, when the gateway ends."""
STEP_S: Final = 0.02


class Sinks:
    """All of them. They are started and ended on the event loop; each has a thread of its own for everything else."""

    def __init__(self, house: House, safe: Callable[[], Safe]) -> None:
        """Nothing is opened before `start`.

        Args:
            house: whose log it is.
            safe: where signing keys are.
        """
        self._house, self._safe = house, safe
        self._loop: asyncio.AbstractEventLoop | None = None
        self._bounds = {name: one.max_behind for name, one in house.settings.sinks.items() if one.max_behind}
        self.pumps = {name: self._pump(name, one) for name, one in house.settings.sinks.items()}

    def start(self) -> None:
        """Begin to send, from the running event loop."""
        self._loop = asyncio.get_running_loop()
        for pump in self.pumps.values():
            pump.start()

    async def close(self, *, answers: bool) -> None:
        """End, once sinks that are well have the last records, or soon; nobody waits for one that is dead or hangs.

        What is not taken then is sent after the next start.

        Args:
            answers: whether the store does; one that hangs would be waited for here.
        """
        for _ in range(int(LAST_S / STEP_S)):
            if not self.pumps or not answers or not self._waited_for():
                break
            await asyncio.sleep(STEP_S)
        self.stop()

    def stop(self) -> None:
        """End soon."""
        for pump in self.pumps.values():
            pump.stop(wait_s=0.0)

    def check(self) -> None:
        """Pass, unless a sink that must keep up does not (FAIL-05).

        Raises:
            StoreError: `sink_behind`.
        """
        if not self._bounds:
            return
        size = self._house.store.size()
        for name, most in self._bounds.items():
            behind = self.pumps[name].lag(size)
            if behind > most:
                raise StoreError(
                    Reason.SINK_BEHIND,
                    f"sink {name!r} is {behind} records behind; {most} may wait for it",
                    remedy="mend the sink, or raise its max_behind",
                )

    @property
    def keep_up(self) -> bool:
        """Whether `check` would pass."""
        try:
            self.check()
        except StoreError:
            return False
        return True

    def lags(self) -> Mapping[str, int]:
        """Records that wait for each sink, by its name.

        Raises:
            StoreError: the log cannot be read.
        """
        if not self.pumps:
            return {}
        size = self._house.store.size()
        return {name: pump.lag(size) for name, pump in self.pumps.items()}

    def failing(self) -> Mapping[str, str]:
        """What is wrong with sinks that take nothing now, by name."""
        return {name: pump.failing for name, pump in self.pumps.items() if pump.failing}

    def _waited_for(self) -> bool:
        """Whether a sink that is well has not everything yet."""
        try:
            size = self._house.store.size()
        except StoreError:
            return False
        behind = [pump for pump in self.pumps.values() if not pump.failing and pump.lag(size)]
        for pump in behind:
            pump.nudge()
        return bool(behind)

    # -- inside --------------------------------------------------------------------------------------------------------------

    def _pump(self, name: str, settings: SinkSettings) -> Pump:
        from lictor.sinks.build import sink_of  # noqa: PLC0415 - only where there are sinks
        from lictor.sinks.encode import encoder  # noqa: PLC0415

        house = self._house
        return Pump(
            name,
            origin=house.settings.log_name,
            tail=self._tail,
            sink=sink_of(name, settings, _place(house, name, settings), post=post_now, sign=self._signer(settings)),
            keeper=FilePlace(house.state, name),
            encode=encoder(settings.format),
            say=house.say,
            kinds=settings.kinds,
            from_now=settings.begin == "now",
        )

    def _tail(self) -> Tail:
        path = self._house.state / LOG_FILE
        return LogTail(path) if path.exists() else StoreTail(self._house.store)

    def _signer(self, settings: SinkSettings) -> Callable[[str, bytes], Mapping[str, str]]:
        kept: list[tuple[float, bytes]] = []

        def sign(delivery: str, body: bytes) -> Mapping[str, str]:
            if not kept or monotonic() - kept[0][0] > KEY_S:
                kept[:] = [(monotonic(), key_of(self._secret(settings.secret)))]
            return signed(kept[0][1], delivery, self._house.clock.now_ms() // 1_000, body)

        return sign

    def _secret(self, name: str) -> str:
        """Read on the event loop, for a sink's thread.

        Raises:
            OperatorError: the safe has none.
            StoreError: the safe does not answer, or does not open.
        """
        if self._loop is None:
            raise StoreError(Reason.CANNOT_RECORD, "nobody serves the safe")
        reading = asyncio.run_coroutine_threadsafe(_read(self._safe(), name), self._loop)
        try:
            return reading.result(SAFE_WAIT_S)
        except (TimeoutError, concurrent.futures.CancelledError):
            raise StoreError(Reason.CANNOT_RECORD, "the safe does not answer") from None


def _place(house: House, name: str, settings: SinkSettings) -> Path:
    """A file sink's file: below the state folder, or where an absolute path says.

    Raises:
        OperatorError: `config_refused`: it would stand among the files of the bundle, which then does not load any more, or
            among the state's own.
    """
    path = (house.state / settings.path).resolve()
    bundle, state = house.folder.path.resolve(), house.state.resolve()
    if path.is_relative_to(bundle) and not path.is_relative_to(state):
        raise OperatorError(
            Reason.CONFIG_REFUSED,
            f"sink {name!r} would write into the bundle folder",
            remedy="a relative `path` is below the state folder; or name a place elsewhere",
        )
    if path.parent == state:
        raise OperatorError(
            Reason.CONFIG_REFUSED,
            f"sink {name!r} would write among the state's own files",
            remedy="name a folder of its own, such as exports/log.jsonl",
        )
    return path


def kept_lag(house: House, name: str) -> int:
    """Records that wait for a sink, by what is kept of how far it is; for a process that sends nothing.

    Raises:
        LictorError: the log or the kept place cannot be read.
    """
    size, place = house.store.size(), FilePlace(house.state, name).load()
    if place is None:
        return 0 if house.settings.sinks[name].begin == "now" else size
    return max(0, size - place.next)


async def _read(safe: Safe, name: str) -> str:
    found = await safe.read(name)
    if found is None:
        raise OperatorError(
            Reason.CONFIG_REFUSED, f"the safe has no {name[:80]!r}", remedy=f"lictor secret set {name[:80]}"
        )
    return found.reveal()
