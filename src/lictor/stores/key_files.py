"""The files of the log's private keys while one takes the other's place.

The steps, and what a crash after each means:
1. The new key is written to `log.key.next`, whole and synced. Nothing has changed; the next attempt takes the same key.
2. With `keep`: a second name for the old key, `log.key.retired-<id>`. Nothing has changed.
3. The log records the change, in one commit that the old key signs. From here on the log names the new key, and nothing is
   written with the old one. A crash: whoever opens the folder next finds that the log names the key in `log.key.next`, and does
   step 4.
4. `log.key.next` takes the name `log.key`. The old private key has no name any more, unless it was kept.

Why it is not kept: nobody needs it. What it signed is verified with its public half, which is in the log; all that the private
half is good for is another history. (A disk may hold its blocks for longer, and older backups hold it.)

One process at a time does any of this (`changing`), so that nobody moves a key into place that another has just made. Refuses to
know what is signed.
"""

import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

import msgspec
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from lictor.model.errors import LictorError, StoreError
from lictor.model.reasons import Reason
from lictor.model.record import LogKeyChanged, decode_entry
from lictor.records.keychain import Handover
from lictor.stores.instances import try_lock
from lictor.stores.private import FILE_MODE, create_private, sync_folder
from lictor.stores.signing import LOG_FILE, LOG_KEY_FILE, new_signing_key, read_private, signing_key
from lictor.stores.snapshot import LogSnapshot

NEXT_FILE: Final = f"{LOG_KEY_FILE}.next"
RETIRED: Final = f"{LOG_KEY_FILE}.retired-"
LOCK_FILE: Final = f"{LOG_KEY_FILE}.lock"
WAIT_S: Final = 10.0
"""How long another process's change of key is waited for: a commit and a few syncs."""
_STEP_S: Final = 0.01


@contextmanager
def changing(state: Path) -> Iterator[None]:
    """The right to do the steps; it dies with the process.

    Raises:
        StoreError: `conflict`: another process has it, and kept it.
        OSError: the lock cannot be made.
    """
    descriptor = os.open(state / LOCK_FILE, os.O_RDWR | os.O_CREAT | getattr(os, "O_CLOEXEC", 0), FILE_MODE)
    try:
        give_up = time.monotonic() + WAIT_S
        while not try_lock(descriptor):
            if time.monotonic() >= give_up:
                raise StoreError(Reason.CONFLICT, "another process is changing the log's key", remedy="try again later")
            time.sleep(_STEP_S)
        yield
    finally:
        os.close(descriptor)


def next_key(state: Path) -> Ed25519PrivateKey:
    """Step 1, inside `changing`: the key that comes next, durable; the one an attempt of before made, if it did not get further.

    Raises:
        OperatorError: `config_refused`: the file is open to others, or holds no key.
        StoreError: `cannot_record`: it cannot be written.
    """
    path = state / NEXT_FILE
    try:
        if not path.exists():
            create_private(path, new_signing_key())
    except OSError as error:
        raise _failed(path, error) from error
    return signing_key(read_private(path))


def keep_old(state: Path, key_id: bytes) -> Path:
    """Step 2, inside `changing`: give the key in force a second name, which stays when the first is taken over.

    Raises:
        StoreError: `cannot_record`: it cannot be written.
    """
    path = state / f"{RETIRED}{key_id.hex()}"
    try:
        create_private(path, read_private(state / LOG_KEY_FILE))
    except OSError as error:
        raise _failed(path, error) from error
    return path


def take_over(state: Path) -> None:
    """Step 4, inside `changing`, once the log names the key in `log.key.next`.

    Raises:
        StoreError: `cannot_record`: it cannot be done now; whoever opens the folder next tries again.
    """
    try:
        (state / NEXT_FILE).replace(state / LOG_KEY_FILE)
        sync_folder(state)
    except OSError as error:
        raise _failed(state / LOG_KEY_FILE, error) from error


def settle(state: Path) -> bool:
    """Finish a change of key that was recorded and not finished; whether there was one.

    Nothing can be recorded behind the change before it is finished, so the last record of the log tells. A log that cannot be
    read names no key: everything stays as it is, and whoever opens the log says what is wrong with it.

    Raises:
        OperatorError: `config_refused`: `log.key.next` is open to others, or holds no key.
        StoreError: `cannot_record`: see `take_over`; `conflict`: see `changing`.
    """
    if not (state / NEXT_FILE).exists() or not (state / LOG_FILE).exists():
        return False
    try:
        with changing(state):
            return (state / NEXT_FILE).exists() and _finished(state)
    except OSError as error:
        raise _failed(state / LOCK_FILE, error) from error


def _finished(state: Path) -> bool:
    following = signing_key(read_private(state / NEXT_FILE))
    found = _last_change(state / LOG_FILE)
    if found is None or found.new.public != following.public_key().public_bytes_raw():
        return False
    take_over(state)
    return True


def _last_change(log: Path) -> Handover | None:
    """The change of key that the log ends with."""
    try:
        with LogSnapshot(log) as view:
            size = view.size()
            last = next(iter(view.entries(max(0, size - 1))), None)
        record = decode_entry(last.data).record if last is not None else None
        return Handover.recorded(record, size - 1) if isinstance(record, LogKeyChanged) else None
    except (LictorError, msgspec.MsgspecError):
        return None


def _failed(path: Path, error: OSError) -> StoreError:
    return StoreError(
        Reason.CANNOT_RECORD,
        f"cannot write {str(path)!r:.200}: {error.strerror}",
        remedy="free space on the disk, and try again: what was begun is gone on with",
    )
