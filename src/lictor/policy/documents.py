"""One TOML or JSON file of the bundle: read strictly, turned into typed values, each fault with its line.

Refuses to know what the files are for. Unknown keys are faults: a key that nobody reads is a rule that nobody enforces.
"""

import json
import re
import tomllib
from dataclasses import dataclass
from typing import Any, Final, NoReturn, TypeVar

import msgspec

from lictor.model.errors import CallerError
from lictor.policy.problems import Problems, quote
from lictor.policy.tomlpos import Lines, Path

_S = TypeVar("_S", bound=msgspec.Struct)
_AT: Final = re.compile(r" - at `\$(?P<path>[^`]*)`$")
_STEP: Final = re.compile(r"\.(\w+)|\[(\d+)\]")
MAX_JSON_DEPTH: Final = 64
"""Nesting of a definitions file; deeper schemas are refused later anyway (`subschemas.SCHEMA_DEPTH` is 32)."""


@dataclass(frozen=True, slots=True)
class Document:
    """One parsed file."""

    raw: dict[str, Any]
    lines: Lines

    @property
    def file(self) -> str:
        """Path in the bundle."""
        return self.lines.file


def read_toml(file: str, data: bytes, problems: Problems) -> Document | None:
    """Parse; None, and a problem noted, when it is no TOML in UTF-8."""
    try:
        text = data.decode("utf-8")
        return Document(tomllib.loads(text), Lines(file, text))
    except UnicodeDecodeError as error:
        problems.add(file, f"not UTF-8 at byte {error.start}")
    except tomllib.TOMLDecodeError as error:
        found = re.search(r"\(at line (\d+)", str(error))
        problems.add(f"{file}:{found[1]}" if found else file, f"not TOML: {error}")
    except (ValueError, RecursionError) as error:  # a number of thousands of digits, a nest of brackets
        problems.add(file, f"not TOML: {quote(str(error))}")
    return None


def read_json(file: str, data: bytes, problems: Problems) -> dict[str, Any] | None:
    """Parse an object; None, and a problem noted, for anything else, duplicate keys and NaN included (RFC 8259 4, RFC 7493)."""
    try:
        value = json.loads(data.decode("utf-8"), object_pairs_hook=_unique, parse_constant=_no_constant)
    except UnicodeDecodeError as error:
        problems.add(file, f"not UTF-8 at byte {error.start}")
    except json.JSONDecodeError as error:
        problems.add(f"{file}:{error.lineno}", f"not JSON: {error.msg}")
    except (ValueError, RecursionError) as error:
        problems.add(file, f"not JSON: {quote(str(error))}")
    else:
        if isinstance(value, dict) and _depth_within(value, MAX_JSON_DEPTH):
            return value
        problems.add(file, "not a JSON object, or nested too deep")
    return None


def convert(document: Document, path: Path, raw: Any, type_: type[_S], problems: Problems) -> _S | None:
    """Make a typed value of one table; None, and problems noted, when it is not one."""
    if not isinstance(raw, dict):
        problems.add(document.lines.where(path), f"{_name(path)} must be a table")
        return None
    known = {key: value for key, value in raw.items() if key in type_.__struct_fields__}
    for key in raw.keys() - known.keys():
        problems.add(
            document.lines.where((*path, key)),
            f"unknown key {quote(key)} in {_name(path)}",
            f"known: {', '.join(type_.__struct_fields__)}",
        )
    try:
        return msgspec.convert(known, type_, strict=True)
    except msgspec.ValidationError as error:
        text = str(error)
        at = _AT.search(text)
        steps = [name or int(index) for name, index in _STEP.findall(at["path"])] if at else []
        message = text[: at.start()] if at else text
        inside = ".".join(str(step) for step in steps)
        place = f"{_name(path)}, {inside}" if inside else _name(path)
        problems.add(document.lines.where((*path, *steps)), f"{place}: {message[:1].lower()}{message[1:]}")
        return None


def tables(document: Document, key: str, problems: Problems) -> dict[str, Any]:
    """The named tables below a key (`[key.NAME]`), or none."""
    found = document.raw.get(key, {})
    if isinstance(found, dict):
        return found
    problems.add(document.lines.where((key,)), f"{quote(key)} must hold tables", f"write [{key}.NAME]")
    return {}


def only_keys(document: Document, known: tuple[str, ...], problems: Problems) -> None:
    """Note every top-level key that is not one of these."""
    for key in document.raw.keys() - set(known):
        problems.add(document.lines.where((key,)), f"unknown key {quote(key)}", f"known: {', '.join(known)}")


def caller_message(error: CallerError) -> str:
    """What a value-level refusal says, with its place inside the value."""
    return f"{error.message} at {error.where}" if error.where else error.message


def _name(path: Path) -> str:
    return "[" + ".".join(str(step) if str(step).replace("_", "").isalnum() else quote(step) for step in path) + "]"


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        raise ValueError("an object has a key twice")
    return found


def _no_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is no JSON number")


def _depth_within(value: Any, limit: int) -> bool:
    level = [value]
    for _ in range(limit):
        level = [
            child
            for node in level
            if isinstance(node, dict | list)
            for child in (node.values() if isinstance(node, dict) else node)
        ]
        if not level:
            return True
    return False
