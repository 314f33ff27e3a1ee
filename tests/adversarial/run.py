"""One case under way: its world, what was seen, and the registries of verbs and preconditions.

A handler is written for a verb or for the words of a precondition. No handler can ask which case it is in.
"""

import re
import sys
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Any

from adversarial.model import NoSetup, Observed, Unreadable
from adversarial.upstreams import Effect
from adversarial.world import World
from lictor.model.record import DecisionMade, Record, decode_entry


@dataclass(slots=True)
class Run:
    """What handlers, preconditions and phrases work with."""

    world: World
    precondition: str
    inputs: list[dict[str, Any]]
    seen: list[Observed] = field(default_factory=list)
    """One for each step, in order."""
    meta_version: str = ""
    """The protocol version a precondition wants in the body."""
    effects_before: int = 0
    log_before: int = 0
    repeat: dict[str, Any] | None = None
    """The input below a fault, so that a phrase can try it again."""

    def mark(self) -> None:
        """From here on effects and records are the case's own."""
        self.effects_before = len(self.world.servers.effects)
        self.log_before = self.world.store.size()

    def effects(self) -> list[Effect]:
        """What really happened since the mark."""
        return self.world.servers.effects[self.effects_before :]

    def records(self) -> list[Record]:
        """What was written down since the mark."""
        return [decode_entry(entry.data).record for entry in self.world.store.entries(self.log_before)]

    def decisions(self) -> list[DecisionMade]:
        """What policy was asked since the mark."""
        return [record for record in self.records() if isinstance(record, DecisionMade)]

    def words(self) -> str:
        """Precondition and inputs as text, for what only words can tell."""
        return f"{self.precondition}\n{self.inputs}"


Handler = Callable[[Run, dict[str, Any]], Awaitable[Observed]]
Setup = Callable[[Run, re.Match[str]], Awaitable[None]]


@dataclass(frozen=True, slots=True)
class Verb:
    """A handler, the fields it understands, and whether it needs a log on disk."""

    handler: Handler
    fields: frozenset[str]
    durable: bool


VERBS: dict[str, Verb] = {}
PRECONDITIONS: list[tuple[re.Pattern[str], Setup]] = []


def verb(name: str, *fields: str, durable: bool = False) -> Callable[[Handler], Handler]:
    """Register a handler."""

    def register(handler: Handler) -> Handler:
        VERBS[name] = Verb(handler, frozenset({"op", *fields}), durable)
        return handler

    return register


def precondition(*patterns: str) -> Callable[[Setup], Setup]:
    """Register how to make true what these words say; a pattern has to match the whole text."""

    def register(setup: Setup) -> Setup:
        PRECONDITIONS.extend((re.compile(pattern, re.DOTALL), setup) for pattern in patterns)
        return setup

    return register


async def perform(run: Run, step: dict[str, Any]) -> Observed:
    """Do one input."""
    known = check(step)
    seen = await known.handler(run, step)
    run.seen.append(seen)
    return seen


def check(step: Any) -> Verb:
    """The verb of an input.

    Raises:
        Unreadable: an unknown verb, or a field that the verb's handler would silently ignore.
    """
    name = step.get("op") if isinstance(step, dict) else None
    known = VERBS.get(name) if isinstance(name, str) else None
    if known is None:
        raise Unreadable(f"unknown verb {name!r}")
    unknown = step.keys() - known.fields
    if unknown:
        raise Unreadable(f"verb {name!r} has no field {min(unknown)!r}")
    return known


def nested(step: dict[str, Any]) -> list[dict[str, Any]]:
    """An input and everything inside it."""
    inner = [*step.get("steps", []), *([step["do"]] if isinstance(step.get("do"), dict) else [])]
    return [step, *(found for one in inner if isinstance(one, dict) for found in nested(one))]


async def prepare(run: Run) -> None:
    """Make the precondition true.

    Raises:
        NoSetup: no words of ours describe it.
    """
    for pattern, setup in PRECONDITIONS:
        match = pattern.fullmatch(run.precondition)
        if match is not None:
            await setup(run, match)
            return
    raise NoSetup(run.precondition)


class _Outside:
    """Connections, look-ups and processes of this one, counted while armed."""

    def __init__(self) -> None:
        self.armed = False
        self.seen: list[str] = []
        sys.addaudithook(self._hear)

    def _hear(self, event: str, _: tuple[Any, ...]) -> None:
        if self.armed and event in {
            "socket.connect",
            "socket.getaddrinfo",
            "subprocess.Popen",
            "os.posix_spawn",
            "os.exec",
        }:
            self.seen.append(event)

    def __enter__(self) -> list[str]:
        self.seen, self.armed = [], True
        return self.seen

    def __exit__(self, *_: object) -> None:
        self.armed = False


OUTSIDE = _Outside()
