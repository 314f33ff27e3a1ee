"""What a program's arguments mean for the question which programs run: wrappers, interpreters, options that execute.

Three sorts. *Wrappers* (`timeout 5 git status`) are opened, and the program within is judged as well. *Carriers* (interpreters,
remote shells, build runners) run whatever their words or files say: never understood. Of the rest, options known to start
another program are never understood, abbreviated ones included; a program nobody lists here has words and no more, and is
for policy to name. Refuses to know the shell's language (`lexer`) and what policy allows.
"""

import re
from collections.abc import Callable
from typing import Final, NamedTuple

from lictor.pdp.command.lexer import NotUnderstoodError, Script, read_shell
from lictor.pdp.command.tables import (
    CARRIER_PATTERN,
    CARRIERS,
    DANGEROUS_LONG,
    DANGEROUS_SHORT,
    GIT_BUILTINS,
    GIT_GLOBAL,
    GO_OPTIONS,
    KNOWN_SUBCOMMANDS,
    NPM_OPTIONS,
    OUTPUT_LONG,
    OUTPUT_SHORT,
    POISONERS,
    REFUSED_SUBCOMMANDS,
    SHELLS,
    WITH_SUBCOMMANDS,
    WRITERS,
)

MAX_WRAPPERS: Final = 8
_NAME: Final = re.compile(r"[A-Za-z0-9_./+@-]+", re.ASCII)
_SUBCOMMAND: Final = re.compile(r"[A-Za-z][A-Za-z0-9_:-]*", re.ASCII)
_DURATION: Final = re.compile(r"[0-9]+(?:\.[0-9]+)?[smhd]?", re.ASCII)
_SED_PRINT: Final = re.compile(r"[0-9]+(?:,(?:[0-9]+|\$))?[pdq]|\$p", re.ASCII)
_TRANSPORT: Final = re.compile(r"[A-Za-z0-9.+-]+::")
_SUFFIXES: Final = (".exe", ".com", ".cmd", ".bat")


class Leaf(NamedTuple):
    """One program that runs: as written, its base name, `program subcommand`, its other words, whether it writes."""

    program: str
    base: str
    subcommand: str
    words: list[str]
    writes: bool


def base_name(program: str) -> str:
    """The last part of a path, lower case, without an executable suffix: `/bin/ZSH` is `zsh` where case does not matter."""
    name = program.rsplit("/", 1)[-1].lower()
    for suffix in _SUFFIXES:
        name = name.removesuffix(suffix)
    return name


def runs_anything(program: str) -> bool:
    """Whether a program is a shell, an interpreter or another one that runs what its words, input or files say."""
    base = base_name(program)
    return base in SHELLS or base in CARRIERS or CARRIER_PATTERN.fullmatch(base) is not None


def leaves(argv: list[str], depth: int = 0) -> tuple[list[Leaf], list[Script]]:
    """Every program that an argv runs, wrappers before what they wrap; and shell texts that were read on the way.

    Raises:
        NotUnderstoodError: another program may run that cannot be named.
    """
    if depth > MAX_WRAPPERS:
        raise NotUnderstoodError(f"more than {MAX_WRAPPERS} wrappers")
    program = argv[0]
    if not _NAME.fullmatch(program) or program.startswith("-"):
        raise NotUnderstoodError(f"{program[:40]!r} is no plain program name")
    base = base_name(program)
    if base in SHELLS:
        return _shell(argv, base, depth)
    opened = _WRAPPERS[base](argv[1:]) if base in _WRAPPERS else None
    if opened is not None:
        inner, scripts = leaves(opened, depth + 1)
        own = argv[1 : len(argv) - len(opened)]
        return [Leaf(program, base, program, own, writes=False), *inner], scripts
    return [_leaf(program, base, argv[1:])], []


def _shell(argv: list[str], base: str, depth: int) -> tuple[list[Leaf], list[Script]]:
    """`sh -c TEXT` with a literal text is that text; any other use of a shell runs a file or its input."""
    if len(argv) != 3 or argv[1] != "-c":
        raise NotUnderstoodError(f"{base!r} runs what cannot be seen")
    script = read_shell(argv[2])
    found = [Leaf(argv[0], base, argv[0], ["-c"], writes=False)]
    scripts = [script]
    for command in script.commands:
        inner, more = leaves(command.words, depth + 1)
        found += inner
        scripts += more
    return found, scripts


def _leaf(program: str, base: str, words: list[str]) -> Leaf:
    if words == ["--version"]:
        return Leaf(program, base, program, words, writes=False)
    if runs_anything(base):
        raise NotUnderstoodError(f"{base!r} runs programs that its arguments or files name")
    if base in POISONERS:
        raise NotUnderstoodError(f"{base!r} changes what later commands mean")
    _refuse_options(base, words)
    check = _CHECKS.get(base)
    if check is not None:
        check(words)
    subcommand = _subcommand(base, words)
    named = f"{program} {subcommand}" if subcommand else program
    return Leaf(program, base, named, words, writes=base in WRITERS or _has_output_option(base, words))


# -- wrappers: the argv within, or a refusal -----------------------------------------------------------------------------


def _after(words: list[str], options: dict[str, re.Pattern[str] | None], operands: int = 0) -> list[str]:
    """The argv behind a wrapper's own words. `options`: name → form of its value in the next word, or None for no value."""
    index = 0
    while index < len(words) and words[index].startswith("-"):
        if words[index] == "--":
            index += 1
            break
        if words[index] not in options:
            raise NotUnderstoodError(f"the wrapper option {words[index][:40]!r}")
        form = options[words[index]]
        index += 1
        if form is not None:
            if index >= len(words) or not form.fullmatch(words[index]):
                raise NotUnderstoodError("a wrapper option without a plain value")
            index += 1
    rest = words[index + operands :]
    if not rest or rest[0].startswith("-"):
        raise NotUnderstoodError("a wrapper without a program")
    return rest


_INTEGER: Final = re.compile(r"-?[0-9]+", re.ASCII)
_SIGNAL: Final = re.compile(r"[A-Z0-9]+", re.ASCII)


def _env(words: list[str]) -> list[str]:
    if any("=" in word for word in words[:1]):
        raise NotUnderstoodError("a variable is set")
    return _after(words, {})


def _timeout(words: list[str]) -> list[str]:
    options = {"-s": _SIGNAL, "-k": _DURATION, "--foreground": None, "--preserve-status": None, "-v": None}
    rest = _after(words, options)
    if not _DURATION.fullmatch(rest[0]) or len(rest) == 1 or rest[1].startswith("-"):
        raise NotUnderstoodError("a timeout without a plain duration and program")
    return rest[1:]


def _command(words: list[str]) -> list[str] | None:
    return None if words[:1] in (["-v"], ["-V"]) else _after(words, {})


_WRAPPERS: Final[dict[str, Callable[[list[str]], list[str] | None]]] = {
    "env": _env,
    "timeout": _timeout,
    "command": _command,
    "nohup": lambda words: _after(words, {}),
    "setsid": lambda words: _after(words, {"-w": None, "-f": None}),
    "nice": lambda words: _after(words, {"-n": _INTEGER}),
    "ionice": lambda words: _after(words, {"-c": _INTEGER, "-n": _INTEGER}),
    "stdbuf": lambda words: _after(words, dict.fromkeys(["-oL", "-o0", "-eL", "-e0", "-i0"])),
    "sudo": lambda words: _after(words, {"-n": None}),
    "doas": lambda words: _after(words, {"-n": None}),
}


# -- programs ------------------------------------------------------------------------------------------------------------


def _long(word: str) -> str:
    return word[2:].partition("=")[0]


def _refuse_options(base: str, words: list[str]) -> None:
    """Options that start another program. GNU and git accept any unambiguous beginning of a long option, so all are refused."""
    long, short = DANGEROUS_LONG.get(base, ()), DANGEROUS_SHORT.get(base, "")
    for word in words:
        if word.startswith("--") and len(word) > 2:
            given = _long(word)
            if any(option.startswith(given) for option in long):
                raise NotUnderstoodError(f"the option {word[:40]!r} of {base!r} may start a program")
        elif word.startswith("-") and any(letter in short for letter in word[1:]):
            raise NotUnderstoodError(f"the option {word[:40]!r} of {base!r} may start a program")


def _has_output_option(base: str, words: list[str]) -> bool:
    if base == "find" and any(word == "-delete" or word.startswith(("-fprint", "-fls")) for word in words):
        return True
    short = OUTPUT_SHORT.get(base, "")
    for word in words:
        if word.startswith("--"):
            if any(option.startswith(_long(word)) for option in OUTPUT_LONG) and len(word) > 2:
                return True
        elif word.startswith("-") and any(letter in short for letter in word[1:]):
            return True
    return False


def _subcommand(base: str, words: list[str]) -> str:
    """The first word of a program that has subcommands; an option before it might take that word as its value."""
    if base == "git":
        words = _git_words(words)
    if base not in WITH_SUBCOMMANDS or not words:
        return ""
    name = words[0]
    if not _SUBCOMMAND.fullmatch(name):
        raise NotUnderstoodError(f"{base!r} without a plain subcommand")
    if name in REFUSED_SUBCOMMANDS.get(base, frozenset()):
        raise NotUnderstoodError(f"'{base} {name}' runs programs that its arguments or files name")
    known = KNOWN_SUBCOMMANDS.get(base)
    if known is not None and name not in known:
        raise NotUnderstoodError(f"'{base} {name[:40]}' may be an alias or an extension")
    return name


def _git_words(words: list[str]) -> list[str]:
    """Git's words from the subcommand on, past global options that are harmless."""
    index = 0
    while index < len(words) and words[index].startswith("-"):
        if words[index] == "-C":
            index += 1
        elif words[index] not in GIT_GLOBAL:
            raise NotUnderstoodError(f"the global option {words[index][:40]!r} of 'git'")
        index += 1
    if index >= len(words):
        raise NotUnderstoodError("'git' without a subcommand")
    return words[index:]


def _git(words: list[str]) -> None:
    if any(_TRANSPORT.match(word.rpartition("=")[2]) for word in words):
        raise NotUnderstoodError("a git address that names a program")
    name, *rest = _git_words(words)
    if name not in GIT_BUILTINS:
        raise NotUnderstoodError(f"'git {name[:40]}' may be an alias, or runs programs")
    short = {"clone": "uc", "grep": "O", "rebase": "xi", "fetch": "", "archive": ""}.get(name, "")
    if any(
        not word.startswith("--") and word.startswith("-") and any(one in short for one in word[1:]) for word in rest
    ):
        raise NotUnderstoodError(f"an option of 'git {name}' may start a program")
    if name == "config" and not {"--get", "--get-all", "--list", "-l", "get", "list"} & set(rest[:1]):
        raise NotUnderstoodError("'git config' changes what later commands mean")


def _find(words: list[str]) -> None:
    if any(word in ("-exec", "-execdir", "-ok", "-okdir") for word in words):
        raise NotUnderstoodError("'find' starts a program")


def _tar(words: list[str]) -> None:
    bundled = words[0] if words and not words[0].startswith("-") else ""
    if "I" in bundled or "F" in bundled or any(":" in word for word in words):
        raise NotUnderstoodError("'tar' may start a program")


def _sed(words: list[str]) -> None:
    scripts = [word for word in words if word not in ("-n", "--quiet", "-E", "-r")]
    if not scripts or any(word.startswith("-") for word in scripts) or not _SED_PRINT.fullmatch(scripts[0]):
        raise NotUnderstoodError("a 'sed' script that may write or start a program")


def _printf(words: list[str]) -> None:
    if words[:1] and words[0].startswith("-v"):
        raise NotUnderstoodError("a variable is set")

    _no_subscripts(words[1:])


def _no_subscripts(words: list[str]) -> None:
    """`test -v 'a[$(x)]'` of bash runs x, and so do numbers of zsh: a subscript is expanded once more, whatever was quoted."""
    if any(char in word for word in words for char in "[$`"):
        raise NotUnderstoodError("a word that the shell's own program may expand once more")


def _gh(words: list[str]) -> None:
    if "--" in words:
        raise NotUnderstoodError("'gh' hands words on to 'git', whose options may start a program")


def _go(words: list[str]) -> None:
    if any(word.startswith("-") and word.lstrip("-").partition("=")[0] in GO_OPTIONS for word in words):
        raise NotUnderstoodError("an option of 'go' may start a program")


def _npm(words: list[str]) -> None:
    given = [_long(word) for word in words if word.startswith("--") and word not in ("--", "--global")]
    if any(option.startswith(name) for name in given for option in NPM_OPTIONS):
        raise NotUnderstoodError("an option of 'npm' may start a program")


_CHECKS: Final[dict[str, Callable[[list[str]], None]]] = {
    "test": _no_subscripts,
    "gh": _gh,
    "go": _go,
    "npm": _npm,
    "git": _git,
    "find": _find,
    "tar": _tar,
    "sed": _sed,
    "printf": _printf,
}
