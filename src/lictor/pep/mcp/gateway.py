"""The middle of the proxy: one client request in, one answer out, nothing forwarded without a grant.

Knows methods and catalogue kinds; refuses to know transports, framing and policy. Steps as in how-an-action-runs.md; 1
(authentication) is the transport's, 3-5 are `service.calls.authorize`, 7-9 `service.calls.execute`.
"""

import asyncio
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Final

import msgspec

from lictor.model.action import ActionKind, ActionRequest, SealedArguments
from lictor.model.errors import CallerError, ConflictError, LictorError, StoreError, UpstreamError
from lictor.model.ids import HoldId, RequestId, ServerName
from lictor.model.limits import Limits
from lictor.model.reasons import Reason
from lictor.model.task import Task
from lictor.pep.mcp import answers
from lictor.pep.mcp.connections import Connections
from lictor.pep.mcp.definitions import Definitions
from lictor.pep.mcp.delivery import Delivery
from lictor.pep.mcp.features import client_capabilities, server_capabilities
from lictor.pep.mcp.holding import Holding, declined
from lictor.pep.mcp.lists import LISTS, pinned_offer, result_of, shown
from lictor.pep.mcp.naming import Naming
from lictor.pep.mcp.questions import Flight, Questions, not_asked
from lictor.pep.mcp.request import (
    DECIDED,
    Call,
    Reader,
    feature_request,
    passed_meta,
    progress_token,
    request_for,
    unknown_of,
    what_of,
)
from lictor.pep.mcp.results import ResultFlags, as_modern, flags_of
from lictor.pep.mcp.seam import Answer, Caller, Channel, Era, Offer, Reply, Upstream
from lictor.pep.mcp.underway import Stay, UnderWay
from lictor.ports import Clock, Ids, Watch
from lictor.service.calls.authorize import Authorize, Granted, Held, Outcome, Refused
from lictor.service.calls.execute import Execute, Sent
from lictor.service.calls.grant import Grant
from lictor.service.calls.offers import Offers
from lictor.service.calls.unwatched import UNWATCHED
from lictor.service.credentials.loan import CredentialRefusedError
from lictor.service.history.origins import Sender

_ROUND_TRIPS: Final = frozenset({"tools/call", "prompts/get", "resources/read"})
_REFUSED_TOOLS: Final = frozenset(
    {Reason.OVERLOADED, Reason.CONTAINED, Reason.TASK_CLOSED, Reason.TASK_EXPIRED, Reason.STATE_UNCONFIRMED}
)
"""Failures of a tool call that are answered as the tool's result, so that the model can react."""


def _unreported(_: BaseException) -> None:
    """Where nobody listens, the refusal alone tells."""


def _unguarded() -> None:
    """A gateway on its own: nobody watches the store for it (`service.calls.guard` does)."""


def _unmanaged(_: bytes) -> None:
    """A gateway on its own manages no secrets (`service.credentials.leaks` does)."""


def _unended(_: Task, __: str) -> Reason | None:
    """Likewise: whether something has been stopped is seen by the commit alone."""
    return None


@dataclass(slots=True, kw_only=True)
class Gateway:
    """Handles client requests against a set of servers."""

    connections: Connections
    naming: Naming
    authorize: Authorize
    execute: Execute
    offers: Offers
    holding: Holding
    clock: Clock
    ids: Ids
    limits: Limits
    instructions: str = ""
    on_defect: Callable[[BaseException], None] = _unreported
    guard: Callable[[], None] = _unguarded
    """Raises `StoreError` while this process must not act at all."""
    ended: Callable[[Task, str], Reason | None] = _unended
    """(task, server): why no connection may be started for it."""
    check_sent: Callable[[bytes], None] = _unmanaged
    """Raises `CallerError` where what a client sends holds a secret that the gateway manages (CRED-13)."""
    watch: Watch = UNWATCHED
    underway: UnderWay = field(init=False)
    definitions: Definitions = field(init=False)
    questions: Questions = field(init=False)
    _reader: Reader = field(init=False)

    def __post_init__(self) -> None:
        """What is under way hangs on its connections; the other parts are made of ours."""
        self.underway = UnderWay(self.connections)
        self.definitions = Definitions(offers=self.offers, clock=self.clock, limits=self.limits)
        self.questions = Questions(
            authorize=self.authorize,
            execute=self.execute,
            definitions=self.definitions,
            ids=self.ids,
            limits=self.limits,
        )
        self._reader = Reader(
            naming=self.naming,
            server_of=self._server_of,
            ids=self.ids,
            limits=self.limits,
            check_sent=self.check_sent,
        )

    # -- entry points of the transports --------------------------------------------------------------------------------

    async def handle(self, caller: Caller, method: str, params: dict[str, Any], channel: Channel) -> Answer:
        """Answer one request. Never raises but for cancellation: a defect of ours is a refusal, `internal_error`."""
        task = caller.task.task
        with self.watch.call(method, params.get("_meta"), task=task, version=caller.version) as seen:
            answer = await self._handled(caller, method, params, channel)
            seen.answered(answer.result, answer.error)
            return answer

    async def _handled(self, caller: Caller, method: str, params: dict[str, Any], channel: Channel) -> Answer:
        try:
            return await self._counted(caller, method, params, channel)
        except CallerError as error:
            return await self._turned_away(caller, method, params, error)
        except LictorError as error:
            return self._failed(caller, method, params, error)
        except Exception as error:  # noqa: BLE001 - the last door before the client
            self.on_defect(error)
            return answers.failure(StoreError(Reason.INTERNAL, "the gateway failed"))

    async def offered(self, caller: Caller, channel: Channel) -> dict[ServerName, Offer]:
        """What each reachable server said of itself; one that is down is left out, its things are refused when used."""

        async def offer_of(server: ServerName) -> Offer | None:
            if self.connections.by_call(server):
                return pinned_offer(self.offers, server)
            try:
                return (await self._upstream(caller, server, channel)).offer
            except UpstreamError:
                return None

        servers = self.connections.servers
        async with self.connections.during():
            offers = await asyncio.gather(*map(offer_of, servers))
        return {server: offer for server, offer in zip(servers, offers, strict=True) if offer is not None}

    def capabilities(self, caller: Caller, offered: Mapping[ServerName, Offer]) -> dict[str, Any]:
        """The capabilities to declare to this client."""
        modern = caller.era is Era.MODERN
        return server_capabilities(self.offers, caller.task.task.agent, dict(offered), modern=modern)

    async def listen(self, caller: Caller, params: dict[str, Any], channel: Channel) -> None:
        """Hand on what modern servers notify, until cancelled. Resource updates only for resources this caller may see."""
        agent = caller.task.task.agent
        wanted = params.get("notifications")
        asked = wanted if isinstance(wanted, dict) else {}
        uris = [uri for uri in asked.get("resourceSubscriptions", []) if isinstance(uri, str)]
        streams = []
        for server, offer in (await self.offered(caller, channel)).items():
            if offer.era is not Era.MODERN or self.connections.single(server):
                continue  # what is lent for one request does not last for a stream
            upstream = await self._upstream(caller, server, channel)
            visible = [uri for uri in uris if self.offers.visible(ActionKind.RESOURCE, server, uri, agent)]
            seen = [uri for uri in visible if await self._may_watch(caller, server, uri)]
            narrowed = {**{k: v for k, v in asked.items() if v is True}, "resourceSubscriptions": seen}
            notices = self.questions.notices(server, caller.task.task.id, channel)
            streams.append(upstream.listen({"notifications": narrowed}, notices))
        await asyncio.gather(*streams)

    async def cut(self, caller: Caller, params: dict[str, Any], error: CallerError) -> None:
        """Write down that something that lasted was ended, and why.

        Raises:
            StoreError: it cannot be recorded; the client is told that instead.
        """
        await self.authorize.turned_away(caller.task.task.id, msgspec.json.encode(params), error)

    async def _may_watch(self, caller: Caller, server: ServerName, uri: str) -> bool:
        """Decide and record one watched resource: its URI is about to reach a server, like that of a read."""
        if self._server_of(uri) != server:
            return False
        request = request_for(self.ids, ActionKind.RESOURCE, server, uri, {"uri": uri}, caller.task)
        return await self.questions.carried(request)

    # -- one request -----------------------------------------------------------------------------------------------------

    async def _counted(self, caller: Caller, method: str, params: dict[str, Any], channel: Channel) -> Answer:
        """Bound what one task may have under way, and know where its servers' requests go meanwhile.

        Raises:
            CallerError: it was stopped, before it was sent or after its answer came.
        """
        self.guard()
        flight = Flight(caller, channel, Stay(caller.task.task))
        self.questions.enter(flight)
        self.underway.enter(flight.stay)
        try:
            async with self.connections.during():
                return await self._dispatch(flight, method, params)
        except asyncio.CancelledError:
            if flight.stay.taken():
                raise flight.stay.refusal() from None
            raise
        finally:
            self.underway.leave(flight.stay)
            self.questions.leave(flight)

    async def _dispatch(self, flight: Flight, method: str, params: dict[str, Any]) -> Answer:
        caller, channel = flight.caller, flight.channel
        if method in LISTS:
            return await self._list(caller, method, channel)
        if method in DECIDED:
            return await self._decided(flight, method, params)
        if method == "logging/setLevel" and caller.era is Era.LEGACY:
            return await self._set_level(caller, params, channel)
        if method == "ping" and caller.era is Era.LEGACY:
            return Answer(result=b"{}")
        error = {"code": answers.METHOD_NOT_FOUND, "message": f"method {method[:80]!r} is not served"}
        return Answer(error=error, status=404)

    async def _turned_away(self, caller: Caller, method: str, params: dict[str, Any], error: CallerError) -> Answer:
        """What was refused before policy is written down like everything else; if it cannot be, that is the answer."""
        unrecorded = await self._unrecorded(caller, params, error)
        return self._failed(caller, method, params, error) if unrecorded is None else unrecorded

    async def _unrecorded(self, caller: Caller, params: dict[str, Any], error: CallerError) -> Answer | None:
        """Record a refusal that policy never saw; the answer to give instead where that is not possible."""
        try:
            await self.authorize.turned_away(caller.task.task.id, msgspec.json.encode(params), error)
        except StoreError as cannot:
            return answers.failure(cannot)
        return None

    def _failed(self, caller: Caller, method: str, params: dict[str, Any], error: LictorError) -> Answer:
        """A failure of a tool call is a tool result, so that the model can react; everything else an error object."""
        if isinstance(error, CredentialRefusedError) and error.hold is not None:
            return self._refuse(caller, method, what_of(method, params), Refused(reason=error.reason, hold=error.hold))
        refusable = isinstance(error, ConflictError | UpstreamError) or error.reason in _REFUSED_TOOLS
        if method == "tools/call" and refusable:
            return answers.refuse_tool(what_of(method, params), error.reason, caller.era)
        return answers.failure(error)

    async def _list(self, caller: Caller, method: str, channel: Channel) -> Answer:
        items: list[dict[str, Any]] = []
        for server in self.connections.servers:
            if self.connections.by_call(server):
                pinned = await self.definitions.pinned(server, method)
                items += shown(pinned, method, server, caller.task.task.agent, self.offers, self.naming)
                continue
            try:
                upstream = await self._upstream(caller, server, channel)
                found = await self.definitions.fetch(upstream, method)
                await self.definitions.learn(server, method, found, upstream)
            except UpstreamError:
                continue  # one dead server does not hide the others; its own things are refused when used
            if method.startswith("resources/"):  # nobody pinned what these say, unlike tools and prompts
                sender = Sender(ActionKind.RESOURCE, server, "")
                await self.authorize.shown(sender, caller.task.task.id, msgspec.json.encode(found))
            items += shown(found, method, server, caller.task.task.agent, self.offers, self.naming)
        return Answer(result=result_of(method, items, caller.era))

    async def _decided(self, flight: Flight, method: str, params: dict[str, Any]) -> Answer:
        """Steps 2 to 9 for one action."""
        caller, channel = flight.caller, flight.channel
        call = self._reader.read(caller, flight.stay, method, params)
        if call is None:
            return await self._nobodys(caller, method, params)
        if self.connections.single(call.server):
            stopped = await self._ahead(*self._reopened(call), channel)
            if isinstance(stopped, Held):
                return self._held(call, stopped)
            if stopped is not None:
                return self._refuse(caller, method, call.what, stopped)
        upstream = await self._upstream(caller, call.server, channel, call.request)
        await self.definitions.learn_all(call.server, upstream)
        hint, call = self._reopened(call)
        outcome = await self._authorized(call, hint, upstream, channel)
        match outcome:
            case Granted():
                return await self._run(Delivery(call, outcome.grant, upstream, channel))
            case Held():
                return self._held(call, outcome)
            case Refused():
                return self._refuse(caller, method, call.what, outcome)

    async def _nobodys(self, caller: Caller, method: str, params: dict[str, Any]) -> Answer:
        """A name that no configured server has: refused like any unknown thing, and written down like one."""
        unknown = CallerError(unknown_of(method), "no server here has this name")
        unrecorded = await self._unrecorded(caller, params, unknown)
        if unrecorded is not None:
            return unrecorded
        return self._refuse(caller, method, what_of(method, params), Refused(reason=unknown.reason))

    def _server_of(self, uri: str) -> ServerName | None:
        """The one server whose catalogue lists this resource; two claimants are nobody."""
        return self.offers.server_of(uri, self.connections.servers)

    def _reopened(self, call: Call) -> tuple[HoldId | None, Call]:
        """Open the `requestState` of a retry: it may name a hold of ours and carry a server's own state."""
        if "requestState" not in call.params:
            return None, call
        state = self.holding.reopen(call.caller, call.request, call.params["requestState"])
        return state.hold, msgspec.structs.replace(call, upstream_state=state.upstream, asked=state.asked)

    async def _ahead(self, hint: HoldId | None, call: Call, channel: Channel) -> Held | Refused | None:
        """Decide before a server is connected for this call alone: nothing is lent for what would be denied or held.

        The pinned definition stands for what the server will say; that it says so is found out before the decision that counts.
        """
        pinned = self.offers.pin(call.request.kind, call.server, call.request.name)
        stopped = await self.authorize.ahead(call.request, definition=pinned, hint=hint)
        if not isinstance(stopped, Held) or not await self._waited(call, stopped, hint, channel):
            return stopped
        again = msgspec.structs.replace(call.request, id=RequestId(self.ids.new("req")))
        return await self.authorize.ahead(again, definition=pinned, hint=stopped.hold.id)

    async def _waited(self, call: Call, held: Held, hint: HoldId | None, channel: Channel) -> bool:
        """Whether people were waited for, by whatever way there is to ask."""
        with self.watch.waiting(held.hold):
            return await self._asked(call, held, hint, channel)

    async def _asked(self, call: Call, held: Held, hint: HoldId | None, channel: Channel) -> bool:
        if hint is not None:
            return not declined(call.params) and await self.holding.answered(held.hold)
        if self.holding.can_elicit(call.caller, channel):
            return await self.holding.elicit(channel, held.hold, call.what)
        return not self.holding.can_round_trip(call.caller) and await self.holding.answered(held.hold)

    async def _authorized(self, call: Call, hint: HoldId | None, upstream: Upstream, channel: Channel) -> Outcome:
        """Decide; where the client can be asked in the same call, ask once and decide again."""
        definition = self.offers.definition(call.request.kind, call.server, call.request.name, upstream)
        outcome = await self.authorize(call.request, definition=definition, hint=hint)
        if not isinstance(outcome, Held):
            return outcome
        if not await self._waited(call, outcome, hint, channel):
            return outcome
        # A person took their time: what the server offers now counts, not what it offered when they were asked (TOOL-01).
        self.definitions.forget(upstream)
        await self.definitions.learn_all(call.server, upstream)
        definition = self.offers.definition(call.request.kind, call.server, call.request.name, upstream)
        again = msgspec.structs.replace(call.request, id=RequestId(self.ids.new("req")))
        return await self.authorize(again, definition=definition, hint=outcome.hold.id)

    def _held(self, call: Call, held: Held) -> Answer:
        if call.method in _ROUND_TRIPS and self.holding.can_round_trip(call.caller) and not declined(call.params):
            return self.holding.round_trip(call.request, held.hold, call.what)
        return self._refuse(call.caller, call.method, call.what, Refused(reason=Reason.NEEDS_APPROVAL, hold=held.hold))

    def _refuse(self, caller: Caller, method: str, what: str, refused: Refused) -> Answer:
        url = self.holding.url(refused.hold.id) if refused.hold and refused.reason is Reason.NEEDS_APPROVAL else ""
        if method == "tools/call":
            return answers.refuse_tool(what, refused.reason, caller.era, hold=refused.hold, url=url)
        return answers.refuse(what, refused.reason, hold=refused.hold, url=url)

    # -- the server's side -----------------------------------------------------------------------------------------------

    async def _run(self, delivery: Delivery) -> Answer:
        """Steps 7 to 9: claim, send exactly the sealed bytes, answer with exactly what came back."""
        call = delivery.call
        replies: list[tuple[Reply, ResultFlags]] = []

        async def send(sealed: SealedArguments) -> Sent:
            with self.watch.sending(call.method, call.request) as line:
                reply = await self._sent(delivery, sealed, line.meta(passed_meta(call.params)))
                line.answered(reply.result, reply.error)
            body = reply.result if reply.result is not None else msgspec.json.encode(reply.error)
            flags = flags_of(body)
            replies.append((reply, flags))
            is_error = reply.error is not None or flags.isError is not False
            return Sent(body=body, is_error=is_error, said=self.questions.said(call))

        await self.execute(delivery.grant, send)
        return await self._answer(call, *replies[0])

    async def _sent(self, delivery: Delivery, sealed: SealedArguments, meta: dict[str, Any]) -> Reply:
        """Send, under the eyes of whoever may stop it.

        Raises:
            UpstreamError: stopped under way: it may have happened (`service.containment.revoke`).
        """
        call, stay = delivery.call, delivery.call.stay
        stay.server, stay.action, stay.upstream = call.server, call.request.action, delivery.upstream
        try:
            return await self._forward(delivery, sealed, meta)
        except asyncio.CancelledError:
            if stay.taken():
                raise stay.halted() from None
            raise

    async def _forward(self, delivery: Delivery, sealed: SealedArguments, meta: dict[str, Any]) -> Reply:
        call = delivery.call
        params, arguments = delivery.message(sealed, meta)
        agent = call.caller.task.task.agent
        tool = call.request.kind is ActionKind.TOOL
        return await delivery.upstream.request(
            call.method,
            params,
            sealed_arguments=arguments,
            client_capabilities=client_capabilities(self.offers, call.server, agent, call.caller.capabilities),
            timeout_s=delivery.grant.entry.timeout_s or self.limits.upstream_timeout_s,
            notify=self.questions.progress(call, delivery.channel),
            progress=progress_token(call.params) is not None,
            header_params=self.definitions.header_params(call.server, call.request.name) if tool else None,
        )

    async def _answer(self, call: Call, reply: Reply, flags: ResultFlags) -> Answer:
        if reply.result is None:
            return Answer(error=reply.error)
        if flags.resultType == "input_required":
            return await self._input_required(call, reply.result)
        if not isinstance(flags.resultType, str | msgspec.UnsetType):
            # What it is cannot be told, so it could be a question that nobody decided.
            return self._refuse(call.caller, call.method, call.what, Refused(reason=Reason.UPSTREAM_INVALID))
        if call.caller.era is Era.MODERN and flags.resultType is msgspec.UNSET:
            return Answer(result=as_modern(reply.result))
        return Answer(result=reply.result)

    async def _input_required(self, call: Call, result: bytes) -> Answer:
        """A modern server needs something of the client: each request decided, its state wrapped so that only we can open it."""
        if call.caller.era is not Era.MODERN:
            return self._refuse(call.caller, call.method, call.what, Refused(reason=Reason.FEATURE_DENIED))
        body: dict[str, Any] = msgspec.json.decode(result)
        wanted = body.get("inputRequests", {})
        asked = wanted.values() if isinstance(wanted, dict) else [None]
        for one in asked:
            if not await self.questions.permitted(call, one):
                return self._refuse(call.caller, call.method, call.what, Refused(reason=Reason.FEATURE_DENIED))
        state = body.get("requestState")
        ttl = self.limits.hold_ttl_s
        keys = tuple(wanted) if isinstance(wanted, dict) else ()
        upstream_state = state if isinstance(state, str) else None
        body["requestState"] = self.holding.seal_upstream(call.request, upstream_state, keys, ttl)
        return Answer(result=msgspec.json.encode(body))

    async def _upstream(
        self, caller: Caller, server: ServerName, channel: Channel, call: ActionRequest | None = None
    ) -> Upstream:
        """`call`: what it is wanted for, of which it is known that it would be granted."""
        task = caller.task.task
        live = self.connections.live(server, task.id)
        if live is not None:
            return live
        self.guard()
        over = self.ended(task, server)
        if over is not None:
            # A server is not started for somebody who may do nothing: it would be ended at once (REVO-03).
            raise CallerError(over, "nothing is started for what was stopped")
        if self.connections.shared(server):
            # Nobody can say whose call a question or a notice on it is about, so no task is asked and none is told (R18).
            return await self.connections.get(
                server, task.id, {}, not_asked, self.questions.notices(server, task.id, None)
            )
        declared = client_capabilities(self.offers, server, task.agent, caller.capabilities)

        async def ask(method: str, params: dict[str, Any]) -> Reply:
            return await self.questions.asked(server, task.id, method, params)

        return await self.connections.get(
            server,
            task.id,
            declared,
            ask,
            self.questions.notices(server, task.id, channel),
            legacy=caller.era is Era.LEGACY,
            owner=task,
            call=call,
        )

    async def _set_level(self, caller: Caller, params: dict[str, Any], channel: Channel) -> Answer:
        """`logging/setLevel` reaches the servers whose logging feature is permitted; the others never hear of it."""
        agent = caller.task.task.agent
        for server, offer in (await self.offered(caller, channel)).items():
            allowed = self.offers.visible(ActionKind.FEATURE, server, "logging", agent)
            if not allowed or offer.era is not Era.LEGACY or "logging" not in offer.capabilities:
                continue
            request = feature_request(self.ids, server, "logging", params, caller.task)
            outcome = await self.authorize(request, definition=None)
            if isinstance(outcome, Granted):
                upstream = await self._upstream(caller, server, channel)
                await self._plain(outcome.grant, upstream, "logging/setLevel")
        return Answer(result=b"{}")

    async def _plain(self, grant: Grant, upstream: Upstream, method: str) -> None:
        async def send(sealed: SealedArguments) -> Sent:
            reply = await upstream.request(method, sealed.open(), timeout_s=self.limits.upstream_timeout_s)
            return Sent(body=reply.result or b"", is_error=reply.error is not None)

        await self.execute(grant, send)
