"""The room of records: the log page by page, one entry with its proof, checkpoints, and verifying all of it.

Everybody who is signed in may look: the log holds digests and no contents. Nothing here writes a record. Files are sent as
attachments, so a browser shows none of them as a page. Refuses to know what records mean.
"""

import asyncio
from collections import deque
from dataclasses import dataclass
from typing import Final

from starlette.responses import Response

from lictor.console.frame import HEADERS
from lictor.console.records_verify import Verification
from lictor.console.records_view import KINDS, is_kind, page_of, whole_of
from lictor.console.rooms import Rooms, Row, Visit
from lictor.model.errors import LictorError
from lictor.ports import StoredEntry
from lictor.records.checkpoint import LogKeys, open_checkpoint
from lictor.service.log.proofs import OpenLog, Proved, Runs, cosigned_note

NAV: Final = "records"
MAX_CHECKPOINTS: Final = 50
"""The newest ones on the page; all of them are in the log's database."""
_MAX_DIGITS: Final = 16


def routes(rooms: Rooms) -> list[Row]:
    """The rows of this room."""
    room = _Records(rooms)
    return [
        Row(method="GET", path="/records", handler=room.log),
        Row(method="GET", path="/records/checkpoints", handler=room.checkpoints),
        Row(method="GET", path="/records/checkpoints/newest", handler=room.newest),
        Row(method="GET", path="/records/verify", handler=room.verified),
        Row(method="POST", path="/records/verify", handler=room.verify),
        Row(method="GET", path="/records/{seq}", handler=room.entry),
        Row(method="GET", path="/records/{seq}/data", handler=room.data),
        Row(method="GET", path="/records/{seq}/proof", handler=room.proof),
    ]


@dataclass(frozen=True, slots=True)
class Head:
    """One checkpoint for the list; `size` is -1 where it does not open."""

    size: int
    root: str
    note: str


class _Records:
    def __init__(self, rooms: Rooms) -> None:
        console = rooms.console
        self._store = console.store
        self._open: OpenLog | None = console.open_log
        self._key = console.verifier_key
        self._keys: LogKeys | str = console.log_keys or console.verifier_key
        self._cosigned = console.cosigned
        self._runs = Runs()
        self._hashing = asyncio.Lock()
        self._verification = (
            Verification(console.open_log, self._keys, console.anchor, console.clock) if console.open_log else None
        )

    # -- the log -----------------------------------------------------------------------------------------------------------

    async def log(self, visit: Visit) -> Response:
        """A page of the log, newest first."""
        kind = visit.word("kind")
        known = not kind or is_kind(kind)
        before = visit.number("before", -1, least=0)
        found = await page_of(self._store, before=None if before < 0 else before, kind=kind if known else "no type")
        return await visit.large_page(
            "records.html", title="Records", nav=NAV, log=found, kinds=KINDS, kind=kind, known=known, newest=before < 0
        )

    async def entry(self, visit: Visit) -> Response:
        """One entry in full."""
        stored = self._stored(visit)
        if stored is None:
            return visit.missing("entry")
        whole = await visit.rooms.aside(visit.human, lambda: whole_of(stored))
        size = self._store.size()
        return await visit.large_page(
            "records_entry.html",
            title=f"Entry {whole.seq}",
            nav=NAV,
            entry=whole,
            newer=whole.seq + 1 if whole.seq + 1 < size else None,
            provable=self._open is not None,
        )

    async def data(self, visit: Visit) -> Response:
        """The very bytes that are hashed."""
        stored = self._stored(visit)
        if stored is None:
            return visit.missing("entry")
        return _file(stored.data, f"lictor-entry-{stored.seq}.json", "application/json")

    async def proof(self, visit: Visit) -> Response:
        """That the entry is under the newest checkpoint."""
        stored = self._stored(visit)
        if stored is None or self._open is None:
            return visit.missing("entry")
        proved = await self._prove(stored.seq)
        return _file(proved.text().encode(), f"lictor-entry-{stored.seq}.tlog-proof", "text/plain; charset=utf-8")

    async def _prove(self, seq: int) -> Proved:
        """One at a time: each hashes what none before it has."""
        note = self._newest()
        async with self._hashing:
            return await asyncio.to_thread(self._proved, seq, note)

    def _proved(self, seq: int, note: str) -> Proved:
        if self._open is None:
            raise ValueError("there is no log to open")
        with self._open() as view:
            return self._runs.prove(view, seq, note, self._keys)

    def _stored(self, visit: Visit) -> StoredEntry | None:
        """The entry of the path; None: no number, or none of the log."""
        text = str(visit.request.path_params.get("seq", ""))
        if not (text.isascii() and text.isdecimal() and len(text) <= _MAX_DIGITS):
            return None
        seq = int(text)
        return next(iter(self._store.entries(seq, seq + 1)), None)

    # -- checkpoints -------------------------------------------------------------------------------------------------------

    async def checkpoints(self, visit: Visit) -> Response:
        """The newest checkpoints, the key they are verified with, and how to do so without us."""
        newest = self._store.newest_checkpoint()
        heads = await asyncio.to_thread(self._heads) if self._open is not None else [self._head(newest)]
        return visit.page(
            "records_checkpoints.html",
            title="Checkpoints",
            nav=NAV,
            heads=heads,
            newest=self._head(newest),
            key=self._key,
            anchor=self._anchored(visit),
            most=MAX_CHECKPOINTS,
        )

    def _heads(self) -> list[Head]:
        if self._open is None:
            return []
        with self._open() as view:
            kept = deque(view.checkpoints(), maxlen=MAX_CHECKPOINTS)
        return [self._head(note) for note in reversed(kept)]

    def _head(self, note: str) -> Head:
        try:
            found = open_checkpoint(note, self._keys)
        except LictorError:
            return Head(-1, "", note)
        return Head(found.size, found.root.hex(), note)

    def _anchored(self, visit: Visit) -> Head | None:
        note = visit.console.anchor()
        return self._head(note) if note else None

    def _newest(self) -> str:
        """The newest checkpoint, with what witnesses have said of it."""
        newest = self._store.newest_checkpoint()
        return cosigned_note(newest, self._cosigned(), self._keys) if self._keys else newest

    async def newest(self, _: Visit) -> Response:
        """The newest checkpoint as a file, to be kept elsewhere."""
        return _file(self._newest().encode(), "lictor-checkpoint.txt", "text/plain; charset=utf-8")

    # -- verifying ---------------------------------------------------------------------------------------------------------

    async def verified(self, visit: Visit) -> Response:
        """How far the verification is, or what it found; reloads itself while it runs."""
        state = self._verification.now() if self._verification is not None else None
        page = visit.page(
            "records_verify.html",
            title="Verify the log",
            nav=NAV,
            state=state,
            possible=self._verification is not None,
            key=self._key,
            size=self._store.size(),
        )
        if state is not None and state.running:
            page.headers["Refresh"] = "1"
        return page

    async def verify(self, visit: Visit) -> Response:
        """Begin; one at a time."""
        if self._verification is None:
            return visit.message("Not here", "this log cannot be read from the console", 404)
        self._verification.start(visit.human, self._store.size())
        return visit.to("/records/verify")


def _file(data: bytes, name: str, media: str) -> Response:
    """A download. The frame's policy goes along: nothing in it could load or run even if it were shown."""
    headers = {**HEADERS, "Content-Type": media, "Content-Disposition": f'attachment; filename="{name}"'}
    return Response(data, headers=headers)
