"""The bundle folder on disk: read whole, bounded, nothing from outside it, and policy text parsed in a child process first.

The parser kills its process on nested text (facts C1), so a child meets new text before we do. Refuses to know what the files
mean: `policy.load` does.
"""

import os
import subprocess
import sys
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from hashlib import sha256
from pathlib import Path, PurePosixPath
from stat import S_IMODE, S_ISDIR, S_ISREG
from typing import Final

from lictor.model.errors import OperatorError
from lictor.model.reasons import Reason
from lictor.policy.bundle import Bundle
from lictor.policy.guard import MAX_FILE_BYTES
from lictor.policy.lint import refuse_invalid
from lictor.policy.load import is_known, load_bundle, policy_texts
from lictor.policy.problems import Problems
from lictor.policy.text import ParsedPolicy, parse_policies
from lictor.stores.private import check_ours

MAX_FILES: Final = 2_000
"""Files of one bundle."""
MAX_BUNDLE_BYTES: Final = 64 * 1024 * 1024
"""All files together: definitions of hundreds of servers stay far below."""
GUARD_TIMEOUT_S: Final = 5.0
"""One policy file in the child: 10,000 policies take about half a second."""
_GUARD_JOBS: Final = 4
_READ_ATTEMPTS: Final = 3

Signature = tuple[tuple[str, int, int, int, int], ...]
"""Path, inode, size, modification and change time (ns) of every file; unreadable ones as zeros."""
_UNREADABLE: Final[Signature] = (("", -1, 0, 0, 0),)


class BundleFolder:
    """One bundle folder. `load` may run on any thread; one at a time."""

    def __init__(self, path: Path, *, guard_timeout_s: float = GUARD_TIMEOUT_S) -> None:
        self.path = path
        self._guard_timeout_s = guard_timeout_s
        self._checked: Signature | None = None
        self._content = ""
        self._guarded: dict[tuple[str, str], bytes] = {}

    def load(self) -> Bundle:
        """Read and check the folder as it is now.

        Raises:
            BundleRefused: with every fault found; nothing of the bundle is used.
        """
        files = self.read()
        self._check_ours(files)
        bundle = load_bundle(files, self.parse(files))
        refuse_invalid(bundle)
        return bundle

    def read(self) -> dict[str, bytes]:
        """Every file by relative POSIX path; names that begin with a dot are ignored.

        Raises:
            BundleRefused: unknown, too large, not regular, a link, unreadable.
            OperatorError: there is no such folder, or it changes all the time.
        """
        self._content = ""
        for _ in range(_READ_ATTEMPTS):
            # Noted before reading: what fails now is tried again when something changes, not every second.
            self._checked = _UNREADABLE
            before = self._checked = self._sign()
            files = self._read_once()
            if self._sign() == before:  # else somebody wrote in between: half of the old and half of the new
                self._content = _hash(files)
                return files
        raise _refused(str(self.path), "the folder keeps changing while it is read")

    def changed(self) -> bool:
        """Whether `load` would now find something else than at its last try. Cheap while no file was touched."""
        try:
            signature = self._sign()
        except OperatorError:
            return self._checked != _UNREADABLE
        if signature == self._checked:
            return False
        try:
            content = _hash(self._read_once())
        except OperatorError:
            return True  # `load` will say why
        if content == self._content:
            self._checked = signature
            return False
        return True

    def replace(self, name: str, before: bytes, after: bytes) -> None:
        """Put new content into one file, whole or not at all; its mode stays.

        Args:
            name: relative POSIX path of a file that is there.
            before: what was read of it: whoever wrote it since is not overwritten.
            after: what it shall hold.

        Raises:
            BundleRefused: as `read`, or somebody else changed the file meanwhile, or it cannot be written.
        """
        path = self.path / name
        if _read(path, name, MAX_FILE_BYTES) != before:
            raise _refused(name, "somebody changed the file meanwhile", "look at it, then try again")
        draft = path.with_name(f".{path.name}.{os.urandom(8).hex()}")
        try:
            mode = S_IMODE(path.stat().st_mode)
            descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL | getattr(os, "O_CLOEXEC", 0), mode)
            try:
                with os.fdopen(descriptor, "wb") as file:
                    file.write(after)
                    file.flush()
                    os.fsync(file.fileno())
                draft.replace(path)
            finally:
                draft.unlink(missing_ok=True)
        except OSError as error:
            raise _refused(name, f"cannot be written: {error.strerror}") from None

    def parse(self, files: dict[str, bytes]) -> tuple[ParsedPolicy, ...]:
        """The policies of all policy files, each parsed by a child first.

        Raises:
            BundleRefused: with the first fault of each file.
        """
        texts = policy_texts(files)
        problems = Problems()
        found: list[ParsedPolicy] = []
        known: dict[tuple[str, str], bytes] = {}
        with ThreadPoolExecutor(max_workers=_GUARD_JOBS) as pool:
            jobs = {path: pool.submit(self._guard, path, text) for path, text in texts.items()}
        for path, job in jobs.items():
            try:
                known[path, texts[path]] = job.result()
                found.extend(parse_policies(path, texts[path], known[path, texts[path]]))
            except OperatorError as error:
                problems.take(error)
        self._guarded = known
        problems.raise_if_any()
        return tuple(found)

    def _guard(self, path: str, text: str) -> bytes:
        """The child's JSON; the last load's again where the text is the same.

        Raises:
            OperatorError: the child refused, died or took too long.
        """
        known = self._guarded.get((path, text))
        if known is not None:
            return known
        command = [sys.executable, "-I", "-m", "lictor.policy.guard", path]
        try:
            done = subprocess.run(
                command, input=text.encode(), capture_output=True, timeout=self._guard_timeout_s, check=False
            )
        except subprocess.TimeoutExpired:
            raise _refused(path, f"parsing took longer than {self._guard_timeout_s:g} s") from None
        except OSError as error:
            raise _refused(path, f"the guard process cannot be started: {error.strerror}") from None
        if done.returncode < 0:
            raise _refused(path, f"the parser died of this text (signal {-done.returncode})")
        if done.returncode != 0:
            raise _said(path, done.stderr)
        return done.stdout

    def _check_ours(self, files: Mapping[str, bytes]) -> None:
        """Only we and root may change what decides; a bundle that is merely looked at may be anybody's.

        Raises:
            BundleRefused: naming each file and folder that others can change.
        """
        problems = Problems()
        folders = {folder.as_posix() for name in files for folder in PurePosixPath(name).parents}
        for path in sorted({".", *files, *folders}):
            try:
                check_ours(self.path / path)
            except OperatorError as error:
                problems.add(path if path != "." else str(self.path), error.message, error.remedy)
            except OSError as error:
                problems.add(path, f"cannot be read: {error.strerror}")
        problems.raise_if_any()

    def _sign(self) -> Signature:
        return tuple(sorted(_stat(self.path, path) for path in self._list()))

    def _list(self) -> list[str]:
        """Relative paths of everything that is no directory, links to directories included."""
        found: list[str] = []
        waiting = [""]
        while waiting:
            folder = waiting.pop()
            try:
                with os.scandir(self.path / folder) as entries:
                    for entry in entries:
                        if entry.name.startswith("."):
                            continue
                        path = f"{folder}{entry.name}"
                        if entry.is_dir(follow_symlinks=False):
                            waiting.append(f"{path}/")
                        else:
                            found.append(path)
                        if len(found) + len(waiting) > MAX_FILES:
                            raise _refused(path, f"more than {MAX_FILES} files")
            except OSError as error:
                raise _refused(folder.rstrip("/") or str(self.path), f"cannot be read: {error.strerror}") from None
        return found

    def _read_once(self) -> dict[str, bytes]:
        problems = Problems()
        files: dict[str, bytes] = {}
        left = MAX_BUNDLE_BYTES
        for path in sorted(self._list()):
            if not is_known(path):
                problems.add(
                    path, "this file does not belong into a bundle", "move it out, or begin its name with a dot"
                )
                continue
            try:
                files[path] = _read(self.path / path, path, min(left, MAX_FILE_BYTES))
            except OperatorError as error:
                problems.take(error)
                continue
            left -= len(files[path])
        problems.raise_if_any()
        return files


def _read(path: Path, name: str, limit: int) -> bytes:
    # A link could lead out of the folder, and to content that nobody reviewed with it.
    flags = os.O_RDONLY | getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0)
    try:
        if path.is_symlink():
            raise _refused(name, "links are not followed", "put the file itself into the folder")
        descriptor = os.open(path, flags)
        with os.fdopen(descriptor, "rb") as file:
            if not S_ISREG(os.fstat(descriptor).st_mode):
                raise _refused(name, "not a regular file")
            data = file.read(limit + 1)
    except OSError as error:
        raise _refused(name, f"cannot be read: {error.strerror}") from None
    if len(data) > limit:
        raise _refused(name, f"larger than {limit} bytes, or the whole bundle than {MAX_BUNDLE_BYTES}")
    return data


def _stat(root: Path, path: str) -> tuple[str, int, int, int, int]:
    try:
        found = (root / path).lstat()
    except OSError:
        return path, 0, 0, 0, 0
    if S_ISDIR(found.st_mode):
        return path, 0, 0, 0, 0
    return path, found.st_ino, found.st_size, found.st_mtime_ns, found.st_ctime_ns


def _hash(files: dict[str, bytes]) -> str:
    whole = sha256()
    for path in sorted(files):
        whole.update(f"{len(path)}:{path}:{len(files[path])}:".encode())
        whole.update(files[path])
    return whole.hexdigest()


def _said(path: str, stderr: bytes) -> OperatorError:
    """What the child said, `file:line: message`, as an error of our own."""
    lines = stderr.decode("utf-8", "replace").strip().splitlines()
    text = lines[-1][:500] if lines else "the guard process failed without a word"
    head, found, message = text.partition(": ")
    if found and head.startswith(path):
        return _refused(head, message)
    return _refused(path, text)


def _refused(where: str, message: str, remedy: str = "") -> OperatorError:
    return OperatorError(Reason.BUNDLE_REFUSED, message, where=where, remedy=remedy)
