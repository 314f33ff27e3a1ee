"""An issuer over HTTP or HTTPS in a thread: its discovery document, its keys, its token endpoint; and what it was sent."""

import contextlib
import http.server
import ipaddress
import json
import ssl
import threading
import urllib.parse
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from cryptography import x509

import svids
import tokens
from security.now import lasting, now_s


@dataclass
class Issuer:
    """One issuer; `sent` is what came to its token endpoint."""

    key: str
    url: str = ""
    nonce: str = ""
    client_id: str = "console"
    sent: list[tuple[dict[str, str], dict[str, str]]] = field(default_factory=list)

    def token(self, **claims: Any) -> str:
        """One of its tokens, good for five minutes."""
        now = now_s()
        return tokens.token(self.key, **{"iss": self.url, "iat": now, "exp": now + 300, **claims})

    def answer(self, path: str, headers: dict[str, str], body: bytes) -> bytes | None:
        """What is there."""
        if path == "/.well-known/openid-configuration":
            ends = {"authorization_endpoint": "/auth", "token_endpoint": "/token", "jwks_uri": "/keys"}
            return json.dumps({"issuer": self.url, **{name: self.url + end for name, end in ends.items()}}).encode()
        if path == "/keys":
            return tokens.jwks(self.key)
        if path == "/token":
            self.sent.append((headers, dict(urllib.parse.parse_qsl(body.decode()))))
            return json.dumps({"id_token": self.token(aud=self.client_id, sub="ann", nonce=self.nonce)}).encode()
        return None


@contextlib.contextmanager
def serving(issuer: Issuer, certificate: Path | None = None) -> Iterator[Issuer]:
    """The issuer at a port of its own. `certificate`: a PEM file with key and chain; then it speaks TLS."""

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            length = int(self.headers.get("Content-Length", "0"))
            headers = {name.lower(): value for name, value in self.headers.items()}
            data = issuer.answer(self.path, headers, self.rfile.read(length))
            self.send_response(200 if data is not None else 404)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(data or b"")))
            self.end_headers()
            self.wfile.write(data or b"")

        do_POST = do_GET  # noqa: N815 - the base class's name

        def log_message(self, *_: object) -> None:
            """Nothing."""

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.handle_error = lambda *_: None  # type: ignore[method-assign, assignment] - a client that does not trust us goes
    if certificate is not None:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(certificate)
        server.socket = context.wrap_socket(server.socket, server_side=True)
    issuer.url = f"{'http' if certificate is None else 'https'}://127.0.0.1:{server.server_address[1]}"
    threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True).start()
    try:
        yield issuer
    finally:
        server.shutdown()
        server.server_close()


def own_certificate(folder: Path) -> Path:
    """A certificate for this host that nobody's authority signed: the file with its key; `ca.pem` beside it is what trusts it."""
    names = x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address("127.0.0.1"))])
    made = svids.issue(extra=[(names, False)], **lasting())
    (folder / "ca.pem").write_bytes(made.pem)
    (folder / "server.pem").write_bytes(made.key_pem + made.pem)
    return folder / "server.pem"
