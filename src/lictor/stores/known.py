"""Rows kept in memory, for exactly as long as nobody has committed: no decision waits for four queries.

What is kept belongs to one stamp of the log's index (`wal_index`). Before every use the stamp is compared with the index as it
is now; if they differ, whoever committed, the row is read from SQLite. The writer of this process hands its own changes on
from one stamp to the next, so that only other processes' commits cost a query. Without an index nothing is kept.

It refuses to know what rows mean. An id of the form `scope rest` (a space between) belongs to a scope: the rows of one
scope can be kept as a whole, so that "there is none" needs no query either.
"""

import threading
from collections.abc import Callable
from itertools import islice
from typing import Final

from lictor.lifecycle.fold import Changes
from lictor.lifecycle.rows import Key, Row
from lictor.stores.wal_index import WalIndex

MAX_KNOWN: Final = 4096
"""Rows and scopes kept; some 1 kB each."""
MAX_VALUES: Final = 2048
"""Rows kept of values that tasks have seen, there or not; some 400 bytes each. A task has thousands, and a call that names a
thousand new ones pushes out nothing else."""
MAX_SCOPE: Final = 16
"""Rows of a scope that is kept as a whole; a larger one is read row by row."""

_SHARE: Final = 16
"""Of what is kept so much goes, the oldest first, when there is no more room."""
_VALUES: Final = frozenset({"origin", "member"})

Scope = dict[str, Row]
_Kept = Row | Scope | bytes | None
_Rows = dict[Key, _Kept]


class _Unknown:
    """No row is also something that can be known."""


_UNKNOWN: Final = _Unknown()


class KnownRows:
    """Rows by key as of the newest commit. Read on one thread; the writer may be another."""

    def __init__(
        self, index: WalIndex | None, row: Callable[[Key], Row | None], scope: Callable[[str, str, int], Scope]
    ) -> None:
        """Keep nothing yet.

        Args:
            index: of the log; None keeps nothing ever.
            row: reads one row from the store.
            scope: reads the rows of a kind whose id begins with a text, at most so many, by id.
        """
        self._index = index
        self._load_row = row
        self._load_scope = scope
        self._lock = threading.Lock()
        self._pending = False
        # One object, replaced as a whole: a stamp is never seen with another stamp's rows.
        self._state: tuple[bytes, _Rows, _Rows] = (b"", {}, {})

    def get(self, key: Key) -> Row | None:
        """One row.

        Raises:
            StoreError: it cannot be read.
        """
        index = self._index
        if index is None:
            return self._load_row(key)
        stamp, rows, values = self._state
        # The rows may be newer than what is compared here, never older: they change before the stamp does.
        if index.raw() == stamp:
            row = (values if key[0] in _VALUES else rows).get(key, _UNKNOWN)
            if row is None or type(row) is Row:
                return row
        before = index.stamp()
        found = self._load_row(key)
        self._keep(index, before, key, found)
        return found

    def scoped(self, key: Key) -> Row | None:
        """One row whose id is `scope rest`.

        Raises:
            StoreError: it cannot be read.
        """
        index = self._index
        if index is None:
            return self._load_row(key)
        stamp, rows, _ = self._state
        name = key[1]
        whole = _whole(key)
        if index.raw() == stamp:
            kept = rows.get(whole, _UNKNOWN)
            if type(kept) is dict:
                return kept.get(name)
            if kept is None:
                return self.get(key)
        before = index.stamp()
        found = self._load_scope(key[0], f"{whole[1]} ", MAX_SCOPE + 1)
        if len(found) > MAX_SCOPE:
            self._keep(index, before, whole, None)
            return self.get(key)
        self._keep(index, before, whole, found)
        return found.get(name)

    def secret(self, name: str, load: Callable[[], bytes | None]) -> bytes | None:
        """Something of a task that is no row and never changes until it is erased.

        Args:
            name: tells it from all others.
            load: reads it from the store; where it is not there it is read again each time.

        Raises:
            StoreError: it cannot be read.
        """
        index = self._index
        if index is None:
            return load()
        key = ("secret*", name)
        stamp, rows, _ = self._state
        if index.raw() == stamp:
            kept = rows.get(key)
            if type(kept) is bytes:
                return kept
        before = index.stamp()
        found = load()
        if found is not None:
            self._keep(index, before, key, found)
        return found

    def _keep(self, index: WalIndex, before: bytes, key: Key, found: _Kept) -> None:
        """Keep what was read, if nobody committed while it was."""
        with self._lock:
            if not before or self._pending or index.raw() != before:
                return
            stamp, rows, values = self._state
            if stamp != before:
                rows, values = {}, {}
            held, most = (values, MAX_VALUES) if key[0] in _VALUES else (rows, MAX_KNOWN)
            if len(held) >= most:
                # Many at once: to find its oldest, a dictionary walks over all that were taken out before.
                for oldest in list(islice(held, max(1, most // _SHARE))):
                    del held[oldest]
            held[key] = found
            self._state = (before, rows, values)

    # -- the writer's side -----------------------------------------------------------------------------------------------

    def begin(self) -> bytes:
        """The stamp as of a transaction that holds the write lock. Nothing new is kept until `publish` or `forget`.

        From the commit until then readers know that something changed, but not what: they read from SQLite.
        """
        if self._index is None:
            return b""
        with self._lock:
            self._pending = True
        return self._index.stamp()

    def now(self) -> bytes:
        """The stamp as of now."""
        return b"" if self._index is None else self._index.stamp()

    def publish(self, before: bytes, changes: Changes, after: bytes) -> None:
        """Between the two stamps nothing happened but these changes."""
        with self._lock:
            self._pending = False
            stamp, rows, values = self._state
            if not before or not after or stamp != before:
                self._state = (b"", {}, {})
                return
            for key, row in changes.items():
                if key[0] == "erased":
                    rows.pop(("secret*", key[1]), None)
                if key[0] in _VALUES:
                    if key in values:
                        values[key] = row
                    continue
                if key in rows:
                    rows[key] = row
                if " " in key[1]:
                    _into_scope(rows, key, row)
            self._state = (after, rows, values)

    def forget(self) -> None:
        """Nobody knows what happened."""
        with self._lock:
            self._pending = False
            self._state = (b"", {}, {})

    def close(self) -> None:
        """Keep nothing any more. Idempotent."""
        index, self._index = self._index, None
        self._state = (b"", {}, {})
        if index is not None:
            index.close()


def _whole(key: Key) -> Key:
    """Where the whole scope of a row is kept, None for a large one; no kind of row has a star in its name."""
    return (f"{key[0]}*", key[1].partition(" ")[0])


def _into_scope(rows: _Rows, key: Key, row: Row | None) -> None:
    whole = _whole(key)
    kept = rows.get(whole)
    if type(kept) is not dict:
        return
    changed = {name: one for name, one in kept.items() if name != key[1]}
    if row is not None:
        changed[key[1]] = row
    rows[whole] = changed if len(changed) <= MAX_SCOPE else None
