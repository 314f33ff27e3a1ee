"""A gateway process with issuers, agents that prove themselves, people and applications, for tests of the token service and the doors."""

import contextlib
import hashlib
import http.client
import json
import os
import sys
import time
import urllib.parse
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from joserfc.jwk import ECKey

from integration import peers
from lictor.cli.demonstration.stage import free_port
from lictor.protocol.jose.algs import ALGS
from lictor.protocol.jose.base64url import encode

CI, CORP = "https://ci.example", "https://corp.example"
ROBOT = "robot-7"
EXCHANGE = "urn:ietf:params:oauth:grant-type:token-exchange"
JWT = "urn:ietf:params:oauth:token-type:jwt"
ASSERTION = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer"
POLICY = """
@id("reads") @owner("os:ann") @reason("what is reviewed may run")
permit (principal, action in [Action::"read"], resource);

@id("open/anybody") @owner("os:ann") @reason("people, the desk and the operator open small tasks")
permit (principal, action == Action::"task:open", resource) when { context.input.calls <= 1000 };
"""
AGENTS = """
purposes = ["test"]
[agents.helper]
owner = "os:ann"
review_by = 2099-12-31
delegates_to = ["clerk"]
[[agents.helper.proofs]]
issuer = "ci"
subject = "repo:helper"
[agents.clerk]
owner = "os:ann"
review_by = 2099-12-31
[[agents.clerk.proofs]]
issuer = "ci"
subject = "repo:clerk"
[agents.robot]
owner = "os:ann"
review_by = 2099-12-31
[[agents.robot.proofs]]
issuer = "robot"
subject = "robot-7"
[agents.stranger]
owner = "os:ann"
review_by = 2099-12-31
[[agents.stranger.proofs]]
issuer = "ci"
subject = "repo:stranger"
"""
APPLICATIONS = """
[applications.desk]
owner = "os:ann"
review_by = 2099-12-31
[[applications.desk.proofs]]
issuer = "ci"
subject = "app:desk"
"""


def now_s() -> int:
    """Seconds since the epoch: the gateway under test reads the real clock."""
    return time.time_ns() // 1_000_000_000


@dataclass
class Key:
    """A key pair of somebody: an issuer, a client, a DPoP sender."""

    native: ECKey = field(default_factory=lambda: ECKey.generate_key("P-256", private=True))

    @property
    def public(self) -> dict[str, Any]:
        return {**self.native.as_dict(private=False), "kid": self.native.thumbprint(), "alg": "ES256", "use": "sig"}

    @property
    def jwk(self) -> dict[str, Any]:
        shown = self.native.as_dict(private=False)
        return {name: shown[name] for name in ("kty", "crv", "x", "y")}

    @property
    def jkt(self) -> str:
        return str(self.native.thumbprint())

    def sign(self, claims: Mapping[str, Any], **header: Any) -> str:
        head = {"alg": "ES256", "kid": self.native.thumbprint(), **header}
        head = {name: value for name, value in head.items() if value is not None}
        text = ".".join(encode(json.dumps(part).encode()) for part in (head, claims))
        return f"{text}.{encode(ALGS['ES256'].model.sign(text.encode(), self.native))}"

    def proof(self, method: str, url: str, token: str = "", **claims: Any) -> str:
        """A DPoP proof."""
        said = {"jti": os.urandom(12).hex(), "htm": method, "htu": url, "iat": now_s()}
        if token:
            said["ath"] = encode(hashlib.sha256(token.encode()).digest())
        return self.sign({**said, **claims}, typ="dpop+jwt", jwk=self.jwk, kid=None)


@dataclass
class Answer:
    """An HTTP answer."""

    status: int
    headers: list[tuple[str, str]]
    body: bytes

    @property
    def json(self) -> Any:
        return json.loads(self.body)

    def all(self, name: str) -> list[str]:
        return [value for key, value in self.headers if key.lower() == name]


@dataclass
class World:
    """The gateway and the keys of everybody around it."""

    served: peers.Served
    ci: Key
    corp: Key
    robot: Key

    @property
    def audience(self) -> str:
        return self.served.url

    @property
    def token_url(self) -> str:
        return f"{self.served.base}/oauth/token"

    def workload(self, subject: str = "repo:helper", **claims: Any) -> str:
        """A workload token of the CI."""
        now = now_s()
        return self.ci.sign({"iss": CI, "sub": subject, "aud": self.audience, "iat": now, "exp": now + 300, **claims})

    def person(self, name: str = "alice", **claims: Any) -> str:
        """A person's token of the company."""
        now = now_s()
        return self.corp.sign({"iss": CORP, "sub": name, "aud": self.audience, "iat": now, "exp": now + 300, **claims})

    def assertion(self, **claims: Any) -> str:
        """The robot's own."""
        now = now_s()
        said = {"iss": ROBOT, "sub": ROBOT, "aud": self.served.base, "iat": now, "exp": now + 60}
        return self.robot.sign({**said, "jti": os.urandom(12).hex(), **claims})

    def http(self, method: str, path: str, body: bytes | None = None, headers: Any = ()) -> Answer:
        connection = http.client.HTTPConnection("127.0.0.1", self.served.port, timeout=20)
        try:
            connection.putrequest(method, path)
            for name, value in [*dict(headers).items()] if isinstance(headers, Mapping) else headers:
                connection.putheader(name, value)
            if body is not None:
                connection.putheader("Content-Length", str(len(body)))
            connection.endheaders(body)
            answer = connection.getresponse()
            return Answer(answer.status, answer.getheaders(), answer.read())
        finally:
            connection.close()

    def token(self, form: Mapping[str, str] | bytes, headers: Mapping[str, str] | None = None) -> Answer:
        """POST /oauth/token."""
        body = form if isinstance(form, bytes) else urllib.parse.urlencode(form).encode()
        return self.http(
            "POST", "/oauth/token", body, {"Content-Type": "application/x-www-form-urlencoded", **(headers or {})}
        )

    def exchange(self, subject: str, details: Any, headers: Mapping[str, str] | None = None, **more: str) -> Answer:
        """An exchange of one token, and of an actor's if `actor_token` is among `more`."""
        form = {"grant_type": EXCHANGE, "subject_token": subject, "subject_token_type": JWT, **more}
        if "actor_token" in more:
            form["actor_token_type"] = JWT
        if details is not None:
            form["authorization_details"] = json.dumps([{"type": "lictor_task", **details}])
        return self.token(form, headers)

    def open_task(self, agent: str = "helper", *more: str) -> dict[str, Any]:
        """The operator opens a task; id and opaque token."""
        done = peers.lictor(
            "task", "open", "--bundle", str(self.served.bundle), "--agent", agent, "--purpose", "test", "--json", *more
        )
        assert done.returncode == 0, done.stderr
        found: dict[str, Any] = json.loads(done.stdout)
        return found

    def mcp(self, token: str, method: str = "server/discover", scheme: str = "Bearer", **headers: str) -> Answer:
        """One modern MCP request."""
        meta = {
            "io.modelcontextprotocol/protocolVersion": "2026-07-28",
            "io.modelcontextprotocol/clientInfo": {"name": "t", "version": "1"},
            "io.modelcontextprotocol/clientCapabilities": {},
        }
        body = json.dumps({"jsonrpc": "2.0", "id": 1, "method": method, "params": {"_meta": meta}}).encode()
        said = {
            "Content-Type": "application/json",
            "Accept": "application/json, text/event-stream",
            "MCP-Protocol-Version": "2026-07-28",
            "Mcp-Method": method,
            **headers,
        }
        if token:
            said["Authorization"] = f"{scheme} {token}"
        return self.http("POST", "/mcp", body, said)

    def log(self) -> list[dict[str, Any]]:
        """Every record, from the command line."""
        done = peers.lictor("log", "show", "--bundle", str(self.served.bundle), "-n", "0", "--json")
        assert done.returncode == 0, done.stderr
        found: list[dict[str, Any]] = json.loads(done.stdout)
        return found


@contextlib.contextmanager
def world(folder: Path, *, settings: str = "", listen: str = "") -> Iterator[World]:
    """Serve a bundle; `settings` are more tables of `lictor.toml`, `listen` more lines of its `[listen]`."""
    port = free_port()
    ci, corp, robot = Key(), Key(), Key()
    for name, key in (("ci", ci), ("corp", corp), ("robot", robot)):
        (folder / f"{name}.jwks").write_text(json.dumps({"keys": [key.public]}))
    tables = f"""
[issuers.ci]
kind = "jwks"
url = "{CI}"
file = "{folder}/ci.jwks"
[issuers.corp]
kind = "jwks"
url = "{CORP}"
file = "{folder}/corp.jwks"
[issuers.robot]
kind = "keys"
url = "{ROBOT}"
file = "{folder}/robot.jwks"
[oauth]
people = ["corp"]
[servers.time]
command = ["{sys.executable}", "-m", "mcp_server_time", "--local-timezone", "Europe/Rome"]
"""
    bundle = peers.write_bundle(
        folder / "bundle",
        {"applications.toml": APPLICATIONS, "agents.toml": AGENTS},
        port=port,
        servers=listen + tables + settings,
        policy=POLICY,
    )
    with peers.serving(bundle, port) as served:
        yield World(served, ci, corp, robot)
