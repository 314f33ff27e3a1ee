"""Standard streams without blocking."""

import asyncio
import os
from pathlib import Path

import pytest

from lictor.pep.mcp.downstream import pipes
from lictor.pep.mcp.downstream.pipes import FdReader, FdWriter


async def test_a_full_pipe_makes_requests_wait_and_loses_nothing() -> None:
    """What the client has not read waits in order; the event loop is free meanwhile."""
    read_end, write_end = os.pipe()
    with os.fdopen(read_end, "rb") as incoming, os.fdopen(write_end, "wb") as outgoing:
        reader, writer = FdReader(incoming), FdWriter(outgoing)
        payload = os.urandom(1_000_000)
        writer.write(payload)
        draining = asyncio.create_task(writer.drain())
        await asyncio.sleep(0.01)
        assert not draining.done()
        got = b""
        async with asyncio.timeout(10):
            while len(got) < len(payload):
                got += await reader.read(65536)
            await draining
        assert got == payload
        writer.close()
        reader.close()
        assert os.get_blocking(write_end)


async def test_a_client_that_never_reads_is_gone(monkeypatch: pytest.MonkeyPatch) -> None:
    """Waiting is bounded."""
    monkeypatch.setattr(pipes, "STUCK_S", 0.05)
    read_end, write_end = os.pipe()
    with os.fdopen(read_end, "rb"), os.fdopen(write_end, "wb") as outgoing:
        writer = FdWriter(outgoing)
        writer.write(bytes(1_000_000))
        with pytest.raises(BrokenPipeError):
            await asyncio.wait_for(writer.drain(), 5)
        writer.close()


async def test_a_closed_pipe_is_told() -> None:
    """Writing to nobody raises at the next drain."""
    read_end, write_end = os.pipe()
    os.close(read_end)
    with os.fdopen(write_end, "wb") as outgoing:
        writer = FdWriter(outgoing)
        writer.write(b"x")
        with pytest.raises(BrokenPipeError):
            await writer.drain()
        writer.close()


async def test_a_file_can_be_input_and_output(tmp_path: Path) -> None:
    """Redirected streams work, though files cannot be watched."""
    source = tmp_path / "in"
    source.write_bytes(b"hello")
    with source.open("rb") as incoming, (tmp_path / "out").open("wb") as outgoing:
        reader, writer = FdReader(incoming), FdWriter(outgoing)
        data = await reader.read(100)
        assert await reader.read(100) == b""
        writer.write(data)
        await writer.drain()
    assert (tmp_path / "out").read_bytes() == b"hello"
