"""The files of ours beside a client's configuration: the file as it was, and a note of what was written."""

import hashlib
import stat
from pathlib import Path
from typing import Literal

import msgspec

from lictor.cli import clients
from lictor.model.errors import OperatorError
from lictor.model.reasons import Reason

BACKUP_SUFFIX = ".lictor.bak"
NOTE_SUFFIX = ".lictor.json"


class Note(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The file `<name>.lictor.json`: what `apply` wrote, so that `unwrap` knows whether somebody edited it since."""

    version: Literal[1]
    original: str
    """`sha256:<hex>` of the file before, and so of the backup."""
    wrote: str
    """`sha256:<hex>` of the file as written."""
    command: str
    """The executable written into the entries."""
    backup: str = ""
    """Where the file as it was is kept; empty: beside it."""


def locate(path: Path) -> tuple[Path, tuple[str, ...]]:
    """The file behind symbolic links, and what is to be said of them."""
    target = clients.resolve(path)
    notes: tuple[str, ...] = ()
    if path.is_symlink():
        notes += (f"{path} is a symbolic link: the file it points to, {target}, is the one edited",)
    return target, notes


def backup_file(target: Path) -> Path:
    """Where the file as it was is kept."""
    return target.with_name(target.name + BACKUP_SUFFIX)


def note_file(target: Path) -> Path:
    """Where it is noted what was written."""
    return target.with_name(target.name + NOTE_SUFFIX)


def digest(data: bytes) -> str:
    """`sha256:<hex>`."""
    return f"sha256:{hashlib.sha256(data).hexdigest()}"


def read_own(path: Path) -> bytes | None:
    """A file of ours, None when there is none. A link in its place is refused: it was not us who put it there."""
    try:
        if not stat.S_ISREG(path.lstat().st_mode):
            raise OperatorError(
                Reason.CONFLICT, "not a regular file", remedy="move it away and try again", where=str(path)
            )
    except FileNotFoundError:
        return None
    except OSError as error:
        raise clients.unusable("cannot look at the file", path, error) from error
    return clients.read(path)


def read_note(target: Path) -> tuple[Note | None, str]:
    """The note, or why there is none."""
    data = read_own(note_file(target))
    if data is None:
        return None, "there is no note of what wrap wrote beside the backup"
    try:
        return msgspec.json.decode(data, type=Note), ""
    except (msgspec.MsgspecError, UnicodeDecodeError):
        return None, f"{note_file(target).name} cannot be read"


def require_ours(note_path: Path) -> None:
    """Refuse to write over a file that merely has the name of our note."""
    data = read_own(note_path)
    if data is None:
        return
    try:
        msgspec.json.decode(data, type=Note)
    except (msgspec.MsgspecError, UnicodeDecodeError) as error:
        raise OperatorError(
            Reason.CONFLICT, "this file is in the way", remedy="move it away and try again", where=str(note_path)
        ) from error


def keep_backup(backup: Path, data: bytes) -> bool:
    """Have a backup of exactly `data`; whether it was made now."""
    try:
        clients.create(backup, data)
    except FileExistsError as error:
        if read_own(backup) == data:
            return False
        raise OperatorError(
            Reason.CONFLICT,
            "an older backup is there and differs from the file",
            remedy="run `lictor unwrap` on the configuration first, or move the backup away",
            where=str(backup),
        ) from error
    return True
