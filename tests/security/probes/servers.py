"""`[servers.*]` and `[broker]`: what a server is told and where it is started, and whether the safe opens."""

import contextlib
import os
import sys
from collections.abc import Iterator
from unittest.mock import patch

from lictor.app.safekeeping import sealed
from lictor.model.secret import Secret
from security.probes import stub
from security.probes.stand import Place, command
from security.probes.table import probe

_SECRET = "a secret of the probe"


@probe("servers.*.command", (command("one"), "one"), (command("two"), "two"))
async def started(place: Place) -> object:
    """Which program answers."""
    async with place.stand() as stand:
        return (await stand.told())["mark"]


@contextlib.contextmanager
def _two(place: Place) -> Iterator[None]:
    one, two = stub.Behaviour(mark="one"), stub.Behaviour(mark="two")
    with stub.served(one) as first, stub.served(two) as second:
        place.around["urls"] = (first, second)
        yield


@probe(
    "servers.*.url",
    (lambda place: place.around["urls"][0], "one"),
    (lambda place: place.around["urls"][1], "two"),
    around=_two,
)
async def url(place: Place) -> object:
    """Which address answers."""
    async with place.stand() as stand:
        return (await stand.told())["mark"]


@probe("servers.*.headers", ({}, None), ({"X-Probe": "1"}, "1"))
async def headers(place: Place) -> object:
    """What a server over HTTP is sent."""
    async with place.stand() as stand:
        return (await stand.told())["headers"].get("x-probe")


_COMMAND = {"servers.stub.command": command()}


@probe("servers.*.env", ({}, None), ({"PROBE": "1"}, "1"), base=_COMMAND)
async def env(place: Place) -> object:
    """What a started server has in its environment."""
    async with place.stand() as stand:
        return (await stand.told())["env"].get("PROBE")


@probe("servers.*.pass_env", ([], False), (["LICTOR_PROBE"], True), base=_COMMAND)
async def pass_env(place: Place) -> object:
    """Whether a variable of ours is in it."""
    with patch.dict(os.environ, LICTOR_PROBE="1"):
        async with place.stand() as stand:
            return "LICTOR_PROBE" in (await stand.told())["env"]


@probe("servers.*.cwd", ("/", "/"), ("/usr", "/usr"), base=_COMMAND)
async def cwd(place: Place) -> object:
    """Where a started server is."""
    async with place.stand() as stand:
        return (await stand.told())["cwd"]


@probe("servers.*.shared", (False, 2), (True, 1), base=_COMMAND)
async def shared(place: Place) -> object:
    """How many processes serve two tasks."""
    async with place.stand() as stand:
        return len({(await stand.told())["pid"] for _ in range(2)})


# -- [broker] ------------------------------------------------------------------------------------------------------------


async def _kept(place: Place) -> object:
    """What is put into the safe, as another process reads it; and the files a key is in."""
    async with place.stand() as stand:
        await stand.runtime.lending.safe.write("probe", Secret(_SECRET))
        settings = place.settings()
        found = sealed(stand.house.state, settings.broker).read("probe")
        names = sorted(path.name for path in stand.house.state.glob("safe.key*"))
        return [found.reveal() if found else None, *names]


_CAT = [sys.executable, "-S", "-c", "import sys; sys.stdout.buffer.write(sys.stdin.buffer.read())"]
_NOTHING = [sys.executable, "-S", "-c", ""]


@contextlib.contextmanager
def _wrapped(place: Place) -> Iterator[None]:
    """A command belongs to `command` and to nothing else."""
    if place.said["broker.key"] == "command":
        place.said |= {"broker.unseal": _CAT, "broker.seal": _CAT}
    yield


@probe("broker.key", ("file", [_SECRET, "safe.key"]), ("command", [_SECRET, "safe.key.wrapped"]), around=_wrapped)
async def key(place: Place) -> object:
    """Where the key is."""
    return await _kept(place)


@probe(
    "broker.unseal",
    (_CAT, [_SECRET, "safe.key.wrapped"]),
    (_NOTHING, "cannot_record"),
    base={"broker.key": "command", "broker.seal": _CAT},
)
async def unseal(place: Place) -> object:
    """A command that unwraps, and one that does not."""
    return await _kept(place)


@probe(
    "broker.seal",
    (_CAT, [_SECRET, "safe.key.wrapped"]),
    ([], "cannot_record"),
    base={"broker.key": "command", "broker.unseal": _CAT},
)
async def seal(place: Place) -> object:
    """A first key has to be wrapped by something."""
    return await _kept(place)
