"""The safe of a state folder, as configured, and what of it this process must know and must not spill.

Refuses to know servers and tasks.
"""

import asyncio
import sys
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

from lictor.config import BrokerSettings
from lictor.credentials.masterkey import CommandMaster, FileMaster, KeyringMaster, Master
from lictor.credentials.safe import FILE, Safe, Sealed
from lictor.model.errors import LictorError
from lictor.service.credentials.managed import Managed

REFRESH_S = 2.0
"""A secret put into the safe while we run is known to everything that scrubs within this time."""
_PR_SET_DUMPABLE = 4


def sealed(state: Path, settings: BrokerSettings) -> Sealed:
    """The safe of a state folder, as configured."""
    return Sealed(state, master_of(state, settings))


def master_of(state: Path, settings: BrokerSettings) -> Master:
    """Where the safe's master key is."""
    match settings.key:
        case "file":
            return FileMaster(state)
        case "command":
            return CommandMaster(state, settings.unseal, settings.seal)
        case "keyring":
            return KeyringMaster(state)


class SafeWatch:
    """Keeps everything that scrubs aware of what the safe holds."""

    def __init__(self, safe: Safe, managed: Managed, state: Path, say: Callable[[str], None]) -> None:
        self._safe = safe
        self._managed = managed
        self._file = state / FILE
        self._stamp: tuple[int, int] | None = None
        self._say = say

    async def refresh(self) -> None:
        """Look for what the safe holds now.

        Raises:
            StoreError: it cannot be opened.
        """
        stamp = None
        with suppress(FileNotFoundError):
            found = self._file.stat()
            stamp = found.st_mtime_ns, found.st_size
        if stamp != self._stamp:
            values = await self._safe.values()
            self._managed.keep({name: secret.reveal() for name, secret in values.items()})
            self._stamp = stamp

    async def run(self) -> None:
        """Refresh until cancelled; each fault is said once."""
        said = ""
        while True:
            await asyncio.sleep(REFRESH_S)
            try:
                await self.refresh()
                said = ""
            except Exception as error:  # noqa: BLE001 - the next change must still be seen
                text = f"the safe cannot be read: {error}" if isinstance(error, LictorError) else type(error).__name__
                if text != said:
                    self._say(text)
                said = text


def harden() -> None:
    """No memory of this process on disk, and none for other processes of the same user (CRED-07).

    A core dump would hold what is lent. Best effort where the system has no such call; never an error.
    """
    with suppress(ImportError, OSError, ValueError):
        import resource  # noqa: PLC0415 - not on Windows

        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    if sys.platform == "linux":
        with suppress(OSError, AttributeError):
            import ctypes  # noqa: PLC0415 - only where it is needed

            ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_DUMPABLE, 0, 0, 0, 0)
