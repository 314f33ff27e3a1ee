"""Probes of what is shown of the log and for how long: `[log]`, `[witness.NAME]`, `[retention]`, `[shadow]`."""

import asyncio
import contextlib
import hashlib
import http.server
import ssl
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Final

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from lictor.app.cosigning import cosigning_of
from lictor.model.ids import TaskId
from lictor.ports import Batch
from lictor.records.cosign import WitnessKey
from security.probes.stand import Place
from security.probes.table import probe
from servers.certificates import self_signed
from store_samples import opened, payload

PATIENCE_S = 10.0
"""Longest wait for what has to come."""
SOON_S = 1.0
"""How long what does not come is waited for."""
DAY_MS = 86_400_000
SIGN: Final = """\
import base64, sys
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
key = Ed25519PrivateKey.from_private_bytes(bytes.fromhex(sys.argv[1]))
print(base64.b64encode(key.sign(sys.stdin.buffer.read())).decode())
"""


def _seed(name: str) -> bytes:
    return hashlib.sha256(name.encode()).digest()


def _key(name: str) -> str:
    return WitnessKey.of("witness.example", Ed25519PrivateKey.from_private_bytes(_seed(name))).text()


def _signer(name: str) -> list[str]:
    return [sys.executable, "-c", SIGN, _seed(name).hex()]


async def _until(seen: Callable[[], object], patience_s: float) -> None:
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(patience_s):
            while not seen():
                await asyncio.sleep(0.02)


# -- [log] -------------------------------------------------------------------------------------------------------------------


@probe("log.serve", (False, 404), (True, 200))
async def serve(place: Place) -> object:
    """Whether anybody gets the newest checkpoint."""
    async with place.stand() as stand:
        await stand.token()
        return (await stand.get("/log/checkpoint")).status


@probe("log.entries", (False, "nothing"), (True, "for operators"), base={"log.serve": True})
async def entries(place: Place) -> object:
    """Whether records are there at all; a stranger gets them in neither case."""
    async with place.stand() as stand:
        await stand.token()
        status = (await stand.get("/log/tile/entries/000.p/1")).status
        return {404: "nothing", 401: "for operators"}.get(status, status)


# -- [witness] -----------------------------------------------------------------------------------------------------------------


@contextlib.contextmanager
def _asked(made: Place, context: ssl.SSLContext | None = None) -> Iterator[None]:
    """A server that keeps where it was asked, and is none."""
    asked: list[str] = []

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            self.rfile.read(int(self.headers.get("Content-Length", "0")))
            asked.append(self.path)
            self.send_response(500)
            self.send_header("Content-Length", "0")
            self.end_headers()

        def log_message(self, *_: Any) -> None:
            pass

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    if context is not None:
        server.socket = context.wrap_socket(server.socket, server_side=True)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    made.around["asked"], made.around["port"] = asked, server.server_port
    try:
        yield
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


@contextlib.contextmanager
def _plain(made: Place) -> Iterator[None]:
    with _asked(made):
        if "witness.seen.url" in made.said:
            made.said["witness.seen.url"] = f"http://127.0.0.1:{made.around['port']}"
        yield


@contextlib.contextmanager
def _by_tls(made: Place) -> Iterator[None]:
    context, certificate = self_signed(made.folder, "localhost")
    made.around["trusted"] = Path(certificate)
    with _asked(made, context):
        made.said["witness.seen.url"] = f"https://localhost:{made.around['port']}"
        yield


async def _faults(place: Place) -> str:
    """What is wrong with the one witness, after one submission."""
    async with place.house() as house:
        await house.store.commit(_something(house.clock.now_ms()))
        cosigning = cosigning_of(house)
        await cosigning.once()
        [lag] = cosigning.lags()
        return lag.fault


def _something(at_ms: int) -> Any:

    return Batch(at_ms=at_ms, records=(opened("task_1", opened=at_ms),))


@probe("witness.*.key", (_key("right"), True), (_key("wrong"), False), base={"witness.seen.command": _signer("right")})
async def key(place: Place) -> object:
    """Whether what was signed counts."""
    return not await _faults(place)


@probe(
    "witness.*.command", (_signer("right"), True), (_signer("wrong"), False), base={"witness.seen.key": _key("right")}
)
async def command(place: Place) -> object:
    """Whose key signs."""
    return not await _faults(place)


@probe(
    "witness.*.url",
    (lambda made: f"http://127.0.0.1:{made.around['port']}/one", ["/one/add-checkpoint"]),
    (lambda made: f"http://127.0.0.1:{made.around['port']}/two", ["/two/add-checkpoint"]),
    base={"witness.seen.key": _key("right")},
    around=_plain,
)
async def url(place: Place) -> object:
    """Where it is asked."""
    await _faults(place)
    return place.around["asked"]


@probe(
    "witness.*.ca_file",
    (lambda made: str(made.around["trusted"]), ["/add-checkpoint"]),
    ("", []),
    base={"witness.seen.key": _key("right"), "witness.seen.url": ""},
    around=_by_tls,
)
async def ca_file(place: Place) -> object:
    """Whose word its certificate needs."""
    await _faults(place)
    return place.around["asked"]


@probe(
    "log.witness_every_s",
    (1, True),
    (3_600, False),
    base={"witness.seen.key": _key("right"), "witness.seen.url": "http://127.0.0.1:1"},
    around=_plain,
)
async def witness_every_s(place: Place) -> object:
    """Whether it is asked again soon."""
    async with place.stand(running=True) as stand:
        await stand.token()
        asked = place.around["asked"]
        await _until(
            lambda: len(asked) > 1, PATIENCE_S if stand.house.settings.log.witness_every_s == 1 else 2 * SOON_S
        )
        return len(asked) > 1


# -- [retention], [shadow] -----------------------------------------------------------------------------------------------------


@probe("retention.payloads_days", (0, False), (7, True), (30, False))
async def payloads_days(place: Place) -> object:
    """Whether what a task of ten days ago carried is gone."""

    async with place.house() as house:
        at_ms = house.clock.now_ms() - 10 * DAY_MS
        record = opened("task_old", opened=at_ms, expires=at_ms + 1_000)
        await house.store.commit(Batch(at_ms=at_ms, records=(record,), payloads=(payload("req_old", task="task_old"),)))
    async with place.stand(running=True) as stand:
        gone = lambda: stand.house.store.erased(TaskId("task_old")) is not None  # noqa: E731
        await _until(gone, PATIENCE_S if stand.house.settings.retention.payloads_days == 7 else SOON_S)
        return gone()


@probe("shadow.bundle", ("", ""), ("one", "one"), ("two", "two"))
async def shadow_bundle(place: Place) -> object:
    """Which folder's bundle runs in shadow."""
    async with place.stand(running=True) as stand:
        shadowed = stand.runtime.shadowed
        await _until(lambda: shadowed.shadow, PATIENCE_S if stand.house.settings.shadow.bundle else SOON_S)
        return "" if shadowed.shadow is None else shadowed._folder().name
