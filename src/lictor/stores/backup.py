"""Backup and restore of a log: one file, taken while the gateway runs; what is restored from it is sealed (facts R22).

The backup is a copy of the log's SQLite file as one moment had it, with the files that the log is worthless without in a table
beside. It carries the seal from its first byte, so that also a copy of the backup itself, put in the log's place by hand, opens
for nobody before an operator raises the epoch (`service.log.epoch`). Left out on purpose: what makes old authority usable
again (the keys of task tokens and of request state: fresh ones are made), and the safe's master key, which belongs apart from
what it opens.

Refuses to know what records mean, and where the log's owner keeps the backup.
"""

import json
import os
import sqlite3
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from lictor.model.errors import LictorError, OperatorError, StoreError
from lictor.model.reasons import Reason
from lictor.records.checkpoint import LogKeys, open_checkpoint
from lictor.stores.journal import left_beside
from lictor.stores.keychain import chain_in
from lictor.stores.keys import ANCHOR_FILE, LOG_FILE, LOG_KEY_FILE, signing_key
from lictor.stores.private import FILE_MODE, check_private, create_private, private_folder, replace_private, sync_folder
from lictor.stores.reading import UNREADABLE
from lictor.stores.sqlite_schema import SEAL, Log, check, connect

KEPT: Final = frozenset({LOG_KEY_FILE, "safe.db", "safe.key.wrapped"})
"""Files a backup may carry beside the log; no other name is ever written by a restore."""
PAGES: Final = 2_048
"""Pages copied between two calls of `on_progress`."""

_DRAFT: Final = f".{LOG_FILE}.restoring"
_TABLE: Final = "kept_files"
_CHUNK: Final = 1 << 20


@dataclass(frozen=True, slots=True, kw_only=True)
class BackupMade:
    """What a backup holds.

    Attributes:
        size: number of entries.
        checkpoint: the newest signed one: keep it elsewhere, it tells whether the backup is whole.
        files: names of what is kept beside the log.
    """

    size: int
    checkpoint: str
    files: tuple[str, ...]


def write_backup(
    log: Log,
    target: Path,
    files: Mapping[str, bytes],
    at_ms: int,
    on_progress: Callable[[int, int], None] | None = None,
) -> BackupMade:
    """Copy a log as it stands into one file of mode 0600. The log may be in use; it is only read.

    The view it is copied from is held meanwhile, so that others' commits neither disturb nor restart it.

    Args:
        files: to be kept beside, by name; of `KEPT`.
        at_ms: now; kept in the seal.
        on_progress: pages done, and of how many.

    Raises:
        OperatorError: `config_refused`: the target exists, or cannot be written.
        StoreError: `log_damaged`: the log cannot be read, or its head does not fit its newest checkpoint.
    """
    draft = target.with_name(f".{target.name}.{os.urandom(8).hex()}")
    if target.exists():
        raise _refused(f"{str(target)!r:.200} is there already", "name another file")
    try:
        os.close(os.open(draft, os.O_RDWR | os.O_CREAT | os.O_EXCL, FILE_MODE))
        made = _copied(log, draft, files, at_ms, on_progress)
        _synced(draft)
        os.link(draft, target)  # unlike a rename it never takes another file's place
    except UNREADABLE as error:
        raise StoreError(Reason.LOG_DAMAGED, f"the log cannot be copied: {error}") from error
    except OSError as error:
        raise _refused(f"cannot write {str(target)!r:.200}: {error.strerror}", "name a file that can be") from error
    finally:
        draft.unlink(missing_ok=True)
        _journal(draft).unlink(missing_ok=True)
    sync_folder(target.parent)
    return made


def _copied(
    log: Log, draft: Path, files: Mapping[str, bytes], at_ms: int, on_progress: Callable[[int, int], None] | None
) -> BackupMade:
    def step(_status: int, remaining: int, total: int) -> None:
        if on_progress is not None:
            on_progress(total - remaining, total)

    with _opened(log.path, read_only=True) as source, _opened(draft) as copy:
        source.execute("BEGIN")
        source.execute("SELECT 1 FROM sqlite_schema").fetchall()  # the view is taken by the first read
        source.backup(copy, pages=PAGES, progress=step)
        copy.execute("PRAGMA journal_mode=DELETE")  # one file, whole in itself
        copy.execute("BEGIN EXCLUSIVE")
        size = int(copy.execute("SELECT ifnull(max(seq), -1) + 1 FROM entries").fetchone()[0])
        seal = json.dumps({"at_ms": at_ms, "size": size})
        copy.execute("INSERT INTO meta VALUES(?, ?) ON CONFLICT DO UPDATE SET value = excluded.value", (SEAL, seal))
        copy.execute(f"CREATE TABLE {_TABLE}(name TEXT PRIMARY KEY, data BLOB NOT NULL) STRICT, WITHOUT ROWID")
        copy.executemany(f"INSERT INTO {_TABLE} VALUES(?, ?)", sorted(files.items()))
        copy.execute("COMMIT")
        check(copy, Log(draft, log.origin, log.signer, sealed=True))
        checkpoint = str(copy.execute("SELECT text FROM checkpoints ORDER BY size DESC LIMIT 1").fetchone()[0])
    return BackupMade(size=size, checkpoint=checkpoint, files=tuple(sorted(files)))


@dataclass(frozen=True, slots=True, kw_only=True)
class Restored:
    """What was restored.

    Attributes:
        size: number of entries.
        origin: the log's name.
        lost: entries that are known to be missing, by an anchor that was there already and is newer; 0: none is known.
        files: names of what was kept beside the log.
    """

    size: int
    origin: str
    lost: int
    files: tuple[str, ...]


def restore(backup: Path, state: Path, on_progress: Callable[[int, int], None] | None = None) -> Restored:
    """Make a state folder from a backup: sealed. Nothing that is there is replaced.

    The anchor is written before the log is there: a process that dies in between leaves a folder in which no gateway begins an
    empty log under the old key. An anchor that is there already stays if it is newer: it says what was lost.

    Raises:
        OperatorError: `config_refused`: no backup of ours, a log is there already, or other files than the backup's.
        StoreError: `log_damaged`: the backup's log is damaged; nothing is restored.
    """
    draft = state / _DRAFT
    private_folder(state)
    if (state / LOG_FILE).exists():
        raise _refused(f"{str(state / LOG_FILE)!r:.200} is there already", "restore into an empty folder")
    try:
        _copy(backup, draft, on_progress)
        with _opened(draft) as copy:
            restored = _unpacked(copy, backup, draft, state)
        _synced(draft)
        for left in left_beside(state / LOG_FILE):  # of the log that was here: it would be taken for this one's
            left.unlink(missing_ok=True)
        draft.rename(state / LOG_FILE)
    except UNREADABLE as error:
        raise _refused(f"{str(backup)!r:.200} is no backup of a log: {error}", "name another file") from error
    except OSError as error:
        text = f"cannot restore into {str(state)!r:.200}: {error.strerror}"
        raise _refused(text, "make room, or name another folder") from error
    finally:
        draft.unlink(missing_ok=True)
        _journal(draft).unlink(missing_ok=True)
    sync_folder(state)
    return restored


def _unpacked(copy: sqlite3.Connection, backup: Path, draft: Path, state: Path) -> Restored:
    meta = dict(copy.execute("SELECT key, value FROM meta"))
    files = dict(copy.execute(f"SELECT name, data FROM {_TABLE}"))  # noqa: S608 - our own name
    if SEAL not in meta or not files.keys() <= KEPT:
        raise _refused(f"{str(backup)!r:.200} is no backup of a log", "name a file that `lictor log backup` wrote")
    pem = files[LOG_KEY_FILE] if LOG_KEY_FILE in files else _own_key(state)
    log = Log(draft, str(meta.get("origin")), signing_key(pem), sealed=True)
    size = check(copy, log).size
    newest = str(copy.execute("SELECT text FROM checkpoints ORDER BY size DESC LIMIT 1").fetchone()[0])
    known = _anchored(state, newest, chain_in(copy, log.key()))
    for name, data in sorted(files.items()):
        if not create_private(state / name, data) and (state / name).read_bytes() != data:
            raise _refused(f"{str(state / name)!r:.200} is there already, and another", "restore into an empty folder")
    copy.execute(f"DROP TABLE {_TABLE}")  # secure_delete: the key leaves no copy in the log's file
    return Restored(size=size, origin=log.origin, lost=max(0, known - size), files=tuple(sorted(files)))


def _own_key(state: Path) -> bytes:
    """The signing key of a backup that was made without it."""
    path = state / LOG_KEY_FILE
    if not path.exists():
        raise _refused("the backup was made without the log's key", f"put it into {str(path)!r:.200} first")
    check_private(path)
    return path.read_bytes()


def _anchored(state: Path, newest: str, keys: LogKeys) -> int:
    """Keep the backup's newest checkpoint as the anchor, unless a newer one is there; the size of the one that is."""
    path = state / ANCHOR_FILE
    size = open_checkpoint(newest, keys).size
    kept = _size_of_anchor(path, keys) if path.exists() else -1
    if kept <= size:
        replace_private(path, newest.encode())
    return max(kept, size)


def _size_of_anchor(path: Path, keys: LogKeys) -> int:
    try:
        return open_checkpoint(path.read_text("utf-8"), keys).size
    except StoreError as error:
        error.where = str(path)
        error.remedy = "keep it elsewhere, as evidence; after a change of the log's key an older backup cannot know it"
        raise


def lift_seal(log: Log, checkpoint: str, keep_as: str) -> None:
    """The epoch was raised and that is durable: from now on the log can be opened. The anchor begins anew with it.

    Args:
        checkpoint: the newest, over the record that says so.
        keep_as: name under which the anchor of before stays beside the new one: it may be evidence.

    Raises:
        StoreError: `cannot_record`: it stays sealed; the epoch can be raised once more.
    """
    anchor = log.path.with_name(ANCHOR_FILE)
    try:
        if anchor.exists():
            create_private(anchor.with_name(keep_as), anchor.read_bytes())
        replace_private(anchor, checkpoint.encode())
        with _opened(log.path) as connection:
            connection.execute("DELETE FROM meta WHERE key = ?", (SEAL,))
    except (OSError, *UNREADABLE) as error:
        raise StoreError(Reason.CANNOT_RECORD, f"the log stays sealed: {error}", remedy="try again") from error


def seal_of(path: Path) -> dict[str, int] | None:
    """When the backup was made that a log was restored from, and its size; None: it is not sealed.

    Raises:
        StoreError: `log_damaged`: it cannot be read.
    """
    try:
        with _opened(path, read_only=True) as connection:
            row = connection.execute("SELECT value FROM meta WHERE key = ?", (SEAL,)).fetchone()
        return None if row is None else {name: int(value) for name, value in json.loads(row[0]).items()}
    except (*UNREADABLE, ValueError, AttributeError, TypeError) as error:
        raise StoreError(Reason.LOG_DAMAGED, f"the log cannot be read: {error}") from error


def serialized(path: Path) -> bytes:
    """Another small SQLite file, as one moment had it.

    Raises:
        StoreError: `cannot_record`: it cannot be read.
    """
    try:
        with _opened(path, read_only=True) as source, sqlite3.connect(":memory:") as copy:
            source.backup(copy)
            return copy.serialize()
    except UNREADABLE as error:
        raise StoreError(Reason.CANNOT_RECORD, f"{str(path)!r:.200} cannot be copied: {error}") from error


@contextmanager
def _opened(path: Path, *, read_only: bool = False) -> Iterator[sqlite3.Connection]:
    connection = connect(path, read_only=read_only)
    try:
        yield connection
    finally:
        connection.close()


def _copy(backup: Path, draft: Path, on_progress: Callable[[int, int], None] | None) -> None:
    """The backup's bytes; the backup itself is never opened for writing."""
    total, done = backup.stat().st_size, 0
    draft.unlink(missing_ok=True)  # of a restore that died
    descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, FILE_MODE)
    with open(descriptor, "wb") as target, backup.open("rb") as source:  # noqa: PTH123 - a descriptor
        while chunk := source.read(_CHUNK):
            target.write(chunk)
            done += len(chunk)
            if on_progress is not None:
                on_progress(done, total)


def _synced(path: Path) -> None:
    descriptor = os.open(path, os.O_RDWR)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _journal(path: Path) -> Path:
    return path.with_name(f"{path.name}-journal")


def _refused(message: str, remedy: str) -> LictorError:
    return OperatorError(Reason.CONFIG_REFUSED, message, remedy=remedy)
