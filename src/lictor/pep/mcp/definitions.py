"""What each connection says that its server offers, and since when: nothing on it is decided by yesterday's words (TOOL-01).

Refuses to know callers and policy.
"""

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final
from weakref import WeakKeyDictionary

from lictor.model.action import ActionKind
from lictor.model.ids import ServerName
from lictor.model.limits import Limits
from lictor.pep.mcp.lists import LISTS, fetch_all
from lictor.pep.mcp.seam import Upstream
from lictor.ports import Clock
from lictor.protocol.headers import header_params
from lictor.service.calls.offers import Offers

DEFINITIONS_TTL_MS: Final = 60_000
"""How long a server's list is believed before it is fetched again; a change notice ends it at once."""
_PINNED: Final = ("tools/list", "prompts/list")

HeaderParams = dict[str, tuple[str, ...]]


@dataclass(slots=True, kw_only=True)
class Definitions:
    """See the module."""

    offers: Offers
    clock: Clock
    limits: Limits
    _changes: Counter[ServerName] = field(default_factory=Counter)
    _learned: WeakKeyDictionary[Upstream, tuple[int, int]] = field(default_factory=WeakKeyDictionary)
    """When the list of each connection was read: (change notices of its server before it, milliseconds)."""
    _mirrored: dict[tuple[ServerName, str], tuple[Mapping[str, Any], HeaderParams | None]] = field(default_factory=dict)
    """What `header_params` made of a pinned definition, and of which."""

    def changed(self, server: ServerName) -> None:
        """A server says that a list of its own is another one now."""
        self._changes[server] += 1

    def forget(self, upstream: Upstream) -> None:
        """What a connection said counts no longer."""
        self._learned.pop(upstream, None)

    async def learn_all(self, server: ServerName, upstream: Upstream) -> None:
        """Know a connection's present definitions before a thing on it is decided.

        Each connection speaks for itself: a restarted process, or one that answers another task, may be another program.

        Raises:
            UpstreamError: the server does not say what it offers.
            StoreError: what changed cannot be recorded.
        """
        now, changes = self.clock.now_ms(), self._changes[server]
        seen = self._learned.get(upstream)
        if seen is not None and seen[0] == changes and 0 <= now - seen[1] < DEFINITIONS_TTL_MS:
            return
        for method in _PINNED:
            await self.learn(server, method, await self.fetch(upstream, method), upstream)
        # The count from before the reading: a change that was announced meanwhile makes the next call read again.
        self._learned[upstream] = changes, now

    async def fetch(self, upstream: Upstream, method: str) -> list[dict[str, Any]]:
        """Every item of a server's list (`lists.fetch_all`)."""
        return await fetch_all(upstream, method, self.limits)

    async def learn(self, server: ServerName, method: str, items: list[dict[str, Any]], upstream: Upstream) -> None:
        """Hold a list against what is pinned; of resources nothing is."""
        if method in _PINNED:
            await self.offers.learn(LISTS[method][1], server, items, upstream)

    async def pinned(self, server: ServerName, method: str) -> list[dict[str, Any]]:
        """The list of a server that is connected for calls alone: what people looked at, until a call has shown otherwise."""
        kind = LISTS[method][1]
        items = self.offers.pins(kind, server)
        if not self.offers.known(kind, server):
            await self.offers.learn(kind, server, items)
        return items

    def header_params(self, server: ServerName, tool: str) -> HeaderParams | None:
        """By the pinned definition: what is called, if anything is (case MCPH-05 on the very first call)."""
        pinned = self.offers.pinned(ActionKind.TOOL, server, tool)
        known = self._mirrored.get((server, tool))
        if known is not None and known[0] is pinned:
            return known[1]
        found = header_params(pinned.get("inputSchema", {})) or None
        if pinned:
            self._mirrored[server, tool] = pinned, found
        return found
