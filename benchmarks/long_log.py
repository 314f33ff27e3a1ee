"""A log of millions of records, laid down straight in its tables: the same bytes as the store's own, in a fifth of the time.

Only for what reads a log (`benchmarks.verify`): its state tables are empty.
"""

import sqlite3
from collections.abc import Sequence

from lictor.records.checkpoint import Checkpoint, sign_checkpoint
from lictor.records.merkle import FrontierBuilder
from lictor.records.roll import EVERY, Roll, digest_of
from lictor.stores.sqlite_schema import Log, connect, prepare

COMMITS = 20_000
"""Laid down in one transaction."""


class LongLog:
    """One being written."""

    def __init__(self, log: Log) -> None:
        prepare(log)
        self._log = log
        self._connection = connect(log.path)
        for pragma in ("synchronous=OFF", "journal_mode=OFF", "cache_size=-200000"):
            self._connection.execute(f"PRAGMA {pragma}")
        for trigger in ("entries_append", "checkpoints_append", "rolls_append"):
            self._connection.execute(f"DROP TRIGGER {trigger}")
        self._tree = FrontierBuilder()
        self._entries: list[tuple[int, bytes, bytes]] = []
        self._heads: list[tuple[int, str]] = []
        self._rolls: list[tuple[int, str]] = []
        self._unrolled: list[tuple[int, str]] = list(self._connection.execute("SELECT size, text FROM checkpoints"))

    def commit(self, datas: Sequence[bytes]) -> None:
        """Entries under one checkpoint."""
        before = self._tree.size
        for data in datas:
            self._entries.append((self._tree.size, data, self._tree.append(data)))
        size = self._tree.size
        text = sign_checkpoint(Checkpoint(self._log.origin, size, self._tree.root()), self._log.signer)
        self._heads.append((size, text))
        if before // EVERY != size // EVERY:
            self._roll()
        self._unrolled.append((size, text))
        if len(self._heads) >= COMMITS:
            self._flush()

    def close(self) -> None:
        """To the file."""
        self._flush()
        self._connection.close()

    def _roll(self) -> None:
        first, last = self._unrolled[0][0], self._unrolled[-1][0]
        digest = digest_of(text for _, text in self._unrolled)
        roll = Roll(self._log.origin, first, last, len(self._unrolled), digest)
        self._rolls.append((last, roll.signed(self._log.signer)))
        self._unrolled.clear()

    def _flush(self) -> None:
        connection: sqlite3.Connection = self._connection
        connection.execute("BEGIN")
        connection.executemany("INSERT INTO entries VALUES(?, ?, ?)", self._entries)
        connection.executemany("INSERT INTO checkpoints VALUES(?, ?)", self._heads)
        connection.executemany("INSERT INTO rolls VALUES(?, ?)", self._rolls)
        connection.execute("COMMIT")
        for kept in (self._entries, self._heads, self._rolls):
            kept.clear()
