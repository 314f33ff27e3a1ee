"""A push: which commits and files it brings, what it overwrites, and whether the branch is a protected one.

What the remote has is what the clone last heard of it; nothing is fetched. The clone is read by a process of its own
(`previews.gitchild`). Refuses to know the remote.
"""

import asyncio
import contextlib
import json
import re
import sys
from typing import Any, Final

from lictor.model.catalog import DestinationSelector
from lictor.model.errors import CallerError
from lictor.model.preview_rule import GitPreview
from lictor.pdp.normalise.directory import Directory
from lictor.pdp.normalise.git import git_target
from lictor.pdp.normalise.pointers import point
from lictor.previews.asking import Ask, NotFoundOutError
from lictor.previews.parts import Found, counted

DEADLINE_S: Final = 1.9
MAX_REFS: Final = 16
_ANSWER: Final = 512 * 1024
_SHORT: Final = 12
_ANY: Final = DestinationSelector(git=("/url",), schemes=("https", "ssh", "http", "git"))
_NOBODY: Final = Directory()


class GitPreviews:
    """Makes them, and looks again at names.

    Args:
        base: a folder that stands for `/`.
        program: how the reader is started; no shell.
    """

    def __init__(self, base: str = "", program: tuple[str, ...] = ()) -> None:
        self._base = base.rstrip("/")
        self._program = program or (sys.executable, "-I", "-m", "lictor.previews.gitchild")

    async def make(self, ask: Ask, rule: GitPreview, found: Found) -> None:
        """Say what is pushed.

        Raises:
            NotFoundOutError: the clone cannot be read.
        """
        clone = rule.clone or ask.places(rule.repository)[0][1]
        selector = ask.entry.destination
        if selector is None:
            raise NotFoundOutError("the catalogue does not say where the remote stands")
        forced = bool(selector.force) and point(ask.arguments, selector.force) is True
        specs = [
            _spec(text) for text in ask.texts(tuple([selector.ref] if isinstance(selector.ref, str) else selector.ref))
        ]
        if not specs or len(specs) > MAX_REFS:
            raise NotFoundOutError(f"there are no refs, or more than {MAX_REFS}")
        remote, pushes = await self._pushes(
            clone, [spec[:2] for spec in specs], point(ask.arguments, selector.targets[0])
        )
        if not remote:
            found.unknown("Remote", "the clone has no remote at this address: what is there already is not known")
        self._rests_on(clone, remote, specs, pushes, found)
        for (source, target, plus), told in zip(specs, pushes, strict=True):
            _say(source, target, told, rule, found, forced=forced or plus)

    async def _pushes(self, clone: str, specs: list[tuple[str, str]], url: Any) -> tuple[str, list[dict[str, Any]]]:
        """The clone's name for where it goes, empty where it has none, and what each ref brings."""
        try:
            wanted = git_target(url, _ANY, _NOBODY, "").address
        except CallerError as error:
            raise NotFoundOutError(error.message) from None
        question = {"ask": "pushes", "clone": self._native(clone), "specs": specs, "remotes": True}
        answer = await self._asked(question)
        for name, known in answer["remotes"]:
            with contextlib.suppress(CallerError):
                if git_target(known, _ANY, _NOBODY, "").address == wanted:
                    return str(name), answer["pushes"][name]
        answer = await self._asked({**question, "remotes": False})
        return "", answer["pushes"][""]

    def _rests_on(
        self, clone: str, remote: str, specs: list[tuple[str, str, bool]], pushes: list[dict[str, Any]], found: Found
    ) -> None:
        """The commits that were looked at, by the names they were found under."""
        seen: dict[str, str] = {}
        for (source, target, _), told in zip(specs, pushes, strict=True):
            if source:
                seen[source] = told["new"]
            if remote:
                seen[f"refs/remotes/{remote}/{target.removeprefix('refs/heads/')}"] = told["old"]
        names = sorted(seen)
        value = ",".join(seen[name] or "absent" for name in names)
        found.rests_on("ref", json.dumps({"clone": clone, "names": names}, sort_keys=True), value)

    async def look_again(self, kind: str, target: str) -> str:
        """The value of a precondition of kind `ref` now."""
        del kind
        said: dict[str, Any] = json.loads(target)
        question = {"ask": "refs", "clone": self._native(said["clone"]), "names": said["names"]}
        refs = (await self._asked(question))["refs"]
        return ",".join(refs[name] or "absent" for name in said["names"])

    def _native(self, clone: str) -> str:
        return f"{self._base}{clone}"

    async def _asked(self, question: dict[str, Any]) -> dict[str, Any]:
        data = await self._run(json.dumps(question).encode())
        try:
            answer: dict[str, Any] = json.loads(data)
        except ValueError:
            raise NotFoundOutError("the clone cannot be read within bounds") from None
        if "error" in answer:
            missing = answer["error"] in {"ImportError", "ModuleNotFoundError"}
            raise NotFoundOutError(
                "the reader is not installed: pip install lictor[git]" if missing else "the clone cannot be read"
            )
        return answer

    async def _run(self, question: bytes) -> bytes:
        try:
            process = await asyncio.create_subprocess_exec(
                *self._program,
                stdin=asyncio.subprocess.PIPE,
                stdout=asyncio.subprocess.PIPE,
                stderr=asyncio.subprocess.DEVNULL,
                env={},
                close_fds=True,
                limit=_ANSWER,
            )
        except OSError:
            raise NotFoundOutError("the reader of clones cannot be started") from None
        try:
            async with asyncio.timeout(DEADLINE_S):
                data, _ = await process.communicate(question)
                return data if len(data) <= _ANSWER else b""
        except TimeoutError:
            raise NotFoundOutError("it takes too long to read the clone") from None
        finally:
            if process.returncode is None:
                with contextlib.suppress(ProcessLookupError):
                    process.kill()
                await process.wait()


def _spec(text: Any) -> tuple[str, str, bool]:
    """Where a refspec is from, where to, and whether it is forced; no source: it is deleted there."""
    if not isinstance(text, str) or not text:
        raise NotFoundOutError("a ref is missing or no text")
    plain = text.removeprefix("+")
    source, colon, target = plain.partition(":")
    target = target if colon else source
    return _full(source) if source else "", _full(target), plain != text


def _full(name: str) -> str:
    if name in {"@", "HEAD"}:
        return "HEAD"
    return name if name.startswith("refs/") else f"refs/heads/{name}"


def _say(source: str, target: str, told: dict[str, Any], rule: GitPreview, found: Found, *, forced: bool) -> None:
    name = target.removeprefix("refs/heads/")
    if any(_like(pattern, name) for pattern in rule.protected):
        found.say("Protected", f"{name} is a protected branch", warning=True)
    if not source:
        at = f", which was at {told['old'][:_SHORT]}" if told["old"] else ""
        found.say("Deleted", f"{name} is deleted there{at}", warning=True)
        return
    if not told["new"]:
        found.unknown(name, f"{source} is not in the clone")
        return
    commits, more = told["commits"], told["more"]
    at = f"from {told['old'][:_SHORT]} " if told["old"] else "a branch or tag that the clone has not seen there, "
    found.say("Push", f"{name}: {at}to {told['new'][:_SHORT]}, {counted(len(commits) + more, 'commit')}")
    if told["lost"]:
        count = len(told["lost"]) + told["lost_more"]
        found.say("Overwritten", f"{counted(count, 'commit')} of {name} there would go", warning=True)
        found.table("Commits that go", ("commit", "author", "subject"), _rows(told["lost"]), left_out=told["lost_more"])
    if forced:
        found.say("Forced", f"{name} is pushed by force: whatever is there is replaced", warning=True)
    if not told["whole"]:
        found.unknown("Commits", "there are more commits than were looked at")
    found.table("Commits", ("commit", "author", "subject"), _rows(commits), left_out=more)
    found.table(
        "Files", ("file", "change", "lines"), [_file(one) for one in told["files"]], left_out=told["more_files"]
    )


def _rows(commits: list[list[str]]) -> list[tuple[str, str, str]]:
    return [(sha[:_SHORT], author, subject) for sha, author, subject in commits]


def _file(one: list[Any]) -> tuple[str, str, str]:
    name, kind, come, go, special = one
    return name, f"{kind} ({special})" if special else str(kind), "" if come is None else f"+{come} -{go}"


def _like(pattern: str, name: str) -> bool:
    return re.fullmatch(".*".join(map(re.escape, pattern.split("*"))), name, re.DOTALL) is not None
