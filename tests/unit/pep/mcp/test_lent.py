"""Connections with what was lent for them: nothing is done with a credential whose lease has ended, replaced or not."""

import asyncio
from typing import Any

import pytest

from lictor.model.errors import UpstreamError
from lictor.model.ids import ServerName, TaskId
from lictor.model.reasons import Reason
from lictor.pep.mcp.connections import Connections, Server
from lictor.pep.mcp.lent import LentUpstream, Terms
from lictor.pep.mcp.seam import Era, Offer, Reply

OFFER = Offer(era=Era.MODERN, version="2026-07-28", capabilities={}, server_info={})


class Clean:
    """`seam.Cleaner` that finds nothing."""

    async def json(self, data: bytes) -> bytes:
        return data

    async def value(self, value: Any) -> Any:
        return value

    def text(self, text: str) -> str:
        return text

    def check(self, data: bytes) -> None:
        del data


class Slow:
    """A connection whose requests last until they are let go, and which takes its time to close."""

    def __init__(self) -> None:
        self.offer = OFFER
        self.alive = True
        self.go = asyncio.Event()
        self.closing = asyncio.Event()
        self.may_close = asyncio.Event()
        self.may_close.set()
        self.ended: list[str] = []
        self.given: list[float] = []

    async def request(self, method: str, params: dict[str, Any], *, timeout_s: float, **_: Any) -> Reply:
        del method, params
        self.given.append(timeout_s)
        try:
            async with asyncio.timeout(timeout_s):
                await self.go.wait()
        except TimeoutError:
            raise UpstreamError(Reason.UPSTREAM_TIMEOUT, "late", effect_possible=True) from None
        if self.ended:
            raise UpstreamError(Reason.UPSTREAM_DOWN, "gone", effect_possible=True)
        return Reply(result=b"{}")

    async def close(self) -> None:
        self.closing.set()
        await self.may_close.wait()
        self.ended.append("close")

    async def abort(self) -> None:
        self.ended.append("abort")
        self.go.set()


def lent(inner: Slow, left_s: float | None = None, **more: Any) -> LentUpstream:
    begun = asyncio.get_running_loop().time()

    def left() -> float | None:
        return None if left_s is None else max(0.0, begun + left_s - asyncio.get_running_loop().time())

    terms = Terms(usable=more.pop("usable", lambda: True), left_s=left, **more)
    return LentUpstream(inner, OFFER, Clean(), terms)  # type: ignore[arg-type]


async def test_a_call_takes_no_longer_than_its_credential_lives():
    """The request is cut at the lease's end, not at its own later deadline."""
    inner = Slow()
    with pytest.raises(UpstreamError) as late:
        await lent(inner, 0.1).request("tools/call", {}, timeout_s=60)
    assert late.value.reason is Reason.UPSTREAM_TIMEOUT
    assert inner.given[0] <= 0.1


async def test_nothing_is_begun_with_a_lease_that_has_ended():
    """Refused before a byte is sent; without a credential nothing ends."""
    inner = Slow()
    with pytest.raises(UpstreamError) as refusal:
        await lent(inner, 0.0).request("tools/call", {}, timeout_s=60)
    assert not refusal.value.effect_possible
    assert not inner.given
    inner.go.set()
    await lent(inner).request("tools/call", {}, timeout_s=60)
    assert inner.given == [60]


async def test_a_replaced_connection_ends_with_its_lease():
    """What is under way on it is waited for until then, and then ended by force; one that is idle is closed at once."""
    inner = Slow()
    upstream = lent(inner, 0.2)
    call = asyncio.ensure_future(upstream.request("tools/call", {}, timeout_s=60))
    await asyncio.sleep(0)
    await upstream.retire()
    assert not inner.ended
    assert not upstream.alive or not inner.ended
    with pytest.raises(UpstreamError):
        await call
    async with asyncio.timeout(2):
        while not inner.ended:
            await asyncio.sleep(0.01)
    idle = Slow()
    await lent(idle, 60).retire()
    assert idle.ended == ["close"]


async def test_a_lease_that_ends_early_ends_its_connections_at_once():
    """Drift, a kill: the call is over, and what was given for the connection alone is given back once."""
    inner, back = Slow(), []
    upstream = lent(inner, 60, done=lambda: back.append(1))
    call = asyncio.ensure_future(upstream.request("tools/call", {}, timeout_s=60))
    await asyncio.sleep(0)
    await upstream.retire()
    await upstream.cut()
    await upstream.cut()
    with pytest.raises(UpstreamError):
        await call
    assert (inner.ended[0], back, upstream.alive) == ("abort", [1], False)


@pytest.mark.parametrize("careful", [True, False])
async def test_an_ended_lease_does_not_take_its_successor_down(careful: bool, monkeypatch: pytest.MonkeyPatch):
    """The old lease ends while the old connection still closes: the new one is made and used. Control: without a look at the lock
    the place is taken away under the one who is filling it.
    """
    first, second = Slow(), Slow()
    first.may_close.clear()
    made = [lent(second), lent(first, usable=lambda: False)]

    async def connect(*_: Any) -> Any:
        return made.pop()

    server, task = ServerName("fs"), TaskId("t")
    connections = Connections({server: Server(name=server, connect=connect)}, limit=4)
    await connections.get(server, task, {}, connect, connect)  # type: ignore[arg-type]
    replacing = asyncio.ensure_future(connections.get(server, task, {}, connect, connect))  # type: ignore[arg-type]
    await first.closing.wait()
    if not careful:
        monkeypatch.setattr(asyncio.Lock, "locked", lambda _: False)
    await connections.end_unusable(server, task)
    first.may_close.set()
    if careful:
        assert (await replacing).alive
        assert not second.ended
    else:
        with pytest.raises(UpstreamError, match="no longer wanted"):
            await replacing
