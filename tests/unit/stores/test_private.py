"""Files that decide belong to us, and nobody else writes them."""

import grp
import os
import pwd
import stat
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import pytest

from lictor.model.errors import OperatorError
from lictor.model.reasons import Reason
from lictor.stores import private
from lictor.stores.private import check_ours, check_private, private_folder


def lets_through(path: Path, modes: tuple[int, ...]) -> list[int]:
    """The modes with which a file counts as ours."""
    found = []
    for mode in modes:
        path.chmod(mode)
        try:
            check_ours(path)
            found.append(mode)
        except OperatorError as error:
            assert error.reason is Reason.CONFIG_REFUSED
            assert error.remedy == f"chmod go-w '{path}'"
    path.chmod(0o700)
    return found


@pytest.fixture(params=["file", "folder"])
def path(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    """One of either."""
    made = tmp_path / "made"
    made.mkdir() if request.param == "folder" else made.write_text("x")
    return made


@pytest.fixture
def shared_group(monkeypatch: pytest.MonkeyPatch) -> None:
    """The file's group has other people in it."""
    monkeypatch.setattr(private, "_private_group", lambda _: False)


MODES = (0o600, 0o644, 0o755, 0o444, 0o664, 0o646, 0o666, 0o777, 0o602, 0o620)


@pytest.mark.usefixtures("shared_group")
def test_what_others_can_write_is_refused(path: Path) -> None:
    """By the group or by everybody (ADMN-08); reading is no secret here."""
    assert lets_through(path, MODES) == [0o600, 0o644, 0o755, 0o444]


def test_a_check_that_looks_at_everybody_only_is_found_out(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Control: the same table with the group left out of it."""
    monkeypatch.setattr(private, "_private_group", lambda _: True)
    assert 0o664 in lets_through(path, MODES)
    assert 0o666 not in lets_through(path, MODES)


@pytest.mark.parametrize(
    ("user", "group", "ours"),
    [
        (("ann", 1000), ("ann", []), True),
        (("ann", 1000), ("ann", ["ann"]), True),
        (("ann", 1000), ("ann", ["eve"]), False),
        (("ann", 1000), ("staff", []), False),
        (("ann", 100), ("ann", []), False),
    ],
)
def test_only_a_users_own_group_is_private(
    user: tuple[str, int], group: tuple[str, list[str]], ours: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Named like the user, their primary one, with nobody else in it."""
    monkeypatch.setattr(pwd, "getpwuid", lambda _: SimpleNamespace(pw_name=user[0], pw_gid=user[1]))
    monkeypatch.setattr(grp, "getgrgid", lambda _: SimpleNamespace(gr_name=group[0], gr_mem=group[1]))
    assert private._private_group(1000) is ours


def test_an_unknown_group_is_not_private(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever it may be."""

    def unknown(_: int) -> None:
        raise KeyError

    monkeypatch.setattr(grp, "getgrgid", unknown)
    assert not private._private_group(4_000_000)


def test_another_users_file_is_refused_and_roots_is_not(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The owner can always make it writable again."""
    path.chmod(0o600)
    here = path.stat()

    def owned_by(uid: int) -> None:
        monkeypatch.setattr(
            Path, "lstat", lambda _: SimpleNamespace(st_mode=here.st_mode, st_uid=uid, st_gid=here.st_gid)
        )
        check_ours(path)

    owned_by(os.geteuid())
    owned_by(0)
    with pytest.raises(OperatorError, match=r"another user \(uid 54321\)") as error:
        owned_by(54321)
    assert error.value.remedy.startswith(f"chown {os.geteuid()} ")


def test_a_link_is_left_to_readers_who_refuse_it(tmp_path: Path) -> None:
    """The mode of a link means nothing."""
    (tmp_path / "link").symlink_to("nowhere")
    check_ours(tmp_path / "link")
    assert stat.S_ISLNK((tmp_path / "link").lstat().st_mode)


@pytest.fixture
def owned_by(monkeypatch: pytest.MonkeyPatch) -> Callable[[int], None]:
    """Everything belongs to this user."""
    real = os.stat

    def own(uid: int) -> None:
        def stat(path: Path, **options: object) -> SimpleNamespace:
            found = real(path, **options)  # type: ignore[arg-type]
            return SimpleNamespace(st_mode=found.st_mode, st_uid=uid, st_gid=found.st_gid)

        monkeypatch.setattr(Path, "stat", lambda path, **_: stat(path))
        monkeypatch.setattr(Path, "lstat", lambda path: stat(path, follow_symlinks=False))

    return own


def test_a_folder_that_somebody_else_made_first_is_not_ours(tmp_path: Path, owned_by: Callable[[int], None]) -> None:
    """Its owner can swap every file in it, whatever its mode says to others."""
    tmp_path.chmod(0o755)
    for uid in (os.geteuid(), 0):
        owned_by(uid)
        assert private_folder(tmp_path) == tmp_path
    owned_by(54321)
    with pytest.raises(OperatorError, match=r"another user \(uid 54321\)"):
        private_folder(tmp_path)


def test_a_key_of_somebody_else_is_no_key_of_ours(tmp_path: Path, owned_by: Callable[[int], None]) -> None:
    """Whoever owns the file reads it, and knew it before we did."""
    key = tmp_path / "key"
    key.write_bytes(b"x")
    key.chmod(0o600)
    for uid in (os.geteuid(), 0):
        owned_by(uid)
        check_private(key)
    owned_by(54321)
    with pytest.raises(OperatorError, match=r"another user \(uid 54321\)"):
        check_private(key)
