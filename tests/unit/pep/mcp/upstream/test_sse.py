"""Event streams: cut anywhere they mean the same, and they are bounded."""

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lictor.pep.mcp.upstream.sse import SseEvent, SseOverflowError, SseParser

LINE = st.sampled_from(
    [
        "data: a",
        "data:b",
        "data",
        "data:  c",
        ": hi",
        ":",
        "event: x",
        "event:message",
        "id: 1",
        "id: \0",
        "retry: 5",
        "x: y",
        "",
        "",
    ]
)
END = st.sampled_from(["\n", "\r\n", "\r"])


def parse(chunks, parser=None) -> list[SseEvent]:
    parser = parser or SseParser(1000)
    return [event for chunk in chunks for event in parser.feed(chunk)]


@pytest.mark.parametrize(
    ("text", "events"),
    [
        (b"data: a\n\n", [SseEvent("message", b"a")]),
        (b"\xef\xbb\xbfdata: a\n\n", [SseEvent("message", b"a")]),
        (b"data: a\r\ndata:b\r\n\r\n", [SseEvent("message", b"a\nb")]),
        (b"event: x\rdata:  a\r\r\n", [SseEvent("x", b" a")]),
        (b"data\n\n", [SseEvent("message", b"")]),
        (b"event: x\n\ndata: a\n\n", [SseEvent("message", b"a")]),
        (b": c\n\n\n", []),
        (b"data: unfinished\n", []),
        (b"DATA: a\n\n", []),
    ],
)
def test_what_a_stream_means(text, events):
    """As the WHATWG standard says."""
    assert parse([text, b"\n"] if text.endswith(b"\r") else [text]) == events


def test_id_and_retry_are_remembered():
    """A NUL in an id and a retry that is no number are ignored."""
    parser = SseParser(100)
    parse([b"id: 7\nretry: 250\n\nid: a\0b\nretry: soon\nretry: -1\n\n"], parser)
    assert (parser.last_event_id, parser.retry_ms) == ("7", 250)


class CutAtReads(SseParser):
    """A broken control: takes the end of a read for the end of a line."""

    def feed(self, chunk: bytes) -> list[SseEvent]:
        return super().feed(chunk if chunk.endswith((b"\n", b"\r")) else chunk + b"\n")


def cut_stream_means_the_same(parser: type[SseParser]) -> None:
    @given(st.lists(st.tuples(LINE, END)), st.lists(st.integers(0, 200)))
    def law(lines, cuts):
        text = "".join(line + end for line, end in lines).encode() + b"\n"
        places = sorted({0, len(text), *(c for c in cuts if c < len(text))})
        pieces = [text[a:b] for a, b in pairwise(places)]
        whole = parse([text], parser(1000))
        cut = (parse(pieces, parser(1000)), parse([bytes([b]) for b in text], parser(1000)))
        assert cut == (whole, whole)

    law()


def test_a_stream_means_the_same_however_it_is_cut():
    """Whole, in pieces or byte by byte."""
    cut_stream_means_the_same(SseParser)


def test_control_the_law_catches_a_parser_that_trusts_reads():
    """The broken control fails the same check."""
    with pytest.raises(AssertionError):
        cut_stream_means_the_same(CutAtReads)


@pytest.mark.parametrize("chunk", [b"data: aaaaaaaaaaaaaaaaaaa", b": aaaaaaaaaaaaaaaaaaaaa", b"data: aaaa\n" * 5])
def test_memory_is_bounded(chunk):
    """One line without end, or one event of many lines."""
    with pytest.raises(SseOverflowError):
        parse([chunk], SseParser(16))
