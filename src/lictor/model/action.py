"""An action an agent asks for: who, where, what, and the sealed argument bytes.

Refuses to know whether it may run. Holds *bytes*, never live objects: what was judged is what is sent.
"""

from enum import StrEnum
from typing import Any

import msgspec

from lictor.model.canonical import JsonValue, canonical, canonical_trusted, sha256_digest
from lictor.model.ids import ActionDigest, AgentId, ArgumentsDigest, HumanId, RequestId, ServerName, TaskId


class ActionKind(StrEnum):
    """What kind of thing is asked for. All are decided; none is free."""

    TOOL = "tool"
    RESOURCE = "resource"
    PROMPT = "prompt"
    FEATURE = "feature"
    """Everything else the protocol carries between the two: `sampling`, `elicitation`, `roots`, `completion`, `logging`."""
    CREDENTIAL = "credential"
    """A credential of the broker, lent for a server."""
    TASK = "task"
    """That a task is opened: what is asked for is its purpose, and there is no server."""


class SealedArguments(msgspec.Struct, frozen=True):
    """Arguments as canonical bytes (RFC 8785) with their digest, taken once at the door."""

    data: bytes
    digest: ArgumentsDigest

    @classmethod
    def seal(cls, value: dict[str, Any]) -> "SealedArguments":
        """Seal a JSON object.

        Raises:
            CallerError: the value has no canonical form (unsafe integer, lone surrogate, NaN).
        """
        data = canonical(value)
        return cls(data, ArgumentsDigest(sha256_digest(data)))

    def open(self) -> dict[str, Any]:
        """The arguments as a fresh JSON object; changing it changes nothing sealed."""
        value: dict[str, Any] = msgspec.json.decode(self.data)
        return value


class ActionRequest(msgspec.Struct, frozen=True, kw_only=True):
    """One action, asked once. `name` is a tool or prompt name, a resource URI, a feature, a credential or a purpose."""

    id: RequestId
    kind: ActionKind
    server: ServerName
    name: str
    arguments: SealedArguments
    agent: AgentId
    human: HumanId
    task: TaskId
    digest: ActionDigest
    """Binds every field above but `id`: two equal asks have one digest, so an approval finds its retry."""

    @classmethod
    def make(
        cls,
        *,
        id: RequestId,  # noqa: A002 - the word of the model
        kind: ActionKind,
        server: ServerName,
        name: str,
        arguments: SealedArguments,
        agent: AgentId,
        human: HumanId,
        task: TaskId,
    ) -> "ActionRequest":
        """Build the request and its digest."""
        digest = action_digest(
            kind=kind, server=server, name=name, arguments=arguments.digest, agent=agent, human=human, task=task
        )
        return cls(
            id=id,
            kind=kind,
            server=server,
            name=name,
            arguments=arguments,
            agent=agent,
            human=human,
            task=task,
            digest=digest,
        )

    @property
    def action(self) -> str:
        """The action's name in policy.

        One of `server/tool`, `resource:server`, `prompt:server/name`, `feature:server/feature`, `credential:server/name` and
        `task:open`. Server names hold neither `:` nor `/`, so the forms never collide.
        """
        return action_name(self.kind, self.server, self.name)


def action_name(kind: ActionKind, server: str, name: str) -> str:
    """Policy's name for an action (see `ActionRequest.action`)."""
    match kind:
        case ActionKind.TOOL:
            return f"{server}/{name}"
        case ActionKind.RESOURCE:
            return f"resource:{server}"
        case ActionKind.PROMPT:
            return f"prompt:{server}/{name}"
        case ActionKind.FEATURE:
            return f"feature:{server}/{name}"
        case ActionKind.CREDENTIAL:
            return f"credential:{server}/{name}"
        case ActionKind.TASK:
            return "task:open"


def action_words(kind: ActionKind, server: str, name: str) -> str:
    """An action for people: what was asked for, by its own name. Not what policy calls it."""
    return f"{action_name(kind, server, name)} {name}" if kind is ActionKind.TASK else f"{server}/{name}"


def action_digest(
    *,
    kind: ActionKind,
    server: str,
    name: str,
    arguments: ArgumentsDigest,
    agent: AgentId,
    human: HumanId,
    task: TaskId,
) -> ActionDigest:
    """Digest of an action in canonical form; the first member separates it from every other digest of ours."""
    members: JsonValue = {
        "lictor": "action/1",
        "agent": agent,
        "arguments": arguments,
        "human": human,
        "kind": kind.value,
        "name": name,
        "server": server,
        "task": task,
    }
    # Text under ASCII keys: nothing the quick encoder writes otherwise than RFC 8785.
    return ActionDigest(sha256_digest(canonical_trusted(members, plain=True)))
