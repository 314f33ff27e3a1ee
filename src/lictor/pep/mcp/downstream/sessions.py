"""Sessions of legacy HTTP clients (spec 2025-11-25, transports, "Session Management"): opened by `initialize`, bound to a task.

A session id is no authority: every request brings its task's token, and a session of another task does not exist for it.
Refuses to know HTTP beyond the streams it is handed.
"""

from typing import Any, Final

from lictor.model.errors import CallerError
from lictor.model.ids import TaskId
from lictor.model.reasons import Reason
from lictor.pep.mcp.downstream.asks import Asks, cannot_ask
from lictor.pep.mcp.downstream.eras import Opening
from lictor.pep.mcp.downstream.notices import PROGRESS, Hub, Mailbox, is_about_server
from lictor.pep.mcp.downstream.stream import Flight, ResponseStream
from lictor.pep.mcp.seam import Reply
from lictor.ports import Clock, Ids
from lictor.protocol.jsonrpc import MessageId, encode_notification

SESSIONS_PER_TASK: Final = 16
"""A task is one agent's work; clients that crash and come back push their own oldest idle session out."""
SESSIONS: Final = 4096
"""All tasks together."""

Key = tuple[type, MessageId]


class Session:
    """One legacy client.

    Attributes:
        id: its name; visible ASCII.
        task: whose authority it acts under.
        opening: what was negotiated.
        asks: our questions to it.
        mailbox: notices that belong to no request, for its GET stream.
        flights: its requests under way, by id and type of id.
        stream: its GET stream, while one is open.
    """

    def __init__(self, identity: str, task: TaskId, opening: Opening, now_ms: int) -> None:
        """Made by `Sessions.open`."""
        self.id = identity
        self.task = task
        self.opening = opening
        self.asks = Asks()
        self.mailbox = Mailbox()
        self.flights: dict[Key, Flight] = {}
        self.stream: ResponseStream | None = None
        self.listening: Flight | None = None
        self.used_ms = now_ms
        self.ended = False

    @property
    def idle(self) -> bool:
        """Whether nothing of it is under way."""
        return not self.flights and self.listening is None

    def offer(self, method: str, params: dict[str, Any]) -> None:
        """A notice for its GET stream; kept until one is opened."""
        self.mailbox.put(method, params)

    def listen(self, stream: ResponseStream, flight: Flight) -> None:
        """Open the GET stream; an older one ends, for a client that reconnects knows better than we that it broke."""
        if self.listening is not None:
            self.listening.cancel()
        self.stream, self.listening = stream, flight

    def unlisten(self, flight: Flight) -> None:
        """The GET stream has ended."""
        if self.listening is flight:
            self.stream = self.listening = None

    def end(self) -> None:
        """Nothing of it goes on. Idempotent."""
        self.ended = True
        self.asks.close()
        for flight in (*self.flights.values(), *([self.listening] if self.listening else [])):
            flight.cancel()


class Sessions:
    """All sessions of one process."""

    def __init__(self, hub: Hub, clock: Clock, ids: Ids, *, idle_ms: int) -> None:
        """`idle_ms` ends a session that was not used for so long."""
        self._hub = hub
        self._clock = clock
        self._ids = ids
        self._idle_ms = idle_ms
        self._sessions: dict[str, Session] = {}

    def __len__(self) -> int:
        """How many are open."""
        return len(self._sessions)

    def open(self, task: TaskId, opening: Opening) -> Session:
        """A new session.

        Raises:
            CallerError: OVERLOADED: there are too many, and none is idle.
        """
        now = self._clock.now_ms()
        for session in [s for s in self._sessions.values() if self._expired(s, now)]:
            self._drop(session)
        own = [s for s in self._sessions.values() if s.task == task]
        if len(own) >= SESSIONS_PER_TASK:
            self._make_room(own, SESSIONS_PER_TASK)
        if len(self._sessions) >= SESSIONS:
            raise CallerError(Reason.OVERLOADED, "too many sessions are open")
        session = Session(self._ids.new("mcp"), task, opening, now)
        self._sessions[session.id] = session
        self._hub.join(task, session)
        return session

    def find(self, identity: str, task: TaskId) -> Session | None:
        """The session of this task by that name; None for unknown, ended, expired and other tasks' alike."""
        session = self._sessions.get(identity)
        if session is None or session.task != task:
            return None
        now = self._clock.now_ms()
        if self._expired(session, now):
            self._drop(session)
            return None
        session.used_ms = now
        return session

    def end(self, session: Session) -> None:
        """End a session. Idempotent."""
        self._drop(session)

    def end_task(self, task: TaskId) -> None:
        """End all sessions of a task."""
        for session in [one for one in self._sessions.values() if one.task == task]:
            self._drop(session)

    def _expired(self, session: Session, now_ms: int) -> bool:
        return session.idle and now_ms - session.used_ms >= self._idle_ms

    def _make_room(self, own: list[Session], most: int) -> None:
        idle = [session for session in own if session.idle]
        if not idle:
            raise CallerError(Reason.OVERLOADED, f"more than {most} sessions of one task")
        self._drop(min(idle, key=lambda session: session.used_ms))

    def _drop(self, session: Session) -> None:
        self._sessions.pop(session.id, None)
        self._hub.leave(session.task, session)
        session.end()


class LegacyChannel:
    """`seam.Channel` of one legacy request: its own stream while it lasts, the session's GET stream else."""

    def __init__(self, session: Session, stream: ResponseStream, hub: Hub) -> None:
        """`stream` is the response to the request."""
        self._session = session
        self._stream = stream
        self._hub = hub

    async def notify(self, method: str, params: dict[str, Any]) -> None:
        """See `Channel.notify`."""
        if is_about_server(method):
            self._hub.publish(self._session.task, method, params)
        elif self._stream.open:
            await self._stream.event(encode_notification(method, params))
        elif method != PROGRESS:
            self._session.offer(method, params)

    async def ask(self, method: str, params: dict[str, Any], *, timeout_s: float) -> Reply:
        """See `Channel.ask`."""
        if not self.can_ask:
            raise cannot_ask()
        return await self._session.asks.ask(self._send, method, params, timeout_s=timeout_s)

    @property
    def can_ask(self) -> bool:
        """See `Channel.can_ask`."""
        return not self._session.ended and (self._stream.open or self._session.stream is not None)

    async def _send(self, message: bytes) -> bool:
        if self._stream.open:
            return await self._stream.event(message)
        stream = self._session.stream
        return stream is not None and await stream.event(message)
