"""Probes of `[sinks.NAME]`: where the log is sent, as what, from where on, and what its being behind stops."""

import asyncio
import contextlib
import json
import socket
import ssl
import threading
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from lictor.app.sinking import Sinks
from lictor.model.record import SignalRefused, SignedIn
from lictor.ports import Batch
from security.probes.stand import ANN, Place
from security.probes.table import probe
from security.probes.telling import Drawer, _receiver, signer
from servers.certificates import self_signed

PATIENCE_S = 10.0
"""Longest wait for what has to come."""
SOON_S = 1.0
"""How long what does not come is waited for."""
FILE = {"sinks.out.kind": "file", "sinks.out.path": "out/log.jsonl", "sinks.out.format": "lictor"}
HOOK = {"sinks.out.kind": "webhook", "sinks.out.url": "", "sinks.out.secret": "first", "sinks.out.format": "lictor"}
RECORDS = (SignedIn(human=ANN, how="secret"), SignalRefused(task="t", source="s", why="w", digest="d"))  # type: ignore[arg-type]


async def _sent(place: Place, patience_s: float = PATIENCE_S) -> Sinks:
    """Some records, in two commits; the sink has as much as comes in time."""
    async with place.house() as house:
        drawer: Any = Drawer(place.around.get("url", ""))
        sinks = Sinks(house, lambda: drawer)
        await house.store.commit(Batch(at_ms=house.clock.now_ms(), records=RECORDS))
        sinks.start()
        try:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(patience_s):
                    while sinks.pumps["out"].place is None:
                        await asyncio.sleep(0.01)
                    for record in RECORDS * 5:
                        await house.store.commit(Batch(at_ms=house.clock.now_ms(), records=(record,)))
                        sinks.pumps["out"].nudge()
                        await asyncio.sleep(0.02)
                    while sinks.lags()["out"]:
                        sinks.pumps["out"].nudge()
                        await asyncio.sleep(0.02)
            sinks.check()
        finally:
            for pump in sinks.pumps.values():
                pump.stop(wait_s=5)
    return sinks


def _lines(place: Place, name: str = "out/log.jsonl") -> list[dict[str, Any]]:
    """What a file of the state folder has."""
    path = place.folder / ".lictor" / name
    return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []


@probe(
    "sinks.*.kind",
    ("file", True),
    ("syslog", "config_refused"),  # which has an address
    base={key: value for key, value in FILE.items() if key != "sinks.out.kind"},
)
async def kind(place: Place) -> object:
    """What the log is sent to."""
    await _sent(place)
    return bool(_lines(place))


@probe(
    "sinks.*.format",
    ("ocsf", "class_uid"),
    ("cloudevents", "specversion"),
    ("lictor", "entry"),
    base={key: value for key, value in FILE.items() if key != "sinks.out.format"},
)
async def form(place: Place) -> object:
    """As what it is sent."""
    await _sent(place)
    return next(name for name in ("class_uid", "specversion", "entry") if name in _lines(place)[0])


@probe(
    "sinks.*.path",
    ("a/log.jsonl", "a"),
    ("b/log.jsonl", "b"),
    base={key: value for key, value in FILE.items() if key != "sinks.out.path"},
)
async def path(place: Place) -> object:
    """Into which file."""
    await _sent(place)
    return "".join(name for name in ("a", "b") if _lines(place, f"{name}/log.jsonl"))


@probe(
    "sinks.*.url",
    (lambda made: f"{made.around['url']}/one", "/one"),
    (lambda made: f"{made.around['url']}/two", "/two"),
    base={key: value for key, value in HOOK.items() if key != "sinks.out.url"},
    around=_receiver,
)
async def url(place: Place) -> object:
    """Where batches are posted."""
    await _sent(place)
    return place.around["told"][0][0]


@contextlib.contextmanager
def _hooked(made: Place) -> Iterator[None]:
    with _receiver(made):
        made.said["sinks.out.url"] = f"{made.around['url']}/hook"
        yield


@probe(
    "sinks.*.secret",
    ("first", "first"),
    ("second", "second"),
    ("third", "nobody"),
    base={key: value for key, value in HOOK.items() if key != "sinks.out.secret"},
    around=_hooked,
)
async def secret(place: Place) -> object:
    """What signs them."""
    await _sent(place, SOON_S)
    return signer(place)


class _Syslog:
    """Listens, over TLS where it has a context, and counts bytes."""

    def __init__(self, context: ssl.SSLContext | None = None) -> None:
        self.got = 0
        self._context = context
        self._socket = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._socket.getsockname()[1]
        threading.Thread(target=self._serve, daemon=True).start()

    def _serve(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                opened, _ = self._socket.accept()
                threading.Thread(target=self._read, args=(opened,), daemon=True).start()

    def _read(self, opened: socket.socket) -> None:
        with contextlib.suppress(OSError), opened:
            if self._context is not None:
                opened = self._context.wrap_socket(opened, server_side=True)
            while more := opened.recv(65_536):
                self.got += len(more)

    def close(self) -> None:
        with contextlib.suppress(OSError):
            self._socket.shutdown(socket.SHUT_RDWR)
        self._socket.close()


@contextlib.contextmanager
def _listening(made: Place) -> Iterator[None]:
    """Two receivers in the clear, one with a certificate that no authority of the system vouches for."""
    context, made.around["trusted"] = self_signed(made.folder / _own(made), "localhost")
    found = {"one": _Syslog(), "two": _Syslog(), "tls": _Syslog(context)}
    made.around["syslog"] = found
    if "sinks.out.address" in made.said and not made.said["sinks.out.address"]:
        made.said["sinks.out.address"] = f"tls://localhost:{found['tls'].port}"
    try:
        yield
    finally:
        for one in found.values():
            one.close()


def _own(made: Place) -> Path:
    """A folder that is none of the bundle's."""
    folder = made.folder / ".around"
    folder.mkdir()
    return folder


def _heard(place: Place) -> Sequence[str]:
    return [name for name, one in place.around["syslog"].items() if one.got]


@probe(
    "sinks.*.address",
    (lambda made: f"tcp://127.0.0.1:{made.around['syslog']['one'].port}", ["one"]),
    (lambda made: f"tcp://127.0.0.1:{made.around['syslog']['two'].port}", ["two"]),
    base={"sinks.out.kind": "syslog"},
    around=_listening,
)
async def address(place: Place) -> object:
    """Which receiver hears of it."""
    await _sent(place)
    return _heard(place)


@probe(
    "sinks.*.ca_file",
    (lambda made: str(made.around["trusted"]), ["tls"]),
    ("", []),
    base={"sinks.out.kind": "syslog", "sinks.out.address": ""},
    around=_listening,
)
async def ca_file(place: Place) -> object:
    """Whose word a receiver's certificate needs."""
    await _sent(place, 3.0)
    return _heard(place)


@probe("sinks.*.kinds", ([], ["privilege", "signal"]), (["signal"], ["signal"]), base=FILE)
async def kinds(place: Place) -> object:
    """Which records are sent."""
    await _sent(place)
    return sorted({line["entry"]["record"]["type"].partition(".")[0] for line in _lines(place)})


@probe("sinks.*.begin", ("start", True), ("now", False), base=FILE)
async def begin(place: Place) -> object:
    """Whether what was there before is sent as well."""
    await _sent(place)
    return 0 in [line["seq"] for line in _lines(place)]


@probe("sinks.*.rotate_bytes", (100_000_000, 0), (600, 2), base={**FILE, "sinks.out.rotate_keep": 2})
async def rotate_bytes(place: Place) -> object:
    """How many files are put aside."""
    await _sent(place)
    return len(list((place.folder / ".lictor/out").glob("log.jsonl.*")))


@probe("sinks.*.rotate_keep", (1, 1), (3, 3), base={**FILE, "sinks.out.rotate_bytes": 600})
async def rotate_keep(place: Place) -> object:
    """How many of them stay."""
    await _sent(place)
    return len(list((place.folder / ".lictor/out").glob("log.jsonl.*")))


@contextlib.contextmanager
def _dead(made: Place) -> Iterator[None]:
    with socket.create_server(("127.0.0.1", 0)) as gone:
        made.said["sinks.out.address"] = f"tcp://127.0.0.1:{gone.getsockname()[1]}"
    yield


@probe(
    "sinks.*.max_behind",
    (0, "goes on"),
    (3, "sink_behind"),
    (100_000, "goes on"),
    base={"sinks.out.kind": "syslog", "sinks.out.address": ""},
    around=_dead,
)
async def max_behind(place: Place) -> object:
    """Whether a dead sink stops what runs."""
    await _sent(place, 2.0)
    return "goes on"
