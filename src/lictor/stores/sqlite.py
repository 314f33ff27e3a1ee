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

from lictor.lifecycle.containments import in_force, times_changed
from lictor.lifecycle.origins import origin_row, tally_row
from lictor.lifecycle.rows import (
    BUNDLE_KEY,
    Execution,
    Key,
    Pointer,
    Row,
    Tally,
    active_revision,
    decode_row,
    live_key,
    measure_key,
    member_key,
)
from lictor.lifecycle.signals import highest
from lictor.model.approval import Hold
from lictor.model.containment import Containment
from lictor.model.errors import StoreError
from lictor.model.history import Member, Origin, Total
from lictor.model.ids import ActionDigest, ExecutionId, HoldId, HumanId, InstanceId, PolicyRevision, RequestId, TaskId
from lictor.model.limits import Limits
from lictor.model.reasons import Reason
from lictor.model.record import ExecutionStarted
from lictor.model.task import TaskState
from lictor.pdp.origins.digest import origin_key
from lictor.ports import Batch, Payload, Receipt, StoredEntry
from lictor.records.checkpoint import VerifierKey
from lictor.stores.commit import entries_of
from lictor.stores.group import SELECT_ROW
from lictor.stores.jobs import Job
from lictor.stores.known import KnownRows, Scope
from lictor.stores.rebuild import Difference
from lictor.stores.sealing import new_key, unseal
from lictor.stores.snapshot import LogSnapshot
from lictor.stores.sqlite_schema import Log, check, connect, prepare
from lictor.stores.wal_index import WalIndex
from lictor.stores.writer import Writer

_PAGE: Final = 512
"""Entries read at a time: between two pages no snapshot is held."""

_SELECT_LIST: Final = "SELECT kind, id, status, owner, at_ms, body FROM rows WHERE "
_SELECT_SCOPE: Final = f"{_SELECT_LIST} kind = ? AND id >= ? AND id < ? LIMIT ?"
_NEWEST: Final = " ORDER BY at_ms DESC, id DESC LIMIT ?"


class SqliteStore:
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
    ) -> None:
        """Open the log, or create it.

        Args:
            path: of the file; its folder is made with mode 0700.
            signer: signs its checkpoints.
            origin: its name, once and for all.
            anchor: a checkpoint kept outside (`Keys.read_anchor`); the log must contain it.
            queue_limit: records that may wait for the disk (default: `Limits.record_queue`).

        Raises:
            OperatorError: `config_refused`: another log's name or version, files open to others, an old SQLite.
            StoreError: `log_damaged`: the head, the newest checkpoint or the anchor do not fit; `cannot_record`: no access.
        """
        self._log = Log(path, origin, signer)
        self._closed = False
        self._reader: sqlite3.Connection | None = None
        try:
            prepare(self._log)
            self._reader = connect(path, read_only=True)
            check(self._reader, self._log, anchor)
        except sqlite3.DatabaseError as error:
            self._close_reader()
            raise _unreadable(error) from error
        except OSError as error:
            raise StoreError(Reason.CANNOT_RECORD, f"cannot open {str(path)!r:.200}: {error.strerror}") from error
        except BaseException:
            self._close_reader()
            raise
        self._known = KnownRows(WalIndex.find(path), self._read_row, self._read_scope)
        self._writer = Writer(self._log, self._known, Limits().record_queue if queue_limit is None else queue_limit)

    @staticmethod
    def open_unverified(path: Path) -> LogSnapshot:
        """One unchanging view of a log for a verifier, damaged or not: nothing is checked and nothing can be written.

        Raises:
            StoreError: `log_damaged`: it cannot be opened at all.
        """
        return LogSnapshot(path)

    @property
    def verifier_key(self) -> VerifierKey:
        """What its checkpoints are verified with."""
        return self._log.key()

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

    def task(self, task: TaskId) -> TaskState | None:
        """See `RecordStore.task`."""
        row = self._known.get(("task", task))
        return row.body if row is not None and isinstance(row.body, TaskState) else None

    def task_by_token(self, token_digest: str) -> TaskState | None:
        """See `RecordStore.task_by_token`."""
        target = self._target(("token", token_digest))
        return None if target is None else self.task(TaskId(target))

    def tasks(self) -> Sequence[TaskState]:
        """See `RecordStore.tasks`."""
        rows = self._list(f"{_SELECT_LIST} kind = 'task' {_NEWEST}", -1)
        return [row.body for row in rows if isinstance(row.body, TaskState)]

    def containment_changes(self) -> int:
        """See `RecordStore.containment_changes`."""
        return times_changed(self._known.get)

    def containments(self) -> Sequence[Containment]:
        """See `RecordStore.containments`."""
        return in_force(self._known.get)

    def approver_by_secret(self, secret_digest: str) -> HumanId | None:
        """See `RecordStore.approver_by_secret`."""
        target = self._target(("secret", secret_digest))
        return None if target is None else HumanId(target)

    def enrolled(self, human: HumanId) -> bool:
        """See `RecordStore.enrolled`."""
        return self._target(("approver", human)) is not None

    def hold(self, hold: HoldId) -> Hold | None:
        """See `RecordStore.hold`."""
        row = self._known.get(("hold", hold))
        return row.body if row is not None and isinstance(row.body, Hold) else None

    def live_hold(self, task: TaskId, digest: ActionDigest) -> Hold | None:
        """See `RecordStore.live_hold`."""
        # Asked before every call, and nearly always there is none: known without a query while all of the task's are.
        row = self._known.scoped(live_key(task, digest))
        return self.hold(HoldId(row.body.target)) if row is not None and isinstance(row.body, Pointer) else None

    def holds(self, *, pending_only: bool = False, limit: int = 200) -> Sequence[Hold]:
        """See `RecordStore.holds`."""
        pending = " AND status = 'pending'" if pending_only else ""
        rows = self._list(f"{_SELECT_LIST} kind = 'hold' {pending} {_NEWEST}", max(0, limit))
        return [row.body for row in rows if isinstance(row.body, Hold)]

    def holds_opened_since(self, task: TaskId, since_ms: int) -> int:
        """See `RecordStore.holds_opened_since`."""
        sql = "SELECT count(*) FROM rows WHERE kind = 'hold' AND owner = ? AND at_ms >= ?"
        return int(self._all(sql, task, since_ms)[0][0])

    def open_executions(self, instance: InstanceId | None = None) -> Sequence[ExecutionStarted]:
        """See `RecordStore.open_executions`; oldest first."""
        where = "kind = 'execution' AND status = 'started' AND (?1 IS NULL OR owner = ?1) ORDER BY at_ms, id"
        rows = self._list(_SELECT_LIST + where, instance)
        return [row.body.started for row in rows if isinstance(row.body, Execution)]

    def execution_outcome(self, execution: ExecutionId) -> str | None:
        """See `RecordStore.execution_outcome`."""
        row = self._known.get(("execution", execution))
        return None if row is None else row.status

    # -- payloads and bundles --------------------------------------------------------------------------------------------

    def payload(self, request: RequestId) -> Payload | None:
        """See `RecordStore.payload`.

        Raises:
            StoreError: `log_damaged`: it is there with its key but does not open.
        """
        found = self._all(
            "SELECT k.key, p.task, p.nonce, p.ciphertext FROM payloads p JOIN task_keys k ON k.task = p.task WHERE request = ?",
            request,
        )
        if not found:
            return None
        key, task, nonce, ciphertext = found[0]
        return unseal(key, request, task, nonce, ciphertext)

    def erase_payloads(self, task: TaskId) -> None:
        """Forget what a task's requests carried, for good, by deleting its key; the log stays whole. Idempotent.

        Raises:
            StoreError: `cannot_record`: the key may still be there.
        """

        def erase(connection: sqlite3.Connection) -> None:
            connection.execute("DELETE FROM task_keys WHERE task = ?", (task,))

        # The write-ahead log still holds the page with the key until it is moved and cut.
        self._write(erase, after="PRAGMA wal_checkpoint(TRUNCATE)")

    def fresh_key(self) -> bytes:
        """See `RecordStore.fresh_key`."""
        return new_key()

    def origin_key(self, root: TaskId) -> bytes | None:
        """See `RecordStore.origin_key`."""
        found = self._all("SELECT key FROM task_keys WHERE task = ?", root)
        return origin_key(found[0][0]) if found else None

    def origin(self, root: TaskId, digest: str) -> Origin | None:
        """See `RecordStore.origin`; read anew each time: a task has thousands of them, and most are never asked for."""
        row = self._read_row(origin_row(root, digest))
        return row.body if row is not None and isinstance(row.body, Origin) else None

    def signal(self, root: TaskId, kind: str) -> int | None:
        """See `RecordStore.signal`."""
        return highest(self._known.get, root, kind)

    def measure(self, key: str) -> Total | None:
        """See `RecordStore.measure`."""
        row = self._known.get(measure_key(key))
        return row.body if row is not None and isinstance(row.body, Total) else None

    def member(self, key: str, member: str) -> Member | None:
        """See `RecordStore.member`."""
        row = self._known.get(member_key(key, member))
        return row.body if row is not None and isinstance(row.body, Member) else None

    def spilled(self, root: TaskId) -> tuple[str, ...]:
        """See `RecordStore.spilled`."""
        row = self._known.get(tally_row(root))
        return row.body.spilled if row is not None and isinstance(row.body, Tally) else ()

    def revision(self) -> PolicyRevision | None:
        """See `RecordStore.revision`."""
        return active_revision(self._known.get(BUNDLE_KEY))

    def keep_bundle(self, revision: PolicyRevision, files: dict[str, bytes]) -> None:
        """See `RecordStore.keep_bundle`.

        Raises:
            StoreError: `cannot_record`: it is not kept; its decisions would not replay.
        """

        def keep(connection: sqlite3.Connection) -> None:
            rows = [(revision, name, data) for name, data in files.items()]
            connection.executemany("INSERT INTO bundles VALUES(?, ?, ?) ON CONFLICT DO NOTHING", rows)

        self._write(keep)

    def bundle(self, revision: PolicyRevision) -> dict[str, bytes] | None:
        """See `RecordStore.bundle`."""
        files = dict(self._all("SELECT name, data FROM bundles WHERE revision = ? ORDER BY name", revision))
        return files or None

    # -- the log ---------------------------------------------------------------------------------------------------------

    def size(self) -> int:
        """See `RecordStore.size`."""
        return int(self._all("SELECT ifnull(max(seq), -1) + 1 FROM entries")[0][0])

    def entries(self, start: int = 0, stop: int | None = None) -> Iterator[StoredEntry]:
        """See `RecordStore.entries`. Ends at what was committed when it started."""
        end = self.size() if stop is None else min(stop, self.size())
        sql = "SELECT seq, data, leaf FROM entries WHERE seq >= ? AND seq < ? ORDER BY seq LIMIT ?"
        while start < end and (page := self._all(sql, start, end, _PAGE)):
            for row in page:
                yield StoredEntry(*row)
            start = page[-1][0] + 1

    def newest_checkpoint(self) -> str:
        """The signed checkpoint of everything committed so far."""
        return str(self._all("SELECT text FROM checkpoints ORDER BY size DESC LIMIT 1")[0][0])

    def checkpoints(self) -> Iterator[str]:
        """See `RecordStore.checkpoints`."""
        after = -1
        while page := self._all(
            "SELECT size, text FROM checkpoints WHERE size > ? ORDER BY size LIMIT ?", after, _PAGE
        ):
            for after, text in page:  # noqa: B007 - the last is where the next page starts
                yield text

    def rebuild_rows(self) -> list[Difference]:
        """What the state tables say and the log does not, or the other way round; reads everything. Empty when all is well.

        Raises:
            StoreError: it cannot be read.
        """
        with LogSnapshot(self._log.path) as snapshot:
            return snapshot.rebuild_rows()

    def close(self) -> None:
        """See `RecordStore.close`."""
        if not self._closed:
            self._closed = True
            self._writer.close()
            self._known.close()
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
        if self._reader is None:
            raise StoreError(Reason.CANNOT_RECORD, "the record store is closed")
        try:
            return self._reader.execute(sql, parameters).fetchall()
        except sqlite3.Error as error:
            raise _unreadable(error) from error

    def _read_row(self, key: Key) -> Row | None:
        found = self._all(SELECT_ROW, *key)
        return _decode(*key, *found[0]) if found else None

    def _read_scope(self, kind: str, prefix: str, limit: int) -> Scope:
        """Rows whose id begins with a text that ends in a space: those up to the character behind the space."""
        rows = self._list(_SELECT_SCOPE, kind, prefix, f"{prefix[:-1]}!", limit)
        return {row.id: row for row in rows}

    def _list(self, sql: str, *parameters: object) -> list[Row]:
        return [_decode(*columns) for columns in self._all(sql, *parameters)]

    def _target(self, key: Key) -> str | None:
        row = self._known.get(key)
        return row.body.target if row is not None and isinstance(row.body, Pointer) else None

    def _write(self, change: Callable[[sqlite3.Connection], None], after: str = "") -> None:
        """A rare write that is no record, on this thread, in a transaction of its own."""
        if self._closed:
            raise StoreError(Reason.CANNOT_RECORD, "the record store is closed")
        try:
            connection = connect(self._log.path)
            try:
                connection.execute("BEGIN IMMEDIATE")
                change(connection)
                connection.execute("COMMIT")
                if after:
                    connection.execute(after).fetchall()
            finally:
                connection.close()
        except sqlite3.Error as error:
            raise StoreError(
                Reason.CANNOT_RECORD, f"cannot record: {error}", remedy="free space on the disk"
            ) from error


def _decode(kind: str, name: str, status: str, owner: str, at_ms: int, body: bytes) -> Row:
    try:
        return decode_row(kind, name, status, owner, at_ms, body)
    except (KeyError, msgspec.MsgspecError, UnicodeDecodeError) as error:
        message = f"the row of {kind} {name!r:.80} is not readable"
        raise StoreError(Reason.LOG_DAMAGED, message, remedy="see: lictor log verify") from error


def _unreadable(error: sqlite3.Error) -> StoreError:
    return StoreError(Reason.LOG_DAMAGED, f"the log cannot be read: {error}", remedy="see: lictor log verify")
