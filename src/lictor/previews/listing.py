"""A pattern and everything it stands for, before it is used: names below a root, listed, counted, and held to (PATH-14).

Expanded name by name on the gateway's own file system, through no link. Refuses to know what is done with the names.
"""

import json
import re
from collections.abc import Iterator
from functools import lru_cache
from typing import Any, Final

from lictor.model.canonical import canonical, sha256_digest
from lictor.model.preview_rule import ListPreview
from lictor.previews.asking import Ask, NotFoundOutError, Workers
from lictor.previews.disk import Disk
from lictor.previews.parts import Found, counted

MAX_PATTERN: Final = 4_096
MAX_MATCHES: Final = 10_000
MAX_LOOKED: Final = 100_000
"""Names looked at for one pattern."""
MAX_PATTERNS: Final = 16
_SPECIAL: Final = re.compile(r"[*?\[]")
_UNSURE: Final = re.compile(r"[{}\\~!()$`\x00-\x1f]")
"""Characters that some readers of patterns expand and others take as they are."""


class ListPreviews:
    """Makes them, and looks again at what a pattern stands for."""

    def __init__(self, disk: Disk, workers: Workers) -> None:
        self._disk = disk
        self._workers = workers

    async def make(self, ask: Ask, rule: ListPreview, found: Found) -> None:
        """Expand every pattern.

        Raises:
            NotFoundOutError: one cannot be expanded for certain.
        """
        pointers = (rule.pattern,) if isinstance(rule.pattern, str) else rule.pattern
        patterns = ask.texts(pointers)
        if not patterns or len(patterns) > MAX_PATTERNS:
            raise NotFoundOutError(f"there are no patterns, or more than {MAX_PATTERNS}")
        matches: dict[str, bool] = {}
        for pattern in patterns:
            root, rest = _rooted(pattern, rule)
            target = json.dumps({"root": root, "pattern": rest, "hidden": rule.hidden}, sort_keys=True)
            here = await self._workers.run(_expand, self._disk, root, rest, rule.hidden)
            found.rests_on("directory", target, _value(here))
            matches.update({f"{root.rstrip('/')}/{name}".rstrip("/") or "/": folder for name, folder in here})
        _say(found, matches, rule.limit)

    async def look_again(self, kind: str, target: str) -> str:
        """The value of a precondition of kind `directory` now."""
        del kind
        said: dict[str, Any] = json.loads(target)
        here = await self._workers.run(_expand, self._disk, said["root"], said["pattern"], said["hidden"])
        return _value(here)


def _say(found: Found, matches: dict[str, bool], limit: int) -> None:
    count = len(matches)
    over = f", which is more than {limit:,}" if count > limit else ""
    found.say("Matches", f"{counted(count, 'name')} now{over}", warning=count > limit)
    folders = sum(matches.values())
    if folders:
        found.say(
            "Directories", f"{counted(folders, 'match', 'matches')} are directories, with all below", warning=True
        )
        found.whole = False
    rows = [(name + ("/" if folder else ""),) for name, folder in sorted(matches.items())]
    found.table("What it stands for", ("name",), rows)


def _value(matches: list[tuple[str, bool]]) -> str:
    return sha256_digest(canonical([[name, folder] for name, folder in matches]))


def _rooted(pattern: Any, rule: ListPreview) -> tuple[str, str]:
    """The root a pattern begins with, and the rest of it."""
    if not isinstance(pattern, str) or not pattern or len(pattern) > MAX_PATTERN or pattern.startswith("-"):
        raise NotFoundOutError("a pattern is missing, too long, no text, or an option")
    if _UNSURE.search(pattern):
        raise NotFoundOutError("the pattern has characters that readers of patterns take differently")
    if not pattern.startswith("/"):
        if not rule.base:
            raise NotFoundOutError("the pattern is relative, and nothing says to what")
        pattern = f"{rule.roots[rule.base].rstrip('/')}/{pattern}"
    parts = [part for part in pattern.split("/") if part not in {"", "."}]
    if ".." in parts:
        raise NotFoundOutError("the pattern climbs with ..")
    best: tuple[str, list[str]] = ("", [])
    for root in rule.roots.values():
        names = [part for part in root.split("/") if part]
        if parts[: len(names)] == names and len(names) >= len([part for part in best[0].split("/") if part]):
            best = (root, parts[len(names) :])
    if not best[0] or not best[1]:
        raise NotFoundOutError("the pattern begins with none of the declared roots")
    return best[0], "/".join(best[1])


def _expand(disk: Disk, root: str, pattern: str, hidden: bool) -> list[tuple[str, bool]]:
    """Names relative to the root, sorted, each with whether it is a directory.

    Raises:
        NotFoundOutError: too many, or a directory on the way cannot be read.
    """
    walk = _Walk(disk, root, hidden)
    try:
        return sorted({*walk.below("", pattern.split("/"))})
    except OSError:
        raise NotFoundOutError("a directory on the way cannot be read, or has too many names") from None


class _Walk:
    def __init__(self, disk: Disk, root: str, hidden: bool) -> None:
        self._disk = disk
        self._root = root.rstrip("/")
        self._hidden = hidden
        self._looked = 0
        self._found = 0

    def below(self, at: str, parts: list[str]) -> Iterator[tuple[str, bool]]:
        first, rest = parts[0], parts[1:]
        if first == "**":
            if not rest:  # it stands for the directory it begins in, too
                yield from self._hit(at.rstrip("/"), folder=True, rest=[])
            yield from self._deep(at, rest)
            return
        for name, folder in self._names(at):
            if self._matches(first, name):
                yield from self._hit(f"{at}{name}", folder, rest)

    def _deep(self, at: str, rest: list[str]) -> Iterator[tuple[str, bool]]:
        """`**`: this directory and each below it, links not followed."""
        if rest:
            yield from self.below(at, rest)
        for name, folder in self._names(at):
            if name.startswith(".") and not self._hidden:
                continue
            if not rest:
                yield from self._hit(f"{at}{name}", folder, [])
            if folder:
                yield from self._deep(f"{at}{name}/", rest)

    def _hit(self, name: str, folder: bool, rest: list[str]) -> Iterator[tuple[str, bool]]:
        if rest:
            if folder:
                yield from self.below(f"{name}/", rest)
            return
        self._found += 1
        if self._found > MAX_MATCHES:
            raise NotFoundOutError(f"the pattern matches more than {MAX_MATCHES:,} names")
        yield name, folder

    def _names(self, at: str) -> list[tuple[str, bool]]:
        names = self._disk.names(f"{self._root}/{at}")
        self._looked += len(names) + 1
        if self._looked > MAX_LOOKED:
            raise NotFoundOutError(f"more than {MAX_LOOKED:,} names would have to be looked at")
        return names

    def _matches(self, pattern: str, name: str) -> bool:
        if not _SPECIAL.search(pattern):
            return pattern == name
        if name.startswith(".") and not pattern.startswith(".") and not self._hidden:
            return False
        return _matcher(pattern).fullmatch(name) is not None


@lru_cache(maxsize=256)
def _matcher(pattern: str) -> re.Pattern[str]:
    """`*`, `?` and sets, for one name.

    Raises:
        NotFoundOutError: a set that readers take differently.
    """
    out: list[str] = []
    index = 0
    while index < len(pattern):
        char = pattern[index]
        if char == "*":
            out.append("" if out and out[-1] == "[^/]*" else "[^/]*")
        elif char == "?":
            out.append("[^/]")
        elif char == "[":
            closing = pattern.find("]", index + 1)
            inner = pattern[index + 1 : closing]
            if not re.fullmatch(r"\^?[A-Za-z0-9_.,-]+", inner):
                raise NotFoundOutError("the pattern has a set that readers take differently")
            out.append(f"[{inner}]")
            index = closing
        else:
            out.append(re.escape(char))
        index += 1
    try:
        return re.compile("".join(out), re.DOTALL)
    except re.error:
        raise NotFoundOutError("the pattern has a set that readers take differently") from None
