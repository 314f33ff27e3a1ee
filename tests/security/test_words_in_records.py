"""No word of a person, a model or a server is in a record: canaries through a real gateway, in every place that takes text.

What was asked, the arguments of calls that ran, were denied, were held and were turned away, and what servers answered: all of it may
be sealed beside the log, and none of it stands in the log or its files as it is. When the task is erased nothing opens any more.
"""

import base64
import json
import secrets
import sys
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from adversarial.wire import ask, headers_for
from integration.live import PORT, Live, started
from lictor.model.approval import seal_of
from lictor.model.identity import Opener
from lictor.model.ids import AgentId, HumanId
from lictor.model.record import ExecutionEnded, HoldOpened, RequestReceived, encode_entry
from lictor.model.task import Budget
from lictor.policy.catalogue import pin_of
from lictor.service.people.approve import Proof
from lictor.service.tasks.prospect import OpeningRefusedError
from lictor.service.tasks.tasks import Wish

pytestmark = pytest.mark.timeout(120)

TOOL: dict[str, Any] = {
    "name": "say",
    "description": "Says it again.",
    "inputSchema": {
        "type": "object",
        "properties": {"text": {"type": "string"}, "url": {"type": "string"}},
        "required": ["text"],
    },
}
SERVER = """
import json, sys
TOOL = json.loads(sys.argv[1])
for line in sys.stdin:
    message = json.loads(line)
    if "id" not in message:
        continue
    match message["method"]:
        case "server/discover":
            found = {"supportedVersions": ["2026-07-28"], "capabilities": {"tools": {}}, "serverInfo": {"name": "s", "version": "1"}}
        case "tools/list":
            found = {"tools": [TOOL]}
        case _:
            said = message["params"]["arguments"]
            found = {"content": [{"type": "text", "text": "RESULT " + json.dumps(said)}]}
    whole = {"resultType": "complete", "ttlMs": 0, "cacheScope": "private", **found}
    print(json.dumps({"jsonrpc": "2.0", "id": message["id"], "result": whole}), flush=True)
"""
POLICY = """
@id("opens") @owner("os:me") @reason("tests open tasks")
permit (principal, action == Action::"task:open", resource);
@id("yes") @owner("os:me") @reason("most words") permit (principal, action == Action::"shop/say", resource)
unless { context.input.text like "no*" || context.input.text like "please*" };
@id("please") @owner("os:me") @reason("people are asked") permit (principal, action == Action::"shop/say", resource)
when { context.input.text like "please*" && context has approval && context.approval.groups.contains("owner") };
"""


def bundle(folder: Path) -> Path:
    script = folder / "server.py"
    script.write_text(SERVER, "utf-8")
    command = json.dumps([sys.executable, "-u", str(script), json.dumps(TOOL)])
    files = {
        "lictor.toml": f"[listen]\nport = {PORT}\n[servers.shop]\ncommand = {command}\n",
        "catalog/shop.toml": f'[tools.say]\neffect = "read"\npin = "{pin_of(TOOL)}"\nwatch = {{ url = {{ pointer = "/url", kind = "url" }} }}\n',
        "catalog/shop.definitions.json": json.dumps({"tools": [TOOL]}),
        "agents.toml": 'purposes = ["test"]\n[agents.coder]\nowner = "os:ann"\nreview_by = 2099-12-31\n',
        "approvers.toml": 'four_eyes = false\n[approvers."os:me"]\ngroups = ["owner"]\n',
        "policies/test.cedar": POLICY,
    }
    for name, text in files.items():
        path = folder / "bundle" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, "utf-8")
    return folder / "bundle"


def forms(canary: str) -> Iterable[bytes]:
    """As it is, and as text that is carried in other text."""
    plain = canary.encode()
    yield from (plain, plain.hex().encode(), canary.encode("utf-16-le"))
    # Base64 shifts with what stands before: the middle of each of the three is the same whatever that is.
    for shift in range(3):
        yield base64.b64encode(b"x" * shift + plain)[4:-4]


def found(text: bytes, canaries: Iterable[str]) -> list[str]:
    return [canary for canary in canaries if any(form in text for form in forms(canary))]


async def say(gateway: Live, token: str, **arguments: Any) -> str:
    said = {"name": "shop__say", "arguments": arguments}
    return (await gateway.send(token, "tools/call", said)).body.decode()


async def test_no_words_are_in_records_or_files(tmp_path: Path) -> None:
    """Of a dozen places that take a text, none leads into a record; sealed they are all there (the control), until erased."""
    names = (
        "asked",
        "declared",
        "ran",
        "url",
        "denied",
        "held",
        "unknown",
        "door",
        "opening",
        "extra",
        "member",
        "inner",
        "twice",
    )
    canary = {name: f"cnry{secrets.token_hex(12)}" for name in names}
    async with started(bundle(tmp_path)) as parts:
        gateway = Live(*parts)
        house = gateway.house
        wish = Wish(
            agent=AgentId("coder"),
            human=HumanId("os:me"),
            purpose="test",
            text=f"please see https://{canary['asked']}.example/x",
            ttl_s=600,
            budget=Budget(calls=100),
            declared={"recipient": (f"{canary['declared']}@x.example",)},
        )
        opened = await house.open(
            Opener(kind="operator", name="os:me"), wish, audience=house.settings.audience, by="os:me"
        )
        token, task = opened.token, opened.task.id
        assert "RESULT" in await say(gateway, token, text=canary["ran"], url=f"https://{canary['url']}.example/")
        assert "RESULT" not in await say(gateway, token, text=f"no {canary['denied']}")
        await say(gateway, token, text=f"please {canary['held']}")
        hold = next(one.hold for one in gateway.records() if isinstance(one, HoldOpened))
        await house.answer.approve(hold.id, Proof(human=HumanId("os:me")), seal_of(hold))
        assert "RESULT" in await say(gateway, token, text=f"please {canary['held']}")
        await say(gateway, token, text="x", extra=canary["extra"])
        await say(gateway, token, text="x", **{canary["member"]: 1})
        await say(gateway, token, text="x", url={canary["inner"]: [{canary["inner"]: 1}]})
        twice = f'{{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{{"name":"shop__say","arguments":{{"{canary["twice"]}":1,"{canary["twice"]}":2}}}}}}'
        call = {"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": {"name": "shop__say"}}
        await ask(gateway.app, "POST", "/mcp", headers_for(call, f"127.0.0.1:{PORT}", token), twice.encode())
        with pytest.raises(OpeningRefusedError):
            await house.open(
                Opener(kind="operator", name="os:me"),
                replace(wish, agent=AgentId("stranger"), text=canary["opening"]),
                audience=house.settings.audience,
                by="os:me",
            )
        await say(gateway, token, text=["no text", canary["unknown"]])
        door = json.dumps({"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": {"x": canary["door"]}})
        await ask(gateway.app, "POST", "/mcp", headers_for(call, f"127.0.0.1:{PORT}", token), door[:-2].encode())
        records = gateway.records()
        requests = [one.request for one in records if isinstance(one, RequestReceived)]
        sealed = b"".join(
            one.arguments + one.snapshot
            for name in [*requests, task]
            if (one := house.store.payload(name)) is not None  # type: ignore[arg-type]
        )
        texts = b"\n".join(encode_entry(1, one) for one in records)
        on_disk = b"".join(path.read_bytes() for path in sorted(house.state.rglob("*")) if path.is_file())
        assert len([one for one in records if isinstance(one, ExecutionEnded)]) >= 2
        assert found(texts, canary.values()) == []
        assert found(on_disk, canary.values()) == []
        # The control: they were all really sent, and what is judged is sealed.
        for name in ("asked", "ran", "url", "denied", "held"):
            assert found(sealed, [canary[name]]), name
        assert b'"values"' in texts, "history remembers values, as digests"
        await house.tasks.close(task, by="os:me")
        erased = await house.erase(task, by="os:me")
        assert erased.clean
        # What the refused opening carried belongs to a task that never was.
        ghost = next(one.task for one in records if isinstance(one, RequestReceived) and one.agent == "stranger")
        assert (await house.erase(ghost, by="os:me")).tasks == (ghost,)
        assert [house.store.payload(name) for name in [*requests, task]] == [None] * (len(requests) + 1)  # type: ignore[arg-type]
