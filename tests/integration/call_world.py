"""A real gateway in front of one real server on standard streams, which uses what it is lent for a call."""

import contextlib
import json
import sys
from collections.abc import AsyncIterator, Mapping
from pathlib import Path
from typing import Any

from integration.live import PORT, Live, started
from lictor.app.safekeeping import sealed
from lictor.config import BrokerSettings
from lictor.model.record import LeaseAsked, RequestReceived
from lictor.model.secret import Secret
from lictor.policy.catalogue import pin_of
from servers.asking import TOOL

SERVER = Path(__file__).parents[1] / "servers" / "asking.py"
POLICY = """
@id("yes") @owner("os:me") @reason("asked nicely")
permit (principal, action == Action::"shop/ask", resource) unless { context.input.text == "no" || context.input.text == "please" };

@id("please") @owner("os:me") @reason("people are asked")
permit (principal, action == Action::"shop/ask", resource)
when { context.input.text == "please" && context has approval && context.approval.groups.contains("owner") };
"""
LENDS = """
@id("lends") @owner("os:me") @reason("its own server")
permit (principal, action == Action::"credential:shop/it", resource);
"""


class Shop(Live):
    """The gateway under way."""

    async def ask(self, token: str, text: str = "yes", **arguments: str) -> str:
        """One call: what the server said, or the refusal."""
        said = {"name": "shop__ask", "arguments": {"text": text, **arguments}}
        return (await self.send(token, "tools/call", said)).body.decode()

    def asked(self) -> list[LeaseAsked]:
        """Every lease there ever was."""
        return [record for record in self.records() if isinstance(record, LeaseAsked)]

    def told(self) -> list[dict[str, Any]]:
        """What policy was told of each use of the credential."""
        requests = [one.request for one in self.records() if isinstance(one, RequestReceived) and one.name == "it"]
        found = [self.house.store.payload(request) for request in requests]
        return [json.loads(payload.arguments) for payload in found if payload is not None]


def write(
    folder: Path, credential: str, secrets: Mapping[str, str], *, policy: str = POLICY + LENDS, **more: str
) -> Path:
    """The bundle: `credential` is what stands below `[credentials.it]`, `more` are members of the tool and `env` of the server."""
    bundle = folder / "bundle"
    command = json.dumps([sys.executable, "-u", str(SERVER)])
    files = {
        "lictor.toml": f"[listen]\nport = {PORT}\n[servers.shop]\ncommand = {command}\n{more.pop('server', '')}{more.pop('settings', '')}",
        "credentials.toml": f'[credentials.it]\nserver = "shop"\ndestination = "command"\n{credential}',
        "catalog/shop.toml": f'[tools.ask]\neffect = "read"\npin = "{pin_of(TOOL)}"\n{more.pop("tool", "")}',
        "catalog/shop.definitions.json": json.dumps({"tools": [TOOL]}),
        "agents.toml": 'purposes = ["test"]\n[agents.coder]\nowner = "os:ann"\nreview_by = 2099-12-31\n'
        + more.pop("proofs", ""),
        "approvers.toml": 'four_eyes = false\n[approvers."os:me"]\ngroups = ["owner"]\n',
        "policies/test.cedar": policy,
    }
    for name, text in files.items():
        path = bundle / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, "utf-8")
    (bundle / ".lictor").mkdir(mode=0o700, exist_ok=True)
    safe = sealed(bundle / ".lictor", BrokerSettings())
    for name, value in secrets.items():
        safe.write(name, Secret(value), 1)
    return bundle


@contextlib.asynccontextmanager
async def live(bundle: Path) -> AsyncIterator[Shop]:
    """The gateway, until the block ends."""
    async with started(bundle) as parts:
        yield Shop(*parts)
