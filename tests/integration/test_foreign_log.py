"""Our log, tiles and witness against another implementation of the C2SP specifications (`aics-tlog`, `aics-witness`), over real HTTP.

It was written by others from the same documents: what both sides agree on is the specification and not a habit of ours.
"""

import contextlib
import json
import os
import socket
import subprocess
import sys
import threading
import time
from base64 import b64encode
from pathlib import Path

import aics_tlog
import pytest
import uvicorn
from aics_tlog.tiles import write_tiles
from aics_witness.feeder import WitnessAhead, WitnessClient, WitnessRejected, merge_cosignatures
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from lictor.api.witness import witness_app
from lictor.app.cosigning import _post
from lictor.credentials.http import Client
from lictor.credentials.options import read_url
from lictor.model.record import LogContradicted, decode_entry
from lictor.records.checkpoint import Checkpoint, VerifierKey, open_checkpoint, sign_checkpoint
from lictor.records.cosign import WitnessKey, open_witnessed
from lictor.records.merkle import consistency_proof, leaf_hash, nodes_of
from lictor.service.log.cosigning import Cosigning, Line
from lictor.service.log.witness import Witness
from lictor.stores.clock import SystemClock
from lictor.stores.sqlite import SqliteStore
from lictor.stores.tiles import TileFolder
from lictor.stores.witness import WitnessFolder
from store_samples import batch, opened, received

ORIGIN = "foreign.example/log"
SIGNER = Ed25519PrivateKey.from_private_bytes(b"\x21" * 32)
KEY = VerifierKey.of(ORIGIN, SIGNER)
NAME = "witness.example/w1"


def log_in(folder: Path, anchor: str | None = None) -> SqliteStore:
    return SqliteStore(folder / "log.db", signer=SIGNER, origin=ORIGIN, anchor=anchor)


async def grow(store: SqliteStore, count: int, word: str = "req") -> None:
    """More records, in batches, until the log has `count`."""
    if not store.size():
        await store.commit(batch(opened()))
    while store.size() < count:
        first = store.size()
        most = min(97, count - first)
        await store.commit(batch(*(received(f"{word}_{first + at}") for at in range(most))))


def port() -> int:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return int(free.getsockname()[1])


def answers(at: int) -> bool:
    with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", at), timeout=1):
        return True
    return False


def until(condition, within_s: float = 60.0) -> None:
    ends = time.monotonic() + within_s
    while not condition():
        assert time.monotonic() < ends, "it did not come up"
        time.sleep(0.02)


def foreign(*words: str | Path, module: str = "aics_tlog") -> tuple[int, dict]:
    done = subprocess.run(
        [sys.executable, "-m", module, *map(str, words)], capture_output=True, text=True, timeout=60, check=False
    )
    return done.returncode, json.loads(done.stdout) if module == "aics_tlog" else {
        "out": done.stdout,
        "err": done.stderr,
    }


# -- tiles -------------------------------------------------------------------------------------------------------------------------


async def test_an_export_is_read_and_proved_by_the_other_side(tmp_path):
    """The foreign verifier audits every tile, proves entries and growth from an export made in three steps."""
    out = tmp_path / "out"
    folder = TileFolder(out)
    old = tmp_path / "old.checkpoint"
    with log_in(tmp_path / "state") as store:
        for size in (3, 300, 70_0):
            await grow(store, size)
            folder.extend(store.entries, store.newest_checkpoint(), KEY)
            if size == 300:
                old.write_text(store.newest_checkpoint())
        entries = [one.data for one in store.entries()]

    note = aics_tlog.parse_note((out / "checkpoint").read_bytes())
    found = aics_tlog.verify_checkpoint(note, aics_tlog.parse_vkey(KEY.text()))
    assert found.ok, found
    head = open_checkpoint((out / "checkpoint").read_text(), KEY)
    reader = aics_tlog.FileSystemTileReader(out)
    aics_tlog.audit_tiles(reader, head.size, head.root)
    verified = aics_tlog.VerifiedTileReader(reader, head.size, head.root)
    assert [verified.entry(at) for at in range(head.size)] == entries

    status, said = foreign("verify-inclusion", "--tiles", out, "--log-key", KEY.text(), "--index", 299)
    assert (status, said["ok"]) == (0, True), said
    status, said = foreign("verify-consistency", "--tiles", out, "--log-key", KEY.text(), "--old-checkpoint", old)
    assert (status, said["ok"]) == (0, True), said


async def test_the_other_side_writes_the_same_tiles(tmp_path):
    """Byte for byte: the foreign writer, given our entries, makes the files we made."""
    ours, theirs = tmp_path / "ours", tmp_path / "theirs"
    with log_in(tmp_path / "state") as store:
        await grow(store, 600)
        TileFolder(ours).extend(store.entries, store.newest_checkpoint(), KEY)
        write_tiles([one.data for one in store.entries()], theirs)

    def files(root: Path) -> dict[str, bytes]:
        return {str(one.relative_to(root)): one.read_bytes() for one in (root / "tile").rglob("*") if one.is_file()}

    assert files(ours) == files(theirs)


async def test_a_changed_export_is_refused_by_the_other_side(tmp_path):
    """Control: the foreign verifier is not one that takes everything."""
    out = tmp_path / "out"
    with log_in(tmp_path / "state") as store:
        await grow(store, 300)
        TileFolder(out).extend(store.entries, store.newest_checkpoint(), KEY)
    tile = out / "tile" / "0" / "000"
    data = bytearray(tile.read_bytes())
    data[40] ^= 1
    tile.write_bytes(data)
    status, said = foreign("verify-inclusion", "--tiles", out, "--log-key", KEY.text(), "--index", 7)
    assert (status, said["ok"]) == (1, False)


# -- their witness, our log ------------------------------------------------------------------------------------------------------------


@pytest.fixture
def their_witness(tmp_path):
    """The foreign witness as a process; its verifier key and address."""
    config, at = tmp_path / "w" / "witness.json", port()
    config.parent.mkdir()
    env = {**os.environ, "AICS_WITNESS_CONFIG": str(config)}

    def run(*words: str) -> str:
        done = subprocess.run(
            [sys.executable, "-m", "aics_witness", *words],
            capture_output=True,
            text=True,
            env=env,
            timeout=60,
            check=True,
        )
        return done.stdout.strip()

    key = run("init", "--name", NAME, "--listen", f"127.0.0.1:{at}")
    run("add-log", "--origin", ORIGIN, "--vkey", KEY.text())
    with subprocess.Popen(
        [sys.executable, "-m", "aics_witness", "serve"], env=env, stderr=subprocess.DEVNULL
    ) as process:
        try:
            until(lambda: answers(at))
            yield key, f"http://127.0.0.1:{at}"
        finally:
            process.terminate()


def cosigning(
    store: SqliteStore, state: Path, key: str, url: str, said: list[str], memory: dict[str, str]
) -> Cosigning:
    line = Line(
        name="w1",
        key=WitnessKey.parse(key),
        post=_post(Client(read_url(url, "url"))),
        kept=lambda: memory.get("w1"),
        keep=lambda note: memory.update(w1=note),
    )
    return Cosigning(
        [line],
        store=store,
        key=KEY,
        open_log=lambda: SqliteStore.open_unverified(state / "log.db"),
        clock=SystemClock(),
        say=said.append,
        every_s=60,
    )


async def test_their_witness_cosigns_our_log_as_it_grows(tmp_path, their_witness):
    """Sizes with and without proofs, a witness ahead of what we remember, and a checkpoint that both sides verify."""
    key, url = their_witness
    said, memory = [], {}
    with log_in(tmp_path / "state") as store:
        for size in (1, 5, 256, 700):
            await grow(store, size)
            one = cosigning(store, tmp_path / "state", key, url, said, memory)
            await one.once()
            (lag,) = one.lags()
            assert (lag.size, lag.behind, lag.fault) == (size, 0, ""), said
        memory.clear()  # what was kept is lost: the witness says how far it is
        await grow(store, 720)
        await cosigning(store, tmp_path / "state", key, url, said, memory).once()
    found = open_witnessed(memory["w1"], KEY, [WitnessKey.parse(key)])
    assert found.checkpoint.size == 720
    assert said == []
    theirs = aics_tlog.verify_checkpoint(
        aics_tlog.parse_note(memory["w1"].encode()),
        aics_tlog.parse_vkey(KEY.text()),
        [aics_tlog.parse_vkey(key)],
        quorum=1,
    )
    assert theirs.ok


@pytest.mark.parametrize("attack", ["rewritten", "rolled back"])
async def test_their_witness_catches_a_rewrite_by_the_holder_of_the_key(tmp_path, their_witness, attack):
    """The same key signs another history: the witness refuses, we say so loudly and record it. It never cosigns that log."""
    key, url = their_witness
    said, memory = [], {}
    with log_in(tmp_path / "state") as store:
        await grow(store, 40)
        await cosigning(store, tmp_path / "state", key, url, said, memory).once()
    with log_in(tmp_path / "other") as other:
        await grow(other, 50 if attack == "rewritten" else 20, word="req" if attack == "rolled back" else "forged")
        one = cosigning(other, tmp_path / "other", key, url, said, {})
        await one.once()
        (lag,) = one.lags()
        assert lag.contradicted
        assert "CONTRADICTS THIS LOG" in said[-1]
        records = [decode_entry(entry.data).record for entry in other.entries()]
        assert [(r.size, r.seen) for r in records if isinstance(r, LogContradicted)] == [
            (50, 40) if attack == "rewritten" else (20, 40)
        ]
        await one.once()  # it is recorded once, not every minute
        assert sum(isinstance(decode_entry(e.data).record, LogContradicted) for e in other.entries()) == 1


# -- our witness, their log ------------------------------------------------------------------------------------------------------------


@pytest.fixture
def our_witness(tmp_path):
    """Our witness behind a real server in a thread; its verifier key and address."""
    folder = WitnessFolder.make(tmp_path / "witness", NAME)
    witness = Witness(NAME, folder.signer, {ORIGIN: KEY}, folder, SystemClock())
    at = port()
    server = uvicorn.Server(
        uvicorn.Config(
            witness_app(witness, lambda error: None), host="127.0.0.1", port=at, log_level="critical", lifespan="off"
        )
    )
    thread = threading.Thread(target=server.run, daemon=True)
    thread.start()
    until(lambda: answers(at))
    yield witness.key.text(), f"http://127.0.0.1:{at}"
    server.should_exit = True
    thread.join(30)


def foreign_log(words: list[str]):
    """A log made by the other side: its tree, and its signed checkpoints by size."""
    tree = aics_tlog.MerkleTree([word.encode() for word in words])

    def note(size: int) -> bytes:
        head = aics_tlog.Checkpoint(ORIGIN, size, tree.root(size))
        return aics_tlog.sign_checkpoint(head, SIGNER, ORIGIN).to_bytes()

    return tree, note


def test_our_witness_cosigns_their_log(our_witness, tmp_path):
    """Their client feeds a growing log of theirs to our witness, and verifies what it gets with its own code."""
    key, url = our_witness
    tree, note = foreign_log([f"entry {at}" for at in range(40)])
    with WitnessClient(url, key, state_path=tmp_path / "client.json") as client:
        for size in (1, 2, 7, 7, 32, 40):
            line = client.submit(note(size), tree.consistency_proof)
            merged = merge_cosignatures(note(size), line)
            found = aics_tlog.verify_checkpoint(
                aics_tlog.parse_note(merged), aics_tlog.parse_vkey(KEY.text()), [aics_tlog.parse_vkey(key)], quorum=1
            )
            assert found.ok
    with WitnessClient(url, key) as forgetful:  # has to be told the size
        forgetful.submit(note(40), tree.consistency_proof)


def test_our_witness_refuses_a_fork_and_a_rollback_of_their_log(our_witness, tmp_path):
    """Their client hears the statuses of the specification: 422 for a fork, 409 with the size for a rollback."""
    key, url = our_witness
    tree, note = foreign_log([f"entry {at}" for at in range(10)])
    other, forged = foreign_log([f"{'forged' if at == 3 else 'entry'} {at}" for at in range(20)])
    with WitnessClient(url, key) as client:
        client.submit(note(10), tree.consistency_proof)
        with pytest.raises(WitnessRejected) as caught:
            client.submit(forged(20), other.consistency_proof)
        assert caught.value.status == 422
        with pytest.raises(WitnessRejected):
            client.submit(forged(10), other.consistency_proof)
    with WitnessClient(url, key) as late, pytest.raises(WitnessAhead):
        late.submit(note(5), tree.consistency_proof)
    assert len(list((tmp_path / "witness" / "evidence").rglob("*"))) >= 2


def test_our_proofs_verify_on_the_other_side_and_theirs_on_ours():
    """Inclusion and consistency proofs of both sides are the same bytes, for all sizes up to 40."""
    words = [f"entry {at}".encode() for at in range(40)]
    nodes = nodes_of([leaf_hash(word) for word in words])
    tree = aics_tlog.MerkleTree(words)
    for second in range(1, 41):
        for first in range(1, second + 1):
            assert list(consistency_proof(first, second, nodes)) == list(tree.consistency_proof(first, second))
    head = Checkpoint(ORIGIN, 40, tree.root())
    ours = sign_checkpoint(head, SIGNER)
    assert (
        ours.encode()
        == aics_tlog.sign_checkpoint(aics_tlog.Checkpoint(ORIGIN, 40, tree.root()), SIGNER, ORIGIN).to_bytes()
    )
    assert b64encode(head.root).decode() in ours
