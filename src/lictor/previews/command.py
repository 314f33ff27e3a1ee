"""The files among a command's words: what is read or run, by content, and the directory it happens in (BIND-12, BIND-13).

A person approves `python job.py` and means the job they looked at. Refuses to know which word a program opens: each that names a
file counts, and each that names none has to go on naming none.
"""

import posixpath
import re
from itertools import pairwise
from typing import Final

from lictor.model.preview_rule import CommandPreview
from lictor.pdp.command.lexer import NotUnderstoodError, read_shell
from lictor.pdp.normalise.pointers import point
from lictor.ports import Files
from lictor.previews.asking import Ask, NotFoundOutError, Workers
from lictor.previews.disk import Disk, Seen
from lictor.previews.parts import Found, size

MAX_WORDS: Final = 64
"""Words that are looked at as names of files."""
MAX_NAME: Final = 4_095
"""Bytes: no system opens a longer name."""
MAX_SHOWN: Final = 4
"""Files whose text is shown: those that look like what is run."""
MAX_LINES: Final = 200
_CWD: Final = "cwd"
_MODULE: Final = re.compile(r"\w+(\.\w+)*")


class CommandPreviews:
    """Makes them. Files and links are looked at again by whoever looks at those."""

    def __init__(self, disk: Disk, files: Files, workers: Workers) -> None:
        self._disk = disk
        self._files = files
        self._workers = workers

    async def make(self, ask: Ask, rule: CommandPreview, found: Found) -> None:
        """Find the directory, and the files among the words.

        Raises:
            NotFoundOutError: the words or the directory are not certain.
        """
        words = _words(ask)
        cwd = await self._directory(ask, rule, found)
        if len(words) > MAX_WORDS:
            found.unknown("More words", f"{len(words) - MAX_WORDS} of the words were not looked at as files")
        rows: list[tuple[str, ...]] = []
        texts: list[tuple[str, str]] = []
        for word, path, real in await self._resolved(words[:MAX_WORDS], cwd):
            row, read = await self._file(word, path, real, found)
            rows += row
            texts += read
        found.table("Files among its words", ("word", "where it leads", "size", "sha-256"), rows)
        for word, text in texts[:MAX_SHOWN]:
            found.text(word, text, most=MAX_LINES)

    async def _directory(self, ask: Ask, rule: CommandPreview, found: Found) -> str:
        said = point(ask.arguments, rule.cwd) if rule.cwd and ask.has(rule.cwd) else rule.base
        if not said:
            found.unknown("Where it runs", "the directory is not known: relative names are not looked at")
            return ""
        if not isinstance(said, str) or not said.startswith("/") or len(said) > MAX_NAME:
            raise NotFoundOutError("the directory it runs in is no absolute path")
        real = (await self._files.resolve({_CWD: said})).get(_CWD)
        if real is None:
            raise NotFoundOutError("where the directory it runs in leads was not found out")
        found.rests_on("link", said, real)
        same = posixpath.normpath(said) == real
        found.say("Where it runs", real if same else f"{said} leads to {real}", warning=not same)
        return real

    async def _resolved(self, words: list[str], cwd: str) -> list[tuple[str, str, str | None]]:
        """Each word with the path it would be, and where that leads; None: that is not certain."""
        paths = {word: word if word.startswith("/") else posixpath.join(cwd, word) for word in words}
        wanted = {word: path for word, path in paths.items() if path.startswith("/")}
        real = await self._files.resolve(wanted)
        return [(word, path, real.get(word)) for word, path in wanted.items()]

    async def _file(
        self, word: str, path: str, real: str | None, found: Found
    ) -> tuple[list[tuple[str, ...]], list[tuple[str, str]]]:
        if real is None:
            found.unknown(word, "where it leads was not found out")
            return [], []
        seen = await self._workers.run(self._disk.look, real)
        if not seen.known:
            found.unknown(word, f"{real} cannot be read, or changes while it is read")
        found.rests_on("link", path, real)
        found.rests_on("file", real, seen.value)
        if seen.what == "directory":
            found.unknown(word, f"{real} is a directory: what is in it was not looked at")
        if seen.what in {"absent", "unreadable"}:
            return [], []
        shown = size(seen.size) if seen.what == "file" else seen.what
        return [(word, real, shown, seen.digest)], _text(word, seen)


def _words(ask: Ask) -> list[str]:
    selector = ask.entry.command
    if selector is None:
        raise NotFoundOutError("the catalogue does not say where the command stands")
    if selector.text:
        value = point(ask.arguments, selector.text)
        if isinstance(value, str):
            return _of_shell(value)
    else:
        value = point(ask.arguments, selector.argv)
    if not isinstance(value, list) or not all(isinstance(word, str) for word in value):
        raise NotFoundOutError("the command is no text and no list of words")
    return _candidates(value)


def _of_shell(text: str) -> list[str]:
    try:
        script = read_shell(text)
    except NotUnderstoodError as error:
        raise NotFoundOutError(f"the command is not wholly understood: {error}") from None
    words = [word for one in script.commands for word in (*one.words, *one.reads, *one.writes)]
    if any(word == "cd" for one in script.commands for word in one.words[:1]):
        raise NotFoundOutError("the command changes its directory on the way: which files it means is not certain")
    return _candidates(words)


def _candidates(words: list[str]) -> list[str]:
    """Words that may be names of files, in order, each once.

    Of `--option=value` the value, of `-fvalue` what stands behind the letter, of `@value` what it names, and the files of a
    Python module.
    """
    found = [word.partition("=")[2] if word.startswith("-") else word for word in words]
    values = [word.partition("=")[2] for word in words if "=" in word and not word.startswith("-")]
    joined = [word[2:] for word in words if word.startswith("-") and not word.startswith("--")]
    named = [word[1:] for word in (*found, *values, *joined) if word.startswith("@")]
    every = (*found, *values, *joined, *named, *_modules(words))
    return list(dict.fromkeys(word for word in every if word and "\0" not in word and _bytes(word) <= MAX_NAME))


def _modules(words: list[str]) -> list[str]:
    """Files that `python -m name` runs, where they stand in its directory."""
    runs = any(word.rpartition("/")[2].startswith("py") for word in words)
    after = [following for word, following in pairwise(words) if word.startswith("-") and word.endswith("m")]
    behind = [word[2:] for word in words if word.startswith("-m")]
    names = [name.replace(".", "/") for name in (*after, *behind) if runs and _MODULE.fullmatch(name)]
    return [f"{name}{ending}" for name in names for ending in (".py", "/__main__.py", "/__init__.py")]


def _bytes(word: str) -> int:
    return len(word.encode("utf-8", "surrogatepass"))


def _named(word: str) -> bool:
    """Whether a word looks like the name of a file at all."""
    return "/" in word or "." in word


def _text(word: str, seen: Seen) -> list[tuple[str, str]]:
    """The text of what may be run."""
    if seen.data is None or b"\0" in seen.data or not _named(word):
        return []
    try:
        return [(word, seen.data.decode("utf-8"))]
    except UnicodeDecodeError:
        return []
