"""Ways in which a record store cannot record: each a context manager that breaks the real store and mends it again."""

import resource
import sqlite3
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import Any

from crash.rig import Rig
from lictor.model.errors import StoreError
from lictor.model.reasons import Reason
from lictor.stores import copyist, scribe, sqlite_schema

Fault = Callable[[Rig, Any], AbstractContextManager[None]]
BUSY_S = 0.2
_LOCK = """
import sqlite3, sys
connection = sqlite3.connect(sys.argv[1], isolation_level=None)
connection.execute("BEGIN IMMEDIATE")
print("locked", flush=True)
sys.stdin.read()
"""


@contextmanager
def refuses(rig: Rig, _: Any) -> Iterator[None]:
    """Every commit is refused."""

    def refuse() -> None:
        raise StoreError(Reason.CANNOT_RECORD, "no")

    rig.store.before = refuse
    try:
        yield
    finally:
        rig.store.before = None


@contextmanager
def writer_connections(rig: Rig, patch: Any, change: Callable[[sqlite3.Connection], None]) -> Iterator[None]:
    """Change the writer's connection, and every one it opens meanwhile."""
    real = scribe.connect

    def broken(path: Path, *, read_only: bool = False) -> sqlite3.Connection:
        connection = real(path, read_only=read_only)
        change(connection)
        return connection

    for module in (scribe, copyist):
        patch.setattr(module, "connect", broken)
    present = rig.real._writer._scribe.connection
    if present is not None:
        change(present)
    try:
        yield
    finally:
        for module in (scribe, copyist):
            patch.setattr(module, "connect", real)
        present = rig.real._writer._scribe.connection
        if present is not None:  # what the disk did to it is over
            present.execute("PRAGMA query_only=OFF")
            present.execute("PRAGMA max_page_count=1073741823")


def full(rig: Rig, patch: Any) -> AbstractContextManager[None]:
    """The file cannot grow: SQLITE_FULL."""
    return writer_connections(rig, patch, lambda connection: connection.execute("PRAGMA max_page_count=1"))


def read_only(rig: Rig, patch: Any) -> AbstractContextManager[None]:
    """Reads work, writes do not: a read-only standby, a file system remounted after an error."""
    return writer_connections(rig, patch, lambda connection: connection.execute("PRAGMA query_only=ON"))


@contextmanager
def out_of_space(rig: Rig, _: Any) -> Iterator[None]:
    """The operating system writes no byte behind what is there: a disk full in the middle of a page."""
    log = rig.state / "log.db-wal"
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (log.stat().st_size + 1_000, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


@contextmanager
def locked(rig: Rig, patch: Any) -> Iterator[None]:
    """Another process holds the write lock for longer than anybody waits."""
    patch.setattr(sqlite_schema, "BUSY_S", BUSY_S)
    present = rig.real._writer._scribe.connection
    if present is not None:
        present.execute(f"PRAGMA busy_timeout={int(BUSY_S * 1_000)}")
    with other_writer(rig):
        yield


@contextmanager
def other_writer(rig: Rig) -> Iterator[None]:
    """Another process is in the middle of a transaction."""
    command = [sys.executable, "-c", _LOCK, str(rig.state / "log.db")]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as other:
        assert other.stdout is not None
        other.stdout.readline()
        try:
            yield
        finally:
            other.communicate()


FAULTS: dict[str, Fault] = {
    "refuses": refuses,
    "full": full,
    "out-of-space": out_of_space,
    "read-only": read_only,
    "locked": locked,
}
