"""A damaged log has the same findings, whatever the number of processes and wherever it is cut; a sound one has none."""

import asyncio
import random
import shutil
import sqlite3

import pytest

from lictor.cli import split, verifying
from lictor.cli.verifying import odd_in, verified
from lictor.model.errors import LictorError
from lictor.records.checkpoint import Checkpoint, VerifierKey, open_checkpoint, sign_checkpoint
from lictor.records.keychain import KeyChain
from lictor.records.merkle import leaf_hash
from lictor.records.roll import open_roll
from lictor.records.verify import verify_log
from lictor.stores import tables
from lictor.stores.keys import Keys
from lictor.stores.sqlite import SqliteStore
from store_samples import batch, decided, ended, opened, payload, received, started

ORIGIN = "test.local/log"
WIDTH = 32
ROUNDS = 24
CALLS = 40
SIZE = 4 * CALLS + 1


@pytest.fixture(autouse=True)
def small(monkeypatch):
    """Fewer bits for ids that were seen: a short log would spend its time on clearing them."""
    monkeypatch.setattr("lictor.service.evidence.once._BITS", 1 << 16)
    monkeypatch.setattr("lictor.service.evidence.once._MASK", (1 << 16) - 1)


@pytest.fixture(scope="module")
def log(tmp_path_factory):
    folder = tmp_path_factory.mktemp("state") / "state"

    async def write():
        with SqliteStore(folder / "log.db", signer=Keys.open(folder).signer, origin=ORIGIN) as store:
            await store.commit(batch(opened()))
            for number in range(CALLS):
                request, execution = f"req_{number}", f"exe_{number}"
                first = batch(
                    received(request),
                    decided(request),
                    started(execution, request=request),
                    payloads=[payload(request)],
                )
                await store.commit(first)
                await store.commit(batch(ended(execution)))

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(tables, "EVERY", 24)  # rolls that reach over the end of a stretch
        asyncio.run(write())
    connection = sqlite3.connect(folder / "log.db", isolation_level=None)
    for (name,) in connection.execute("SELECT name FROM sqlite_schema WHERE type = 'trigger'").fetchall():
        connection.execute(f"DROP TRIGGER {name}")
    connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    connection.close()
    return folder


def keys_of(folder):
    return KeyChain(VerifierKey.of(ORIGIN, Keys.open(folder).signer))


def in_order(folder, anchors):
    """What is found without any of it."""
    keys = keys_of(folder)
    with SqliteStore.open_unverified(folder / "log.db") as view:
        report = verify_log(view.entries(), view.checkpoints(), keys, anchor=anchors, rolls=view.rolls())
    return report, odd_in(folder / "log.db", report.size, keys.places())


def in_parts(folder, anchors, workers, width=WIDTH):
    return verified(folder / "log.db", keys_of(folder), anchors, lambda _done: None, workers=workers, width=width)


def flip(data, source):
    at = source.randrange(len(data))
    return data[:at] + bytes([data[at] ^ (1 << source.randrange(8))]) + data[at + 1 :]


def hurt(connection, source, signer):
    """One of everything that somebody with the file can do; the last ones have the key as well."""
    seq = source.randrange(SIZE)
    size, text = source.choice(connection.execute("SELECT size, text FROM checkpoints").fetchall())
    last, roll = source.choice(connection.execute("SELECT last, text FROM rolls").fetchall())
    (data, leaf), (other,) = (
        connection.execute("SELECT data, leaf FROM entries WHERE seq = ?", (seq,)).fetchone(),
        connection.execute("SELECT data FROM entries WHERE seq = ?", (SIZE - 1 - seq,)).fetchone(),
    )
    changed = flip(data, source)
    lie = sign_checkpoint(Checkpoint(ORIGIN, size, b"x" * 32), signer)
    bent = flip(text.encode(), source).decode("utf-8", "replace")
    whole = open_roll(roll, KeyChain(VerifierKey.of(ORIGIN, signer)))
    sql = {
        "entry": ("UPDATE entries SET data = ? WHERE seq = ?", (changed, seq)),
        "entry and leaf": ("UPDATE entries SET data = ?, leaf = ? WHERE seq = ?", (changed, leaf_hash(changed), seq)),
        "leaf": ("UPDATE entries SET leaf = ? WHERE seq = ?", (flip(leaf, source), seq)),
        "exchanged": ("UPDATE entries SET data = ?, leaf = ? WHERE seq = ?", (other, leaf_hash(other), seq)),
        "gone": ("DELETE FROM entries WHERE seq = ?", (seq,)),
        "cut": ("DELETE FROM entries WHERE seq >= ?", (seq,)),
        "cut before": ("DELETE FROM entries WHERE seq < ?", (seq,)),
        "moved": ("UPDATE entries SET seq = seq + 1000 WHERE seq = ?", (seq,)),
        "more": ("INSERT INTO entries VALUES(?, ?, ?)", (SIZE, data, leaf)),
        "checkpoint": ("UPDATE checkpoints SET text = ? WHERE size = ?", (bent, size)),
        "checkpoint gone": ("DELETE FROM checkpoints WHERE size = ?", (size,)),
        "checkpoints cut": ("DELETE FROM checkpoints WHERE size >= ?", (size,)),
        "checkpoint moved": ("UPDATE checkpoints SET size = size + 300 WHERE size = ?", (size,)),
        "checkpoint below": ("UPDATE checkpoints SET size = -3 WHERE size = ?", (size,)),
        "checkpoint added": ("INSERT INTO checkpoints VALUES(-7, ?)", (text,)),
        "roll": ("UPDATE rolls SET text = ? WHERE last = ?", (flip(roll.encode(), source).decode("utf-8", "replace"), last)),
        "roll gone": ("DELETE FROM rolls WHERE last = ?", (last,)),
        "rolls gone": ("DELETE FROM rolls", ()),
        "roll moved": ("UPDATE rolls SET last = last + 1 WHERE last = ?", (last,)),
        "roll far": ("UPDATE rolls SET last = last + 1000 WHERE last = ?", (last,)),
        "roll added": ("INSERT INTO rolls VALUES(-1, ?)", (roll,)),
        "no tables": ("ALTER TABLE rolls RENAME TO others", ()),
        "lie": ("UPDATE checkpoints SET text = ? WHERE size = ?", (lie, size)),
        "lie, rolled": (
            "UPDATE rolls SET text = ? WHERE last = ?",
            (type(whole)(ORIGIN, whole.first, whole.last, whole.count, b"y" * 32).signed(signer), last),
        ),
    }  # fmt: skip
    name = source.choice(sorted(sql))
    connection.execute(*sql[name])
    return name


def damaged(log, folder, seed):
    """A copy with one thing wrong, sometimes two, or none; what was done."""
    source = random.Random(seed)
    folder.mkdir(mode=0o700)
    for name in ("log.db", "log.key"):
        shutil.copy2(log / name, folder / name)
    connection = sqlite3.connect(folder / "log.db", isolation_level=None)
    names = []
    for _ in range(0 if seed is None else 1 + (seed % 4 == 0)):
        try:
            names.append(hurt(connection, source, Keys.open(log).signer))
        except (sqlite3.Error, TypeError, IndexError, LictorError):
            break  # the first damage leaves nothing for the second
    connection.close()
    return names


@pytest.fixture(scope="module")
def anchors(log):
    with SqliteStore.open_unverified(log / "log.db") as view:
        return [open_checkpoint(text, keys_of(log)) for text in list(view.checkpoints())[10:80:30]]


def test_a_sound_log_is_beyond_doubt(log, anchors):
    """In one process and in several, at every width, with anchors: nothing is read twice, and the answer is the same."""
    keys = keys_of(log)
    wanted = in_order(log, anchors)
    assert wanted[0].ok
    assert not wanted[1]
    for width in (4, WIDTH, 512):
        told = split.sound(split.Plan(log / "log.db", keys, tuple(anchors), SIZE, width), lambda _done: None, workers=1)
        assert told.tree is not None
        assert (told.tree.root(), told.told is not None) == (wanted[0].root, True)
        assert in_parts(log, anchors, 1, width) == wanted
    for workers in (2, 5):
        assert in_parts(log, anchors, workers) == wanted
    foreign = [Checkpoint("other", 9, b"x" * 32)]
    assert in_parts(log, foreign, 1) == in_order(log, foreign)
    rewritten = [Checkpoint(ORIGIN, 9, b"x" * 32), Checkpoint(ORIGIN, 999, b"x" * 32)]
    assert in_parts(log, rewritten, 1) == in_order(log, rewritten)


@pytest.fixture(scope="module")
def hurt_logs(log, anchors, tmp_path_factory):
    """Damaged copies, what was done to each, and what is found in order."""
    found = []
    for seed in range(ROUNDS):
        folder = tmp_path_factory.mktemp("hurt") / "state"
        names = damaged(log, folder, seed)
        found.append((folder, names, in_order(folder, anchors)))
    return found


def test_damage_is_found_alike_however_it_is_split(anchors, hurt_logs):
    """The same findings in the same order; most rounds in this process, some in two and in five."""
    for number, (folder, names, wanted) in enumerate(hurt_logs):
        for workers in (1, 2, 5) if number % 23 == 0 else (1,):
            assert in_parts(folder, anchors, workers) == wanted, (number, names, workers)
    assert len({name for _, names, _ in hurt_logs for name in names}) > 12
    assert sum(not report.ok or bool(odd) for _, _, (report, odd) in hurt_logs) > ROUNDS // 2


@pytest.mark.parametrize("broken", ["rolls", "heads", "tail"])
def test_a_part_with_a_check_taken_out_is_caught(log, anchors, hurt_logs, monkeypatch, broken):
    """The control: the same damage tells a verifier that believes rolls, reads no checkpoints or no end."""
    if broken == "rolls":
        monkeypatch.setattr("lictor.records.stretch.digest_of", lambda texts: _stated(log, texts))
    elif broken == "heads":
        monkeypatch.setattr(split, "signed_heads", lambda *_: [])
    else:
        monkeypatch.setattr(verifying, "_to_the_end", _never_ends)
    caught = False
    for folder, _, (wanted, told) in hurt_logs:
        if not wanted.ok or told:
            report, odd = in_parts(folder, anchors, 1)
            caught = caught or (report.ok and not odd)
    assert caught


@pytest.mark.parametrize("size", [4, 64, 65, 157])
def test_a_signed_lie_is_found_in_every_part(log, anchors, tmp_path, monkeypatch, size):
    """A checkpoint of another tree, by whoever has the key, with no roll in the way; the control compares no roots."""
    folder = tmp_path / "state"
    damaged(log, folder, None)
    lie = sign_checkpoint(Checkpoint(ORIGIN, size, b"x" * 32), Keys.open(log).signer)
    connection = sqlite3.connect(folder / "log.db", isolation_level=None)
    connection.execute("DELETE FROM rolls")
    assert connection.execute("UPDATE checkpoints SET text = ? WHERE size = ?", (lie, size)).rowcount
    connection.close()
    wanted = in_order(folder, anchors)
    assert not wanted[0].ok
    assert in_parts(folder, anchors, 1) == wanted
    monkeypatch.setattr("lictor.records.stretch.Claims.fit", _any)
    assert in_parts(folder, anchors, 1)[0].ok


def _any(_self, _before):
    return True


def _never_ends(_view, begun, _keys, _anchors, _on_progress):
    tree = begun.tree
    report = verify_log([], [], VerifierKey(ORIGIN, b"x" * 32))
    return type(report)(tree is not None, tree.size if tree is not None else 0, b"", 0, ())


def _stated(log, texts):
    """The digest that the roll of these sizes states."""
    sizes = [int(text.split("\n")[1]) for text in texts]
    with SqliteStore.open_unverified(log / "log.db") as view:
        for text in view.rolls():
            roll = open_roll(text, keys_of(log))
            if sizes and roll.first <= sizes[-1] <= roll.last:
                return roll.digest
    return b""
