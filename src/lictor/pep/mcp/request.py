"""One client request, read: which server, which thing, which bytes; and what of it may travel on.

Step 2's first half (how-an-action-runs.md). Refuses to know policy, connections and what servers answer.
"""

import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final

import msgspec

from lictor.model.action import ActionKind, ActionRequest, SealedArguments
from lictor.model.errors import CallerError
from lictor.model.ids import RequestId, ServerName
from lictor.model.limits import Limits
from lictor.model.reasons import Reason
from lictor.model.task import TaskState
from lictor.pep.mcp.holding import INPUT_KEY
from lictor.pep.mcp.naming import Naming
from lictor.pep.mcp.seam import Caller
from lictor.pep.mcp.underway import Stay
from lictor.ports import Ids
from lictor.protocol.jsonrpc import check_params

DECIDED: Final = {
    "tools/call": ActionKind.TOOL,
    "prompts/get": ActionKind.PROMPT,
    "resources/read": ActionKind.RESOURCE,
    "resources/subscribe": ActionKind.RESOURCE,
    "resources/unsubscribe": ActionKind.RESOURCE,
    "completion/complete": ActionKind.FEATURE,
}
"""Client requests that reach a server, each as an action. Any other method is answered here or refused."""

_PARAMS: Final = {
    "tools/call": frozenset({"name", "arguments", "_meta", "inputResponses", "requestState"}),
    "prompts/get": frozenset({"name", "arguments", "_meta", "inputResponses", "requestState"}),
    "resources/read": frozenset({"uri", "_meta", "inputResponses", "requestState"}),
    "resources/subscribe": frozenset({"uri", "_meta"}),
    "resources/unsubscribe": frozenset({"uri", "_meta"}),
    "completion/complete": frozenset({"ref", "argument", "context", "_meta"}),
}
MAX_NAME_BYTES: Final = 2_048
"""Of a tool, a prompt or a resource: it is recorded, kept and shown in lists, unlike arguments. MCP asks for 128 characters."""
_TRACEPARENT: Final = re.compile(r"[0-9a-f]{2}-[0-9a-f]{32}-[0-9a-f]{16}-[0-9a-f]{2}", re.ASCII)
"""The one member of `_meta` that travels on, and its only form (W3C Trace Context 3.2): ids, no text. Everything else in `_meta`
was judged by nobody, `tracestate` and `baggage` too, which are free text; so it stays here (ADR 0007)."""

Target = tuple[ServerName, str, dict[str, Any]]
"""Which server, which thing on it, with which arguments."""


class Call(msgspec.Struct, frozen=True):
    """One decided client request."""

    caller: Caller
    method: str
    params: dict[str, Any]
    server: ServerName
    what: str
    request: ActionRequest
    stay: Stay
    upstream_state: str | None = None
    asked: tuple[str, ...] = ()
    """Keys of the server's own questions, from state we sealed: only these may this retry answer."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Reader:
    """Reads requests.

    Attributes:
        server_of: the one server whose catalogue lists a resource; None: nobody, or two.
        check_sent: raises CallerError where what a client sends holds a secret that the gateway manages (CRED-13).
    """

    naming: Naming
    server_of: Callable[[str], ServerName | None]
    ids: Ids
    limits: Limits
    check_sent: Callable[[bytes], None]

    def read(self, caller: Caller, stay: Stay, method: str, params: dict[str, Any]) -> Call | None:
        """The call that a request is; None: nobody's name.

        Raises:
            CallerError: it is not of its method's form, has a member nobody knows, is too large, or holds a secret.
        """
        check_params(method, params)
        unknown = params.keys() - _PARAMS[method]
        if unknown:
            name = min(unknown)
            raise CallerError(Reason.UNKNOWN_MEMBER, f"{method} has no member {name[:80]!r}", where="/params")
        found = self._target(method, params)
        if found is None:
            return None
        server, name, arguments = found
        if len(name.encode("utf-8", "surrogatepass")) > MAX_NAME_BYTES:
            raise CallerError(Reason.TOO_LARGE, "the name is too long", where="/params")
        request = request_for(self.ids, DECIDED[method], server, name, arguments, caller.task)
        if len(request.arguments.data) > self.limits.arguments_bytes:
            raise CallerError(Reason.TOO_LARGE, "the arguments are too large", where="/params/arguments")
        self.check_sent(request.arguments.data)
        if "inputResponses" in params:
            self.check_sent(msgspec.json.encode(params["inputResponses"]))
        return Call(caller, method, params, server, what_of(method, params), request, stay)

    def _target(self, method: str, params: dict[str, Any]) -> Target | None:
        if method in {"tools/call", "prompts/get"}:
            split = self.naming.split(params["name"])
            return (*split, params.get("arguments") or {}) if split is not None else None
        if method == "completion/complete":
            return self._completion_target(params)
        uri = params.get("uri")
        if not isinstance(uri, str):
            raise CallerError(Reason.INVALID_MESSAGE, "uri must be a string", where="/params/uri")
        server = self.server_of(uri)
        return (server, uri, {"uri": uri}) if server is not None else None

    def _completion_target(self, params: dict[str, Any]) -> Target | None:
        ref = params.get("ref")
        if not isinstance(ref, dict):
            raise CallerError(Reason.INVALID_MESSAGE, "ref must be an object", where="/params/ref")
        arguments: dict[str, Any] = {key: value for key, value in params.items() if key in {"argument", "context"}}
        if isinstance(ref.get("name"), str):
            split = self.naming.split(ref["name"])
            if split is None:
                return None
            return split[0], "completion", {**arguments, "ref": {**ref, "name": split[1]}}
        server = self.server_of(str(ref.get("uri", "")).partition("{")[0])
        return (server, "completion", {**arguments, "ref": ref}) if server is not None else None


def request_for(
    ids: Ids, kind: ActionKind, server: ServerName, name: str, arguments: dict[str, Any], state: TaskState
) -> ActionRequest:
    """An action in the name of a task, its arguments sealed."""
    return ActionRequest.make(
        id=RequestId(ids.new("req")),
        kind=kind,
        server=server,
        name=name,
        arguments=SealedArguments.seal(arguments),
        agent=state.task.agent,
        human=state.task.human,
        task=state.task.id,
    )


def feature_request(
    ids: Ids, server: ServerName, feature: str, params: dict[str, Any], state: TaskState
) -> ActionRequest:
    """The use of a protocol feature; `_meta` is no argument."""
    arguments = {key: value for key, value in params.items() if key != "_meta"}
    return request_for(ids, ActionKind.FEATURE, server, feature, arguments, state)


def what_of(method: str, params: dict[str, Any]) -> str:
    """How a request is named to people; the name is the client's own word, so it is quoted and bounded."""
    target = params.get("name", params.get("uri"))
    return f"{method} {target[:120]!r}" if isinstance(target, str) else method


def unknown_of(method: str) -> Reason:
    """Why a request for nobody's name is refused."""
    kind = DECIDED[method]
    if kind is ActionKind.RESOURCE:
        return Reason.UNKNOWN_RESOURCE
    return Reason.UNKNOWN_PROMPT if kind is ActionKind.PROMPT else Reason.UNKNOWN_TOOL


def input_responses(params: dict[str, Any], asked: tuple[str, ...]) -> dict[str, Any]:
    """What the client answered to the server's own questions, as our sealed state names them; the rest was judged by nobody."""
    responses = params.get("inputResponses")
    if not isinstance(responses, dict):
        return {}
    passed = {key: value for key, value in responses.items() if key in asked and key != INPUT_KEY}
    return {"inputResponses": passed} if passed else {}


def passed_meta(params: dict[str, Any]) -> dict[str, Any]:
    """What of `_meta` travels on."""
    meta = params.get("_meta")
    trace = meta.get("traceparent") if isinstance(meta, dict) else None
    whole = isinstance(trace, str) and _TRACEPARENT.fullmatch(trace) is not None
    return {"_meta": {"traceparent": trace}} if whole else {}


def progress_token(params: dict[str, Any]) -> str | int | None:
    """The client's own token for notices of progress."""
    meta = params.get("_meta")
    token = meta.get("progressToken") if isinstance(meta, dict) else None
    return token if isinstance(token, str | int) and not isinstance(token, bool) else None
