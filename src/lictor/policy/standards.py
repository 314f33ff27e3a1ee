"""Published requirements that a control of ours is evidence for: identifiers, titles, and our map onto them (`standards.json`).

The identifiers are facts of their publishers; which control answers to which is our judgement. Nobody conforms to anything
because it stands here. Refuses to know logs and reports.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from difflib import get_close_matches
from functools import cache
from importlib.resources import files
from typing import Final

import msgspec

FILE: Final = "standards.json"
ANNOTATION: Final = "control"
"""The annotation by which a policy names what it is for: `@control("ASI01, NHI5:2025")`."""
_PUBLISHED: Final = {"catalogue": "found in the publisher's catalogue", "transcription": "found in a transcription"}


class Framework(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One publication, in one version."""

    name: str
    short: str
    version: str
    publisher: str
    check: str
    """How its identifiers were checked: `catalogue` (the publisher's own, by program), `transcription` (somebody's), `read`."""
    url: str


class Identifier(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One requirement. `title` is the published title or heading, `gist` our own words where that says too little."""

    title: str
    check: str
    gist: str = ""

    @property
    def words(self) -> str:
        """Title and gist."""
        return f"{self.title}: {self.gist}" if self.gist else self.title


class Control(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One thing that Lictor does, and by framework the requirements it is evidence for."""

    id: str
    name: str
    primary: tuple[str, ...]
    """The closest fits."""
    loose: tuple[str, ...]
    """Fits that should not be leaned on."""
    maps: dict[str, tuple[str, ...]]


class Standards(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The whole of it."""

    version: str
    frameworks: dict[str, Framework]
    identifiers: dict[str, dict[str, Identifier]]
    controls: tuple[Control, ...]


@dataclass(frozen=True, slots=True)
class Known:
    """One identifier with the framework it belongs to."""

    framework: str
    identifier: Identifier


@cache
def standards() -> Standards:
    """The data that is installed with this version."""
    return msgspec.json.decode(files("lictor.policy").joinpath(FILE).read_bytes(), type=Standards)


@cache
def identifiers() -> Mapping[str, Known]:
    """Every identifier of every framework; none is in two (a test says so)."""
    found = standards().identifiers
    return {name: Known(framework, one) for framework, ids in found.items() for name, one in ids.items()}


def named(annotation: str) -> tuple[str, ...]:
    """The identifiers that an annotation names, separated by commas, each once and in its order."""
    return tuple(dict.fromkeys(part for part in (one.strip() for one in annotation.split(",")) if part))


def unknown(names: Iterable[str]) -> tuple[str, ...]:
    """Those that no framework has."""
    return tuple(name for name in names if name not in identifiers())


def instead_of(name: str) -> str:
    """What somebody who wrote this may have meant; empty when there is nothing near."""
    near = get_close_matches(name.upper(), list(identifiers()), n=3, cutoff=0.6)
    return ", ".join(f"{one} ({identifiers()[one].identifier.title})" for one in near)


def how_checked(check: str) -> str:
    """In words, how an identifier was checked."""
    return _PUBLISHED.get(check, "read in the document, not checked by program")
