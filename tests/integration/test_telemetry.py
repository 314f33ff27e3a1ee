"""Figures and traces of a real gateway: the SDK's own client and server at both ends, a real collector, the real parsers."""

import asyncio
import json
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from prometheus_client import exposition
from prometheus_client import parser as plain
from prometheus_client.openmetrics import parser as openmetrics

from integration.telemetry_world import Seen, seen
from lictor.model.approval import seal_of
from lictor.model.ids import HumanId
from lictor.model.record import DecisionMade, ExecutionEnded, HoldOpened, RequestReceived
from lictor.records.cosign import WitnessKey
from lictor.service.people.approve import Proof
from lictor.stores import follow
from lictor.telemetry import attributes
from lictor.telemetry.families import FAMILIES
from lictor.telemetry.figures import Figures
from lictor.telemetry.page import _Given, families_of
from lictor.telemetry.tally import Tally
from servers.collector import Collector
from servers.collector import Seen as Span

METRICS = '[metrics]\nlisten = "127.0.0.1:0"\n'
TRACE, PARENT = "4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7"
CANARY = "ZEBRA7f3a"

pytestmark = pytest.mark.timeout(240)


def tracing(collector: Collector, more: str = "") -> str:
    return f'[telemetry]\notlp = "{collector.url}"\n{more}'


async def spans(collector: Collector, enough: Callable[[list[Span]], bool]) -> list[Span]:
    return await asyncio.to_thread(collector.until, enough, 30)


def of(found: Iterable[Span], service: str, kind: str = "", name: str = "") -> list[Span]:
    return [one for one in found if one.service == service and kind in {"", one.kind} and name in {"", one.name}]


# -- traces ----------------------------------------------------------------------------------------------------------------


async def test_one_trace_from_client_through_gateway_to_server() -> None:
    """With `propagate = "gateway"` all spans of a call are one trace, each below the one that caused it."""
    with Collector() as collector:
        async with seen(tracing(collector, 'propagate = "gateway"\n'), otlp=collector.url) as gateway:
            _, token = await gateway.task()
            assert await gateway.peer(token, "hello", collector.url) == "hello\n"
            found = await spans(
                collector,
                lambda got: bool(of(got, "server", name="tools/call ask")) and bool(of(got, "lictor", "client")),
            )
    [upstream] = of(found, "server", "server", "tools/call ask")
    one = {span.name + "/" + span.kind: span for span in found if span.trace == upstream.trace}
    client = next(span for span in one.values() if span.service == "client")
    server, asked = one["tools/call ask/server"], next(iter(of(one.values(), "lictor", "client")))
    server = next(iter(of(found, "lictor", "server", "tools/call ask")))
    assert (client.parent, server.parent, asked.parent, upstream.parent) == ("", client.span, server.span, asked.span)
    assert {one[f"lictor.{part}/internal"].parent for part in ("decide", "record")} == {server.span}
    assert server.start <= asked.start <= upstream.start <= upstream.end <= asked.end <= server.end
    said = server.attributes
    assert (said["mcp.method.name"], said["gen_ai.tool.name"], said["gen_ai.operation.name"]) == (
        "tools/call",
        "ask",
        "execute_tool",
    )
    assert (said["lictor.decision.outcome"], said["lictor.decision.reason"]) == ("allow", "permitted")


async def test_a_servers_span_is_below_the_clients_unless_we_are_asked_to_stand_between() -> None:
    """By default the client's trace context travels on unchanged."""
    with Collector() as collector:
        async with seen(tracing(collector), otlp=collector.url) as gateway:
            _, token = await gateway.task()
            await gateway.peer(token, "hello", collector.url)
            found = await spans(collector, lambda got: bool(of(got, "server", name="tools/call ask")))
    [upstream] = of(found, "server", "server", "tools/call ask")
    client = next(span for span in of(found, "client") if span.trace == upstream.trace)
    assert upstream.parent == client.span


async def test_spans_say_what_the_log_says() -> None:
    """Ids, outcome, reason, policies and revision of each decision are those of its record; a hold has its span."""
    with Collector() as collector:
        async with seen(tracing(collector)) as gateway:
            _, token = await gateway.task()
            for text in ("yes", "no", "please"):
                await gateway.ask(token, text)
            found = await spans(collector, lambda got: len(of(got, "lictor", name="lictor.decide")) == 3)
            await spans(collector, lambda got: len(of(got, "lictor", "server")) == 3)
            records = gateway.records()
            [hold] = [one.hold.id for one in records if isinstance(one, HoldOpened)]
            found = collector.spans()
    made = {one.decision: one for one in records if isinstance(one, DecisionMade)}
    for span in of(found, "lictor", name="lictor.decide"):
        record = made.pop(span.attributes["lictor.decision.id"])
        said = span.attributes
        assert (said["lictor.request.id"], said["lictor.decision.outcome"]) == (record.request, record.outcome)
        assert (said["lictor.decision.reason"], said["lictor.policy.revision"]) == (record.reason, record.revision)
        assert said["lictor.decision.policies"] == record.policies
    assert made == {}
    assert [one.attributes["lictor.hold.id"] for one in of(found, "lictor", name="lictor.hold")] == [hold]
    errors = {one.attributes["lictor.decision.reason"]: one.error for one in of(found, "lictor", "server")}
    assert errors == {"permitted": False, "not_permitted": True, "needs_approval": False}


async def test_a_clients_context_is_taken_from_meta_first() -> None:
    """`params._meta` says the parent; an HTTP head's context is linked beside it, and is the parent where there is no other."""
    other = "00-" + "c" * 32 + "-" + "d" * 16 + "-01"
    given = f"00-{TRACE}-{PARENT}-00"  # its flag says "not sampled": that is not the client's to say
    with Collector() as collector:
        async with seen(tracing(collector)) as gateway:
            _, token = await gateway.task()
            await raw(gateway, token, {"traceparent": given}, {})
            await raw(gateway, token, {}, {"traceparent": given})
            await raw(gateway, token, {"traceparent": given}, {"traceparent": other})
            found = await spans(collector, lambda got: len(of(got, "lictor", "server")) == 3)
    served = sorted(of(found, "lictor", "server"), key=lambda span: span.start)
    assert [(span.trace, span.parent) for span in served] == [(TRACE, PARENT)] * 3
    assert [span.links for span in served] == [(), (), ("d" * 16,)]


async def test_nothing_of_a_call_but_its_shape_leaves_by_traces_or_figures() -> None:
    """Arguments, results, unknown names, client's metadata: not one byte of them reaches the collector or the page (LOGI-08)."""
    with Collector() as collector:
        async with seen(METRICS + tracing(collector)) as gateway:
            _, token = await gateway.task()
            await gateway.ask(token, CANARY)
            await gateway.send(token, "tools/call", {"name": f"shop__{CANARY}", "arguments": {CANARY: CANARY}})
            await gateway.send(token, "tools/call", {"name": f"{CANARY}__ask", "arguments": {}})
            await gateway.send(token, "resources/read", {"uri": f"file:///{CANARY}"})
            await gateway.send(token, CANARY, {})
            await raw(
                gateway,
                token,
                {"traceparent": f"00-{CANARY}", "tracestate": f"a={CANARY}", "baggage": f"b={CANARY}"},
                {"traceparent": CANARY, "tracestate": f"a={CANARY}", "baggage": f"b={CANARY}"},
            )
            found = await spans(collector, lambda got: len(of(got, "lictor", "server")) >= 5)
            _, _, text = await gateway.page()
    ours = of(found, "lictor")
    assert len(of(ours, "lictor", "server")) >= 5
    assert [span for span in ours if CANARY in span.text] == []
    assert CANARY not in text
    assert {name for span in ours for name in span.attributes} <= attributes.ALL


@pytest.mark.parametrize("fault", ["refuses", "hangs"])
async def test_a_bad_collector_costs_spans_and_nothing_else(fault: str) -> None:
    """Calls are answered as ever, the operator is told once, and the end does not wait for it."""
    with Collector(status=500, hang=fault == "hangs") as collector:
        async with seen(tracing(collector)) as gateway:
            _, token = await gateway.task()
            async with asyncio.timeout(60):
                while not collector.asked:
                    assert '"isError":true' not in await gateway.ask(token)
                    await asyncio.sleep(0.1)
                while fault == "refuses" and not gateway.said:
                    await asyncio.sleep(0.1)
            assert '"isError":true' not in await gateway.ask(token)
            began = time.monotonic()
        assert time.monotonic() - began < 30
        assert len([line for line in gateway.said if "collector" in line]) <= 1


async def test_nothing_happens_otherwise_because_somebody_looks_on(monkeypatch: pytest.MonkeyPatch) -> None:
    """Unwatched, watched, and watched by something that fails at everything: the same answers and the same records."""

    async def story(settings: str) -> list[Any]:
        async with seen(settings) as gateway:
            since = gateway.house.store.size()
            await mixed(gateway)
            told = gateway.records()[since:]
            assert (gateway.runtime.observing.defects > 0) is (settings == broken)
        return sorted(
            (str(one.__struct_config__.tag), getattr(one, "outcome", ""), str(getattr(one, "reason", "")))
            for one in told
        )

    with Collector() as collector:
        watched, broken = METRICS + tracing(collector), METRICS + tracing(collector, 'propagate = "gateway"\n')
        stories = [await story(""), await story(watched)]

        def fail(*_: object, **__: object) -> Any:
            raise RuntimeError("broken")

        for name in ("of_call", "of_action", "of_answer", "of_error"):
            monkeypatch.setattr(attributes, name, fail)
        stories.append(await story(broken))
    assert stories[0] == stories[1] == stories[2]


# -- figures ---------------------------------------------------------------------------------------------------------------

Samples = dict[tuple[str, tuple[tuple[str, str], ...]], float]


def samples(text: str, parse: Callable[[str], Iterable[Any]] = plain.text_string_to_metric_families) -> Samples:
    """Every sample of a page, by the client library's own parser."""
    return {
        (sample.name, tuple(sorted(sample.labels.items()))): sample.value
        for family in parse(text)
        for sample in family.samples
    }


def recounted(gateway: Seen, since: int) -> dict[str, Counter[Any]]:
    """What the log says, counted another way."""
    records = gateway.records()[since:]
    names = {one.request: one.name for one in gateway.records() if isinstance(one, RequestReceived)}
    known = {"ask"}
    return {
        "lictor_records_total": Counter(str(one.__struct_config__.tag) for one in records),
        "lictor_decisions_total": Counter(
            (one.outcome, one.reason, "read" if names[one.request] in known else "other")
            for one in records
            if isinstance(one, DecisionMade)
        ),
        "lictor_executions_total": Counter(one.outcome for one in records if isinstance(one, ExecutionEnded)),
    }


def counted(found: Samples) -> dict[str, Counter[Any]]:
    """The same from the page."""
    by = {
        "lictor_records_total": ("type",),
        "lictor_decisions_total": ("outcome", "reason", "effect"),
        "lictor_executions_total": ("outcome",),
    }
    answer: dict[str, Counter[Any]] = {name: Counter() for name in by}
    for (name, labels), value in found.items():
        if name in by and value:
            key = tuple(dict(labels)[label] for label in by[name])
            answer[name][key if len(key) > 1 else key[0]] += int(value)
    return answer


async def mixed(gateway: Seen) -> None:
    """Calls of every outcome; one hold is approved and used, one denied."""
    task, token = await gateway.task()
    for text in ("yes", "no", "yes"):
        await gateway.ask(token, text)
    await gateway.send(token, "tools/call", {"name": "shop__nothing", "arguments": {}})
    await gateway.ask(token, "please")
    [hold] = gateway.house.store.holds(pending_only=True)
    await gateway.house.answer.approve(hold.id, Proof(human=HumanId("os:me")), seal_of(hold))
    await gateway.ask(token, "please")
    await gateway.house.tasks.close(task, by="os:me")
    async with asyncio.timeout(60):
        while gateway.house.store.open_executions():
            await asyncio.sleep(0.02)


async def test_figures_are_what_the_log_says() -> None:
    """Both formats parse with the client library, and agree with a recount of the log after calls of every outcome."""
    async with seen(METRICS) as gateway:
        since = gateway.house.store.size()
        await mixed(gateway)
        status, kind, text = await gateway.page()
        assert (status, kind.partition(";")[0]) == (200, "text/plain")
        found = samples(text)
        assert counted(found) == recounted(gateway, since)
        assert found["lictor_approvals_total", (("outcome", "given"),)] == 1
        assert found["lictor_approval_answer_seconds_count", (("outcome", "given"),)] == 1
        assert found["lictor_log_records", ()] == gateway.house.store.size()
        assert (found["lictor_tasks_open", ()], found["lictor_holds_open", ()]) == (0, 0)
        decided = sum(recounted(gateway, since)["lictor_decisions_total"].values())
        assert found["lictor_decide_seconds_count", ()] == found["lictor_record_seconds_count", ()] == decided
        assert found["lictor_ready", ()] == 1
        _, kind, text = await gateway.page(accept="application/openmetrics-text; version=1.0.0")
        assert kind.startswith("application/openmetrics-text")
        assert counted(samples(text, openmetrics.text_string_to_metric_families)) == recounted(gateway, since)
        families = {family.name for family in openmetrics.text_string_to_metric_families(text)}
        assert families == set(FAMILIES)
        # Control: a tally that leaves out denials, over the same log.
        flattering = Figures()
        tally = Flattering(flattering, gateway.runtime.observing.catalogue, frozenset({"shop"}))
        for entry in gateway.house.store.entries(since):
            tally.entry(entry.data)
        made = asyncio.to_thread(lambda: exposition.generate_latest(_Given(families_of(flattering, {}))).decode())
        assert counted(samples(await made)) != recounted(gateway, since)


class Flattering(Tally):
    """Broken on purpose."""

    def _decided(self, record: DecisionMade, at_ms: int) -> None:
        if record.outcome != "deny":
            super()._decided(record, at_ms)


async def test_names_that_clients_make_up_make_no_series(monkeypatch: pytest.MonkeyPatch) -> None:
    """However many names are tried, and whatever stands in them, the page grows by nothing. Who may read it at all."""
    async with seen(METRICS) as gateway:
        _, token = await gateway.task()
        await gateway.ask(token)
        await gateway.send(token, "tools/call", {"name": "shop__nothing", "arguments": {}})
        await gateway.send(token, "no/such", {})
        await asyncio.sleep(0.5)
        before = set(samples((await gateway.page())[2]))
        for number in range(20):
            await gateway.send(token, "tools/call", {"name": f'shop__x{number}"}} lictor_ready 7', "arguments": {}})
            await gateway.send(token, f"method/{number}", {})
        await asyncio.sleep(0.6)
        after = (await gateway.page())[2]
        assert set(samples(after)) - before == set()
        assert samples(after)["lictor_decisions_total", OTHERS] >= 20
        assert (await gateway.page(host="evil.example"))[0] == 421
        assert (await gateway.page(host="localhost"))[0] == 200
        assert (await gateway.page(path="x"))[0] == 404
        # A disk that hangs under whoever counts: calls go on, and the page says what it knows.
        free = threading.Event()
        monkeypatch.setattr(follow, "_since", lambda *_: free.wait(60) or [])
        asked = asyncio.create_task(gateway.page())
        assert '"isError":true' not in await gateway.ask(token)
        status, _, text = await asked
        assert (status, samples(text)["lictor_ready", ()]) == (200, 1)
        free.set()


OTHERS = (("effect", "other"), ("outcome", "deny"), ("reason", "unknown_tool"))


async def test_other_processes_records_are_counted(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """What a command of the operator writes is on the page like what the gateway decided. With a token, for who shows it."""
    monkeypatch.setenv("LICTOR_TEST_METRICS", "sesame")
    witness = WitnessKey.of("w.example/w", Ed25519PrivateKey.generate()).text()
    more = f'[witness.far]\nurl = "http://127.0.0.1:9"\nkey = "{witness}"\n[sinks.tape]\nkind = "file"\npath = "{tmp_path}/tape.jsonl"\n'
    async with seen(f'{METRICS}token_env = "LICTOR_TEST_METRICS"\n{more}') as gateway:
        bundle = gateway.house.folder.path
        process = await asyncio.create_subprocess_exec(
            *(_python(), "-m", "lictor", "kill", "everything", "--why", "a drill", "--bundle", str(bundle)),
            stdout=asyncio.subprocess.DEVNULL,
        )
        if await process.wait():
            pytest.fail("the command failed")
        assert [(await gateway.page(token=token))[0] for token in ("", "wrong")] == [401, 401]
        found = samples((await gateway.page(token="sesame"))[2])
        assert found["lictor_containments_total", (("event", "laid"),)] == 1
        assert sum(value for (name, _), value in found.items() if name == "lictor_containments_in_force") == 1
        assert found["lictor_witness_lag_records", (("witness", "far"),)] == gateway.house.store.size()
        assert found["lictor_witness_contradicted", (("witness", "far"),)] == 0
        assert found["lictor_sink_lag_records", (("sink", "tape"),)] <= gateway.house.store.size()
        assert found["lictor_sink_failing", (("sink", "tape"),)] == 0


def _python() -> str:
    import sys

    return sys.executable


async def raw(gateway: Seen, token: str, meta: dict[str, Any], headers: dict[str, str]) -> None:
    """One modern call with metadata and header fields of its own, over the socket."""
    import httpx2

    body = {
        "jsonrpc": "2.0",
        "id": 1,
        "method": "tools/call",
        "params": {
            "name": "shop__ask",
            "arguments": {"text": "yes"},
            "_meta": {
                "io.modelcontextprotocol/protocolVersion": "2026-07-28",
                "io.modelcontextprotocol/clientInfo": {"name": "raw", "version": "0"},
                "io.modelcontextprotocol/clientCapabilities": {},
                **meta,
            },
        },
    }
    fields = {
        "Authorization": f"Bearer {token}",
        "Content-Type": "application/json",
        "Accept": "application/json, text/event-stream",
        "MCP-Protocol-Version": "2026-07-28",
        "Mcp-Method": "tools/call",
        "Mcp-Name": "shop__ask",
        **headers,
    }
    async with httpx2.AsyncClient(timeout=60, trust_env=False) as http:
        answer = await http.post(gateway.url, content=json.dumps(body).encode(), headers=fields)
        assert answer.status_code == 200, answer.text
