"""Probes of `[notify.NAME]` and `[previews.NAME]`: whom a process tells, how, and what it may read to show people effects."""

import asyncio
import contextlib
import hashlib
import hmac
import http.server
import sqlite3
import threading
from base64 import b64encode
from collections.abc import Iterator
from typing import Any

from lictor.app.notifying import notifier_of
from lictor.model.action import ActionKind, ActionRequest, SealedArguments
from lictor.model.approval import Hold
from lictor.model.catalog import CatalogEntry, EffectClass, SqlSelector
from lictor.model.ids import ActionDigest, AgentId, HoldId, HumanId, RequestId, ServerName, TaskId
from lictor.model.preview_rule import SqlPreview
from lictor.model.secret import Secret
from lictor.pdp.normalise import Directory
from lictor.previews.previewer import Parts, Previews
from security.probes.stand import Place
from security.probes.table import probe

PATIENCE_S = 1.0
"""How long a notice that does not come is waited for."""


class Drawer:
    """A safe with two secrets: each is a URL of the place's receiver, and its own name at the end."""

    def __init__(self, url: str) -> None:
        self.values = {name: Secret(f"{url}/{name}") for name in ("first", "second")}

    async def read(self, name: str) -> Secret | None:
        return self.values.get(name)


@contextlib.contextmanager
def _receiver(made: Place) -> Iterator[None]:
    """A server that keeps what it is told."""
    got: list[tuple[str, dict[str, str], bytes]] = []

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers.get("Content-Length", "0")))
            got.append((self.path, {name.lower(): value for name, value in self.headers.items()}, body))
            self.send_response(204)
            self.end_headers()

        def log_message(self, *_: Any) -> None:
            pass

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    made.around["told"] = got
    made.around["url"] = url = f"http://127.0.0.1:{server.server_port}"
    if "notify.ops.url" in made.said:
        made.said["notify.ops.url"] = f"{url}/hook"
    try:
        yield
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


async def _told(place: Place) -> list[tuple[str, dict[str, str], bytes]]:
    """What arrives when a hold for the owners is opened."""
    async with place.house() as house:
        notifier = notifier_of(house, Drawer(place.around["url"]))  # type: ignore[arg-type]
        notifier.held(
            Hold(
                id=HoldId("hold_1"),
                request=RequestId("r"),
                digest=ActionDigest("sha256:0"),
                task=TaskId("t"),
                agent=AgentId("one"),
                human=HumanId("os:ann"),
                kind=ActionKind.TOOL,
                server=ServerName("stub"),
                name="write",
                groups=(("owner",),),
                opened_at_ms=1,
                expires_at_ms=2,
            )
        )
        job = asyncio.create_task(notifier.run())
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(PATIENCE_S):
                while not place.around["told"]:
                    await asyncio.sleep(0.01)
        job.cancel()
    found: list[tuple[str, dict[str, str], bytes]] = place.around["told"]
    return found


HOOK = {"notify.ops.kind": "webhook", "notify.ops.url": "", "notify.ops.secret": "first"}


@probe(
    "notify.*.kind",
    ("slack", "in Slack's words"),
    ("webhook", "config_refused"),  # which has a URL of its own
    base={"notify.ops.secret": "first"},
    around=_receiver,
)
async def kind(place: Place) -> object:
    """How people are told."""
    told = await _told(place)
    return "in Slack's words" if b'"blocks"' in told[0][2] else "otherwise"


@probe(
    "notify.*.url",
    (lambda made: f"{made.around['url']}/one", "/one"),
    (lambda made: f"{made.around['url']}/two", "/two"),
    base={key: value for key, value in HOOK.items() if key != "notify.ops.url"},
    around=_receiver,
)
async def url(place: Place) -> object:
    """Where a webhook goes."""
    return (await _told(place))[0][0]


@probe(
    "notify.*.secret",
    ("first", "first"),
    ("second", "second"),
    ("third", "nobody"),
    base={key: value for key, value in HOOK.items() if key != "notify.ops.secret"},
    around=_receiver,
)
async def secret(place: Place) -> object:
    """What signs it."""
    await _told(place)
    return signer(place)


def signer(place: Place) -> str:
    """The name of the secret that signed what arrived first; `nobody`: nothing did."""
    if not place.around["told"]:
        return "nobody"
    _, headers, body = place.around["told"][0]
    signed = f"{headers['webhook-id']}.{headers['webhook-timestamp']}.".encode() + body
    for name, value in Drawer(place.around["url"]).values.items():
        mac = hmac.new(value.reveal().encode(), signed, hashlib.sha256).digest()
        if headers["webhook-signature"] == f"v1,{b64encode(mac).decode()}":
            return name
    return "unsigned"


@probe("notify.*.groups", (["owner"], 1), (["others"], 0), ([], 1), base=HOOK, around=_receiver)
async def groups(place: Place) -> object:
    """Who is told of which holds."""
    return len(await _told(place))


def _database(made: Place) -> str:
    """A database with three rows."""
    path = made.folder / "shop.db"
    with contextlib.closing(sqlite3.connect(path)) as shop:
        shop.executescript("CREATE TABLE t(a INTEGER PRIMARY KEY); INSERT INTO t VALUES (1), (2), (3);")
    return str(path)


@probe("previews", ({}, False), (lambda made: {"shop": {"kind": "sqlite", "path": _database(made)}}, True))
async def previews(place: Place) -> object:
    """What the gateway may read by itself, to say how many rows it would be."""
    request = ActionRequest.make(
        id=RequestId("r"), kind=ActionKind.TOOL, server=ServerName("stub"), name="sql",
        arguments=SealedArguments.seal({"sql": "DELETE FROM t"}), agent=AgentId("one"), human=HumanId("os:ann"),
        task=TaskId("t"),
    )  # fmt: skip
    entry = CatalogEntry(
        server=ServerName("stub"),
        kind=ActionKind.TOOL,
        name="sql",
        effect=EffectClass.DESTRUCTIVE,
        sql=SqlSelector(text="/sql", dialect="sqlite"),
        preview=SqlPreview(authority="shop"),
    )
    async with place.stand() as stand:
        house, files = stand.house, stand.runtime.files
        authorities = house.settings.previews
        looking = Previews(
            Parts(clock=house.clock, store=house.store, files=files, directory=Directory, authorities=authorities)
        )
        try:
            found = await looking.preview(request, entry, {})
        finally:
            looking.close()
    return found is not None and any("N = 3" in part.text for part in found.parts)
