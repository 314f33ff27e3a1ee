"""A log as static files: C2SP tlog-tiles, as arithmetic and bytes.

Leaf hashes stand in tiles of 256; a tile above holds the roots of 256 full tiles below. Whoever has the tiles and a checkpoint
can compute any proof, and whoever has the entries can compute the tiles. It refuses to know folders, HTTP and what entries mean.
"""

import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Final, NamedTuple

from lictor.records.merkle import EMPTY_ROOT, HASH_SIZE, NodeLookup, node_hash
from lictor.records.note import damaged

HEIGHT: Final = 8
WIDTH: Final = 1 << HEIGHT
"""Hashes in a full tile, entries in a full bundle."""
MAX_LEVEL: Final = 63
MAX_SHORT: Final = 2**16 - 1
"""Longest entry of a bundle in the specification's form, in bytes: its length is a 16-bit number."""
MAX_LONG: Final = 2**32 - 1

_PATH: Final = re.compile(
    r"tile/(entries|[0-9]{1,2})/((?:x[0-9]{3}/){0,6}[0-9]{3})(?:\.p/([1-9][0-9]{0,2}))?", re.ASCII
)


class Tile(NamedTuple):
    """One tile, or with `level` -1 the bundle of the entries under one."""

    level: int
    number: int
    """From the left, at its level."""
    width: int = WIDTH

    def path(self) -> str:
        """Below the log's prefix (tlog-tiles, "Merkle Tree"; "Log entries")."""
        return f"tile/{'entries' if self.level < 0 else self.level}/{_numbered(self.number, self.width)}"

    def long_path(self) -> str:
        """Where a bundle stands that the specification has no form for: one with an entry longer than `MAX_SHORT`."""
        return f"entries32/{_numbered(self.number, self.width)}"


def _numbered(index: int, width: int) -> str:
    """`x001/x234/067`, and `.p/<W>` behind it where the tile is partial."""
    parts = [f"{index % 1000:03d}"]
    while index := index // 1000:
        parts.append(f"x{index % 1000:03d}")
    return "/".join(reversed(parts)) + ("" if width == WIDTH else f".p/{width}")


def entries_tile(index: int, width: int = WIDTH) -> Tile:
    """The bundle of the entries from `index * 256` on."""
    return Tile(-1, index, width)


def read_path(path: str) -> Tile:
    """The tile that a path below the prefix names: `tile/<L>/<N>[.p/<W>]` or `tile/entries/<N>[.p/<W>]`.

    Raises:
        StoreError: `log_damaged`: it names none, or not as it must be written.
    """
    found = _PATH.fullmatch(path)
    if found is None:
        raise damaged(f"not the path of a tile: {path!r:.100}")
    level, numbers, width = found.groups()
    number = int(numbers.replace("/", "").replace("x", ""))
    tile = Tile(-1 if level == "entries" else int(level), number, int(width or WIDTH))
    # One text for one tile: what is written otherwise is refused by writing it again.
    if tile.path() != path or tile.width > WIDTH or tile.level > MAX_LEVEL:
        raise damaged(f"not the path of a tile: {path!r:.100}")
    return tile


def width_at(size: int, level: int, index: int) -> int:
    """How many hashes a tile has in a tree of a size; 0: it is not in it. For a bundle (level -1) as at level 0."""
    return max(0, min(WIDTH, (size >> (HEIGHT * max(0, level))) - index * WIDTH))


def edge_of(size: int) -> list[Tile]:
    """The partial tiles of a tree, from level 0 upwards: what a writer needs to go on from there."""
    found = []
    level = 0
    while size >> (HEIGHT * level):
        at_level = size >> (HEIGHT * level)
        if at_level % WIDTH:
            found.append(Tile(level, at_level // WIDTH, at_level % WIDTH))
        level += 1
    return found


def tile_root(data: bytes) -> bytes:
    """The root over a full tile's hashes, which is one hash of the tile above."""
    hashes = split_tile(data, WIDTH)
    while len(hashes) > 1:
        hashes = [node_hash(hashes[at], hashes[at + 1]) for at in range(0, len(hashes), 2)]
    return hashes[0]


def split_tile(data: bytes, width: int) -> list[bytes]:
    """A tile's hashes.

    Raises:
        StoreError: `log_damaged`: it has another width.
    """
    if len(data) != width * HASH_SIZE:
        raise damaged(f"a tile of {width} hashes has {width * HASH_SIZE} bytes, not {len(data)}")
    return [data[at : at + HASH_SIZE] for at in range(0, len(data), HASH_SIZE)]


class TileBuilder:
    """Turns leaf hashes into tiles, keeping only the right edge: at most 256 hashes a level."""

    def __init__(self, size: int = 0, edge: Iterable[tuple[Tile, bytes]] = ()) -> None:
        """Begin, or go on.

        Args:
            size: how many leaves there are already.
            edge: the partial tiles of a tree of that size (`edge_of`), with their bytes.

        Raises:
            StoreError: `log_damaged`: they are not that edge.
        """
        self._size = size
        self._levels: list[list[bytes]] = [[]]
        given = dict(edge)
        if set(given) != set(edge_of(size)):
            raise damaged(f"these are not the partial tiles of a log of {size}")
        for tile, data in given.items():
            while len(self._levels) <= tile.level:
                self._levels.append([])
            self._levels[tile.level] = split_tile(data, tile.width)

    @property
    def size(self) -> int:
        """Number of leaves."""
        return self._size

    def append(self, leaf: bytes) -> Sequence[tuple[Tile, bytes]]:
        """Add a leaf hash; the tiles that are full by it come back, from level 0 upwards."""
        edge = self._levels[0]
        edge.append(leaf)
        self._size += 1
        return () if len(edge) < WIDTH else self._filled()

    def _filled(self) -> list[tuple[Tile, bytes]]:
        full = []
        for level, hashes in enumerate(self._levels):
            if len(hashes) < WIDTH:
                break
            data = b"".join(hashes)
            full.append((Tile(level, (self._size >> (HEIGHT * (level + 1))) - 1), data))
            hashes.clear()
            if level + 1 == len(self._levels):
                self._levels.append([])
            self._levels[level + 1].append(tile_root(data))
        return full

    def partials(self) -> list[tuple[Tile, bytes]]:
        """The tiles of the right edge as they stand."""
        return [(tile, b"".join(self._levels[tile.level])) for tile in edge_of(self._size)]

    def root(self) -> bytes:
        """The RFC 6962 root over all leaves so far."""
        pieces: list[bytes] = []
        for hashes in reversed(self._levels):
            rest = hashes
            while rest:
                count = 1 << (len(rest).bit_length() - 1)
                head, rest = rest[:count], rest[count:]
                while len(head) > 1:
                    head = [node_hash(head[at], head[at + 1]) for at in range(0, len(head), 2)]
                pieces.append(head[0])
        if not pieces:
            return EMPTY_ROOT
        root = pieces[-1]
        for left in reversed(pieces[:-1]):
            root = node_hash(left, root)
        return root


def nodes_in(read: Callable[[Tile], bytes], size: int) -> NodeLookup:
    """The hash of any complete subtree, from tiles of a tree of this size. Nothing is believed by it: check against a root.

    Raises (the lookup):
        StoreError: `log_damaged`: a tile has another width than it must have.
    """

    def node(level: int, index: int) -> bytes:
        tile_level, height = divmod(level, HEIGHT)
        first = index << height
        at, offset = divmod(first, WIDTH)
        width = width_at(size, tile_level, at)
        hashes = split_tile(read(Tile(tile_level, at, width)), width)[offset : offset + (1 << height)]
        if len(hashes) != 1 << height:
            raise damaged(f"there is no subtree {index} of height {level} in a log of {size}")
        while len(hashes) > 1:
            hashes = [node_hash(hashes[i], hashes[i + 1]) for i in range(0, len(hashes), 2)]
        return hashes[0]

    return node


# -- entries -----------------------------------------------------------------------------------------------------------------


def bundle(entries: Sequence[bytes]) -> tuple[bytes, bool]:
    """A bundle's bytes, and whether they are in the long form, which the specification does not have (decision 0016).

    Raises:
        StoreError: `log_damaged`: an entry has more than 2^32 - 1 bytes.
    """
    longest = max(map(len, entries), default=0)
    if longest > MAX_LONG:
        raise damaged(f"an entry of {longest} bytes fits no bundle")
    prefix = 2 if longest <= MAX_SHORT else 4
    return b"".join(len(one).to_bytes(prefix, "big") + one for one in entries), prefix == 4


def entries_in(data: bytes, width: int, *, long: bool) -> Iterator[bytes]:
    """The entries of a bundle, in order.

    Raises:
        StoreError: `log_damaged`: there are more or fewer than `width`, or the last one is cut.
    """
    prefix = 4 if long else 2
    at = 0
    for count in range(width):
        begin = at + prefix
        at = begin + int.from_bytes(data[at:begin], "big")
        if begin > len(data) or at > len(data):
            raise damaged(f"a bundle ends within its entry {count}")
        yield data[begin:at]
    if at != len(data):
        raise damaged(f"a bundle of {width} entries has {len(data) - at} bytes more")
