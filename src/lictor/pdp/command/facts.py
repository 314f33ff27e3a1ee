"""A command as typed facts: which programs run, with which subcommands, flags and words, and whether all of that is certain.

`understood` is the fact everything else hangs on: every character of the text stands for itself, and every program that
will run is named. A prefix of a command line says nothing: chained, nested and wrapped commands walk past prefix rules. Where it
is false all other facts take their worst value, so that a rule that forgets to ask for it allows nothing. Refuses to know which
programs are good, and what a program does with its words.
"""

from collections.abc import Sequence
from typing import Any, Final

import msgspec

from lictor.pdp.command.lexer import (
    MAX_CHARACTERS,
    MAX_COMMANDS,
    MAX_WORDS,
    NotUnderstoodError,
    Script,
    Simple,
    read_shell,
)
from lictor.pdp.command.programs import Leaf, leaves

CEDAR_TYPE: Final = (
    "{ understood: Bool, commands: Long, programs: Set<String>, subcommands: Set<String>, flags: Set<String>, "
    "words: Set<String>, reads: Set<String>, writes: Set<String>, "
    "writes_files: Bool, pipeline: Bool, sequence: Bool, background: Bool }"
)
"""The Cedar record type of `CommandFacts.cedar()`; every member is required."""
ANY: Final = "*"


class CommandFacts(msgspec.Struct, frozen=True, kw_only=True):
    """What a command runs. Tuples are sorted and without repetition; `*` stands for what cannot be named."""

    understood: bool
    commands: int
    """Programs that run, wrappers and what they wrap counted each."""
    programs: tuple[str, ...]
    """As written, and the base name in lower case: `/usr/bin/git` and `git`."""
    subcommands: tuple[str, ...]
    """One for each program, as written: `git push`, and `ls` where a program has none. A path stays: `./git push`."""
    flags: tuple[str, ...]
    """Options of all programs without their values: `--force`; of `-rf` there are `-rf`, `-r` and `-f`."""
    words: tuple[str, ...]
    """Every argument of every program, options included."""
    reads: tuple[str, ...]
    """Files read by redirection."""
    writes: tuple[str, ...]
    """Files written by redirection; `/dev/null` is none."""
    writes_files: bool
    """A redirection, program or option is known to write. False is no proof: a program nobody lists may write."""
    pipeline: bool
    sequence: bool
    """More than one command joined by `;`, `&&`, `||`, `&` or a line end."""
    background: bool
    why: str = ""
    """Why it is not understood; for messages, not for policy."""

    def cedar(self) -> dict[str, Any]:
        """Plain Cedar JSON of type `CEDAR_TYPE`."""
        return {
            "understood": self.understood,
            "commands": self.commands,
            "programs": list(self.programs),
            "subcommands": list(self.subcommands),
            "flags": list(self.flags),
            "words": list(self.words),
            "reads": list(self.reads),
            "writes": list(self.writes),
            "writes_files": self.writes_files,
            "pipeline": self.pipeline,
            "sequence": self.sequence,
            "background": self.background,
        }


def not_understood(why: str) -> CommandFacts:
    """The worst of every fact."""
    every = (ANY,)
    return CommandFacts(
        understood=False,
        commands=MAX_COMMANDS + 1,
        programs=every,
        subcommands=every,
        flags=every,
        words=every,
        reads=every,
        writes=every,
        writes_files=True,
        pipeline=True,
        sequence=True,
        background=True,
        why=why,
    )


def command_facts(command: str | Sequence[str]) -> CommandFacts:
    """The facts of a command: a string is text for a POSIX shell, a list is an argv that no shell will see.

    Never raises for what a caller sends: what is not understood says so.
    """
    try:
        script = read_shell(command) if isinstance(command, str) else Script([_argv(command)], False, False, False)
        return _facts(script)
    except NotUnderstoodError as error:
        return not_understood(str(error))


def _argv(command: Any) -> Simple:
    if not isinstance(command, list | tuple) or not command or not all(isinstance(word, str) for word in command):
        raise NotUnderstoodError("not a text and not a list of texts")
    if len(command) > MAX_WORDS or sum(map(len, command)) > MAX_CHARACTERS:
        raise NotUnderstoodError("too many words, or too long")
    if any("\0" in word or _surrogate(word) for word in command):
        raise NotUnderstoodError("a word that no program can be given")
    return Simple(list(command), [], [])


def _surrogate(word: str) -> bool:
    return any("\ud800" <= char <= "\udfff" for char in word)


def _facts(script: Script) -> CommandFacts:
    found: list[Leaf] = []
    scripts = [script]
    for command in script.commands:
        inner, more = leaves(command.words)
        found += inner
        scripts += more
    if len(found) > MAX_COMMANDS:
        raise NotUnderstoodError(f"more than {MAX_COMMANDS} programs")
    simple = [command for one in scripts for command in one.commands]
    writes = {name for command in simple for name in command.writes}
    return CommandFacts(
        understood=True,
        commands=len(found),
        programs=_sorted({name for leaf in found for name in (leaf.program, leaf.base)}),
        subcommands=_sorted({leaf.subcommand for leaf in found}),
        flags=_sorted({flag for leaf in found for flag in _flags(leaf.words)}),
        words=_sorted({word for leaf in found for word in leaf.words}),
        reads=_sorted({name for command in simple for name in command.reads}),
        writes=_sorted(writes),
        writes_files=bool(writes) or any(leaf.writes for leaf in found),
        pipeline=any(one.pipeline for one in scripts),
        sequence=any(one.sequence for one in scripts),
        background=any(one.background for one in scripts),
    )


def _flags(words: list[str]) -> set[str]:
    """Options up to `--`. What stands behind an option is not told from its value, so a value with a dash counts as well."""
    found: set[str] = set()
    for word in words:
        if word == "--":
            break
        if word.startswith("--"):
            found.add(word.partition("=")[0])
        elif word.startswith("-") and len(word) > 1:
            found.add(word.partition("=")[0])
            found.update(f"-{letter}" for letter in word[1:].partition("=")[0])
    return found


def _sorted(names: set[str]) -> tuple[str, ...]:
    return tuple(sorted(names))
