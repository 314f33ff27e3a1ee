"""The secrets of a state folder: the log's signing key, the key that seals request state, and the anchor beside them.

It refuses to know what is signed or sealed with them.
"""

import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Self

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from lictor.model.errors import OperatorError, StoreError
from lictor.model.reasons import Reason
from lictor.records.checkpoint import LogKeys, VerifierKey, open_checkpoint
from lictor.records.keychain import KeyChain
from lictor.stores.key_files import settle
from lictor.stores.keychain import changed
from lictor.stores.private import create_private, private_folder, replace_private
from lictor.stores.signing import LOG_FILE, LOG_KEY_FILE, new_signing_key, read_private, signing_key

__all__ = ["ANCHOR_FILE", "LOG_FILE", "LOG_KEY_FILE", "STATE_KEY_BYTES", "STATE_KEY_FILE", "Keys", "signing_key"]

STATE_KEY_FILE: Final = "state.key"
ANCHOR_FILE: Final = "anchor"
STATE_KEY_BYTES: Final = 32


@dataclass(frozen=True, slots=True)
class Keys:
    """What a state folder holds besides the log.

    Attributes:
        folder: the state folder.
        signer: signs the log's checkpoints (`log.key`, PKCS #8 PEM).
        state_key: 32 bytes for the AEAD of request state (`state.key`).
        chain: the log's keys, this one the last, as its open store found them; None: nobody has opened it.
    """

    folder: Path
    signer: Ed25519PrivateKey
    state_key: bytes
    chain: KeyChain | None = None

    @classmethod
    def open(cls, folder: Path) -> Self:
        """Read the keys; make those that are missing. A change of the log's key that a crash cut short is finished first.

        Raises:
            OperatorError: `config_refused`: a file is readable by others, or holds no such key.
            StoreError: `log_damaged`: there is a log but not the key that signed it; a new key would hide a rewrite.
        """
        private_folder(folder)
        settle(folder)
        if (folder / LOG_FILE).exists() and not (folder / LOG_KEY_FILE).exists():
            raise StoreError(
                Reason.LOG_DAMAGED,
                f"{str(folder / LOG_KEY_FILE)!r:.200} is missing beside an existing log",
                remedy="restore the key from your backup, or move the whole state folder away",
            )
        return cls(
            folder=folder,
            signer=signing_key(_read_or_create(folder / LOG_KEY_FILE, new_signing_key)),
            state_key=_state_key(_read_or_create(folder / STATE_KEY_FILE, _new_state_key)),
        )

    def verifier_key(self, origin: str) -> str:
        """What others need to verify the checkpoints that are signed now: `name+hash+base64`."""
        return VerifierKey.of(origin, self.signer).text()

    def log_keys(self, origin: str) -> LogKeys:
        """What all checkpoints of the log are verified with."""
        return self.chain or VerifierKey.of(origin, self.signer)

    def statements(self) -> str:
        """How the log's keys follow from each other, for others (`KeyChain.text`); empty while it has its first one."""
        return "" if self.chain is None else self.chain.text()

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
            StoreError: `cannot_record`: it cannot be written; `log_damaged`: this or the kept one is not ours;
                `log_key_changed`: another key signs the log by now.
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
        try:
            return open_checkpoint(checkpoint, self.log_keys(origin)).size
        except StoreError:
            self._check_current(origin)
            raise

    def _check_current(self, origin: str) -> None:
        """That the key in the folder is still the one we opened: a checkpoint of the next one is no damage."""
        try:
            found = VerifierKey.of(origin, signing_key(read_private(self.folder / LOG_KEY_FILE))).text()
        except (OSError, OperatorError):
            return  # then the checkpoint is what is wrong
        if found != self.verifier_key(origin):
            raise changed(found)


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
        return read_private(path)
    except OSError as error:
        raise OperatorError(
            Reason.CONFIG_REFUSED, f"cannot use the key file {str(path)!r:.200}: {error.strerror}"
        ) from error


def _new_state_key() -> bytes:
    return os.urandom(STATE_KEY_BYTES)


def _state_key(data: bytes) -> bytes:
    if len(data) != STATE_KEY_BYTES:
        message = f"{STATE_KEY_FILE!r} holds {len(data)} bytes, not {STATE_KEY_BYTES}"
        raise OperatorError(Reason.CONFIG_REFUSED, message, remedy="remove it; open holds must then be asked for again")
    return data
