"""What somebody is told who does not know the commands yet."""

import argparse
import importlib

import pytest

from lictor.cli.main import COMMANDS, ELSEWHERE, main


def told(capsys: pytest.CaptureFixture[str], *words: str) -> str:
    """Standard error of a command line that is none."""
    with pytest.raises(SystemExit) as ended:
        main(words)
    assert ended.value.code == 2
    return capsys.readouterr().err


def test_a_word_that_is_no_command_is_answered_with_the_one_that_was_meant(capsys: pytest.CaptureFixture[str]) -> None:
    """One line behind how it is used, and never the word's own control characters."""
    line = "lictor: there is no command 'polcy'; perhaps: lictor policy; all of them: lictor --help\n"
    assert told(capsys, "polcy").endswith(f"COMMAND ...\n{line}")
    assert "perhaps: lictor log verify;" in told(capsys, "verify")
    assert told(capsys, "\x1b[31m" + "x" * 100).count("\x1b") == 0
    assert "perhaps" not in told(capsys, "zzzzzz")


@pytest.mark.parametrize("group", ["policy", "log", "task", "agents"])
def test_a_group_without_an_action_shows_its_actions(group: str, capsys: pytest.CaptureFixture[str]) -> None:
    """Not a line that says that one is missing."""
    text = told(capsys, group)
    assert "actions:" in text
    assert "are required" not in text


def test_what_is_elsewhere_is_there() -> None:
    """Each word leads to a command, and to an action of it, that exists."""
    for word, place in ELSEWHERE.items():
        assert word not in COMMANDS
        command, _, action = place.partition(" ")
        parser = argparse.ArgumentParser()
        importlib.import_module(f"lictor.cli.{COMMANDS[command][0]}").add(command, parser)
        groups = [one for one in parser._actions if isinstance(one, argparse._SubParsersAction)]
        assert not action or action in groups[0].choices, place
