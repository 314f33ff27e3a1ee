"""C2SP tlog-tiles as arithmetic: paths, widths, building from any point, bundles."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lictor.model.errors import StoreError
from lictor.records.merkle import FrontierBuilder, inclusion_proof, leaf_hash, nodes_of, verify_inclusion
from lictor.records.tiles import (
    MAX_SHORT,
    Tile,
    TileBuilder,
    bundle,
    edge_of,
    entries_in,
    entries_tile,
    nodes_in,
    read_path,
    tile_root,
    width_at,
)

LEAVES = [leaf_hash(str(at).encode()) for at in range(70_000)]


def test_paths_are_those_of_the_specification():
    """The examples of tlog-tiles, and nothing but one text for one tile."""
    assert Tile(0, 1_234_067).path() == "tile/0/x001/x234/067"
    assert Tile(1, 0, 17).path() == "tile/1/000.p/17"
    assert entries_tile(273, 112).path() == "tile/entries/273.p/112"
    assert entries_tile(1_000).long_path() == "entries32/x001/000"


@given(
    level=st.integers(-1, 63),
    number=st.integers(0, 10**12),
    width=st.integers(1, 256),
)
def test_a_path_is_read_as_what_was_written(level, number, width):
    """Inverse functions."""
    tile = Tile(level, number, width)
    assert read_path(tile.path()) == tile


@pytest.mark.parametrize(
    "path",
    [
        "", "tile", "tile/0", "tile/0/", "tile/00/000", "tile/64/000", "tile/-1/000", "tile/0/0", "tile/0/000.p/0", "tile/0/000.p/256",
        "tile/0/000.p/01", "tile/0/000.p", "tile/0/x000/001", "tile/0/001/002", "tile/0/x001/x002", "tile/0/000/", "tile/0//000",
        "tile/0/x1/000", "tile/0/٠٠٠", "tile/0/../000", "tile/entries", "tile/entries/000.p/257", "/tile/0/000", "tile/0/000\n",
        "tile/0/" + "x001/" * 20 + "000",
    ],
)  # fmt: skip
def test_what_is_no_path_is_refused(path):
    """Leading zeros, other widths, missing markers, paths out of the folder."""
    with pytest.raises(StoreError):
        read_path(path)


def test_a_log_of_70_000_has_the_tiles_the_specification_counts():
    """273 full tiles and one of 112 at level 0, one full and one of 17 at level 1, one of 1 at level 2."""
    builder = TileBuilder()
    full = [tile for leaf in LEAVES for tile, _ in builder.append(leaf)]
    assert [sum(tile.level == level for tile in full) for level in range(3)] == [273, 1, 0]
    assert (
        [tile for tile, _ in builder.partials()]
        == [Tile(0, 273, 112), Tile(1, 1, 17), Tile(2, 0, 1)]
        == edge_of(70_000)
    )
    tree = FrontierBuilder()
    for leaf in LEAVES:
        tree.append_leaf(leaf)
    assert builder.root() == tree.root()


@given(sizes=st.lists(st.integers(0, 700), min_size=1, max_size=4), data=st.data())
def test_building_goes_on_from_any_edge(sizes, data):
    """However a log is cut into exports: the same tiles and the root of RFC 6962; and proofs from the tiles verify."""
    kept: dict[Tile, bytes] = {}
    size = 0
    for target in sorted(sizes):
        builder = TileBuilder(size, [(tile, kept[tile]) for tile in edge_of(size)])
        for leaf in LEAVES[size:target]:
            kept.update(builder.append(leaf))
        kept.update(builder.partials())
        size = target
    tree = FrontierBuilder()
    for leaf in LEAVES[:size]:
        tree.append_leaf(leaf)
    assert TileBuilder(size, [(tile, kept[tile]) for tile in edge_of(size)]).root() == tree.root()
    if size:
        index = data.draw(st.integers(0, size - 1))
        proof = inclusion_proof(index, size, nodes_in(kept.__getitem__, size))
        assert proof == inclusion_proof(index, size, nodes_of(LEAVES[:size]))
        verify_inclusion(LEAVES[index], index, size, proof, tree.root())


def test_another_edge_is_refused():
    """A missing, additional or cut partial tile: nothing is built on it."""
    edge = [(tile, bytes(32 * tile.width)) for tile in edge_of(300)]
    for wrong in ([], edge[:1], [*edge, (Tile(2, 0, 1), bytes(32))], [(edge[0][0], bytes(31)), edge[1]]):
        with pytest.raises(StoreError):
            TileBuilder(300, wrong)


def test_widths():
    """As `floor(s / 256**l) mod 256` says, and nothing beyond the tree."""
    assert [width_at(70_000, level, number) for level, number in ((0, 272), (0, 273), (0, 274), (1, 1), (2, 0), (3, 0))] == [
        256, 112, 0, 17, 1, 0,
    ]  # fmt: skip
    assert width_at(70_000, -1, 273) == 112


def test_a_tile_that_is_not_full_has_no_root():
    """Partial tiles are never hashed into the level above."""
    with pytest.raises(StoreError):
        tile_root(bytes(32 * 255))


@given(st.lists(st.binary(max_size=40), max_size=20))
def test_bundles_give_back_their_entries(entries):
    """Short form: 16-bit lengths."""
    data, is_long = bundle(entries)
    assert not is_long
    assert list(entries_in(data, len(entries), long=False)) == entries
    if entries:
        for cut in (data[:-1], data + b"\0"):
            with pytest.raises(StoreError):
                list(entries_in(cut, len(entries), long=False))


def test_one_entry_too_long_makes_the_long_form():
    """65,535 bytes fit the specification; one more does not, and is not cut."""
    assert bundle([b"x" * MAX_SHORT])[1] is False
    entries = [b"a", b"x" * (MAX_SHORT + 1)]
    data, is_long = bundle(entries)
    assert is_long
    assert list(entries_in(data, 2, long=True)) == entries
