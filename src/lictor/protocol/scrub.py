"""Finds managed secrets in bytes, in the forms in which servers give things back, and takes them out.

Looked for: plain, JSON-escaped (also twice, and however a server escapes), URL-encoded (also twice), HTML-escaped, base64 in both
alphabets at each of the three alignments, hex; all of them also with line breaks and blanks in between, as MIME and PEM wrap
base64. What somebody transformed otherwise (encrypted, reversed, split) is not found.

One pass decides that nothing is there, however many secrets there are: of any place where a form of eight bytes or more could
stand, at least one aligned machine word lies wholly inside, so it is enough to compare aligned words with those of the forms
(a q-gram filter; about 5 ms for 1 MiB). Pure; refuses to know whose secrets they are beyond a tag.
"""

import base64
import html
import json
import struct
from collections.abc import Callable, Iterable, Mapping
from typing import Any, Final
from urllib.parse import quote, quote_plus

import msgspec

MIN_BYTES: Final = 8
"""A shorter value is looked for nowhere: it would be found in everything."""
_WORD, _LONG = 4, 8
_LONG_FROM: Final = 2 * _LONG - 1
"""From this length on a form has an aligned word of eight bytes inside wherever it stands."""
_SAFE_IN_URLS: Final = ("", "/", "!'()*~", "/:@!$&'()*+,;=~")
"""What different encoders leave as it is: all, paths, `encodeURIComponent`, `encodeURI`."""
_BLANKS: Final = b"\r\n\t "
_UNREADABLE: Final = (
    b'{"content":[{"type":"text","text":"[the reply held a credential and cannot be shown]"}],"isError":true}'
)


def forms(value: str) -> frozenset[bytes]:
    """Every form of a value that is looked for; each of at least `MIN_BYTES`."""
    raw = value.encode("utf-8", "surrogatepass")
    found = {raw, html.escape(value).encode("utf-8", "surrogatepass")}
    found |= _json_forms(value)
    found |= _url_forms(raw)
    found |= _base64_forms(raw)
    found |= {raw.hex().encode(), raw.hex().upper().encode()}
    return frozenset(form for form in found if len(form) >= MIN_BYTES)


def _json_forms(value: str) -> set[bytes]:
    once = {json.dumps(value, ensure_ascii=ascii_only)[1:-1] for ascii_only in (True, False)}
    once |= {text.replace("/", "\\/") for text in once}
    twice = {json.dumps(text, ensure_ascii=ascii_only)[1:-1] for text in once for ascii_only in (True, False)}
    texts = once | twice
    return {text.encode("utf-8", "surrogatepass") for text in texts}


def _url_forms(raw: bytes) -> set[bytes]:
    once = {quote(raw, safe=safe) for safe in _SAFE_IN_URLS} | {quote_plus(raw)}
    once |= {"".join(f"%{byte:02X}" for byte in raw)}
    once |= {_lower_escapes(text) for text in once}
    twice = {text.replace("%", "%25") for text in once}
    return {text.encode("ascii") for text in once | twice}


def _lower_escapes(text: str) -> str:
    head, *parts = text.split("%")
    return head + "".join(f"%{part[:2].lower()}{part[2:]}" for part in parts)


def _base64_forms(raw: bytes) -> set[bytes]:
    """The characters that depend on nothing but the value, for each place in a group of three bytes; and the value alone."""
    found = set()
    for before in range(3):
        text = base64.b64encode(bytes(before) + raw)
        found.add(text[-(-8 * before // 6) : 8 * (before + len(raw)) // 6])
    whole = base64.b64encode(raw)
    found |= {whole, whole.rstrip(b"=")}
    found |= {text.replace(b"+", b"-").replace(b"/", b"_") for text in found}
    return found | {quote(text, safe="").encode() for text in found}


class Scrubber:
    """Looks for a fixed set of values. Immutable; make another one when the set changes."""

    __slots__ = ("_by_long", "_by_word", "_long", "_marks", "_word")

    def __init__(self, values: Iterable[tuple[str, str]]) -> None:
        """Prepare.

        Args:
            values: (tag, value); a tag is what takes the value's place in text. The first tag of a form keeps it.
        """
        self._marks: dict[bytes, str] = {}
        for tag, value in values:
            for form in forms(value):
                self._marks.setdefault(form, tag)
        self._by_word: dict[int, list[bytes]] = {}
        self._by_long: dict[int, list[bytes]] = {}
        for form in self._marks:
            long = len(form) >= _LONG_FROM
            table, size, code = (self._by_long, _LONG, "=Q") if long else (self._by_word, _WORD, "=I")
            window = form[-(2 * size - 1) :]
            for start in range(size):
                (word,) = struct.unpack_from(code, window, start)
                table.setdefault(word, []).append(form)
        self._word = frozenset(self._by_word)
        self._long = frozenset(self._by_long)

    def __bool__(self) -> bool:
        """Whether there is anything to look for."""
        return bool(self._marks)

    def tags(self, data: bytes) -> frozenset[str]:
        """The tags of what stands in these bytes, as they are."""
        return frozenset(self._marks[form] for form in self._found(data))

    def scrub(self, data: bytes) -> tuple[bytes, frozenset[str]]:
        """Plain bytes with what was found taken out, and the tags."""
        data, tags = self._plain(data)
        data, wrapped = self._unwrapped(data)
        return data, tags | wrapped

    def _plain(self, data: bytes) -> tuple[bytes, frozenset[str]]:
        found = self._found(data)
        if not found:
            return data, frozenset()
        for form in found:
            data = data.replace(form, _mark(self._marks[form]))
        return data, frozenset(self._marks[form] for form in found)

    def _unwrapped(self, data: bytes) -> tuple[bytes, frozenset[str]]:
        """The same for what stands there with line breaks in between: what is taken out is taken out with them."""
        if b"\n" not in data:
            return data, frozenset()
        narrow = data.translate(None, _BLANKS)
        found = self._found(narrow)
        if not found:
            return data, frozenset()
        places = [index for index, byte in enumerate(data) if byte not in _BLANKS]
        clean, done = [], 0
        for start, end, form in _spans(narrow, found):
            clean += [data[done : places[start]], _mark(self._marks[form])]
            done = places[end - 1] + 1
        return b"".join([*clean, data[done:]]), frozenset(self._marks[form] for form in found)

    def scrub_text(self, text: str) -> tuple[str, frozenset[str]]:
        """The same for text."""
        clean, tags = self.scrub(text.encode("utf-8", "surrogatepass"))
        return (clean.decode("utf-8", "surrogatepass"), tags) if tags else (text, tags)

    def tags_json(self, data: bytes) -> frozenset[str]:
        """The tags of what stands in a JSON text, however its strings are escaped."""
        found = self.tags(data)
        if found or b"\\" not in data:
            return found
        strings = _strings(data)
        return self.tags(strings) or (self.tags(strings.translate(None, _BLANKS)) if b"\n" in strings else found)

    def scrub_json(self, data: bytes) -> tuple[bytes, frozenset[str]]:
        """A JSON text with what was found taken out. Without a finding it comes back byte for byte.

        With one it is written anew: values and keys may hold it, and a number that is one becomes text.
        """
        if not self.tags_json(data):
            return data, frozenset()
        try:
            value, tags = self.scrub_value(json.loads(data))
            clean = json.dumps(value, ensure_ascii=False, separators=(",", ":")).encode("utf-8", "surrogatepass")
        except (ValueError, RecursionError):
            return _UNREADABLE, self.tags(data)
        if self.tags_json(clean):
            return _UNREADABLE, tags | self.tags(clean)
        return clean, tags

    def scrub_value(self, value: Any) -> tuple[Any, frozenset[str]]:
        """The same for a JSON value."""
        tags: set[str] = set()

        def take(text: str) -> str:
            clean, found = self.scrub_text(text)
            tags.update(found)
            return clean

        return _rewritten(value, take), frozenset(tags)

    def _found(self, data: bytes) -> list[bytes]:
        """The forms that stand in these bytes, longest first: a form may hold another one."""
        view, size = memoryview(data), len(data)
        found: set[bytes] = set()
        if self._long and size >= _LONG:
            hits = self._long.intersection(view[: size // _LONG * _LONG].cast("Q"))
            found.update(form for hit in hits for form in self._by_long[hit] if form in data)
        if self._word and size >= _WORD:
            hits = self._word.intersection(view[: size // _WORD * _WORD].cast("I"))
            found.update(form for hit in hits for form in self._by_word[hit] if form in data)
        return sorted(found, key=len, reverse=True) if found else []


def _spans(data: bytes, forms: list[bytes]) -> list[tuple[int, int, bytes]]:
    """Where forms stand, in order, without overlaps: where two begin or meet, the first and longest one counts."""
    every = []
    for form in forms:
        at = data.find(form)
        while at >= 0:
            every.append((at, -len(form), form))
            at = data.find(form, at + 1)
    found: list[tuple[int, int, bytes]] = []
    for start, length, form in sorted(every):
        end = start - length
        if found and start < found[-1][1]:
            found[-1] = (found[-1][0], max(end, found[-1][1]), found[-1][2])
        else:
            found.append((start, end, form))
    return found


def _mark(tag: str) -> bytes:
    return f"[credential {tag} removed]".encode("utf-8", "replace")


def _read(data: bytes) -> Any:
    """A JSON value; the slower reader takes what the quicker one refuses (lone surrogates, long numbers)."""
    try:
        return msgspec.json.decode(data)
    except (msgspec.MsgspecError, UnicodeDecodeError):
        return json.loads(data)


def _strings(data: bytes) -> bytes:
    """Every string of a JSON text without its escapes, one behind the other; the text itself where it is no JSON."""
    try:
        waiting = [_read(data)]
    except (ValueError, RecursionError):
        return data
    found: list[str] = []
    while waiting:
        value = waiting.pop()
        if isinstance(value, str):
            found.append(value)
        elif isinstance(value, dict):
            found.extend(value)
            waiting.extend(value.values())
        elif isinstance(value, list):
            waiting.extend(value)
    return "\0".join(found).encode("utf-8", "surrogatepass")


def _rewritten(value: Any, take: Callable[[str], str]) -> Any:
    match value:
        case str():
            return take(value)
        case bool() | None:
            return value
        case int() | float():
            text = json.dumps(value)
            clean = take(text)
            return value if clean == text else clean
        case Mapping():
            return {take(key): _rewritten(one, take) for key, one in value.items()}
        case _:
            return [_rewritten(one, take) for one in value]
