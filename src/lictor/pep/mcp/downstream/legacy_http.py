"""Legacy clients over HTTP (spec 2025-11-25, transports): sessions, their requests, their GET stream.

A closed connection is not a cancellation here: the request goes on, its answer is lost. `notifications/cancelled` is one.
"""

from collections.abc import Coroutine
from typing import Any

from lictor.model.errors import CallerError, LictorError
from lictor.model.reasons import Reason
from lictor.pep.mcp.downstream.door import encode_answer
from lictor.pep.mcp.downstream.eras import (
    CANCELLED,
    PING,
    guarded,
    initialize_result,
    legacy_caller,
    opening_of,
)
from lictor.pep.mcp.downstream.exchange import Exchange
from lictor.pep.mcp.downstream.head import TurnedError
from lictor.pep.mcp.downstream.listening import LIVENESS_S
from lictor.pep.mcp.downstream.notices import Hub
from lictor.pep.mcp.downstream.sessions import LegacyChannel, Session, Sessions
from lictor.pep.mcp.downstream.stream import Flight, Watch
from lictor.pep.mcp.gateway import Gateway
from lictor.pep.mcp.seam import LEGACY_VERSIONS, Answer
from lictor.protocol.jsonrpc import Notification, Request, Response, encode_notification


class LegacyHttp:
    """Serves sessions."""

    def __init__(self, gateway: Gateway, sessions: Sessions, hub: Hub, keepalive_s: float) -> None:
        """`hub` carries notices that belong to no request."""
        self._gateway = gateway
        self._sessions = sessions
        self._hub = hub
        self._keepalive_s = keepalive_s

    async def initialize(self, exchange: Exchange, request: Request) -> None:
        """Open a session. A session id sent along means nothing: the client is starting again."""
        session = self._sessions.open(exchange.state.task.id, opening_of(request))
        exchange.stream.headers = ((b"mcp-session-id", session.id.encode("ascii")),)
        caller = legacy_caller(session.opening, exchange.state, session.id)
        channel = LegacyChannel(session, exchange.stream, self._hub)
        answer = None
        try:
            answer = await self._run(
                exchange, request, guarded(self._gateway, initialize_result(self._gateway, caller, channel)), None
            )
        finally:
            if answer is None or answer.error is not None:
                self._sessions.end(session)

    async def request(self, exchange: Exchange, request: Request) -> None:
        """Any other request of a session."""
        session = self._session(exchange)
        if (type(request.id), request.id) in session.flights:
            raise CallerError(Reason.INVALID_MESSAGE, "the id belongs to a request under way", where="/id")
        caller = legacy_caller(session.opening, exchange.state, session.id)
        channel = LegacyChannel(session, exchange.stream, self._hub)
        if request.method == PING:
            await exchange.stream.finish(encode_answer(request.id, Answer(result=b"{}")), 200)
            return
        await self._run(
            exchange, request, self._gateway.handle(caller, request.method, request.params, channel), session
        )

    async def notification(self, exchange: Exchange, notification: Notification) -> None:
        """`notifications/cancelled` ends a request of the session; the others ask for nothing."""
        session = self._session(exchange)
        identity = notification.params.get("requestId")
        if notification.method == CANCELLED and isinstance(identity, str | int):
            flight = session.flights.get((type(identity), identity))
            if flight is not None:
                flight.cancel()
        await exchange.stream.empty(202)

    async def response(self, exchange: Exchange, response: Response) -> None:
        """The client's answer to a question of ours; a late one is taken and forgotten."""
        session = self._session(exchange)
        session.asks.resolve(response, exchange.body)
        await exchange.stream.empty(202)

    async def get(self, exchange: Exchange) -> None:
        """The stream for what belongs to no request, until client, session or task end it."""
        session = self._session(exchange)
        flight = Flight()
        watch = Watch(exchange.receive, exchange.stream, flight.cancel, keepalive_s=self._keepalive_s)
        session.listen(exchange.stream, flight)
        watch.arm()
        try:
            await flight.run(self._pump(exchange, session))
        finally:
            watch.disarm()
            session.unlisten(flight)
        await exchange.stream.end()

    async def delete(self, exchange: Exchange) -> None:
        """End the session and whatever it has under way."""
        self._sessions.end(self._session(exchange))
        await exchange.stream.empty(204)

    async def _run(
        self,
        exchange: Exchange,
        request: Request,
        work: Coroutine[Any, Any, Answer],
        session: Session | None,
    ) -> Answer | None:
        """Answer a request, cancellable by its session if there is one yet."""
        stream = exchange.stream
        flight = Flight()
        watch = Watch(exchange.receive, stream, _nothing, keepalive_s=self._keepalive_s)
        key = (type(request.id), request.id)
        if session is not None:
            session.flights[key] = flight
        watch.arm()
        try:
            answer = await flight.run(work)
        finally:
            watch.disarm()
            if session is not None:
                session.flights.pop(key, None)
        if answer is None:
            await stream.end()
            return None
        # To these clients 404 says that the session is lost, and others drop the body of an error status.
        status = 200 if answer.status < 500 else answer.status
        await stream.finish(encode_answer(request.id, answer), status)
        return answer

    async def _pump(self, exchange: Exchange, session: Session) -> None:
        await exchange.stream.start()
        try:
            with self._gateway.underway.during(exchange.state.task):
                while not session.ended:
                    exchange.alive()
                    notice = await session.mailbox.get(LIVENESS_S)
                    if notice is not None and not await exchange.stream.event(encode_notification(*notice)):
                        session.mailbox.put(*notice)
                        return
        except LictorError:
            return  # its task has ended, or was stopped (REVO-05)

    def _session(self, exchange: Exchange) -> Session:
        """The session of a request.

        Raises:
            CallerError: INVALID_MESSAGE: none is named (400); UNKNOWN_TASK: it is not this task's, or is no more (404);
                HEADER_MISMATCH: a version that sessions do not have.
        """
        head = exchange.head
        identity = head.only(b"mcp-session-id")
        if identity is None:
            raise CallerError(
                Reason.INVALID_MESSAGE, "no session: send initialize first, or a request with its own metadata"
            )
        session = self._sessions.find(identity, exchange.state.task.id)
        if session is None:
            raise TurnedError(404, Reason.INVALID_MESSAGE, "there is no such session")
        version = head.only(b"mcp-protocol-version")
        if version is not None and version not in LEGACY_VERSIONS:
            # It SHOULD be the negotiated one and MUST be one we serve ("Protocol Version Header"); nothing depends on it.
            text = f"mcp-protocol-version {version[:64]!r} is not served; this session has {session.opening.version!r}"
            raise CallerError(Reason.HEADER_MISMATCH, text)
        return session


def _nothing() -> None:
    """A disconnect is not a cancellation (spec 2025-11-25, "Sending Messages", 6)."""
