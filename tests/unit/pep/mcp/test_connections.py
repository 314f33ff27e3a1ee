"""What is connected for one request alone: known while it lasts, and ended with it."""

import asyncio
from typing import Any

from lictor.model.ids import ServerName, TaskId
from lictor.pep.mcp.connections import Connections, Server

NAME, TASK = ServerName("s"), TaskId("t")


class Stub:
    """A server that is a class."""

    alive = True

    def __init__(self) -> None:
        self.ended: list[str] = []

    async def close(self) -> None:
        self.ended.append("close")

    async def abort(self) -> None:
        self.ended.append("abort")


async def connect(*_: Any) -> Any:
    """Another one each time."""
    return Stub()


def connections() -> Connections:
    """To one server that each request is connected to for itself."""
    return Connections({NAME: Server(name=NAME, connect=connect, single=lambda: True)}, limit=4)


async def got(subject: Connections) -> Any:
    """The connection of the request under way."""
    return await subject.get(NAME, TASK, {}, connect, connect)


async def test_it_is_closed_behind_its_request():
    """And shared within it."""
    subject = connections()
    async with subject.during():
        first = await got(subject)
        assert await got(subject) is first
    assert first.ended == ["close"]
    async with subject.during():
        assert await got(subject) is not first


async def test_it_is_found_however_many_requests_came_and_went_before():
    """A request that ends takes its own connections with it, and not those of another that has none yet."""
    subject, may_connect, connected, ended = connections(), asyncio.Event(), asyncio.Event(), asyncio.Event()
    found: list[Any] = []

    async def slow() -> None:
        async with subject.during():
            await may_connect.wait()
            found.append(await got(subject))
            connected.set()
            await ended.wait()

    job = asyncio.create_task(slow())
    await asyncio.sleep(0)
    async with subject.during():
        pass
    may_connect.set()
    await connected.wait()
    await subject.drop(NAME, TASK, after_s=0.0)
    assert found[0].ended == ["abort"]
    ended.set()
    await job
    assert found[0].ended == ["abort", "close"]
