"""Tells people that a hold waits for them: a link, and never the place of decision (DESIGN section 8).

A notice names the action, who asks and until when, rendered like everything people read (`protocol.display`); no argument, no
word of the model. It is sent after the hold is durable and keeps nobody waiting: what cannot be told is still in the inbox.
"""

import asyncio
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Final, Protocol

from lictor.model.approval import Hold
from lictor.model.errors import LictorError
from lictor.protocol.display import render

MAX_WAITING: Final = 1_000
"""Notices that wait for one channel; past it the newest is not told, and that is said."""
TRIES: Final = 3
FIRST_RETRY_S: Final = 1.0
LONGEST_S: Final = 30.0
"""For one try of one channel, whatever the channel itself promises."""
_MOST: Final = 80
"""Characters of a name that are told; the page has it whole."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Notice:
    """What is told. Every text is rendered already: one line, no control and no hidden character."""

    id: str
    """The hold's: the same notice sent twice has the same id."""
    title: str
    text: str
    url: str
    groups: tuple[str, ...]
    """Whoever is in one of these can answer."""
    at_ms: int
    expires_at_ms: int


class Channel(Protocol):
    """One way to tell people."""

    async def send(self, notice: Notice) -> None:
        """Tell it.

        Raises:
            LictorError: it was not taken; it is tried again.
        """
        ...


def notice_of(hold: Hold, url: str) -> Notice:
    """The notice of a hold."""
    what, who = _short(f"{hold.server}/{hold.name}"), _short(hold.agent)
    until = datetime.fromtimestamp(hold.expires_at_ms / 1_000, UTC).strftime("%Y-%m-%d %H:%M:%S UTC")
    return Notice(
        id=hold.id,
        title=f"{who} waits for your approval",
        text=f"{who}, for {_short(hold.human)}, wants to run {what}. Look at exactly what it would do and answer until {until}.",
        url=url,
        groups=tuple(sorted({group for way in hold.ways for group in way.groups})),
        at_ms=hold.opened_at_ms,
        expires_at_ms=hold.expires_at_ms,
    )


def _short(text: str) -> str:
    shown = render(text)
    return shown if len(shown) <= _MOST else f"{shown[:_MOST]}… ({len(text)} characters)"


class Notifier:
    """Sends notices over channels, each on its own. For one event loop."""

    def __init__(
        self,
        channels: Mapping[str, tuple[Channel, frozenset[str]]],
        *,
        url: Callable[[str], str],
        say: Callable[[str], None],
    ) -> None:
        """Made once for a process.

        Args:
        channels: by name, with the groups they reach; no groups: everybody.
        url: a hold's page.
        say: tells operators what could not be told.
        """
        self._lines = {
            name: (channel, groups, asyncio.Queue[Notice](MAX_WAITING)) for name, (channel, groups) in channels.items()
        }
        self._url = url
        self._say = say

    def held(self, hold: Hold) -> None:
        """A hold was opened. Never waits, never raises."""
        if not self._lines:
            return
        notice = notice_of(hold, self._url(hold.id))
        for name, (_, groups, waiting) in self._lines.items():
            if groups and groups.isdisjoint(notice.groups):
                continue
            try:
                waiting.put_nowait(notice)
            except asyncio.QueueFull:
                self._say(f"channel {name!r} is not told of hold {hold.id}: {MAX_WAITING} wait; it is in the inbox")

    async def run(self) -> None:
        """Send until cancelled. Each channel has a queue of its own: one that is dead keeps nobody else waiting."""
        await asyncio.gather(*(self._serve(name, channel, queue) for name, (channel, _, queue) in self._lines.items()))

    async def _serve(self, name: str, channel: Channel, waiting: asyncio.Queue[Notice]) -> None:
        while True:
            await self._tell(name, channel, await waiting.get())

    async def _tell(self, name: str, channel: Channel, notice: Notice) -> None:
        pause, why = FIRST_RETRY_S, ""
        for attempt in range(TRIES):
            if attempt:
                await asyncio.sleep(pause)
                pause *= 2
            try:
                async with asyncio.timeout(LONGEST_S):
                    await channel.send(notice)
            except (LictorError, TimeoutError) as error:
                why = error.message if isinstance(error, LictorError) else "it took too long"
            except Exception as error:  # noqa: BLE001 - a channel's defect must not end the others
                why = f"defect: {type(error).__name__}"
            else:
                return
        self._say(f"channel {name!r} was not told of hold {notice.id}: {why}; it is in the inbox")
