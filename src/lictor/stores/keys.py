"""The secrets of a state folder: the log's signing key, the key that seals request state, and the anchor beside them.

It refuses to know what is signed or sealed with them.
"""

import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Self

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    load_pem_private_key,
)

from lictor.model.errors import OperatorError, StoreError
from lictor.model.reasons import Reason
from lictor.records.checkpoint import VerifierKey, open_checkpoint
from lictor.stores.private import check_private, create_private, private_folder, replace_private

LOG_FILE: Final = "log.db"
LOG_KEY_FILE: Final = "log.key"
STATE_KEY_FILE: Final = "state.key"
ANCHOR_FILE: Final = "anchor"
STATE_KEY_BYTES: Final = 32

_MAX_KEY_FILE: Final = 4096


@dataclass(frozen=True, slots=True)
class Keys:
    """What a state folder holds besides the log.

    Attributes:
        folder: the state folder.
        signer: signs the log's checkpoints (`log.key`, PKCS #8 PEM).
        state_key: 32 bytes for the AEAD of request state (`state.key`).
    """

    folder: Path
    signer: Ed25519PrivateKey
    state_key: bytes

    @classmethod
    def open(cls, folder: Path) -> Self:
        """Read the keys; make those that are missing.

        Raises:
            OperatorError: `config_refused`: a file is readable by others, or holds no such key.
            StoreError: `log_damaged`: there is a log but not the key that signed it; a new key would hide a rewrite.
        """
        private_folder(folder)
        if (folder / LOG_FILE).exists() and not (folder / LOG_KEY_FILE).exists():
            raise StoreError(
                Reason.LOG_DAMAGED,
                f"{str(folder / LOG_KEY_FILE)!r:.200} is missing beside an existing log",
                remedy="restore the key from your backup, or move the whole state folder away",
            )
        return cls(
            folder=folder,
            signer=signing_key(_read_or_create(folder / LOG_KEY_FILE, _new_signing_key)),
            state_key=_state_key(_read_or_create(folder / STATE_KEY_FILE, _new_state_key)),
        )

    def verifier_key(self, origin: str) -> str:
        """What others need to verify this log's checkpoints: `name+hash+base64`."""
        return VerifierKey.of(origin, self.signer).text()

    def read_anchor(self) -> str | None:
        """The checkpoint kept outside the database; None when none was kept yet.

        Raises:
            StoreError: `log_damaged`: it cannot be read.
        """
        return _read_anchor(self.folder / ANCHOR_FILE)

    def write_anchor(self, checkpoint: str | None) -> None:
        """Keep a checkpoint outside the database. A larger one is never replaced: it is the evidence of a rollback (R9).

        Args:
            checkpoint: signed with our key; None (an empty log) keeps nothing.

        Raises:
            StoreError: `cannot_record`: it cannot be written; `log_damaged`: this or the kept one is not ours.
        """
        if checkpoint is None:
            return
        kept = self.read_anchor()
        if kept == checkpoint or (kept is not None and self._size(kept) > self._size(checkpoint)):
            return
        try:
            replace_private(self.folder / ANCHOR_FILE, checkpoint.encode())
        except OSError as error:
            raise StoreError(
                Reason.CANNOT_RECORD, f"cannot keep the anchor: {error.strerror}", remedy="free space on the disk"
            ) from error

    def _size(self, checkpoint: str) -> int:
        origin = checkpoint.partition("\n")[0]
        return open_checkpoint(checkpoint, VerifierKey.of(origin, self.signer)).size


def _read_anchor(path: Path) -> str | None:
    try:
        return path.read_text(encoding="utf-8")
    except FileNotFoundError:
        return None
    except (OSError, UnicodeDecodeError) as error:
        raise StoreError(Reason.LOG_DAMAGED, f"cannot read the anchor {str(path)!r:.200}") from error


def _read_or_create(path: Path, make: Callable[[], bytes]) -> bytes:
    """Content of a private file. Two processes that start together end up with the same key: one creates, both read."""
    try:
        if not path.exists():
            create_private(path, make())
        check_private(path)
        with path.open("rb") as file:
            return file.read(_MAX_KEY_FILE)
    except OSError as error:
        raise OperatorError(
            Reason.CONFIG_REFUSED, f"cannot use the key file {str(path)!r:.200}: {error.strerror}"
        ) from error


def _new_signing_key() -> bytes:
    return Ed25519PrivateKey.generate().private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())


def signing_key(pem: bytes) -> Ed25519PrivateKey:
    """The key in a `log.key`.

    Raises:
        OperatorError: `config_refused`: it is none.
    """
    try:
        key = load_pem_private_key(pem, password=None)
    except (ValueError, TypeError, UnsupportedAlgorithm) as error:
        raise OperatorError(Reason.CONFIG_REFUSED, f"{LOG_KEY_FILE!r} holds no private key in PEM form") from error
    if not isinstance(key, Ed25519PrivateKey):
        raise OperatorError(Reason.CONFIG_REFUSED, f"{LOG_KEY_FILE!r} holds a key that is not ed25519")
    return key


def _new_state_key() -> bytes:
    return os.urandom(STATE_KEY_BYTES)


def _state_key(data: bytes) -> bytes:
    if len(data) != STATE_KEY_BYTES:
        message = f"{STATE_KEY_FILE!r} holds {len(data)} bytes, not {STATE_KEY_BYTES}"
        raise OperatorError(Reason.CONFIG_REFUSED, message, remedy="remove it; open holds must then be asked for again")
    return data
