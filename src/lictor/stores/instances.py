"""Which gateway processes are alive: each holds a lock on a file named after it. It refuses to know what they did.

A lock dies with its process, however that died, so a lock that can be taken is proof of death; nothing is guessed from
process numbers or time. The folder must be on a file system with working locks (not a network share without them).
"""

import os
import re
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import Final, Self

from lictor.model.errors import OperatorError
from lictor.model.ids import InstanceId
from lictor.model.reasons import Reason
from lictor.ports import Ids
from lictor.stores.private import FILE_MODE, private_folder

if sys.platform == "win32":
    import msvcrt

    def try_lock(descriptor: int) -> bool:
        """Take the lock if nobody has it."""
        try:
            msvcrt.locking(descriptor, msvcrt.LK_NBLCK, 1)
        except OSError:
            return False
        return True

    def unlock(descriptor: int) -> None:
        """Give the lock back; for who has it."""
        msvcrt.locking(descriptor, msvcrt.LK_UNLCK, 1)
else:
    import fcntl

    def try_lock(descriptor: int) -> bool:
        """Take the lock if nobody has it."""
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            return False
        return True

    def unlock(descriptor: int) -> None:
        """Give the lock back; for who has it."""
        fcntl.flock(descriptor, fcntl.LOCK_UN)


FOLDER: Final = "instances"
_NAME = re.compile(r"[A-Za-z0-9_-]{1,128}", re.ASCII)


class Instance:
    """One running gateway. Alive for others until `close` or the end of the process."""

    __slots__ = ("_descriptor", "_path", "id")

    def __init__(self, id: InstanceId, path: Path, descriptor: int) -> None:  # noqa: A002 - the word of the model
        self.id = id
        self._path = path
        self._descriptor: int | None = descriptor

    @classmethod
    def register(cls, folder: Path, ids: Ids) -> Self:
        """Announce this process under a fresh id; done before its first record, so that no record's instance looks dead.

        Raises:
            OperatorError: `config_refused`: the folder cannot be written or locked.
        """
        instance = InstanceId(ids.new("inst"))
        path = private_folder(folder / FOLDER) / f"{instance}.lock"
        try:
            descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL | getattr(os, "O_CLOEXEC", 0), FILE_MODE)
        except OSError as error:
            raise OperatorError(
                Reason.CONFIG_REFUSED, f"cannot register in {str(path.parent)!r:.200}: {error.strerror}"
            ) from error
        if not try_lock(descriptor):
            os.close(descriptor)
            raise OperatorError(
                Reason.CONFIG_REFUSED,
                f"cannot lock {str(path)!r:.200}",
                remedy="keep the state folder on a local file system",
            )
        return cls(instance, path, descriptor)

    def close(self) -> None:
        """Stop being alive. Idempotent."""
        if self._descriptor is None:
            return
        if sys.platform == "win32":
            os.close(self._descriptor)  # an open file cannot be removed there
            self._path.unlink(missing_ok=True)
        else:
            self._path.unlink(missing_ok=True)
            os.close(self._descriptor)
        self._descriptor = None


def dead_instances(folder: Path, ids_seen: Iterable[InstanceId]) -> list[InstanceId]:
    """Of these instances, those that are provably not running: their file is gone, or its lock is free.

    In doubt (a file that cannot be opened) an instance counts as alive: its open executions stay `started`.
    """
    return [instance for instance in ids_seen if _dead(folder / FOLDER, instance)]


def live_instances(folder: Path) -> list[InstanceId]:
    """Every instance that is, or may be, running."""
    names = sorted(path.stem for path in (folder / FOLDER).glob("*.lock"))
    return [InstanceId(name) for name in names if not _dead(folder / FOLDER, InstanceId(name))]


def _dead(folder: Path, instance: InstanceId) -> bool:
    # An id comes from the log and becomes a path here; what `register` cannot have made never had a lock.
    if _NAME.fullmatch(instance) is None:
        return True
    path = folder / f"{instance}.lock"
    try:
        descriptor = os.open(path, os.O_RDWR | getattr(os, "O_CLOEXEC", 0))
    except FileNotFoundError:
        return True
    except OSError:
        return False
    try:
        if not try_lock(descriptor):
            return False
        if sys.platform != "win32":
            path.unlink(missing_ok=True)
        return True
    finally:
        os.close(descriptor)
