"""TLS at our own door: an X.509-SVID proves an agent, its task token is bound to the certificate, and no header replaces one."""

import http.client
import json
import ssl
import sys
import time
import urllib.parse
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

import svids
from integration import peers
from integration.token_world import POLICY, now_s
from lictor.cli.demonstration.stage import free_port

ID = "spiffe://t.example/agent/pay"
AGENTS = f"""
purposes = ["test"]
[agents.helper]
owner = "os:ann"
review_by = 2099-12-31
[[agents.helper.proofs]]
issuer = "mesh"
subject = "{ID}"
"""


def moment(seconds: int) -> datetime:
    """Around the real now: a handshake reads the real clock."""
    return datetime.fromtimestamp(now_s() + seconds, UTC)


@dataclass
class Meshed:
    """A gateway with TLS, and the files of those who may connect."""

    served: peers.Served
    folder: Path

    def ask(self, method: str, path: str, who: str, body: bytes = b"", headers: Mapping[str, str] | None = None) -> Any:
        """One request with somebody's certificate; empty: none."""
        context = ssl.create_default_context(cafile=str(self.folder / "server.pem"))
        if who:
            context.load_cert_chain(self.folder / f"{who}.pem")
        connection = http.client.HTTPSConnection("127.0.0.1", self.served.port, context=context, timeout=20)
        try:
            connection.request(method, path, body, headers=dict(headers or {}))
            answer = connection.getresponse()
            return answer.status, json.loads(answer.read() or b"null")
        finally:
            connection.close()

    def token(self, who: str, task: str, **headers: str) -> Any:
        form = {"grant_type": "client_credentials", "scope": f"task:{task}"}
        kind = {"Content-Type": "application/x-www-form-urlencoded", **headers}
        return self.ask("POST", "/oauth/token", who, urllib.parse.urlencode(form).encode(), kind)

    def ping(self, who: str, token: str) -> int:
        """Status of a request at the MCP door; 400: it got past authentication."""
        headers = {
            "Authorization": f"Bearer {token}",
            "Content-Type": "application/json",
            "Accept": "application/json, text/event-stream",
        }
        status: int = self.ask("POST", "/mcp", who, b"{}", headers)[0]
        return status


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Meshed]:
    """The gateway; certificates of an agent, of a renewed one, of another workload and of a stranger's trust domain."""
    folder, port = tmp_path_factory.mktemp("mesh"), free_port()
    times = {"begins": moment(-60), "ends": moment(3_600)}
    root, other = (svids.issue(ca=True, uris=[uri], **times) for uri in ("spiffe://t.example", "spiffe://o.example"))
    for name, by, uri in (
        ("agent", root, ID),
        ("renewed", root, ID),
        ("clerk", root, "spiffe://t.example/agent/clerk"),
        ("stranger", other, ID),
    ):
        one = svids.issue(by, uris=[uri], **times)
        (folder / f"{name}.pem").write_bytes(one.key_pem + one.pem)
    own = _server(times)
    (folder / "server.pem").write_bytes(own.pem)
    (folder / "server.key").write_bytes(own.key_pem)
    (folder / "roots.pem").write_bytes(root.pem + other.pem)
    (folder / "bundle.json").write_bytes(svids.bundle(root))
    listen = (
        f'[listen.tls]\ncert = "{folder}/server.pem"\nkey = "{folder}/server.key"\nclient_ca = "{folder}/roots.pem"\n'
    )
    tables = f'[issuers.mesh]\nkind = "spiffe"\nurl = "spiffe://t.example"\nfile = "{folder}/bundle.json"\n'
    tables += f'[servers.time]\ncommand = ["{sys.executable}", "-m", "mcp_server_time"]\n'
    bundle = peers.write_bundle(
        folder / "b", {"agents.toml": AGENTS}, port=port, servers=listen + tables, policy=POLICY
    )
    with _serving(bundle, port, folder) as served:
        yield Meshed(served, folder)


def _server(times: Mapping[str, datetime]) -> svids.Issued:
    import ipaddress

    from cryptography import x509

    names = x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address("127.0.0.1"))])
    return svids.issue(extra=[(names, False)], **times)


def _serving(bundle: Path, port: int, folder: Path) -> Any:
    """`peers.serving`, asked over TLS whether it is healthy."""

    def healthy(served: peers.Served, log: Path) -> None:
        deadline = time.monotonic() + 30
        while time.monotonic() < deadline:
            assert served.process.poll() is None, log.read_text("utf-8")
            try:
                if Meshed(served, folder).ask("GET", "/healthz", "")[0] == 200:
                    return
            except OSError:
                time.sleep(0.1)
        raise AssertionError(log.read_text("utf-8"))

    return peers.serving(bundle, port, healthy)


def opened(made: Meshed) -> str:
    words = ("task", "open", "--bundle", str(made.served.bundle), "--agent", "helper", "--purpose", "test", "--json")
    done = peers.lictor(*words)
    assert done.returncode == 0, done.stderr
    task: str = json.loads(done.stdout)["task"]
    return task


def test_a_certificate_proves_an_agent_and_binds_its_token(made: Meshed) -> None:
    """The token is good over a connection with this certificate, and over no other."""
    status, found = made.token("agent", opened(made))
    assert status == 200, found
    assert made.ping("agent", found["access_token"]) == 400
    assert made.ping("", found["access_token"]) == 401
    assert made.ping("renewed", found["access_token"]) == 401
    assert made.ping("clerk", found["access_token"]) == 401


def test_whose_certificate_it_is(made: Meshed) -> None:
    """Another workload is another agent, another trust domain nobody, and no header stands for a certificate."""
    task = opened(made)
    assert made.token("renewed", task)[0] == 200
    for who in ("clerk", "stranger", ""):
        status, found = made.token(who, task, **{"X-Forwarded-Client-Cert": f"URI={ID}", "X-Client-Cert": "x"})
        assert status in {400, 401}, (who, found)
