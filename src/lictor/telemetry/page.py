"""`GET /metrics`: the figures as text, on a listener of their own. Refuses to know where they come from.

They hold names of tools, reasons and sizes, and nothing of what was called; still, they are for those who look after the gateway.
On loopback a browser's page is kept out by the `Host` header (DNS rebinding); beyond it a bearer token is needed.
"""

import asyncio
import hmac
from collections.abc import Awaitable, Callable, Mapping
from typing import Any, Final

from prometheus_client import exposition
from prometheus_client.metrics_core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily, Metric
from prometheus_client.openmetrics import exposition as openmetrics

from lictor.telemetry.families import FAMILIES, Family
from lictor.telemetry.figures import Figures, Labels, Times

PATH: Final = "/metrics"
FRESH_S: Final = 0.5
"""What was looked up is good for so long: however often the page is read, the log is asked twice a second."""
_HEADERS: Final = [
    (b"cache-control", b"no-store"),
    (b"x-content-type-options", b"nosniff"),
    (b"content-security-policy", b"default-src 'none'"),
]

Now = Mapping[tuple[str, Labels], float]
"""Gauges by family and label values."""
Look = Callable[[], Awaitable[Now]]


class Page:
    """An ASGI application.

    Args:
        figures: what was counted.
        look: says what is now; called at most every `FRESH_S`.
        token: that a reader shows; empty: nobody has to.
        hosts: `Host` headers taken, lower case, without port; empty: any, since the token says who reads.
    """

    def __init__(self, figures: Figures, look: Look, *, token: str = "", hosts: frozenset[str] = frozenset()) -> None:
        self._figures = figures
        self._look = look
        self._token = token
        self._hosts = hosts
        self._now: Now = {}
        self._until = 0.0
        self._lock = asyncio.Lock()

    async def __call__(self, scope: Mapping[str, Any], receive: Any, send: Any) -> None:  # noqa: ARG002
        """One request."""
        if scope["type"] != "http":
            return
        headers = {name.lower(): value for name, value in scope["headers"]}
        status, kind, body = await self._answer(scope, headers)
        told = [(b"content-type", kind), (b"content-length", str(len(body)).encode()), *_HEADERS]
        if status == 401:
            told.append((b"www-authenticate", b"Bearer"))
        await send({"type": "http.response.start", "status": status, "headers": told})
        await send({"type": "http.response.body", "body": b"" if scope["method"] == "HEAD" else body})

    async def _answer(self, scope: Mapping[str, Any], headers: Mapping[bytes, bytes]) -> tuple[int, bytes, bytes]:
        plain = b"text/plain; charset=utf-8"
        if self._hosts and _host(headers.get(b"host", b"")) not in self._hosts:
            return 421, plain, b"this is not the host you asked for\n"
        if self._token and not _shown(headers.get(b"authorization", b""), self._token):
            return 401, plain, b"a bearer token is needed\n"
        if scope["path"] != PATH:
            return 404, plain, b"there is nothing here but /metrics\n"
        if scope["method"] not in {"GET", "HEAD"}:
            return 405, plain, b"GET only\n"
        given = _Given(families_of(self._figures, await self._looked_up()))
        if b"application/openmetrics-text" in headers.get(b"accept", b"").lower():
            text: bytes = openmetrics.generate_latest(given)  # type: ignore[no-untyped-call]
            return 200, openmetrics.CONTENT_TYPE_LATEST.encode(), text
        return 200, exposition.CONTENT_TYPE_PLAIN_0_0_4.encode(), exposition.generate_latest(given)

    async def _looked_up(self) -> Now:
        async with self._lock:
            now = asyncio.get_running_loop().time()
            if now >= self._until:
                self._now = await self._look()
                self._until = asyncio.get_running_loop().time() + FRESH_S
            return self._now


class _Given:
    """What `prometheus_client` calls a registry, of families that are there already."""

    def __init__(self, families: list[Metric]) -> None:
        self._families = families

    def collect(self) -> list[Metric]:
        """All of them."""
        return self._families


def families_of(figures: Figures, now: Now) -> list[Metric]:
    """Everything there is to say, one family each; a counter without labels is there from the start, at 0."""
    samples: dict[str, list[tuple[Labels, float | Times]]] = {name: [] for name in FAMILIES}
    for values in (figures.counters, figures.times, now):
        for (name, labels), value in values.items():
            samples[name].append((labels, value))
    samples["lictor_calls_under_way"].append(((), figures.under_way))
    for family in FAMILIES.values():
        if not samples[family.name] and not family.labels and family.kind != "gauge":
            samples[family.name].append(((), Times(family.buckets) if family.kind == "histogram" else 0))
    return [_family(family, sorted(samples[family.name], key=lambda one: one[0])) for family in FAMILIES.values()]


def _family(family: Family, samples: list[tuple[Labels, float | Times]]) -> Metric:
    if family.kind == "histogram":
        histogram = HistogramMetricFamily(family.name, family.says, labels=family.labels)
        for labels, times in samples:
            if isinstance(times, Times):
                histogram.add_metric(labels, buckets=_buckets(times), sum_value=times.total)
        return histogram
    if family.kind == "counter":
        counter = CounterMetricFamily(family.name, family.says, labels=family.labels)
        for labels, value in samples:
            counter.add_metric(labels, float(value) if not isinstance(value, Times) else 0.0)
        return counter
    gauge = GaugeMetricFamily(family.name, family.says, labels=family.labels)
    for labels, value in samples:
        gauge.add_metric(labels, float(value) if not isinstance(value, Times) else 0.0)
    return gauge


def _buckets(times: Times) -> list[tuple[str, float]]:
    total = 0.0
    found = []
    for bound, count in zip((*(repr(bound) for bound in times.bounds), "+Inf"), times.counts, strict=True):
        total += count
        found.append((bound, total))
    return found


def _host(value: bytes) -> str:
    """Without its port."""
    text = value.decode("latin-1").lower()
    return text.rpartition("]")[0] + "]" if text.startswith("[") else text.partition(":")[0]


def _shown(authorization: bytes, token: str) -> bool:
    scheme, _, shown = authorization.partition(b" ")
    return scheme.lower() == b"bearer" and hmac.compare_digest(shown.strip(), token.encode())
