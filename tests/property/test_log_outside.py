"""What comes from others (notes, submissions, proofs, exported files) is read or refused: nothing else ever happens."""

import contextlib
import shutil
from pathlib import Path

from hypothesis import given, settings
from hypothesis import strategies as st

from lictor.cli.exported import verify_export
from lictor.model.errors import LictorError
from lictor.records.note import read_note
from lictor.records.proof import Proof
from lictor.records.submission import Submission, read_cosignatures, read_size
from lictor.records.tiles import entries_in, read_path
from lictor.stores.tiles import TileFolder
from unit.records.test_cosign import COSIGNED, LINE
from unit.records.test_proof import PROOF
from unit.stores.test_tiles import KEY, Made

GOOD = {
    "note": COSIGNED.encode(),
    "proof": PROOF.text().encode(),
    "submission": Submission(5, (bytes(32),), COSIGNED).body(),
    "line": LINE.line().encode(),
}
READERS = {
    "note": lambda data: read_note(data.decode("utf-8", "surrogateescape")),
    "proof": lambda data: Proof.read(data.decode("utf-8", "surrogateescape")),
    "submission": Submission.read,
    "line": read_cosignatures,
    "size": read_size,
    "path": lambda data: read_path(data.decode("latin-1")),
    "bundle": lambda data: list(entries_in(data, 3, long=False)),
}


def mutated(data, draw):
    """A few bytes replaced, a piece doubled or left out."""
    made = bytearray(data)
    for _ in range(draw(st.integers(1, 4))):
        at = draw(st.integers(0, max(0, len(made) - 1)))
        end = min(len(made), at + draw(st.integers(0, 40)))
        made[at:end] = draw(st.one_of(st.binary(max_size=8), st.just(bytes(made[at:end]) * 2), st.just(b"")))
    return bytes(made)


@given(st.data(), st.sampled_from(sorted(READERS)))
def test_readers_read_or_refuse(data, name):
    """Any bytes, and good ones with something changed: a value or a `LictorError`."""
    raw = data.draw(st.binary(max_size=200))
    if name in GOOD and data.draw(st.booleans()):
        raw = mutated(GOOD[name], data.draw)
    with contextlib.suppress(LictorError):
        READERS[name](raw)


@given(st.data())
def test_what_is_read_is_written_back_the_same(data):
    """One text for one meaning: whatever a reader takes, writing it gives those very bytes."""
    raw = mutated(GOOD["proof"], data.draw)
    try:
        found = Proof.read(raw.decode("utf-8"))
    except (LictorError, UnicodeDecodeError):
        return
    assert found.text().encode() == raw


@settings(max_examples=30)
@given(data=st.data())
def test_a_damaged_export_is_never_whole_and_never_a_crash(data, tmp_path_factory):
    """Files changed, cut, swapped, doubled or gone: findings or a refusal; a log that differs is never called verified."""
    base = tmp_path_factory.mktemp("export")
    good = base / "good"
    log = Made()
    log.data = log.data[:300]
    TileFolder(good).extend(log.entries, log.note(300), KEY)
    bad = base / "bad"
    shutil.copytree(good, bad)
    paths = sorted(one.relative_to(bad) for one in bad.rglob("*") if one.is_file() and one.name != "vkey")
    name = data.draw(st.sampled_from(paths))
    damage(bad / name, bad / data.draw(st.sampled_from(paths)), data.draw)
    same = all((bad / one).exists() and (bad / one).read_bytes() == (good / one).read_bytes() for one in paths)
    try:
        report = verify_export(bad, KEY)
    except LictorError:
        assert not same
    else:
        kinds = {one["kind"] for one in report["findings"]} - {"inconsistent"}
        assert bool(kinds) is not same
    finally:
        shutil.rmtree(base)


def damage(path: Path, other: Path, draw) -> None:
    """One of the things that happen to files."""
    match draw(st.sampled_from(["change", "cut", "swap", "empty", "remove"])):
        case "change":
            path.write_bytes(mutated(path.read_bytes(), draw))
        case "cut":
            path.write_bytes(path.read_bytes()[: draw(st.integers(0, path.stat().st_size))])
        case "swap":
            path.write_bytes(other.read_bytes())
        case "empty":
            path.write_bytes(b"")
        case _:
            path.unlink()
