"""What may be used once, and was: proofs and assertions, until they expire. Refuses to know what they prove.

**Where.** A table in the state folder, which every gateway process of this host shares: with a table in memory, one proof would
be good once in each process. Gateways on several hosts do not share it: give each its own public URL, which `htu` and `aud`
then tell apart.

**It refuses rather than forgets.** It is bounded; full means no. What has expired is swept, and the moment up to which was
swept is written down with it: nothing that expires before that moment is accepted again, whatever the clock says afterwards.

**What a crash means.** A row is written before the proof counts and survives the death of the process. It may not survive a power
cut: whoever holds an unexpired proof could then use it once more, within its minute or two.
"""

import contextlib
import hashlib
import os
import sqlite3
import threading
from pathlib import Path
from typing import Final, Protocol

from lictor.model.errors import CallerError, StoreError
from lictor.model.reasons import Reason

MAX_ROWS: Final = 200_000
"""Some 1,600 proofs a second for their two minutes; about 16 MB."""
_SWEEP_MS: Final = 2_000
_BUSY_MS: Final = 500
_SCHEMA: Final = """
CREATE TABLE IF NOT EXISTS seen (key BLOB PRIMARY KEY, until_ms INTEGER NOT NULL) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS swept (one INTEGER PRIMARY KEY CHECK (one = 1), until_ms INTEGER NOT NULL) WITHOUT ROWID;
INSERT OR IGNORE INTO swept VALUES (1, 0);
"""


class Replays(Protocol):
    """Remembers what was used."""

    def spend(self, scope: str, jti: str, *, until_ms: int, now_ms: int) -> None:
        """Use something once, atomically, for all processes that share the memory.

        Args:
            scope: whose `jti` it is: an issuer's name, a key's thumbprint.
            jti: unique within the scope.
            until_ms: from then on it is refused for its age, so it need not be remembered.
            now_ms: milliseconds since the epoch.

        Raises:
            CallerError: `unauthenticated`: used before, or expired; `overloaded`: no room.
            StoreError: `cannot_record`: the memory cannot be written; then nothing is accepted.
        """
        ...

    def close(self) -> None:
        """Release it."""
        ...


class FileReplays:
    """A SQLite file. Any thread may ask."""

    def __init__(self, path: Path, *, max_rows: int = MAX_ROWS) -> None:
        self._max_rows = max_rows
        self._rows = 0
        self._swept_at_ms: int | None = None
        self._lock = threading.Lock()
        try:
            descriptor = os.open(path, os.O_CREAT | os.O_RDWR, 0o600)
            os.close(descriptor)
            self._db = sqlite3.connect(path, isolation_level=None, check_same_thread=False, timeout=_BUSY_MS / 1_000)
            self._db.execute("PRAGMA journal_mode=WAL")
            self._db.execute("PRAGMA synchronous=OFF")
            self._db.executescript(_SCHEMA)
        except (OSError, sqlite3.Error) as error:
            raise StoreError(Reason.CANNOT_RECORD, f"the memory of used proofs cannot be opened ({error})") from error

    def spend(self, scope: str, jti: str, *, until_ms: int, now_ms: int) -> None:
        """See `Replays`."""
        key = hashlib.sha256(f"{len(scope)}:{scope}{jti}".encode("utf-8", "surrogatepass")).digest()
        with self._lock:
            try:
                self._db.execute("BEGIN IMMEDIATE")
                try:
                    self._spend(key, until_ms, now_ms)
                finally:
                    self._db.execute("COMMIT")  # the sweep counts also where the proof does not
            except sqlite3.Error as error:
                with contextlib.suppress(sqlite3.Error):
                    self._db.execute("ROLLBACK")
                raise StoreError(
                    Reason.CANNOT_RECORD, f"the memory of used proofs cannot be written ({error})"
                ) from error

    def _spend(self, key: bytes, until_ms: int, now_ms: int) -> None:
        self._sweep(now_ms)
        (swept,) = self._db.execute("SELECT until_ms FROM swept").fetchone()
        if until_ms <= max(now_ms, swept):
            raise CallerError(Reason.UNAUTHENTICATED, "the proof has expired")
        if self._db.execute("SELECT 1 FROM seen WHERE key = ?", (key,)).fetchone():
            raise CallerError(Reason.UNAUTHENTICATED, "the proof has been used before")
        if self._rows >= self._max_rows:
            raise CallerError(Reason.OVERLOADED, "too many proofs are being used; try again in a minute")
        self._db.execute("INSERT INTO seen VALUES (?, ?)", (key, until_ms))
        self._rows += 1

    def _sweep(self, now_ms: int) -> None:
        """Forget what is refused for its age anyway, and count: the bound is off by what other processes have added since."""
        if self._swept_at_ms is not None and 0 <= now_ms - self._swept_at_ms < _SWEEP_MS:
            return
        self._db.execute("UPDATE swept SET until_ms = max(until_ms, ?)", (now_ms,))
        self._db.execute("DELETE FROM seen WHERE until_ms <= ?", (now_ms,))
        (self._rows,) = self._db.execute("SELECT count(*) FROM seen").fetchone()
        self._swept_at_ms = now_ms

    def close(self) -> None:
        """See `Replays`."""
        with self._lock:
            self._db.close()
