"""An MCP server behind streamable HTTP (spec 2026-07-28 and 2025-11-25).

Every request is one POST, sent at most once and answered by JSON or an event stream. Refuses to know policy and clients.
"""

import asyncio
import itertools
import re
from collections.abc import Coroutine
from contextlib import suppress
from typing import Any, Final, Self

from lictor.model.errors import LictorError, UpstreamError
from lictor.model.limits import Limits
from lictor.model.reasons import Reason
from lictor.pep.mcp.seam import Ask, Era, Notify, Offer, Reply
from lictor.pep.mcp.upstream.client import USER_AGENT, Body, Session, send
from lictor.pep.mcp.upstream.failures import down, invalid, late, quoted, sent, unsent
from lictor.pep.mcp.upstream.headers import Mirror, check_configured
from lictor.pep.mcp.upstream.http1.address import Address, check_url
from lictor.pep.mcp.upstream.http1.outgoing import request_head, whole
from lictor.pep.mcp.upstream.http1.response import Response as HttpResponse
from lictor.pep.mcp.upstream.inbox import Inbox, report
from lictor.pep.mcp.upstream.negotiate import negotiate
from lictor.pep.mcp.upstream.pending import Counters, subscription_of, without_subscription, without_token
from lictor.pep.mcp.upstream.replies import JSON, SSE, Call, check_id, media_type, read_reply, status_error
from lictor.pep.mcp.upstream.stream import EventStream
from lictor.pep.mcp.upstream.watch import retry_s, watch
from lictor.pep.mcp.upstream.wire import (
    CANCELLED,
    PROGRESS,
    Notification,
    Request,
    Response,
    ServerMessage,
    encode_notification,
    encode_request,
    modern_meta,
)
from lictor.service.calls.timer import Deadline

_SESSION: Final = "Mcp-Session-Id"
_SESSION_ID: Final = re.compile(r"[\x21-\x7e]{1,1024}")
_VERSION: Final = "MCP-Protocol-Version"
_GOODBYE_S: Final = 2.0


class HttpUpstream:
    """`seam.Upstream` over streamable HTTP. Make it with `start`.

    Attributes:
        name: the server's name in configuration.
        offer: what was negotiated.
        counters: what was ignored.
    """

    offer: Offer

    def __init__(
        self,
        name: str,
        address: Address,
        headers: dict[str, str],
        limits: Limits,
        ask: Ask,
        notify: Notify,
        session: Session,
    ) -> None:
        """Use `start`."""
        self.name = name
        self.counters = Counters()
        self._address = address
        self._limits = limits
        self._session = session
        self._pool = session.pool(address)
        self._inbox = Inbox(ask, notify, self._post, limits, self.counters)
        self._ids = itertools.count(1)
        self._modern = False
        self._closed = False
        self._session_id = ""
        self._lost = False
        own = {} if any(name.lower() == "user-agent" for name in headers) else {"User-Agent": USER_AGENT}
        self._fields = {**own, **headers, "Accept-Encoding": "identity"}
        self._head = b""
        self._mirror = Mirror("")
        self._set_field()
        self._deadlines: set[Deadline] = set()
        self._tasks: set[asyncio.Task[None]] = set()

    @classmethod
    async def start(
        cls,
        name: str,
        url: str,
        headers: dict[str, str],
        limits: Limits,
        ask: Ask,
        notify: Notify,
        session: Session,
        *,
        capabilities: dict[str, Any] | None = None,
        server_stream: bool = True,
        legacy_first: bool = False,
    ) -> Self:
        """Reach a server and agree with it on a version.

        Args:
            name: its name in configuration.
            url: its MCP endpoint.
            headers: fields from configuration, such as its credential.
            limits: `upstream_*`.
            ask: answers requests of a legacy server.
            notify: receives notifications that belong to no request.
            session: from `open_session`; shared, not closed here.
            capabilities: what to declare to a legacy server.
            legacy_first: prefer the handshake era with a server of both.
            server_stream: keep a GET stream open to a legacy server for what it says of its own accord.

        Raises:
            OperatorError: CONFIG_REFUSED: address or header fields are not acceptable.
            UpstreamError: not reachable, or no common version. `effect_possible` is False: no caller's request was sent.
        """
        self = cls(name, check_url(url), check_configured(headers), limits, ask, notify, session)
        try:
            offer = await negotiate(self, limits, capabilities=capabilities or {}, legacy_first=legacy_first)
        except UpstreamError as error:
            await self.close()
            raise unsent(error) from error
        except BaseException:
            await self.close()
            raise
        self.offer = offer
        self._modern = offer.era is Era.MODERN
        self._inbox.legacy = self._inbox.may_ask = not self._modern
        if not self._modern and server_stream:
            self._spawn(watch(self._get, self._inbox, self._limits, self.counters))
        return self

    # -- seam.Upstream -----------------------------------------------------------------------------------------------------

    async def request(
        self,
        method: str,
        params: dict[str, Any],
        *,
        sealed_arguments: bytes | None = None,
        client_capabilities: dict[str, Any] | None = None,
        timeout_s: float,
        notify: Notify | None = None,
        progress: bool = False,
        header_params: dict[str, tuple[str, ...]] | None = None,
    ) -> Reply:
        """See `seam.Upstream.request`.

        Raises:
            UpstreamError: UPSTREAM_DOWN, _TIMEOUT, _INVALID, _TOO_LARGE; `effect_possible` once writing had begun.
        """
        id_ = next(self._ids)
        meta, lines = None, b""
        if self._modern:
            meta = modern_meta(self.offer.version, client_capabilities)
            lines = self._mirror.lines(method, params, sealed_arguments=sealed_arguments, header_params=header_params)
        data = encode_request(id_, method, params, sealed_arguments=sealed_arguments, own_meta=meta, progress=progress)
        return await self._run(Call(id_, Body(data), notify, progress), lines, timeout_s)

    async def notify(self, method: str, params: dict[str, Any]) -> None:
        """See `seam.Upstream.notify`. A modern server has no use for one over HTTP (spec 2026-07-28): nothing is sent.

        Raises:
            UpstreamError: UPSTREAM_DOWN, _TIMEOUT, or UPSTREAM_INVALID when it is refused.
        """
        if not self._modern:
            await self._post(encode_notification(method, params))

    async def listen(self, params: dict[str, Any], notify: Notify) -> None:
        """See `seam.Upstream.listen`. Returns when the server ends the subscription in good order.

        Raises:
            UpstreamError: UPSTREAM_DOWN: the stream ended; UPSTREAM_INVALID: it was refused; INTERNAL: a legacy server.
        """
        if not self._modern:
            raise UpstreamError(Reason.INTERNAL, "a legacy server has no subscriptions", effect_possible=False)
        method, id_, version = "subscriptions/listen", next(self._ids), self.offer.version
        body = Body(encode_request(id_, method, params, own_meta=modern_meta(version, None)))

        async def own_only(name: str, members: dict[str, Any]) -> None:
            if subscription_of(members) != id_:
                self.counters.dropped_notifications += 1
                return
            stripped = without_subscription(Notification(name, members, 0))
            await notify(stripped.method, stripped.params)

        reply = await self._run(Call(id_, body, own_only, listens=True), self._mirror.lines(method, params), None)
        if reply.error is not None:
            text = f"the server refuses the subscription: {quoted(reply.error)}"
            raise invalid(text, effect_possible=False)

    @property
    def alive(self) -> bool:
        """Whether a request may still be tried."""
        return not self._closed and not self._lost

    async def close(self) -> None:
        """See `seam.Upstream.close`: at most some four seconds; requests under way fail with UPSTREAM_DOWN."""
        if self._closed:
            return
        self._closed = True
        tasks = list(self._tasks)
        for task in tasks:
            task.cancel()
        await self._inbox.close()
        if tasks:
            await asyncio.wait(tasks, timeout=1)
        for deadline in self._deadlines:
            deadline.end()
        if self._session_id and not self._lost:
            with suppress(UpstreamError):
                response = await send(self._pool, self._bare("DELETE"), head_s=_GOODBYE_S)
                response.release()

    async def abort(self) -> None:
        """See `seam.Upstream.abort`: an HTTP connection is dropped by closing it."""
        await self.close()

    def strike(self) -> None:
        """See `seam.Upstream.strike`: the connection is the event loop's alone, and is dropped when that goes on."""

    # -- negotiate.Line ----------------------------------------------------------------------------------------------------

    async def send(self, method: str, params: dict[str, Any], *, version: str | None, timeout_s: float) -> Reply:
        """A request before anything is agreed. It is never cancelled (spec 2025-11-25, cancellation)."""
        id_ = next(self._ids)
        lines, meta = b"", None
        if version is not None:
            self._mirror = Mirror(version)
            lines, meta = self._mirror.lines(method, params), modern_meta(version, None)
        body = Body(encode_request(id_, method, params, own_meta=meta))
        call = Call(id_, body, opens_session=version is None)
        return await self._run(call, lines, timeout_s, cancel=False)

    async def announce(self, method: str, *, version: str) -> None:
        """The end of the handshake: from here on every request names the version (spec 2025-11-25, transports)."""
        self._set_field(_VERSION, version)
        self._inbox.may_ask = True
        await self._post(encode_notification(method, {}))

    # -- one request -------------------------------------------------------------------------------------------------------

    async def _run(self, call: Call, lines: bytes, timeout_s: float | None, *, cancel: bool = True) -> Reply:
        """One exchange within its deadline; given up, it is cancelled at the server."""
        if not self.alive:
            raise down("the connection is closed", effect_possible=False)
        body = call.body
        deadline = Deadline(timeout_s)
        self._deadlines.add(deadline)
        try:
            return await self._exchange(call, lines)
        except asyncio.CancelledError as error:
            own = deadline.stop()
            if self._closed and own:
                raise down("the connection was closed", effect_possible=body.started) from error
            self._give_up(call, cancel=cancel)
            if not own:
                raise
            raise late(f"no answer within {timeout_s or 0:g} s", effect_possible=body.started) from error
        except UpstreamError as error:
            # Whatever failed later, such as a reconnection without a body of its own: the request itself was written.
            if body.started and not error.effect_possible:
                raise sent(error) from error
            raise
        finally:
            self._deadlines.discard(deadline)
            deadline.stop()

    async def _exchange(self, call: Call, lines: bytes) -> Reply:
        body = call.body
        # A subscription lasts: it takes no connection from calls, and only its head has a deadline.
        pool = self._session.pool(self._address, lasting=True) if call.listens else self._pool
        head_s = self._limits.upstream_timeout_s if call.listens else None
        response = await send(pool, whole(self._head, lines, body.data), body, head_s=head_s)
        stream: EventStream | None = None
        answered = False
        try:
            self._check_status(response, call)
            kind = media_type(response)
            if kind == SSE and response.ok:
                stream = EventStream(response, self._limits, call.body)
                reply = await self._follow(call, stream)
            else:
                if kind != JSON:
                    raise status_error(call, response, f"content type {quoted(kind)}")
                reply = await read_reply(call, response, self._limits)
            answered = True
            return reply
        finally:
            self._leave(response if stream is None else stream.response, answered=answered)

    def _check_status(self, response: HttpResponse, call: Call | None) -> None:
        """Note a session that is opened or lost (spec 2025-11-25, "Session Management")."""
        sent = call is not None and call.body.started
        if call is not None and call.opens_session and response.ok:
            session_id = response.head.text(_SESSION.lower().encode())
            if session_id is not None and not _SESSION_ID.fullmatch(session_id):
                raise invalid(f"the server gave session id {quoted(session_id)}", effect_possible=sent)
            if session_id is not None:
                self._session_id = session_id
                self._set_field(_SESSION, session_id)
        elif response.status == 404 and self._session_id:
            self._lost = True
            raise down("the server ended the session", effect_possible=sent)

    async def _follow(self, call: Call, stream: EventStream) -> Reply:
        """Read an event stream up to the answer, through reconnections where the server offers them."""
        while True:
            message = await stream.next()
            if message is None:
                await self._resume(call, stream)
                continue
            reply = await self._take(call, message)
            if reply is not None:
                return reply

    async def _take(self, call: Call, message: ServerMessage) -> Reply | None:
        """One message of a call's own stream; the reply if it is that."""
        match message:
            case Response():
                check_id(call, message)
                return message.reply
            case Request():
                self._inbox.request(message)
            case Notification(method=method, params=params):
                if method == PROGRESS:
                    token = params.get("progressToken")
                    if call.notify is None or not call.progress or type(token) is not int or token != call.id:
                        self.counters.dropped_notifications += 1
                    else:
                        await call.notify(method, without_token(params))
                elif call.notify is None or (not call.listens and (method == CANCELLED or _is_change(message))):
                    self._inbox.notification(message)
                else:
                    await call.notify(method, params)
        return None

    async def _resume(self, call: Call, stream: EventStream) -> None:
        """Reconnect to a legacy stream (spec 2025-11-25, "Resumability"). A GET: the request itself is never sent again.

        Raises:
            UpstreamError: UPSTREAM_DOWN: the server offers no reconnection, or refuses it.
        """
        stream.response.close()
        if self._modern or not stream.last_event_id:
            raise down("the server closed its stream before the answer", effect_possible=True)
        await asyncio.sleep(retry_s(stream))
        response = await self._get(stream.last_event_id)
        if response is None:
            raise down("the server closed its stream before the answer", effect_possible=call.body.started)
        stream.resume(response)

    def _leave(self, response: HttpResponse, *, answered: bool) -> None:
        """Give a connection back if its reply has ended or is about to; else close it, which cancels a modern request."""
        if answered and response.at_end:
            response.release()
        elif answered and not self._closed:
            response.let_go()
        else:
            response.close()

    def _give_up(self, call: Call, *, cancel: bool) -> None:
        """Tell a legacy server to stop; for a modern one the closed stream says it (spec 2026-07-28, cancellation)."""
        if cancel and call.body.started and not self._modern and self.alive:
            self._spawn(self._post_cancel(call.id))

    # -- messages without a reply ------------------------------------------------------------------------------------------

    async def _post_cancel(self, id: int) -> None:  # noqa: A002 - the word of the protocol
        try:
            await self._post(encode_notification(CANCELLED, {"requestId": id, "reason": "cancelled"}))
        except LictorError:
            self.counters.failed_sends += 1

    async def _post(self, data: bytes) -> None:
        """Send a notification or an answer of ours to a legacy server."""
        if not self.alive:
            raise down("the connection is closed", effect_possible=False)
        call = Call(0, Body(data))
        head_s = self._limits.upstream_connect_timeout_s
        response = await send(self._pool, whole(self._head, b"", data), call.body, head_s=head_s)
        try:
            self._check_status(response, call)
            if not response.ok:
                raise status_error(call, response, "to a notification")
        finally:
            response.let_go()

    # -- what a legacy server says of its own accord -----------------------------------------------------------------------

    async def _get(self, last_event_id: str) -> HttpResponse | None:
        """Open a stream to listen; None: the server does not offer it."""
        more = {"Accept": SSE}
        if last_event_id:
            more["Last-Event-ID"] = last_event_id
        pool = self._session.pool(self._address, lasting=True)
        response = await send(pool, self._bare("GET", more), head_s=self._limits.upstream_timeout_s)
        kind = media_type(response)
        if response.status != 200 or kind != SSE:
            response.close()
            self._check_status(response, None)
            return None
        return response

    # -- heads of requests -------------------------------------------------------------------------------------------------

    def _set_field(self, name: str = "", value: str = "") -> None:
        """Every request carries it from here on; the head they share is written anew."""
        if name:
            self._fields[name] = value
        fields = {**self._fields, "Accept": f"{JSON}, {SSE}", "Content-Type": JSON}
        self._head = request_head("POST", self._address, fields.items())

    def _bare(self, method: str, more: dict[str, str] | None = None) -> bytes:
        """A request without a body."""
        return request_head(method, self._address, {**self._fields, **(more or {})}.items()) + b"\r\n"

    def _spawn(self, coroutine: Coroutine[Any, Any, None]) -> None:
        task = asyncio.get_running_loop().create_task(coroutine)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        task.add_done_callback(report)


def _is_change(notification: Notification) -> bool:
    """Whether it is about the server, not about a request, on whatever stream it came."""
    return notification.method.endswith("/list_changed") or notification.method == "notifications/resources/updated"
