"""Work on a log given out to processes: how it is cut, and that whatever goes wrong is doubt."""

from concurrent.futures.process import BrokenProcessPool

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from lictor.cli import split
from lictor.cli.split import WIDTHS, Plan, cores, sound, width_for
from lictor.records.checkpoint import VerifierKey

KEY = VerifierKey.of("test.local/log", Ed25519PrivateKey.from_private_bytes(b"\x05" * 32))


def plan(path, size=100, width=32):
    return Plan(path, KEY, (), size, width)


@pytest.mark.parametrize("size", [1, 20_000, 10**6, 10**7, 10**9])
@pytest.mark.parametrize("workers", [1, 2, 5, 64])
def test_stretches_are_powers_of_two_within_bounds(size, workers):
    """Enough of them for every process, where the log is long enough."""
    width = width_for(size, workers)
    assert WIDTHS[0] <= width <= WIDTHS[1]
    assert width.bit_count() == 1
    assert width == WIDTHS[0] or size // width >= workers


def test_stretches_cover_the_log(tmp_path):
    """Every entry is in one; the last one is as long as is left."""
    bounds = [plan(tmp_path).bounds(number) for number in range(plan(tmp_path).stretches())]
    assert bounds == [(0, 32), (32, 64), (64, 96), (96, 100)]
    assert plan(tmp_path, 0).stretches() == 0
    assert cores() >= 1


@pytest.mark.parametrize("workers", [1, 2])
def test_a_file_that_cannot_be_read_is_doubt(tmp_path, workers):
    """In this process and in others: nothing is known of it."""
    (tmp_path / "log.db").write_bytes(b"no database" * 500)
    told = sound(plan(tmp_path / "log.db"), lambda _done: None, workers=workers)
    assert (told.tree, told.told) == (None, None)


def test_a_process_that_dies_is_doubt(tmp_path, monkeypatch):
    """Its part was not looked at by anybody."""

    def dies(*_args, **_more):
        raise BrokenProcessPool

    monkeypatch.setattr(split, "_hands", dies)
    told = sound(plan(tmp_path / "log.db"), lambda _done: None, workers=2)
    assert (told.tree, told.told) == (None, None)


def test_an_empty_log_is_not_vouched_for(tmp_path):
    """No tree is beyond doubt where nothing was read."""
    (tmp_path / "log.db").touch()
    assert sound(plan(tmp_path / "log.db", 0), lambda _done: None, workers=1).tree is None
