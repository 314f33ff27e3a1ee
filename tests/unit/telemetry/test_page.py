"""The page of figures: both formats as the client library reads them, who may read, and how often the log is asked."""

import asyncio
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from prometheus_client import parser as plain
from prometheus_client.openmetrics import parser as openmetrics

from lictor.telemetry.families import FAMILIES, FROM_LOG
from lictor.telemetry.figures import Figures, Times
from lictor.telemetry.page import Page


async def look() -> dict[Any, float]:
    return {("lictor_ready", ()): True}


async def get(
    page: Page, *, method: str = "GET", path: str = "/metrics", **headers: str
) -> tuple[int, dict[bytes, bytes], bytes]:
    sent: list[dict[str, Any]] = []

    async def send(message: dict[str, Any]) -> None:
        sent.append(message)

    heads = [(name.encode(), value.encode("latin-1")) for name, value in {"host": "localhost:9464", **headers}.items()]
    await page({"type": "http", "method": method, "path": path, "headers": heads}, None, send)
    return sent[0]["status"], dict(sent[0]["headers"]), sent[1]["body"]


@settings(max_examples=25)
@given(st.text(max_size=40), st.integers(0, 2**53), st.lists(st.floats(0, 1e6, allow_nan=False), max_size=20))
def test_whatever_is_counted_is_read_back(label: str, count: int, times: list[float]) -> None:
    """Labels, counts and histograms survive both formats, whatever stands in a label."""
    label = label.encode("utf-8", "replace").decode()
    figures = Figures()
    figures.add("lictor_refusals", label, by=count)
    for value in times:
        figures.histogram("lictor_decide_seconds").observe(value)
    page = Page(figures, look)
    for accept, parse in (("", plain), ("application/openmetrics-text", openmetrics)):
        text = asyncio.run(get(page, accept=accept))[2].decode()
        found = {
            (sample.name, tuple(sample.labels.values())): sample.value
            for family in parse.text_string_to_metric_families(text)
            for sample in family.samples
        }
        assert found["lictor_refusals_total", (label,)] == count
        assert found["lictor_decide_seconds_count", ()] == len(times)
        assert found["lictor_decide_seconds_bucket", ("+Inf",)] == len(times)
        assert found["lictor_decide_seconds_sum", ()] == pytest.approx(sum(times))
        assert found["lictor_ready", ()] == 1


def test_a_bound_belongs_to_its_bucket() -> None:
    """`le` is less or equal."""
    times = Times((1.0, 2.0))
    for value in (0.0, 1.0, 1.5, 2.0, 3.0):
        times.observe(value)
    assert (times.counts, times.count, times.total) == ([2, 2, 1], 5, 7.5)


THEIRS = ["", "evil.example", "localhost.evil.example", "127.0.0.1.evil.example"]
OURS = ["localhost", "LOCALHOST:1", "127.0.0.1:9464", "[::1]:9464"]


@pytest.mark.parametrize(("host", "status"), [*((one, 200) for one in OURS), *((one, 421) for one in THEIRS)])
async def test_only_names_of_this_machine(host: str, status: int) -> None:
    """A page in a browser that made its own name point here is turned away (DNS rebinding)."""
    page = Page(Figures(), look, hosts=frozenset({"localhost", "127.0.0.1", "[::1]"}))
    assert (await get(page, host=host))[0] == status


@pytest.mark.parametrize(
    ("shown", "status"),
    [
        ("Bearer sesame", 200),
        ("bearer sesame", 200),
        ("", 401),
        ("Bearer", 401),
        ("Bearer sesam", 401),
        ("Basic sesame", 401),
    ],
)
async def test_who_has_the_token(shown: str, status: int) -> None:
    """It has to be shown as a bearer token, whole."""
    got, headers, body = await get(Page(Figures(), look, token="sesame"), authorization=shown)
    assert got == status
    assert (b"www-authenticate" in headers) is (status == 401)
    assert (b"lictor_" in body) is (status == 200)


async def test_nothing_else_is_there() -> None:
    """One path, to read."""
    page = Page(Figures(), look)
    assert (await get(page, path="/"))[0] == 404
    assert (await get(page, path="/metrics/x"))[0] == 404
    assert (await get(page, method="POST"))[0] == 405
    assert (await get(page, method="HEAD"))[2] == b""


async def test_the_log_is_asked_at_most_twice_a_second() -> None:
    """Whoever reads the page in a loop costs the disk nothing."""
    asked = []

    async def counted() -> dict[Any, float]:
        asked.append(1)
        await asyncio.sleep(0.05)
        return {}

    page = Page(Figures(), counted)
    await asyncio.gather(*(get(page) for _ in range(30)))
    assert len(asked) == 1


def test_names_follow_the_conventions() -> None:
    """One prefix, no suffix that a format adds, units spelt out, labels that are not ours to give; each with its words."""
    for name, family in FAMILIES.items():
        assert name == family.name
        assert name.startswith("lictor_")
        assert not name.endswith(("_total", "_bucket", "_count", "_sum"))
        assert family.says.endswith(".")
        assert (family.kind == "histogram") is bool(family.buckets)
        assert list(family.buckets) == sorted(family.buckets)
    assert all(family.kind != "gauge" for family in FROM_LOG)
