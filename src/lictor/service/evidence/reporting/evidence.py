"""Our controls joined with what was counted, and through them the published ones. "No evidence" is an answer, and the default.

Refuses to say that anybody conforms: it says what a log shows.
"""

import tomllib
from collections.abc import Mapping
from functools import cache
from importlib.resources import files
from typing import Final

import msgspec

from lictor.policy.standards import Control, standards
from lictor.service.evidence.reporting.counted import Figure
from lictor.service.evidence.reporting.rules import ByControl
from lictor.service.evidence.reporting.titles import TITLES

FILE: Final = "evidence.toml"
EVIDENCE: Final = "evidence"
NONE: Final = "no evidence"
NOT_COUNTED: Final = "not shown by a log"


class Mechanism(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What Lictor does for one of its controls, and what the log shows of it."""

    how: str
    figures: tuple[str, ...]
    """Any of them that is not nothing is evidence."""
    beside: tuple[str, ...] = ()
    """Shown with them, and no evidence by themselves."""
    why_none: str = ""


class Shown(msgspec.Struct, frozen=True):
    """One figure of a control."""

    name: str
    title: str
    count: int
    last_ms: int


class ControlShown(msgspec.Struct, frozen=True, kw_only=True):
    """One control of ours with its figures, those that are nothing too."""

    id: str
    name: str
    how: str
    state: str
    """`evidence`, `no evidence` or `not shown by a log`."""
    why: str
    figures: tuple[Shown, ...]
    last_ms: int


class Requirement(msgspec.Struct, frozen=True, kw_only=True):
    """One published identifier."""

    id: str
    words: str
    state: str
    controls: tuple[str, ...]
    primary: tuple[str, ...]
    loose: tuple[str, ...]
    shown: tuple[str, ...]
    """Those of the controls that left evidence, loose ones not among them."""
    allowed: int = 0
    """Decisions by policies that name it in `@control`, by their answer."""
    held: int = 0
    denied: int = 0
    policies: int = 0
    """Policies of the bundle in force that name it."""
    last_ms: int = 0


class FrameworkShown(msgspec.Struct, frozen=True, kw_only=True):
    """One publication."""

    id: str
    name: str
    short: str
    version: str
    url: str
    check: str
    requirements: tuple[Requirement, ...]


@cache
def mechanisms() -> Mapping[str, Mechanism]:
    """The map that is installed with this version, by control."""
    text = files("lictor.service.evidence.reporting").joinpath(FILE).read_text("utf-8")
    return msgspec.convert(tomllib.loads(text), dict[str, Mechanism])


def controls_shown(figures: Mapping[str, Figure]) -> tuple[ControlShown, ...]:
    """Every control of ours, in order, with what was counted."""
    return tuple(_control(one, mechanisms()[one.id], figures) for one in standards().controls)


def _control(control: Control, mechanism: Mechanism, figures: Mapping[str, Figure]) -> ControlShown:
    found = []
    for name in (*mechanism.figures, *mechanism.beside):
        figure = figures.get(name) or Figure()
        found.append(Shown(name, TITLES[name], figure.count, figure.last_ms))
    evidence = [one for one in found[: len(mechanism.figures)] if one.count]
    return ControlShown(
        id=control.id,
        name=control.name,
        how=mechanism.how,
        state=EVIDENCE if evidence else NONE if mechanism.figures else NOT_COUNTED,
        why=mechanism.why_none,
        figures=tuple(found),
        last_ms=max((one.last_ms for one in evidence), default=0),
    )


def frameworks_shown(
    shown: tuple[ControlShown, ...], ruled: Mapping[str, ByControl], naming: Mapping[str, int]
) -> tuple[FrameworkShown, ...]:
    """Every published identifier that a control of ours is mapped to, or that a policy names.

    Args:
        shown: our controls.
        ruled: decisions by identifier that their policies name.
        naming: how many policies of the bundle in force name an identifier.
    """
    state = {one.id: one for one in shown}
    found = []
    for key, framework in standards().frameworks.items():
        rows = [_requirement(key, name, state, ruled.get(name), naming.get(name, 0)) for name in _of(key)]
        found.append(
            FrameworkShown(
                id=key,
                name=framework.name,
                short=framework.short,
                version=framework.version,
                url=framework.url,
                check=framework.check,
                requirements=tuple(row for row in rows if row.controls or row.policies or row.last_ms),
            )
        )
    return tuple(found)


def _of(framework: str) -> tuple[str, ...]:
    return tuple(standards().identifiers[framework])


def _requirement(
    framework: str, name: str, state: Mapping[str, ControlShown], ruled: ByControl | None, policies: int
) -> Requirement:
    mapped = [one for one in standards().controls if name in one.maps.get(framework, ())]
    loose = [one.id for one in mapped if name in one.loose]
    firm = [state[one.id] for one in mapped if one.id not in loose]
    ruled = ruled or ByControl()
    seen = any(one.state == EVIDENCE for one in firm) or ruled.stopped or ruled.allowed
    return Requirement(
        id=name,
        words=standards().identifiers[framework][name].words,
        state=EVIDENCE if seen else NONE if any(one.state == NONE for one in firm) else NOT_COUNTED,
        controls=tuple(one.id for one in mapped),
        primary=tuple(one.id for one in mapped if name in one.primary),
        loose=tuple(loose),
        shown=tuple(one.id for one in firm if one.state == EVIDENCE),
        allowed=ruled.allowed,
        held=ruled.held,
        denied=ruled.denied,
        policies=policies,
        last_ms=max([ruled.last_ms, *(one.last_ms for one in firm)], default=0),
    )
