"""The middle of the proxy: one client request in, one answer out, nothing forwarded without a grant.

Knows methods and catalogue kinds; refuses to know transports, framing and policy. Steps as in how-an-action-runs.md; 1
(authentication) is the transport's, 3-5 are `service.authorize`, 7-9 `service.execute`.
"""

import asyncio
import re
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Final
from weakref import WeakKeyDictionary

import msgspec

from lictor.model.action import ActionKind, ActionRequest, SealedArguments
from lictor.model.errors import CallerError, ConflictError, LictorError, StoreError, UpstreamError
from lictor.model.ids import HoldId, RequestId, ServerName, TaskId
from lictor.model.limits import Limits
from lictor.model.reasons import Reason
from lictor.model.task import Task, TaskState
from lictor.pep.mcp import answers
from lictor.pep.mcp.connections import Connections
from lictor.pep.mcp.features import SERVER_TO_CLIENT, client_capabilities, server_capabilities
from lictor.pep.mcp.holding import INPUT_KEY, Holding, declined
from lictor.pep.mcp.lists import LISTS, fetch_all, pinned_offer, result_of, shown
from lictor.pep.mcp.naming import Naming
from lictor.pep.mcp.seam import Answer, Caller, Channel, Era, Notify, Offer, Reply, Upstream
from lictor.pep.mcp.underway import Stay, UnderWay
from lictor.ports import Clock, Ids
from lictor.protocol.headers import header_params
from lictor.protocol.jsonrpc import check_params
from lictor.service.authorize import Authorize, Granted, Held, Outcome, Refused
from lictor.service.execute import Execute, Sent
from lictor.service.grant import Grant
from lictor.service.loan import CredentialRefusedError
from lictor.service.offers import Offers
from lictor.service.origins import Sender

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
_ROUND_TRIPS: Final = frozenset({"tools/call", "prompts/get", "resources/read"})
_TRACEPARENT: Final = re.compile(r"[0-9a-f]{2}-[0-9a-f]{32}-[0-9a-f]{16}-[0-9a-f]{2}", re.ASCII)
"""The one member of `_meta` that travels on, and its only form (W3C Trace Context 3.2): ids, no text. Everything else in `_meta`
was judged by nobody, `tracestate` and `baggage` too, which are free text; so it stays here (ADR 0007)."""
_REFUSED_TOOLS: Final = frozenset(
    {Reason.OVERLOADED, Reason.CONTAINED, Reason.TASK_CLOSED, Reason.TASK_EXPIRED, Reason.STATE_UNCONFIRMED}
)
"""Failures of a tool call that are answered as the tool's result, so that the model can react."""
DEFINITIONS_TTL_MS: Final = 60_000
"""How long a server's list is believed before it is fetched again; a change notice ends it at once."""


@dataclass(slots=True)
class _Flight:
    """One client request under way: where a server's own requests and notices for this task go."""

    caller: Caller
    channel: Channel
    stay: Stay
    said: list[bytes] = field(default_factory=list)
    """What the client answered to servers' questions meanwhile."""


@dataclass(frozen=True, slots=True)
class _Call:
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


def _unreported(_: BaseException) -> None:
    """Where nobody listens, the refusal alone tells."""


def _unguarded() -> None:
    """A gateway on its own: nobody watches the store for it (`service.guard` does)."""


def _unmanaged(_: bytes) -> None:
    """A gateway on its own manages no secrets (`service.leaks` does)."""


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
    underway: UnderWay = field(init=False)
    _flights: dict[TaskId, list[_Flight]] = field(default_factory=dict)
    _counts: Counter[TaskId] = field(default_factory=Counter)
    _changes: Counter[ServerName] = field(default_factory=Counter)
    _learned: WeakKeyDictionary[Upstream, tuple[int, int]] = field(default_factory=WeakKeyDictionary)
    """When the list of each connection was read: (change notices of its server before it, milliseconds)."""
    _mirrored: dict[tuple[ServerName, str], tuple[Mapping[str, Any], dict[str, tuple[str, ...]] | None]] = field(
        default_factory=dict
    )
    """What `_header_params` made of a pinned definition, and of which."""

    def __post_init__(self) -> None:
        """What is under way hangs on its connections."""
        self.underway = UnderWay(self.connections)

    # -- entry points of the transports --------------------------------------------------------------------------------

    async def handle(self, caller: Caller, method: str, params: dict[str, Any], channel: Channel) -> Answer:
        """Answer one request. Never raises but for cancellation: a defect of ours is a refusal, `internal_error`."""
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
            notices = self._notices(server, caller.task.task.id, channel)
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
        request = _request(self.ids, ActionKind.RESOURCE, server, uri, {"uri": uri}, caller.task)
        return await self._carried(request)

    # -- one request -----------------------------------------------------------------------------------------------------

    async def _counted(self, caller: Caller, method: str, params: dict[str, Any], channel: Channel) -> Answer:
        """Bound what one task may have under way, and know where its servers' requests go meanwhile.

        Raises:
            CallerError: it was stopped, before it was sent or after its answer came.
        """
        self.guard()
        task = caller.task.task.id
        if self._counts[task] >= self.limits.inflight_per_task:
            raise CallerError(Reason.OVERLOADED, f"more than {self.limits.inflight_per_task} requests at once")
        flight = _Flight(caller, channel, Stay(caller.task.task))
        self._counts[task] += 1
        self._flights.setdefault(task, []).append(flight)
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
            self._counts[task] -= 1
            self._flights[task].remove(flight)
            if not self._counts[task]:
                del self._counts[task], self._flights[task]

    async def _dispatch(self, flight: _Flight, method: str, params: dict[str, Any]) -> Answer:
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
            return self._refuse(caller, method, _what(method, params), Refused(reason=error.reason, hold=error.hold))
        refusable = isinstance(error, ConflictError | UpstreamError) or error.reason in _REFUSED_TOOLS
        if method == "tools/call" and refusable:
            return answers.refuse_tool(_what(method, params), error.reason, caller.era)
        return answers.failure(error)

    async def _list(self, caller: Caller, method: str, channel: Channel) -> Answer:
        items: list[dict[str, Any]] = []
        for server in self.connections.servers:
            if self.connections.by_call(server):
                items += await self._pinned(caller, method, server)
                continue
            try:
                upstream = await self._upstream(caller, server, channel)
                found = await fetch_all(upstream, method, self.limits)
                await self._learn(server, method, found, upstream)
            except UpstreamError:
                continue  # one dead server does not hide the others; its own things are refused when used
            if method.startswith("resources/"):  # nobody pinned what these say, unlike tools and prompts
                sender = Sender(ActionKind.RESOURCE, server, "")
                await self.authorize.shown(sender, caller.task.task.id, msgspec.json.encode(found))
            items += shown(found, method, server, caller.task.task.agent, self.offers, self.naming)
        return Answer(result=result_of(method, items, caller.era))

    async def _pinned(self, caller: Caller, method: str, server: ServerName) -> list[dict[str, Any]]:
        """The list of a server that is connected for calls alone: what people looked at, until a call has shown otherwise."""
        kind = LISTS[method][1]
        items = self.offers.pins(kind, server)
        if not self.offers.known(kind, server):
            await self.offers.learn(kind, server, items)
        return shown(items, method, server, caller.task.task.agent, self.offers, self.naming)

    async def _decided(self, flight: _Flight, method: str, params: dict[str, Any]) -> Answer:
        """Steps 2 to 9 for one action."""
        caller, channel = flight.caller, flight.channel
        call = self._normalise(flight, method, params)
        if call is None:
            return await self._nobodys(caller, method, params)
        if self.connections.single(call.server):
            stopped = await self._ahead(*self._reopened(call), channel)
            if isinstance(stopped, Held):
                return self._held(call, stopped)
            if stopped is not None:
                return self._refuse(caller, method, call.what, stopped)
        upstream = await self._upstream(caller, call.server, channel, call.request)
        await self._learn_all(call.server, upstream)
        hint, call = self._reopened(call)
        outcome = await self._authorized(call, hint, upstream, channel)
        match outcome:
            case Granted():
                return await self._run(call, outcome.grant, upstream, channel)
            case Held():
                return self._held(call, outcome)
            case Refused():
                return self._refuse(caller, method, call.what, outcome)

    async def _nobodys(self, caller: Caller, method: str, params: dict[str, Any]) -> Answer:
        """A name that no configured server has: refused like any unknown thing, and written down like one."""
        unknown = CallerError(_unknown(method), "no server here has this name")
        unrecorded = await self._unrecorded(caller, params, unknown)
        if unrecorded is not None:
            return unrecorded
        return self._refuse(caller, method, _what(method, params), Refused(reason=unknown.reason))

    def _normalise(self, flight: _Flight, method: str, params: dict[str, Any]) -> _Call | None:
        """Step 2's first half: which server, which thing, which bytes. None: nobody's name."""
        check_params(method, params)
        unknown = params.keys() - _PARAMS[method]
        if unknown:
            name = min(unknown)
            raise CallerError(Reason.UNKNOWN_MEMBER, f"{method} has no member {name[:80]!r}", where="/params")
        found = self._target(method, params)
        if found is None:
            return None
        server, name, arguments = found
        task = flight.caller.task.task
        request = ActionRequest.make(
            id=RequestId(self.ids.new("req")),
            kind=DECIDED[method],
            server=server,
            name=name,
            arguments=SealedArguments.seal(arguments),
            agent=task.agent,
            human=task.human,
            task=task.id,
        )
        if len(request.arguments.data) > self.limits.arguments_bytes:
            raise CallerError(Reason.TOO_LARGE, "the arguments are too large", where="/params/arguments")
        self.check_sent(request.arguments.data)
        if "inputResponses" in params:
            self.check_sent(msgspec.json.encode(params["inputResponses"]))
        return _Call(flight.caller, method, params, server, _what(method, params), request, flight.stay)

    def _target(self, method: str, params: dict[str, Any]) -> tuple[ServerName, str, dict[str, Any]] | None:
        if method in {"tools/call", "prompts/get"}:
            split = self.naming.split(params["name"])
            return (*split, params.get("arguments") or {}) if split is not None else None
        if method == "completion/complete":
            return self._completion_target(params)
        uri = params.get("uri")
        if not isinstance(uri, str):
            raise CallerError(Reason.INVALID_MESSAGE, "uri must be a string", where="/params/uri")
        server = self._server_of(uri)
        return (server, uri, {"uri": uri}) if server is not None else None

    def _completion_target(self, params: dict[str, Any]) -> tuple[ServerName, str, dict[str, Any]] | None:
        ref = params.get("ref")
        if not isinstance(ref, dict):
            raise CallerError(Reason.INVALID_MESSAGE, "ref must be an object", where="/params/ref")
        arguments: dict[str, Any] = {key: value for key, value in params.items() if key in {"argument", "context"}}
        if isinstance(ref.get("name"), str):
            split = self.naming.split(ref["name"])
            if split is None:
                return None
            return split[0], "completion", {**arguments, "ref": {**ref, "name": split[1]}}
        server = self._server_of(str(ref.get("uri", "")).partition("{")[0])
        return (server, "completion", {**arguments, "ref": ref}) if server is not None else None

    def _server_of(self, uri: str) -> ServerName | None:
        """The one server whose catalogue lists this resource; two claimants are nobody."""
        return self.offers.server_of(uri, self.connections.servers)

    def _reopened(self, call: _Call) -> tuple[HoldId | None, _Call]:
        """Open the `requestState` of a retry: it may name a hold of ours and carry a server's own state."""
        if "requestState" not in call.params:
            return None, call
        state = self.holding.reopen(call.caller, call.request, call.params["requestState"])
        return state.hold, replace(call, upstream_state=state.upstream, asked=state.asked)

    async def _ahead(self, hint: HoldId | None, call: _Call, channel: Channel) -> Held | Refused | None:
        """Decide before a server is connected for this call alone: nothing is lent for what would be denied or held.

        The pinned definition stands for what the server will say; that it says so is found out before the decision that counts.
        """
        pinned = self.offers.pin(call.request.kind, call.server, call.request.name)
        stopped = await self.authorize.ahead(call.request, definition=pinned, hint=hint)
        if not isinstance(stopped, Held) or not await self._waited(call, stopped, hint, channel):
            return stopped
        again = msgspec.structs.replace(call.request, id=RequestId(self.ids.new("req")))
        return await self.authorize.ahead(again, definition=pinned, hint=stopped.hold.id)

    async def _waited(self, call: _Call, held: Held, hint: HoldId | None, channel: Channel) -> bool:
        """Whether people were waited for, by whatever way there is to ask."""
        if hint is not None:
            return not declined(call.params) and await self.holding.answered(held.hold)
        if self.holding.can_elicit(call.caller, channel):
            return await self.holding.elicit(channel, held.hold, call.what)
        return not self.holding.can_round_trip(call.caller) and await self.holding.answered(held.hold)

    async def _authorized(self, call: _Call, hint: HoldId | None, upstream: Upstream, channel: Channel) -> Outcome:
        """Decide; where the client can be asked in the same call, ask once and decide again."""
        definition = self.offers.definition(call.request.kind, call.server, call.request.name, upstream)
        outcome = await self.authorize(call.request, definition=definition, hint=hint)
        if not isinstance(outcome, Held):
            return outcome
        if not await self._waited(call, outcome, hint, channel):
            return outcome
        # A person took their time: what the server offers now counts, not what it offered when they were asked (TOOL-01).
        self._learned.pop(upstream, None)
        await self._learn_all(call.server, upstream)
        definition = self.offers.definition(call.request.kind, call.server, call.request.name, upstream)
        again = msgspec.structs.replace(call.request, id=RequestId(self.ids.new("req")))
        return await self.authorize(again, definition=definition, hint=outcome.hold.id)

    def _held(self, call: _Call, held: Held) -> Answer:
        if call.method in _ROUND_TRIPS and self.holding.can_round_trip(call.caller) and not declined(call.params):
            return self.holding.round_trip(call.request, held.hold, call.what)
        return self._refuse(call.caller, call.method, call.what, Refused(reason=Reason.NEEDS_APPROVAL, hold=held.hold))

    def _refuse(self, caller: Caller, method: str, what: str, refused: Refused) -> Answer:
        url = self.holding.url(refused.hold.id) if refused.hold and refused.reason is Reason.NEEDS_APPROVAL else ""
        if method == "tools/call":
            return answers.refuse_tool(what, refused.reason, caller.era, hold=refused.hold, url=url)
        return answers.refuse(what, refused.reason, hold=refused.hold, url=url)

    # -- the server's side -----------------------------------------------------------------------------------------------

    async def _run(self, call: _Call, grant: Grant, upstream: Upstream, channel: Channel) -> Answer:
        """Steps 7 to 9: claim, send exactly the sealed bytes, answer with exactly what came back."""
        replies: list[tuple[Reply, _ResultFlags]] = []

        async def send(sealed: SealedArguments) -> Sent:
            reply = await self._sent(call, grant, sealed, upstream, channel)
            body = reply.result if reply.result is not None else msgspec.json.encode(reply.error)
            flags = _flags(body)
            replies.append((reply, flags))
            is_error = reply.error is not None or flags.isError is not False
            return Sent(body=body, is_error=is_error, said=self._said(call))

        await self.execute(grant, send)
        return await self._answer(call, *replies[0])

    async def _sent(
        self, call: _Call, grant: Grant, sealed: SealedArguments, upstream: Upstream, channel: Channel
    ) -> Reply:
        """Send, under the eyes of whoever may stop it.

        Raises:
            UpstreamError: stopped under way: it may have happened (`service.revoke`).
        """
        stay = call.stay
        stay.server, stay.action, stay.upstream = call.server, call.request.action, upstream
        try:
            return await self._forward(call, grant, sealed, upstream, channel)
        except asyncio.CancelledError:
            if stay.taken():
                raise stay.halted() from None
            raise

    async def _forward(
        self, call: _Call, grant: Grant, sealed: SealedArguments, upstream: Upstream, channel: Channel
    ) -> Reply:
        kind = call.request.kind
        params: dict[str, Any] = _passed_meta(call.params)
        arguments = None
        headers: dict[str, tuple[str, ...]] | None = None
        if kind in {ActionKind.TOOL, ActionKind.PROMPT}:
            params["name"] = call.request.name
            arguments = sealed.data
        else:
            params.update(sealed.open())
        if kind is ActionKind.TOOL:
            headers = self._header_params(call.server, call.request.name)
        if call.upstream_state is not None:
            params["requestState"] = call.upstream_state
        params.update(_input_responses(call.params, call.asked))
        timeout = grant.entry.timeout_s or self.limits.upstream_timeout_s
        agent = call.caller.task.task.agent
        return await upstream.request(
            call.method,
            params,
            sealed_arguments=arguments,
            client_capabilities=client_capabilities(self.offers, call.server, agent, call.caller.capabilities),
            timeout_s=timeout,
            notify=self._progress(call, channel),
            progress=_progress_token(call.params) is not None,
            header_params=headers,
        )

    async def _answer(self, call: _Call, reply: Reply, flags: "_ResultFlags") -> Answer:
        if reply.result is None:
            return Answer(error=reply.error)
        if flags.resultType == "input_required":
            return await self._input_required(call, reply.result)
        if not isinstance(flags.resultType, str | msgspec.UnsetType):
            # What it is cannot be told, so it could be a question that nobody decided.
            return self._refuse(call.caller, call.method, call.what, Refused(reason=Reason.UPSTREAM_INVALID))
        if call.caller.era is Era.MODERN and flags.resultType is msgspec.UNSET:
            return Answer(result=_modern(reply.result))
        return Answer(result=reply.result)

    async def _input_required(self, call: _Call, result: bytes) -> Answer:
        """A modern server needs something of the client: each request decided, its state wrapped so that only we can open it."""
        if call.caller.era is not Era.MODERN:
            return self._refuse(call.caller, call.method, call.what, Refused(reason=Reason.FEATURE_DENIED))
        body: dict[str, Any] = msgspec.json.decode(result)
        wanted = body.get("inputRequests", {})
        asked = wanted.values() if isinstance(wanted, dict) else [None]
        for one in asked:
            request: dict[str, Any] = one if isinstance(one, dict) else {}
            feature = SERVER_TO_CLIENT.get(str(request.get("method")))
            if feature is None or not await self._permitted(call, feature, request.get("params") or {}):
                return self._refuse(call.caller, call.method, call.what, Refused(reason=Reason.FEATURE_DENIED))
        state = body.get("requestState")
        ttl = self.limits.hold_ttl_s
        keys = tuple(wanted) if isinstance(wanted, dict) else ()
        upstream_state = state if isinstance(state, str) else None
        body["requestState"] = self.holding.seal_upstream(call.request, upstream_state, keys, ttl)
        return Answer(result=msgspec.json.encode(body))

    async def _permitted(self, call: _Call, feature: str, params: dict[str, Any]) -> bool:
        """Decide and record a request that travels inside a result; carrying it out is handing the result on."""
        return await self._carried(_feature_request(self.ids, call.server, feature, params, call.caller.task))

    async def _carried(self, request: ActionRequest) -> bool:
        """Decide and record an action that is carried out inside another message, by the caller, if this says so."""
        outcome = await self.authorize(request, definition=None)
        if not isinstance(outcome, Granted):
            return False

        async def send(_: SealedArguments) -> Sent:
            return Sent(body=b"", is_error=False)

        await self.execute(outcome.grant, send)
        return True

    def _progress(self, call: _Call, channel: Channel) -> Notify:
        """Notices of a request under way, under the client's own progress token."""
        token = _progress_token(call.params)

        async def notify(method: str, params: dict[str, Any]) -> None:
            if method == "notifications/progress":
                if token is None:
                    return
                params = {**params, "progressToken": token}
            request = call.request
            given = (request.arguments.data, *self._said(call))
            if await self._shown(Sender(request.kind, call.server, request.name, given), request.task, params):
                await channel.notify(method, params)

        return notify

    def _said(self, call: _Call) -> tuple[bytes, ...]:
        """What the client said beside the arguments: no result is a source of it, or an agent could answer itself an origin."""
        answered = _input_responses(call.params, call.asked)
        own = (msgspec.json.encode(answered),) if answered else ()
        return own + tuple(said for flight in self._flights.get(call.request.task, ()) for said in flight.said)

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
            return await self.connections.get(server, task.id, {}, _not_asked, self._notices(server, task.id, None))
        declared = client_capabilities(self.offers, server, task.agent, caller.capabilities)

        async def ask(method: str, params: dict[str, Any]) -> Reply:
            return await self._asked(server, task.id, method, params)

        return await self.connections.get(
            server,
            task.id,
            declared,
            ask,
            self._notices(server, task.id, channel),
            legacy=caller.era is Era.LEGACY,
            owner=task,
            call=call,
        )

    def _notices(self, server: ServerName, task: TaskId, channel: Channel | None) -> Notify:
        """Notices that belong to no request: lists go stale, the client is told if there is one they are for."""
        sender = Sender(ActionKind.FEATURE, server, "logging", vouches=False)

        async def notify(method: str, params: dict[str, Any]) -> None:
            if method.endswith("/list_changed"):
                self._changes[server] += 1
            if channel is not None and await self._shown(sender, task, params):
                await channel.notify(method, params)

        return notify

    async def _shown(self, sender: Sender, task: TaskId, params: dict[str, Any]) -> bool:
        """Whether what a server sent outside a result may go on: only once history knows what it holds."""
        try:
            await self.authorize.shown(sender, task, msgspec.json.encode(params))
        except StoreError:
            return False
        return True

    async def _asked(self, server: ServerName, task: TaskId, method: str, params: dict[str, Any]) -> Reply:
        """A legacy server asks the client for something: decided like any action, denied unless policy permits it."""
        feature = SERVER_TO_CLIENT.get(method)
        flights = self._flights.get(task, [])
        flight = next((f for f in reversed(flights) if f.channel.can_ask), None)
        if feature is None or flight is None:
            return Reply(error={"code": answers.METHOD_NOT_FOUND, "message": f"{method[:80]!r} is not available"})
        state = flight.caller.task
        request = _feature_request(self.ids, server, feature, params, state)
        outcome = await self.authorize(request, definition=None)
        if not isinstance(outcome, Granted):
            reason = outcome.reason if isinstance(outcome, Refused) else Reason.NEEDS_APPROVAL
            text = answers.refusal_text(f"{method} of server {server!r}", reason)
            return Reply(error={"code": answers.POLICY_DENIED, "message": text})
        replies: list[Reply] = []

        async def send(_: SealedArguments) -> Sent:
            if await self._shown(Sender(request.kind, server, request.name, vouches=False), task, params):
                reply = await flight.channel.ask(method, params, timeout_s=self.limits.upstream_timeout_s)
            else:
                reply = Reply(error={"code": answers.INTERNAL_ERROR, "message": "the question cannot be recorded"})
            replies.append(reply)
            body = reply.result or b""
            for under_way in self._flights.get(task, ()):
                under_way.said.append(body)
            return Sent(body=body, is_error=reply.error is not None, said=(body,))

        try:
            await self.execute(outcome.grant, send)
        except CallerError as error:
            return Reply(error={"code": answers.INTERNAL_ERROR, "message": error.message})
        return replies[0]

    async def _set_level(self, caller: Caller, params: dict[str, Any], channel: Channel) -> Answer:
        """`logging/setLevel` reaches the servers whose logging feature is permitted; the others never hear of it."""
        agent = caller.task.task.agent
        for server, offer in (await self.offered(caller, channel)).items():
            allowed = self.offers.visible(ActionKind.FEATURE, server, "logging", agent)
            if not allowed or offer.era is not Era.LEGACY or "logging" not in offer.capabilities:
                continue
            request = _feature_request(self.ids, server, "logging", params, caller.task)
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

    # -- definitions -----------------------------------------------------------------------------------------------------

    async def _learn_all(self, server: ServerName, upstream: Upstream) -> None:
        """Know a connection's present definitions before a thing on it is decided (TOOL-01: never trust yesterday's).

        Each connection speaks for itself: a restarted process, or one that answers another task, may be another program.
        """
        now, changes = self.clock.now_ms(), self._changes[server]
        seen = self._learned.get(upstream)
        if seen is not None and seen[0] == changes and 0 <= now - seen[1] < DEFINITIONS_TTL_MS:
            return
        for method in ("tools/list", "prompts/list"):
            await self._learn(server, method, await fetch_all(upstream, method, self.limits), upstream)
        # The count from before the reading: a change that was announced meanwhile makes the next call read again.
        self._learned[upstream] = changes, now

    async def _learn(self, server: ServerName, method: str, items: list[dict[str, Any]], upstream: Upstream) -> None:
        if method in {"tools/list", "prompts/list"}:
            await self.offers.learn(LISTS[method][1], server, items, upstream)

    def _header_params(self, server: ServerName, tool: str) -> dict[str, tuple[str, ...]] | None:
        """By the pinned definition: what is called, if anything is (case MCPH-05 on the very first call)."""
        pinned = self.offers.pinned(ActionKind.TOOL, server, tool)
        known = self._mirrored.get((server, tool))
        if known is not None and known[0] is pinned:
            return known[1]
        found = header_params(pinned.get("inputSchema", {})) or None
        if pinned:
            self._mirrored[server, tool] = pinned, found
        return found


class _ResultFlags(msgspec.Struct):
    """Read whatever their types are: a mistyped member must not make the other one unread."""

    isError: Any = False  # noqa: N815 - the wire's name
    resultType: Any = msgspec.UNSET  # noqa: N815 - the wire's name


_FLAGS: Final = msgspec.json.Decoder(_ResultFlags)


def _flags(body: bytes) -> _ResultFlags:
    try:
        return _FLAGS.decode(body)
    except msgspec.MsgspecError:
        return _ResultFlags(isError=True, resultType=None)


def _input_responses(params: dict[str, Any], asked: tuple[str, ...]) -> dict[str, Any]:
    """What the client answered to the server's own questions, as our sealed state names them; the rest was judged by nobody."""
    responses = params.get("inputResponses")
    if not isinstance(responses, dict):
        return {}
    passed = {key: value for key, value in responses.items() if key in asked and key != INPUT_KEY}
    return {"inputResponses": passed} if passed else {}


def _feature_request(
    ids: Ids, server: ServerName, feature: str, params: dict[str, Any], state: TaskState
) -> ActionRequest:
    arguments = {key: value for key, value in params.items() if key != "_meta"}
    return _request(ids, ActionKind.FEATURE, server, feature, arguments, state)


def _request(
    ids: Ids, kind: ActionKind, server: ServerName, name: str, arguments: dict[str, Any], state: TaskState
) -> ActionRequest:
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


async def _not_asked(method: str, _: dict[str, Any]) -> Reply:
    """The answer to a server that has nobody to ask."""
    return Reply(error={"code": answers.METHOD_NOT_FOUND, "message": f"{method[:80]!r} is not available"})


def _what(method: str, params: dict[str, Any]) -> str:
    """How a request is named to people; the name is the client's own word, so it is quoted and bounded."""
    target = params.get("name", params.get("uri"))
    return f"{method} {target[:120]!r}" if isinstance(target, str) else method


def _unknown(method: str) -> Reason:
    kind = DECIDED[method]
    if kind is ActionKind.RESOURCE:
        return Reason.UNKNOWN_RESOURCE
    return Reason.UNKNOWN_PROMPT if kind is ActionKind.PROMPT else Reason.UNKNOWN_TOOL


def _passed_meta(params: dict[str, Any]) -> dict[str, Any]:
    meta = params.get("_meta")
    trace = meta.get("traceparent") if isinstance(meta, dict) else None
    whole = isinstance(trace, str) and _TRACEPARENT.fullmatch(trace) is not None
    return {"_meta": {"traceparent": trace}} if whole else {}


def _progress_token(params: dict[str, Any]) -> str | int | None:
    meta = params.get("_meta")
    token = meta.get("progressToken") if isinstance(meta, dict) else None
    return token if isinstance(token, str | int) and not isinstance(token, bool) else None


def _modern(result: bytes) -> bytes:
    """A result as a modern client must see it: `resultType` added in front where a legacy server left it out."""
    if b'"resultType"' in result and "resultType" in msgspec.json.decode(result):
        return result
    body = result.lstrip()
    rest = body[1:].lstrip()
    comma = b"" if rest.startswith(b"}") else b","
    return b'{"resultType":"complete"' + comma + rest
