"""The safe: what is sealed, for whom, and that a change of keys survives a crash at any point."""

import os
import sqlite3
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import ClassVar

import pytest

from lictor.credentials.masterkey import KEY_FILE, WRAPPED_FILE, CommandMaster, FileMaster, KeyringMaster
from lictor.credentials.safe import FILE, Safe, Sealed
from lictor.model.errors import LictorError, OperatorError, StoreError
from lictor.model.secret import Secret
from lictor.testing.clock import ManualClock

VALUE = "canary-value-0001"
XOR = "import sys; sys.stdout.buffer.write(bytes(b ^ 90 for b in sys.stdin.buffer.read()))"
WRAP = (sys.executable, "-c", XOR)


def opened(folder: Path) -> Sealed:
    return Sealed(folder, FileMaster(folder))


def everything(folder: Path) -> bytes:
    return b"".join(path.read_bytes() for path in folder.rglob("*") if path.is_file())


def test_what_is_kept_comes_back_and_is_nowhere_in_clear(tmp_path: Path):
    """Also for another process; an absent name is None."""
    assert opened(tmp_path).write("github", Secret(VALUE), 1) == 1
    assert opened(tmp_path).read("github") == Secret(VALUE)
    assert opened(tmp_path).read("gitlab") is None
    assert VALUE.encode() not in everything(tmp_path)
    assert opened(tmp_path).names() == [("github", 1, 1)]


@pytest.mark.skipif(os.name != "posix", reason="POSIX owners")
def test_a_master_key_of_somebody_else_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """Whoever owns the file knows the key; what is looked at is the file that was opened, not one of its name."""
    opened(tmp_path).write("github", Secret(VALUE), 1)
    real = os.fstat

    def fstat(descriptor: int) -> SimpleNamespace:
        found = real(descriptor)
        return SimpleNamespace(st_mode=found.st_mode, st_uid=54321, st_size=found.st_size)

    monkeypatch.setattr(os, "fstat", fstat)
    with pytest.raises(StoreError, match="another user"):
        FileMaster(tmp_path).first()


def test_files_are_for_their_owner_alone(tmp_path: Path):
    """Made so under any umask; refused when somebody opened them."""
    before = os.umask(0)
    try:
        opened(tmp_path).write("github", Secret(VALUE), 1)
    finally:
        os.umask(before)
    for name in (FILE, KEY_FILE):
        assert (tmp_path / name).stat().st_mode & 0o777 == 0o600
        (tmp_path / name).chmod(0o640)
        with pytest.raises(StoreError, match="open to others"):
            opened(tmp_path).read("github")
        (tmp_path / name).chmod(0o600)


@pytest.mark.parametrize("change", ["name", "version", "bytes"])
def test_what_was_moved_or_changed_does_not_open(tmp_path: Path, change: str):
    """Name and version are part of the seal."""
    safe = opened(tmp_path)
    safe.write("github", Secret(VALUE), 1)
    safe.write("gitlab", Secret("another-value-2"), 1)
    statement = {
        "name": "UPDATE secrets SET sealed = (SELECT sealed FROM secrets WHERE name = 'gitlab') WHERE name = 'github'",
        "version": "UPDATE secrets SET version = 7 WHERE name = 'github'",
        "bytes": "UPDATE secrets SET sealed = zeroblob(40) WHERE name = 'github'",
    }[change]
    with sqlite3.connect(tmp_path / FILE) as connection:
        connection.execute(statement)
    connection.close()
    with pytest.raises(StoreError, match="does not open"):
        opened(tmp_path).read("github")


def test_another_key_opens_nothing(tmp_path: Path):
    """The key file was replaced: refused by its fingerprint, and nothing is overwritten."""
    opened(tmp_path).write("github", Secret(VALUE), 1)
    (tmp_path / KEY_FILE).write_bytes(bytes(32))
    with pytest.raises(StoreError, match="not the key"):
        opened(tmp_path).write("github", Secret("other-value-9"), 2)


def test_a_new_value_has_a_new_version_and_a_removed_one_is_gone(tmp_path: Path):
    """Also from the file's pages."""
    safe = opened(tmp_path)
    assert [safe.write("github", Secret(VALUE + str(i)), i) for i in range(3)] == [1, 2, 3]
    assert safe.read("github") == Secret(VALUE + "2")
    assert safe.remove("github")
    assert not safe.remove("github")
    assert safe.read("github") is None


@pytest.mark.parametrize("value", ["", "tiny", "x" * 70_000])
def test_too_short_or_too_long_is_refused(tmp_path: Path, value: str):
    """What could not be looked for is not taken; the message does not repeat it."""
    with pytest.raises(LictorError) as refusal:
        opened(tmp_path).write("github", Secret(value), 1)
    assert not value or value not in str(refusal.value)


def test_changing_the_keys_leaves_every_value_and_no_old_key(tmp_path: Path):
    """Every seal is new; an old copy of the key opens nothing any more."""
    safe = opened(tmp_path)
    safe.write("github", Secret(VALUE), 1)
    old, before = (tmp_path / KEY_FILE).read_bytes(), (tmp_path / FILE).read_bytes()
    safe.renew()
    assert (tmp_path / KEY_FILE).read_bytes() != old
    assert (tmp_path / FILE).read_bytes() != before
    assert safe.read("github") == opened(tmp_path).read("github") == Secret(VALUE)
    assert not (tmp_path / f"{KEY_FILE}.next").exists()


@pytest.mark.parametrize("point", ["renew", "settle"])
def test_a_crash_while_keys_change_loses_nothing(tmp_path: Path, point: str, monkeypatch: pytest.MonkeyPatch):
    """Died before the safe was sealed anew, or after it and before the key took its place: it opens."""
    opened(tmp_path).write("github", Secret(VALUE), 1)

    class Dead(BaseException):
        pass

    def die(*_: object) -> bytes:
        raise Dead

    if point == "settle":
        monkeypatch.setattr(FileMaster, "settle", die)
    else:
        monkeypatch.setattr("lictor.credentials.safe._keep_key", die)
        monkeypatch.setattr(FileMaster, "forget", lambda *_: None)
    with pytest.raises(Dead):
        opened(tmp_path).renew()
    monkeypatch.undo()
    assert (tmp_path / f"{KEY_FILE}.next").exists()
    assert opened(tmp_path).read("github") == Secret(VALUE)
    opened(tmp_path).renew()
    assert opened(tmp_path).read("github") == Secret(VALUE)


def test_a_command_unwraps_the_key_and_the_folder_holds_none(tmp_path: Path):
    """The wrapped key alone opens nothing; another command is refused, late or failing ones too."""
    Sealed(tmp_path, CommandMaster(tmp_path, WRAP, WRAP)).write("github", Secret(VALUE), 1)
    assert Sealed(tmp_path, CommandMaster(tmp_path, WRAP)).read("github") == Secret(VALUE)
    assert not (tmp_path / KEY_FILE).exists()
    assert (tmp_path / WRAPPED_FILE).stat().st_mode & 0o777 == 0o600
    for command in ((sys.executable, "-c", "import sys; sys.exit(3)"), ("/nowhere",), ("cat",)):
        with pytest.raises(StoreError):
            Sealed(tmp_path, CommandMaster(tmp_path, command)).read("github")
    safe = Sealed(tmp_path, CommandMaster(tmp_path, WRAP, WRAP))
    safe.renew()
    assert Sealed(tmp_path, CommandMaster(tmp_path, WRAP)).read("github") == Secret(VALUE)


def test_from_a_file_to_a_command(tmp_path: Path):
    """The master key moves to another place."""
    safe = opened(tmp_path)
    safe.write("github", Secret(VALUE), 1)
    safe.renew(CommandMaster(tmp_path, WRAP, WRAP))
    assert Sealed(tmp_path, CommandMaster(tmp_path, WRAP)).read("github") == Secret(VALUE)
    with pytest.raises(StoreError):
        opened(tmp_path).read("github")


def test_the_keyring_holds_the_key(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """Through the library's own interface; a back end that keeps nothing safe is refused."""
    keyring = pytest.importorskip("keyring") if "keyring" in sys.modules else __import__("keyring")
    from keyring.backend import KeyringBackend

    class InMemory(KeyringBackend):
        priority = 1
        kept: ClassVar[dict[tuple[str, str], str]] = {}

        def get_password(self, service: str, username: str) -> str | None:
            return self.kept.get((service, username))

        def set_password(self, service: str, username: str, password: str) -> None:
            self.kept[service, username] = password

        def delete_password(self, service: str, username: str) -> None:
            del self.kept[service, username]

    before = keyring.get_keyring()
    try:
        keyring.set_keyring(InMemory())
        safe = Sealed(tmp_path, KeyringMaster(tmp_path))
        safe.write("github", Secret(VALUE), 1)
        safe.renew()
        assert Sealed(tmp_path, KeyringMaster(tmp_path)).read("github") == Secret(VALUE)
        assert len(InMemory.kept) == 1
        from keyring.backends.fail import Keyring as Fail

        keyring.set_keyring(Fail())
        with pytest.raises(OperatorError, match="keyring"):
            Sealed(tmp_path, KeyringMaster(tmp_path)).read("github")
    finally:
        keyring.set_keyring(before)


async def test_over_the_port(tmp_path: Path):
    """Reads, writes, removes; notes of leases are none of people's secrets."""
    safe = Safe(opened(tmp_path), ManualClock(5))
    await safe.write("lease:one", Secret("a note of a lease"))
    await safe.write("github", Secret(VALUE))
    assert await safe.read("lease:one") == Secret("a note of a lease")
    assert list(await safe.values()) == ["github"]
    await safe.remove("lease:one")
    assert await safe.read("lease:one") is None


def test_a_control_that_seals_without_the_name_is_found_out(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """Control: without associated data a moved value opens."""
    monkeypatch.setattr("lictor.credentials.safe._bound", lambda _name, _version: b"")
    with pytest.raises(BaseException, match="DID NOT RAISE"):
        test_what_was_moved_or_changed_does_not_open(tmp_path, "name")
