"""Command facts against real shells: the argv they build has to be the words we report."""

import functools
import shlex
import shutil
import subprocess
import tempfile
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from lictor.pdp.command import CommandFacts, command_facts
from lictor.pdp.command.lexer import NotUnderstoodError, Script, read_shell

Reader = Callable[[str], Script]

_SHELLS = [found for name in ("bash", "dash", "zsh", "ksh") if (found := shutil.which(name))]
_PIECES = st.sampled_from(
    ["show", "ls", "-la", "a b", "x", "'", '"', "\\", " ", "  ", "\t", "\n", ";", "&&", "||", "|", "&", ">", "<", ">>", "2>", "2>&1", "$", "$x",
     "${x}", "$(show y)", "`show y`", "~", "~root", "*", "?", "[a]", "{a,b}", "{}", "{1..3}", "#", "!", "!!", "=", "a=b", "^", "%", "()", "é", "\r",
     "\x00", "\u00a0", "\u2028", "'a b'", '"a b"', "'it'\\''s'", '"\\$x"', '"\\\\"', "$'a'", '$"a"', "<<E\nx\nE\n", "<(show y)", "if", "for", "@{0}",
     "HEAD~1", "a:b", "--x=y", "--x=~", "\\\n", "\\ ", "\\n", '""', "''", "--", ",", "+", "@", "{", "}", "]", "|&", "&>", ";;", "x~", "a=~/b"]
)  # fmt: skip


@st.composite
def commands(draw: st.DrawFn) -> str:
    """Text that begins with the stub, so that the shell runs something; often several, with odd pieces between."""
    parts = ["show "]
    for _ in range(draw(st.integers(0, 7))):
        parts.append(draw(_PIECES))
        if draw(st.booleans()):
            parts.append(draw(st.sampled_from([" ", " ", "; show ", " && show ", "|show ", "\nshow "])))
    return "".join(parts)


@functools.cache
def stage() -> "tempfile.TemporaryDirectory[str]":
    """A folder whose only program is `show`, which writes how many words it was given, and the words; removed at the end."""
    folder = tempfile.TemporaryDirectory(prefix="argv-")
    stub = Path(folder.name) / "show"
    stub.write_text(f'#!/bin/sh\nprintf \'%s\\0\' "$#" "$@" >> {folder.name}/seen\n')
    stub.chmod(0o755)
    (Path(folder.name) / "room").mkdir()
    return folder


def argv_of(shell: str, text: str) -> list[list[str]]:
    """The argv of every `show` that a shell really runs for this text, without the program."""
    folder = Path(stage().name)
    log = folder / "seen"
    log.unlink(missing_ok=True)
    environment = {"PATH": str(folder), "HOME": "/home/nobody", "x": "VALUE", "LC_ALL": "C.UTF-8"}
    where = folder / "room"
    subprocess.run(
        [shell, "-c", text],
        cwd=where,
        env=environment,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        timeout=20,
        check=False,
    )
    words = log.read_bytes().decode("utf-8", "surrogateescape").split("\0")[:-1] if log.exists() else []
    found = []
    while words:
        many = int(words[0])
        found.append(words[1 : many + 1])
        words = words[many + 1 :]
    return found


def check_shell(reader: Reader, text: str, shell: str) -> bool:
    """Every argv the shell runs is one that we report. True where there was something to compare."""
    try:
        script = reader(text)
    except NotUnderstoodError:
        return False
    ours = [command.words[1:] for command in script.commands if command.words[0] == "show"]
    left = list(ours)
    for argv in argv_of(shell, text):
        assert argv in left, (shell, text, argv, ours)
        left.remove(argv)
    return True


@settings(max_examples=150, deadline=None, suppress_health_check=list(HealthCheck))
@given(commands())
def test_the_words_are_those_the_shells_run(text: str) -> None:
    """What is understood runs with exactly the reported words, in every shell that is installed."""
    try:
        read_shell(text)
    except NotUnderstoodError:
        return
    for shell in _SHELLS:
        check_shell(read_shell, text, shell)


@settings(max_examples=400, deadline=None)
@given(
    st.lists(
        st.text(st.characters(codec="utf-8", exclude_characters="\0", exclude_categories=("Cc", "Cs")), max_size=8),
        min_size=1,
        max_size=5,
    )
)
def test_quoted_words_come_back(words: list[str]) -> None:
    """Words that are quoted by the rules of the standard library are read as themselves, or not at all."""
    text = "show " + " ".join(shlex.quote(word) for word in words)
    try:
        script = read_shell(text)
    except NotUnderstoodError:
        # `=` is safe to the library; zsh looks such a word up as a program.
        assert any(word.startswith("=") for word in words) or not (text.isprintable() and text.isascii())
        return
    assert [command.words for command in script.commands] == [["show", *words]]


@settings(max_examples=400, deadline=None)
@given(st.text(alphabet=st.sampled_from(list("abg t-=~$`'\"\\;|&<>(){}[]*?!#^%@\n\t\r\0:./2é\u00a0")), max_size=20))
def test_whatever_comes_there_are_facts(text: str) -> None:
    """Nothing raises; what is not understood has the worst of every fact."""
    for given_ in (text, text.split(" ")):
        facts = command_facts(given_)
        assert isinstance(facts, CommandFacts)
        if not facts.understood:
            assert facts.subcommands == facts.programs == ("*",)
            assert (facts.writes_files, facts.background, facts.commands) == (True, True, 51)


def by_shlex(text: str) -> Script:
    """The usual mistake: the standard library's splitter taken for a shell."""
    from lictor.pdp.command.lexer import Simple

    try:
        return Script([Simple(shlex.split(text), [], [])], pipeline=False, sequence=False, background=False)
    except ValueError:
        raise NotUnderstoodError("unbalanced") from None


@pytest.mark.parametrize(
    "text", ["show $x", "show {a,b}", "show a; show b", "show $(echo y)", "show ~", "show a\nshow b", "show a#b #c"]
)
def test_a_naive_splitter_is_caught(text: str) -> None:
    """The same check fails for a splitter that is no shell, and holds for ours."""
    shell = next(found for found in _SHELLS if found.endswith("bash"))
    check_shell(read_shell, text, shell)
    with pytest.raises(AssertionError):
        check_shell(by_shlex, text, shell)
