"""How far each sink outside has taken the log: one small file a sink in the state folder, and one lock beside it.

A place is written whole and synced before it counts. The lock dies with its process, so that another gateway on the same log
goes on sending. It refuses to know what is sent.
"""

import os
from pathlib import Path
from typing import Final

import msgspec

from lictor.model.errors import StoreError
from lictor.model.reasons import Reason
from lictor.service.log.pump import Place
from lictor.stores.instances import try_lock
from lictor.stores.private import FILE_MODE, check_private, private_folder, replace_private

FOLDER: Final = "sinks"
_MAX: Final = 4_096


class FilePlace:
    """`lictor.service.log.pump.Keeper` of one sink."""

    def __init__(self, state: Path, name: str) -> None:
        """Of a sink by its name, which is a part of a file's name (`sinks.settings` sees to that).

        Raises:
            OperatorError: `config_refused`: the folder cannot be used.
        """
        folder = private_folder(state / FOLDER)
        self._path, self._lock_path = folder / f"{name}.place", folder / f"{name}.lock"
        self._lock: int | None = None

    def mine(self) -> bool:
        """See `Keeper.mine`."""
        if self._lock is not None:
            return True
        flags = os.O_RDWR | os.O_CREAT | getattr(os, "O_CLOEXEC", 0)
        try:
            descriptor = os.open(self._lock_path, flags, FILE_MODE)
        except OSError as error:
            raise StoreError(Reason.CANNOT_RECORD, f"cannot lock a sink's place: {error.strerror}") from error
        if try_lock(descriptor):
            self._lock = descriptor
            return True
        os.close(descriptor)
        return False

    def load(self) -> Place | None:
        """See `Keeper.load`.

        Raises:
            StoreError: `cannot_record`: it is there and cannot be read.
            OperatorError: `config_refused`: it is open to others, who could move it.
        """
        try:
            check_private(self._path)
            with self._path.open("rb") as file:
                return msgspec.json.decode(file.read(_MAX), type=Place)
        except FileNotFoundError:
            return None
        except (OSError, msgspec.MsgspecError) as error:
            raise StoreError(Reason.CANNOT_RECORD, "the kept place cannot be read") from error

    def save(self, place: Place) -> None:
        """See `Keeper.save`.

        Raises:
            StoreError: `cannot_record`: the old place stays.
        """
        try:
            replace_private(self._path, msgspec.json.encode(place))
        except OSError as error:
            raise StoreError(
                Reason.CANNOT_RECORD, f"cannot keep a sink's place: {error.strerror}", remedy="free space on the disk"
            ) from error

    def close(self) -> None:
        """See `Keeper.close`. The file of the lock stays: two that remove and create it would both hold one."""
        if self._lock is not None:
            os.close(self._lock)
            self._lock = None
