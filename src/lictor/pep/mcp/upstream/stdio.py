"""An MCP server on the standard streams of a process of ours (spec 2026-07-28 and 2025-11-25, stdio).

One message a line; every reply is matched to an id of ours. Refuses to know policy and clients.
"""

import asyncio
import itertools
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Self

from lictor.model.errors import UpstreamError
from lictor.model.limits import Limits
from lictor.model.reasons import Reason
from lictor.pep.mcp.seam import Ask, Era, Notify, Offer, Reply
from lictor.pep.mcp.upstream.failures import down, late, quoted, unsent
from lictor.pep.mcp.upstream.inbox import Inbox, report
from lictor.pep.mcp.upstream.negotiate import negotiate
from lictor.pep.mcp.upstream.pending import (
    Counters,
    Exchange,
    Failure,
    Pending,
    subscription_of,
    without_subscription,
    without_token,
)
from lictor.pep.mcp.upstream.process import OnStderr, ServerProcess
from lictor.pep.mcp.upstream.wire import (
    CANCELLED,
    PROGRESS,
    Notification,
    Request,
    Response,
    claimed_id,
    decode,
    encode_notification,
    encode_request,
    modern_meta,
)

_LISTEN = "subscriptions/listen"


class StdioUpstream:
    """`seam.Upstream` over a process's standard streams. Make it with `start`.

    Attributes:
        name: the server's name in configuration.
        offer: what was negotiated.
        counters: what was ignored.
    """

    offer: Offer

    def __init__(self, name: str, limits: Limits, ask: Ask, notify: Notify) -> None:
        """Use `start`."""
        self.name = name
        self.counters = Counters()
        self._limits = limits
        self._inbox = Inbox(ask, notify, self._respond, limits, self.counters)
        self._pending = Pending()
        self._ids = itertools.count(1)
        self._modern = False
        self._spoken = False
        self._end: Failure | None = None
        self._process: ServerProcess | None = None
        self._stopping: asyncio.Task[None] | None = None
        self._listening: set[int] = set()

    @classmethod
    async def start(
        cls,
        name: str,
        command: Sequence[str],
        env: dict[str, str],
        cwd: str | Path | None,
        limits: Limits,
        ask: Ask,
        notify: Notify,
        *,
        capabilities: dict[str, Any] | None = None,
        on_stderr: OnStderr | None = None,
        legacy_first: bool = False,
    ) -> Self:
        """Start a server and agree with it on a version. A server that the probe kills is started once more without it.

        Args:
            name: its name in configuration.
            command: program and arguments; no shell.
            env: its whole environment.
            cwd: its folder; None for ours.
            limits: `upstream_*`.
            ask: answers requests of a legacy server.
            notify: receives notifications that belong to no request.
            capabilities: what to declare to a legacy server.
            on_stderr: receives what it writes to stderr, as it comes.
            legacy_first: prefer the handshake era with a server of both.

        Raises:
            UpstreamError: it does not start, does not answer or speaks no common version; nothing is left running.
                `effect_possible` is False: no request of a caller was sent.
        """
        self = cls(name, limits, ask, notify)
        try:
            try:
                offer = await self._open(
                    command, env, cwd, capabilities or {}, on_stderr, probe=True, legacy_first=legacy_first
                )
            except UpstreamError as error:
                if error.reason is not Reason.UPSTREAM_DOWN:
                    raise
                self = cls(name, limits, ask, notify)
                offer = await self._open(command, env, cwd, capabilities or {}, on_stderr, probe=False)
        except UpstreamError as error:
            raise unsent(error) from error
        self.offer = offer
        self._modern = offer.era is Era.MODERN
        self._inbox.legacy = self._inbox.may_ask = not self._modern
        return self

    async def _open(
        self,
        command: Sequence[str],
        env: dict[str, str],
        cwd: str | Path | None,
        capabilities: dict[str, Any],
        on_stderr: OnStderr | None,
        *,
        probe: bool,
        legacy_first: bool = False,
    ) -> Offer:
        """Start the process and negotiate; on failure nothing is left running."""
        self._process = await ServerProcess.spawn(
            command,
            env,
            cwd,
            on_line=self._on_line,
            on_end=self._on_end,
            on_stderr=on_stderr,
            max_line_bytes=self._limits.upstream_message_bytes,
        )
        try:
            return await negotiate(
                self, self._limits, capabilities=capabilities, probe=probe, legacy_first=legacy_first
            )
        except BaseException:
            await self.close()
            raise

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
        header_params: dict[str, tuple[str, ...]] | None = None,  # noqa: ARG002 - HTTP only
    ) -> Reply:
        """See `seam.Upstream.request`.

        Raises:
            UpstreamError: UPSTREAM_DOWN, _TIMEOUT, _INVALID, _TOO_LARGE; `effect_possible` once the line was written.
        """
        exchange = self._exchange(wants=notify is not None, progress=progress)
        line = encode_request(
            exchange.id,
            method,
            params,
            sealed_arguments=sealed_arguments,
            own_meta=modern_meta(self.offer.version, client_capabilities) if self._modern else None,
            progress=progress,
        )
        return await self._run(exchange, line, timeout_s, notify)

    async def notify(self, method: str, params: dict[str, Any]) -> None:
        """See `seam.Upstream.notify`.

        Raises:
            UpstreamError: UPSTREAM_DOWN, or _TIMEOUT when the server does not read.
        """
        await self._send(encode_notification(method, params))

    async def listen(self, params: dict[str, Any], notify: Notify) -> None:
        """See `seam.Upstream.listen`. Returns when the server ends the subscription in good order.

        Raises:
            UpstreamError: UPSTREAM_DOWN: the server went away; UPSTREAM_INVALID: it refused; INTERNAL: it is a legacy server.
        """
        if not self._modern:
            raise UpstreamError(Reason.INTERNAL, "a legacy server has no subscriptions", effect_possible=False)
        exchange = self._exchange(wants=True)
        line = encode_request(exchange.id, _LISTEN, params, own_meta=modern_meta(self.offer.version, None))
        self._listening.add(exchange.id)
        try:
            reply = await self._run(exchange, line, None, notify)
        finally:
            self._listening.discard(exchange.id)
        if reply.error is not None:
            raise UpstreamError(
                Reason.UPSTREAM_INVALID,
                f"the server refuses the subscription: {quoted(reply.error)}",
                effect_possible=False,
            )

    @property
    def alive(self) -> bool:
        """Whether a request may still be tried."""
        return self._end is None and self._process is not None

    async def close(self) -> None:
        """See `seam.Upstream.close`: at most some six seconds; requests under way fail with UPSTREAM_DOWN."""
        self._on_end(Reason.UPSTREAM_DOWN, "the connection was closed")
        await self._inbox.close()
        if self._process is not None:
            await self._process.stop()

    async def abort(self) -> None:
        """See `seam.Upstream.abort`."""
        self._on_end(Reason.UPSTREAM_DOWN, "the connection was ended")
        await self._inbox.close()
        if self._process is not None:
            await self._process.kill()

    def strike(self) -> None:
        """See `seam.Upstream.strike`."""
        if self._process is not None:
            self._process.strike()

    @property
    def stderr(self) -> bytes:
        """The end of what the server wrote to stderr (at most 64 KiB). Untrusted text."""
        return self._process.stderr if self._process is not None else b""

    @property
    def pid(self) -> int | None:
        """The process, while it runs."""
        return self._process.pid if self._process is not None else None

    # -- negotiate.Line ----------------------------------------------------------------------------------------------------

    async def send(self, method: str, params: dict[str, Any], *, version: str | None, timeout_s: float) -> Reply:
        """A request before anything is agreed.

        It is never cancelled: `initialize` must not be (spec 2025-11-25, cancellation), and some legacy servers die of any
        notification that precedes it.
        """
        exchange = self._exchange(wants=False)
        meta = modern_meta(version, None) if version is not None else None
        line = encode_request(exchange.id, method, params, own_meta=meta)
        return await self._run(exchange, line, timeout_s, None, cancel=False)

    async def announce(self, method: str, *, version: str) -> None:  # noqa: ARG002 - HTTP says it in a header
        """The end of the handshake."""
        self._inbox.may_ask = True
        await self._send(encode_notification(method, {}))

    # -- sending -----------------------------------------------------------------------------------------------------------

    def _exchange(self, *, wants: bool, progress: bool = False) -> Exchange:
        size = self._limits.upstream_message_bytes
        return Exchange(next(self._ids), max_bytes=size, wants=wants, progress=progress)

    async def _run(
        self, exchange: Exchange, line: bytes, timeout_s: float | None, notify: Notify | None, *, cancel: bool = True
    ) -> Reply:
        self._pending.add(exchange)
        clock = asyncio.timeout(timeout_s)
        try:
            async with clock:
                await self._write(line, exchange)
                return await exchange.outcome(notify)
        except TimeoutError as error:
            if not clock.expired():
                raise
            raise late(f"no answer within {timeout_s:g} s", effect_possible=exchange.written) from error
        finally:
            if self._pending.drop(exchange) and cancel and exchange.written:
                self._cancel(exchange.id)

    async def _write(self, line: bytes, exchange: Exchange) -> None:
        """Hand over one message, at most once."""
        process = self._process
        if process is not None:
            await process.writable()
        if self._end is not None or process is None:
            raise self._gone()
        exchange.written = process.write(line + b"\n")
        if not exchange.written:
            raise down("the server closed its input", effect_possible=False)

    async def _send(self, line: bytes) -> None:
        """Hand over a message that has no reply."""
        exchange = Exchange(0, max_bytes=0, wants=False)
        clock = asyncio.timeout(self._limits.upstream_connect_timeout_s)
        try:
            async with clock:
                await self._write(line, exchange)
        except TimeoutError as error:
            raise late("the server does not read its input", effect_possible=False) from error

    async def _respond(self, line: bytes) -> None:
        await self._send(line)

    def _cancel(self, id: int) -> None:  # noqa: A002 - the word of the protocol
        """Tell the server to stop (stdio, both eras). Best effort, never waits."""
        if self._process is None or not self._process.write(
            encode_notification(CANCELLED, {"requestId": id, "reason": "cancelled"}) + b"\n"
        ):
            self.counters.failed_sends += 1

    def _gone(self) -> UpstreamError:
        end = self._end or Failure(Reason.UPSTREAM_DOWN, "the server is not running")
        return UpstreamError(end.reason, end.message, effect_possible=False)

    # -- receiving ---------------------------------------------------------------------------------------------------------

    def _on_end(self, reason: Reason, message: str) -> None:
        """Nothing more will come: every request under way fails, and the process is stopped."""
        if self._end is not None:
            return
        self._end = Failure(reason, message)
        self._pending.end_all(self._end)
        if self._process is not None:
            self._stopping = asyncio.get_running_loop().create_task(self._process.stop())
            self._stopping.add_done_callback(report)

    def _on_line(self, line: bytes) -> None:
        if not self._spoken and not line.lstrip().startswith((b"{", b"[")):
            # Banners before the first message are common and claim nothing; later they mean a confused stream.
            self.counters.noise_lines += 1
            return
        try:
            message = decode(line, self._limits, effect_possible=True)
        except UpstreamError as error:
            if not self._pending.end(claimed_id(line), Failure(error.reason, error.message)):
                self._on_end(error.reason, error.message)
            return
        self._spoken = True
        match message:
            case Response():
                self._on_response(message)
            case Notification():
                self._on_notification(message)
            case Request():
                self._inbox.request(message)

    def _on_response(self, response: Response) -> None:
        if self._pending.end(response.id, response.reply):
            return
        self.counters.unmatched_replies += 1
        only = self._pending.only()
        if response.id is None and only is not None:
            text = f"the server answers with an error that names no request: {quoted(response.reply.error)}"
            self._pending.end(only.id, Failure(Reason.UPSTREAM_INVALID, text))

    def _on_notification(self, notification: Notification) -> None:
        params = notification.params
        if notification.method == PROGRESS:
            exchange = self._pending.find(params.get("progressToken"))
            exchange = exchange if exchange is not None and exchange.progress else None
            notification = Notification(PROGRESS, without_token(params), notification.size)
        elif (subscription := subscription_of(params)) is not None:
            exchange = self._pending.find(subscription)
            notification = without_subscription(notification)
        elif notification.method == CANCELLED and self._modern:
            # Only a subscription can be ended by the server (spec 2026-07-28, cancellation).
            self._end_subscription(params.get("requestId"))
            return
        else:
            exchange = self._pending.only() if self._modern else None
            if exchange is None or not exchange.wants or exchange.id in self._listening:
                self._inbox.notification(notification)
                return
        if exchange is None or not exchange.offer(notification):
            self.counters.dropped_notifications += 1

    def _end_subscription(self, id: Any) -> None:  # noqa: A002 - the word of the protocol
        if type(id) is int and id in self._listening and self._pending.end(id, Reply(result=b"{}")):
            return
        self.counters.dropped_notifications += 1
