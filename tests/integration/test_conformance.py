"""The protocol's own conformance suite: every check that a server passes directly, it passes through the gateway."""

import asyncio
import json
import os
import re
import sys
import time
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import httpx2
import pytest

from integration.peers import injecting, node, package, reviewed, serving, write_bundle
from lictor.cli.catalog import pull_lists
from lictor.cli.demonstration.stage import free_port
from lictor.config import ServerSettings

pytestmark = [pytest.mark.xdist_group("conformance"), pytest.mark.timeout(180)]

SUITE = ("@modelcontextprotocol", "conformance", "dist", "index.js")
EVERYTHING = ("@modelcontextprotocol", "server-everything", "dist", "index.js")
_STAMP = re.compile(r"-\d{4}-\d\d-\d\dT[\dZ-]+$")
OPTIONAL = "server-sse-multiple-streams: server-sse-streams-functional"
"""Information where a server answers with plain JSON, as the gateway does when nothing has to go out before an answer."""
OWN = Path(__file__).with_name("conformance_server.py")


@asynccontextmanager
async def process(command: list[str], port: int, **env: str) -> AsyncIterator[str]:
    """A server as a process; its URL."""
    running = await asyncio.create_subprocess_exec(*command, stdout=-3, stderr=-3, env={**os.environ, **env})
    try:
        deadline = time.monotonic() + 30
        async with httpx2.AsyncClient() as probe:
            while True:
                assert running.returncode is None, command
                assert time.monotonic() < deadline, command
                try:
                    await probe.get(f"http://127.0.0.1:{port}/")
                    break
                except httpx2.HTTPError:
                    await asyncio.sleep(0.1)
        yield f"http://127.0.0.1:{port}/mcp"
    finally:
        if running.returncode is None:
            running.terminate()
        await running.wait()


def server(kind: str) -> Any:
    """A server under test: ours on the official SDK, in one era or both, or the protocol's own demonstration server."""
    port = free_port()
    if kind == "everything":
        return process([node(), package(*EVERYTHING), "streamableHttp"], port, PORT=str(port))
    eras = ["legacy"] if kind == "legacy" else []
    return process([sys.executable, "-W", "ignore", str(OWN), str(port), *eras], port)


async def verdicts(url: str, folder: Path) -> dict[str, Counter[str]]:
    """Run the whole suite against a URL: for each scenario and check, how often it ended how."""
    command = [node(), package(*SUITE), "server", "--url", url, "--suite", "all", "-o", str(folder)]
    running = await asyncio.create_subprocess_exec(*command, stdout=-1, stderr=-2, cwd=folder.parent)
    output, _ = await asyncio.wait_for(running.communicate(), 120)
    found = counted(folder)
    assert len(found) >= 30, output.decode()
    return found


def counted(folder: Path) -> dict[str, Counter[str]]:
    """The results the suite left in a folder."""
    found: dict[str, Counter[str]] = {}
    for file in sorted(folder.glob("*/checks.json")):
        scenario = _STAMP.sub("", file.parent.name.removeprefix("server-"))
        for check in json.loads(file.read_text("utf-8")):
            found.setdefault(f"{scenario}: {check['id']}", Counter())[check["status"]] += 1
    return found


@asynccontextmanager
async def behind(url: str, folder: Path) -> AsyncIterator[str]:
    """The same server behind `lictor serve`, reached through the proxy that brings the token."""
    catalogue = reviewed("conf", await pull_lists("conf", ServerSettings(url=url)))
    watched = '[resources."test://watched-resource"]'
    if watched not in catalogue["catalog/conf.toml"]:  # a server may take a subscription to what it does not list
        catalogue["catalog/conf.toml"] += f'\n{watched}\neffect = "read"\n'
    port, front = free_port(), free_port()
    listen = f'allowed_hosts = ["127.0.0.1:{front}"]\nallowed_origins = ["http://127.0.0.1:{front}"]\n'
    write_bundle(folder / "bundle", catalogue, port=port, servers=f'{listen}\n[servers.conf]\nurl = "{url}"\n')
    with serving(folder / "bundle", port) as served:
        token = await asyncio.to_thread(served.task)
        async with injecting(front, port, token, "conf__") as through:
            yield through


@pytest.mark.parametrize("kind", ["legacy", "both", "everything"])
async def test_what_passes_directly_passes_through_the_gateway(kind: str, tmp_path: Path) -> None:
    """No check is lost on the way."""
    async with server(kind) as url:
        direct = await verdicts(url, tmp_path / "direct")
        async with behind(url, tmp_path) as through:
            gateway = await verdicts(through, tmp_path / "gateway")
    passed = [name for name, ends in direct.items() if ends["SUCCESS"]]
    assert len(passed) >= (40 if kind != "everything" else 13)
    lost = [name for name in passed if gateway.get(name, Counter())["SUCCESS"] < direct[name]["SUCCESS"]]
    lost = [name for name in lost if name != OPTIONAL or not gateway[OPTIONAL]["INFO"]]
    print(f"{kind}: {len(passed)} checks pass directly, {len(passed) - len(lost)} of them through the gateway")
    assert lost == []
    failed = [name for name, ends in gateway.items() if ends["FAILURE"] > direct.get(name, Counter())["FAILURE"]]
    assert failed == []
