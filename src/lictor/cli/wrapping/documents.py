"""A client's configuration file being edited, in its two formats: every byte that is not meant stays.

Refuses to know what an entry means.
"""

import json
import re
import tomllib
from collections.abc import Mapping, Sequence
from typing import Any, Protocol

import tomlkit
import tomlkit.exceptions

from lictor.cli import jsonc
from lictor.cli.clients import ClientConfig, KeyPath
from lictor.model.errors import OperatorError
from lictor.model.reasons import Reason

_BOM = "\ufeff"
_TOML_LINE = re.compile(r"at line (\d+)")


class Document(Protocol):
    """A configuration file being edited. `plain` stays what was read."""

    plain: Any

    def wrap(self, keys: KeyPath, command: str, prefix: Sequence[str]) -> None:
        """Make the entry `command prefix… old-command old-args…`."""

    def unwrap(self, keys: KeyPath, count: int) -> None:
        """Drop `count` words of args; the next one becomes the command."""

    def put(self, keys: KeyPath, value: str) -> None:
        """Put a string in the place of another one."""

    def put_table(self, keys: KeyPath, value: Mapping[str, Any]) -> bool:
        """Put a table in the place of another one; whether this format can."""

    def render(self) -> str:
        """The text with all edits made."""

    def fault(self, keys: KeyPath, what: str, *, remedy: str = "") -> OperatorError:
        """An error that points at the keys."""


def open_document(config: ClientConfig, text: str) -> Document:
    """Read a file.

    Raises:
        OperatorError: it is not of its format, has a key twice, or could not be edited without moving other bytes.
    """
    if config.format == "toml":
        return _Toml(text, str(config.path))
    return _Json(text, str(config.path), comments=config.format == "jsonc")


def require_same(config: ClientConfig, text: str, expected: Any) -> None:
    """Read what was built and compare: only the intended values differ. An editor's defect must not reach the disk."""
    if not _equal(open_document(config, text).plain, expected):
        raise OperatorError(
            Reason.CONFIG_REFUSED,
            "the rewritten file would differ in more than command and args",
            remedy="edit this file by hand",
            where=str(config.path),
        )


def value_at(value: Any, keys: KeyPath) -> Any:
    """What is behind keys that are there."""
    for key in keys:
        value = value[key]
    return value


def found_at(value: Any, keys: KeyPath) -> Any:
    """What is behind keys; None where one is not there."""
    for key in keys:
        value = value.get(key) if isinstance(value, dict) else None
    return value


class _Json:
    """JSON: edits are spans of the text, so that nothing else can move. Tokens move as written, escapes and all."""

    def __init__(self, text: str, name: str, *, comments: bool) -> None:
        self._text, self._name = text, name
        self._root = jsonc.parse(text, comments=comments, name=name)
        self._edits: list[jsonc.Edit] = []
        self.plain: Any = jsonc.plain(self._root)

    def wrap(self, keys: KeyPath, command: str, prefix: Sequence[str]) -> None:
        entry = self._object(keys)
        old = _member(entry, "command")
        tokens = [*map(jsonc.quote, prefix), self._token(old.value)]
        args = entry.get("args")
        self._edits += (
            jsonc.Edit(old.value.start, old.value.end, jsonc.quote(command)),
            jsonc.insert_first(self._text, args, tokens)
            if isinstance(args, jsonc.Array)
            else jsonc.insert_after(self._text, entry, old, "args", f"[{', '.join(tokens)}]"),
        )

    def unwrap(self, keys: KeyPath, count: int) -> None:
        entry = self._object(keys)
        command, args = _member(entry, "command").value, entry.get("args")
        if not isinstance(args, jsonc.Array):
            raise self.fault(keys, "there are no args to take back")
        self._edits += (
            jsonc.Edit(command.start, command.end, self._token(args.items[count])),
            jsonc.remove_first(self._text, args, count + 1),
        )

    def put(self, keys: KeyPath, value: str) -> None:
        node = _member(self._object(keys[:-1]), keys[-1]).value
        self._edits.append(jsonc.Edit(node.start, node.end, jsonc.quote(value)))

    def put_table(self, keys: KeyPath, value: Mapping[str, Any]) -> bool:
        entry = self._object(keys)
        self._edits.append(jsonc.Edit(entry.start, entry.end, json.dumps(_written(value), ensure_ascii=False)))
        return True

    def render(self) -> str:
        return jsonc.apply_edits(self._text, self._edits)

    def fault(self, keys: KeyPath, what: str, *, remedy: str = "") -> OperatorError:
        node: jsonc.Node | None = self._root
        at = self._root.start
        for key in keys:
            member = node.member(key) if isinstance(node, jsonc.Object) else None
            if member is None:
                break
            node, at = member.value, member.start
        where = f"{self._name}:{jsonc.line_of(self._text, at)}"
        return OperatorError(Reason.CONFIG_REFUSED, what, remedy=remedy, where=where)

    def _object(self, keys: KeyPath) -> jsonc.Object:
        node: jsonc.Node | None = self._root
        for key in keys:
            node = node.get(key) if isinstance(node, jsonc.Object) else None
        if not isinstance(node, jsonc.Object):
            raise self.fault(keys, "expected an object here")
        return node

    def _token(self, node: jsonc.Node) -> str:
        return self._text[node.start : node.end]


def _member(entry: jsonc.Object, key: str) -> jsonc.Member:
    member = entry.member(key)
    if member is None:
        raise ValueError("the entry has no such member")
    return member


class _Toml:
    """TOML through tomlkit. The standard library's reader goes first: it is the stricter one and says the line."""

    def __init__(self, text: str, name: str) -> None:
        self._mark = _BOM if text.startswith(_BOM) else ""
        self._name = name
        body = text.removeprefix(_BOM)
        self._line_end = "\r\n" if "\r\n" in body else "\n"
        try:
            self.plain: Any = tomllib.loads(body)
            self._root: Any = tomlkit.parse(body)
        except (tomllib.TOMLDecodeError, tomlkit.exceptions.TOMLKitError) as error:
            line = _TOML_LINE.search(str(error))
            where = f"{name}:{line[1]}" if line else name
            raise OperatorError(Reason.CONFIG_REFUSED, f"not TOML: {str(error).lower()[:200]}", where=where) from error
        except RecursionError as error:
            raise OperatorError(Reason.TOO_DEEP, "nested too deeply", where=name) from error
        if self.render() != text:
            raise OperatorError(
                Reason.CONFIG_REFUSED,
                "the file cannot be edited without changing its formatting",
                remedy="edit this file by hand",
                where=name,
            )

    def wrap(self, keys: KeyPath, command: str, prefix: Sequence[str]) -> None:
        entry = value_at(self._root, keys)
        words = [*prefix, self._copy(entry["command"])]
        entry["command"] = command
        if "args" in entry:
            for word in reversed(words):
                entry["args"].insert(0, word)
            return
        args = tomlkit.array()
        args.extend(words)
        args.trivia.trail = self._line_end
        entry["args"] = args

    def unwrap(self, keys: KeyPath, count: int) -> None:
        entry = value_at(self._root, keys)
        entry["command"] = self._copy(entry["args"][count])
        for _ in range(count + 1):
            del entry["args"][0]

    def put(self, keys: KeyPath, value: str) -> None:
        value_at(self._root, keys[:-1])[keys[-1]] = value

    def put_table(self, keys: KeyPath, value: Mapping[str, Any]) -> bool:  # noqa: ARG002 - tables of TOML stand in many places
        return False

    def render(self) -> str:
        return self._mark + tomlkit.dumps(self._root)

    def fault(self, keys: KeyPath, what: str, *, remedy: str = "") -> OperatorError:
        where = ".".join((f"{self._name}: [{keys[0]}", *keys[1:])) + "]" if keys else self._name
        return OperatorError(Reason.CONFIG_REFUSED, what, remedy=remedy, where=where)

    @staticmethod
    def _copy(item: Any) -> Any:
        """The string as written, quotes and escapes included, without the comment beside it."""
        return tomlkit.parse(f"x = {item.as_string()}\n")["x"]


def _written(value: Any) -> Any:
    """A value of `jsonc.plain` for the standard encoder."""
    match value:
        case jsonc.Number():
            return json.loads(value.text)
        case Mapping():
            return {key: _written(one) for key, one in value.items()}
        case list():
            return [_written(one) for one in value]
        case _:
            return value


def _equal(left: Any, right: Any) -> bool:
    """Equality that tells 1, 1.0 and true apart and lets nan equal itself."""
    if type(left) is not type(right):
        return False
    if isinstance(left, dict):
        return left.keys() == right.keys() and all(_equal(left[key], right[key]) for key in left)
    if isinstance(left, list):
        return len(left) == len(right) and all(map(_equal, left, right))
    return bool(left == right) or (isinstance(left, float) and repr(left) == repr(right))
