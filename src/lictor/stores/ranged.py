"""A view of the tables of a log by ranges, as plain rows: for verifying it in stretches, on several cores.

Nothing is checked, as in `LogSnapshot`. Refuses to know what is done with the rows.
"""

from collections.abc import Iterator

from lictor.stores.snapshot import LogSnapshot

ALL = 2**63 - 1
"""A bound that holds nothing back."""


class RangedSnapshot(LogSnapshot):
    """What is in the tables. Entries that stand only in a journal in front of them are not: `covered` says how far this goes."""

    def covered(self) -> int:
        """The size of the newest checkpoint whose entries are all in the tables, going by their numbers.

        0 where checkpoints or rolls are stored under sizes that there are none of: ranges would leave them out.
        """
        if self._least("SELECT min(size) FROM checkpoints") or (
            self._rolled() and self._least("SELECT min(last) FROM rolls")
        ):
            return 0
        sql = (
            "SELECT ifnull(max(size), 0) FROM checkpoints WHERE size <= (SELECT ifnull(max(seq), -1) + 1 FROM entries)"
        )
        return int(next(self._stream(sql))[0])

    def _least(self, sql: str) -> bool:
        return (next(self._stream(sql))[0] or 0) < 0

    def _rolled(self) -> bool:
        return bool(next(self._stream("SELECT count(*) FROM sqlite_schema WHERE name = 'rolls'"))[0])

    def pages(self, start: int, stop: int) -> Iterator[list[tuple[int, bytes, bytes]]]:
        """Entries by their numbers, as (number, data, leaf hash); a page at a time."""
        return self._pages("SELECT seq, data, leaf FROM entries WHERE seq >= ? AND seq < ? ORDER BY seq", start, stop)

    def heads(self, low: int, high: int) -> Iterator[tuple[int, str]]:
        """Checkpoints stored under sizes above `low` up to `high`."""
        return self._stream("SELECT size, text FROM checkpoints WHERE size > ? AND size <= ? ORDER BY size", low, high)

    def heads_from(self, low: int) -> Iterator[str]:
        """Checkpoints stored under this size and above it."""
        for (text,) in self._stream("SELECT text FROM checkpoints WHERE size >= ? ORDER BY size", low):
            yield text

    def rolled_behind(self, size: int) -> bool:
        """Whether there is a roll that ends behind this size."""
        return any(last > size for last, _ in self.rolls_from(size, ALL))

    def rolls_from(self, low: int, high: int) -> Iterator[tuple[int, str]]:
        """The roll before `low`, if there is one, and those stored under sizes above it up to `high`."""
        if self._rolled():
            sql = (
                "SELECT last, text FROM rolls WHERE last <= ?2 AND last >= "
                "ifnull((SELECT max(last) FROM rolls WHERE last <= ?1), ?3) ORDER BY last"
            )
            yield from self._stream(sql, low, high, -ALL)
