"""Paths: below which named directory, and which names on the way. Lexical only; where links lead is a fact of the snapshot.

What two file systems or two libraries could read differently is unknown: `..` (lexical for some, after links for others),
backslashes in POSIX paths, drive-relative and UNC paths, alternate streams, device names, home and wildcard characters, escapes
that a server might decode, invisible characters, text that is not NFC. Refuses to know what exists.
"""

import re
import string
import unicodedata
from collections.abc import Mapping
from functools import lru_cache
from typing import Any, Final, Literal

import ada_url
import msgspec

from lictor.model.catalog import PathSelector, many
from lictor.model.errors import CallerError
from lictor.model.reasons import Reason
from lictor.pdp.normalise.pointers import values

MAX_BYTES: Final = 4_096
"""PATH_MAX of Linux."""
MAX_SEGMENT_BYTES: Final = 255
"""NAME_MAX of Linux."""
MAX_NAMES: Final = 2_000
"""Names in all paths of one call: policy reads every one."""
ROOT_KEY: Final = "root:"
"""In front of a root's name, in a snapshot's `resolved`, stands for the root itself."""

_PLAIN: Final = re.compile(r"[\w./ @#=+,()\[\]{}!&'^-]*", re.ASCII)
"""Characters that need no closer look."""
_ORDINARY: Final = re.compile(r"/?[A-Za-z0-9_-]+(?:[./][A-Za-z0-9_-]+)*/?", re.ASCII)
"""A whole path of which every check of `_absolute` is known to say yes, but for the length of its names."""
_ESCAPE: Final = re.compile(r"%(?:2[eEfF]|5[cC]|00|25)")
_ASCII_LOWER: Final = str.maketrans(string.ascii_uppercase, string.ascii_lowercase)
_URI: Final = re.compile(r"(?:[A-Za-z][A-Za-z0-9+.-]*://|[Ff][Ii][Ll][Ee]:)")
_DRIVE: Final = re.compile(r"(?P<drive>[A-Za-z]):(?P<rest>/.*)", re.DOTALL)
_SHORT_NAME: Final = re.compile(r"~[0-9]")
_WINDOWS_BAD: Final = re.compile(r'[<>:"|?*]')
_DEVICE: Final = re.compile(r"(?:con|prn|aux|nul|conin\$|conout\$|(?:com|lpt)[0-9¹²³])(?:\..*)?", re.IGNORECASE)
_BAD_CATEGORIES: Final = frozenset({"Cc", "Cf", "Cn", "Co", "Cs", "Zl", "Zp"})


class Located(msgspec.Struct, frozen=True, kw_only=True):
    """One path, and the root it lies below."""

    root: str
    """Empty: below none."""
    parts: tuple[str, ...]
    """Below the root; of a path outside, all of it."""

    @property
    def relative(self) -> str:
        """Below the root, with `/`."""
        return "/".join(self.parts)


class PathFacts(msgspec.Struct, frozen=True, kw_only=True):
    """All paths of one call. A member that has not the same value for all is empty; the sets have all values, case folded."""

    found: tuple[Located, ...]
    seen: tuple[Located, ...] = ()
    """The same paths as they were written, where links were followed: their names count too."""

    @property
    def inside(self) -> bool:
        """Every path lies below a root."""
        return all(path.root for path in self.found)

    def cedar(self) -> dict[str, Any]:
        """As a Cedar record of `PATH_TYPE`."""
        if len(self.found) == 1 and not self.seen:
            return _alone(self.found[0])
        every = (*self.found, *self.seen)
        names = {path.parts[-1] for path in every if path.parts}
        return {
            "root": _same(tuple(path.root for path in self.found)),
            "relative": _same(tuple(path.relative for path in self.found)),
            "inside": self.inside,
            "name": _same(tuple(path.parts[-1] if path.parts else "" for path in self.found)),
            "extension": _same(tuple(_extension(path.parts[-1]) if path.parts else "" for path in self.found)),
            "hidden": any(part.startswith(".") for path in every for part in path.parts),
            "count": len(self.found),
            "roots": sorted({path.root for path in self.found if path.root}),
            "names": sorted({fold(name) for name in names}),
            "extensions": sorted({_extension(name) for name in names} - {""}),
            "segments": sorted({fold(part) for path in every for part in path.parts}),
        }


def _alone(path: Located) -> dict[str, Any]:
    """What `PathFacts.cedar` says of one path."""
    name = path.parts[-1] if path.parts else ""
    extension = _extension(name)
    relative = path.relative
    return {
        "root": path.root,
        "relative": relative,
        "inside": bool(path.root),
        "name": name,
        "extension": extension,
        "hidden": "/." in f"/{relative}",
        "count": 1,
        "roots": [path.root] if path.root else [],
        "names": [fold(name)] if path.parts else [],
        "extensions": [extension] if extension else [],
        "segments": sorted({fold(part) for part in path.parts}),
    }


PATH_TYPE: Final = (
    "{root: String, relative: String, inside: Bool, name: String, extension: String, hidden: Bool, count: Long, "
    "roots: Set<String>, names: Set<String>, extensions: Set<String>, segments: Set<String>}"
)


def path_facts(selector: PathSelector, arguments: dict[str, Any], resolved: Mapping[str, str]) -> PathFacts:
    """Every path that a call names.

    Args:
        selector: where they stand, and the roots.
        arguments: checked against their schema.
        resolved: real paths by pointer, and by `root:NAME` those of the roots; read only with `resolve = "host"`.

    Raises:
        CallerError: `unknown_path`: absent, not a string, of two readings, outside every root where that is refused, unresolved;
            `invalid_arguments`: with a NUL.
    """
    roots = {name: _root(text, selector.style, uri=selector.uri) for name, text in selector.roots.items()}
    written = absolute_paths(selector, arguments)
    seen = tuple(_located(parts, roots, selector, where) for where, parts in written)
    if selector.resolve == "none":
        return PathFacts(found=seen)
    real_roots = {name: _real(f"{ROOT_KEY}{name}", resolved, selector) for name in roots}
    found = tuple(_located(_real(where, resolved, selector), real_roots, selector, where) for where, _ in written)
    return PathFacts(found=found, seen=seen)


def paths_to_resolve(selector: PathSelector, arguments: dict[str, Any]) -> dict[str, str]:
    """What a host has to resolve before a decision: absolute paths by pointer, and the roots by `root:NAME`.

    Raises:
        CallerError: `unknown_path`: see `path_facts`; nothing has to be resolved then.
    """
    written = {where: _spelled(parts, selector) for where, parts in absolute_paths(selector, arguments)}
    return {**written, **{f"{ROOT_KEY}{name}": text for name, text in selector.roots.items()}}


def absolute_paths(selector: PathSelector, arguments: dict[str, Any]) -> list[tuple[str, tuple[str, ...]]]:
    """Every path's parts from the top of the file system (on Windows the drive first), with its pointer."""
    base: tuple[str, ...] | None = None
    items: list[tuple[str, Any]] = []
    if selector.base.startswith("/"):
        items = values(arguments, (selector.base,), Reason.UNKNOWN_PATH)
        base = _absolute(items[0][1], selector, None, selector.base)
    elif selector.base:
        base = _root(selector.roots[selector.base], selector.style, uri=selector.uri)
    pointed = values(arguments, many(selector.pointer), Reason.UNKNOWN_PATH)
    found = [(where, _absolute(raw, selector, base, where)) for where, raw in (*items, *pointed)]
    if sum(len(parts) for _, parts in found) > MAX_NAMES:
        raise _unknown(f"the paths have more than {MAX_NAMES} names together", pointed[0][0])
    return found


def root_problem(text: str, selector: PathSelector) -> str:
    """Why a text is no root directory; empty when it is one."""
    try:
        _absolute(text, selector, None, "")
    except CallerError as error:
        return error.message
    return ""


def fold(name: str) -> str:
    """A name as a file system could compare it that does not tell case: rather too much alike, for rules that forbid."""
    return name.lower() if name.isascii() else unicodedata.normalize("NFC", name.casefold())


def _lower(name: str) -> str:
    """ASCII letters only: all such file systems agree on them; of other letters none may become a root by folding (`ß`, `ss`)."""
    return name.translate(_ASCII_LOWER)


@lru_cache(maxsize=256)
def _root(text: str, style: Literal["posix", "windows"], *, uri: bool) -> tuple[str, ...]:
    """Read once: there are as many as the bundle names."""
    return _absolute(text, PathSelector(pointer="", roots={}, style=style, uri=uri), None, "")


def _real(key: str, resolved: Mapping[str, str], selector: PathSelector) -> tuple[str, ...]:
    if key not in resolved:
        raise CallerError(Reason.UNKNOWN_PATH, "where this path leads was not found out", where=key)
    return _absolute(resolved[key], selector, None, key)


def _located(
    parts: tuple[str, ...], roots: Mapping[str, tuple[str, ...]], selector: PathSelector, where: str
) -> Located:
    """Below the root that is nearest, compared part by part (CVE-2025-53110: `/srv/ws-evil` is not below `/srv/ws`)."""
    wanted = parts if selector.exact else tuple(map(_lower, parts))
    best, length = "", -1
    for name, root in roots.items():
        mine = root if selector.exact else tuple(map(_lower, root))
        if len(mine) > length and wanted[: len(mine)] == mine:
            best, length = name, len(mine)
    if not best and selector.outside == "deny":
        raise CallerError(Reason.UNKNOWN_PATH, "the path lies below none of the declared roots", where=where)
    return Located(root=best, parts=wanted[length:] if best else wanted)


def _absolute(raw: Any, selector: PathSelector, base: tuple[str, ...] | None, where: str) -> tuple[str, ...]:
    if not isinstance(raw, str):
        raise _unknown("the path is missing or not a string", where)
    if selector.style == "posix" and len(raw) <= MAX_SEGMENT_BYTES and _ORDINARY.fullmatch(raw):
        named = tuple(raw.strip("/").split("/"))
        if raw[0] == "/":
            return named
        if base is not None:
            return (*base, *named)
    text = _from_uri(raw, selector, where) if _URI.match(raw) else raw
    _check_characters(text, where)
    if selector.style == "windows":
        drive, text = _windows(text, base, where)
    elif "\\" in text:
        raise _unknown("a backslash separates names for some readers", where)
    else:
        drive = ()
    if text.startswith("//"):
        raise _unknown("a path of two leading slashes has two readings", where)
    parts = tuple(part for part in text.split("/") if part not in {"", "."})
    for part in parts:
        _check_part(part, selector, where)
    if text.startswith("/"):
        return (*drive, *parts)
    if base is None:
        raise _unknown("the path is relative, and nothing says to what", where)
    return (*base, *parts)


def _check_characters(text: str, where: str) -> None:
    if not text or len(text.encode("utf-8", "surrogatepass")) > MAX_BYTES:
        raise _unknown(f"the path is empty or longer than {MAX_BYTES} bytes", where)
    if _PLAIN.fullmatch(text):
        return
    if "\x00" in text:
        raise CallerError(Reason.INVALID_ARGUMENTS, "the path has a NUL: no system has such paths", where=where)
    if any(unicodedata.category(char) in _BAD_CATEGORIES for char in text):
        raise _unknown("the path has a control, invisible or unassigned character", where)
    if not unicodedata.is_normalized("NFC", text):
        raise _unknown("the path is not in Unicode form NFC: file systems disagree on it", where)
    if _ESCAPE.search(text):
        raise _unknown("the path has an escaped separator, dot or percent sign that some readers decode", where)
    if "*" in text or "?" in text:
        raise _unknown("the path has a wildcard", where)


def _check_part(part: str, selector: PathSelector, where: str) -> None:
    if part == "..":
        raise _unknown("the path climbs with ..: readers disagree on where to, once there are links", where)
    if len(part) > MAX_SEGMENT_BYTES or len(part.encode()) > MAX_SEGMENT_BYTES:
        raise _unknown(f"a name in the path is longer than {MAX_SEGMENT_BYTES} bytes", where)
    if part.startswith("~"):
        raise _unknown("a name that begins with ~ stands for a home directory to some readers", where)
    if part != part.strip() or (part.endswith(".") and selector.style == "windows"):
        raise _unknown("a name in the path begins or ends with a blank or a dot that some systems drop", where)
    if selector.style == "posix":
        return
    if _WINDOWS_BAD.search(part) or _SHORT_NAME.search(part) or _DEVICE.fullmatch(part):
        raise _unknown("a name in the path is a stream, a device, a short name or not allowed on Windows", where)


def _windows(text: str, base: tuple[str, ...] | None, where: str) -> tuple[tuple[str, ...], str]:
    """Drive and the rest with `/`. UNC, verbatim and drive-relative paths, and rooted ones without a drive, are refused."""
    plain = text.replace("\\", "/")
    match = _DRIVE.fullmatch(plain)
    if match:
        return (f"{match['drive'].upper()}:",), match["rest"]
    if plain.startswith("/") or base is None or plain[1:2] == ":":
        raise _unknown("a Windows path begins with a drive and a separator, such as C:\\", where)
    return (), plain


def _from_uri(raw: str, selector: PathSelector, where: str) -> str:
    """The path of a `file:` URI, decoded once; what would decode to a separator, a dot or an escape is refused (PATH-09)."""
    if not selector.uri:
        raise _unknown("a URI stands where a path is expected", where)
    if not raw.lower().startswith("file:///") or any(char in raw for char in "\\?#") or _ESCAPE.search(raw):
        raise _unknown("this is no plain file: URI", where)
    try:
        url = ada_url.URL(raw)
        escaped = str(url.pathname)
        decoded = re.sub(r"(?:%[0-9A-Fa-f]{2})+", _decoded, escaped)
    except ValueError:
        raise _unknown("this is no file: URI", where) from None
    # The parser has dropped dot segments, and moved drive letters; the text that was sent still has them.
    if str(url.protocol) != "file:" or url.host or ".." in raw.split("/") or "%" in decoded:
        raise _unknown("this file: URI has two readings", where)
    return decoded.removeprefix("/") if selector.style == "windows" else decoded


def _decoded(match: re.Match[str]) -> str:
    return bytes.fromhex(match[0].replace("%", "")).decode("utf-8")


def _spelled(parts: tuple[str, ...], selector: PathSelector) -> str:
    if selector.style == "posix":
        return "/" + "/".join(parts)
    return f"{parts[0]}\\" + "\\".join(parts[1:])


def _extension(name: str) -> str:
    stem, dot, extension = name.rpartition(".")
    return fold(extension) if dot and stem else ""


def _same(texts: tuple[str, ...]) -> str:
    return texts[0] if texts and all(text == texts[0] for text in texts) else ""


def _unknown(message: str, where: str) -> CallerError:
    return CallerError(Reason.UNKNOWN_PATH, message, where=where)
