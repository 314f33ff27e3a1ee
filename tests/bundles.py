"""A small real bundle for tests: three servers in one, agents, approvers, a directory. Parsed and compiled by the real engine."""

import functools
import json
from datetime import UTC, datetime
from typing import Any

from lictor.model.action import ActionKind, ActionRequest, SealedArguments
from lictor.model.approval import Approval
from lictor.model.ids import AgentId, ApprovalId, HoldId, HumanId, RequestId, ServerName, TaskId
from lictor.model.snapshot import Snapshot
from lictor.model.task import Budget, Task, TaskState
from lictor.pdp.decide import Pdp
from lictor.policy.bundle import Bundle
from lictor.policy.catalogue import pin_of
from lictor.policy.compile import compile_bundle, parse_guarded
from lictor.policy.load import load_bundle

NOW = int(datetime(2026, 11, 21, 12, tzinfo=UTC).timestamp() * 1000)

READ = {
    "name": "read_file",
    "inputSchema": {"type": "object", "properties": {"path": {"type": "string"}}, "required": ["path"]},
}
WRITE = {
    "name": "write-file/v1.2",
    "description": "Writes.",
    "inputSchema": {
        "type": "object",
        "properties": {"path": {"type": "string"}, "content": {"type": "string"}, "mode": {"type": "integer"}},
        "required": ["path"],
    },
}
ERASE = {"name": "erase", "inputSchema": {"type": "object", "properties": {}}}
FETCH = {
    "name": "fetch",
    "inputSchema": {"type": "object", "properties": {"url": {"type": "string"}}, "required": ["url"]},
}
PAY = {
    "name": "pay",
    "inputSchema": {
        "type": "object",
        "properties": {"amount": {"type": "string"}, "to": {"type": "string"}},
        "required": ["amount"],
    },
}
ASK = {"name": "ask", "arguments": [{"name": "topic", "required": True}]}

CATALOGUE = f"""\
[tools.read_file]
effect = "read"
labels = ["confidential"]
pin = "{pin_of(READ)}"

[tools."write-file/v1.2"]
effect = "write"
pin = "{pin_of(WRITE)}"

[tools.erase]
effect = "destructive"
pin = "{pin_of(ERASE)}"

[tools.fetch]
effect = "read"
tags = ["communicates"]
labels = ["untrusted:web"]
destination = {{ url = "/url" }}
pin = "{pin_of(FETCH)}"

[tools.pay]
effect = "write"
tags = ["spends"]
value = {{ amount = "/amount", currency = "EUR", currencies = ["EUR"] }}
pin = "{pin_of(PAY)}"

[resources."file:///docs/*"]
effect = "read"

[resources."file:///docs/one"]
effect = "read"

[prompts.ask]
effect = "read"
pin = "{pin_of(ASK)}"

[features.sampling]
effect = "write"
"""

POLICY = """\
@id("reads")
@reason("reading is fine")
@owner("alice")
permit (principal in AgentGroup::"coders", action in [Action::"read"], resource);

@id("writes")
@reason("the owner decides")
@owner("alice")
permit (principal, action in [Action::"write"], resource)
when { context has approval && context.approval.groups.contains("owner") };

@id("pays")
@reason("two decide")
@owner("alice")
forbid (principal, action in [Action::"spends"], resource)
unless { context has approval && context.approval.groups.containsAll(["owner", "money"]) };

@id("erases")
@reason("never")
@owner("alice")
forbid (principal, action in [Action::"destructive"], resource);

@id("leaks")
@reason("untrusted content was seen")
@owner("alice")
forbid (principal, action, resource)
when { context.labels.contains("untrusted") && context has destination && context.destination.external };
"""

OPENS = """\
@id("tasks")
@reason("whoever is on this machine opens tasks")
@owner("alice")
permit (principal, action == Action::"task:open", resource)
when { ["operator", "agent"].contains(context.input.opener.kind) };
"""

FILES: dict[str, str] = {
    "agents.toml": """\
purposes = ["development"]

[agents.coder]
owner = "alice"
review_by = 2027-01-31
groups = ["coders"]
autonomy = 2

[agents.guest]
owner = "alice"
review_by = 2027-01-31
""",
    "approvers.toml": """\
[approvers."os:bob"]
groups = ["owner", "money"]

[approvers."os:carol"]
groups = ["owner"]
""",
    "directory.toml": '[hosts]\ndocs = ["docs.example", "*.docs.example", "127.0.0.1:8080"]\n',
    "policies/main.cedar": POLICY,
    "policies/tasks.cedar": OPENS,
    "catalog/fs.toml": CATALOGUE,
    "catalog/fs.definitions.json": json.dumps({"tools": [READ, WRITE, ERASE, FETCH, PAY], "prompts": [ASK]}),
}


def files(**changes: str | None) -> dict[str, bytes]:
    """The bundle's files; a key `a__b` stands for path `a`, `b`; None removes a file."""
    found: dict[str, str | None] = dict(FILES)
    found.update(changes)
    return {path: text.encode() for path, text in found.items() if text is not None}


def bundle(policy: str = POLICY, **changes: str | None) -> Bundle:
    """The bundle, with another policy text or other files."""
    found = files(**{"policies/main.cedar": policy, **changes})
    return load_bundle(found, parse_guarded(found))


@functools.cache
def pdp(policy: str = POLICY, **changes: str | None) -> Pdp:
    """The bundle, compiled; once for each text, since nothing changes it."""
    return compile_bundle(bundle(policy, **changes))


def request(
    name: str,
    arguments: dict[str, Any] | None = None,
    *,
    kind: ActionKind = ActionKind.TOOL,
    agent: str = "coder",
    human: str = "os:alice",
) -> ActionRequest:
    """One action on the server `fs`."""
    return ActionRequest.make(
        id=RequestId("r"),
        kind=kind,
        server=ServerName("fs"),
        name=name,
        arguments=SealedArguments.seal(arguments or {}),
        agent=AgentId(agent),
        human=HumanId(human),
        task=TaskId("t"),
    )


def snapshot(
    engine: Pdp, asked: ActionRequest, *, labels: tuple[str, ...] = (), approved: tuple[str, ...] = (), **changes: Any
) -> Snapshot:
    """Everything in order: a live task with budget, the pinned definition, an approval by bob where groups are named."""
    offering = engine.offering(asked.kind, asked.server, asked.name)
    task = Task(
        id=asked.task,
        agent=asked.agent,
        human=asked.human,
        purpose="development",
        trusted_text_digest="",
        audience="local",
        opened_at_ms=NOW - 1000,
        expires_at_ms=NOW + 1000_000,
        budget=Budget(value={"EUR": 100_000}),
    )
    approval = Approval(
        id=ApprovalId("a"),
        hold=HoldId("h"),
        digest=asked.digest,
        approver=HumanId("os:bob"),
        groups=approved,
        given_at_ms=NOW - 10,
        expires_at_ms=NOW + 10_000,
    )
    facts: dict[str, Any] = {
        "at_ms": NOW,
        "revision": engine.revision,
        "agent": engine.agents.get(asked.agent),
        "task": TaskState(task=task, labels=labels),
        "definition": offering.entry.pin if offering else None,
        "approval": approval if approved else None,
    }
    return Snapshot(**{**facts, **changes})
