"""Takes what looks like a secret out of a client's entries; where it goes is not known here."""

from collections.abc import Mapping, Sequence
from typing import Any

from lictor.cli.clients import KeyPath
from lictor.cli.lifting import PLACE, Lifted, Moved, found_in, in_words
from lictor.cli.wrapping.documents import Document, value_at
from lictor.cli.wrapping.entries import noted, server_name
from lictor.cli.wrapping.plans import Entry
from lictor.model.errors import OperatorError


class Lifting:
    """Takes what looks like a secret out of the entries of one document."""

    def __init__(
        self,
        document: Document,
        expected: Any,
        command: str,
        options: Sequence[str],
        names: dict[str, str],
        *,
        on: bool,
    ) -> None:
        self._document = document
        self._expected = expected
        self._command = command
        self._options = options
        self._names = names
        self._on = on
        self.lifted: list[Lifted] = []
        self.moved: list[Moved] = []

    def started(self, keys: KeyPath, server: Mapping[str, Any], entry: Entry) -> tuple[Entry, frozenset[str]]:
        """A server that the client starts: a word stands where each value was, and the variable is not handed on."""
        lifted, short = found_in(entry.server, "env", server.get("env")) if self._on else ([], [])
        for one in lifted:
            self._document.put((*keys, "env", one.name), PLACE)
            value_at(self._expected, (*keys, "env"))[one.name] = PLACE
        self.lifted += lifted
        stay = in_words(server.get("args")) if self._on else []
        return noted(entry, lifted, short, stay), frozenset(one.name for one in lifted)

    def remote(self, keys: KeyPath, server: Mapping[str, Any], entry: Entry) -> Entry:
        """A server behind a URL, with a secret in its fields: it moves into `lictor.toml`, and the client starts `lictor run`."""
        url, headers = server.get("url"), server.get("headers", server.get("http_headers"))
        if not self._on or entry.action != "remote" or not isinstance(headers, Mapping):
            return entry
        try:
            mapped = server_name(entry.name)
        except OperatorError as error:
            raise self._document.fault(keys, error.message, remedy=error.remedy) from error
        lifted, short = found_in(mapped, "headers", headers)
        left = noted(entry, (), short, [one.name for one in lifted])
        if not lifted or not isinstance(url, str) or not url.startswith(("https://", "http://")) or "${" in url:
            return left
        if self._names.setdefault(mapped, entry.name) != entry.name:
            raise self._document.fault(
                keys, f"two entries would both be the server {mapped!r}", remedy="rename one of them"
            )
        value = {"command": self._command, "args": ["run", "--server", mapped, *self._options]}
        if not self._document.put_table(keys, value):
            return left
        value_at(self._expected, keys[:-1])[keys[-1]] = value
        taken = {one.name for one in lifted}
        rest = {name: text for name, text in headers.items() if name not in taken and isinstance(text, str)}
        self.lifted += lifted
        self.moved.append(Moved(server=mapped, url=url, headers=rest))
        moved = Entry(name=entry.name, where=keys, action="wrap", server=mapped, note="its url moves into lictor.toml")
        return noted(moved, lifted, short)
