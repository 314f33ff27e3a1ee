"""The seam between the two sides of the proxy: what a server offers upwards, what a client's connection offers downwards.

The gateway in the middle (`gateway.py`) knows neither transport nor framing; the transports know nothing of policy.
"""

from collections.abc import Awaitable, Callable
from enum import StrEnum
from typing import Any, Protocol

import msgspec

from lictor.model.task import TaskState

LEGACY_VERSION = "2025-11-25"
MODERN_VERSION = "2026-07-28"
LEGACY_VERSIONS = ("2025-11-25", "2025-06-18", "2025-03-26")
"""Handshake-era versions we accept from a client and offer to a server, newest first."""
MODERN_VERSIONS = ("2026-07-28",)


class Era(StrEnum):
    """`legacy`: a session opened by `initialize`. `modern`: every request carries its own metadata (2026-07-28)."""

    LEGACY = "legacy"
    MODERN = "modern"


class Reply(msgspec.Struct, frozen=True, kw_only=True):
    """What a server answered: exactly one of `result` (raw JSON object text, byte for byte as received) and `error`."""

    result: bytes | None = None
    error: dict[str, Any] | None = None
    """A JSON-RPC error object: code, message, data?"""


Notify = Callable[[str, dict[str, Any]], Awaitable[None]]
"""(method, params): a notification from the server."""

Ask = Callable[[str, dict[str, Any]], Awaitable[Reply]]
"""(method, params) -> reply: a request from a legacy server to the client (sampling, elicitation, roots, ping)."""


class Offer(msgspec.Struct, frozen=True, kw_only=True):
    """What a server said of itself when the connection was negotiated. Unverified: for display and capability merging."""

    era: Era
    version: str
    capabilities: dict[str, Any]
    server_info: dict[str, Any]
    instructions: str = ""


class Upstream(Protocol):
    """One negotiated connection to one MCP server, used by one task (or shared, where configured).

    Every method either returns or raises `UpstreamError` before its deadline; none hangs. `effect_possible` on the error says
    whether a byte of the request had been handed to the operating system.
    """

    offer: Offer

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
        """Send one request and wait for its answer.

        Args:
            method: the JSON-RPC method.
            params: members of `params`; `_meta` holds only what passes through (trace context, vendor keys); the connection adds
                its own protocol members for a modern server, and its own progress token when `progress` is set.
            sealed_arguments: canonical argument bytes, spliced verbatim as `params.arguments`; the only way arguments get there.
            client_capabilities: what to declare to a modern server for this request (the caller's, cut down by policy).
            timeout_s: for the whole exchange; on expiry the request is cancelled upstream and `UpstreamError` raised.
            notify: receives notifications that belong to this request (progress with `progressToken` removed, messages).
            progress: whether to ask for progress.
            header_params: for a modern HTTP server, `x-mcp-header` names to argument paths.
        Cancelling the awaiting task cancels the request upstream.
        """
        ...

    async def notify(self, method: str, params: dict[str, Any]) -> None:
        """Send a notification (legacy `notifications/roots/list_changed` and the like)."""
        ...

    async def listen(self, params: dict[str, Any], notify: Notify) -> None:
        """Hold a modern `subscriptions/listen` open until cancelled, handing every notification on. Legacy: raises."""
        ...

    @property
    def alive(self) -> bool:
        """Whether a request may still be tried on it."""
        ...

    async def close(self) -> None:
        """End it: stdin closed, then terminate, then kill; HTTP session deleted. Idempotent, bounded in time."""
        ...

    async def abort(self) -> None:
        """End it now: a process is killed within half a second, a connection dropped. Idempotent; also while `close` waits."""
        ...

    def strike(self) -> None:
        """End it by force, from another thread, while the event loop stands still. A server on another host is out of reach."""
        ...


class Cleaner(Protocol):
    """Takes the secrets that the gateway manages out of what a server says (`service.credentials.leaks`)."""

    async def json(self, data: bytes) -> bytes:
        """A JSON text, byte for byte where it holds none.

        Raises:
            StoreError: it held one, and that cannot be recorded.
        """
        ...

    async def value(self, value: Any) -> Any:
        """The same for a JSON value."""
        ...

    def text(self, text: str) -> str:
        """The same for a line of ours."""
        ...

    def check(self, data: bytes) -> None:
        """Refuse what goes *to* the server.

        Raises:
            CallerError: `credential_in_arguments`.
        """
        ...


class Channel(Protocol):
    """The way back to the client while one of its requests is in flight (or, for a stdio client, while it is connected)."""

    async def notify(self, method: str, params: dict[str, Any]) -> None:
        """Send a notification; silently dropped when the client is gone."""
        ...

    async def ask(self, method: str, params: dict[str, Any], *, timeout_s: float) -> Reply:
        """Send a request to a legacy client and wait for its answer.

        Raises:
            CallerError: the client is modern, gone, cannot be asked on this transport, or did not answer in time.
        """
        ...

    @property
    def can_ask(self) -> bool:
        """Whether `ask` can work at all: a legacy client on stdio or on a streamed response."""
        ...


class Caller(msgspec.Struct, frozen=True, kw_only=True):
    """Who is asking, after authentication: the task, and what its client said of itself (unverified)."""

    task: TaskState
    era: Era
    version: str
    capabilities: dict[str, Any]
    client_info: dict[str, Any]
    connection: str
    """Names the client's connection (stdio: one; HTTP legacy: the session; modern: the task)."""


class Answer(msgspec.Struct, frozen=True, kw_only=True):
    """What the gateway says to one client request: raw `result` text or an `error` object, and the HTTP status that fits it."""

    result: bytes | None = None
    error: dict[str, Any] | None = None
    status: int = 200
