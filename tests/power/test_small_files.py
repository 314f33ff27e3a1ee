"""Power is cut while a small file is made or replaced: keys, anchor, latest time (facts R2).

What Python asks of the operating system is written down, with a real folder underneath; then every folder that a power cut could have
left is made, and read by the real code. Until a folder is synced, each change of its names is there or not, for itself; until a
file is synced its bytes are there, in part, or not at all.
"""

import itertools
import os
import random
import stat
import sys
from contextlib import contextmanager
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from lictor.model.errors import LictorError
from lictor.records.checkpoint import Checkpoint, sign_checkpoint
from lictor.records.merkle import FrontierBuilder
from lictor.stores.clock import read_mark, write_mark
from lictor.stores.keys import Keys

pytestmark = pytest.mark.skipif(not sys.platform.startswith("linux"), reason="reads descriptors from /proc")
OLD, NEW = 1_700_000_000_000, 1_700_000_999_999


class Folder:
    """One folder as a disk has it; `cuts` are the states a power cut could have left so far."""

    def __init__(self, path):
        self.path = path
        self.kept = {entry.name: entry.inode() for entry in os.scandir(path)}
        self.durable = {entry.inode(): Path(entry).read_bytes() for entry in os.scandir(path)}
        self.moves = []
        self.cuts = []

    def change(self, **names):
        """One step: names that are there now (their inode) or no longer (None)."""
        self.moves.append({Path(name).name: inode for name, inode in names.items()})
        self.cuts += self.states()

    def synced(self, descriptor):
        found = os.fstat(descriptor)
        if stat.S_ISDIR(found.st_mode):
            [self.kept] = self.possible([self.moves])
            self.moves = []
        else:
            self.durable[found.st_ino] = Path(f"/proc/self/fd/{descriptor}").read_bytes()

    def possible(self, choices):
        for moves in choices:
            names = dict(self.kept)
            for move in moves:
                names.update(move)
            yield {name: inode for name, inode in names.items() if inode is not None}

    def states(self):
        """Every set of names there may be after a cut now, with the bytes that are sure (None: nobody knows)."""
        choices = (some for n in range(len(self.moves) + 1) for some in itertools.combinations(self.moves, n))
        return [{name: self.durable.get(inode) for name, inode in one.items()} for one in self.possible(choices)]


@contextmanager
def recorded(path, monkeypatch, without):
    """The folder's record; `without` one kind of sync, as if the code forgot it."""
    folder = Folder(path)
    real = {name: getattr(os, name) for name in ("open", "fsync", "link", "replace", "unlink")}

    def opening(name, flags, *rest, **named):
        descriptor = real["open"](name, flags, *rest, **named)
        if flags & os.O_CREAT and Path(name).parent == path:
            inode = os.fstat(descriptor).st_ino
            folder.durable.pop(inode, None)  # the number may have been another file's
            folder.change(**{str(name): inode})
        return descriptor

    def fsync(descriptor):
        kind = "folder" if stat.S_ISDIR(os.fstat(descriptor).st_mode) else "file"
        if kind != without:
            real["fsync"](descriptor)
            folder.synced(descriptor)

    def link(source, target, **named):
        real["link"](source, target, **named)
        folder.change(**{str(target): Path(target).stat().st_ino})

    def replace(source, target, **named):
        inode = Path(source).stat().st_ino
        real["replace"](source, target, **named)
        folder.change(**{str(target): inode, str(source): None})

    def unlink(name, **named):
        real["unlink"](name, **named)
        if Path(name).parent == path:
            folder.change(**{str(name): None})

    fakes = {"open": opening, "fsync": fsync, "link": link, "replace": replace, "unlink": unlink}
    with monkeypatch.context() as patch:
        for name, fake in fakes.items():
            patch.setattr(os, name, fake)
        yield folder


def made(where, when, states):
    """A folder for each state; bytes nobody is sure of are none, or zeros, or the beginning of something."""
    chance = random.Random(1)
    for number, names in enumerate(states):
        folder = where / f"{when}-{number}"
        folder.mkdir(mode=0o700)
        for name, data in names.items():
            (folder / name).write_bytes(chance.choice((b"", b"\0" * 32, b"12")) if data is None else data)
            (folder / name).chmod(0o600)
        yield folder


def check(tmp_path, monkeypatch, *, first, then, ever, after, without=""):
    """Do `first`; record `then`; `ever` must hold of every folder a cut could leave, `after` of those once `then` has returned."""
    state, cuts = tmp_path / "state", tmp_path / "cuts"
    state.mkdir(mode=0o700)
    cuts.mkdir()
    first(state)
    with recorded(state, monkeypatch, without) as folder:
        then(state)
    assert folder.moves == [] or without, "it returns with names that are not durable"
    assert len(folder.cuts) >= 4
    for one in made(cuts, "ever", folder.cuts):
        ever(one)
    for one in made(cuts, "after", folder.states()):
        after(one)


def latest_time():
    """Old or new; new once it was written."""
    return {
        "first": lambda folder: write_mark(folder, OLD),
        "then": lambda folder: write_mark(folder, NEW),
        "ever": lambda folder: equal(read_mark(folder), OLD, NEW),
        "after": lambda folder: equal(read_mark(folder), NEW),
    }


def anchor():
    """Old or new; new once it was written."""
    signer, tree = Ed25519PrivateKey.generate(), FrontierBuilder()
    texts = []
    for data in (b"one", b"two"):
        tree.append(data)
        texts.append(sign_checkpoint(Checkpoint("test/small", tree.size, tree.root()), signer))

    def keys(folder):
        return Keys(folder=folder, signer=signer, state_key=bytes(32))

    return {
        "first": lambda folder: keys(folder).write_anchor(texts[0]),
        "then": lambda folder: keys(folder).write_anchor(texts[1]),
        "ever": lambda folder: equal(keys(folder).read_anchor(), *texts),
        "after": lambda folder: equal(keys(folder).read_anchor(), texts[1]),
    }


def keys():
    """Whole or not there at any time; once they were given to somebody they are the same for ever."""
    given = []

    def make(folder):
        given.append(Keys.open(folder))

    def same(folder):
        found = Keys.open(folder)
        equal(found.signer.private_bytes_raw(), given[0].signer.private_bytes_raw())
        equal(found.state_key, given[0].state_key)

    return {"first": lambda _: None, "then": make, "ever": Keys.open, "after": same}


def equal(found, *wanted):
    assert found in wanted


CASES = (latest_time, anchor, keys)


@pytest.mark.parametrize("case", CASES)
def test_a_power_cut_leaves_the_old_or_the_new(tmp_path, monkeypatch, case):
    """At every step of every small file that promises something."""
    check(tmp_path, monkeypatch, **case())


@pytest.mark.parametrize("without", ["file", "folder"])
@pytest.mark.parametrize("case", CASES)
def test_control_a_forgotten_sync_is_caught(tmp_path, monkeypatch, case, without):
    """Control: the same check of code that syncs only the file, or only its folder."""
    with pytest.raises((AssertionError, LictorError)):
        check(tmp_path, monkeypatch, **case(), without=without)
