"""The record store on SQLite: the log, and the state that follows from it, in one file.

Writes go through one `writer`; reads run on the caller's thread, over a connection of their own that holds no snapshot
between two calls, so that every read sees every commit, of other processes too. Rows that were read are kept until anybody
commits (`known`). It refuses to know what a record means: that is `lifecycle`.
"""

import asyncio
import sqlite3
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, Final, Self

import msgspec
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from lictor.lifecycle.rows import Execution, Key, Live, Row
from lictor.model.approval import Allowance, Hold, Passkey
from lictor.model.errors import StoreError
from lictor.model.ids import AgentId, HumanId, InstanceId, LeaseId, PolicyRevision, TaskId
from lictor.model.lease import Lease
from lictor.model.limits import Limits
from lictor.model.reasons import Reason
from lictor.model.record import ExecutionStarted
from lictor.model.task import TaskState
from lictor.pdp.origins.digest import origin_key
from lictor.ports import Batch, Receipt
from lictor.records.checkpoint import VerifierKey
from lictor.records.keychain import KeyChain
from lictor.stores.commit import entries_of
from lictor.stores.group import SELECT_ROW
from lictor.stores.jobs import Job
from lictor.stores.keychain import chain_in
from lictor.stores.known import KnownRows, Scope
from lictor.stores.reading import PAGE, UNREADABLE, LogReads, decoded
from lictor.stores.rebuild import Difference
from lictor.stores.recovery import held_still, never_close, recover_if_left
from lictor.stores.right import JOURNAL
from lictor.stores.scrub import scrub
from lictor.stores.snapshot import LogSnapshot
from lictor.stores.sqlite_schema import Log, check, connect, prepare
from lictor.stores.state import StateReads
from lictor.stores.wal_index import WalIndex
from lictor.stores.writer import Writer

READ_BUSY_MS: Final = 200
"""How long a read waits for whoever keeps readers out: it waits on the event loop, which has a lease to mind meanwhile."""
_DISK: Final = {sqlite3.SQLITE_IOERR, sqlite3.SQLITE_FULL, sqlite3.SQLITE_READONLY, sqlite3.SQLITE_CANTOPEN}
"""What SQLite says when the disk is at fault, not what is on it."""

_SELECT_LIST: Final = "SELECT kind, id, status, owner, at_ms, body FROM rows WHERE "
_SELECT_SCOPE: Final = f"{_SELECT_LIST} kind = ? AND id >= ? AND id < ? LIMIT ?"
_SELECT_BELOW: Final = (
    f"{_SELECT_LIST} kind = 'task' AND at_ms >= ? AND at_ms < ? AND instr(body, ?) > 0 ORDER BY at_ms DESC, id DESC"
)
CLOCK_SLACK_MS: Final = 86_400_000
"""How much earlier than its parent a task may seem to have been opened: clocks are set back, but not by a day."""
_NEWEST: Final = " ORDER BY at_ms DESC, id DESC LIMIT ?"


class SqliteStore(StateReads, LogReads):
    """`lictor.ports.RecordStore` in one SQLite file (WAL, synchronous=FULL). Any number of processes may have it open.

    Reads and `close` are for the thread that made it; `commit` is for any event loop.
    """

    def __init__(
        self,
        path: Path,
        *,
        signer: Ed25519PrivateKey,
        origin: str,
        anchor: str | None = None,
        queue_limit: int | None = None,
        sealed: bool = False,
    ) -> None:
        """Open the log, or create it.

        Args:
            path: of the file; its folder is made with mode 0700.
            signer: signs its checkpoints.
            origin: its name, once and for all.
            anchor: a checkpoint kept outside (`Keys.read_anchor`); the log must contain it.
            queue_limit: records that may wait for the disk (default: `Limits.record_queue`).
            sealed: open it although it was restored and is sealed: only to raise the epoch.

        Raises:
            OperatorError: `config_refused`: another log's name or version, files open to others, an old SQLite.
            StoreError: `log_damaged`: the head, the newest checkpoint or the anchor do not fit; `cannot_record`: no access;
                `log_key_changed`: another key signs it now;
                `restored_sealed`: from a backup, and nobody has raised the epoch since.
        """
        self._log = Log(path, origin, signer, sealed)
        self._closed = False
        self._reader: sqlite3.Connection | None = None
        try:
            with held_still(path):
                prepare(self._log)
                recover_if_left(self._log)
            self._reader = connect(path, read_only=True)
            check(self._reader, self._log, anchor)
            self._log_keys = chain_in(self._reader, self._log.key())
            self._reader.execute(f"PRAGMA busy_timeout={READ_BUSY_MS}")
            self._known = KnownRows(WalIndex.find(path), self._read_row, self._read_scope)
            limit = Limits().record_queue if queue_limit is None else queue_limit
            self._writer = Writer(self._log, self._known, limit)
            self._marks = self._writer.marks()
        except (sqlite3.DatabaseError, UnicodeDecodeError) as error:
            self._close_reader()
            raise _unreadable(error) from error
        except OSError as error:
            raise StoreError(Reason.CANNOT_RECORD, f"cannot open {str(path)!r:.200}: {error.strerror}") from error
        except BaseException:
            self._close_reader()
            raise

    @staticmethod
    def open_unverified(path: Path) -> LogSnapshot:
        """One unchanging view of a log for a verifier, damaged or not: nothing is checked and nothing can be written.

        Raises:
            StoreError: `log_damaged`: it cannot be opened at all.
        """
        return LogSnapshot(path)

    @property
    def waiting(self) -> int:
        """Records of this process that wait for the disk."""
        return self._writer.waiting

    @property
    def verifier_key(self) -> VerifierKey:
        """What its next checkpoint is verified with."""
        return self._log.key()

    @property
    def log_keys(self) -> KeyChain:
        """What its checkpoints are verified with. While the log is open it stays: a change of key ends every other writer."""
        return self._log_keys

    async def commit(self, batch: Batch) -> Receipt:
        """See `RecordStore.commit`. A caller that is cancelled while it waits does not take its records back.

        Raises:
            ConflictError: a life cycle refuses it; nothing written.
            StoreError: `cannot_record`, or `overloaded` when too much waits for the disk; nothing may run.
        """
        job = Job(batch, entries_of(batch), asyncio.get_running_loop())
        self._writer.put(job)
        return await job.future

    # -- state -----------------------------------------------------------------------------------------------------------

    def tasks(self) -> Sequence[TaskState]:
        """See `RecordStore.tasks`."""
        rows = self._list(f"{_SELECT_LIST} kind = 'task' {_NEWEST}", -1)
        return [row.body for row in rows if isinstance(row.body, TaskState)]

    def descendants(self, task: TaskId) -> Sequence[TaskState]:
        """See `RecordStore.descendants`: what is below a task was opened while it lived (`lifecycle.bounds`)."""
        above = self.task(task)
        if above is None:
            return ()
        since, until = above.task.opened_at_ms - CLOCK_SLACK_MS, above.task.expires_at_ms
        rows = self._list(_SELECT_BELOW, since, until, msgspec.json.encode(task))
        states = (row.body for row in rows if isinstance(row.body, TaskState))
        return [state for state in states if task in state.task.parents]

    def holds(self, *, pending_only: bool = False, limit: int = 200) -> Sequence[Hold]:
        """See `RecordStore.holds`."""
        pending = " AND status = 'pending'" if pending_only else ""
        rows = self._list(f"{_SELECT_LIST} kind = 'hold' {pending} {_NEWEST}", max(0, limit))
        return [row.body for row in rows if isinstance(row.body, Hold)]

    def holds_opened_since(self, task: TaskId, since_ms: int) -> int:
        """See `RecordStore.holds_opened_since`."""
        sql = "SELECT count(*) FROM rows WHERE kind = 'hold' AND owner = ? AND at_ms >= ?"
        return int(self._all(sql, task, since_ms)[0][0])

    def passkeys(self, human: HumanId) -> Sequence[Passkey]:
        """See `RecordStore.passkeys`."""
        where = "kind = 'passkey' AND owner = ? AND status = 'live' ORDER BY at_ms, id"
        return [row.body for row in self._list(_SELECT_LIST + where, human) if isinstance(row.body, Passkey)]

    def allowances(self, agent: AgentId | None = None) -> Sequence[Allowance]:
        """See `RecordStore.allowances`."""
        where = "kind = 'allowance' AND status = 'live' AND (?1 IS NULL OR owner = ?1) ORDER BY at_ms, id"
        return [row.body for row in self._list(_SELECT_LIST + where, agent) if isinstance(row.body, Allowance)]

    def indeterminate(self, limit: int = 200) -> Sequence[ExecutionStarted]:
        """See `RecordStore.indeterminate`."""
        where = f"kind = 'execution' AND status = 'indeterminate' {_NEWEST}"
        rows = self._list(_SELECT_LIST + where, max(0, limit))
        return [row.body.started for row in rows if isinstance(row.body, Execution)]

    def open_executions(self, instance: InstanceId | None = None) -> Sequence[ExecutionStarted]:
        """See `RecordStore.open_executions`; oldest first."""
        where = "kind = 'execution' AND status = 'started' AND (?1 IS NULL OR owner = ?1) ORDER BY at_ms, id"
        rows = self._list(_SELECT_LIST + where, instance)
        return [row.body.started for row in rows if isinstance(row.body, Execution)]

    def leases(self, *, live_only: bool = True) -> Sequence[Lease]:
        """See `RecordStore.leases`.

        What lives is found by its task's row, so that it costs the same after a million that are over.
        """
        if live_only:
            scopes = self._list(f"{_SELECT_LIST} kind = 'leases'")
            ids = [one for row in scopes if isinstance(row.body, Live) for one in row.body.ids]
            found = [lease for one in ids if (lease := self.lease(LeaseId(one))) is not None]
        else:
            rows = self._list(f"{_SELECT_LIST} kind = 'lease'")
            found = [row.body for row in rows if isinstance(row.body, Lease)]
        return sorted(found, key=lambda lease: (lease.asked_at_ms, lease.id))

    # -- payloads and bundles --------------------------------------------------------------------------------------------

    def sealed(self, after: str = "", limit: int = 200) -> Sequence[TaskId]:
        """See `RecordStore.sealed`."""
        sql = "SELECT task FROM task_keys WHERE task > ? ORDER BY task LIMIT ?"
        return [TaskId(task) for (task,) in self._all(sql, after, max(0, limit))]

    def scrub(self) -> bool:
        """See `RecordStore.scrub`; from any thread.

        A page that held a key is overwritten in the file (secure_delete) once the write-ahead log is moved into it, and the
        page of before is gone once that log is cut. A reader of an older state keeps both from happening.
        """
        return not self._on_own(scrub)

    def origin_key(self, root: TaskId) -> bytes | None:
        """See `RecordStore.origin_key`."""
        return self._known.secret(root, lambda: self._read_origin_key(root))

    def keep_bundle(self, revision: PolicyRevision, files: dict[str, bytes]) -> None:
        """See `RecordStore.keep_bundle`.

        Raises:
            StoreError: `cannot_record`: it is not kept; its decisions would not replay.
        """

        def keep(connection: sqlite3.Connection) -> None:
            rows = [(revision, name, data) for name, data in files.items()]
            connection.executemany("INSERT INTO bundles VALUES(?, ?, ?) ON CONFLICT DO NOTHING", rows)

        self._write(keep)

    # -- the log ---------------------------------------------------------------------------------------------------------

    def newest_checkpoint(self) -> str:
        """The signed checkpoint of everything committed so far."""
        return str(self._all("SELECT text FROM checkpoints ORDER BY size DESC LIMIT 1")[0][0])

    def checkpoints(self) -> Iterator[str]:
        """See `RecordStore.checkpoints`."""
        after = -1
        while page := self._all("SELECT size, text FROM checkpoints WHERE size > ? ORDER BY size LIMIT ?", after, PAGE):
            for after, text in page:  # noqa: B007 - the last is where the next page starts
                yield text

    def rebuild_rows(self) -> list[Difference]:
        """What the state tables say and the log does not, or the other way round; reads everything. Empty when all is well.

        Raises:
            StoreError: it cannot be read.
        """
        self._writer.flush()
        with LogSnapshot(self._log.path) as snapshot:
            return snapshot.rebuild_rows()

    def close(self) -> None:
        """See `RecordStore.close`."""
        if not self._closed:
            self._closed = True
            self._marks = bytes(2)
            sure = self._writer.close()
            self._known.close()
            if not sure and self._reader is not None:
                never_close(self._reader)
                self._reader = None
            self._close_reader()

    def __enter__(self) -> Self:
        """Itself."""
        return self

    def __exit__(self, *_: object) -> None:
        """Close."""
        self.close()

    # -- inside ----------------------------------------------------------------------------------------------------------

    def _close_reader(self) -> None:
        if self._reader is not None:
            self._reader.close()
            self._reader = None

    def _all(self, sql: str, *parameters: object) -> list[Any]:
        """All rows at once: an open statement would pin a snapshot, and later reads would be stale."""
        if not self._closed:
            self._writer.flush()
        return self._in_tables(sql, *parameters)

    def _in_tables(self, sql: str, *parameters: object) -> list[Any]:
        """The same of what the tables hold, which may be behind what was acknowledged (`scribe`)."""
        if self._reader is None:
            raise StoreError(Reason.CANNOT_RECORD, "the record store is closed")
        try:
            return self._reader.execute(sql, parameters).fetchall()
        except UNREADABLE as error:
            raise _unreadable(error) from error

    def _row(self, key: Key) -> Row | None:
        if self._marks[JOURNAL] and key in (unwritten := self._writer.unwritten()):
            return unwritten[key]
        return self._known.get(key)

    def _scoped(self, key: Key) -> Row | None:
        if self._marks[JOURNAL] and key in (unwritten := self._writer.unwritten()):
            return unwritten[key]
        return self._known.scoped(key)

    def _read_origin_key(self, root: TaskId) -> bytes | None:
        found = self._in_tables("SELECT key FROM task_keys WHERE task = ?", root)
        return origin_key(found[0][0]) if found else None

    def _read_row(self, key: Key) -> Row | None:
        found = self._in_tables(SELECT_ROW, *key)
        return decoded(*key, *found[0]) if found else None

    def _read_scope(self, kind: str, prefix: str, limit: int) -> Scope:
        """Rows whose id begins with a text that ends in a space: those up to the character behind the space."""
        found = self._in_tables(_SELECT_SCOPE, kind, prefix, f"{prefix[:-1]}!", limit)
        return {row.id: row for row in (decoded(*columns) for columns in found)}

    def _list(self, sql: str, *parameters: object) -> list[Row]:
        return [decoded(*columns) for columns in self._all(sql, *parameters)]

    def _write(self, change: Callable[[sqlite3.Connection], None]) -> None:
        """A rare write that is no record, on this thread, in a transaction of its own."""

        def write(connection: sqlite3.Connection) -> bool:
            connection.execute("BEGIN IMMEDIATE")
            change(connection)
            connection.execute("COMMIT")
            return True

        self._on_own(write)

    def _on_own(self, work: Callable[[sqlite3.Connection], bool]) -> bool:
        """Something rare, on this thread, over a connection of its own."""
        if self._closed:
            raise StoreError(Reason.CANNOT_RECORD, "the record store is closed")

        def beside() -> bool:
            connection = connect(self._log.path)
            try:
                return work(connection)
            finally:
                connection.close()

        try:
            return self._writer.beside(beside)
        except (sqlite3.Error, OSError) as error:
            raise StoreError(
                Reason.CANNOT_RECORD, f"cannot record: {error}", remedy="free space on the disk"
            ) from error


def _unreadable(error: Exception) -> StoreError:
    code = getattr(error, "sqlite_errorcode", 0) & 0xFF
    if code == sqlite3.SQLITE_BUSY:
        return StoreError(Reason.CANNOT_RECORD, "the log cannot be read: somebody keeps readers out")
    if code in _DISK:
        message = f"the disk of the log fails: {error}"
        return StoreError(
            Reason.CANNOT_RECORD, message, remedy="look at the disk of the state folder, and at its free space"
        )
    return StoreError(Reason.LOG_DAMAGED, f"the log cannot be read: {error}", remedy="see: lictor log verify")
