"""A client on the standard streams of our process: one message a line, both eras on one connection.

Spec 2026-07-28 and 2025-11-25, transports, stdio. The connection belongs to one task; the identity is the process that started
us. Refuses to know policy and servers; every request goes to the gateway.
"""

import asyncio
from collections.abc import Awaitable, Callable, Coroutine
from typing import Any, BinaryIO, Final, Protocol

from lictor.model.errors import CallerError, LictorError, StoreError
from lictor.model.ids import TaskId
from lictor.model.limits import Limits
from lictor.model.reasons import Reason
from lictor.model.task import TaskState, TaskStatus
from lictor.pep.mcp.downstream.asks import Asks, cannot_ask
from lictor.pep.mcp.downstream.door import claim_of, defect, encode_answer, read_message, refusal
from lictor.pep.mcp.downstream.eras import (
    CANCELLED,
    DISCOVER,
    INITIALIZE,
    LISTEN,
    PING,
    Opening,
    discover_result,
    guarded,
    initialize_result,
    is_modern,
    legacy_caller,
    modern_caller,
    opening_of,
)
from lictor.pep.mcp.downstream.lines import Lines, Overlong
from lictor.pep.mcp.downstream.listening import listen
from lictor.pep.mcp.downstream.notices import MESSAGE, Hub, is_about_server
from lictor.pep.mcp.downstream.pipes import FdReader, FdWriter, Reader, Writer
from lictor.pep.mcp.downstream.relevance import passes_to_modern
from lictor.pep.mcp.gateway import Gateway
from lictor.pep.mcp.seam import Answer, Caller, Era, Reply
from lictor.ports import Clock, RecordStore
from lictor.protocol.jsonrpc import MessageId, Notification, Request, Response, encode_notification

CONNECTION: Final = "stdio"
READ_BYTES: Final = 64 * 1024
UNDER_WAY: Final = 256
"""Messages being worked on before reading waits; the gateway refuses long before (`inflight_per_task`)."""
GOODBYE_S: Final = 5.0
"""What cancelled requests get to end, when the client has gone."""

Record = Callable[[bytes, LictorError], Awaitable[None]]
"""Writes down what the door turned away; raises StoreError."""

Key = tuple[type, MessageId]
"""The type belongs to an id: 1 and "1" are different."""


class StdioDownstream:
    """One client."""

    def __init__(
        self,
        gateway: Gateway,
        task: Callable[[], TaskState],
        reader: Reader,
        writer: Writer,
        limits: Limits,
        record_refusal: Record,
    ) -> None:
        """Serve with `run`.

        Args:
            gateway: answers requests.
            task: the connection's task as it is now; raises `CallerError` once it has ended.
            reader: the client's bytes.
            writer: ours.
            limits: `message_bytes` and the JSON bounds apply to each line.
            record_refusal: writes down what is turned away.
        """
        self._gateway = gateway
        self._task = task
        self._reader = reader
        self._writer = writer
        self._limits = limits
        self._record = record_refusal
        self._hub = Hub()
        self._asks = Asks()
        self._opening: Opening | None = None
        self._flights: dict[Key, asyncio.Task[None]] = {}
        self._jobs: set[asyncio.Task[None]] = set()
        self._slots = asyncio.Semaphore(UNDER_WAY)
        self._gone = asyncio.Event()

    async def run(self) -> None:
        """Serve until the client closes its end or cannot be written to; then everything under way is cancelled."""
        reading = asyncio.create_task(self._read())
        gone = asyncio.create_task(self._gone.wait())
        try:
            await asyncio.wait((reading, gone), return_when=asyncio.FIRST_COMPLETED)
            if reading.done():
                reading.result()
        finally:
            self._asks.close()
            jobs = [reading, gone, *self._jobs]
            for job in jobs:
                job.cancel()
            await asyncio.wait(jobs, timeout=GOODBYE_S)

    # -- reading -----------------------------------------------------------------------------------------------------------

    async def _read(self) -> None:
        lines = Lines(self._limits.message_bytes)
        while chunk := await self._reader.read(READ_BYTES):
            for line in lines.feed(chunk):
                if isinstance(line, Overlong):
                    most = self._limits.message_bytes
                    error = CallerError(Reason.TOO_LARGE, f"a line has more than {most} bytes")
                    await self._spawn(self._refuse(line.head, error, None))
                else:
                    await self._line(line)

    async def _line(self, data: bytes) -> None:
        try:
            message = read_message(data, self._limits)
        except CallerError as error:
            claim = claim_of(data, self._limits)
            await self._spawn(self._refuse(data, error, claim.id, answer=claim.answerable))
            return
        match message:
            case Request():
                await self._request(message, data)
            case Notification():
                self._notification(message)
            case Response():
                self._asks.resolve(message, data)

    async def _request(self, request: Request, data: bytes) -> None:
        key = (type(request.id), request.id)
        try:
            caller = self._caller(request, taken=key in self._flights)
        except CallerError as error:
            await self._spawn(self._refuse(data, error, request.id))
            return
        except LictorError as error:
            await self._spawn(self._send(encode_answer(request.id, refusal(error))))
            return
        job = await self._spawn(self._serve(request, caller))
        if request.method != INITIALIZE:  # never cancelled (spec 2025-11-25, cancellation)
            self._flights[key] = job
            job.add_done_callback(lambda _: self._flights.pop(key, None))

    def _caller(self, request: Request, *, taken: bool) -> Caller:
        """Who asks, in which era.

        Raises:
            CallerError: the task has ended; id, metadata or handshake are not acceptable.
        """
        if taken:
            raise CallerError(Reason.INVALID_MESSAGE, "the id belongs to a request under way", where="/id")
        state = self._task()
        if is_modern(request):
            return modern_caller(request, state, CONNECTION)
        if request.method == INITIALIZE:
            if self._opening is not None:
                raise CallerError(Reason.INVALID_MESSAGE, "already initialized")
            self._opening = opening_of(request)
        if self._opening is None and request.method == PING:
            return legacy_caller(Opening(version="", capabilities={}, client_info={}), state, CONNECTION)
        if self._opening is None:
            raise CallerError(
                Reason.INVALID_MESSAGE, "not initialized: the first request is initialize, or carries its own metadata"
            )
        return legacy_caller(self._opening, state, CONNECTION)

    def _notification(self, notification: Notification) -> None:
        """`notifications/cancelled` ends a request; the others ask for nothing."""
        if notification.method != CANCELLED:
            return
        identity = notification.params.get("requestId")
        if isinstance(identity, str | int):
            job = self._flights.get((type(identity), identity))
            if job is not None:
                job.cancel()

    # -- answering ---------------------------------------------------------------------------------------------------------

    async def _serve(self, request: Request, caller: Caller) -> None:
        """One request. Cancelled by the client it ends without a word (spec, cancellation)."""
        channel = StdioChannel(self, request, caller)
        try:
            answer = await self._answer(request, caller, channel)
        except Exception as error:  # noqa: BLE001 - the client must not wait for ever
            self._gateway.on_defect(error)
            answer = defect()
        finally:
            channel.open = False
        await self._send(encode_answer(request.id, answer))

    async def _answer(self, request: Request, caller: Caller, channel: "StdioChannel") -> Answer:
        modern = caller.era is Era.MODERN
        if request.method == DISCOVER and modern:
            return await guarded(self._gateway, discover_result(self._gateway, caller, channel))
        if request.method == LISTEN and modern:
            return await guarded(self._gateway, self._listen(request, caller, channel))
        if request.method == INITIALIZE and not modern:
            answer = await guarded(self._gateway, initialize_result(self._gateway, caller, channel))
            if answer.error is not None:
                self._opening = None  # nothing was agreed: the client may try again
            return answer
        if request.method == PING and not modern:
            return Answer(result=b"{}")
        return await self._gateway.handle(caller, request.method, request.params, channel)

    async def _listen(self, request: Request, caller: Caller, channel: "StdioChannel") -> bytes:
        return await listen(
            self._gateway, caller, request, self._send, hub=self._hub, channel=channel, alive=self._task
        )

    async def _refuse(
        self, data: bytes, error: LictorError, identity: MessageId | None, *, answer: bool = True
    ) -> None:
        """Write down what was turned away, then say so; what cannot be written down is said instead."""
        try:
            await self._record(data, error)
        except StoreError as failed:
            error = failed
        if answer:
            await self._send(encode_answer(identity, refusal(error)))

    # -- writing -----------------------------------------------------------------------------------------------------------

    async def ask(self, method: str, params: dict[str, Any], *, timeout_s: float) -> Reply:
        """Ask the legacy client; see `Channel.ask`.

        Raises:
            CallerError: as `Asks.ask`.
        """
        return await self._asks.ask(self._sent, method, params, timeout_s=timeout_s)

    async def notice(self, method: str, params: dict[str, Any], task: TaskId) -> None:
        """A notice that belongs to no request: to subscriptions, and to a client that did the handshake."""
        self._hub.publish(task, method, params)
        if self._opening is not None:
            await self._send(encode_notification(method, params))

    async def _sent(self, line: bytes) -> bool:
        await self._send(line)
        return not self._gone.is_set()

    async def _send(self, line: bytes) -> None:
        """One message. A client that cannot be written to is gone."""
        try:
            self._writer.write(line + b"\n")
            await self._writer.drain()
        except OSError:
            self._gone.set()

    async def _spawn(self, work: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        await self._slots.acquire()
        job = asyncio.create_task(work)
        self._jobs.add(job)
        job.add_done_callback(self._ended)
        return job

    def _ended(self, job: asyncio.Task[None]) -> None:
        self._slots.release()
        self._jobs.discard(job)
        if not job.cancelled() and (error := job.exception()) is not None:
            self._gateway.on_defect(error)
            self._gone.set()


class StdioChannel:
    """`seam.Channel` of one request."""

    def __init__(self, client: StdioDownstream, request: Request, caller: Caller) -> None:
        """Open until the answer is sent."""
        self.open = True
        self._client = client
        self._request = request
        self._caller = caller

    async def notify(self, method: str, params: dict[str, Any]) -> None:
        """See `Channel.notify`. After the answer only what belongs to no request is still sent."""
        modern = self._caller.era is Era.MODERN
        if is_about_server(method):
            await self._client.notice(method, params, self._caller.task.task.id)
        elif (self.open or (method == MESSAGE and not modern)) and (
            not modern or passes_to_modern(self._request, method, params)
        ):
            await self._client._send(encode_notification(method, params))  # noqa: SLF001 - the two are one connection

    async def ask(self, method: str, params: dict[str, Any], *, timeout_s: float) -> Reply:
        """See `Channel.ask`."""
        if not self.can_ask:
            raise cannot_ask()
        return await self._client.ask(method, params, timeout_s=timeout_s)

    @property
    def can_ask(self) -> bool:
        """See `Channel.can_ask`."""
        return self._caller.era is Era.LEGACY


class _Settings(Protocol):
    @property
    def limits(self) -> Limits: ...


class House(Protocol):
    """What `serve_stdio` needs of `lictor.app.House`."""

    @property
    def store(self) -> RecordStore:
        """The log."""
        ...

    @property
    def clock(self) -> Clock:
        """The time."""
        ...

    @property
    def settings(self) -> _Settings:
        """The limits."""
        ...


async def serve_stdio(gateway: Gateway, house: House, task_id: TaskId, stdin: BinaryIO, stdout: BinaryIO) -> None:
    """Serve the client that started this process, until it goes or its task ends with the connection.

    Args:
        gateway: answers requests.
        house: log, clock and limits.
        task_id: the open task this connection acts for.
        stdin: binary standard input, unread.
        stdout: binary standard output, unwritten; nothing else may write to it.
    """
    stdout.flush()
    reader, writer = FdReader(stdin), FdWriter(stdout)

    def state() -> TaskState:
        return live_task(house.store, house.clock, task_id)

    async def record(data: bytes, error: LictorError) -> None:
        await gateway.authorize.turned_away(task_id, data, error)

    try:
        await StdioDownstream(gateway, state, reader, writer, house.settings.limits, record).run()
    finally:
        writer.close()
        reader.close()


def live_task(store: RecordStore, clock: Clock, task_id: TaskId) -> TaskState:
    """The task, while it has authority.

    Raises:
        CallerError: UNKNOWN_TASK, TASK_CLOSED, TASK_EXPIRED.
    """
    state = store.task(task_id)
    if state is None:
        raise CallerError(Reason.UNKNOWN_TASK, "the task is not known")
    if state.status is not TaskStatus.OPEN:
        raise CallerError(Reason.TASK_CLOSED, "the task is closed")
    if clock.now_ms() >= state.task.expires_at_ms:
        raise CallerError(Reason.TASK_EXPIRED, "the task has expired")
    return state
