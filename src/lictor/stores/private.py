"""Files and folders for the owner's eyes only. It refuses to know what is in them.

POSIX modes; on Windows the folder's access list does this work and no mode is checked.
"""

import os
import stat
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Final, Never

from lictor.model.errors import OperatorError
from lictor.model.reasons import Reason

FOLDER_MODE: Final = 0o700
FILE_MODE: Final = 0o600

_OTHERS: Final = stat.S_IRWXG | stat.S_IRWXO
_OTHERS_WRITE: Final = stat.S_IWGRP | stat.S_IWOTH
_POSIX: Final = sys.platform != "win32"


def private_folder(path: Path) -> Path:
    """The folder, made with mode 0700 when it is not there.

    Raises:
        OperatorError: `config_refused`: it belongs to somebody else or others may write to it (they could swap files), or it
            cannot be made.
    """
    try:
        made = [one for one in (path, *path.parents) if not one.exists()]
        path.mkdir(mode=FOLDER_MODE, parents=True, exist_ok=True)
        for one in made:
            sync_folder(one.parent)
        # Of a link its own owner too, who could point it elsewhere.
        owners = {path.lstat().st_uid, path.stat().st_uid}
        mode = path.stat().st_mode
    except OSError as error:
        raise OperatorError(
            Reason.CONFIG_REFUSED, f"cannot use the folder {str(path)!r:.200}: {error.strerror}"
        ) from error
    for uid in owners:
        _check_owner(path, uid)
    if _POSIX and mode & _OTHERS_WRITE:
        _refuse(path, "can be written by others", "chmod go-w")
    return path


def check_private(path: Path) -> None:
    """Refuse a file that others own, read or write (`facts` R19: whoever reads a key is the log).

    Raises:
        OperatorError: `config_refused`.
        FileNotFoundError: there is none.
    """
    found = path.stat()
    mode = found.st_mode
    if not stat.S_ISREG(mode):
        _refuse(path, "is not a regular file", "remove")
    _check_owner(path, found.st_uid)
    if _POSIX and mode & _OTHERS:
        _refuse(path, "can be read by others", "chmod 600")


def check_ours(path: Path) -> None:
    """Refuse a file or folder that somebody else can change: whoever writes policy or settings decides (ADMN-08, CVE-2025-53773).

    Its owner is us or root, and nobody else writes to it; of groups only a user's private one may (its members are its owner).

    Raises:
        OperatorError: `config_refused`, with the command to run.
        OSError: there is none, or it cannot be looked at.
    """
    found = path.lstat()
    if not _POSIX or stat.S_ISLNK(found.st_mode):  # the mode of a link means nothing; readers refuse links
        return
    _check_owner(path, found.st_uid)
    shared = found.st_mode & stat.S_IWGRP and not _private_group(found.st_gid)
    if shared or found.st_mode & stat.S_IWOTH:
        _refuse(path, f"can be written by others (mode {stat.S_IMODE(found.st_mode):04o})", "chmod go-w")


def _check_owner(path: Path, uid: int) -> None:
    """Us or root: an owner can always make it writable again."""
    if _POSIX and uid not in {os.geteuid(), 0}:
        _refuse(path, f"belongs to another user (uid {uid})", f"chown {os.geteuid()}")


def _private_group(gid: int) -> bool:
    """Whether a group is one user's own, as many systems make them: named like us, our primary one, with no other member."""
    import grp  # noqa: PLC0415 - POSIX only
    import pwd  # noqa: PLC0415

    try:
        user, group = pwd.getpwuid(os.geteuid()), grp.getgrgid(gid)
    except KeyError:
        return False
    return user.pw_gid == gid and group.gr_name == user.pw_name and set(group.gr_mem) <= {user.pw_name}


def create_private(path: Path, data: bytes) -> bool:
    """Create a file of mode 0600 with this content, whole or not at all; False when there is one already.

    The content is written and synced under another name first, so that nobody ever reads half a key.

    Raises:
        OSError: it cannot be written.
    """

    def link(draft: Path) -> bool:
        try:
            os.link(draft, path)
        except FileExistsError:
            return False
        return True

    return _through_draft(path, data, link)


def replace_private(path: Path, data: bytes) -> None:
    """Put this content into a file of mode 0600 atomically: readers see the old or the new, after a power cut too.

    Raises:
        OSError: it cannot be written; the old content stays.
    """

    def rename(draft: Path) -> bool:
        draft.replace(path)
        return True

    _through_draft(path, data, rename)


def _through_draft(path: Path, data: bytes, publish: Callable[[Path], bool]) -> bool:
    draft = path.with_name(f".{path.name}.{os.urandom(8).hex()}")
    descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL | getattr(os, "O_CLOEXEC", 0), FILE_MODE)
    try:
        with open(descriptor, "wb") as file:  # noqa: PTH123 - a descriptor
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        done = publish(draft)
    finally:
        draft.unlink(missing_ok=True)
    sync_folder(path.parent)
    return done


def sync_folder(path: Path) -> None:
    """Make names durable: a synced file without its directory entry is lost in a power cut."""
    if not _POSIX:
        return
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _refuse(path: Path, what: str, remedy: str) -> Never:
    raise OperatorError(Reason.CONFIG_REFUSED, f"{str(path)!r:.200} {what}", remedy=f"{remedy} {str(path)!r:.200}")
