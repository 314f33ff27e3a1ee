"""Where the safe's master key is: in a file of the state folder, with a KMS behind a command, or in the OS keyring.

A key is known by its fingerprint, which the safe keeps: after a crash in the middle of a change, whichever of the two keys the
safe was last sealed with is found. Refuses to know what is sealed with it.
"""

import hashlib
import os
import subprocess
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, Final, Protocol

from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from lictor.model.errors import OperatorError, StoreError
from lictor.model.reasons import Reason

KEY_BYTES: Final = 32
KEY_FILE: Final = "safe.key"
WRAPPED_FILE: Final = "safe.key.wrapped"
NEXT: Final = ".next"
"""Behind the name of a key file: the key that is about to take its place."""
MAX_WRAPPED: Final = 64 * 1024
COMMAND_S: Final = 15.0
_SERVICE: Final = "lictor"
_PASSED: Final = ("PATH", "HOME", "LANG", "LC_ALL", "TMPDIR", "SYSTEMROOT", "USER")


def fingerprint(key: bytes) -> str:
    """What a key is known by; says nothing about it."""
    return hashlib.sha256(b"lictor safe master key\0" + key).hexdigest()[:32]


class Master(Protocol):
    """One place for master keys."""

    def first(self) -> bytes:
        """The key for a safe that has none yet: the one that is there, or a fresh one, durable when this returns.

        Raises:
            StoreError: there is none and none can be kept.
        """
        ...

    def find(self, known_by: str) -> bytes:
        """The key with a fingerprint.

        Raises:
            StoreError: it is not there, or out of reach.
        """
        ...

    def renew(self) -> bytes:
        """A fresh key, durable beside the present one."""
        ...

    def settle(self, fresh: bytes) -> None:
        """The safe is sealed with the fresh key: the old one goes."""
        ...

    def forget(self, fresh: bytes) -> None:
        """The safe was not sealed with it after all."""
        ...


class FileMaster:
    """In `safe.key`, for the owner's eyes only. Whoever reads this file and the safe reads the secrets."""

    def __init__(self, folder: Path) -> None:
        self._path = folder / KEY_FILE
        self._next = folder / f"{KEY_FILE}{NEXT}"

    def first(self) -> bytes:
        """See `Master.first`."""
        if not self._path.exists():
            with suppress(FileExistsError):
                _create(self._path, AESGCM.generate_key(8 * KEY_BYTES))
        return _read_key(self._path)

    def find(self, known_by: str) -> bytes:
        """See `Master.find`."""
        for path in (self._path, self._next):
            if path.exists() and fingerprint(key := _read_key(path)) == known_by:
                if path == self._next:
                    self.settle(key)  # the process that changed it died before it could
                return key
        raise _no_key(f"{str(self._path)!r:.200} is not the key of this safe")

    def renew(self) -> bytes:
        """See `Master.renew`."""
        self._next.unlink(missing_ok=True)
        _create(self._next, AESGCM.generate_key(8 * KEY_BYTES))
        return _read_key(self._next)

    def settle(self, fresh: bytes) -> None:
        """See `Master.settle`."""
        if self._next.exists() and _read_key(self._next) == fresh:
            self._next.replace(self._path)
            _sync(self._path.parent)

    def forget(self, fresh: bytes) -> None:
        """See `Master.forget`."""
        if self._next.exists() and _read_key(self._next) == fresh:
            self._next.unlink()


class CommandMaster:
    """Wrapped in `safe.key.wrapped`; a command of the operator's unwraps it: standard input to standard output, no shell.

    The clear key is in memory only. `seal` wraps a fresh one the same way; without it the key cannot be changed from here.
    """

    def __init__(self, folder: Path, unseal: Sequence[str], seal: Sequence[str] = ()) -> None:
        self._path = folder / WRAPPED_FILE
        self._next = folder / f"{WRAPPED_FILE}{NEXT}"
        self._unseal = tuple(unseal)
        self._seal = tuple(seal)

    def first(self) -> bytes:
        """See `Master.first`."""
        if not self._path.exists():
            key = AESGCM.generate_key(8 * KEY_BYTES)
            with suppress(FileExistsError):
                _create(self._path, self._wrapped(key))
        return self._open(self._path)

    def find(self, known_by: str) -> bytes:
        """See `Master.find`."""
        for path in (self._path, self._next):
            if path.exists() and fingerprint(key := self._open(path)) == known_by:
                if path == self._next:
                    self._next.replace(self._path)
                return key
        raise _no_key("what the command unwraps is not the key of this safe")

    def renew(self) -> bytes:
        """See `Master.renew`."""
        key = AESGCM.generate_key(8 * KEY_BYTES)
        self._next.unlink(missing_ok=True)
        _create(self._next, self._wrapped(key))
        if self._open(self._next) != key:
            raise _no_key("the command does not unwrap what `seal` wrapped")
        return key

    def settle(self, fresh: bytes) -> None:  # noqa: ARG002 - the shape of the protocol
        """See `Master.settle`."""
        if self._next.exists():
            self._next.replace(self._path)
            _sync(self._path.parent)

    def forget(self, fresh: bytes) -> None:  # noqa: ARG002 - the shape of the protocol
        """See `Master.forget`."""
        self._next.unlink(missing_ok=True)

    def _open(self, path: Path) -> bytes:
        key = _run(self._unseal, path.read_bytes()[:MAX_WRAPPED])
        if len(key) != KEY_BYTES:
            raise _no_key(f"the command wrote {len(key)} bytes, and a key has {KEY_BYTES}")
        return key

    def _wrapped(self, key: bytes) -> bytes:
        if not self._seal:
            raise _no_key(f"there is no {WRAPPED_FILE} and no `[broker] seal` to make one")
        return _run(self._seal, key)


class KeyringMaster:
    """In the keyring of the operating system's user (extra `keyring`)."""

    def __init__(self, folder: Path) -> None:
        self._name = f"safe {folder.resolve()}"

    def first(self) -> bytes:
        """See `Master.first`."""
        found = self._get(self._name)
        return self._put(self._name, AESGCM.generate_key(8 * KEY_BYTES)) if found is None else found

    def find(self, known_by: str) -> bytes:
        """See `Master.find`."""
        for name in (self._name, self._name + NEXT):
            key = self._get(name)
            if key is not None and fingerprint(key) == known_by:
                if name != self._name:
                    self.settle(key)
                return key
        raise _no_key("the keyring does not hold the key of this safe")

    def renew(self) -> bytes:
        """See `Master.renew`."""
        return self._put(self._name + NEXT, AESGCM.generate_key(8 * KEY_BYTES))

    def settle(self, fresh: bytes) -> None:
        """See `Master.settle`."""
        self._put(self._name, fresh)
        self.forget(fresh)

    def forget(self, fresh: bytes) -> None:  # noqa: ARG002 - the shape of the protocol
        """See `Master.forget`."""
        with suppress(Exception):
            _keyring().delete_password(_SERVICE, self._name + NEXT)

    def _get(self, name: str) -> bytes | None:
        try:
            text = _keyring().get_password(_SERVICE, name)
        except OperatorError:
            raise
        except Exception as error:  # noqa: BLE001 - each back end has errors of its own
            raise _no_key(f"the keyring does not answer: {type(error).__name__}") from None
        return None if text is None else bytes.fromhex(text)

    def _put(self, name: str, key: bytes) -> bytes:
        try:
            _keyring().set_password(_SERVICE, name, key.hex())
        except OperatorError:
            raise
        except Exception as error:  # noqa: BLE001 - each back end has errors of its own
            raise _no_key(f"the keyring does not take the key: {type(error).__name__}") from None
        if self._get(name) != key:
            raise _no_key("the keyring does not give back what it was given")
        return key


def _keyring() -> Any:
    try:
        import keyring  # noqa: PLC0415 - an extra
    except ImportError:
        raise OperatorError(
            Reason.CONFIG_REFUSED, "the keyring needs an extra", remedy="pip install 'lictor[keyring]'"
        ) from None
    backend = type(keyring.get_keyring())
    if backend.__module__.startswith(("keyring.backends.fail", "keyring.backends.null", "keyrings.alt")):
        text = f"no keyring of the operating system is there, only {backend.__module__}"
        raise OperatorError(Reason.CONFIG_REFUSED, text, remedy='use `key = "file"`')
    return keyring


def _run(command: Sequence[str], data: bytes) -> bytes:
    """One command, no shell, bounded in time; what it writes to standard error is thrown away, it may hold the key."""
    env = {
        name: value
        for name, value in os.environ.items()
        if name in _PASSED or name.startswith(("AWS_", "VAULT_", "GOOGLE_", "AZURE_"))
    }
    try:
        done = subprocess.run(  # noqa: PLW1510 - its status is looked at
            list(command), input=data, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, timeout=COMMAND_S, env=env
        )
    except subprocess.TimeoutExpired:
        raise _no_key("the command for the master key was late") from None
    except OSError as error:
        raise _no_key(f"the command for the master key cannot be started: {error.strerror}") from None
    if done.returncode != 0:
        raise _no_key(f"the command for the master key ended with status {done.returncode}")
    return done.stdout[:MAX_WRAPPED]


def _read_key(path: Path) -> bytes:
    try:
        with path.open("rb") as file:
            found = os.fstat(file.fileno())  # of what is read, whatever has that name by now
            if os.name == "posix" and found.st_uid not in {os.geteuid(), 0}:
                raise _no_key(f"{str(path)!r:.200} belongs to another user (uid {found.st_uid})")
            if os.name == "posix" and found.st_mode & 0o077:
                raise _no_key(f"{str(path)!r:.200} is open to others", remedy=f"chmod 600 {str(path)!r:.200}")
            key = file.read(MAX_WRAPPED)
    except OSError as error:
        raise _no_key(f"{str(path)!r:.200} cannot be read: {error.strerror}") from None
    if len(key) != KEY_BYTES:
        raise _no_key(f"{str(path)!r:.200} holds {len(key)} bytes, and a key has {KEY_BYTES}")
    return key


def _create(path: Path, data: bytes) -> None:
    """Whole and durable, or not at all; FileExistsError when somebody was first."""
    draft = path.with_name(f".{path.name}.{os.urandom(8).hex()}")
    try:
        descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL | getattr(os, "O_CLOEXEC", 0), 0o600)
        with os.fdopen(descriptor, "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        os.link(draft, path)
        _sync(path.parent)
    except FileExistsError:
        raise
    except OSError as error:
        raise _no_key(f"{str(path)!r:.200} cannot be written: {error.strerror}") from None
    finally:
        draft.unlink(missing_ok=True)


def _sync(folder: Path) -> None:
    if os.name == "posix":
        descriptor = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


def _no_key(message: str, *, remedy: str = "") -> StoreError:
    return StoreError(Reason.CANNOT_RECORD, message, remedy=remedy)
