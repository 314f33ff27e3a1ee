"""What a witness keeps: its key, its settings, and the newest checkpoint of each log that it cosigned. One folder, one process.

A witness that has lost what it cosigned must not go on under its name: it could cosign a fork. So the folder of checkpoints is
made together with the key and never later. Refuses to know what is in a checkpoint.
"""

import os
import tomllib
from hashlib import sha256
from pathlib import Path
from typing import Final, Self

import msgspec
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, load_pem_private_key

from lictor.model.errors import OperatorError, StoreError
from lictor.model.reasons import Reason
from lictor.records.checkpoint import VerifierKey
from lictor.records.note import MAX_TEXT, is_name
from lictor.stores.private import check_ours, check_private, create_private, private_folder, replace_private

KEY: Final = "witness.key"
SETTINGS: Final = "witness.toml"
SEEN: Final = "seen"
EVIDENCE: Final = "evidence"
MAX_EVIDENCE: Final = 16
"""Contradicting checkpoints kept of one log; one is proof enough."""
MAX_LOGS: Final = 10_000

_STARTER = """\
# A witness of append-only logs (C2SP tlog-witness). Its name is part of its key: it never changes.
name = "{name}"

# Verifier keys of the logs whose checkpoints it cosigns, as their operators gave them to you (lictor log checkpoint).
logs = []
"""


class WitnessSettings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """All of `witness.toml`."""

    name: str
    """Of the witness, for good; a schema-less URL that you control."""
    logs: tuple[str, ...] = ()
    """Verifier keys of the logs it cosigns."""


class WitnessFolder:
    """The folder of one witness, held by one process (`Kept` of `service.log.witness`)."""

    def __init__(
        self, path: Path, name: str, signer: Ed25519PrivateKey, logs: dict[str, tuple[VerifierKey, ...]]
    ) -> None:
        """See `make` and `open`."""
        self.path, self.name, self.signer, self.logs = path, name, signer, logs
        self._held: int | None = None

    @classmethod
    def make(cls, path: Path, name: str) -> Self:
        """A new witness.

        Raises:
            OperatorError: `config_refused`: not a name, there is one already, or the folder cannot be written.
        """
        if not is_name(name):
            raise _refused(f"not a witness's name: {name!r:.100}", "no white space and no +, like example.org/witness")
        private_folder(path)
        key = Ed25519PrivateKey.generate().private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
        try:
            (path / SEEN).mkdir(mode=0o700, exist_ok=True)
            if any((path / SEEN).iterdir()) or not create_private(path / KEY, key):
                raise _refused(f"{str(path)!r:.200} holds a witness already", "name another folder")
            create_private(path / SETTINGS, _STARTER.format(name=name).encode())
        except OSError as error:
            raise _refused(f"cannot write to {str(path)!r:.200}: {error.strerror}", "") from error
        return cls.open(path)

    @classmethod
    def open(cls, path: Path) -> Self:
        """A witness that was made.

        Raises:
            OperatorError: `config_refused`: there is none, its settings cannot be read, or others can change them.
            StoreError: `log_damaged`: its key is there, but not what it cosigned.
        """
        try:
            check_private(path / KEY)
            check_ours(path / SETTINGS)
            signer = load_pem_private_key((path / KEY).read_bytes(), password=None)
            settings = msgspec.convert(
                tomllib.loads((path / SETTINGS).read_text("utf-8")), WitnessSettings, strict=True
            )
        except FileNotFoundError as error:
            remedy = "make one with: lictor witness init"
            raise _refused(
                f"no witness in {str(path)!r:.200}: {Path(error.filename).name} is missing", remedy
            ) from None
        except (OSError, ValueError, TypeError, UnsupportedAlgorithm) as error:
            raise _refused(f"the witness in {str(path)!r:.200} cannot be read: {error}", "") from None
        if not isinstance(signer, Ed25519PrivateKey):
            raise _refused(f"{KEY!r} holds a key that is not ed25519", "")
        if not (path / SEEN).is_dir():
            raise StoreError(
                Reason.LOG_DAMAGED,
                f"what this witness cosigned is gone: {str(path / SEEN)!r:.200}",
                remedy="restore it, or make a new witness under another name; this one could cosign a fork",
            )
        return cls(path, settings.name, signer, _logs(settings, path))

    def hold(self) -> None:
        """Take the folder for this process, until it ends.

        Raises:
            StoreError: `conflict`: another process has it.
        """
        import fcntl  # noqa: PLC0415 - POSIX only

        self._held = os.open(self.path / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(self._held, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            raise StoreError(Reason.CONFLICT, "another process runs this witness") from None

    def latest(self, origin: str) -> str | None:
        """See `Kept.latest`."""
        try:
            with self._seen(origin).open("rb") as file:
                return file.read(4 * MAX_TEXT).decode()
        except FileNotFoundError:
            if not (self.path / SEEN).is_dir():
                raise StoreError(Reason.LOG_DAMAGED, "what this witness cosigned is gone") from None
            return None
        except (OSError, UnicodeDecodeError) as error:
            raise StoreError(Reason.LOG_DAMAGED, f"what was cosigned of {origin!r:.100} cannot be read") from error

    def keep(self, origin: str, note: str) -> None:
        """See `Kept.keep`."""
        try:
            replace_private(self._seen(origin), note.encode())
        except OSError as error:
            raise StoreError(Reason.CANNOT_RECORD, f"a checkpoint cannot be kept: {error.strerror}") from error

    def accuse(self, origin: str, note: str) -> None:
        """See `Kept.accuse`."""
        try:
            folder = private_folder(self.path / EVIDENCE / _hashed(origin))
            if sum(1 for _ in folder.iterdir()) < MAX_EVIDENCE:
                create_private(folder / sha256(note.encode()).hexdigest(), note.encode())
        except OSError as error:
            raise StoreError(Reason.CANNOT_RECORD, f"evidence cannot be kept: {error.strerror}") from error

    def evidence(self, origin: str) -> int:
        """How many checkpoints contradict what this log showed before."""
        folder = self.path / EVIDENCE / _hashed(origin)
        return sum(1 for _ in folder.iterdir()) if folder.is_dir() else 0

    def _seen(self, origin: str) -> Path:
        return self.path / SEEN / _hashed(origin)


def _hashed(origin: str) -> str:
    """As in the path of the specification: an origin may hold slashes."""
    return sha256(origin.encode()).hexdigest()


def _logs(settings: WitnessSettings, path: Path) -> dict[str, tuple[VerifierKey, ...]]:
    """The keys of each log, in the order of the settings: that in which they signed."""
    if not is_name(settings.name) or len(settings.logs) > MAX_LOGS:
        raise _refused(f"{str(path / SETTINGS)!r:.200}: not a witness's name, or more than {MAX_LOGS} logs", "")
    logs: dict[str, tuple[VerifierKey, ...]] = {}
    for key in map(VerifierKey.parse, settings.logs):
        logs[key.name] = (*logs.get(key.name, ()), key)
    for name, keys in logs.items():
        if len({key.key_id() for key in keys}) != len(keys):
            raise _refused(
                f"{str(path / SETTINGS)!r:.200}: one key of {name!r:.100} stands there twice", "name each once"
            )
    return logs


def _refused(message: str, remedy: str) -> OperatorError:
    return OperatorError(Reason.CONFIG_REFUSED, message, remedy=remedy)
