"""Lines out of a hostile stream."""

from hypothesis import given
from hypothesis import strategies as st

from lictor.pep.mcp.downstream.lines import Lines, Overlong


@given(st.lists(st.binary(max_size=40)), st.lists(st.integers(0, 30), max_size=20))
def test_cutting_does_not_depend_on_how_the_bytes_arrive(lines: list[bytes], cuts: list[int]) -> None:
    """The same lines and the same refusals come out however the stream is cut into reads, and never more than the bound."""
    most = 16
    whole = b"\n".join(lines) + b"\n"
    expected = [
        Overlong(line[:most]) if len(line) > most else line
        for line in whole.split(b"\n")[:-1]
        if len(line) > most or (line and not line.isspace())
    ]
    cutter, found, rest = Lines(most), [], whole
    for cut in cuts:
        found += cutter.feed(rest[:cut])
        rest = rest[cut:]
        assert len(cutter._buffer) <= most
    found += cutter.feed(rest)
    assert found == expected


def test_an_overlong_line_is_reported_before_it_ends_and_the_next_one_is_read() -> None:
    """The refusal does not wait for a line end that may never come; what follows is a new line."""
    cutter = Lines(4)
    assert cutter.feed(b"123456") == [Overlong(b"1234")]
    assert cutter.feed(b"7" * 100_000) == []
    assert cutter.feed(b"\nok\n") == [b"ok"]


def test_a_partial_line_is_no_line() -> None:
    """Half a message is never served."""
    assert Lines(100).feed(b'{"a":') == []
