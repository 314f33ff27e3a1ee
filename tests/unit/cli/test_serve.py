"""Which event loop `lictor serve` runs on."""

import asyncio

import pytest

from lictor.cli import serve
from lictor.cli.main import main


@pytest.mark.parametrize(
    ("server", "module"), [('url = "http://127.0.0.1:1/mcp"', "uvloop"), ('command = ["true"]', "asyncio")]
)
def test_the_quick_loop_is_for_servers_reached_by_url(tmp_path, monkeypatch, server, module):
    """It does not tell when a started server closes its output and lives on, so those get Python's own."""
    (tmp_path / "agents.toml").write_text("purposes = []\n")
    (tmp_path / "lictor.toml").write_text(f"[servers.one]\n{server}\n")
    seen = []

    async def looked_at(_args):
        seen.append(type(asyncio.get_running_loop()).__module__.partition(".")[0])
        return 0

    monkeypatch.setattr(serve, "_serve", looked_at)
    assert main(["serve", "--bundle", str(tmp_path)]) == 0
    assert seen == [module]
