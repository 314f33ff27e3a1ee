"""An imitation of PyPI's advisories behind a proxy of this host: the audit runs as ever, and nothing leaves the machine."""

import contextlib
import json
import os
import re
import socketserver
import ssl
import subprocess
import sys
import threading
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import pip_audit

import svids
from security.now import lasting

ROOT = Path(__file__).parents[2]
AUDIT = ROOT / "scripts" / "audit"
SOURCE = Path(pip_audit.__file__).parent / "_service" / "pypi.py"
INDEX = re.search(r'f"https://([a-z.]+)/', SOURCE.read_text("utf-8"))[1]  # type: ignore[index] - none: the import fails, loudly
"""The host that pip-audit asks; it cannot be configured."""
_PATH = re.compile(rb"GET /pypi/([^/ ]+)/([^/ ]+)/json ")


@dataclass
class Index:
    """What is known of packages. Whatever is not named has no advisory."""

    bad: Mapping[str, str] = field(default_factory=dict)
    """Advisory by package."""
    unknown: frozenset[str] = frozenset()
    """Packages it has never heard of."""
    knows_nothing: bool = False
    asked: list[str] = field(default_factory=list)

    def answer(self, name: str) -> tuple[int, bytes]:
        """Status and body."""
        self.asked.append(name)
        if self.knows_nothing or name in self.unknown:
            return 404, b"{}"
        found = [
            {"id": self.bad[name], "aliases": [], "summary": "made up", "fixed_in": ["999.0"], "withdrawn": None}
            for _ in self.bad.keys() & {name}
        ]
        return 200, json.dumps({"vulnerabilities": found}).encode()


@contextlib.contextmanager
def served(index: Index, folder: Path) -> Iterator[dict[str, str]]:
    """The environment of a process for which the index is the imitation."""
    made = svids.issue(dns=[INDEX], **lasting())
    (folder / "index.pem").write_bytes(made.key_pem + made.pem)
    (folder / "ca.pem").write_bytes(made.pem)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(folder / "index.pem")

    class Handler(socketserver.StreamRequestHandler):
        def handle(self) -> None:
            first = self.rfile.readline()
            while self.rfile.readline() not in {b"\r\n", b""}:
                pass
            if not first.startswith(f"CONNECT {INDEX}:443 ".encode()):
                self.wfile.write(b"HTTP/1.1 403 Forbidden\r\nContent-Length: 0\r\n\r\n")
                return
            self.wfile.write(b"HTTP/1.1 200 OK\r\n\r\n")
            with contextlib.suppress(OSError), context.wrap_socket(self.connection, server_side=True) as secured:
                self._serve(secured)

        def _serve(self, secured: ssl.SSLSocket) -> None:
            lines = secured.makefile("rb")
            while first := lines.readline():
                while lines.readline() not in {b"\r\n", b""}:
                    pass
                match = _PATH.match(first)
                status, body = index.answer(match[1].decode()) if match else (400, b"")
                head = f"HTTP/1.1 {status} x\r\nContent-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n"
                secured.sendall(head.encode() + body)

    class Server(socketserver.ThreadingTCPServer):
        daemon_threads = True
        block_on_close = False
        allow_reuse_address = True

    server = Server(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True).start()
    try:
        yield reached(f"http://127.0.0.1:{server.server_address[1]}", folder / "ca.pem")
    finally:
        server.shutdown()
        server.server_close()


def reached(proxy: str, trusted: Path) -> dict[str, str]:
    """The environment of a process that reaches the world through a proxy alone."""
    kept = {name: value for name, value in os.environ.items() if name.lower() not in {"no_proxy", "all_proxy"}}
    return {**kept, "HTTPS_PROXY": proxy, "https_proxy": proxy, "REQUESTS_CA_BUNDLE": str(trusted)}


def audit(environment: Mapping[str, str], folder: Path) -> subprocess.CompletedProcess[str]:
    """`make audit` with the packages of this very environment, and a cache of its own."""
    words = ["make", "-s", "-o", ".venv/.installed", f"BIN={Path(sys.executable).parent}", "audit"]
    words.append(f"AUDIT=--cache-dir {folder / 'cache'}")
    return subprocess.run(
        words, env=dict(environment), cwd=ROOT, capture_output=True, text=True, timeout=60, check=False
    )
