"""The SQLite file: its tables, how it is opened, and what must be true before anything is written to it.

It refuses to know what entries and rows mean. The log's tables only ever grow: triggers abort every other change, so that
a bug (or a careless `sqlite3` session) is stopped; against an attacker with write access the signed tree is what counts.
"""

import hmac
import os
import sqlite3
import time
from contextlib import suppress
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any, Final, Never
from urllib.parse import quote

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from lictor.model.errors import OperatorError, StoreError
from lictor.model.reasons import Reason
from lictor.records.checkpoint import Checkpoint, LogKeys, VerifierKey, open_checkpoint, sign_checkpoint
from lictor.records.merkle import FrontierBuilder
from lictor.stores.keychain import chain_in
from lictor.stores.private import FILE_MODE, check_private, private_folder

VERSION: Final = 1
BUSY_S: Final = 5.0
"""How long a statement waits for another process's transaction; then the commit fails and nothing runs."""
_BUSY_STEP_S: Final = 0.001
OLDEST_SQLITE: Final = (3, 37, 0)
"""STRICT tables: a cell never holds another type than its column's."""

SEAL: Final = "sealed"
"""Key in `meta` of a log that was restored from a backup: nothing is written until an operator raises the epoch (facts R22)."""

_TABLES: Final = """
CREATE TABLE meta(key TEXT PRIMARY KEY, value TEXT NOT NULL) STRICT, WITHOUT ROWID;
CREATE TABLE entries(seq INTEGER PRIMARY KEY, data BLOB NOT NULL, leaf BLOB NOT NULL) STRICT;
CREATE TABLE checkpoints(size INTEGER PRIMARY KEY, text TEXT NOT NULL) STRICT;
CREATE TABLE head(id INTEGER PRIMARY KEY CHECK(id = 0), frontier BLOB NOT NULL) STRICT;
CREATE TABLE rows(
  kind TEXT NOT NULL, id TEXT NOT NULL, status TEXT NOT NULL, owner TEXT NOT NULL, at_ms INTEGER NOT NULL,
  body BLOB NOT NULL, PRIMARY KEY(kind, id)
) STRICT;
CREATE INDEX rows_tasks ON rows(at_ms) WHERE kind = 'task';
CREATE INDEX rows_holds ON rows(at_ms) WHERE kind = 'hold';
CREATE INDEX rows_holds_pending ON rows(at_ms) WHERE kind = 'hold' AND status = 'pending';
CREATE INDEX rows_holds_task ON rows(owner, at_ms) WHERE kind = 'hold';
CREATE INDEX rows_executions_open ON rows(at_ms, owner) WHERE kind = 'execution' AND status = 'started';
CREATE INDEX rows_executions_unknown ON rows(at_ms) WHERE kind = 'execution' AND status = 'indeterminate';
CREATE TABLE task_keys(task TEXT PRIMARY KEY, key BLOB NOT NULL) STRICT, WITHOUT ROWID;
CREATE TABLE payloads(
  request TEXT PRIMARY KEY, task TEXT NOT NULL, nonce BLOB NOT NULL, ciphertext BLOB NOT NULL
) STRICT;
CREATE TABLE bundles(
  revision TEXT NOT NULL, name TEXT NOT NULL, data BLOB NOT NULL, PRIMARY KEY(revision, name)
) STRICT;
"""

_ROLLS: Final = """
CREATE TABLE IF NOT EXISTS rolls(last INTEGER PRIMARY KEY, text TEXT NOT NULL) STRICT;
CREATE TRIGGER IF NOT EXISTS rolls_append BEFORE INSERT ON rolls
  WHEN NEW.last <= (SELECT ifnull(max(last), -1) FROM rolls)
  BEGIN SELECT RAISE(ABORT, 'rolls only grow'); END;
CREATE TRIGGER IF NOT EXISTS rolls_update BEFORE UPDATE ON rolls BEGIN SELECT RAISE(ABORT, 'rolls never change'); END;
CREATE TRIGGER IF NOT EXISTS rolls_delete BEFORE DELETE ON rolls BEGIN SELECT RAISE(ABORT, 'rolls are never removed'); END;
"""
"""One signature over many checkpoints (`records.roll`). Added to a log that has none yet: it then begins with the next one."""

# REPLACE deletes without firing a delete trigger, hence the insert triggers: only the next number is taken.
_TRIGGERS: Final = """
CREATE TRIGGER entries_append BEFORE INSERT ON entries
  WHEN NEW.seq IS NOT (SELECT ifnull(max(seq), -1) + 1 FROM entries)
  BEGIN SELECT RAISE(ABORT, 'log entries are only appended'); END;
CREATE TRIGGER entries_update BEFORE UPDATE ON entries BEGIN SELECT RAISE(ABORT, 'log entries never change'); END;
CREATE TRIGGER entries_delete BEFORE DELETE ON entries BEGIN SELECT RAISE(ABORT, 'log entries are never removed'); END;
CREATE TRIGGER checkpoints_append BEFORE INSERT ON checkpoints
  WHEN NEW.size <= (SELECT ifnull(max(size), -1) FROM checkpoints)
  BEGIN SELECT RAISE(ABORT, 'checkpoints only grow'); END;
CREATE TRIGGER checkpoints_update BEFORE UPDATE ON checkpoints BEGIN SELECT RAISE(ABORT, 'checkpoints never change'); END;
CREATE TRIGGER checkpoints_delete BEFORE DELETE ON checkpoints BEGIN SELECT RAISE(ABORT, 'checkpoints are never removed'); END;
"""


@dataclass(frozen=True, slots=True)
class Log:
    """Which log: the file, its origin, and who signs its checkpoints."""

    path: Path
    origin: str
    signer: Ed25519PrivateKey
    sealed: bool = False
    """Whether it may be opened although it was restored from a backup and is sealed: only to raise the epoch."""

    def key(self) -> VerifierKey:
        """What its checkpoints must be signed with."""
        return VerifierKey.of(self.origin, self.signer)

    def journal_key(self) -> bytes:
        """What its journal is authenticated with: whoever can sign its checkpoints knows it, and nobody else."""
        return _journal_key(self.origin, self.signer)

    def sign(self, tree: FrontierBuilder) -> str:
        """The signed checkpoint of a tree."""
        return sign_checkpoint(Checkpoint(self.origin, tree.size, tree.root()), self.signer)


@lru_cache(maxsize=4)
def _journal_key(origin: str, signer: Ed25519PrivateKey) -> bytes:
    return hmac.digest(signer.private_bytes_raw(), b"lictor journal\n" + origin.encode(), "sha256")


def connect(path: Path, *, read_only: bool = False) -> sqlite3.Connection:
    """A connection in autocommit mode, usable from any one thread at a time; the file must exist.

    Raises:
        sqlite3.Error: it cannot be opened.
    """
    uri = f"file:{quote(str(path.absolute()))}?mode=rw"
    connection = sqlite3.connect(uri, uri=True, isolation_level=None, check_same_thread=False, timeout=BUSY_S)
    try:
        connection.execute("PRAGMA trusted_schema=OFF")  # a schema somebody planted calls no functions
        connection.execute("PRAGMA cell_size_check=ON")
        connection.execute("PRAGMA foreign_keys=ON")
        if read_only:
            connection.execute("PRAGMA query_only=ON")
        else:
            connection.execute("PRAGMA synchronous=FULL")  # NORMAL lost 23 % of acknowledged commits (facts R2)
            connection.execute("PRAGMA secure_delete=ON")  # an erased task key leaves no copy in the file
            connection.execute("PRAGMA wal_autocheckpoint=0")  # the writer says when
    except sqlite3.Error:
        connection.close()
        raise
    return connection


def begin(cursor: sqlite3.Cursor, *, wait: bool) -> bool:
    """Begin to write, once no other process does; False when one does and it is not to be waited for.

    Raises:
        sqlite3.Error: it cannot be begun, or not within `BUSY_S`.
    """
    try:
        _patiently(cursor, "BEGIN IMMEDIATE", BUSY_S if wait else 0)
    except sqlite3.OperationalError as error:
        if wait or not is_busy(error):
            raise
        return False
    return True


def _patiently(cursor: sqlite3.Cursor, statement: str, seconds: float) -> list[Any]:
    """The rows of a statement, tried again while somebody else has what it needs: not everywhere does SQLite wait by itself."""
    give_up = time.monotonic() + seconds
    while True:
        try:
            return cursor.execute(statement).fetchall()
        except sqlite3.OperationalError as error:
            if not is_busy(error) or time.monotonic() >= give_up:
                raise
        time.sleep(_BUSY_STEP_S)


def is_busy(error: sqlite3.Error) -> bool:
    """Whether somebody else has what a statement needs."""
    return error.sqlite_errorcode & 0xFF == sqlite3.SQLITE_BUSY


def synchronous(cursor: sqlite3.Cursor, *, full: bool) -> None:
    """Whether this connection's commits are durable when they return. Only what a journal has may do without (ADR 0023)."""
    cursor.execute(f"PRAGMA synchronous={'FULL' if full else 'NORMAL'}")


def discard(connection: sqlite3.Connection) -> None:
    """Close a connection that may be in a transaction, whatever its disk does.

    A traceback may keep a statement, and a statement keeps a closed connection alive, its write lock with it: then everybody
    would find the log locked. So the transaction is ended here, not by `close`.
    """
    with suppress(sqlite3.Error):  # nothing can be said to anybody; who comes next opens anew or fails
        if connection.in_transaction:
            connection.execute("ROLLBACK")
    with suppress(sqlite3.Error):
        connection.close()


def prepare(log: Log) -> None:
    """Create the file with its tables and the checkpoint of the empty log, unless that is done already.

    Safe when several processes do it at once: everything happens in one exclusive transaction, and the loser finds it done.

    Raises:
        OperatorError: `config_refused`: SQLite is too old, or the file or folder is open to others.
        StoreError: `cannot_record`: the disk failed on the way.
        OSError, sqlite3.Error: it cannot be written.
    """
    if sqlite3.sqlite_version_info < OLDEST_SQLITE:
        wanted = ".".join(map(str, OLDEST_SQLITE))
        raise OperatorError(
            Reason.CONFIG_REFUSED,
            f"python is built with sqlite {sqlite3.sqlite_version}; {wanted} is needed",
            remedy="use another python build",
        )
    private_folder(log.path.parent)
    try:
        os.close(os.open(log.path, os.O_RDWR | os.O_CREAT | os.O_EXCL, FILE_MODE))
    except FileExistsError:
        check_private(log.path)
    connection = connect(log.path)
    try:
        # Outside WAL a first opener may be anywhere in the steps below; inside it, the file is complete.
        if connection.execute("PRAGMA journal_mode").fetchone()[0] == "wal":
            _add_rolls(connection)
            return
        connection.execute("BEGIN EXCLUSIVE")
        if connection.execute("SELECT count(*) FROM sqlite_schema").fetchone()[0] == 0:
            _create(connection, log)
        connection.execute("COMMIT")
        # Its row comes before its commit: who does not read on never hears that the disk refused, and the log stays in a mode
        # whose commits a power cut takes back. Of two that change over at once SQLite turns one away without waiting.
        [(mode,)] = _patiently(connection.cursor(), "PRAGMA journal_mode=WAL", BUSY_S)
        if mode != "wal":
            message = f"the log stays in journal mode {mode!r:.20}"
            raise StoreError(
                Reason.CANNOT_RECORD, message, remedy="look at the disk of the state folder; then start again"
            )
    finally:
        connection.close()


def _create(connection: sqlite3.Connection, log: Log) -> None:
    for statement in _statements(_TABLES + _TRIGGERS + _ROLLS):
        connection.execute(statement)
    tree = FrontierBuilder()
    connection.executemany("INSERT INTO meta VALUES(?, ?)", [("version", str(VERSION)), ("origin", log.origin)])
    connection.execute("INSERT INTO head VALUES(0, ?)", (tree.to_bytes(),))
    connection.execute("INSERT INTO checkpoints VALUES(0, ?)", (log.sign(tree),))


def _add_rolls(connection: sqlite3.Connection) -> None:
    """To a log of an earlier release."""
    if connection.execute("SELECT count(*) FROM sqlite_schema WHERE name = 'rolls_delete'").fetchone()[0] == 0:
        connection.execute("BEGIN IMMEDIATE")
        for statement in _statements(_ROLLS):
            connection.execute(statement)
        connection.execute("COMMIT")


def _statements(script: str) -> list[str]:
    """`executescript` commits what is open first; these run inside a transaction."""
    found, pending = [], ""
    for line in script.splitlines(keepends=True):
        pending += line
        if sqlite3.complete_statement(pending):
            found.append(pending.strip())
            pending = ""
    return found


def check(connection: sqlite3.Connection, log: Log, anchor: str | None = None) -> FrontierBuilder:
    """The head of the log, once it is known to be one. Constant time; `lictor log verify` reads everything.

    The numbers are the checks.

    1. The file is of this version and of this log, and not a restored one whose epoch nobody has raised (facts R22).
    2. The head counts as many entries as there are.
    3. The newest checkpoint is signed by our key, or by the one that handed over to it with this very checkpoint, and is of the
       head (facts R9: cut tails, rollback of a table).
    4. The anchor, if there is one, is a checkpoint of this log and no larger than it (rollback of the file).

    Raises:
        OperatorError: `config_refused`: another version or another log.
        StoreError: `restored_sealed`; `log_key_changed`: another key than ours signs; `log_damaged`: anything else.
        sqlite3.Error: it cannot be read.
    """
    connection.execute("BEGIN")  # one snapshot: other processes append meanwhile
    try:
        return _checked(connection, log, anchor)
    finally:
        connection.execute("ROLLBACK")


def _checked(connection: sqlite3.Connection, log: Log, anchor: str | None) -> FrontierBuilder:
    meta = dict(connection.execute("SELECT key, value FROM meta"))
    if meta.get("version") != str(VERSION):  # 1
        _refuse(
            log, f"is of schema version {meta.get('version')!r:.40}, not {VERSION}", "use the release that wrote it"
        )
    if meta.get("origin") != log.origin:
        remedy = "set log_name back; a log keeps its name"
        _refuse(log, f"is the log {meta.get('origin')!r:.100}, not {log.origin!r:.100}", remedy)
    if SEAL in meta and not log.sealed:
        raise StoreError(
            Reason.RESTORED_SEALED,
            f"{str(log.path)!r:.200} was restored from a backup: what it permits may have been used since",
            remedy="look at it with: lictor log verify; go on with: lictor log unseal",
        )
    head = connection.execute("SELECT frontier FROM head").fetchone()
    if head is None:
        raise _damaged("the log has no head")
    tree = FrontierBuilder.from_bytes(head[0])
    newest = connection.execute("SELECT ifnull(max(seq), -1) + 1 FROM entries").fetchone()[0]
    if tree.size != newest:  # 2
        raise _damaged(f"the head counts {tree.size} entries, there are {newest}")
    text = connection.execute("SELECT text FROM checkpoints ORDER BY size DESC LIMIT 1").fetchone()
    if text is None:
        raise _damaged("the log has no checkpoint")
    keys = chain_in(connection, log.key())
    signed = open_checkpoint(text[0], keys)
    if (signed.size, signed.root) != (tree.size, tree.root()):  # 3
        raise _damaged(f"the newest checkpoint, of size {signed.size}, is not of the head, of size {tree.size}")
    if anchor is not None:
        _check_anchor(connection, open_checkpoint(anchor, keys), keys, tree.size)  # 4
    return tree


def _check_anchor(connection: sqlite3.Connection, anchor: Checkpoint, keys: LogKeys, size: int) -> None:
    if anchor.size > size:
        raise _damaged(f"the anchor covers {anchor.size} entries, the log has {size}: it was rolled back")
    row = connection.execute("SELECT text FROM checkpoints WHERE size = ?", (anchor.size,)).fetchone()
    # Anchors are copies of our own checkpoints, so the log has one of that size.
    if row is None or open_checkpoint(row[0], keys).root != anchor.root:
        raise _damaged(f"the log is not the one its anchor of size {anchor.size} was taken from")


def _damaged(message: str) -> StoreError:
    return StoreError(Reason.LOG_DAMAGED, message, remedy="nothing is written to it; see: lictor log verify")


def _refuse(log: Log, message: str, remedy: str) -> Never:
    raise OperatorError(Reason.CONFIG_REFUSED, f"{str(log.path)!r:.200} {message}", remedy=remedy)
