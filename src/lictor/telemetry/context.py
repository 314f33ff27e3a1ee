"""W3C trace contexts as they come in and go out: ids and a flag, no text. `tracestate` and `baggage` stay where they are.

A client's context is not believed: it only says under which trace its call is shown. Neither whether we trace nor anything else
is decided by it.
"""

import re
from collections.abc import Awaitable, Callable, Mapping
from contextvars import ContextVar
from dataclasses import dataclass
from typing import Any, Final

from opentelemetry.trace import SpanContext, TraceFlags

_FORM: Final = re.compile(r"00-([0-9a-f]{32})-([0-9a-f]{16})-([0-9a-f]{2})", re.ASCII)

App = Callable[[Mapping[str, Any], Any, Any], Awaitable[None]]


@dataclass(frozen=True, slots=True)
class Carrier:
    """What carried a request here: HTTP, with or without a context of its own."""

    context: SpanContext | None


CARRIER: Final[ContextVar[Carrier | None]] = ContextVar("lictor_carrier", default=None)
"""None: standard streams, which have none."""


def context_of(value: object) -> SpanContext | None:
    """A `traceparent` (W3C Trace Context 3.2, version 00), wherever it stood; None: it is none."""
    found = _FORM.fullmatch(value) if isinstance(value, str) else None
    if found is None:
        return None
    context = SpanContext(
        int(found[1], 16), int(found[2], 16), is_remote=True, trace_flags=TraceFlags(int(found[3], 16))
    )
    return context if context.is_valid else None


def traceparent(context: SpanContext) -> str:
    """The other way round."""
    return f"00-{context.trace_id:032x}-{context.span_id:016x}-{context.trace_flags & TraceFlags.SAMPLED:02x}"


def carrying(app: App) -> App:
    """An ASGI application that remembers, for as long as a request lasts, the context its HTTP head had."""

    async def carried(scope: Mapping[str, Any], receive: Any, send: Any) -> None:
        if scope["type"] != "http":
            await app(scope, receive, send)
            return
        heads = [value for name, value in scope["headers"] if name.lower() == b"traceparent"]
        text = heads[0].decode("latin-1") if len(heads) == 1 else None
        token = CARRIER.set(Carrier(context_of(text)))
        try:
            await app(scope, receive, send)
        finally:
            CARRIER.reset(token)

    return carried
