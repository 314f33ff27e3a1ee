"""Reads a SQLite log from beside it, for whoever counts: over a connection and a thread of its own, so that nothing waits.

It holds no snapshot between two reads. A read that hangs hangs here and nowhere else. It refuses to know what is counted.
"""

import asyncio
import sqlite3
import threading
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from queue import SimpleQueue
from typing import Any, Final

from lictor.lifecycle.containments import in_force
from lictor.lifecycle.rows import Key, Row, decode_row
from lictor.model.errors import StoreError
from lictor.model.lease import Lease, LeaseStatus
from lictor.model.reasons import Reason
from lictor.ports import Counts
from lictor.stores.beside import drop, hand_over
from lictor.stores.group import SELECT_ROW
from lictor.stores.reading import BAD_ROW, UNREADABLE
from lictor.stores.sqlite_schema import connect

BUSY_MS: Final = 200
"""How long one statement waits for whoever keeps readers out."""

MAX_WAITING: Final = 4
"""Reads that may wait for one that hangs; more are refused."""

_SINCE: Final = "SELECT data FROM entries WHERE seq >= ? ORDER BY seq LIMIT ?"
_SIZE: Final = "SELECT ifnull(max(seq), -1) + 1 FROM entries"
# Left to itself SQLite goes through every row of a kind, however few are open: its statistics are never made.
_TASKS: Final = """SELECT count(*) FROM rows INDEXED BY rows_tasks WHERE kind = 'task' AND at_ms > ? AND status = 'open'
  AND json_extract(body, '$.task.expires_at_ms') > ?"""
_HOLDS: Final = """SELECT count(*) FROM rows INDEXED BY rows_holds_pending WHERE kind = 'hold' AND status = 'pending'
  AND json_extract(body, '$.expires_at_ms') > ?"""
_STARTED: Final = """SELECT count(*) FROM rows INDEXED BY rows_executions_open
  WHERE kind = 'execution' AND status = 'started'"""
_UNKNOWN: Final = """SELECT count(*) FROM rows INDEXED BY rows_executions_unknown
  WHERE kind = 'execution' AND status = 'indeterminate'"""
_LEASES: Final = """SELECT rows.kind, rows.id, rows.status, rows.owner, rows.at_ms, rows.body
  FROM rows AS scopes CROSS JOIN json_each(scopes.body, '$.ids') AS one CROSS JOIN rows
  WHERE scopes.kind = 'leases' AND rows.kind = 'lease' AND rows.id = one.value"""

Work = Callable[[sqlite3.Connection], Any]


class SqliteFollower:
    """`lictor.ports.Follower` of one log. A disk that hangs keeps no process: the thread is a daemon."""

    def __init__(self, path: Path) -> None:
        """Of the log at this path."""
        self._path = path
        self._queue: SimpleQueue[tuple[Work, asyncio.AbstractEventLoop, asyncio.Future[Any]] | None] = SimpleQueue()
        self._thread: threading.Thread | None = None
        self._waiting = 0

    async def since(self, seq: int, limit: int) -> Sequence[bytes]:
        """See `Follower.since`."""
        found: list[bytes] = await self._do(lambda connection: _since(connection, seq, limit))
        return found

    async def counts(self, now_ms: int, longest_task_ms: int) -> Counts:
        """See `Follower.counts`."""
        found: Counts = await self._do(lambda connection: _counts(connection, now_ms, longest_task_ms))
        return found

    def close(self) -> None:
        """See `Follower.close`."""
        self._queue.put(None)

    # -- inside ------------------------------------------------------------------------------------------------------------

    async def _do(self, work: Work) -> Any:
        if self._thread is None:
            self._thread = threading.Thread(target=self._run, name="lictor-follow", daemon=True)
            self._thread.start()
        if self._waiting >= MAX_WAITING:
            raise StoreError(Reason.CANNOT_RECORD, "the log does not answer")
        loop = asyncio.get_running_loop()
        future: asyncio.Future[Any] = loop.create_future()
        self._waiting += 1
        self._queue.put((work, loop, future))
        return await future

    def _over(self) -> None:
        """On the loop: one that waited does not any more."""
        self._waiting -= 1

    def _run(self) -> None:
        connection: sqlite3.Connection | None = None
        while (job := self._queue.get()) is not None:
            work, loop, future = job
            found: Any = None
            failed: StoreError | None = None
            try:
                if connection is None:
                    connection = connect(self._path, read_only=True)
                    connection.execute(f"PRAGMA busy_timeout={BUSY_MS}")
                found = work(connection)
            except (OSError, *UNREADABLE, *BAD_ROW) as error:
                failed = StoreError(Reason.CANNOT_RECORD, f"the log cannot be read: {str(error)!r:.160}")
                drop(connection)
                connection = None
            hand_over(loop, future, partial(_settle, found, failed), always=self._over)
        drop(connection)


def _since(connection: sqlite3.Connection, seq: int, limit: int) -> list[bytes]:
    return [row[0] for row in connection.execute(_SINCE, (seq, limit)).fetchall()]


def _counts(connection: sqlite3.Connection, now_ms: int, longest_task_ms: int) -> Counts:
    """One transaction: what is said together was true together."""

    def one(sql: str, *parameters: int) -> int:
        return int(connection.execute(sql, parameters).fetchone()[0])

    def read(key: Key) -> Row | None:
        stored = connection.execute(SELECT_ROW, key).fetchone()
        return None if stored is None else decode_row(*key, *stored)

    connection.execute("BEGIN")
    try:
        laid: dict[str, int] = {}
        for containment in in_force(read):
            laid[containment.restriction.value] = laid.get(containment.restriction.value, 0) + 1
        bodies = [decode_row(*columns).body for columns in connection.execute(_LEASES).fetchall()]
        leases = [body for body in bodies if isinstance(body, Lease)]
        return Counts(
            entries=one(_SIZE),
            tasks_open=one(_TASKS, now_ms - longest_task_ms, now_ms),
            holds_open=one(_HOLDS, now_ms),
            executions_open=one(_STARTED),
            executions_indeterminate=one(_UNKNOWN),
            leases_live=len(leases),
            leases_kept=sum(lease.status is LeaseStatus.REVOKING and lease.attempts > 0 for lease in leases),
            containments=laid,
        )
    finally:
        connection.execute("ROLLBACK")


def _settle(found: Any, failed: StoreError | None, future: "asyncio.Future[Any]") -> None:
    if failed is None:
        future.set_result(found)
    else:
        future.set_exception(failed)
