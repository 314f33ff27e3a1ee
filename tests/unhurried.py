"""A store for controls of races: what was looked at is old when it is committed, whoever else looks."""

import asyncio
from typing import Any

from lictor.ports import Batch, Receipt


class Unhurried:
    """Commits take a moment to begin. A commit on the spot lets nobody come between, and a race is lost by luck alone."""

    def __init__(self, inner: Any) -> None:
        self._inner = inner

    def __getattr__(self, name: str) -> Any:
        return getattr(self._inner, name)

    async def commit(self, batch: Batch) -> Receipt:
        """After the others had time to look, too."""
        await asyncio.sleep(0.02)
        receipt: Receipt = await self._inner.commit(batch)
        return receipt
