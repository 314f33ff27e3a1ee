"""What a process serves of its log: the newest checkpoint with its cosignatures, and tiles as they are asked for."""

import asyncio

from lictor.api.log import log_routes
from lictor.api.web import Route
from lictor.app.house import House
from lictor.records.checkpoint import open_checkpoint
from lictor.records.tiles import WIDTH, Tile, bundle, width_at
from lictor.service.log.proofs import Gentle, Runs, cosigned_note
from lictor.stores.cosigned import read_cosigned
from lictor.stores.keys import LOG_FILE
from lictor.stores.sqlite import SqliteStore


def log_rows(house: House) -> list[Route]:
    """The rows below `/log`; none unless the settings say so."""
    settings = house.settings.log
    if not settings.serve:
        return []
    served = _Served(house)
    return log_routes(served.checkpoint, served.tile, entries=settings.entries, statements=house.keys.statements())


class _Served:
    def __init__(self, house: House) -> None:
        self._house = house
        self._key = house.keys.log_keys(house.settings.log_name)
        self._runs = Runs()
        self._hashing = asyncio.Lock()

    def checkpoint(self) -> str:
        return cosigned_note(
            self._house.store.newest_checkpoint(), read_cosigned(self._house.state).values(), self._key
        )

    async def tile(self, tile: Tile) -> bytes | None:
        """One at a time: each hashes what none before it has."""
        size = open_checkpoint(self._house.store.newest_checkpoint(), self._key).size
        if tile.width > width_at(size, tile.level, tile.number):
            return None
        async with self._hashing:
            return await asyncio.to_thread(self._read, tile, size)

    def _read(self, tile: Tile, size: int) -> bytes | None:
        with SqliteStore.open_unverified(self._house.state / LOG_FILE) as view:
            if tile.level >= 0:
                return self._runs.tile(Gentle(view), tile, size)
            first = tile.number * WIDTH
            data, is_long = bundle([entry.data for entry in view.entries(first, first + tile.width)])
            return None if is_long else data
