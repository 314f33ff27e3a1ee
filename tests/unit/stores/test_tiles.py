"""Exports: only what is new is written, every changed file is found and located, and nothing else than this log goes on."""

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from lictor.cli.exported import verify_export
from lictor.model.errors import OperatorError, StoreError
from lictor.ports import StoredEntry
from lictor.records.checkpoint import Checkpoint, VerifierKey, sign_checkpoint
from lictor.records.merkle import FrontierBuilder, leaf_hash
from lictor.stores.tiles import TileFolder

SIGNER = Ed25519PrivateKey.from_private_bytes(b"\x05" * 32)
KEY = VerifierKey.of("export.example/log", SIGNER)


class Made:
    """A log in memory, of records that are none: exports do not look inside."""

    def __init__(self, word="entry", *, long_at=()):
        self.data = [f"{word} {at}".encode() + (b"x" * 70_000 if at in long_at else b"") for at in range(1_000)]

    def entries(self, start, stop):
        return [StoredEntry(at, self.data[at], leaf_hash(self.data[at])) for at in range(start, stop)]

    def note(self, size):
        tree = FrontierBuilder()
        for one in self.data[:size]:
            tree.append(one)
        return sign_checkpoint(Checkpoint(KEY.name, size, tree.root()), SIGNER)


def files(path):
    return {str(one.relative_to(path)): one for one in path.rglob("*") if one.is_file()}


def verified(path, **kwargs):
    """The report without what records say of each other: these are no records."""
    report = verify_export(path, KEY, **kwargs)
    return [one for one in report["findings"] if one["kind"] != "inconsistent"]


def export(path, log, *sizes):
    for size in sizes:
        TileFolder(path).extend(log.entries, log.note(size), KEY)


@pytest.mark.parametrize("sizes", [(0,), (1,), (255,), (256,), (257,), (1, 255, 256, 300), (10, 700), (512, 512, 513)])
def test_an_export_in_steps_is_the_export_at_once(tmp_path, sizes):
    """The same bytes in the files that a reader of the last checkpoint needs, and nothing left of full tiles."""
    log = Made()
    export(tmp_path / "steps", log, *sizes)
    export(tmp_path / "once", log, sizes[-1])
    once, steps = files(tmp_path / "once"), files(tmp_path / "steps")
    assert {name: one.read_bytes() for name, one in once.items()} == {name: steps[name].read_bytes() for name in once}
    assert verified(tmp_path / "steps") == []


def test_full_tiles_are_written_once(tmp_path):
    """The second export leaves the first one's full tiles alone, and prunes the partial ones that are full now."""
    log = Made()
    export(tmp_path, log, 300)
    before = {name: one.stat().st_mtime_ns for name, one in files(tmp_path).items() if ".p/" not in name}
    assert (tmp_path / "tile/0/001.p/44").exists()
    export(tmp_path, log, 900)
    after = files(tmp_path)
    assert {name for name, at in before.items() if after[name].stat().st_mtime_ns != at} == {"checkpoint", "vkey"}
    assert not (tmp_path / "tile/0/001.p").exists()
    assert not (tmp_path / "tile/entries/001.p").exists()


def test_every_flipped_bit_of_every_file_is_found(tmp_path):
    """One bit in each file of an export, in turn: found; in an entry or a leaf hash, at its number."""
    export(tmp_path, Made(), 600)
    for name, path in files(tmp_path).items():
        if name == "vkey":  # nobody believes it
            continue
        good = path.read_bytes()
        for at in (0, len(good) // 2, len(good) - 1):
            path.write_bytes(good[:at] + bytes([good[at] ^ 1]) + good[at + 1 :])
            try:
                findings = verified(tmp_path)
            except (StoreError, OperatorError):
                assert name == "checkpoint"
                continue
            assert findings, (name, at)
            if name == "tile/0/001":
                assert {"kind": "entry", "position": 256 + at // 32} in [
                    {"kind": one["kind"], "position": one["position"]} for one in findings
                ]
        path.write_bytes(good)
    assert verified(tmp_path) == []


def test_every_missing_file_is_found(tmp_path):
    """Also the tiles above the leaves, which no entry needs."""
    export(tmp_path, Made(), 600)
    for name, path in files(tmp_path).items():
        if name in {"vkey", "checkpoint"}:
            continue
        good = path.read_bytes()
        path.unlink()
        assert verified(tmp_path), name
        path.write_bytes(good)


def test_an_export_of_another_log_does_not_go_on(tmp_path):
    """The same key over another history: the tiles do not fit, and the checkpoint stays what it was."""
    export(tmp_path, Made(), 300)
    before = (tmp_path / "checkpoint").read_bytes()
    with pytest.raises(StoreError, match="not the one that was exported"):
        export(tmp_path, Made("forged"), 400)
    with pytest.raises(StoreError, match="rolled back"):
        export(tmp_path, Made(), 299)
    assert (tmp_path / "checkpoint").read_bytes() == before


def test_a_fork_behind_a_full_tile_does_not_go_on(tmp_path):
    """No entry of the fork was exported, so only the root can tell."""
    export(tmp_path, Made(), 256)
    forged = Made()
    forged.data[3] = b"forged"
    with pytest.raises(StoreError, match="another root"):
        export(tmp_path, forged, 400)


def test_a_damaged_edge_does_not_go_on(tmp_path):
    """What was changed in the folder is not built on."""
    export(tmp_path, Made(), 300)
    edge = tmp_path / "tile/0/001.p/44"
    edge.write_bytes(bytes(44 * 32))
    with pytest.raises(StoreError, match="do not fit"):
        export(tmp_path, Made(), 301)


def test_a_folder_of_something_else_is_left_alone(tmp_path):
    """Nothing is written beside somebody's files."""
    (tmp_path / "letters").write_text("dear")
    with pytest.raises(OperatorError, match="something else"):
        export(tmp_path, Made(), 3)
    assert list(files(tmp_path)) == ["letters"]


def test_an_export_that_was_cut_off_begins_anew(tmp_path):
    """Tiles without a checkpoint are what a crash leaves."""
    export(tmp_path, Made(), 300)
    (tmp_path / "checkpoint").unlink()
    export(tmp_path, Made(), 500)
    assert verified(tmp_path) == []


def test_long_entries_stand_apart(tmp_path):
    """A bundle with an entry the specification has no form for has another address; the hash tiles are as ever."""
    log = Made(long_at=(300,))
    export(tmp_path, log, 290, 310, 600)
    assert (tmp_path / "entries32/001").exists()
    assert not (tmp_path / "tile/entries/001").exists()
    assert verified(tmp_path) == []
    long = tmp_path / "entries32/001"
    long.write_bytes(long.read_bytes()[:-1])
    assert verified(tmp_path)[0]["position"] == 511
