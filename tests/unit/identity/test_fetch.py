"""Fetching discovery documents and keys: real sockets, real TLS, and servers that lie, crawl and redirect."""

import contextlib
import json
import socket
import ssl
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from lictor.identity.fetch import fetch
from lictor.identity.publications import jwks_uri, publication
from lictor.identity.settings import IssuerSettings
from lictor.model.errors import CallerError, UpstreamError
from lictor.stores.clock import SystemClock
from svids import bundle, issue
from tokens import jwks

Answer = Callable[[socket.socket, str], None]


@contextlib.contextmanager
def serving(answer: Answer, context: ssl.SSLContext | None = None) -> Iterator[str]:
    """A server that does with each connection what it is told; its URL."""
    listener = socket.create_server(("127.0.0.1", 0))
    listener.settimeout(0.1)
    stop = threading.Event()

    def one(connection: socket.socket) -> None:
        with contextlib.suppress(OSError), connection:
            connection.settimeout(20)
            secured = context.wrap_socket(connection, server_side=True) if context else connection
            path = secured.recv(65_536).decode("latin-1").split(" ")[1]
            answer(secured, path)
            if context:
                secured.close()

    def run() -> None:
        while not stop.is_set():
            with contextlib.suppress(TimeoutError):
                connection, _ = listener.accept()
                threading.Thread(target=one, args=(connection,), daemon=True).start()

    thread = threading.Thread(target=run)
    thread.start()
    try:
        yield f"{'https' if context else 'http'}://{'localhost' if context else '127.0.0.1'}:{listener.getsockname()[1]}"
    finally:
        stop.set()
        thread.join()
        listener.close()


def replying(body: bytes, status: str = "200 OK", *headers: str, length: int | None = None) -> Answer:
    """One fixed reply."""

    def answer(connection: socket.socket, _: str) -> None:
        head = [
            f"HTTP/1.1 {status}",
            f"Content-Length: {len(body) if length is None else length}",
            *headers,
            "Connection: close",
        ]
        connection.sendall("\r\n".join([*head, "", ""]).encode() + body)

    return answer


def crawling(connection: socket.socket, _: str) -> None:
    """A byte now and then, for ever: each one begins a socket's timeout anew."""
    connection.sendall(b"HTTP/1.1 200 OK\r\n\r\n")
    while True:
        connection.sendall(b" ")
        time.sleep(0.05)


def crawling_head(connection: socket.socket, _: str) -> None:
    """Likewise, within a header."""
    connection.sendall(b"HTTP/1.1 200 OK\r\nX: ")
    while True:
        connection.sendall(b"a")
        time.sleep(0.05)


def reason(url: str, **changes: Any) -> str:
    """Why it cannot be fetched."""
    with pytest.raises(UpstreamError) as caught:
        fetch(url, **{"max_bytes": 1_000, "deadline_s": 0.6, **changes})
    return caught.value.reason.value


def test_a_document_is_fetched_whole() -> None:
    """With a length, and without one."""
    with serving(replying(b'{"a":1}')) as url:
        assert fetch(f"{url}/x?y=1", max_bytes=7) == b'{"a":1}'

    def endless(connection: socket.socket, _: str) -> None:
        connection.sendall(b'HTTP/1.1 200 OK\r\nConnection: close\r\n\r\n{"a":1}')

    with serving(endless) as url:
        assert fetch(url, max_bytes=7) == b'{"a":1}'


@pytest.mark.parametrize(
    ("answer", "expected"),
    [
        (replying(b"x" * 1_001), "upstream_too_large"),
        (replying(b"", length=10**12), "upstream_timeout"),
        (replying(b"{}", length=50), "upstream_timeout"),
        (replying(b"{}", "404 Not Found"), "upstream_invalid"),
        (replying(b"{}", "302 Found", "Location: https://evil.example/jwks"), "upstream_invalid"),
        (replying(b"{}", "301 Moved", "Location: /jwks"), "upstream_invalid"),
        (replying(b"{}", "200 OK", "Content-Encoding: gzip"), "upstream_invalid"),
        (lambda connection, _: connection.sendall(b"SSH-2.0\r\n"), "upstream_down"),
        (lambda connection, _: None, "upstream_down"),
        (lambda connection, _: time.sleep(3), "upstream_timeout"),
        (crawling, "upstream_timeout"),
        (crawling_head, "upstream_timeout"),
    ],
)
def test_a_server_that_does_not_answer_plainly_is_refused_in_time(answer: Answer, expected: str) -> None:
    """Nothing is followed, undone or waited for beyond the deadline."""
    began = time.monotonic()
    with serving(answer) as url:
        assert reason(url) == expected
        assert time.monotonic() - began < 2.8


def test_nobody_there() -> None:
    """A closed port, a name that does not exist, a scheme that is not served, a URL that is none."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
    assert reason(f"http://127.0.0.1:{port}") == "upstream_down"
    for url in (
        "http://issuer.example/",
        "ftp://127.0.0.1/",
        "file:///etc/passwd",
        "https://u@x/",
        "https://a b/",
        "http://127.0.0.1:x/",
    ):
        assert reason(url) == "upstream_invalid"


def test_no_proxy_of_the_environment_is_used(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever sets a variable does not see which keys we ask for, and does not answer in the issuer's place."""
    for name in ("http_proxy", "https_proxy", "all_proxy", "HTTP_PROXY", "HTTPS_PROXY"):
        monkeypatch.setenv(name, "http://127.0.0.1:1")
    with serving(replying(b"{}")) as url:
        assert fetch(url, max_bytes=10) == b"{}"


def tls(folder: Path, dns: str) -> tuple[ssl.SSLContext, str]:
    """A server context for a name, and the file of its authority."""
    from datetime import UTC, datetime, timedelta

    now = datetime.fromtimestamp(SystemClock().now_ms() / 1_000, UTC)
    life = {"begins": now - timedelta(hours=1), "ends": now + timedelta(hours=1)}
    root = issue(ca=True, common_name="web root", **life)
    server = issue(root, dns=[dns], **life)
    (folder / "server.pem").write_bytes(server.pem)
    (folder / "server.key").write_bytes(server.key_pem)
    (folder / "root.pem").write_bytes(root.pem)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(folder / "server.pem", folder / "server.key")
    return context, str(folder / "root.pem")


def test_tls_is_checked(tmp_path: Path) -> None:
    """By the authority that is set; without it, or under another name, nothing is read."""
    context, root = tls(tmp_path, "localhost")
    with serving(replying(b"{}"), context) as url:
        assert fetch(url, max_bytes=10, ca_file=root, deadline_s=3) == b"{}"
        assert reason(url, deadline_s=3) == "upstream_down"
        assert reason(url.replace("localhost", "127.0.0.1"), ca_file=root, deadline_s=3) == "upstream_down"


async def test_discovery_leads_to_keys_of_the_issuer_that_it_is_of(tmp_path: Path) -> None:
    """The whole way over HTTPS: discovery, then the key set; a document of another issuer leads nowhere."""
    context, root = tls(tmp_path, "localhost")
    claimed: list[str] = []

    def answer(connection: socket.socket, path: str) -> None:
        if path == "/.well-known/openid-configuration":
            body = json.dumps({"issuer": claimed[0], "jwks_uri": f"{claimed[1]}/keys"}).encode()
        else:
            assert path == "/keys"
            body = jwks("p256")
        replying(body)(connection, path)

    with serving(answer, context) as url:
        load, _ = publication(IssuerSettings(kind="oidc", url=url, ca_file=root), tmp_path)
        claimed[:] = [url, url]
        published = await load()
        assert published.keys
        assert [key.kid for key in published.keys.keys] == ["p256"]
        claimed[:] = [f"{url}/", url]
        with pytest.raises(CallerError):
            await load()
        claimed[:] = [url, url.replace("https:", "http:")]
        with pytest.raises(CallerError):
            await load()


@pytest.mark.parametrize(
    "metadata",
    [
        b"{",
        b"[]",
        b"{}",
        b'{"issuer":"https://a.example"}',
        b'{"issuer":"https://a.example","jwks_uri":7}',
        b'{"issuer":"https://a.example","jwks_uri":"file:///etc/passwd"}',
        b'{"issuer":"https://a.example","jwks_uri":"http://127.0.0.1/keys"}',
        b'{"issuer":"https://a.example","jwks_uri":"http://a.example/keys"}',
        b'{"issuer":"https://b.example","jwks_uri":"https://a.example/keys"}',
        b'{"issuer":"https://b.example","issuer":"https://a.example","jwks_uri":"https://a.example/keys"}',
    ],
)
def test_a_discovery_document_that_is_not_certainly_its_own_is_refused(metadata: bytes) -> None:
    """Another issuer's, keys in a file, keys on this host, keys in the clear."""
    with pytest.raises(CallerError):
        jwks_uri(metadata, "https://a.example")


async def test_a_bundle_endpoint_publishes_keys_and_roots(tmp_path: Path) -> None:
    """`https_web` of SPIFFE Federation: the trust domain's bundle over HTTPS, keys and roots each by their use."""
    context, root = tls(tmp_path, "localhost")
    authority = issue(ca=True, uris=["spiffe://t.example"])
    with serving(replying(bundle(authority)), context) as url:
        settings = IssuerSettings(kind="spiffe", url="spiffe://t.example", jwks_url=f"{url}/bundle", ca_file=root)
        load, _ = publication(settings, tmp_path)
        published = await load()
    assert published.keys
    assert [key.kid for key in published.keys.keys] == ["p256"]
    assert published.roots == (authority.der,)
    with pytest.raises(UpstreamError):
        await load()


def test_a_handshake_that_crawls_is_cut() -> None:
    """The deadline covers TLS too: a byte now and then begins a socket's timeout anew, and would hold the thread for ever."""
    done = threading.Event()
    listener = socket.create_server(("127.0.0.1", 0))

    def crawl() -> None:
        connection, _ = listener.accept()
        with contextlib.suppress(OSError), connection:
            connection.sendall(b"\x16\x03\x03\x40\x00")
            while not done.wait(0.05):
                connection.sendall(b"\x02")

    thread = threading.Thread(target=crawl)
    thread.start()
    begun = time.monotonic()
    timer = threading.Timer(4, done.set)
    timer.start()
    try:
        with pytest.raises(UpstreamError) as caught:
            fetch(f"https://127.0.0.1:{listener.getsockname()[1]}/", max_bytes=10, deadline_s=0.5)
    finally:
        took = time.monotonic() - begun
        timer.cancel()
        done.set()
        thread.join()
        listener.close()
    assert caught.value.reason.value == "upstream_timeout"
    assert took < 3.5  # it would go on for 4


def test_many_addresses_share_one_deadline(monkeypatch: pytest.MonkeyPatch) -> None:
    """A name with many addresses that do not answer costs the deadline once, and not once for each."""
    full = socket.create_server(("127.0.0.1", 0), backlog=0)
    port = full.getsockname()[1]
    waiting = [socket.socket() for _ in range(4)]
    for one in waiting:
        one.setblocking(False)
        with contextlib.suppress(BlockingIOError):
            one.connect(("127.0.0.1", port))
    address = (socket.AF_INET, socket.SOCK_STREAM, 6, "", ("127.0.0.1", port))
    monkeypatch.setattr(socket, "getaddrinfo", lambda *_, **__: [address] * 8)
    begun = time.monotonic()
    try:
        with pytest.raises(UpstreamError) as caught:
            fetch(f"https://issuer.example:{port}/", max_bytes=10, deadline_s=0.4)
    finally:
        for one in (*waiting, full):
            one.close()
    assert caught.value.reason.value == "upstream_timeout"
    assert time.monotonic() - begun < 2.5  # once for each would be 3.2


@pytest.mark.parametrize(
    "host",
    [
        "127.0.0.1",
        "localhost",
        "[::1]",
        "169.254.169.254",
        "10.0.0.1",
        "[fd00::1]",
        "[::ffff:10.0.0.1]",
        "0.0.0.0",
        "2130706433",
        "127.1",
        "a.localhost",
    ],
)
def test_discovery_leads_to_no_inner_address(host: str) -> None:
    """One of several issuers cannot make this gateway knock at addresses of its own network."""
    document = {"issuer": "https://login.example", "jwks_uri": f"https://{host}:8443/keys"}
    with pytest.raises(CallerError):
        jwks_uri(json.dumps(document).encode(), "https://login.example")


def test_an_issuer_may_have_its_keys_beside_itself() -> None:
    """An issuer that the settings place on an inner address names keys there; others name public places."""
    for issuer, place in (
        ("https://10.0.0.7:8443/a", "https://10.0.0.7:9443/keys"),
        ("http://localhost:1", "http://localhost:1/keys"),
        ("https://login.example", "https://keys.example/a"),
        ("https://login.example", "https://93.184.216.34/a"),
    ):
        assert jwks_uri(json.dumps({"issuer": issuer, "jwks_uri": place}).encode(), issuer) == place
