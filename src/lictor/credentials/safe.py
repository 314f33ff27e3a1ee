"""The safe: small secrets sealed at rest in the state folder. Refuses to know what they are for and who may use them.

One SQLite file (`safe.db`, 0600). Each value is sealed with AES-256-GCM under a data key, name and version as associated data:
a value moved to another name, or an older one put back under a newer version, does not open. The data key is wrapped by a master
key (`credentials.masterkey`) that is elsewhere: in a file, with a KMS behind a command, or in the OS keyring.

What a crash means: values change in one transaction. While the master key is changed the new one is durable before anything is
sealed with it, and the old one stays until nothing needs it (`masterkey.Master.renew`).
"""

import asyncio
import os
import re
import sqlite3
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from lictor.credentials.masterkey import KEY_BYTES, Master, fingerprint
from lictor.model.errors import CallerError, StoreError
from lictor.model.reasons import Reason
from lictor.model.secret import Secret
from lictor.ports import Clock

FILE: Final = "safe.db"
MIN_BYTES: Final = 8
MAX_BYTES: Final = 64 * 1024
"""A private key with its chain fits; a file does not belong here."""
NAME: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,127}", re.ASCII)
"""What a person may call a secret. Notes of leases have a colon and are none of theirs."""
_NONCE: Final = 12
_BUSY_MS: Final = 5_000
_TABLES: Final = """
CREATE TABLE IF NOT EXISTS keys(id INTEGER PRIMARY KEY CHECK(id = 0), master TEXT NOT NULL, wrapped BLOB NOT NULL) STRICT;
CREATE TABLE IF NOT EXISTS secrets(
  name TEXT PRIMARY KEY, version INTEGER NOT NULL, sealed BLOB NOT NULL, changed_ms INTEGER NOT NULL
) STRICT, WITHOUT ROWID;
"""


class Sealed:
    """The safe of one state folder, for one thread at a time. Opened for each use: it is used rarely."""

    def __init__(self, folder: Path, master: Master) -> None:
        self._path = folder / FILE
        self._master = master
        self._data_key: tuple[str, bytes] | None = None

    @property
    def exists(self) -> bool:
        """Whether anything was ever sealed here."""
        return self._path.exists()

    def read(self, name: str) -> Secret | None:
        """The newest value; None: there is none.

        Raises:
            StoreError: `log_damaged`: it does not open; `cannot_record`: the file or the master key is out of reach.
        """
        if not self.exists:
            return None
        with self._open() as (connection, key):
            row = connection.execute("SELECT version, sealed FROM secrets WHERE name = ?", (name,)).fetchone()
        return None if row is None else Secret(_unseal(key, name, row[0], row[1]).decode())

    def values(self) -> Mapping[str, Secret]:
        """Everything that people put here, by name; no notes of leases.

        Raises:
            StoreError: as `read`.
        """
        if not self.exists:
            return {}
        with self._open() as (connection, key):
            rows = connection.execute("SELECT name, version, sealed FROM secrets ORDER BY name").fetchall()
        return {
            name: Secret(_unseal(key, name, version, sealed).decode())
            for name, version, sealed in rows
            if _is_name(name)
        }

    def names(self) -> list[tuple[str, int, int]]:
        """(name, version, milliseconds since it changed) of everything that people put here. Needs no key."""
        if not self.exists:
            return []
        with self._file() as connection:
            rows = connection.execute("SELECT name, version, changed_ms FROM secrets ORDER BY name").fetchall()
        return [row for row in rows if _is_name(row[0])]

    def notes(self, prefix: str) -> tuple[str, ...]:
        """Names that begin so, notes of ours included. Needs no key."""
        if not self.exists:
            return ()
        with self._file() as connection:
            rows = connection.execute("SELECT name FROM secrets WHERE name >= ? ORDER BY name", (prefix,)).fetchall()
        return tuple(row[0] for row in rows if row[0].startswith(prefix))

    def write(self, name: str, secret: Secret, now_ms: int) -> int:
        """Keep a value in place of any older one; its version.

        Raises:
            CallerError: `invalid_arguments`: too short to be looked for in replies, or too long.
            StoreError: it is not kept.
        """
        data = secret.reveal().encode()
        if not MIN_BYTES <= len(data) <= MAX_BYTES:
            raise CallerError(
                Reason.INVALID_ARGUMENTS,
                f"a secret has {MIN_BYTES} to {MAX_BYTES} bytes",
                remedy="a shorter one could not be told from ordinary text in a server's reply",
            )
        with self._open() as (connection, key):
            row = connection.execute("SELECT version FROM secrets WHERE name = ?", (name,)).fetchone()
            version = 1 if row is None else int(row[0]) + 1
            sealed = _seal(key, name, version, data)
            connection.execute(
                "INSERT INTO secrets VALUES(?, ?, ?, ?) ON CONFLICT(name) DO UPDATE SET "
                "version = excluded.version, sealed = excluded.sealed, changed_ms = excluded.changed_ms",
                (name, version, sealed, now_ms),
            )
        return version

    def remove(self, name: str) -> bool:
        """Forget it; whether it was there. The page it was on is overwritten.

        Raises:
            StoreError: it may still be there.
        """
        if not self.exists:
            return False
        with self._file() as connection:
            return connection.execute("DELETE FROM secrets WHERE name = ?", (name,)).rowcount > 0

    def renew(self, master: Master | None = None) -> None:
        """Change both keys: everything is sealed anew under a fresh data key, wrapped by a fresh master key.

        Args:
            master: where the master key is kept from now on; None: where it is.

        Raises:
            StoreError: nothing changed.
        """
        target = master or self._master
        fresh = target.renew()
        try:
            with self._open() as (connection, key):
                data_key = AESGCM.generate_key(8 * KEY_BYTES)
                rows = connection.execute("SELECT name, version, sealed FROM secrets").fetchall()
                for name, version, sealed in rows:
                    again = _seal(data_key, name, version, _unseal(key, name, version, sealed))
                    connection.execute("UPDATE secrets SET sealed = ? WHERE name = ?", (again, name))
                _keep_key(connection, fresh, data_key)
        except BaseException:
            target.forget(fresh)
            raise
        self._data_key = None
        target.settle(fresh)
        self._master = target

    # -- inside --------------------------------------------------------------------------------------------------------------

    @contextmanager
    def _open(self) -> Iterator[tuple[sqlite3.Connection, bytes]]:
        """One transaction, with the data key; the first one makes it."""
        with self._file() as connection:
            row = connection.execute("SELECT master, wrapped FROM keys").fetchone()
            if row is None:
                master = self._master.first()
                data_key = AESGCM.generate_key(8 * KEY_BYTES)
                _keep_key(connection, master, data_key)
                yield connection, data_key
                return
            if self._data_key is None or self._data_key[0] != row[0]:
                master = self._master.find(row[0])
                self._data_key = row[0], _unseal(master, "data key", 1, row[1])
            yield connection, self._data_key[1]

    @contextmanager
    def _file(self) -> Iterator[sqlite3.Connection]:
        try:
            if not self.exists:
                # With its mode from the first moment: SQLite would take the umask's.
                os.close(os.open(self._path, os.O_CREAT | os.O_RDWR | getattr(os, "O_CLOEXEC", 0), 0o600))
            if os.name == "posix" and self._path.stat().st_mode & 0o077:
                text = f"{str(self._path)!r:.200} is open to others"
                raise StoreError(Reason.CANNOT_RECORD, text, remedy=f"chmod 600 {str(self._path)!r:.200}")
            connection = sqlite3.connect(self._path, isolation_level=None, timeout=_BUSY_MS / 1_000)
        except (OSError, sqlite3.Error) as error:
            raise _unusable(error) from None
        try:
            connection.execute("PRAGMA secure_delete = ON")
            connection.execute("PRAGMA synchronous = FULL")
            connection.execute("BEGIN IMMEDIATE")
            for statement in _TABLES.split(";\n"):
                connection.execute(statement)
            yield connection
            connection.execute("COMMIT")
        except sqlite3.Error as error:
            raise _unusable(error) from None
        finally:
            connection.close()


class Safe:
    """`lictor.ports.Safe` over a `Sealed`: files and commands are waited for in a thread, one use at a time."""

    def __init__(self, sealed: Sealed, clock: Clock) -> None:
        self._sealed = sealed
        self._clock = clock
        self._turn = asyncio.Lock()

    async def read(self, name: str) -> Secret | None:
        """See the port."""
        async with self._turn:
            return await asyncio.to_thread(self._sealed.read, name)

    async def write(self, name: str, secret: Secret) -> None:
        """See the port."""
        async with self._turn:
            await asyncio.to_thread(self._sealed.write, name, secret, self._clock.now_ms())

    async def remove(self, name: str) -> None:
        """See the port."""
        async with self._turn:
            await asyncio.to_thread(self._sealed.remove, name)

    async def names(self, prefix: str) -> tuple[str, ...]:
        """See the port."""
        async with self._turn:
            return await asyncio.to_thread(self._sealed.notes, prefix)

    async def values(self) -> Mapping[str, Secret]:
        """Everything people put there."""
        async with self._turn:
            return await asyncio.to_thread(self._sealed.values)


def _is_name(name: str) -> bool:
    return NAME.fullmatch(name) is not None


def _bound(name: str, version: int) -> bytes:
    return f"lictor safe 1\0{name}\0{version}".encode()


def _seal(key: bytes, name: str, version: int, data: bytes) -> bytes:
    nonce = os.urandom(_NONCE)
    return nonce + AESGCM(key).encrypt(nonce, data, _bound(name, version))


def _unseal(key: bytes, name: str, version: int, sealed: bytes) -> bytes:
    try:
        return AESGCM(key).decrypt(sealed[:_NONCE], sealed[_NONCE:], _bound(name, version))
    except (InvalidTag, ValueError):
        message = f"what the safe holds as {name!r:.80} does not open"
        raise StoreError(Reason.LOG_DAMAGED, message, remedy="restore safe.db and its master key together") from None


def _keep_key(connection: sqlite3.Connection, master: bytes, data_key: bytes) -> None:
    wrapped = _seal(master, "data key", 1, data_key)
    connection.execute(
        "INSERT INTO keys VALUES(0, ?, ?) ON CONFLICT(id) DO UPDATE SET master = excluded.master, wrapped = excluded.wrapped",
        (fingerprint(master), wrapped),
    )


def _unusable(error: Exception) -> StoreError:
    return StoreError(Reason.CANNOT_RECORD, f"the safe cannot be used: {type(error).__name__}: {str(error)[:120]}")
