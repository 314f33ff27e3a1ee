"""A server's own preview: asked with the arguments that the catalogue makes of them, and shown as its word."""

import asyncio
import json
from typing import Any

import pytest

from lictor.model.errors import UpstreamError
from lictor.model.preview_rule import ToolPreview
from lictor.model.reasons import Reason
from previews_world import Bench, entry, told


class Server:
    """What a server is asked, and what it answers."""

    def __init__(self) -> None:
        self.asked: list[tuple[str, str, dict[str, Any]]] = []
        self.text = "would write 3 rows"
        self.error: Exception | None = None
        self.raw: bytes | None = None

    async def __call__(self, server: str, tool: str, arguments: dict[str, Any], timeout_s: float) -> bytes:
        self.asked.append((server, tool, arguments))
        if self.error is not None:
            raise self.error
        return self.raw or json.dumps({"content": [{"type": "text", "text": self.text}]}).encode()


@pytest.fixture
def server() -> Server:
    return Server()


@pytest.fixture
def bench(tmp_path, server: Server) -> Bench:
    return Bench(tmp_path, call=server)


async def test_a_dry_run_of_the_same_tool(bench: Bench, server: Server) -> None:
    """Arguments put and dropped; everything else as it is."""
    of = entry(preview=ToolPreview(tool="tool", put={"/dryRun": True, "/o/deep": 1}, drop=("/confirm", "/no/such")))
    made = await bench.preview(of, {"a": [1], "confirm": "yes", "dryRun": False})
    assert server.asked == [("s", "tool", {"a": [1], "dryRun": True, "o": {"deep": 1}})]
    assert " would write 3 rows" in told(made)
    assert "nobody has checked it" in told(made)
    assert await bench.changed(made) == ""
    server.text = "would write 4 rows"
    assert "tool" in await bench.changed(made)


async def test_without_check_it_is_not_asked_again(bench: Bench, server: Server) -> None:
    """The catalogue's choice."""
    made = await bench.preview(entry(preview=ToolPreview(tool="plan", check=False)), {})
    assert await bench.changed(made) == ""
    assert len(server.asked) == 1


@pytest.mark.parametrize(
    "raw",
    [
        b"not json", b"[]", b"{}", b'{"content": 7}', b'{"content": [{"type": "image"}]}', b'{"isError": true, "content": []}',
        b"x" * (2 * 1024 * 1024), b'{"content": [{"type": "text", "text": 1}]}',
    ],
)  # fmt: skip
async def test_an_answer_that_is_none_is_said(bench: Bench, server: Server, raw: bytes) -> None:
    """Never "nothing happens"."""
    server.raw = raw
    made = await bench.preview(entry(preview=ToolPreview(tool="plan")), {})
    assert not made.whole
    assert any(part.warning for part in made.parts)


async def test_a_server_that_fails_is_said(bench: Bench, server: Server) -> None:
    """By its reason alone; and an approval that rests on it is void."""
    made = await bench.preview(entry(preview=ToolPreview(tool="plan")), {})
    server.error = UpstreamError(Reason.UPSTREAM_DOWN, "secret words", effect_possible=False)
    assert await bench.changed(made)
    failed = await bench.preview(entry(preview=ToolPreview(tool="plan")), {})
    assert "upstream_down" in told(failed)
    assert "secret words" not in told(failed)


async def test_a_put_through_something_else_is_not_sent(bench: Bench, server: Server) -> None:
    """A dry run that would not be one is not made."""
    of = entry(preview=ToolPreview(tool="tool", put={"/o/dry": True}))
    made = await bench.preview(of, {"o": "text"})
    assert not made.whole
    assert server.asked == []


async def test_a_server_that_hangs_is_given_up(bench: Bench, monkeypatch) -> None:
    """In time."""
    monkeypatch.setattr("lictor.previews.previewer.TOOL_TIME_S", 0.05)

    async def hangs(*_: Any) -> bytes:
        await asyncio.sleep(60)
        return b""

    other = Bench(bench.base, call=hangs)
    made = await other.preview(entry(preview=ToolPreview(tool="plan")), {})
    assert "not found out in time" in told(made)
