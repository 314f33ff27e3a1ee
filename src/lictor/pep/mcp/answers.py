"""What the agent is told. What was refused, the stable reason, what it may do next; never how policy is built (case U6)."""

from typing import Any, Final

import msgspec

from lictor.model.approval import Hold
from lictor.model.errors import CallerError, LictorError, StoreError, UpstreamError
from lictor.model.reasons import Reason
from lictor.pep.mcp.seam import Answer, Era

POLICY_DENIED: Final = -32001
"""JSON-RPC code of a refusal (COAZ-MCP's; implementation-defined range)."""
INVALID_PARAMS: Final = -32602
METHOD_NOT_FOUND: Final = -32601
INVALID_REQUEST: Final = -32600
PARSE_ERROR: Final = -32700
INTERNAL_ERROR: Final = -32603
HEADER_MISMATCH: Final = -32020
UNSUPPORTED_VERSION: Final = -32022

_NEXT: Final = {
    Reason.NEEDS_APPROVAL: "a person can approve exactly this call; then call again with the same arguments",
    Reason.APPROVAL_DENIED: "a person refused this call; do not repeat it in this task",
    Reason.APPROVAL_TIMEOUT: "nobody answered in time; call again to ask once more",
    Reason.APPROVAL_EXPIRED: "the approval was not used in time; call again to ask once more",
    Reason.PRECONDITION_CHANGED: "something changed since a person looked; call again to ask once more",
    Reason.APPROVAL_RATE: "too many calls wait for people; wait a minute and ask for less",
    Reason.APPROVAL_USED: "an approval works once; a further call needs its own",
    Reason.TOOL_CHANGED: "the tool changed since it was reviewed; a person has to look at it first",
    Reason.INVALID_ARGUMENTS: "correct the arguments to the tool's input schema",
    Reason.UNKNOWN_ARGUMENT: "leave out arguments the tool's input schema does not declare",
    Reason.UNKNOWN_DESTINATION: "give a plain absolute URL",
    Reason.BUDGET_CALLS: "the task's calls are used up; a person can open another task",
    Reason.BUDGET_VALUE: "the task's budget does not cover this; a person can open another task",
    Reason.TASK_CLOSED: "the task has ended",
    Reason.TASK_EXPIRED: "the task has ended",
    Reason.CONTAINED: "a person stopped this; do not try again. A call that was under way may have had its effect",
    Reason.STATE_UNCONFIRMED: "nothing runs until the gateway knows the newest state again; try later",
    Reason.CLOCK_UNSOUND: "nothing runs while the gateway cannot trust its clock; ask a person to look",
    Reason.SINK_BEHIND: "nothing runs while the log does not arrive where it must; try later",
    Reason.CANNOT_RECORD: "nothing runs while decisions cannot be recorded; try later",
    Reason.OVERLOADED: "too many calls at once; wait for some to finish",
    Reason.UPSTREAM_DOWN: "the server behind the gateway is not running",
    Reason.UPSTREAM_TIMEOUT: "the server did not answer in time; the effect may have happened, so look before repeating it",
    Reason.CONFLICT: "the task changed at the same moment; call again",
}
_DOWN: Final = frozenset({Reason.CANNOT_RECORD, Reason.STATE_UNCONFIRMED, Reason.CLOCK_UNSOUND, Reason.SINK_BEHIND})
"""Nothing runs at all: for HTTP the service is not available."""
_PARSE: Final = frozenset(
    {Reason.INVALID_JSON, Reason.NOT_UTF8, Reason.DUPLICATE_KEY, Reason.INVALID_UNICODE, Reason.TRAILING_DATA}
)


def next_step(reason: Reason) -> str:
    """What the agent may do about a reason."""
    return _NEXT.get(reason, "this is not allowed in this task; do something else or ask the person you work for")


def refusal_text(what: str, reason: Reason, *, url: str = "", extra: str = "") -> str:
    """The sentence a model reads."""
    approve = f" Approve at {url} or with: lictor approve {url.rpartition('/')[2]}" if url else ""
    more = f" {extra}" if extra else ""
    return f"Lictor refused {what}: {reason.value}.{more} Next: {next_step(reason)}.{approve}"


def refuse_tool(what: str, reason: Reason, era: Era, *, hold: Hold | None = None, url: str = "") -> Answer:
    """A refused `tools/call`: a tool result with `isError`, so that the model can react."""
    result: dict[str, Any] = {
        "content": [{"type": "text", "text": refusal_text(what, reason, url=url)}],
        "isError": True,
        "_meta": {"dev.lictor/refusal": refusal_data(reason, hold, url)},
    }
    if era is Era.MODERN:
        result["resultType"] = "complete"
    return Answer(result=msgspec.json.encode(result), status=_status(reason))


def refuse(what: str, reason: Reason, *, hold: Hold | None = None, url: str = "") -> Answer:
    """Any other refused request: an error object."""
    error = {
        "code": POLICY_DENIED,
        "message": refusal_text(what, reason, url=url),
        "data": refusal_data(reason, hold, url),
    }
    return Answer(error=error, status=_status(reason))


def refusal_data(reason: Reason, hold: Hold | None = None, url: str = "") -> dict[str, Any]:
    """The machine-readable part: reason, and where a person can answer."""
    data: dict[str, Any] = {"reason": reason.value}
    if hold is not None:
        data["hold"] = hold.id
    if url:
        data["approveAt"] = url
    return data


def failure(error: LictorError) -> Answer:
    """An error of caller, server or store as a JSON-RPC error with a fitting HTTP status."""
    data: dict[str, Any] = {"reason": error.reason.value}
    if error.where:
        data["where"] = error.where
    message = f"Lictor refused the request: {error.reason.value}: {error.message}"
    match error:
        case StoreError():
            text = refusal_text("the request", error.reason)
            return Answer(error={"code": INTERNAL_ERROR, "message": text, "data": data}, status=503)
        case UpstreamError():
            data["effectPossible"] = error.effect_possible
            # Not the message: it quotes the server, whose words reach an agent as labelled content or not at all.
            text = refusal_text("the request", error.reason)
            return Answer(error={"code": INTERNAL_ERROR, "message": text, "data": data}, status=200)
        case CallerError():
            return Answer(error={"code": code_of(error.reason), "message": message, "data": data}, status=400)
        case _:
            return Answer(error={"code": INTERNAL_ERROR, "message": message, "data": data}, status=503)


def code_of(reason: Reason) -> int:
    """JSON-RPC code of a refusal at the door."""
    if reason in _PARSE:
        return PARSE_ERROR
    match reason:
        case Reason.HEADER_MISMATCH | Reason.DUPLICATE_HEADER:
            return HEADER_MISMATCH
        case Reason.UNSUPPORTED_VERSION:
            return UNSUPPORTED_VERSION
        case Reason.UNKNOWN_METHOD:
            return METHOD_NOT_FOUND
        case Reason.INVALID_ARGUMENTS | Reason.UNKNOWN_ARGUMENT:
            return INVALID_PARAMS
        case _:
            return INVALID_REQUEST


def _status(reason: Reason) -> int:
    return 503 if reason in _DOWN else 200
