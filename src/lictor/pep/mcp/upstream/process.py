"""A server as a child process: started without a shell in a group of its own, read in lines, ended for certain.

Refuses to know what a line means. Commands come from configuration only, never from the network (docs/reference/mcp.md,
"stdio transport security in proxy scenarios").
"""

import asyncio
import os
import signal
from collections import deque
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Final, Self, cast

from lictor.model.reasons import Reason
from lictor.pep.mcp.upstream.compat import override
from lictor.pep.mcp.upstream.failures import down, quoted
from lictor.pep.mcp.upstream.lines import LineOverflowError, LineSplitter

STDERR_BYTES: Final = 64 * 1024
"""The end of what a server wrote to stderr is kept, for diagnostics."""
LINES_AT_ONCE: Final = 64
"""Lines handled before the loop gets its turn: a flood of one server must not starve the others."""
STOP_S: Final = 2.0
KILL_S: Final = 0.2
"""Between SIGTERM and SIGKILL for a server whose task was stopped: the promise is two seconds in all."""
"""Between closing stdin and SIGTERM, and between SIGTERM and SIGKILL."""
_EOF_AFTER_EXIT_S: Final = 0.5
"""A process that has exited may have left a last reply in the pipe; a grandchild may hold the pipe open for ever."""
_UNREAD_STDIN_BYTES: Final = 1024 * 1024
"""What a server has not read yet of what was written to it; beyond that, senders wait."""
_STDIN, _STDOUT, _STDERR = 0, 1, 2

OnLine = Callable[[bytes], None]
OnEnd = Callable[[Reason, str], None]
OnStderr = Callable[[bytes], None]


class ServerProcess(asyncio.SubprocessProtocol):
    """One child process. `on_line` gets every line of stdout in order, `on_end` is called once, when no more will come."""

    def __init__(self, on_line: OnLine, on_end: OnEnd, on_stderr: OnStderr | None, max_line_bytes: int) -> None:
        """Use `spawn`."""
        self._on_line = on_line
        self._on_end = on_end
        self._on_stderr = on_stderr
        self._splitter = LineSplitter(max_line_bytes)
        self._lines: deque[bytes] = deque()
        self._paused = False
        self._eof: tuple[Reason, str] | None = None
        self._ended = False
        self._stderr = bytearray()
        self._transport: asyncio.SubprocessTransport | None = None
        self._exited = asyncio.get_running_loop().create_future()
        self._writable = asyncio.Event()
        self._writable.set()
        self._stop: asyncio.Task[None] | None = None

    @classmethod
    async def spawn(
        cls,
        command: Sequence[str],
        env: dict[str, str],
        cwd: str | Path | None,
        *,
        on_line: OnLine,
        on_end: OnEnd,
        on_stderr: OnStderr | None,
        max_line_bytes: int,
    ) -> Self:
        """Start a command with exactly this environment.

        Raises:
            UpstreamError: UPSTREAM_DOWN: it cannot be started.
        """
        loop = asyncio.get_running_loop()
        try:
            _, protocol = await loop.subprocess_exec(
                lambda: cls(on_line, on_end, on_stderr, max_line_bytes),
                *command,
                env=env,
                cwd=cwd,
                start_new_session=True,
            )
        except (OSError, ValueError, TypeError) as error:
            why = getattr(error, "strerror", None) or error
            raise down(
                f"cannot start {quoted(command[0] if command else '')}: {why}",
                effect_possible=False,
                remedy="check the server's command, its arguments and its folder in the configuration",
            ) from error
        return protocol

    @property
    def pid(self) -> int | None:
        """Process id while it runs; also its group's."""
        return None if self._transport is None or self._exited.done() else self._transport.get_pid()

    @property
    def stderr(self) -> bytes:
        """The end of what it wrote to stderr."""
        return bytes(self._stderr)

    async def writable(self) -> None:
        """Wait until the server has read enough of what it was sent. The caller sets the deadline."""
        await self._writable.wait()

    def write(self, line: bytes) -> bool:
        """Hand one line to the operating system, now or as the pipe empties; False: the pipe is gone, nothing written."""
        pipe = self._pipe(_STDIN)
        if pipe is None or self._ended or pipe.is_closing():
            return False
        cast("asyncio.WriteTransport", pipe).write(line)
        return True

    async def stop(self) -> None:
        """End it: stdin closed, SIGTERM, SIGKILL, two seconds apart; returns when it is reaped. Idempotent.

        Being cancelled does not stop the stopping.
        """
        if self._stop is None:
            self._stop = asyncio.get_running_loop().create_task(self._end())
        await asyncio.shield(self._stop)

    async def kill(self) -> None:
        """End it and what it started, now: SIGTERM, and SIGKILL `KILL_S` later. Idempotent; hurries a `stop` under way."""
        stopping = asyncio.ensure_future(self.stop())
        self._signal(signal.SIGTERM)
        await asyncio.wait([self._exited], timeout=KILL_S)
        self._signal(signal.SIGKILL)
        await stopping

    def strike(self) -> None:
        """SIGKILL, for it and what it started; from any thread. What is left to do is done by `stop`."""
        self._signal(signal.SIGKILL)

    # -- asyncio's callbacks -----------------------------------------------------------------------------------------------

    @override
    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """The process runs."""
        self._transport = cast("asyncio.SubprocessTransport", transport)
        pipe = self._pipe(_STDIN)
        if pipe is not None:
            cast("asyncio.WriteTransport", pipe).set_write_buffer_limits(_UNREAD_STDIN_BYTES)

    @override
    def pipe_data_received(self, fd: int, data: bytes) -> None:
        """Something on stdout or stderr."""
        if fd == _STDERR:
            self._stderr += data
            del self._stderr[:-STDERR_BYTES]
            if self._on_stderr is not None:
                self._on_stderr(data)
            return
        if self._ended:
            return
        try:
            self._lines.extend(self._splitter.feed(data))
        except LineOverflowError:
            self._finish(Reason.UPSTREAM_TOO_LARGE, "the server sent a message larger than accepted")
            return
        self._drain()

    @override
    def pipe_connection_lost(self, fd: int, exc: Exception | None) -> None:  # noqa: ARG002 - asyncio's shape
        """One of the three streams is closed."""
        if fd == _STDOUT:
            self._eof = (Reason.UPSTREAM_DOWN, "the server closed its output")
            self._drain()
        elif fd == _STDIN:
            self._writable.set()

    @override
    def process_exited(self) -> None:
        """It is reaped."""
        if not self._exited.done():
            self._exited.set_result(None)
        self._writable.set()
        asyncio.get_running_loop().call_later(
            _EOF_AFTER_EXIT_S, self._finish, Reason.UPSTREAM_DOWN, "the server's process ended"
        )

    @override
    def pause_writing(self) -> None:
        """The server does not read: its pipe and our buffer are full."""
        self._writable.clear()

    @override
    def resume_writing(self) -> None:
        """There is room again."""
        self._writable.set()

    # -- inside ------------------------------------------------------------------------------------------------------------

    def _drain(self) -> None:
        """Handle some lines; with more waiting, stop reading and go on in the loop's next round."""
        if self._paused:
            return
        for _ in range(LINES_AT_ONCE):
            if not self._lines or self._ended:
                break
            self._on_line(self._lines.popleft())
        if self._lines and not self._ended:
            self._hold_reading(hold=True)
            asyncio.get_running_loop().call_soon(self._resume)
        elif self._eof is not None:
            self._finish(*self._eof)

    def _resume(self) -> None:
        self._hold_reading(hold=False)
        self._drain()

    def _hold_reading(self, *, hold: bool) -> None:
        self._paused = hold
        pipe = self._pipe(_STDOUT)
        if pipe is None or pipe.is_closing():
            return
        reader = cast("asyncio.ReadTransport", pipe)
        if hold:
            reader.pause_reading()
        else:
            reader.resume_reading()

    def _finish(self, reason: Reason, message: str) -> None:
        if self._ended:
            return
        self._ended = True
        self._lines.clear()
        self._writable.set()
        code = self._transport.get_returncode() if self._transport is not None else None
        self._on_end(reason, message if code is None else f"{message} (exit status {code})")

    async def _end(self) -> None:
        self._finish(Reason.UPSTREAM_DOWN, "the connection was closed")
        pipe = self._pipe(_STDIN)
        if pipe is not None:
            # `close` would wait for a server that never reads; what is unread then is of no use to anyone.
            pipe = cast("asyncio.WriteTransport", pipe)
            pipe.abort() if pipe.get_write_buffer_size() else pipe.close()
        for sign in (signal.SIGTERM, signal.SIGKILL):
            await asyncio.wait([self._exited], timeout=STOP_S)
            if self._exited.done():
                break
            self._signal(sign)
        # What the server started itself dies with it; SIGKILL cannot be ignored, so this wait ends.
        self._signal(signal.SIGKILL)
        await asyncio.wait([self._exited], timeout=STOP_S)
        if self._transport is not None:
            self._transport.close()

    def _signal(self, sign: signal.Signals) -> None:
        if self._transport is not None and (pid := self._transport.get_pid()):
            with suppress(ProcessLookupError, PermissionError):
                os.killpg(pid, sign)

    def _pipe(self, fd: int) -> asyncio.BaseTransport | None:
        return self._transport.get_pipe_transport(fd) if self._transport is not None else None
