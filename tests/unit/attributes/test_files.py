"""Where paths lead on a real file system."""

import asyncio
import contextlib
import os
import tempfile
import threading
from pathlib import Path

import pytest

from lictor.attributes import files
from lictor.attributes.files import HostFiles, real_path

NOBODY = 65_534


@pytest.fixture
def tree(tmp_path):
    """A workspace with links inwards, outwards, to nowhere and in a circle."""
    root = tmp_path.resolve() / "ws"
    (root / "real").mkdir(parents=True)
    (root / "real" / "file").write_text("x")
    (tmp_path / "outside").mkdir()
    (root / "in").symlink_to("real")
    (root / "out").symlink_to(tmp_path / "outside")
    (root / "dangling").symlink_to(root / "nothing")
    (root / "loop").symlink_to(root / "loop")
    return root


def test_links_are_followed(tree):
    """To the end; what does not exist yet is named below what does."""
    assert real_path(f"{tree}/in/file") == f"{tree}/real/file"
    assert real_path(f"{tree}/in/new/deep") == f"{tree}/real/new/deep"
    assert real_path(f"{tree}/out/x") == f"{tree.parent}/outside/x"
    assert real_path(f"{tree}/real/file") == f"{tree}/real/file"


def test_what_is_not_certain_is_left_out(tree):
    """A link to nowhere, a circle, a file as a directory, a NUL, a name too long."""
    for bad in ("dangling", "dangling/x", "loop", "loop/x", "real/file/x", "a\0b", "a" * 300, "\ud800"):
        assert real_path(f"{tree}/{bad}") is None, bad


@contextlib.contextmanager
def as_somebody(folder):
    """Not as root, who reads everything: as whom the folder belongs to then."""
    if os.geteuid() != 0:
        yield
        return
    os.chown(folder, NOBODY, NOBODY)
    os.seteuid(NOBODY)
    try:
        yield
    finally:
        os.seteuid(0)


def test_a_directory_that_may_not_be_read():
    """Left out too."""
    with tempfile.TemporaryDirectory() as folder, as_somebody(folder):
        shut = Path(folder).resolve() / "shut"
        shut.mkdir()
        (shut / "file").write_text("x")
        assert real_path(f"{shut}/file") == f"{shut}/file"
        shut.chmod(0)
        try:
            assert real_path(f"{shut}/file") is None
        finally:
            shut.chmod(0o700)


async def test_by_key(tree):
    """Same keys; without the uncertain ones."""
    host = HostFiles()
    found = await host.resolve({"/p": f"{tree}/in", "/q": f"{tree}/loop", "root:ws": str(tree)})
    assert found == {"/p": f"{tree}/real", "root:ws": str(tree)}
    host.close()


async def test_a_file_system_that_hangs(monkeypatch):
    """Nothing is found in time, and no more than so many wait."""
    gate = threading.Event()
    monkeypatch.setattr(files, "real_path", lambda path: gate.wait(20) and path)
    monkeypatch.setattr(files, "MAX_WAITING", 3)
    host = HostFiles(timeout_s=0.05)
    assert await asyncio.gather(*(host.resolve({"/p": "/x"}) for _ in range(6))) == [{}] * 6
    assert host._waiting <= 3
    gate.set()
    await asyncio.sleep(0.1)
    assert await host.resolve({"/p": "/x"}) == {"/p": "/x"}
    host.close()
