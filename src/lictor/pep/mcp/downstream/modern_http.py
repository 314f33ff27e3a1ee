"""One modern request over HTTP (spec 2026-07-28): no session, and a closed connection cancels."""

from collections.abc import Coroutine
from typing import Any

from lictor.pep.mcp.downstream.asks import cannot_ask
from lictor.pep.mcp.downstream.door import encode_answer
from lictor.pep.mcp.downstream.eras import DISCOVER, LISTEN, discover_result, guarded
from lictor.pep.mcp.downstream.exchange import Exchange
from lictor.pep.mcp.downstream.listening import listen
from lictor.pep.mcp.downstream.notices import Hub, is_about_server
from lictor.pep.mcp.downstream.relevance import passes_to_modern
from lictor.pep.mcp.downstream.stream import Flight, ResponseStream, Watch
from lictor.pep.mcp.gateway import Gateway
from lictor.pep.mcp.seam import Answer, Caller, Reply
from lictor.protocol.jsonrpc import Request, encode_notification


class ModernHttp:
    """Serves modern requests."""

    def __init__(self, gateway: Gateway, hub: Hub, keepalive_s: float) -> None:
        """`hub` carries notices that belong to no request."""
        self._gateway = gateway
        self._hub = hub
        self._keepalive_s = keepalive_s

    async def request(self, exchange: Exchange, request: Request, caller: Caller) -> None:
        """Answer it, unless its client leaves first (cancellation, "Transport-Specific Cancellation")."""
        stream = exchange.stream
        flight = Flight()
        watch = Watch(exchange.receive, stream, flight.cancel, keepalive_s=self._keepalive_s)
        watch.arm()
        try:
            answer = await flight.run(self._answer(exchange, request, caller))
        finally:
            watch.disarm()
        if answer is not None:
            await stream.finish(encode_answer(request.id, answer), answer.status)

    def _answer(self, exchange: Exchange, request: Request, caller: Caller) -> Coroutine[Any, Any, Answer]:
        channel = ModernChannel(request, caller, exchange.stream, self._hub)
        if request.method == DISCOVER:
            return guarded(self._gateway, discover_result(self._gateway, caller, channel))
        if request.method == LISTEN:
            return guarded(self._gateway, self._listen(exchange, request, caller, channel))
        return self._gateway.handle(caller, request.method, request.params, channel)

    async def _listen(self, exchange: Exchange, request: Request, caller: Caller, channel: "ModernChannel") -> bytes:
        async def emit(message: bytes) -> None:
            await exchange.stream.event(message)

        return await listen(self._gateway, caller, request, emit, hub=self._hub, channel=channel, alive=exchange.alive)


class ModernChannel:
    """`seam.Channel` of one modern request."""

    def __init__(self, request: Request, caller: Caller, stream: ResponseStream, hub: Hub) -> None:
        """`stream` is the response to the request."""
        self._request = request
        self._task = caller.task.task.id
        self._stream = stream
        self._hub = hub

    async def notify(self, method: str, params: dict[str, Any]) -> None:
        """See `Channel.notify`: on this stream only what belongs to the request, to subscriptions the rest."""
        if is_about_server(method):
            self._hub.publish(self._task, method, params)
        elif passes_to_modern(self._request, method, params):
            await self._stream.event(encode_notification(method, params))

    async def ask(self, method: str, params: dict[str, Any], *, timeout_s: float) -> Reply:  # noqa: ARG002
        """See `Channel.ask`."""
        raise cannot_ask()

    @property
    def can_ask(self) -> bool:
        """See `Channel.can_ask`."""
        return False
