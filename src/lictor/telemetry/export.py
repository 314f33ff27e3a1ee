"""Spans on their way to a collector: OTLP over HTTP, from a thread of its own, out of a queue that is bounded.

A collector that is slow, dead or wrong costs spans, never calls. What is thrown away is counted and, once, told.
"""

import logging
import os
import random
import threading
from collections.abc import Callable, Sequence
from typing import Final
from urllib.parse import urlsplit

from opentelemetry.context import Context
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import ReadableSpan, SpanLimits, TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor, SpanExporter, SpanExportResult
from opentelemetry.sdk.trace.sampling import Decision, ParentBased, Sampler, SamplingResult
from opentelemetry.trace import Link, SpanKind, Tracer, TraceState
from opentelemetry.util.types import Attributes

from lictor import __version__
from lictor.model.errors import OperatorError
from lictor.model.reasons import Reason
from lictor.telemetry.settings import ENVIRONMENT, TelemetrySettings

BATCH: Final = 512
DELAY_MS: Final = 1_000.0
"""Longest time that a span waits for company."""
SEND_S: Final = 5.0
"""Longest time that one batch may take."""
LONGEST: Final = 256
"""Characters of an attribute: longer ones are cut."""
_VARIABLES: Final = ("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "OTEL_EXPORTER_OTLP_ENDPOINT")


class Chance(Sampler):
    """A share of the calls, by our own dice: a client chooses its trace id, so that must not choose."""

    def __init__(self, share: float) -> None:
        """More than 0, at most 1."""
        self._share = share
        self._dice = random.SystemRandom()

    def should_sample(
        self,
        parent_context: Context | None,  # noqa: ARG002
        trace_id: int,  # noqa: ARG002
        name: str,  # noqa: ARG002
        kind: SpanKind | None = None,  # noqa: ARG002
        attributes: Attributes = None,
        links: Sequence[Link] | None = None,  # noqa: ARG002
        trace_state: TraceState | None = None,
    ) -> SamplingResult:
        """See `Sampler`."""
        taken = self._share >= 1 or self._dice.random() < self._share
        return SamplingResult(Decision.RECORD_AND_SAMPLE if taken else Decision.DROP, attributes, trace_state)

    def get_description(self) -> str:
        """See `Sampler`."""
        return f"Chance({self._share:g})"


class Counted(SpanExporter):
    """Counts what was sent and what the collector did not take; says once that it fails, and once that it goes on."""

    def __init__(self, inner: SpanExporter, say: Callable[[str], None]) -> None:
        """`inner` sends."""
        self._inner = inner
        self._say = say
        self._failing = False
        self.sent = 0
        self.failed = 0

    def export(self, spans: Sequence[ReadableSpan]) -> SpanExportResult:
        """See `SpanExporter`."""
        try:
            result = self._inner.export(spans)
        except Exception:  # noqa: BLE001 - a thread that ends here would send nothing any more
            result = SpanExportResult.FAILURE
        good = result is SpanExportResult.SUCCESS
        if good:
            self.sent += len(spans)
        else:
            self.failed += len(spans)
        if good is self._failing:
            self._failing = not good
            self._say("traces go out again" if good else "the collector does not take traces; calls go on without them")
        return result

    def shutdown(self) -> None:
        """See `SpanExporter`."""
        self._inner.shutdown()

    def force_flush(self, timeout_millis: int = 30_000) -> bool:
        """See `SpanExporter`."""
        return self._inner.force_flush(timeout_millis)


class Queue(BatchSpanProcessor):
    """Takes no span above its bound, and counts those it did not take. What is on its way to the collector takes room, too."""

    def __init__(self, exporter: Counted, most: int) -> None:
        """`most`: spans."""
        super().__init__(
            exporter, max_queue_size=most, schedule_delay_millis=DELAY_MS, max_export_batch_size=min(BATCH, most)
        )
        self._exporter = exporter
        self._most = most
        self._taken = 0
        self.dropped = 0

    def on_end(self, span: ReadableSpan) -> None:
        """See `SpanProcessor`."""
        if self._taken - self._exporter.sent - self._exporter.failed >= self._most:
            self.dropped += 1
            return
        self._taken += 1
        super().on_end(span)


class Export:
    """A tracer, and what becomes of its spans."""

    def __init__(self, settings: TelemetrySettings, exporter: SpanExporter, say: Callable[[str], None]) -> None:
        """Use `open_export`."""
        self._exporter = Counted(exporter, say)
        self._queue = Queue(self._exporter, settings.queue)
        chance = Chance(settings.sample)
        self._provider = TracerProvider(
            sampler=ParentBased(chance, remote_parent_sampled=chance, remote_parent_not_sampled=chance),
            resource=Resource.create({"service.name": settings.service, "service.version": __version__}),
            span_limits=SpanLimits(max_span_attribute_length=LONGEST),
            shutdown_on_exit=False,  # `close` does it, and does not wait half a minute
        )
        self._provider.add_span_processor(self._queue)

    @property
    def tracer(self) -> Tracer:
        """Makes spans."""
        return self._provider.get_tracer("lictor", __version__)

    @property
    def results(self) -> dict[str, int]:
        """Spans sent, not taken by the collector, and thrown away because too many waited."""
        return {"sent": self._exporter.sent, "failed": self._exporter.failed, "dropped": self._queue.dropped}

    def flush(self, within_s: float) -> bool:
        """Send what waits, now; whether that was done in time."""
        return self._provider.force_flush(int(within_s * 1_000))

    def end(self) -> threading.Thread:
        """Send what waits, on a thread that keeps no process and ends when that is done."""
        job = threading.Thread(target=self._provider.shutdown, name="lictor-traces-end", daemon=True)
        job.start()
        return job


def open_export(settings: TelemetrySettings, say: Callable[[str], None]) -> Export:
    """Open the way to the collector that the settings name. Nothing is sent yet.

    Headers (a collector's token), certificates and compression come from the environment, by their usual names
    (`OTEL_EXPORTER_OTLP_HEADERS`, …): no secret stands in `lictor.toml`.

    Raises:
        OperatorError: `config_refused`: the environment names no endpoint.
    """
    # What the library says of a failed batch names hosts and repeats itself: `Counted` says it instead, once.
    logger = logging.getLogger("opentelemetry")
    logger.addHandler(logging.NullHandler())
    logger.propagate = False
    return Export(settings, OTLPSpanExporter(endpoint=endpoint_of(settings), timeout=SEND_S), say)


def endpoint_of(settings: TelemetrySettings) -> str | None:
    """Where spans go; None: as the environment says.

    Raises:
        OperatorError: `config_refused`: it says nothing.
    """
    if settings.otlp == ENVIRONMENT:
        if not any(os.environ.get(name) for name in _VARIABLES):
            raise OperatorError(
                Reason.CONFIG_REFUSED, f"[telemetry]: the environment has no {_VARIABLES[1]}", where="[telemetry] otlp"
            )
        return None
    base = settings.otlp.rstrip("/")
    return base if urlsplit(base).path.endswith("/v1/traces") else f"{base}/v1/traces"
