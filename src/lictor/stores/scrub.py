"""Old pages of a SQLite log: what was deleted from it is in no file any more. Refuses to know what that was.

`secure_delete` writes zeros over what is deleted, in the page that the commit writes. The page of before stands in the
write-ahead log, and in the file until that log is moved into it. So a deletion that has to be for good owes a *scrub* (`meta`, in
the same commit), which any process on the log pays when no reader of an older state is in the way.
"""

import sqlite3
from typing import Final

from lictor.stores.sqlite_schema import is_busy

OWED: Final = "SELECT value FROM meta WHERE key = 'scrub'"
"""One row while a scrub is owed."""
SCRUB_BUSY_MS: Final = 200
"""How long writers wait for readers of an older state, while the write-ahead log is to be cut."""


def scrub(connection: sqlite3.Connection) -> bool:
    """Move and cut the write-ahead log if that is owed; whether it still is: somebody reads an older state.

    Raises:
        sqlite3.Error: it cannot be read or written.
    """
    owed = connection.execute(OWED).fetchone()
    if owed is None:
        return False
    connection.execute(f"PRAGMA busy_timeout={SCRUB_BUSY_MS}")
    # Moved first, which keeps no writer waiting; there is little left to move when they have to wait.
    connection.execute("PRAGMA wal_checkpoint(PASSIVE)").fetchall()
    try:
        busy = connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()[0]
        if busy:
            return True
        # Only what was owed before the cut is paid by it.
        connection.execute("DELETE FROM meta WHERE key = 'scrub' AND value = ?", owed)
    except sqlite3.OperationalError as error:
        if is_busy(error):
            return True
        raise
    return False
