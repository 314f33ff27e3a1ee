"""The AuthZEN face of approvals: may I, people can say yes, what became of it. For agents, with their task's own token.

A decision told here grants nothing: the call itself is decided again, at the MCP endpoint. People are asked exactly as they are
when a call is held, so the same hold serves both ways in; nothing here approves. What is told of a refusal is its stable reason.
Sources: AuthZEN Authorization API 1.0; its Access Request and Approval Profile, draft 1 ("ARAP"); COAZ-MCP binding, draft 1.
"""

from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final, TypeVar, assert_never

import msgspec
from starlette.requests import Request
from starlette.responses import Response

from lictor.api import access_shapes as shapes
from lictor.api.access_door import PRINTABLE, Sent, TaskDoor
from lictor.api.access_told import (
    BINDING,
    DUPLICATE,
    EXPIRED,
    UNKNOWN,
    ProfileError,
    denied,
    moment,
    reference_of,
    refusal,
    same_reference,
    status_of_hold,
    waiting,
)
from lictor.api.problem import Turned
from lictor.api.web import OPEN, Route, check_json, convert, only_one, read_body
from lictor.model.action import ActionKind, ActionRequest, SealedArguments
from lictor.model.approval import Hold
from lictor.model.canonical import sha256_digest
from lictor.model.errors import CallerError
from lictor.model.ids import HoldId, RequestId, ServerName, TaskId
from lictor.model.limits import Limits
from lictor.model.reasons import Reason
from lictor.model.task import TaskState
from lictor.ports import Clock, Ids, RecordStore
from lictor.protocol.json import read
from lictor.service.calls.authorize import Authorize, Held, Refused
from lictor.service.calls.offers import Offers

EVALUATION: Final = "/access/v1/evaluation"
REQUEST: Final = "/access/v1/request"
METADATA: Final = "/.well-known/authzen-configuration"
MAX_KEYS: Final = 4_096
"""Idempotency keys remembered by a process. Forgetting one makes nothing happen twice: a submission makes nothing."""
_MAX_ID: Final = 100


class NotOursError(CallerError):
    """An evaluation that is well-formed, and about nothing that this task may ask for: a denial."""


@dataclass(frozen=True, slots=True, kw_only=True)
class AccessParts:
    """What the routes need."""

    door: TaskDoor
    authorize: Authorize
    offers: Offers
    store: RecordStore
    clock: Clock
    ids: Ids
    limits: Limits
    split: Callable[[str], tuple[ServerName, str] | None]
    """The server and the tool of a name as the MCP endpoint shows it."""
    servers: frozenset[str]
    check_sent: Callable[[bytes], None]
    """Raises CallerError where arguments hold a secret that the gateway manages (CRED-13)."""
    approval_url: Callable[[HoldId], str]
    public_url: str


_Body = TypeVar("_Body", bound=msgspec.Struct)


def access_routes(parts: AccessParts) -> list[Route]:
    """The rows of the table. They authenticate by themselves: who calls is an agent, and the control plane's door knows none."""
    routes = _Routes(parts)
    return [
        Route(
            method="POST",
            path=EVALUATION,
            who=OPEN,
            task_token=True,
            raw=parts.door(routes.evaluate),
            summary="Whether a tool call would be allowed; people are asked where policy says so",
            body=shapes.Evaluation,
            answer=shapes.EvaluationAnswer,
            refuses=(429,),
        ),
        Route(
            method="POST",
            path=REQUEST,
            who=OPEN,
            task_token=True,
            raw=parts.door(routes.submit),
            summary="Follow what people say about a denial",
            body=shapes.AccessRequest,
            answer=shapes.AccessTask,
            status=202,
            also=(201,),
            keyed=True,
            refuses=(409, 410, 429),
        ),
        Route(
            method="GET",
            path=f"{REQUEST}/{{id}}",
            who=OPEN,
            task_token=True,
            raw=parts.door(routes.status),
            summary="What people said so far",
            answer=shapes.AccessTask,
            refuses=(404, 429),
        ),
        Route(method="GET", path=METADATA, who=OPEN, raw=routes.metadata, summary="AuthZEN metadata", described=False),
    ]


class _Routes:
    def __init__(self, parts: AccessParts) -> None:
        self._parts = parts
        self._keys: OrderedDict[tuple[TaskId, str], str] = OrderedDict()
        self._metadata = msgspec.json.encode(
            {
                "policy_decision_point": parts.public_url,
                "access_evaluation_endpoint": parts.public_url + EVALUATION,
                "access_request_endpoint": parts.public_url + REQUEST,
                "capabilities": [shapes.CAPABILITY],
            }
        )

    async def metadata(self, _: Request) -> Response:
        """AuthZEN 1.0, section 9: what is here."""
        return Response(self._metadata, media_type="application/json", headers={"Cache-Control": "max-age=60"})

    # -- may I -----------------------------------------------------------------------------------------------------------

    async def evaluate(self, sent: Sent) -> Response:
        """AuthZEN 1.0, section 6: a denial is an answer, not an error."""
        wanted = await self._read(sent, shapes.Evaluation)
        try:
            answer = await self._decided(wanted, sent.alive())
        except NotOursError as error:
            await self._parts.authorize.turned_away(sent.alive().task.id, sent.body, error)
            again = "none" if wanted.context.approval is not msgspec.UNSET else ""
            answer = denied(shapes.DecisionContext(reason=error.reason.value, next_action=again))
        return _json(answer)

    async def _decided(self, wanted: shapes.Evaluation, state: TaskState) -> shapes.EvaluationAnswer:
        parts = self._parts
        request = self._asked(wanted, state)
        approved = self._approved(wanted.context.approval, request)
        kind, server, name = request.kind, request.server, request.name
        # What the server said last; before it ever spoke, the pinned definition stands for it. The call itself asks it again.
        known = parts.offers.known(kind, server)
        definition = parts.offers.definition(kind, server, name) if known else parts.offers.pin(kind, server, name)
        hint = approved.id if approved is not None else None
        outcome = await parts.authorize.ahead(request, definition=definition, hint=hint)
        match outcome:
            case None:
                given = reference_of(approved) if approved is not None else msgspec.UNSET
                return shapes.EvaluationAnswer(decision=True, context=shapes.DecisionContext(approval=given))
            case Held():
                return self._requestable(outcome.hold)
            case Refused():
                return refusal(outcome.reason, presented=approved is not None)
            case _:
                assert_never(outcome)

    def _asked(self, wanted: shapes.Evaluation | shapes.AccessRequest, state: TaskState) -> ActionRequest:
        """The action that is meant.

        Raises:
            NotOursError: another subject's, or nothing that is decided here.
            CallerError: the arguments are too large, have no canonical form, or hold a managed secret.
        """
        task, context = state.task, wanted.context
        top = self._parts.store.task(task.root)
        subjects = {task.agent, task.human, *((top.task.agent,) if top is not None else ())}
        if wanted.subject.id not in subjects or context.agent not in {msgspec.UNSET, task.agent}:
            raise NotOursError(Reason.FORBIDDEN, "the token is another subject's", where="/subject/id")
        if wanted.action.name != "tools/call" or wanted.resource.type != "tool":
            raise NotOursError(Reason.UNKNOWN_METHOD, "only tools/call of a tool is decided here", where="/action/name")
        found = self._split(wanted.resource.id)
        if found is None:
            raise NotOursError(Reason.UNKNOWN_TOOL, "no server here has this name", where="/resource/id")
        arguments = SealedArguments.seal(context.arguments)
        if len(arguments.data) > self._parts.limits.arguments_bytes:
            raise CallerError(Reason.TOO_LARGE, "the arguments are too large", where="/context/arguments")
        self._parts.check_sent(arguments.data)
        return ActionRequest.make(
            id=RequestId(self._parts.ids.new("req")),
            kind=ActionKind.TOOL,
            server=found[0],
            name=found[1],
            arguments=arguments,
            agent=task.agent,
            human=task.human,
            task=task.id,
        )

    def _split(self, name: str) -> tuple[ServerName, str] | None:
        """No server's name holds `/` or `__`, so at most one reading is a server's."""
        found = self._parts.split(name)
        if found is not None and found[0] in self._parts.servers:
            return found
        server, slash, tool = name.partition("/")
        return (ServerName(server), tool) if slash and tool and server in self._parts.servers else None

    def _approved(self, reference: shapes.ApprovalReference | msgspec.UnsetType, request: ActionRequest) -> Hold | None:
        """The hold that a reference belongs to. It is looked up by the action, so that it can never be another's.

        Raises:
            NotOursError: it is not the approval of this very action in this task, or is spent (ARAP, "Approval Reference
                Substitution"). All of these are told alike.
        """
        if reference is msgspec.UNSET:
            return None
        live = self._parts.store.live_hold(request.task, request.digest)
        if live is None or live.approval is None or not same_reference(reference, reference_of(live)):
            raise NotOursError(Reason.UNKNOWN_APPROVAL, "this is no approval of this action", where="/context/approval")
        return live

    def _requestable(self, hold: Hold) -> shapes.EvaluationAnswer:
        """ARAP, "Requestable Denial Context". The hold's id is what the denial is bound to; we keep the rest ourselves."""
        return denied(
            shapes.DecisionContext(
                reason=Reason.NEEDS_APPROVAL.value,
                evaluation_id=hold.id,
                evaluated_at=moment(self._parts.clock.now_ms()),
                access_request=shapes.Requestable(
                    endpoint=self._parts.public_url + REQUEST, expires_at=moment(hold.expires_at_ms)
                ),
            )
        )

    # -- what people say -------------------------------------------------------------------------------------------------

    async def submit(self, sent: Sent) -> Response:
        """ARAP, "Access Request Submission". People were asked when it was denied; this makes nothing, it hands out the handle.

        Raises:
            ProfileError: another task's denial and one that never was are told alike (ISOL-06).
        """
        wanted = await self._read(sent, shapes.AccessRequest)
        key = only_one(sent.request, "idempotency-key")
        if key and not PRINTABLE.fullmatch(key):
            raise Turned(400, Reason.INVALID_ARGUMENTS, "an Idempotency-Key is 1 to 200 printable ASCII characters")
        state = sent.alive()
        hold = self._own(wanted.denial.evaluation_id, state)
        try:
            meant = self._asked(wanted, state).digest
        except NotOursError:
            meant = None
        if hold is None or hold.digest != meant:
            raise ProfileError(BINDING, Reason.UNKNOWN_APPROVAL)
        if self._parts.clock.now_ms() >= hold.expires_at_ms:
            raise ProfileError(EXPIRED, Reason.APPROVAL_TIMEOUT)
        if key:
            self._remember(state.task.id, key, sha256_digest(msgspec.json.encode(wanted, order="deterministic")))
        told = self._told(hold)
        pending = told.task.status == "pending"
        return _json(told, 202 if pending else 201, {"Location": told.task.status_endpoint, **waiting(told)})

    async def status(self, sent: Sent) -> Response:
        """ARAP, "Task Status Endpoint"."""
        hold = self._own(str(sent.request.path_params["id"]), sent.alive())
        if hold is None:
            raise ProfileError(UNKNOWN, Reason.UNKNOWN_APPROVAL)
        told = self._told(hold)
        return _json(told, 200, waiting(told))

    def _own(self, hold_id: str, state: TaskState) -> Hold | None:
        hold = self._parts.store.hold(HoldId(hold_id)) if len(hold_id) <= _MAX_ID else None
        ours = hold is not None and hold.task == state.task.id and hold.kind is ActionKind.TOOL
        return hold if ours else None

    def _told(self, hold: Hold) -> shapes.AccessTask:
        status = status_of_hold(hold, self._parts.clock.now_ms())
        handle = shapes.TaskHandle(
            id=hold.id,
            status=status,
            status_endpoint=f"{self._parts.public_url}{REQUEST}/{hold.id}",
            expires_at=moment(hold.expires_at_ms),
            links=shapes.Links(review=self._parts.approval_url(hold.id)),
        )
        if status != "approved":
            return shapes.AccessTask(task=handle)
        return shapes.AccessTask(task=handle, result=shapes.Completion(mode="reevaluate", approval=reference_of(hold)))

    # -- reading ---------------------------------------------------------------------------------------------------------

    async def _read(self, sent: Sent, type_: type[_Body]) -> _Body:
        """The body, strictly; everything wrong with it is 400 (AuthZEN 1.0, "Error Responses")."""
        limits = self._parts.limits
        check_json(sent.request)
        sent.body = await read_body(sent.request, limits.message_bytes)
        value = read(sent.body, limits).value
        try:
            found: _Body = convert(value, type_)
        except CallerError as error:
            raise Turned(400, error.reason, error.message) from None
        return found

    def _remember(self, task: TaskId, key: str, digest: str) -> None:
        """One key, one submission.

        Raises:
            ProfileError: it came with another one before.
        """
        if self._keys.setdefault((task, key), digest) != digest:
            raise ProfileError(DUPLICATE, Reason.KEY_REUSED)
        self._keys.move_to_end((task, key))
        while len(self._keys) > MAX_KEYS:
            self._keys.popitem(last=False)


def _json(value: Any, status: int = 200, headers: dict[str, str] | None = None) -> Response:
    return Response(msgspec.json.encode(value), status_code=status, media_type="application/json", headers=headers)
