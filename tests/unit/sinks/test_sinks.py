"""Sinks against what really stands at the other end: files that are torn and full, servers that die, hang, refuse and drip."""

import base64
import contextlib
import hashlib
import hmac
import http.server
import json
import os
import re
import resource
import signal
import socket
import ssl
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

import told_samples as samples
from lictor.channels import post as posting
from lictor.channels.post import post_now
from lictor.channels.webhook import signed
from lictor.model.errors import LictorError, OperatorError, UpstreamError
from lictor.model.reasons import Reason
from lictor.service.log.pump import Event
from lictor.sinks import syslog
from lictor.sinks.build import sink_of
from lictor.sinks.encode import encoder
from lictor.sinks.file import FileSink
from lictor.sinks.settings import SinkSettings, check_sinks
from lictor.sinks.syslog import SyslogSink
from lictor.sinks.webhook import WebhookSink
from servers.certificates import self_signed

KEY = b"k" * 32


def events(many: int = 5, start: int = 0, form: str = "lictor") -> list[Event]:
    told = samples.read(*samples.records())[start : start + many]
    return [encoder(form)(one) for one in told]


# -- files -----------------------------------------------------------------------------------------------------------------


def lines(path: Path) -> list[int]:
    """Numbers of the entries in a file of JSON lines; what is no JSON is left out, as a reader would."""
    found = []
    for line in path.read_bytes().split(b"\n"):
        with contextlib.suppress(ValueError):
            found.append(json.loads(line)["seq"])
    return found


def file_sink(path: Path, *, rotate_bytes: int = 10**9, keep: int = 3) -> FileSink:
    return FileSink(path, rotate_bytes=rotate_bytes, rotate_keep=keep)


def test_a_file_is_for_its_owner_and_grows(tmp_path: Path) -> None:
    """Mode 0600, one line an event, appended to by the next process."""
    path = tmp_path / "log.jsonl"
    file_sink(path).send(events(3))
    file_sink(path).send(events(2, start=3))
    assert lines(path) == [0, 1, 2, 3, 4]
    assert path.stat().st_mode & 0o777 == 0o600
    assert path.read_bytes().count(b"\n") == 5


def test_half_a_line_of_a_crash_spoils_nothing(tmp_path: Path) -> None:
    """After a crash in the middle of a write the next event stands on a line of its own."""
    path = tmp_path / "log.jsonl"
    file_sink(path).send(events(2))
    whole = path.read_bytes()
    for cut in range(len(whole) - 1, len(whole) - 40, -7):
        path.write_bytes(whole[:cut])
        file_sink(path).send(events(2, start=1))
        assert lines(path)[-2:] == [1, 2]


def test_a_full_file_is_put_aside(tmp_path: Path) -> None:
    """Files are put aside by size, the oldest goes, and what an operator let a group read stays so."""
    path = tmp_path / "log.jsonl"
    sink = file_sink(path, rotate_bytes=900, keep=2)
    sink.send(events(1))
    path.chmod(0o640)
    for start in range(1, 12):
        sink.send(events(1, start=start))
    names = sorted(one.name for one in tmp_path.iterdir())
    assert names == ["log.jsonl", "log.jsonl.1", "log.jsonl.2"]
    together = [seq for name in ("log.jsonl.2", "log.jsonl.1", "log.jsonl") for seq in lines(tmp_path / name)]
    assert together == list(range(together[0], 12))
    assert all((tmp_path / name).stat().st_size <= 900 for name in names)
    assert path.stat().st_mode & 0o777 == 0o640


def test_a_file_that_somebody_else_moved_is_made_again(tmp_path: Path) -> None:
    """A log shipper that moves the file away gets a fresh one, not events in the old one."""
    path = tmp_path / "log.jsonl"
    sink = file_sink(path)
    sink.send(events(1))
    path.rename(tmp_path / "moved")
    sink.send(events(1, start=1))
    assert (lines(tmp_path / "moved"), lines(path)) == ([0], [1])


@pytest.mark.parametrize("place", ["link", "folder", "open", "pipe"])
def test_a_file_that_is_not_ours_alone_is_refused(tmp_path: Path, place: str) -> None:
    """No link is followed, and nothing is appended to what others write or read."""
    path = tmp_path / "log.jsonl"
    if place == "link":
        (tmp_path / "other").write_bytes(b"")
        path.symlink_to(tmp_path / "other")
    elif place == "folder":
        path.mkdir()
    elif place == "pipe":
        os.mkfifo(path)
        threading.Thread(target=lambda: path.open("rb"), daemon=True).start()
    else:
        path.write_bytes(b"")
        path.chmod(0o644)
    with pytest.raises((OperatorError, OSError)):
        file_sink(path).send(events(1))
    if place in {"link", "open"}:
        assert path.read_bytes() == b""


def test_a_full_disk_takes_nothing(tmp_path: Path) -> None:
    """What was written of a batch is taken back, so that no half line stays; afterwards it goes on."""
    path = tmp_path / "log.jsonl"
    sink = file_sink(path)
    sink.send(events(1))
    size = path.stat().st_size
    handler = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size + 40, limits[1]))
    try:
        with pytest.raises(OSError, match="File too large"):
            sink.send(events(3, start=1))
        assert path.stat().st_size == size
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
        signal.signal(signal.SIGXFSZ, handler)
    sink.send(events(3, start=1))
    assert lines(path) == [0, 1, 2, 3]


# -- webhooks --------------------------------------------------------------------------------------------------------------


class Collector:
    """A server that behaves as told, connection by connection: 200, another status, `hang`, `drip`, `die`."""

    def __init__(self) -> None:
        self.got: list[tuple[dict[str, str], bytes]] = []
        self.acts: list[Any] = []
        self._socket = socket.create_server(("127.0.0.1", 0))
        self.url = f"http://127.0.0.1:{self._socket.getsockname()[1]}/in"
        self._open: list[socket.socket] = []
        threading.Thread(target=self._serve, daemon=True).start()

    def _serve(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                opened, _ = self._socket.accept()
                self._open.append(opened)
                threading.Thread(
                    target=self._one, args=(opened, self.acts.pop(0) if self.acts else 200), daemon=True
                ).start()

    def _one(self, opened: socket.socket, act: Any) -> None:
        with contextlib.suppress(OSError):
            if act == "die":
                opened.recv(10)
                opened.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
                opened.close()
                return
            handler = _Request(opened)
            self.got.append((handler.head, handler.body))
            if act == "hang":
                return
            if act == "drip":
                for byte in b"HTTP/1.1 200 OK\r\nX: " + b"a" * 10_000:
                    opened.sendall(bytes([byte]))
                    time.sleep(0.05)
                return
            opened.sendall(f"HTTP/1.1 {act} X\r\nContent-Length: 0\r\nConnection: close\r\n\r\n".encode())

    def close(self) -> None:
        self._socket.close()
        for one in self._open:
            one.close()


class _Request(http.server.BaseHTTPRequestHandler):
    def __init__(self, opened: socket.socket) -> None:
        reader = opened.makefile("rb")
        reader.readline()
        self.head = {}
        while (line := reader.readline().strip()) != b"":
            name, _, value = line.decode().partition(": ")
            self.head[name.lower()] = value
        self.body = reader.read(int(self.head["content-length"]))


@pytest.fixture
def collector() -> Iterator[Collector]:
    found = Collector()
    yield found
    found.close()


def webhook(collector: Collector, form: str = "cloudevents") -> WebhookSink:
    return WebhookSink("siem", collector.url, form, post=post_now, sign=lambda one, body: signed(KEY, one, 5_000, body))


@pytest.mark.parametrize(
    ("form", "kind"), [("cloudevents", "application/cloudevents-batch+json"), ("ocsf", "application/json")]
)
def test_a_batch_arrives_whole_and_signed(collector: Collector, form: str, kind: str) -> None:
    """A JSON array in the log's order, signed over id, time and body; the id is the same for the same batch."""
    batch = events(4, form=form)
    webhook(collector, form).send(batch)
    webhook(collector, form).send(batch)
    (head, body), (again, _) = collector.got
    assert json.loads(body) == [json.loads(event.data) for event in batch]
    mac = base64.b64encode(hmac.new(KEY, b"siem-0-3.5000." + body, hashlib.sha256).digest()).decode()
    assert head["webhook-signature"] == f"v1,{mac}"
    assert head["webhook-id"] == again["webhook-id"] == "siem-0-3"
    assert head["content-type"] == kind


@pytest.mark.parametrize("act", [500, 429, 302, 404, "hang", "drip", "die"])
def test_what_is_no_yes_in_time_is_no_yes(collector: Collector, act: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """A server that refuses, redirects, hangs, drips its answer or dies has taken nothing, and that is known in bounded time."""
    monkeypatch.setattr(posting, "DEADLINE_S", 0.5)
    collector.acts = [act]
    began = time.monotonic()
    with pytest.raises(LictorError):
        webhook(collector).send(events(2))
    assert time.monotonic() - began < 10
    webhook(collector).send(events(2))
    assert len(json.loads(collector.got[-1][1])) == 2


def test_only_https_or_this_machine() -> None:
    """A batch goes to no other scheme and to no other machine in the clear."""
    for url in ("http://siem.example/in", "ftp://127.0.0.1/", "https://user:pw@siem.example/"):
        with pytest.raises(UpstreamError):
            WebhookSink("s", url, "ocsf", post=post_now, sign=lambda *_: {}).send(events(1))


# -- syslog ----------------------------------------------------------------------------------------------------------------

_HEAD = re.compile(rb"<(\d+)>1 (\S+) (\S+) lictor - (\S+) - (.*)", re.DOTALL)


class Receiver:
    """A syslog receiver: octet counting, over TLS where it has a context."""

    def __init__(self, context: ssl.SSLContext | None = None) -> None:
        self.messages: list[bytes] = []
        self.connections: list[socket.socket] = []
        self.reading = True
        self._context = context
        self._socket = socket.create_server(("127.0.0.1", 0))
        self.port = self._socket.getsockname()[1]
        threading.Thread(target=self._serve, daemon=True).start()

    def _serve(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                opened, _ = self._socket.accept()
                if not self.reading:
                    opened.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1_024)
                threading.Thread(target=self._read, args=(opened,), daemon=True).start()

    def _read(self, opened: socket.socket) -> None:
        with contextlib.suppress(OSError):
            if self._context is not None:
                opened = self._context.wrap_socket(opened, server_side=True)
            self.connections.append(opened)
            buffer = b""
            while self.reading and (more := opened.recv(65_536)):
                buffer += more
                while (space := buffer.find(b" ")) > 0 and len(buffer) > (end := space + 1 + int(buffer[:space])) - 1:
                    self.messages.append(buffer[space + 1 : end])
                    buffer = buffer[end:]

    def close(self) -> None:
        with contextlib.suppress(OSError):
            self._socket.shutdown(socket.SHUT_RDWR)
        self._socket.close()
        for one in self.connections:
            with contextlib.suppress(OSError):
                one.shutdown(socket.SHUT_RDWR)
            one.close()


def until(holds: Callable[[], bool], wait_s: float = 20.0) -> None:
    ends = time.monotonic() + wait_s
    while not holds():
        assert time.monotonic() < ends, "not in time"
        time.sleep(0.01)


def test_syslog_messages_are_framed_and_escaped() -> None:
    """Each event is one message with its own length; hostile names cannot begin another."""
    told = samples.read(*samples.records(lambda: "\r\n0 <13>1 forged \u2028"))
    receiver = Receiver()
    sink = SyslogSink(f"tcp://127.0.0.1:{receiver.port}")
    batch = [encoder("ocsf")(one) for one in told]
    sink.send(batch)
    until(lambda: len(receiver.messages) == len(batch))
    for event, message in zip(batch, receiver.messages, strict=True):
        match = _HEAD.fullmatch(message)
        assert match is not None
        assert int(match[1]) == 13 * 8 + event.severity
        assert match[4].decode() == event.tag
        assert match[5] == event.data
        assert message.decode("ascii").isprintable()
    sink.close()
    receiver.close()


def test_syslog_over_tls_trusts_the_named_authority_alone(tmp_path: Path) -> None:
    """A certificate of the given authority for the name is needed; with the system's own authorities it is refused."""
    context, trusted = self_signed(tmp_path, "localhost")
    receiver = Receiver(context)
    sink = SyslogSink(f"tls://localhost:{receiver.port}", str(trusted))
    sink.send(events(3))
    sink.send(events(2, start=3))
    until(lambda: len(receiver.messages) == 5)
    with pytest.raises(ssl.SSLError):
        SyslogSink(f"tls://localhost:{receiver.port}").send(events(1))
    sink.close()
    receiver.close()


def test_a_receiver_that_ends_is_noticed_and_found_again() -> None:
    """A closed connection is opened anew before anything is sent on it; with nobody there nothing is taken."""
    receiver = Receiver()
    sink = SyslogSink(f"tcp://127.0.0.1:{receiver.port}")
    sink.send(events(1))
    until(lambda: len(receiver.messages) == 1)
    receiver.connections[0].shutdown(socket.SHUT_RDWR)
    until(lambda: syslog._ended(sink._raw))
    sink.send(events(1, start=1))
    until(lambda: len(receiver.messages) == 2)
    receiver.close()
    until(lambda: syslog._ended(sink._raw))
    with pytest.raises(ConnectionRefusedError):
        sink.send(events(1, start=2))


@pytest.mark.skipif(not hasattr(os, "sched_getaffinity"), reason="only Linux says what the other side has confirmed")
def test_a_receiver_that_does_not_read_has_taken_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    """What only lies in buffers on the way is not taken: it is known in bounded time that it did not arrive."""
    monkeypatch.setattr(syslog, "DEADLINE_S", 0.5)
    receiver = Receiver()
    receiver.reading = False
    sink = SyslogSink(f"tcp://127.0.0.1:{receiver.port}")
    line = events(1)[0]
    huge = [Event(line.seq, line.at_ms, 6, line.tag, b"x" * 20_000_000)]
    with pytest.raises((UpstreamError, TimeoutError)):
        sink.send(huge)
    receiver.close()


# -- settings --------------------------------------------------------------------------------------------------------------

FILE = {"kind": "file", "path": "x.jsonl"}


@pytest.mark.parametrize(
    "given",
    [
        {"kind": "file"},
        {"kind": "file", "path": ".."},
        {"kind": "file", "path": "x", "url": "https://a.example/"},
        {"kind": "file", "path": "x", "rotate_bytes": 0},
        {"kind": "file", "path": "x", "max_behind": -1},
        {"kind": "file", "path": "x", "ca_file": "y"},
        {"kind": "file", "path": "x", "kinds": ("decisions",)},
        {"kind": "webhook", "url": "https://a.example/"},
        {"kind": "webhook", "url": "http://a.example/", "secret": "s"},
        {"kind": "webhook", "url": "https://[/", "secret": "s"},
        {"kind": "webhook", "secret": "s"},
        {"kind": "syslog", "address": "udp://127.0.0.1:514"},
        {"kind": "syslog", "address": "tcp://log.example:514"},
        {"kind": "syslog", "address": "tls://log.example"},
        {"kind": "syslog", "address": "tls://log.example:99999"},
        {"kind": "syslog", "address": "tcp://127.0.0.1:514", "ca_file": "x"},
    ],
)
def test_contradictions_are_refused(given: dict[str, Any]) -> None:
    """What belongs to another kind, is missing, or leaves the machine in the clear does not start."""
    with pytest.raises(OperatorError) as refused:
        check_sinks({"one": SinkSettings(**given)}, "lictor.toml")
    assert refused.value.reason is Reason.CONFIG_REFUSED


def test_two_sinks_never_write_one_file() -> None:
    """They would put it aside from under each other."""
    with pytest.raises(OperatorError, match="the same file"):
        check_sinks({"one": SinkSettings(**FILE), "two": SinkSettings(**FILE)}, "lictor.toml")


@pytest.mark.parametrize("name", ["", "../x", "A", "a b", "a/b", "a" * 65])
def test_a_sinks_name_is_no_path(name: str) -> None:
    """It becomes a part of a file's name."""
    with pytest.raises(OperatorError):
        check_sinks({name: SinkSettings(**FILE)}, "lictor.toml")


def test_each_kind_is_built(tmp_path: Path) -> None:
    """Good settings pass, and make what they say."""
    good = {
        "a": SinkSettings(**FILE),
        "b": SinkSettings(kind="webhook", url="https://a.example/", secret="s"),
        "c": SinkSettings(kind="syslog", address="tls://log.example:6514"),
    }
    check_sinks(good, "lictor.toml")
    built = [sink_of(name, one, tmp_path, post=post_now, sign=lambda *_: {}) for name, one in good.items()]
    assert [type(one) for one in built] == [FileSink, WebhookSink, SyslogSink]
