"""One of the processes on a state folder takes what is nobody's. Refuses to know what that is.

The turn is a lock on a file: it passes on when its holder dies, however that died, and to nobody while it lives.
"""

import os
from pathlib import Path

from lictor.model.errors import OperatorError
from lictor.model.reasons import Reason
from lictor.stores.instances import try_lock
from lictor.stores.private import FILE_MODE

FILE = "reaper.lock"


class Turn:
    """The turn as one process sees it."""

    def __init__(self, folder: Path) -> None:
        self._path = folder / FILE
        self._descriptor: int | None = None

    def mine(self) -> bool:
        """Whether this process has the turn; takes it when nobody has it.

        Raises:
            OperatorError: `config_refused`: the folder cannot be written.
        """
        if self._descriptor is not None:
            return True
        try:
            descriptor = os.open(self._path, os.O_RDWR | os.O_CREAT | getattr(os, "O_CLOEXEC", 0), FILE_MODE)
        except OSError as error:
            text = f"cannot open {str(self._path)!r:.200}: {error.strerror}"
            raise OperatorError(Reason.CONFIG_REFUSED, text) from error
        if not try_lock(descriptor):
            os.close(descriptor)
            return False
        self._descriptor = descriptor
        return True

    def close(self) -> None:
        """Pass it on. Idempotent."""
        if self._descriptor is not None:
            os.close(self._descriptor)
            self._descriptor = None
