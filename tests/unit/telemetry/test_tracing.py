"""Spans: their parents and attributes, what is not traced, and the way to the collector when it is bad."""

import asyncio
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor, SpanExporter, SpanExportResult
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from lictor.model.action import ActionKind, ActionRequest, SealedArguments
from lictor.model.catalog import CatalogEntry, EffectClass
from lictor.model.decision import Allow
from lictor.model.errors import OperatorError, UpstreamError
from lictor.model.ids import (
    AgentId,
    DecisionId,
    HumanId,
    PolicyRevision,
    RequestId,
    ServerName,
    SnapshotDigest,
    TaskId,
)
from lictor.model.reasons import Reason
from lictor.model.task import Budget, Task
from lictor.telemetry import attributes
from lictor.telemetry.context import CARRIER, Carrier, context_of
from lictor.telemetry.export import Chance, Export, endpoint_of
from lictor.telemetry.settings import TelemetrySettings
from lictor.telemetry.tracing import Place, Tracing

GIVEN = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"
TASK = Task(
    id=TaskId("task_1"),
    agent=AgentId("coder"),
    human=HumanId("os:me"),
    purpose="test",
    trusted_text_digest="",
    audience="a",
    opened_at_ms=0,
    expires_at_ms=1,
    budget=Budget(calls=1),
)


def request(name: str = "ask", kind: ActionKind = ActionKind.TOOL) -> ActionRequest:
    return ActionRequest.make(
        id=RequestId("req_1"),
        kind=kind,
        server=ServerName("shop"),
        name=name,
        arguments=SealedArguments.seal({"text": "secret"}),
        agent=AgentId("coder"),
        human=HumanId("os:me"),
        task=TaskId("task_1"),
    )


def allow(asked: ActionRequest) -> Allow:
    return Allow(
        request=asked.digest, snapshot=SnapshotDigest("s"), revision=PolicyRevision("r"), reason=Reason.PERMITTED
    )


def catalogue(kind: ActionKind, server: str, name: str) -> CatalogEntry | None:
    if name not in {"ask", "it"}:
        return None
    return CatalogEntry(server=ServerName(server), kind=kind, name=name, effect=EffectClass.READ)


@pytest.fixture
def kept() -> InMemorySpanExporter:
    return InMemorySpanExporter()


def tracing(exporter: SpanExporter, *, sample: float = 1.0, **options: Any) -> Tracing:
    provider = TracerProvider(sampler=Chance(sample), shutdown_on_exit=False)
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    return Tracing(provider.get_tracer("t"), catalogue, {"shop": Place("tcp", "shop.example", 443)}, **options)


def whole(watch: Tracing, meta: object = None, *, name: str = "ask") -> dict[str, Any]:
    """One granted call; what travels on."""
    asked = request(name)
    with watch.call("tools/call", meta, task=TASK, version="2026-07-28") as seen:
        watch.decided(asked, DecisionId("dec_1"), allow(asked), decide_s=0.001, record_s=0.002)
        with watch.sending("tools/call", asked) as line:
            passed = line.meta({"_meta": {"traceparent": GIVEN}} if meta else {})
            line.answered(b'{"content":[]}', None)
        seen.answered(b'{"content":[]}', None)
    return passed


def by_name(kept: InMemorySpanExporter) -> dict[str, ReadableSpan]:
    return {f"{span.name}/{span.kind.name.lower()}": span for span in kept.get_finished_spans()}


def test_a_call_and_its_parts(kept: InMemorySpanExporter) -> None:
    """Server, decide, record, client: names, kinds, parents; the client's context above."""
    whole(tracing(kept), {"traceparent": GIVEN})
    spans = by_name(kept)
    server = spans["tools/call ask/server"]
    assert server.parent is not None
    assert server.parent.span_id == 0x00F067AA0BA902B7
    for name in ("lictor.decide/internal", "lictor.record/internal", "tools/call ask/client"):
        parent = spans[name].parent
        assert parent is not None
        assert parent.span_id == server.context.span_id
    decide, record = spans["lictor.decide/internal"], spans["lictor.record/internal"]
    assert decide.end_time == record.start_time
    assert (decide.end_time or 0) - (decide.start_time or 0) == 1_000_000
    assert spans["tools/call ask/client"].attributes is not None
    assert spans["tools/call ask/client"].attributes[attributes.ADDRESS] == "shop.example"


@pytest.mark.parametrize("sample", [1.0, 1e-12])
@pytest.mark.parametrize("ours", [False, True])
def test_what_travels_on(kept: InMemorySpanExporter, sample: float, ours: bool) -> None:
    """The client's context, unchanged; or ours in its place, whose flag says whether we trace."""
    passed = whole(tracing(kept, sample=sample, ours=ours), {"traceparent": GIVEN})
    if not ours:
        assert passed == {"_meta": {"traceparent": GIVEN}}
        return
    context = context_of(passed["_meta"]["traceparent"])
    assert context is not None
    assert context.trace_id == 0x4BF92F3577B34DA6A3CE929D0E0E4736
    assert bool(context.trace_flags) is (sample == 1.0)
    if sample == 1.0:
        assert context.span_id == by_name(kept)["tools/call ask/client"].context.span_id


def test_a_call_that_is_not_chosen_leaves_nothing(kept: InMemorySpanExporter) -> None:
    """None of its parts is traced either, whatever the client's flag says."""
    whole(tracing(kept, sample=1e-12), {"traceparent": GIVEN})
    assert kept.get_finished_spans() == ()


def test_what_a_call_needs_besides_is_not_the_call(kept: InMemorySpanExporter) -> None:
    """A credential decided for a call has a span of its own; the call keeps its name."""
    watch, asked = tracing(kept), request()
    lent = request("it", ActionKind.CREDENTIAL)
    with watch.call("tools/call", None, task=TASK, version="2026-07-28"):
        watch.decided(asked, DecisionId("dec_1"), allow(asked), decide_s=0, record_s=0)
        watch.decided(lent, DecisionId("dec_2"), allow(lent), decide_s=0, record_s=0)
    [server] = [span for span in kept.get_finished_spans() if span.kind.name == "SERVER"]
    assert server.name == "tools/call ask"
    assert (server.attributes or {})[attributes.DECISION] == "dec_1"
    decisions = [span.attributes or {} for span in kept.get_finished_spans() if span.name == "lictor.decide"]
    assert [one[attributes.DECISION] for one in decisions] == ["dec_1", "dec_2"]
    assert decisions[1][attributes.KIND] == "credential"


async def test_what_outlives_a_call_is_not_below_it(kept: InMemorySpanExporter) -> None:
    """A task that was started in a call and decides after it has a trace of its own."""
    watch, asked, over = tracing(kept), request(), asyncio.Event()

    async def later() -> None:
        await over.wait()
        watch.decided(asked, DecisionId("dec_9"), allow(asked), decide_s=0, record_s=0)

    with watch.call("tools/call", None, task=TASK, version="2026-07-28"):
        job = asyncio.create_task(later())
        await asyncio.sleep(0)
    over.set()
    await job
    decide = by_name(kept)["lictor.decide/internal"]
    assert decide.parent is None
    record = by_name(kept)["lictor.record/internal"]
    assert record.parent is not None
    assert record.parent.span_id == decide.context.span_id


def test_standard_streams_and_http(kept: InMemorySpanExporter) -> None:
    """The transport is told; what an HTTP head carried is the parent where the message carries nothing."""
    whole(tracing(kept))
    token = CARRIER.set(Carrier(context_of(GIVEN)))
    whole(tracing(kept))
    CARRIER.reset(token)
    first, second = (span for span in kept.get_finished_spans() if span.kind.name == "SERVER")
    assert ((first.attributes or {})[attributes.TRANSPORT], first.parent) == ("pipe", None)
    assert (second.attributes or {})[attributes.TRANSPORT] == "tcp"
    assert second.parent is not None


@pytest.mark.parametrize(
    ("result", "error", "told"),
    [
        (b'{"content":[]}', None, None),
        (b'{"isError":false}', None, None),
        (b'{"isError":true}', None, "tool_error"),
        (b'{"isError":"yes"}', None, "tool_error"),
        (b'{"isError":', None, "_OTHER"),
        (b'{"text":"\\"isError\\":true"}', None, None),
        (None, {"code": -32602, "message": "secret"}, "-32602"),
        (None, {"code": "secret"}, "_OTHER"),
        (None, {"code": True}, "_OTHER"),
        (None, {"code": 10**40}, "_OTHER"),
        (None, {}, "_OTHER"),
    ],
)
def test_how_it_ended(result: bytes | None, error: dict[str, Any] | None, told: str | None) -> None:
    """By a code or a word of ours; never by a text."""
    found = attributes.of_answer(result, error)
    assert found.get(attributes.ERROR) == told
    assert "secret" not in str(found)


@pytest.mark.parametrize(
    ("error", "told"),
    [
        (UpstreamError(Reason.UPSTREAM_DOWN, "secret", effect_possible=True), "upstream_down"),
        (ValueError("secret"), "ValueError"),
        (asyncio.CancelledError("secret"), "CancelledError"),
    ],
)
def test_an_error_is_told_by_its_reason(kept: InMemorySpanExporter, error: BaseException, told: str) -> None:
    """Its text stays here, and it passes on."""
    watch = tracing(kept)
    with pytest.raises(type(error)), watch.sending("tools/call", request()):
        raise error
    [span] = kept.get_finished_spans()
    assert (span.attributes or {})[attributes.ERROR] == told
    assert not span.status.is_ok
    assert "secret" not in span.to_json()


@pytest.mark.parametrize("name", ["nothing", "a\nb", "\udc80", "x" * 5_000])
def test_names_nobody_listed_are_not_told(kept: InMemorySpanExporter, name: str) -> None:
    """They are the client's own words."""
    with tracing(kept).call(name, {"traceparent": name}, task=TASK, version="2026-07-28"):
        pass
    whole(tracing(kept), name="nothing")
    for span in kept.get_finished_spans():
        assert span.name in {"_OTHER", "tools/call", "lictor.decide", "lictor.record"}
        assert name not in span.to_json()


def tells(kept: InMemorySpanExporter) -> bool:
    """Whether a span says anything of the arguments, or has an attribute that is not listed."""
    found = kept.get_finished_spans()
    listed = {name for span in found for name in span.attributes or {}} <= attributes.ALL
    return any("secret" in span.to_json() for span in found) or not listed


def test_arguments_are_not_told(kept: InMemorySpanExporter, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing of them is in any span; control: attributes that hold them are found."""
    whole(tracing(kept))
    assert not tells(kept)
    honest = attributes.of_action

    def broken(asked: ActionRequest, known: Any) -> attributes.Values:
        return {**honest(asked, known), "gen_ai.tool.call.arguments": asked.arguments.data.decode()}

    monkeypatch.setattr(attributes, "of_action", broken)
    whole(tracing(kept))
    assert tells(kept)


# -- the way to the collector ----------------------------------------------------------------------------------------------


class Slow(SpanExporter):
    """Does not answer until it is told to."""

    def __init__(self) -> None:
        import threading

        self.free = threading.Event()
        self.got = 0

    def export(self, spans: Any) -> SpanExportResult:
        self.free.wait(20)
        self.got += len(spans)
        return SpanExportResult.SUCCESS

    def shutdown(self) -> None:
        """Nothing."""

    def force_flush(self, timeout_millis: int = 0) -> bool:
        return True


@pytest.fixture
def slow() -> Iterator[Slow]:
    made = Slow()
    yield made
    made.free.set()


def quickly(make: Callable[[int], None], count: int) -> bool:
    """Whether many spans can be made while the collector hangs."""
    began = time.monotonic()
    for number in range(count):
        make(number)
        if time.monotonic() - began > 3:
            return False
    return True


def test_a_collector_that_hangs_keeps_nobody(slow: Slow) -> None:
    """Spans above the bound are thrown away and counted; nothing else notices; what was kept goes out later."""
    export = Export(TelemetrySettings(queue=50), slow, print)
    assert quickly(lambda _: export.tracer.start_span("x").end(), 500)
    assert export.results == {"sent": 0, "failed": 0, "dropped": 450}
    slow.free.set()
    export.end().join(20)
    assert (slow.got, export.results["sent"]) == (50, 50)


def test_exporting_in_the_call_is_caught() -> None:
    """Control: a processor that sends within the call does not pass."""
    slow = Slow()
    slow.free.wait = lambda _=None: time.sleep(3.5) or True  # type: ignore[assignment, func-returns-value, misc]
    provider = TracerProvider(shutdown_on_exit=False)
    provider.add_span_processor(SimpleSpanProcessor(slow))
    assert not quickly(lambda _: provider.get_tracer("t").start_span("x").end(), 500)


def test_failing_and_mending_is_told_once_each() -> None:
    """Not once a batch."""
    said: list[str] = []
    answers = [SpanExportResult.FAILURE] * 3 + [SpanExportResult.SUCCESS] * 2

    class Failing(InMemorySpanExporter):
        def export(self, spans: Any) -> SpanExportResult:
            answer = answers.pop(0)
            if len(answers) == 3:
                raise OSError("broken")
            return answer

    export = Export(TelemetrySettings(), Failing(), said.append)
    for _ in range(5):
        export.tracer.start_span("x").end()
        assert export.flush(20)
    assert [line.partition(";")[0] for line in said] == ["the collector does not take traces", "traces go out again"]
    assert export.results == {"sent": 2, "failed": 3, "dropped": 0}
    export.end().join(20)


def test_long_values_are_cut() -> None:
    """Whatever a name in a bundle is."""
    kept = InMemorySpanExporter()
    export = Export(TelemetrySettings(), kept, print)
    export.tracer.start_span("x", attributes={"a": "y" * 10_000}).end()
    assert export.flush(20)
    [span] = kept.get_finished_spans()
    assert len(str((span.attributes or {})["a"])) == 256
    export.end().join(20)


@pytest.mark.parametrize(
    ("otlp", "endpoint"),
    [
        ("http://127.0.0.1:4318", "http://127.0.0.1:4318/v1/traces"),
        ("https://c.example/otlp/", "https://c.example/otlp/v1/traces"),
        ("https://c.example/v1/traces", "https://c.example/v1/traces"),
    ],
)
def test_where_spans_go(otlp: str, endpoint: str) -> None:
    """A base URL, or the whole one."""
    assert endpoint_of(TelemetrySettings(otlp=otlp)) == endpoint


def test_the_environment_has_to_name_a_collector_if_it_shall(monkeypatch: pytest.MonkeyPatch) -> None:
    """Asked for and missing refuses the start."""
    for name in ("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "OTEL_EXPORTER_OTLP_ENDPOINT"):
        monkeypatch.delenv(name, raising=False)
    with pytest.raises(OperatorError):
        endpoint_of(TelemetrySettings(otlp="environment"))
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", "http://127.0.0.1:4318")
    assert endpoint_of(TelemetrySettings(otlp="environment")) is None


@pytest.mark.parametrize("share", [0.25, 1.0])
def test_shares(share: float) -> None:
    """About so many are taken; a trace id decides nothing."""
    chance = Chance(share)
    taken = sum(chance.should_sample(None, 1, "x").decision.is_sampled() for _ in range(2_000))
    assert taken == 2_000 if share == 1 else 350 < taken < 650
