"""Traces calls from client to server (OpenTelemetry, semantic conventions for MCP): `lictor.ports.Watch` that makes spans.

A span of kind server for the client's request; below it `lictor.decide`, `lictor.record`, `lictor.hold` and, of kind client, the
call to the server. What fails in here fails nothing else (`several`).
"""

import time
from collections.abc import Mapping
from contextvars import ContextVar, Token
from dataclasses import dataclass
from types import TracebackType
from typing import Any, Final, Self

from opentelemetry.context import Context
from opentelemetry.trace import (
    Link,
    NonRecordingSpan,
    Span,
    SpanContext,
    SpanKind,
    Status,
    StatusCode,
    Tracer,
    set_span_in_context,
)

from lictor.model.action import ActionRequest
from lictor.model.approval import Hold
from lictor.model.decision import Decision
from lictor.model.ids import DecisionId
from lictor.model.task import Task
from lictor.ports import Watched
from lictor.telemetry import attributes
from lictor.telemetry.attributes import Values
from lictor.telemetry.context import CARRIER, context_of, traceparent
from lictor.telemetry.tally import InCatalogue

_NOTHING: Final = Context()
_ERROR: Final = Status(StatusCode.ERROR)


@dataclass(frozen=True, slots=True)
class Place:
    """Where a server is: `pipe` on this machine, or `tcp` at an address."""

    transport: str
    address: str = ""
    port: int = 0


class Spans:
    """One `Watched` with a span of its own.

    Attributes:
        span: it.
        open: whether it has not ended: what a connection started once for a call still runs in that call's context.
    """

    __slots__ = ("_ours", "_token", "method", "open", "span")

    def __init__(self, span: Span, method: str = "", *, ours: bool = False) -> None:
        """`method`: of a client's request; its parts have none. `ours`: what travels on names this span as its parent."""
        self.span = span
        self.method = method
        self.open = True
        self._ours = ours
        self._token: Token[Spans | None] | None = None

    def __enter__(self) -> Self:
        if self.method:
            self._token = CURRENT.set(self)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None, /
    ) -> None:
        self.open = False
        try:
            if error is not None:
                self._failed(attributes.of_error(error))
        finally:
            self.span.end()
            if self._token is not None:
                CURRENT.reset(self._token)

    def answered(self, result: bytes | None, error: Mapping[str, Any] | None) -> None:
        """See `Watched.answered`."""
        found = attributes.of_answer(result, error)
        if found:
            self._failed(found)

    def meta(self, passed: dict[str, Any]) -> dict[str, Any]:
        """See `Watched.meta`."""
        if not self._ours:
            return passed
        return {"_meta": {"traceparent": traceparent(self.span.get_span_context())}}

    def _failed(self, values: Values) -> None:
        self.span.set_attributes(values)
        self.span.set_status(_ERROR)


CURRENT: Final[ContextVar[Spans | None]] = ContextVar("lictor_span", default=None)


class Tracing:
    """See the module.

    Args:
        tracer: makes spans.
        catalogue: the one in force.
        places: where servers are, by name.
        ours: whether servers get our context as their parent (`telemetry.propagate`).
    """

    def __init__(
        self,
        tracer: Tracer,
        catalogue: InCatalogue,
        places: Mapping[str, Place],
        *,
        ours: bool = False,
    ) -> None:
        self._tracer = tracer
        self._catalogue = catalogue
        self._places = places
        self._ours = ours

    def call(self, method: str, meta: object, *, task: Task, version: str) -> Watched:
        """See `Watch.call`."""
        values = attributes.of_call(method, task, version)
        carrier = CARRIER.get()
        ambient = carrier.context if carrier is not None else None
        values[attributes.TRANSPORT] = "pipe" if carrier is None else "tcp"
        if carrier is not None:
            values[attributes.PROTOCOL] = "http"
        sent = context_of(meta.get("traceparent")) if isinstance(meta, dict) else None
        parent = sent or ambient
        span = self._tracer.start_span(
            attributes.method_of(method),
            _below(parent),
            SpanKind.SERVER,
            values,
            [Link(ambient)] if sent is not None and ambient is not None else None,
        )
        return Spans(span, attributes.method_of(method))

    def decided(
        self, request: ActionRequest, decision: DecisionId, answer: Decision, *, decide_s: float, record_s: float
    ) -> None:
        """See `Watch.decided`."""
        current = self._current()
        if current is not None and not current.span.is_recording():
            return
        end = time.time_ns()
        recorded = end - int(record_s * 1e9)
        action = attributes.of_action(request, self._catalogue)
        told = attributes.of_decision(decision, answer)
        if current is not None and attributes.OWN.get(current.method) is request.kind:
            current.span.set_attributes(action | told)
            current.span.update_name(_named(current.method, action))
            told[attributes.REQUEST] = request.id
        else:  # what a call needs besides, like a credential, or what was decided outside one: this span says all
            told |= {**action, attributes.TASK: request.task, attributes.AGENT: request.agent}
        told |= attributes.of_policy(answer)
        parent = self._parent(current)
        made = self._tracer.start_span(
            "lictor.decide", parent, attributes=told, start_time=recorded - int(decide_s * 1e9)
        )
        made.end(recorded)
        if current is None:
            parent = set_span_in_context(made, _NOTHING)
        kept: Values = {attributes.REQUEST: request.id, attributes.DECISION: decision}
        self._tracer.start_span("lictor.record", parent, attributes=kept, start_time=recorded).end(end)

    def unrecorded(self) -> None:
        """The call's own span says what came of it."""

    def waiting(self, hold: Hold) -> Watched:
        """See `Watch.waiting`."""
        unseen = self._unseen()
        if unseen is not None:
            return unseen
        values: Values = {attributes.HOLD: hold.id, attributes.REQUEST: hold.request}
        span = self._tracer.start_span("lictor.hold", self._parent(self._current()), attributes=values)
        return Spans(span)

    def sending(self, method: str, request: ActionRequest) -> Watched:
        """See `Watch.sending`."""
        method = attributes.method_of(method)
        unseen = self._unseen()
        if unseen is not None:
            return unseen
        values = attributes.of_action(request, self._catalogue)
        values[attributes.METHOD] = method
        if method == "tools/call":
            values[attributes.OPERATION] = "execute_tool"
        place = self._places.get(request.server)
        if place is not None:
            values[attributes.TRANSPORT] = place.transport
            if place.address:
                values[attributes.ADDRESS], values[attributes.PORT] = place.address, place.port
        parent = self._parent(self._current())
        span = self._tracer.start_span(_named(method, values), parent, SpanKind.CLIENT, values)
        return Spans(span, ours=self._ours)

    # -- inside ------------------------------------------------------------------------------------------------------------

    @staticmethod
    def _current() -> Spans | None:
        """The client's request that this is about."""
        current = CURRENT.get()
        return current if current is not None and current.open else None

    def _unseen(self) -> Spans | None:
        """A part of a call that is not traced: no span is made, and what travels on says so."""
        current = self._current()
        if current is None or current.span.is_recording():
            return None
        return Spans(NonRecordingSpan(current.span.get_span_context()), ours=self._ours)

    @staticmethod
    def _parent(current: Spans | None) -> Context:
        if current is not None:
            return set_span_in_context(current.span, _NOTHING)
        carrier = CARRIER.get()
        return _below(carrier.context if carrier is not None else None)


def _below(context: SpanContext | None) -> Context:
    """What is started in it has this parent; none: it is the first of its trace."""
    return _NOTHING if context is None else set_span_in_context(NonRecordingSpan(context), _NOTHING)


def _named(method: str, values: Values) -> str:
    """`{method} {target}`, as the conventions have it, where the target is one of few."""
    target = values.get(attributes.TOOL) or values.get(attributes.PROMPT)
    return f"{method} {target}" if target else method
