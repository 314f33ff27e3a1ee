"""What an App does at GitHub, as its documentation says ("Authenticating as a GitHub App installation"), on a port of this machine.

It checks the signed statement as GitHub does (RS256, issuer, at most ten minutes, not from the future), narrows to repositories
and permissions of the installation (422 otherwise), and forgets tokens that are given back.
"""

import contextlib
import http.server
import json
import secrets
import threading
import time
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any

from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa
from joserfc import jwk, jwt
from joserfc.errors import JoseError

LEVELS = ["read", "write", "admin"]
KEY = rsa.generate_private_key(public_exponent=65537, key_size=2048)
PEM = KEY.private_bytes(
    serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
).decode()
PUBLIC = KEY.public_key().public_bytes(serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo)


class GitHub:
    """One App with one installation."""

    app, installation, owner = "4711", 99, "Shop"
    repositories = ("lamps", "chairs", "secret-plans")

    def __init__(self) -> None:
        self.permissions = {"contents": "write", "issues": "write", "metadata": "read", "administration": "read"}
        self.tokens: dict[str, dict[str, Any]] = {}
        self.generous: dict[str, Any] = {}
        """Put over every grant: a server that gives more than it was asked for."""
        self.life_s = 3_600
        self.url = ""

    def proved(self, authorization: str) -> bool:
        """Whether a statement is the App's, and fresh."""
        try:
            claims = jwt.decode(
                authorization.removeprefix("Bearer "), jwk.import_key(PUBLIC, "RSA"), algorithms=["RS256"]
            ).claims
        except (JoseError, ValueError):
            return False
        now = time.time_ns() / 1e9
        return claims["iss"] == self.app and claims["iat"] <= now < claims["exp"] <= claims["iat"] + 600

    def grant(self, body: dict[str, Any]) -> tuple[int, dict[str, Any]]:
        """A token for what was asked, if the installation has it."""
        names = body.get("repositories", list(self.repositories))
        asked = body.get("permissions", self.permissions)
        if not set(names) <= set(self.repositories) or not all(
            LEVELS.index(level)
            <= LEVELS.index(self.permissions.get(name, "none") if name in self.permissions else "read")
            and name in self.permissions
            for name, level in asked.items()
        ):
            return 422, {"message": "There is at least one repository or permission that is not accessible"}
        token = f"ghs_{secrets.token_urlsafe(27)}"
        end = datetime.fromtimestamp(int(time.time_ns() / 1e9) + self.life_s, UTC)
        made = {
            "token": token,
            "expires_at": end.strftime("%Y-%m-%dT%H:%M:%SZ"),
            "permissions": {"metadata": "read", **asked},
            "repository_selection": "selected" if "repositories" in body else "all",
            "repositories": [
                {"id": n, "name": name, "full_name": f"{self.owner}/{name}"} for n, name in enumerate(names)
            ],
            **self.generous,
        }
        self.tokens[token] = made
        return 201, made


@contextlib.contextmanager
def running() -> Iterator[GitHub]:
    """The server."""
    github = GitHub()

    class Handler(http.server.BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def answer(self, status: int, body: Any = None) -> None:
            data = json.dumps(body).encode() if body is not None else b""
            self.send_response(status)
            self.send_header("Content-Length", str(len(data)))
            self.end_headers()
            self.wfile.write(data)

        def do_POST(self) -> None:
            said = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            if not github.proved(self.headers["Authorization"]):
                self.answer(401, {"message": "A JSON web token could not be decoded"})
            elif self.path != f"/app/installations/{github.installation}/access_tokens":
                self.answer(404, {"message": "Not Found"})
            else:
                self.answer(*github.grant(said))

        def token(self) -> str:
            return self.headers["Authorization"].removeprefix("Bearer ")

        def do_DELETE(self) -> None:
            gone = self.path == "/installation/token" and github.tokens.pop(self.token(), None)
            self.answer(*((204,) if gone else (401, {"message": "Bad credentials"})))

        def do_GET(self) -> None:
            made = github.tokens.get(self.token())
            self.answer(200, made["repositories"]) if made else self.answer(401, {"message": "Bad credentials"})

        def log_message(self, *_: object) -> None:
            pass

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    github.url = f"http://127.0.0.1:{server.server_address[1]}"
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True)
    thread.start()
    try:
        yield github
    finally:
        server.shutdown()
        server.server_close()
        thread.join(5)
