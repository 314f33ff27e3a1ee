"""Lines out of a byte stream: cut anywhere they are the same, and they are bounded."""

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lictor.pep.mcp.upstream.lines import LineOverflowError, LineSplitter


class Forgetful(LineSplitter):
    """A broken control: forgets what came before."""

    def feed(self, chunk: bytes) -> list[bytes]:
        self._buffer.clear()
        return super().feed(chunk)


def cut_lines_are_the_same(splitter: type[LineSplitter]) -> None:
    @given(st.lists(st.sampled_from([b"a", b"bc", b"\n", b"\r\n", b"  ", b"{}"])), st.lists(st.integers(0, 60)))
    def law(parts, cuts):
        text = b"".join(parts)
        places = sorted({0, len(text), *(c for c in cuts if c < len(text))})
        one = splitter(1000)
        pieces = [line for a, b in pairwise(places) for line in one.feed(text[a:b])]
        assert pieces == [line for line in text.split(b"\n")[:-1] if line.strip()]

    law()


def test_lines_are_the_same_however_the_stream_is_cut():
    """And blank ones are left out."""
    cut_lines_are_the_same(LineSplitter)


def test_control_the_law_catches_a_splitter_that_forgets():
    """The broken control fails the same check."""
    with pytest.raises(AssertionError):
        cut_lines_are_the_same(Forgetful)


@pytest.mark.parametrize(
    "chunks", [[b"a" * 11], [b"a" * 6, b"a" * 5], [b"a" * 11 + b"\n"], [b"a\n", b"b\n" + b"c" * 11]]
)
def test_a_line_is_bounded(chunks):
    """Finished or not."""
    splitter = LineSplitter(10)
    for chunk in chunks[:-1]:
        splitter.feed(chunk)
    with pytest.raises(LineOverflowError):
        splitter.feed(chunks[-1])
