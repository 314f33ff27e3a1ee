"""Reads what can be revoked straight from a SQLite log, over a connection and a thread of its own.

Nothing is kept between two looks but the connection, and every look asks first whether the file under the log's name is still
the one that was opened: a log that was moved away, or replaced, confirms nothing. A read that hangs hangs here and nowhere
else. It refuses to know what is done with what it says.
"""

import asyncio
import os
import sqlite3
import threading
from collections.abc import Collection
from functools import partial
from pathlib import Path
from queue import SimpleQueue
from typing import Final

import msgspec

from lictor.lifecycle.containments import in_force
from lictor.lifecycle.rows import Key, Row, decode_row
from lictor.model.errors import LictorError, StoreError
from lictor.model.ids import TaskId
from lictor.model.reasons import Reason
from lictor.model.task import TaskState
from lictor.ports import Look, RecordStore
from lictor.stores.beside import drop, hand_over
from lictor.stores.group import SELECT_ROW
from lictor.stores.reading import BAD_ROW, UNREADABLE
from lictor.stores.sqlite_schema import connect

BUSY_MS: Final = 200
"""How long one statement waits for whoever keeps readers out: several looks fit into one lease."""
MAX_ASKED: Final = 500
"""Tasks in one statement: SQLite's bound on parameters is 999 in the oldest builds."""

_NEWEST: Final = "SELECT data FROM entries ORDER BY seq DESC LIMIT 1"
_TASKS: Final = "SELECT kind, id, status, owner, at_ms, body FROM rows WHERE kind = 'task' AND id IN ({})"


class _At(msgspec.Struct):
    at: int


_at = msgspec.json.Decoder(_At)
_Job = tuple[tuple[TaskId, ...], asyncio.AbstractEventLoop, "asyncio.Future[Look]"]


class SqliteProbe:
    """`lictor.ports.Probe` of one log. The thread starts with the first look and is a daemon: a hanging disk keeps no process."""

    def __init__(self, path: Path) -> None:
        """Of the log at this path, as it is now.

        Raises:
            StoreError: `cannot_record`: there is none.
        """
        self._path = path
        self._is = _identity(path)
        self._queue: SimpleQueue[_Job | None] = SimpleQueue()
        self._thread: threading.Thread | None = None

    async def look(self, tasks: Collection[TaskId]) -> Look:
        """See `Probe.look`."""
        if self._thread is None:
            self._thread = threading.Thread(target=self._run, name="lictor-probe", daemon=True)
            self._thread.start()
        loop = asyncio.get_running_loop()
        future: asyncio.Future[Look] = loop.create_future()
        self._queue.put((tuple(tasks), loop, future))
        return await future

    def close(self) -> None:
        """See `Probe.close`."""
        self._queue.put(None)

    # -- the thread --------------------------------------------------------------------------------------------------------

    def _run(self) -> None:
        connection: sqlite3.Connection | None = None
        while (job := self._queue.get()) is not None:
            tasks, loop, future = job
            outcome: Look | LictorError
            try:
                if _identity(self._path) != self._is:
                    raise StoreError(Reason.LOG_DAMAGED, "another file stands where the log was")
                if connection is None:
                    connection = connect(self._path, read_only=True)
                    connection.execute(f"PRAGMA busy_timeout={BUSY_MS}")
                outcome = _look(connection, tasks)
            except LictorError as error:
                outcome = error
            except (OSError, *UNREADABLE, *BAD_ROW) as error:
                outcome = StoreError(Reason.CANNOT_RECORD, f"the log cannot be read: {str(error)!r:.160}")
            if not isinstance(outcome, Look):
                drop(connection)
                connection = None
            hand_over(loop, future, partial(_settle, outcome))
        drop(connection)


class DirectProbe:
    """`lictor.ports.Probe` of a store without a file, or for one loop alone: it asks the store itself."""

    def __init__(self, store: RecordStore) -> None:
        self._store = store

    async def look(self, tasks: Collection[TaskId]) -> Look:
        """See `Probe.look`."""
        size = self._store.size()
        newest = next(iter(self._store.entries(size - 1, size)), None) if size else None
        found = {task: state for task in tasks if (state := self._store.task(task)) is not None}
        return Look(
            containments=tuple(self._store.containments()),
            tasks=found,
            newest_ms=_time_of(newest.data if newest is not None else None),
        )

    def close(self) -> None:
        """Nothing to do."""


def _look(connection: sqlite3.Connection, tasks: tuple[TaskId, ...]) -> Look:
    """One transaction: what is said together was true together."""
    connection.execute("BEGIN")
    try:

        def read(key: Key) -> Row | None:
            stored = connection.execute(SELECT_ROW, key).fetchone()
            return None if stored is None else decode_row(*key, *stored)

        laid = in_force(read)
        newest = connection.execute(_NEWEST).fetchone()
        found: dict[TaskId, TaskState] = {}
        for start in range(0, len(tasks), MAX_ASKED):
            asked = tasks[start : start + MAX_ASKED]
            for columns in connection.execute(_TASKS.format(", ".join("?" * len(asked))), asked).fetchall():
                row = decode_row(*columns)
                if isinstance(row.body, TaskState):
                    found[TaskId(row.id)] = row.body
    finally:
        connection.execute("ROLLBACK")
    return Look(containments=laid, tasks=found, newest_ms=_time_of(newest[0] if newest else None))


def _time_of(entry: bytes | None) -> int:
    """When an entry was written."""
    return 0 if entry is None else _at.decode(entry).at


def _identity(path: Path) -> tuple[int, int]:
    try:
        found = os.stat(path)  # noqa: PTH116 - one call a look
    except OSError as error:
        raise StoreError(Reason.CANNOT_RECORD, f"the log {str(path)!r:.200} is gone: {error.strerror}") from error
    return (found.st_dev, found.st_ino)


def _settle(outcome: Look | LictorError, future: "asyncio.Future[Look]") -> None:
    if isinstance(outcome, Look):
        future.set_result(outcome)
    else:
        future.set_exception(outcome)
