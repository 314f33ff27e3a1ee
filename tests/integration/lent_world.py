"""A real gateway (store, safe, broker, door) in front of real servers that give back whatever they were given."""

import asyncio
import contextlib
import json
import os
import sys
import time
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from pathlib import Path

from adversarial.wire import Response
from integration import live
from integration.live import PORT
from lictor.app.safekeeping import sealed
from lictor.cli.demonstration.stage import free_port
from lictor.config import BrokerSettings
from lictor.model.secret import Secret
from lictor.policy.catalogue import pin_of

ECHOING = Path(__file__).parents[1] / "servers" / "echoing.py"
POLICY = """
@id("uses") @owner("os:me") @reason("tested")
permit (principal, action in [Action::"read", Action::"credential.use", Action::"task.open"], resource);
"""
TOOL = {
    "name": "echo",
    "description": "Gives back what it was given.",
    "inputSchema": {
        "type": "object",
        "properties": {"way": {"type": "string"}, "text": {"type": "string"}},
        "required": ["way"],
        "additionalProperties": False,
    },
}
WAYS = ("plain", "base64", "hex", "HEX", "url", "json", "split", "error", "notice", "late")


@dataclass
class Scene:
    """`started` servers with variables and `remote` ones with fields; so many secrets each."""

    folder: Path
    started: int = 1
    remote: int = 1
    each: int = 2
    lease: str = "task"
    ttl_s: int = 900
    port: int = field(default_factory=free_port)
    secrets: dict[str, str] = field(default_factory=dict)
    """Canaries by their name in the safe."""

    def __post_init__(self) -> None:
        names = [f"pipe{i}" for i in range(self.started)] + [f"web{i}" for i in range(self.remote)]
        settings, credentials = f"[listen]\nport = {PORT}\n", ""
        files: dict[str, str] = {}
        for name in names:
            web = name.startswith("web")
            url = f"http://127.0.0.1:{self.port}"
            where = f'url = "{url}/mcp"' if web else f"command = {json.dumps([sys.executable, '-u', str(ECHOING)])}"
            settings += f"[servers.{name}]\n{where}\n"
            files[f"catalog/{name}.toml"] = (
                f'[tools.echo]\neffect = "read"\npin = "{pin_of(TOOL)}"\n[features.logging]\neffect = "read"\n'
            )
            files[f"catalog/{name}.definitions.json"] = json.dumps({"tools": [TOOL]})
            places, fields = {}, {}
            for index in range(self.each):
                secret = f"{name}-{index}"
                self.secrets[secret] = f"sk-live-{name}-{index}-{os.urandom(12).hex()}/+=&x"
                fields[f"f{index}"] = secret
                place = f"X-Api-Key-{index}" if web else f"CANARY_{index}"
                places[place if index or not web else "Authorization"] = f"{'Bearer ' if web else ''}{{f{index}}}"
            table = {
                "server": name,
                "destination": url if web else "command",
                "provider": "static",
                "lease": self.lease,
                "ttl_s": self.ttl_s,
            }
            credentials += f"[credentials.{name}]\n" + "".join(f"{k} = {json.dumps(v)}\n" for k, v in table.items())
            credentials += f"[credentials.{name}.{'headers' if web else 'env'}]\n"
            credentials += "".join(f"{k} = {json.dumps(v)}\n" for k, v in places.items())
            credentials += f"[credentials.{name}.options.fields]\n"
            credentials += "".join(f"{k} = {json.dumps(v)}\n" for k, v in fields.items())
        files |= {
            "lictor.toml": settings,
            "credentials.toml": credentials,
            "agents.toml": 'purposes = ["test"]\n[agents.coder]\nowner = "os:ann"\nreview_by = 2099-12-31\n',
            "approvers.toml": 'four_eyes = false\n[approvers."os:me"]\ngroups = ["owner"]\n',
            "policies/test.cedar": POLICY,
        }
        for name, text in files.items():
            path = self.bundle / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text, "utf-8")
        self.bundle.chmod(0o755)
        self.state.mkdir(mode=0o700)
        safe = sealed(self.state, BrokerSettings())
        for name, value in self.secrets.items():
            safe.write(name, Secret(value), 1)

    @property
    def bundle(self) -> Path:
        return self.folder / "bundle"

    @property
    def state(self) -> Path:
        return self.bundle / ".lictor"

    @contextlib.asynccontextmanager
    async def web(self) -> AsyncIterator[None]:
        """The remote servers: one process."""
        process = await asyncio.create_subprocess_exec(sys.executable, str(ECHOING), str(self.port))
        try:
            end = time.monotonic() + 20
            while time.monotonic() < end:
                with contextlib.suppress(OSError):
                    (await asyncio.open_connection("127.0.0.1", self.port))[1].close()
                    break
                await asyncio.sleep(0.02)
            yield
        finally:
            process.kill()
            await process.wait()

    @contextlib.asynccontextmanager
    async def live(self) -> AsyncIterator["Live"]:
        """The gateway, until the block ends."""
        async with self.web(), live.started(self.bundle) as parts:
            yield Live(*parts)


class Live(live.Live):
    """One gateway under way."""

    async def echo(self, token: str, server: str, way: str = "plain", **arguments: str) -> Response:
        """A call."""
        return await self.send(
            token,
            "tools/call",
            {"name": f"{server}__echo", "arguments": {"way": way, **arguments}, "_meta": {"progressToken": 1}},
        )
