"""The table of probes: for each key of `lictor.toml`, what is seen under one value and what under another. It knows no key."""

import asyncio
import contextlib
import inspect
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from lictor.model.errors import LictorError
from security.probes.stand import Place, place

Look = Callable[[Place], Awaitable[object]]
"""What is seen in a place. A LictorError is what is seen, too: its reason."""


@dataclass(frozen=True, kw_only=True)
class Probe:
    """One key under at least two values; under each something else is seen."""

    key: str
    sees: Sequence[tuple[Any, object]]
    """(value, what is seen under it). A value is a TOML value, or a function of the place where it depends on a port or a folder."""
    base: Mapping[str, Any]
    """Other keys, the same under each value."""
    around: Any
    look: Look


PATIENCE_S = 20
PROBES: dict[str, Probe] = {}


def probe(
    key: str, *sees: tuple[Any, object], base: Mapping[str, Any] | None = None, around: Any = None
) -> Callable[[Look], Look]:
    """Register how a key is seen to matter. `*` in a key is the name of a server, an issuer, a channel or a sink; `stub`, `corp`,
    `ops`, `seen` and `out` here."""

    def register(look: Look) -> Look:
        if key in PROBES or len({repr(seen) for _, seen in sees}) < 2:
            raise ValueError(f"{key}: a key has one probe, which sees at least two things")
        PROBES[key] = Probe(key=key, sees=sees, base=base or {}, around=around, look=look)
        return look

    return register


def written(key: str) -> str:
    """The key as it stands in a file of ours."""
    found = key.replace("servers.*", "servers.stub").replace("issuers.*", "issuers.corp")
    found = found.replace("witness.*", "witness.seen")
    return found.replace("notify.*", "notify.ops").replace("sinks.*", "sinks.out")


async def seen_under(one: Probe, value: Any) -> object:
    """What is seen with a value in force; a refusal is seen by its reason, a limit of patience as `late`."""
    said = {**one.base, written(one.key): "" if callable(value) else value}
    with place(said, _both(one, value)) as made:
        try:
            async with asyncio.timeout(PATIENCE_S):
                return await one.look(made)
        except LictorError as error:
            return error.reason.value
        except TimeoutError:
            return "late"


def _both(one: Probe, value: Any) -> Any:
    @contextlib.contextmanager
    def around(made: Place) -> Any:
        with contextlib.ExitStack() as stack:
            if one.around is not None:
                stack.enter_context(one.around(made))
            if callable(value):
                made.said[written(one.key)] = value(made)
            yield

    return around


async def findings(one: Probe) -> list[str]:
    """Why a probe does not show that its key matters; empty where it does."""
    found = []
    for value, expected in one.sees:
        seen = await seen_under(one, value)
        if seen != expected:
            name = inspect.getsource(value).strip() if callable(value) else repr(value)
            found.append(f"{one.key} = {name}: {seen!r} was seen, not {expected!r}")
    return found
