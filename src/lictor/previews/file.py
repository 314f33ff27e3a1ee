"""A change of a file: old against new, as the server will see it, and what has to stay so until it runs.

Refuses to know what the server really does with its arguments: the catalogue says which action it is.
"""

from base64 import b64decode
from collections.abc import Callable
from typing import Any, Final

from lictor.model.canonical import sha256_digest
from lictor.model.preview import Line
from lictor.model.preview_rule import FilePreview
from lictor.pdp.normalise.pointers import point
from lictor.ports import Files
from lictor.previews.asking import Ask, NotFoundOutError, Workers
from lictor.previews.difference import counts, difference
from lictor.previews.disk import MAX_TEXT, Disk, Seen
from lictor.previews.parts import Found, counted, size

MAX_EDITS: Final = 100
MAX_FILES: Final = 20
MAX_BELOW: Final = 200
"""Names shown of a directory that goes."""
_RESOLVED: Final = "path"


class FilePreviews:
    """Makes them, and looks again at files and links."""

    def __init__(self, disk: Disk, files: Files, workers: Workers) -> None:
        self._disk = disk
        self._files = files
        self._workers = workers

    async def make(self, ask: Ask, rule: FilePreview, found: Found) -> None:
        """Find out what becomes of the files.

        Raises:
            NotFoundOutError: nothing can be said.
        """
        places = ask.places(rule.path)
        for written, real in places[:MAX_FILES]:
            seen = await self._seen(written, real, found)
            await self._one(ask, rule, found, written, real, seen)
        if len(places) > MAX_FILES:
            found.unknown("More", f"{counted(len(places) - MAX_FILES, 'more path')} were not looked at")

    async def look_again(self, kind: str, target: str) -> str:
        """The value of a precondition now: of kind `file` or `link`."""
        if kind == "file":
            return (await self._workers.run(self._disk.look, target, most=0)).value
        return (await self._files.resolve({_RESOLVED: target})).get(_RESOLVED, "")

    async def _seen(self, written: str, real: str, found: Found) -> Seen:
        seen = await self._workers.run(self._disk.look, real)
        found.rests_on("link", written, real)
        found.rests_on("file", real, seen.value)
        if written != real:
            found.say("Link", f"{written} leads to {real}", warning=True)
        if not seen.known:
            raise NotFoundOutError(f"{real} cannot be read, or changes while it is read")
        return seen

    async def _one(self, ask: Ask, rule: FilePreview, found: Found, written: str, real: str, seen: Seen) -> None:
        match rule.action:
            case "write" | "create":
                if rule.action == "create" and seen.what != "absent":
                    found.say("Exists", f"{written} is there already", warning=True)
                await self._work(found, _replaced, written, seen, _content(ask, rule))
            case "append":
                await self._work(found, _appended, written, seen, _content(ask, rule))
            case "edit":
                await self._work(found, _edited, written, seen, point(ask.arguments, rule.edits), rule)
            case "delete":
                await self._deleted(found, written, real, seen)
            case "move":
                await self._moved(ask, rule, found, written, seen)
            case "directory":
                text = {"absent": "new directory", "directory": "there already: nothing changes"}.get(seen.what)
                found.say(written, text or f"a {seen.what} is in its place", warning=text is None)

    async def _work(self, found: Found, work: Callable[..., None], *parts: Any, **more: Any) -> None:
        """Compare texts on a thread: it takes as long as they are long. A thread nobody waits for any more changes nothing."""
        inner = Found()
        await self._workers.run(work, inner, *parts, **more)
        found.take(inner)

    async def _deleted(self, found: Found, written: str, real: str, seen: Seen) -> None:
        if seen.what == "absent":
            found.say(written, "there is nothing to delete")
        elif seen.what == "directory":
            await self._below(found, written, real)
        elif seen.what == "special":
            found.unknown(written, "it is no regular file: a device, a pipe, a socket or a link")
        else:
            lead = f"the file goes: {size(seen.size)}"
            await self._work(found, _drawn, written, seen.data, b"", before=seen, lead=lead, warning=True)

    async def _below(self, found: Found, written: str, real: str) -> None:
        try:
            names = await self._workers.run(self._disk.names, real)
        except OSError:
            found.unknown(written, "the directory cannot be read, or has too many names")
            return
        rows = [(name + ("/" if folder else ""),) for name, folder in names]
        found.say(written, f"the directory goes, with {counted(len(rows), 'name')} in it", warning=True)
        found.table("What is in it", ("name",), rows[:MAX_BELOW], left_out=max(0, len(rows) - MAX_BELOW))
        if any(folder for _, folder in names):
            found.unknown("Further below", "directories in it were not looked into")

    async def _moved(self, ask: Ask, rule: FilePreview, found: Found, written: str, seen: Seen) -> None:
        to_written, to_real = ask.places(rule.to)[0]
        there = await self._seen(to_written, to_real, found)
        what = f"{written} ({size(seen.size)}) moves to {to_written}" if seen.what == "file" else f"{written} moves"
        match (seen.what, there.what):
            case ("absent", _):
                found.say("Move", f"{written} is not there: nothing can be moved")
            case (_, "absent"):
                found.say("Move", what)
            case ("file", "file"):
                found.say("Overwrites", f"{what}, which is there already and goes", warning=True)
                await self._work(found, _drawn, to_written, there.data, seen.data, before=there, after=seen)
            case _:
                found.unknown("Move", f"{what}; a {there.what} is there already: what happens is up to the server")


def _content(ask: Ask, rule: FilePreview) -> bytes:
    text = ask.text(rule.content, "the content")
    if not rule.base64:
        return text.encode("utf-8", "surrogatepass")
    try:
        return b64decode(text, validate=True)
    except ValueError:
        raise NotFoundOutError("the content is no base64") from None


def _replaced(found: Found, name: str, seen: Seen, new: bytes) -> None:
    if seen.what not in {"absent", "file"}:
        found.unknown(name, f"a {seen.what} is in its place: what happens is up to the server")
        return
    if seen.digest == sha256_digest(new):
        found.say(name, "unchanged: the file has this content already")
        return
    lead = f"new file: {size(len(new))}" if seen.what == "absent" else ""
    _drawn(found, name, seen.data if seen.what == "file" else b"", new, before=seen, lead=lead)


def _appended(found: Found, name: str, seen: Seen, more: bytes) -> None:
    if seen.what == "file" and seen.data is None:
        lead = f"{size(len(more))} more at the end of {size(seen.size)}; the file is too large to be shown"
        _drawn(found, name, b"", more, lead=lead)
        return
    if not more and seen.what == "file":
        found.say(name, "unchanged: nothing is appended")
        return
    _replaced(found, name, seen, (seen.data or b"") + more)


def _edited(found: Found, name: str, seen: Seen, edits: Any, rule: FilePreview) -> None:
    if seen.what != "file":
        found.unknown(name, f"there is no file to edit ({seen.what})")
        return
    old = _text(seen.data)
    if old is None:
        found.unknown(name, "the file is too large to be shown, or no text")
        return
    new, doubts = edited(old, edits, rule)
    for doubt in doubts:
        found.unknown(name, doubt)
    if new == old and not doubts:
        found.say(name, "unchanged: the edits change nothing")
    else:
        _drawn(found, name, old.encode(), new.encode("utf-8", "surrogatepass"))


def edited(text: str, edits: Any, rule: FilePreview) -> tuple[str, list[str]]:
    """A text after replacements, and what is not certain about them."""
    if not isinstance(edits, list) or len(edits) > MAX_EDITS:
        return text, [f"the edits are no list of at most {MAX_EDITS}"]
    doubts: list[str] = []
    if "\r" in text:
        doubts.append("the file has carriage returns: some servers rewrite every line end of a file they edit")
    for index, edit in enumerate(edits, 1):
        old, new = (edit.get(rule.old), edit.get(rule.new)) if isinstance(edit, dict) else (None, None)
        if not isinstance(old, str) or not isinstance(new, str) or not old:
            doubts.append(f"edit {index} has no old and new text")
        elif old not in text:
            doubts.append(
                f"edit {index}: its old text is not in the file; a server may refuse it or find the like of it"
            )
        else:
            if text.count(old) > 1 and not rule.every:
                doubts.append(f"edit {index}: its old text is in the file {text.count(old)} times; the first is shown")
            if "$" in new:
                doubts.append(f"edit {index}: its new text has $ signs, which some servers expand")
            text = text.replace(old, new) if rule.every else text.replace(old, new, 1)
        if len(text) > MAX_TEXT:
            return text[:MAX_TEXT], [*doubts, "the edits make the file too large to be shown"]
    return text, doubts


def _drawn(
    found: Found,
    name: str,
    old: bytes | None,
    new: bytes | None,
    *,
    before: Seen | None = None,
    after: Seen | None = None,
    lead: str = "",
    warning: bool = False,
) -> None:
    """The difference, or what can be said of content that is no text or too large."""
    was, becomes = _text(old), _text(new)
    if was is not None and becomes is not None:
        lines: tuple[Line, ...] = difference(was, becomes)
        come, go = counts(lines)
        parts = [(come, "more"), (go, "less")]
        said = ", ".join(f"{counted(count, 'line')} {how}" for count, how in parts if count) or "no line changes"
        found.say(name, f"{lead}; {said}" if lead else said, warning=warning)
        if lines:
            found.lines("Difference", lines)
        return
    found.whole = False
    if lead:
        found.say(name, lead, warning=warning)
    rows = (_summary("old", old, before), _summary("new", new, after))
    found.table(f"{name}: not text, or too large to be shown", ("", "size", "sha-256"), rows)


def _summary(what: str, data: bytes | None, seen: Seen | None) -> tuple[str, ...]:
    if data is not None:
        return (what, size(len(data)), sha256_digest(data))
    return (what, size(seen.size), seen.digest) if seen is not None else (what, "unknown", "unknown")


def _text(data: bytes | None) -> str | None:
    if data is None or len(data) > MAX_TEXT or b"\0" in data:
        return None
    try:
        return data.decode("utf-8")
    except UnicodeDecodeError:
        return None
