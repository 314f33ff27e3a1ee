"""What servers send outside their results: questions to the client, each decided like any action, and notices, seen by history.

Knows which client requests are under way, because that is where a server's words for a task go. Refuses to know transports.
"""

from dataclasses import dataclass, field
from typing import Any

import msgspec

from lictor.model.action import ActionKind, ActionRequest, SealedArguments
from lictor.model.errors import CallerError, StoreError
from lictor.model.ids import ServerName, TaskId
from lictor.model.limits import Limits
from lictor.model.reasons import Reason
from lictor.pep.mcp import answers
from lictor.pep.mcp.definitions import Definitions
from lictor.pep.mcp.features import SERVER_TO_CLIENT
from lictor.pep.mcp.request import Call, feature_request, input_responses, progress_token
from lictor.pep.mcp.seam import Caller, Channel, Notify, Reply
from lictor.pep.mcp.underway import Stay
from lictor.ports import Ids
from lictor.service.calls.authorize import Authorize, Granted, Refused
from lictor.service.calls.execute import Execute, Sent
from lictor.service.history.origins import Sender


@dataclass(slots=True)
class Flight:
    """One client request under way: where a server's own requests and notices for this task go."""

    caller: Caller
    channel: Channel
    stay: Stay
    said: list[bytes] = field(default_factory=list)
    """What the client answered to servers' questions meanwhile."""


@dataclass(slots=True, kw_only=True)
class Questions:
    """See the module."""

    authorize: Authorize
    execute: Execute
    definitions: Definitions
    ids: Ids
    limits: Limits
    flights: dict[TaskId, list[Flight]] = field(default_factory=dict)

    def enter(self, flight: Flight) -> None:
        """A request is under way.

        Raises:
            CallerError: `overloaded`: as many as one task may have are.
        """
        under_way = self.flights.setdefault(flight.caller.task.task.id, [])
        if len(under_way) >= self.limits.inflight_per_task:
            raise CallerError(Reason.OVERLOADED, f"more than {self.limits.inflight_per_task} requests at once")
        under_way.append(flight)

    def leave(self, flight: Flight) -> None:
        """It is not any more."""
        task = flight.caller.task.task.id
        self.flights[task].remove(flight)
        if not self.flights[task]:
            del self.flights[task]

    def said(self, call: Call) -> tuple[bytes, ...]:
        """What the client said beside the arguments: no result is a source of it, or an agent could answer itself an origin."""
        answered = input_responses(call.params, call.asked)
        own = (msgspec.json.encode(answered),) if answered else ()
        return own + tuple(said for flight in self.flights.get(call.request.task, ()) for said in flight.said)

    def progress(self, call: Call, channel: Channel) -> Notify:
        """Notices of a request under way, under the client's own progress token."""
        token = progress_token(call.params)

        async def notify(method: str, params: dict[str, Any]) -> None:
            if method == "notifications/progress":
                if token is None:
                    return
                params = {**params, "progressToken": token}
            request = call.request
            given = (request.arguments.data, *self.said(call))
            if await self._shown(Sender(request.kind, call.server, request.name, given), request.task, params):
                await channel.notify(method, params)

        return notify

    def notices(self, server: ServerName, task: TaskId, channel: Channel | None) -> Notify:
        """Notices that belong to no request: lists go stale, the client is told if there is one they are for."""
        sender = Sender(ActionKind.FEATURE, server, "logging", vouches=False)

        async def notify(method: str, params: dict[str, Any]) -> None:
            if method.endswith("/list_changed"):
                self.definitions.changed(server)
            if channel is not None and await self._shown(sender, task, params):
                await channel.notify(method, params)

        return notify

    async def asked(self, server: ServerName, task: TaskId, method: str, params: dict[str, Any]) -> Reply:
        """A legacy server asks the client for something: decided like any action, denied unless policy permits it."""
        feature = SERVER_TO_CLIENT.get(method)
        flight = next((one for one in reversed(self.flights.get(task, [])) if one.channel.can_ask), None)
        if feature is None or flight is None:
            return await not_asked(method, params)
        request = feature_request(self.ids, server, feature, params, flight.caller.task)
        outcome = await self.authorize(request, definition=None)
        if not isinstance(outcome, Granted):
            reason = outcome.reason if isinstance(outcome, Refused) else Reason.NEEDS_APPROVAL
            text = answers.refusal_text(f"{method} of server {server!r}", reason)
            return Reply(error={"code": answers.POLICY_DENIED, "message": text})
        replies: list[Reply] = []

        async def send(_: SealedArguments) -> Sent:
            reply = await self._put(flight.channel, request, method, params)
            replies.append(reply)
            body = reply.result or b""
            for under_way in self.flights.get(task, ()):
                under_way.said.append(body)
            return Sent(body=body, is_error=reply.error is not None, said=(body,))

        try:
            await self.execute(outcome.grant, send)
        except CallerError as error:
            return Reply(error={"code": answers.INTERNAL_ERROR, "message": error.message})
        return replies[0]

    async def permitted(self, call: Call, wanted: Any) -> bool:
        """Decide and record a request of the server that travels inside a result; carrying it out is handing the result on."""
        request: dict[str, Any] = wanted if isinstance(wanted, dict) else {}
        feature = SERVER_TO_CLIENT.get(str(request.get("method")))
        if feature is None:
            return False
        params = request.get("params") or {}
        return await self.carried(feature_request(self.ids, call.server, feature, params, call.caller.task))

    async def carried(self, request: ActionRequest) -> bool:
        """Decide and record an action that is carried out inside another message, by the caller, if this says so."""
        outcome = await self.authorize(request, definition=None)
        if not isinstance(outcome, Granted):
            return False

        async def send(_: SealedArguments) -> Sent:
            return Sent(body=b"", is_error=False)

        await self.execute(outcome.grant, send)
        return True

    async def _put(self, channel: Channel, request: ActionRequest, method: str, params: dict[str, Any]) -> Reply:
        """The question, to the client."""
        if not await self._shown(
            Sender(request.kind, request.server, request.name, vouches=False), request.task, params
        ):
            return Reply(error={"code": answers.INTERNAL_ERROR, "message": "the question cannot be recorded"})
        return await channel.ask(method, params, timeout_s=self.limits.upstream_timeout_s)

    async def _shown(self, sender: Sender, task: TaskId, params: dict[str, Any]) -> bool:
        """Whether what a server sent outside a result may go on: only once history knows what it holds."""
        try:
            await self.authorize.shown(sender, task, msgspec.json.encode(params))
        except StoreError:
            return False
        return True


async def not_asked(method: str, _: dict[str, Any]) -> Reply:
    """The answer to a server that has nobody to ask."""
    return Reply(error={"code": answers.METHOD_NOT_FOUND, "message": f"{method[:80]!r} is not available"})
