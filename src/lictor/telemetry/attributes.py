"""The attributes of spans: what is said of a call, by which name (docs/reference/telemetry.md). No other ever is set.

Names of tools and prompts are told if the catalogue in force lists them; otherwise they are a client's own words, which may hold
anything. Arguments, results, addresses of resources, messages of errors and names of people are never told.
"""

from collections.abc import Mapping
from typing import Any, Final

import msgspec

from lictor.model.action import ActionKind, ActionRequest
from lictor.model.decision import Allow, Decision, Deny
from lictor.model.task import Task
from lictor.telemetry.tally import InCatalogue
from lictor.telemetry.timing import METHODS

METHOD: Final = "mcp.method.name"
VERSION: Final = "mcp.protocol.version"
OPERATION: Final = "gen_ai.operation.name"
TOOL: Final = "gen_ai.tool.name"
PROMPT: Final = "gen_ai.prompt.name"
AGENT: Final = "gen_ai.agent.id"
ERROR: Final = "error.type"
STATUS: Final = "rpc.response.status_code"
TRANSPORT: Final = "network.transport"
PROTOCOL: Final = "network.protocol.name"
ADDRESS: Final = "server.address"
PORT: Final = "server.port"
REQUEST: Final = "lictor.request.id"
TASK: Final = "lictor.task.id"
SERVER: Final = "lictor.server"
KIND: Final = "lictor.action.kind"
EFFECT: Final = "lictor.action.effect"
DECISION: Final = "lictor.decision.id"
OUTCOME: Final = "lictor.decision.outcome"
REASON: Final = "lictor.decision.reason"
POLICIES: Final = "lictor.decision.policies"
REVISION: Final = "lictor.policy.revision"
HOLD: Final = "lictor.hold.id"

ALL: Final = frozenset(
    value for name, value in tuple(globals().items()) if name.isupper() and isinstance(value, str) and "." in value
)

OTHER_METHOD: Final = "_OTHER"
TOOL_ERROR: Final = "tool_error"
"""`error.type` of a result whose `isError` is true, as the conventions have it."""
MOST_POLICIES: Final = 32
OWN: Final = {
    "tools/call": ActionKind.TOOL,
    "prompts/get": ActionKind.PROMPT,
    "resources/read": ActionKind.RESOURCE,
    "resources/subscribe": ActionKind.RESOURCE,
    "resources/unsubscribe": ActionKind.RESOURCE,
    "completion/complete": ActionKind.FEATURE,
}
"""The kind of action that a request is; what else is decided meanwhile (a credential, a server's question) is not the request."""

Values = dict[str, str | int | tuple[str, ...]]


class _Flag(msgspec.Struct):
    isError: Any = False  # noqa: N815 - the wire's name


_flag = msgspec.json.Decoder(_Flag)


def method_of(method: str) -> str:
    """A method, if it is one that is served."""
    return method if method in METHODS else OTHER_METHOD


def of_call(method: str, task: Task, version: str) -> Values:
    """What is known of a client's request before it is read further. Versions come from the list of those that are served."""
    found: Values = {METHOD: method_of(method), VERSION: version, AGENT: task.agent, TASK: task.id}
    if method == "tools/call":
        found[OPERATION] = "execute_tool"
    return found


def of_action(request: ActionRequest, catalogue: InCatalogue) -> Values:
    """What is asked for, as far as the catalogue lists it."""
    found: Values = {REQUEST: request.id, KIND: request.kind.value}
    entry = catalogue(request.kind, request.server, request.name)
    if entry is None:
        return found
    found[SERVER], found[EFFECT] = entry.server, entry.effect.value
    if request.kind is ActionKind.TOOL:
        found[TOOL] = entry.name
    elif request.kind is ActionKind.PROMPT:
        found[PROMPT] = entry.name
    return found


def of_decision(decision_id: str, answer: Decision) -> Values:
    """What was answered."""
    outcome = "allow" if isinstance(answer, Allow) else "deny" if isinstance(answer, Deny) else "needs_approval"
    return {DECISION: decision_id, OUTCOME: outcome, REASON: answer.reason.value}


def of_policy(answer: Decision) -> Values:
    """Which policies said so, of which bundle."""
    return {POLICIES: tuple(answer.policies[:MOST_POLICIES]), REVISION: answer.revision}


def of_answer(result: bytes | None, error: Mapping[str, Any] | None) -> Values:
    """How it ended: nothing where it went well."""
    if error is not None:
        code = error.get("code")
        known = isinstance(code, int) and not isinstance(code, bool) and abs(code) < 2**31
        return {ERROR: str(code), STATUS: str(code)} if known else {ERROR: OTHER_METHOD}
    if result is not None and b'"isError"' in result:
        try:
            return {} if _flag.decode(result).isError is False else {ERROR: TOOL_ERROR}
        except (msgspec.MsgspecError, UnicodeDecodeError):
            return {ERROR: OTHER_METHOD}
    return {}


def of_error(error: BaseException) -> Values:
    """Which reason code, or which kind of defect; never its text."""
    reason = getattr(error, "reason", None)
    return {ERROR: reason.value if reason is not None else type(error).__name__}
