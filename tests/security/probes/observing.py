"""Probes of `[metrics]` and `[telemetry]`: where the page of figures stands and who reads it, where spans go, which, and how many."""

import asyncio
import contextlib
import os
import urllib.error
import urllib.request
from collections.abc import Iterator
from unittest.mock import patch

from lictor.app.metrics import metrics_served
from lictor.cli.demonstration.stage import free_port
from security.probes.stand import Place
from security.probes.table import probe
from servers.collector import Collector, Seen

TOKEN_ENV = "LICTOR_PROBE_TOKEN"
THEIRS = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"


def _status(port: int) -> int:
    """Of the page at a port; 0: nobody answers. Blocking."""
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    try:
        with opener.open(f"http://127.0.0.1:{port}/metrics", timeout=10) as answer:
            return int(answer.status)
    except urllib.error.HTTPError as error:
        return error.code
    except OSError:
        return 0


@contextlib.contextmanager
def _ports(made: Place) -> Iterator[None]:
    made.around["one"], made.around["two"] = free_port(), free_port()
    if "metrics.token_env" in made.said:
        made.said["metrics.listen"] = f"127.0.0.1:{made.around['one']}"
    with patch.dict(os.environ, {TOKEN_ENV: "sesame"}):
        yield


@probe(
    "metrics.listen",
    ("", {"one": 0, "two": 0}),
    (lambda made: f"127.0.0.1:{made.around['one']}", {"one": 200, "two": 0}),
    (lambda made: f"127.0.0.1:{made.around['two']}", {"one": 0, "two": 200}),
    around=_ports,
)
async def listen(place: Place) -> object:
    """Where the page stands."""
    async with place.stand() as stand, metrics_served(stand.runtime):
        return {name: await asyncio.to_thread(_status, place.around[name]) for name in ("one", "two")}


@probe(
    "metrics.token_env",
    ("", 200),
    (TOKEN_ENV, 401),
    ("LICTOR_PROBE_NOTHING", "config_refused"),
    around=_ports,
)
async def token_env(place: Place) -> object:
    """Whether somebody without a token reads it."""
    async with place.stand() as stand, metrics_served(stand.runtime):
        return await asyncio.to_thread(_status, place.around["one"])


@contextlib.contextmanager
def _collectors(made: Place) -> Iterator[None]:
    with Collector() as one, Collector() as two:
        made.around["one"], made.around["two"] = one, two
        yield


@contextlib.contextmanager
def _told(made: Place) -> Iterator[None]:
    with _collectors(made):
        made.said["telemetry.otlp"] = made.around["one"].url
        yield


async def _traced(place: Place, calls: int = 1) -> dict[str, list[Seen]]:
    """Some calls; the spans that each collector has at the end."""
    async with place.stand() as stand:
        token = await stand.token()
        for _ in range(calls):
            await stand.call("echo", token=token)
        export = stand.runtime.observing.export
        place.around["dropped"] = 0 if export is None else export.results["dropped"]
        await stand.runtime.observing.close()
    return {name: place.around[name].spans() for name in ("one", "two")}


@probe(
    "telemetry.otlp",
    ("", []),
    (lambda made: made.around["one"].url, ["one"]),
    (lambda made: made.around["two"].url, ["two"]),
    around=_collectors,
)
async def otlp(place: Place) -> object:
    """Which collector gets spans."""
    return [name for name, spans in (await _traced(place)).items() if spans]


@probe("telemetry.service", ("left", {"left"}), ("right", {"right"}), around=_told)
async def service(place: Place) -> object:
    """Under which name."""
    return {span.service for span in (await _traced(place))["one"]}


@probe("telemetry.sample", (1.0, True), (1e-12, False), around=_told)
async def sample(place: Place) -> object:
    """Whether a call is traced."""
    return bool((await _traced(place))["one"])


@probe("telemetry.queue", (2_048, False), (1, True), around=_told)
async def queue(place: Place) -> object:
    """Whether some of many spans are thrown away."""
    await _traced(place, 3)
    return place.around["dropped"] > 0


@probe("telemetry.propagate", ("client", "theirs"), ("gateway", "ours"), around=_told)
async def propagate(place: Place) -> object:
    """Which context the server gets."""
    async with place.stand() as stand:
        await stand.call("echo", meta={"traceparent": THEIRS})
        await stand.runtime.observing.close()
    [meta] = place.behaviour.metas
    return "theirs" if meta["traceparent"] == THEIRS else "ours"
