"""The served log: hashes to anybody, records to operators and only where asked for, nothing else below `/log`."""

import pytest
from starlette.requests import Request

from lictor.api.caller import OPERATORS
from lictor.api.log import log_routes
from lictor.api.web import OPEN
from lictor.records.tiles import Tile


async def tiles(tile: Tile) -> bytes | None:
    return f"{tile}".encode() if tile.number == 0 else None


def rows(*, entries):
    return {one.path: one for one in log_routes(lambda: "note\n", tiles, entries=entries)}


async def fetched(row, rest=""):
    return await row.raw(Request({"type": "http", "path_params": {"rest": rest}, "headers": []}))


def test_who_may():
    """Records have a row of their own, for operators, before the one that would fit them too; without the setting there is none."""
    served = rows(entries=True)
    assert [(path, row.who) for path, row in served.items()] == [
        ("/log/checkpoint", OPEN),
        ("/log/tile/entries/{rest:path}", OPERATORS),
        ("/log/tile/{rest:path}", OPEN),
    ]
    assert list(rows(entries=False)) == ["/log/checkpoint", "/log/tile/{rest:path}"]


async def test_hashes_and_checkpoint():
    """Tiles never change, the checkpoint does: caches are told so."""
    served = rows(entries=True)
    tile = await fetched(served["/log/tile/{rest:path}"], "1/000.p/17")
    assert (tile.status_code, tile.body) == (200, str(Tile(1, 0, 17)).encode())
    assert "immutable" in tile.headers["cache-control"]
    note = await fetched(served["/log/checkpoint"])
    assert (note.body, note.headers["cache-control"]) == (b"note\n", "no-cache")
    assert (await fetched(served["/log/tile/{rest:path}"], "0/001")).status_code == 404
    bundle = await fetched(served["/log/tile/entries/{rest:path}"], "000.p/3")
    assert bundle.body == str(Tile(-1, 0, 3)).encode()


@pytest.mark.parametrize(
    "rest",
    ["entries/000", "entries/000.p/3", "entries", "", "0/0", "../checkpoint", "0/000/../../x", "-1/000", "00/000"],
)
async def test_the_open_row_never_gives_records(rest):
    """Neither by their path nor by one that means them in another way."""
    assert (await fetched(rows(entries=True)["/log/tile/{rest:path}"], rest)).status_code == 404


async def test_how_keys_follow_from_each_other():
    """To anybody, where the key was ever changed: who has an older one needs it to verify the checkpoint."""
    served = {one.path: one for one in log_routes(lambda: "note\n", tiles, entries=False, statements="said\n")}
    assert served["/log/keys"].who == OPEN
    found = await fetched(served["/log/keys"])
    assert (found.body, found.headers["cache-control"]) == (b"said\n", "no-cache")
