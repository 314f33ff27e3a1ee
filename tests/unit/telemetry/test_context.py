"""Trace contexts: the one form there is, nothing else, and back again."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from opentelemetry.trace import SpanContext, TraceFlags

from lictor.telemetry.context import CARRIER, carrying, context_of, traceparent

TRACE, SPAN = "4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7"


@given(st.integers(1, 2**128 - 1), st.integers(1, 2**64 - 1), st.booleans())
def test_a_context_comes_back_as_it_went(trace: int, span: int, sampled: bool) -> None:
    """Ids and flag survive."""
    context = SpanContext(trace, span, is_remote=True, trace_flags=TraceFlags(int(sampled)))
    assert context_of(traceparent(context)) == context


@pytest.mark.parametrize(
    "value",
    [
        None,
        7,
        {},
        "",
        f"00-{TRACE}-{SPAN}",
        f"00-{TRACE}-{SPAN}-01-x",
        f"00-{TRACE}-{SPAN}-01\n",
        f"01-{TRACE}-{SPAN}-01",
        f"ff-{TRACE}-{SPAN}-01",
        f"00-{TRACE.upper()}-{SPAN}-01",
        f"00-{'0' * 32}-{SPAN}-01",
        f"00-{TRACE}-{'0' * 16}-01",
        f"00-{'٠' * 32}-{SPAN}-01",
    ],
)
def test_everything_else_is_none(value: object) -> None:
    """W3C Trace Context 3.2, version 00, to the letter."""
    assert context_of(value) is None


@given(st.text())
def test_no_text_gets_through(value: str) -> None:
    """What is no context never becomes one."""
    found = context_of(value)
    assert found is None or traceparent(found)[:53] == value[:53]


@pytest.mark.parametrize(
    ("heads", "known"),
    [
        ([], False),
        ([(b"traceparent", f"00-{TRACE}-{SPAN}-01".encode())], True),
        ([(b"Traceparent", f"00-{TRACE}-{SPAN}-01".encode())], True),
        ([(b"traceparent", f"00-{TRACE}-{SPAN}-01".encode())] * 2, False),
        ([(b"traceparent", b"\xff")], False),
    ],
)
async def test_a_requests_head_is_remembered_for_the_request(heads: list[tuple[bytes, bytes]], known: bool) -> None:
    """One field counts, two are none; after the request nothing is left."""
    seen = []

    async def app(scope: object, receive: object, send: object) -> None:
        seen.append(CARRIER.get())

    await carrying(app)({"type": "http", "headers": heads}, None, None)
    [carrier] = seen
    assert carrier is not None
    assert (carrier.context is not None) is known
    assert CARRIER.get() is None
