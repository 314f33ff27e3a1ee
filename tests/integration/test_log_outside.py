"""The log as others see it, by the command line: export, proof, a witness of another party, and what each of them finds."""

import asyncio
import base64
import json
import os
import shutil
import signal
import subprocess
import time
import urllib.error
import urllib.request
from dataclasses import dataclass, field
from hashlib import sha256
from pathlib import Path
from typing import Any

import aics_tlog
import pytest
from cryptography.hazmat.primitives.serialization import load_pem_private_key

import warm
from integration.peers import LICTOR, free_port, serving
from lictor.records.checkpoint import open_checkpoint
from lictor.stores.sqlite import SqliteStore
from store_samples import batch, received

pytestmark = [pytest.mark.xdist_group("log outside"), pytest.mark.timeout(180)]

ORIGIN = "lictor.local/log"


@dataclass
class Home:
    """A bundle, a witness of somebody else, and what they know of each other."""

    folder: Path
    key: str = ""
    witness_key: str = ""
    secret: str = ""
    port: int = field(default_factory=free_port)
    witness_port: int = field(default_factory=free_port)

    @property
    def bundle(self) -> Path:
        return self.folder / "lictor"

    @property
    def state(self) -> Path:
        return self.bundle / ".lictor"

    def run(self, *words: str | Path, code: int = 0) -> str:
        env = {**os.environ, "HOME": str(self.folder), "LICTOR_APPROVER_SECRET": self.secret, "NO_COLOR": "1"}
        done = warm.run(*map(str, words), cwd=self.folder, env=env)
        assert done.returncode == code, (words, done.returncode, done.stdout, done.stderr)
        assert "Traceback" not in done.stderr
        return done.stdout if code in {0, 1} else done.stderr

    def json(self, *words: str | Path, code: int = 0) -> Any:
        return json.loads(self.run(*words, "--json", code=code))

    def get(self, path: str, token: str = "") -> tuple[int, bytes]:
        asked = urllib.request.Request(f"http://127.0.0.1:{self.port}{path}")
        if token:
            asked.add_header("Authorization", f"Bearer {token}")
        try:
            with urllib.request.urlopen(asked, timeout=30) as answer:
                return answer.status, answer.read()
        except urllib.error.HTTPError as error:
            return error.code, error.read()


def until(condition, within_s: float = 60.0):
    ends = time.monotonic() + within_s
    while not (found := condition()):
        assert time.monotonic() < ends, "it did not happen"
        time.sleep(0.05)
    return found


@pytest.fixture(scope="module")
def home(tmp_path_factory):
    """`lictor init`, `lictor witness init`; the witness runs, and the gateway has run once with it."""
    made = Home(tmp_path_factory.mktemp("outside"))
    made.secret = made.json("init")["secret"]
    made.key = made.json("log", "checkpoint")["verifier_key"]
    made.witness_key = made.json("witness", "init", "w", "--name", "witness.example/w1")["verifier_key"]
    witness = made.folder / "w" / "witness.toml"
    witness.write_text(witness.read_text("utf-8").replace("logs = []", f"logs = [{json.dumps(made.key)}]"))
    settings = made.bundle / "lictor.toml"
    text = settings.read_text("utf-8").replace("port = 8700", f"port = {made.port}")
    settings.write_text(
        text + '\n[servers.away]\nurl = "http://127.0.0.1:9/mcp"\n'
        "\n[log]\nserve = true\nentries = true\nwitness_every_s = 1\n"
        f'[witness.w1]\nurl = "http://127.0.0.1:{made.witness_port}"\nkey = "{made.witness_key}"\n'
    )
    serve = [LICTOR, "witness", "serve", str(made.folder / "w"), "--port", str(made.witness_port)]
    with subprocess.Popen(serve, stderr=subprocess.PIPE, text=True) as process:
        assert process.stderr is not None
        until(lambda: "submit to" in process.stderr.readline())
        try:
            with serving(made.bundle, made.port):
                served(made)
            yield made
        finally:
            process.send_signal(signal.SIGINT)


def served(made: Home) -> None:
    """While the gateway runs: records appear, the witness cosigns them, and anybody may fetch hashes."""
    human = made.json("log", "show", "-n", "0")[1]["record"]["human"]
    for _ in range(3):
        made.secret = made.json("approver", "enrol", human)["secret"]
    kept = made.state / "cosigned" / "w1"
    until(
        lambda: (
            kept.exists()
            and f"\n{made.json('log', 'checkpoint')['checkpoint'].split()[1]}\n" in kept.read_text("utf-8")
        )
    )
    status, note = made.get("/log/checkpoint")
    assert status == 200
    head = open_checkpoint(note.decode(), made.key)
    found = aics_tlog.verify_checkpoint(
        aics_tlog.parse_note(note), aics_tlog.parse_vkey(made.key), [aics_tlog.parse_vkey(made.witness_key)], quorum=1
    )
    assert found.ok
    edge = f"000.p/{head.size}"
    status, tile = made.get(f"/log/tile/0/{edge}")
    assert (status, len(tile)) == (200, 32 * head.size)
    reader = aics_tlog.MemoryTileReader({f"tile/0/{edge}": tile})
    aics_tlog.audit_tiles(reader, head.size, head.root, entries=False)
    # Records are for operators, and only where the settings say so.
    assert made.get(f"/log/tile/entries/{edge}")[0] == 401
    assert made.get("/log/tile/0/000")[0] == 404
    assert made.get("/log/tile/../checkpoint")[0] in {404, 401}
    status, bundle = made.get(f"/log/tile/entries/{edge}", made.secret)
    assert status in {200, 403}, bundle
    if status == 200:
        assert len(aics_tlog.parse_entry_bundle(bundle)) == head.size


def test_the_witness_and_the_doctor_say_how_far_it_is(home):
    """Both sides agree on the size; nothing contradicts it."""
    size = int(home.json("log", "checkpoint")["checkpoint"].split()[1])
    (row,) = home.json("witness", "show", "w")["logs"]
    assert (row["log"], row["contradictions"]) == (ORIGIN, 0)
    assert row["size"] >= size - 2  # the doctor and others may write
    told = [one for one in home.json("doctor") if one["name"] == "witness"]
    assert [one["state"] for one in told] == ["ok"], told
    url = f"http://127.0.0.1:{home.witness_port}/{sha256(ORIGIN.encode()).hexdigest()}/checkpoint"
    with urllib.request.urlopen(url, timeout=30) as answer:
        assert open_checkpoint(answer.read().decode(), home.key).size == row["size"]


def test_an_export_verifies_alone(home, tmp_path):
    """Another person, with the files and two keys, verifies everything; with another key nothing."""
    out = tmp_path / "out"
    first = home.json("log", "export", out)
    assert first["added"] == first["size"] > 0
    assert home.json("log", "export", out)["added"] == 0
    report = home.json("log", "verify", "--export", out, "--key", home.key, "--witness", home.witness_key)
    assert report["ok"], report
    assert [one["witness"] for one in report["witnessed"]] == ["witness.example/w1"]
    assert "verified" in home.run("log", "verify", "--export", out, "--key", home.key)
    home.run("log", "verify", "--export", out, code=3)
    other = home.json("witness", "init", tmp_path / "other", "--name", "other.example")["verifier_key"]
    findings = home.json("log", "verify", "--export", out, "--key", home.key, "--witness", other, code=1)["findings"]
    assert [one["kind"] for one in findings] == ["unwitnessed"]
    bundle = next((out / "tile" / "entries").rglob("000*/*"))
    bundle.write_bytes(bundle.read_bytes().replace(b"privilege", b"Privilege", 1))
    assert home.json("log", "verify", "--export", out, "--key", home.key, code=1)["findings"][0]["kind"] == "entry"


def test_one_record_is_proved(home, tmp_path):
    """The proof holds the record; without it, it takes the record's file; for another record it proves nothing."""
    proof, bare, entry = tmp_path / "1.tlog-proof", tmp_path / "bare.tlog-proof", tmp_path / "entry.json"
    home.run("log", "prove", "1", "-o", proof)
    told = home.run("log", "verify", "--proof", proof, "--key", home.key)
    assert "record 1 is in the log" in told
    assert "approver_enrolled" in told
    bare.write_text(home.run("log", "prove", "1", "--bare"))
    home.run("log", "verify", "--proof", bare, "--key", home.key, code=3)
    text = next(line for line in proof.read_text("utf-8").split("\n") if line.startswith("extra "))
    entry.write_bytes(base64.b64decode(text.removeprefix("extra ")))
    home.run("log", "verify", "--proof", bare, "--entry", entry, "--key", home.key)
    entry.write_bytes(entry.read_bytes() + b" ")
    assert "not proved" in home.run("log", "verify", "--proof", bare, "--entry", entry, "--key", home.key, code=1)
    assert "no entry" in home.run("log", "prove", "99999", code=4)


def test_a_rewrite_by_the_holder_of_the_key_needs_a_witness_to_be_found(home, tmp_path):
    """Control: without the witness the forged log verifies, anchor and all. With it, it does not."""
    forged = tmp_path / "home"
    shutil.copytree(home.bundle, forged)
    state = forged / ".lictor"
    signer = load_pem_private_key((state / "log.key").read_bytes(), password=None)
    for path in state.glob("log.db*"):
        path.unlink()

    async def rewrite() -> str:
        with SqliteStore(state / "log.db", signer=signer, origin=ORIGIN) as store:
            while store.size() < 40:
                await store.commit(batch(received(f"req_{store.size()}")))
            return store.newest_checkpoint()

    (state / "anchor").write_text(asyncio.run(rewrite()))
    assert home.json("log", "verify", "--bundle", forged, "--key", home.key)["ok"]
    report = home.json("log", "verify", "--bundle", forged, "--witness", home.witness_key, code=1)
    assert "rewritten" in {one["kind"] for one in report["findings"]}
    # Whoever throws the witness's word away is told that it is missing.
    shutil.rmtree(state / "cosigned")
    report = home.json("log", "verify", "--bundle", forged, "--witness", home.witness_key, code=1)
    assert [one["kind"] for one in report["findings"]] == ["unwitnessed"]
    # The witness itself still says what it saw: its word is the anchor.
    url = f"http://127.0.0.1:{home.witness_port}/{sha256(ORIGIN.encode()).hexdigest()}/checkpoint"
    anchor = tmp_path / "anchor"
    with urllib.request.urlopen(url, timeout=30) as answer:
        anchor.write_bytes(answer.read())
    words = ("log", "verify", "--bundle", forged, "--witness", home.witness_key, "--anchor", anchor)
    assert "rewritten" in {one["kind"] for one in home.json(*words, code=1)["findings"]}
    assert home.json("log", "verify", "--witness", home.witness_key, "--anchor", anchor)["ok"]


def test_a_witness_that_lost_what_it_signed_does_not_start(home, tmp_path):
    """Under the same name it could cosign a fork."""
    home.json("witness", "init", tmp_path / "w2", "--name", "w2.example")
    home.run("witness", "init", tmp_path / "w2", "--name", "w2.example", code=3)
    home.run("witness", "show", tmp_path / "w2")
    shutil.rmtree(tmp_path / "w2" / "seen")
    home.run("witness", "serve", tmp_path / "w2", code=4)
    home.run("witness", "serve", home.folder / "w", code=4)  # another process has it
