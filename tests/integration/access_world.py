"""A gateway with one server that is never reached, three tools of it, and an agent that asks ahead over the AuthZEN routes."""

import contextlib
import json
from collections.abc import AsyncIterator, Mapping
from pathlib import Path
from typing import Any

from adversarial.wire import Response, ask
from integration.live import PORT, Live, started
from lictor.model.approval import Hold, seal_of
from lictor.model.ids import HoldId, HumanId
from lictor.policy.catalogue import pin_of
from lictor.service.people.approve import Proof

SCHEMA = {
    "type": "object",
    "properties": {"path": {"type": "string"}, "text": {"type": "string"}},
    "required": ["path"],
    "additionalProperties": False,
}
TOOLS = [{"name": name, "description": name, "inputSchema": SCHEMA} for name in ("read", "write", "wipe")]
EFFECTS = {"read": "read", "write": "write", "wipe": "destructive"}
POLICY = """
@id("reads") @owner("os:me") @reason("reading is allowed")
permit (principal, action in [Action::"read"], resource);

@id("writes") @owner("os:me") @reason("a person decides")
permit (principal, action in [Action::"write"], resource)
when { context has approval && context.approval.groups.contains("owner") };

@id("opens") @owner("os:me") @reason("whoever is at the machine opens tasks")
permit (principal, action == Action::"task:open", resource) when { ["operator", "agent", "application", "person"].contains(context.input.opener.kind) };
"""
FILES = {
    "catalog/stub.toml": "".join(
        f'[tools.{tool["name"]}]\neffect = "{EFFECTS[str(tool["name"])]}"\npin = "{pin_of(tool)}"\n' for tool in TOOLS
    ),
    "catalog/stub.definitions.json": json.dumps({"tools": TOOLS}),
    "agents.toml": "".join(
        ['purposes = ["test", "support"]\n']
        + [f'[agents.{name}]\nowner = "os:ann"\nreview_by = 2099-12-31\n' for name in ("helper", "clerk", "coder")]
        + ['delegates_to = ["clerk"]\n']
    ),
    "approvers.toml": 'four_eyes = false\n[approvers."os:me"]\ngroups = ["owner"]\n[approvers."os:ann"]\ngroups = ["owner"]\n'
    '[approvers."os:bob"]\ngroups = ["owner"]\n',
    "policies/test.cedar": POLICY,
}
ME = Proof(human=HumanId("os:me"))


def evaluation(tool: str = "stub__write", arguments: Any = None, **context: Any) -> dict[str, Any]:
    """What an agent asks."""
    return {
        "subject": {"type": "identity", "id": "coder"},
        "action": {"name": "tools/call"},
        "resource": {"type": "tool", "id": tool},
        "context": {"arguments": {"path": "a.txt"} if arguments is None else arguments, **context},
    }


def submission(denied: dict[str, Any], **changes: Any) -> dict[str, Any]:
    """What it sends once it was told that people can be asked."""
    context = denied["context"]
    denial = {"evaluation_id": context["evaluation_id"], "expires_at": context["access_request"]["expires_at"]}
    return {**evaluation(), "denial": denial, **changes}


class Desk(Live):
    """The gateway under way."""

    async def call(
        self,
        token: str,
        method: str,
        path: str,
        body: Any = None,
        *,
        raw: bytes | None = None,
        headers: dict[str, str] | None = None,
        query: str = "",
    ) -> Response:
        """One request with a task's token; empty: none."""
        data = raw if raw is not None else b"" if body is None else json.dumps(body).encode()
        sent = {"Host": f"127.0.0.1:{PORT}"}
        sent |= {"Authorization": f"Bearer {token}"} if token else {}
        sent |= {"Content-Type": "application/json"} if data else {}
        return await ask(self.app, method, path, list({**sent, **(headers or {})}.items()), data, query=query)

    async def evaluate(self, token: str, **asked: Any) -> dict[str, Any]:
        """One evaluation that is answered."""
        response = await self.call(token, "POST", "/access/v1/evaluation", evaluation(**asked))
        assert response.status == 200, response.body
        answer: dict[str, Any] = response.message()
        return answer

    def hold(self, answer: dict[str, Any]) -> Hold:
        """The hold that a denial is bound to."""
        found = self.house.store.hold(HoldId(answer["context"]["evaluation_id"]))
        assert found is not None
        return found

    async def approve(self, hold: Hold) -> None:
        """A person says yes."""
        await self.house.answer.approve(hold.id, ME, seal_of(hold))


@contextlib.asynccontextmanager
async def desk(folder: Path, settings: str = "", files: Mapping[str, str] | None = None) -> AsyncIterator[Desk]:
    """The gateway, until the block ends."""
    bundle = folder / "bundle"
    written = {
        **FILES,
        "lictor.toml": f'[listen]\nport = {PORT}\n[servers.stub]\nurl = "http://127.0.0.1:9/mcp"\n{settings}',
        **(files or {}),
    }
    for name, text in written.items():
        path = bundle / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, "utf-8")
    async with started(bundle) as parts:
        yield Desk(*parts)
