"""The response reader against a second implementation: however bytes are cut, and whatever is done to them."""

import re

import h11
import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from lictor.pep.mcp.upstream.http1 import chunks, head, reader
from lictor.pep.mcp.upstream.http1.faults import HttpFault
from lictor.pep.mcp.upstream.http1.reader import ResponseReader

# -- responses a correct server sends --------------------------------------------------------------------------------------

_TOKEN = "!#$%&'*+-.^_`|~0123456789ABCabcXYZxyz"
_OURS = {"content-length", "transfer-encoding", "connection", "content-type", "content-encoding", "mcp-session-id"}
names = st.text(_TOKEN, min_size=1, max_size=12).filter(lambda name: name.lower() not in _OURS)
values = st.text([chr(n) for n in (*range(0x21, 0x7F), *range(0x80, 0x100))] + [" ", "\t"], max_size=20).map(str.strip)
spaces = st.sampled_from(["", " ", "  ", "\t", " \t "])
fields = st.lists(st.tuples(names, values), max_size=6)
reasons = st.sampled_from(["", " ", " OK", " Not Found", " caf\xe9"])


@st.composite
def lines(draw, more=()):
    """Header fields as lines, with the spaces that are allowed around values, in any order."""
    pairs = draw(st.permutations([*draw(fields), *more]))
    text = "".join(f"{name}:{draw(spaces)}{value}{draw(spaces)}\r\n" for name, value in pairs)
    return text.encode("latin-1")


@st.composite
def chunked(draw, body):
    """A body in chunks, with extensions and trailer fields."""
    out, rest = b"", body
    while rest:
        size = draw(st.integers(1, len(rest)))
        digits = draw(st.sampled_from([b"%x", b"%X", b"0%x", b"000%X"])) % size
        extension = draw(st.sampled_from([b"", b";a", b";a=b", b';a="b c"']))
        out += digits + extension + b"\r\n" + rest[:size] + b"\r\n"
        rest = rest[size:]
    return out + draw(st.sampled_from([b"0", b"000"])) + b"\r\n" + draw(lines()) + b"\r\n"


@st.composite
def responses(draw):
    """Interim heads and a final response; and whether it ends with its connection."""
    interim = b"".join(
        b"HTTP/1.1 %d%s\r\n%s\r\n" % (draw(st.sampled_from([100, 102, 103])), b" x", draw(lines()))
        for _ in range(draw(st.integers(0, 2)))
    )
    status = draw(st.sampled_from([200, 200, 200, 202, 204, 400, 404, 500, 599]))
    body = b"" if status == 204 else draw(st.binary(max_size=60))
    framing = draw(st.sampled_from(["sized", "sized", "chunked", "close"]))
    more = [("Connection", draw(st.sampled_from(["close", "Close", "keep-alive", "x, close"])))] * draw(st.booleans())
    if status == 204:
        framing, text = "none", b""
    elif framing == "sized":
        more.append((draw(st.sampled_from(["Content-Length", "content-length"])), str(len(body))))
        text = body
    elif framing == "chunked":
        more.append(("Transfer-Encoding", draw(st.sampled_from(["chunked", "Chunked"]))))
        text = draw(chunked(body))
    else:
        text = body
    line = f"HTTP/1.1 {status}{draw(reasons)}\r\n".encode("latin-1")
    return interim + line + draw(lines(more)) + b"\r\n" + text, framing == "close"


# -- two readers -----------------------------------------------------------------------------------------------------------


def by_h11(data, *, eof):
    """What h11 makes of it: status, fields, body, whether the connection may be used again, whether bytes are left over.

    None: refused, or not complete.
    """
    connection = h11.Connection(h11.CLIENT, max_incomplete_event_size=2**20)
    connection.send(h11.Request(method="GET", target="/", headers=[("Host", "x")]))
    connection.send(h11.EndOfMessage())
    found, body = None, b""
    try:
        connection.receive_data(data)
        if eof:
            connection.receive_data(b"")
        while True:
            event = connection.next_event()
            if isinstance(event, h11.Response):
                found = event
            elif isinstance(event, h11.Data):
                body += bytes(event.data)
            elif isinstance(event, h11.EndOfMessage):
                break
            elif not isinstance(event, h11.InformationalResponse):
                return None
    except h11.RemoteProtocolError:
        return None
    said = {}
    for name, value in found.headers:
        said[name] = said[name] + b", " + value if name in said else value
    extra = bool(connection.trailing_data[0])
    # It leaves the end of the connection itself to whoever feeds it.
    framed = said.keys() & {b"content-length", b"transfer-encoding"} or found.status_code in {204, 304}
    return found.status_code, said, body, connection.their_state is h11.DONE and not extra and bool(framed), extra


def by_us(data, cuts=(), *, eof):
    """The same with our reader, fed in pieces."""
    one, body = ResponseReader(), b""
    try:
        for start, end in zip((0, *cuts), (*cuts, len(data)), strict=True):
            body += b"".join(one.feed(data[start:end]))
        if eof:
            one.end()
    except HttpFault:
        return None
    if not one.done:
        return None
    # h11 writes the coding in lower case.
    said = {name: value.lower() if name == b"transfer-encoding" else value for name, value in one.head.fields.items()}
    return one.head.status, said, body, one.keeps, one.extra


def cuts_of(data):
    """Where to cut."""
    return st.lists(st.integers(0, len(data)), max_size=8).map(lambda found: tuple(sorted(found)))


def agree(response, draw):
    """Both read a correct response, and the same."""
    data, eof = response
    theirs = by_h11(data, eof=eof)
    assert theirs is not None
    assert by_us(data, draw(cuts_of(data)), eof=eof) == theirs
    assert by_us(data, range(1, len(data)), eof=eof) == theirs


@given(responses(), st.data())
@settings(deadline=None, max_examples=100)
def test_a_correct_response_is_read_as_by_h11(response, data):
    """Cut anywhere, and byte by byte."""
    agree(response, data.draw)


def _forgetful_wait(self, data):
    self._pending = data
    self._scanned = len(data)


def _blind_size(self, data, at):
    end = data.find(b"\r\n", at)
    size = int(data[at:end].split(b";")[0] or b"0", 16) if end >= 0 else 0
    self._left = size + 2 if size else 0
    self._trailer = not size
    return end + 2 if end >= 0 else len(data)


@pytest.mark.parametrize(
    ("owner", "name", "broken"),
    [
        (reader.ResponseReader, "_wait", _forgetful_wait),
        (chunks.Chunks, "_size", _blind_size),
        (head, "_FIELD", re.compile(rb"^([^:\r\n]+):[ ]*([^\r\n]*)\r\n", re.MULTILINE)),
        (head, "_closes", lambda fields: fields.get(b"connection") == b"close"),
    ],
)
def test_a_broken_reader_is_noticed(monkeypatch, owner, name, broken):
    """Control: a blank line missed at a cut, a size cut in two, a tab kept, a token missed."""
    monkeypatch.setattr(owner, name, broken)

    @given(responses(), st.data())
    @settings(
        deadline=None,
        max_examples=400,
        database=None,
        phases=[Phase.generate],
        suppress_health_check=[HealthCheck.too_slow],
        report_multiple_bugs=False,
    )
    def check(response, data):
        agree(response, data.draw)

    with pytest.raises(Exception):  # noqa: B017 - whatever it breaks
        check()


# -- responses no correct server sends -------------------------------------------------------------------------------------

edits = st.lists(
    st.tuples(
        st.sampled_from(["insert", "delete", "replace"]),
        st.integers(0, 400),
        st.sampled_from(
            [b"\r", b"\n", b"\r\n", b"\r\n\r\n", b" ", b"\t", b"\0", b":", b",", b";", b"0", b"5", b"f", b"\x7f", b"+", b"-", b"_",
            b"\r\nContent-Length: 5", b"\r\nTransfer-Encoding: chunked", b"\r\n x", b"HTTP/1.1 200 OK\r\n\r\n", b"1.0"]
        ),
    ),
    min_size=1,
    max_size=3,
)  # fmt: skip


def changed(data, done):
    """Bytes after some edits."""
    for what, at, piece in done:
        spot = at % (len(data) + 1)
        if what == "insert":
            data = data[:spot] + piece + data[spot:]
        elif what == "delete":
            data = data[:spot] + data[spot + 1 :]
        else:
            data = data[:spot] + piece + data[spot + len(piece) :]
    return data


def never_alone(response, done):
    """What we accept, h11 accepts and reads the same."""
    data, eof = response
    data = changed(data, done)
    ours = by_us(data, eof=eof)
    if ours is not None:
        assert by_h11(data, eof=eof) == ours
    assert by_us(data, range(1, len(data)), eof=eof) == ours


@given(responses(), edits)
@settings(deadline=None, max_examples=200)
def test_a_broken_response_is_refused_or_read_as_by_h11(response, done):
    """Nothing is accepted that the other reader refuses or reads in another way; how it was cut makes no difference."""
    never_alone(response, done)


def test_a_lenient_reader_is_noticed(monkeypatch):
    """Control: names of fields that are no tokens."""
    monkeypatch.setattr(head, "_FIELD", re.compile(rb"^([^:\r\n]+):[ \t]*([^\r\n]*)\r\n", re.MULTILINE))

    @given(responses(), edits)
    @settings(deadline=None, max_examples=1000, database=None, phases=[Phase.generate], report_multiple_bugs=False)
    def check(response, done):
        never_alone(response, done)

    with pytest.raises(AssertionError):
        check()
