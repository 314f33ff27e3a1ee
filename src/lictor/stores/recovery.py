"""What a process that died has left in its journal is put into the tables of the log. Refuses to know who needs them.

The numbers are the steps.

1. Nobody else writes: the caller has the right, and this is one transaction.
2. The write-ahead log is written over itself. What was committed without a sync, or with one that failed, is dirty again, so that
   the next sync makes it durable: after a failed one the system takes pages for clean that never reached the disk.
3. Frames behind the head are taken in, in order, without a gap: each was made with the log's key, rows follow from entries,
   and so does the root it was kept with (`Group.replay`).
4. One durable commit. A crash before it changes nothing; after it the frames are no longer behind the head.
"""

import ctypes
import os
import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from lictor.stores import journal
from lictor.stores.contents import Unwritten
from lictor.stores.group import Cache, Group
from lictor.stores.right import NEEDED, Right
from lictor.stores.sqlite_schema import BUSY_S, Log, connect

TOUCH: Final = (
    "INSERT INTO meta VALUES('journals', '1') ON CONFLICT(key)"
    " DO UPDATE SET value = CAST(CAST(value AS INTEGER) + 1 AS TEXT)"
)
"""Changes a page, so a commit has something to sync, and all before it with it: SQLite skips what leaves a page as it was."""

_STEP: Final = 1024 * 1024


def recover(log: Log) -> None:
    """Do it; for who has the right. Idempotent.

    Raises:
        StoreError: `log_damaged`: the journal does not fit the log.
        OSError, sqlite3.Error: the disk fails; nothing has changed.
    """
    connection = connect(log.path)
    try:
        cursor = connection.cursor()
        cursor.execute("BEGIN IMMEDIATE")  # 1
        rewrite(log.path)  # 2
        cache = Cache()
        cache.refresh(cursor, Unwritten())
        group = Group(cursor, cache, log)
        for frame in journal.frames(log.path, cache.tree.size, log.journal_key()):  # 3
            group.replay(frame)
        if group.empty:
            cursor.execute(TOUCH)
        else:
            group.write()
        cursor.execute("COMMIT")  # 4
    finally:
        connection.close()


@contextmanager
def held_still(log: Path) -> Iterator[None]:
    """Nothing moves the pages of a log meanwhile, if a process has left a journal beside it: `recover` writes them anew first.

    Raises:
        sqlite3.Error: it cannot be read.
        OSError: what is beside it cannot.
    """
    if not NEEDED or not journal.left_over(log):
        yield
        return
    connection = connect(log, read_only=True)
    try:
        connection.execute("SELECT 1 FROM sqlite_schema").fetchall()  # from now on nobody else is the last
        yield
    except BaseException:
        never_close(connection)
        raise
    connection.close()


def never_close(connection: sqlite3.Connection) -> None:
    """Have a connection last as long as the process, whoever lets go of it.

    With the last one to a log SQLite moves pages into the file, also those of which nobody knows whether they are on the disk,
    and a power cut in the middle of that damages the log. Whoever opens it next writes them anew first.
    """
    ctypes.pythonapi.Py_IncRef(ctypes.py_object(connection))


def recover_if_left(log: Log) -> None:
    """The same for who opens a log. A living process that has a journal ends it first.

    Raises:
        StoreError: `log_damaged`: the journal does not fit the log; `cannot_record`: another process keeps the log to itself.
        OSError, sqlite3.Error: the disk fails.
    """
    if not NEEDED or not journal.left_over(log.path):
        return
    right = Right(log.path)
    try:
        right.insist(BUSY_S)
        if journal.left_over(log.path):
            with held_still(log.path):
                recover(log)
            right.mark(journal=False)
    finally:
        right.close()


def rewrite(log: Path) -> None:
    """Write the write-ahead log over itself and sync it. Only while nobody else can write.

    Raises:
        OSError: it may not be durable.
    """
    try:
        file = os.open(log.with_name(f"{log.name}-wal"), os.O_RDWR | os.O_CLOEXEC)
    except FileNotFoundError:
        return
    try:
        at = 0
        while data := os.pread(file, _STEP, at):
            journal.write(file, data, at)
            at += len(data)
        journal.sync(file)
    finally:
        os.close(file)
