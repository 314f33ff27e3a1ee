"""Who a process runs as and who owns a file, as the system says."""

import os
import pwd
from pathlib import Path

import pytest

from lictor.stores import users


def test_the_environment_does_not_say_who_it_is(monkeypatch: pytest.MonkeyPatch) -> None:
    """Another name in the environment changes nothing."""
    name = pwd.getpwuid(os.geteuid()).pw_name
    for variable in ("LOGNAME", "USER", "LNAME", "USERNAME"):
        monkeypatch.setenv(variable, "somebody-else")
    assert users.process_user() == f"os:{name}"


def test_a_user_without_a_name_goes_by_the_number(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """As in a container whose user stands in no file."""

    def nobody(_: int) -> object:
        raise KeyError

    monkeypatch.setattr(pwd, "getpwuid", nobody)
    assert users.process_user() == f"os:{os.geteuid()}"
    file = tmp_path / "a"
    file.touch()
    assert users.owner_of(file) == f"os:{file.stat().st_uid}"


def test_a_file_has_its_owner_and_one_that_is_gone_has_none(tmp_path: Path) -> None:
    """Nobody is made up for what is not there."""
    file = tmp_path / "a"
    file.touch()
    assert users.owner_of(file) == f"os:{pwd.getpwuid(file.stat().st_uid).pw_name}"
    with pytest.raises(FileNotFoundError):
        users.owner_of(tmp_path / "b")


@pytest.mark.skipif(os.geteuid() != 0, reason="gives a file away")
def test_a_file_that_was_given_away_is_its_new_owners(tmp_path: Path) -> None:
    """It is asked for each time."""
    file = tmp_path / "a"
    file.touch()
    os.chown(file, 12_345_678, -1)
    assert users.owner_of(file) == "os:12345678"
