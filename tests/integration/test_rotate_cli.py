"""`lictor log rotate-key` as an operator runs it: kills between its steps, a gateway beside it, exports, proofs and backups after it."""

import asyncio
import json
import os
import subprocess
import sys

import pytest

import warm
from lictor.stores.ids import RandomIds
from lictor.stores.instances import Instance
from lictor.stores.keys import Keys
from lictor.stores.sqlite import SqliteStore
from store_samples import batch, received

pytestmark = [pytest.mark.xdist_group("command line"), pytest.mark.timeout(300)]


@pytest.fixture
def environment(tmp_path):
    found = {**os.environ, "HOME": str(tmp_path), "NO_COLOR": "1"}
    found.pop("LICTOR_BUNDLE", None)
    return found


@pytest.fixture
def lictor(tmp_path, environment):
    def run(*words, code=0):
        done = warm.run(*words, cwd=tmp_path, env=environment, timeout=200)
        assert done.returncode == code, (words, done.returncode, done.stdout, done.stderr)
        assert "Traceback" not in done.stderr
        return done.stdout if code in {0, 1} else done.stderr

    run("init")
    return run


def work(tmp_path):
    """Somebody records something, with the key that is in force."""
    state = tmp_path / "lictor" / ".lictor"
    with SqliteStore(state / "log.db", signer=Keys.open(state).signer, origin="lictor.local/log") as store:
        asyncio.run(store.commit(batch(received(f"req_{store.size()}"))))


def keys(lictor):
    return [one["verifier_key"] for one in json.loads(lictor("log", "keys", "--json"))["keys"]]


def test_a_log_goes_on_under_its_new_key(lictor, tmp_path, environment):
    """Asked first; then both keys are named, the old one is gone, and everything others hold still verifies."""
    work(tmp_path)
    state = tmp_path / "lictor" / ".lictor"
    checkpoint = json.loads(lictor("log", "checkpoint", "--json"))
    (tmp_path / "old.txt").write_text(checkpoint["checkpoint"])
    lictor("log", "export", "public")
    before = (state / "log.key").read_bytes()
    assert "--yes" in lictor("log", "rotate-key", code=1)
    assert (state / "log.key").read_bytes() == before

    changed = json.loads(lictor("log", "rotate-key", "--yes", "--why", "yearly", "--json"))
    assert changed["old"] == checkpoint["verifier_key"]
    assert sorted(one.name for one in state.glob("log.key*")) == ["log.key", "log.key.lock"]
    told = json.loads(lictor("log", "checkpoint", "--json"))
    assert (told["verifier_key"], told["key_in_force"]) == (changed["old"], changed["verifier_key"])
    work(tmp_path)
    told = json.loads(lictor("log", "checkpoint", "--json"))
    assert told["verifier_key"] == told["key_in_force"] == changed["verifier_key"]
    assert told["since"] == changed["record"]
    (tmp_path / "new.txt").write_text(told["checkpoint"])

    lictor("log", "export", "public")
    lictor("log", "prove", "0", "-o", "0.proof")
    lictor("log", "keys", "-o", "statements")
    for anchor in ("old.txt", "new.txt"):
        assert "verified" in lictor("log", "verify", "--key", changed["old"], "--anchor", anchor)
    for key in keys(lictor):
        assert "verified" in lictor("log", "verify", "--export", "public", "--key", key, "--anchor", "old.txt")
        assert "proved" in lictor("log", "verify", "--proof", "0.proof", "--key", key, "--keys", "statements")
    assert "not proved" in lictor("log", "verify", "--proof", "0.proof", "--key", changed["old"], code=1)
    lictor("replay")
    said = warm.run("doctor", cwd=tmp_path, env=environment, timeout=200).stdout
    assert f"{changed['verifier_key']}, since record {changed['record']}" in said

    lictor("log", "backup", "kept.db")
    assert "it is sealed" in lictor("log", "restore", "kept.db", "--to", "restored")


def test_an_export_without_its_statements_proves_nothing_to_the_old_key(lictor, tmp_path):
    """Whoever takes them away, or changes one, is found; the newest key alone is enough for the newest checkpoint."""
    work(tmp_path)
    lictor("log", "rotate-key", "--yes")
    work(tmp_path)
    lictor("log", "export", "public")
    old, new = keys(lictor)
    told = tmp_path / "public" / "keys"
    text = told.read_text()
    told.write_text(text.replace("key 3", "key 2") if "key 3" in text else text[:-9])
    assert "log_damaged" in lictor("log", "verify", "--export", "public", "--key", old, code=4)
    told.unlink()
    assert "log_damaged" in lictor("log", "verify", "--export", "public", "--key", old, code=4)
    assert "inconsistent" in lictor("log", "verify", "--export", "public", "--key", new, code=1)
    (tmp_path / "aside").write_text(text)
    assert "verified" in lictor("log", "verify", "--export", "public", "--key", old, "--keys", "aside")


def test_a_running_gateway_is_not_cut_off(lictor, tmp_path):
    """It would refuse everything from then on: it has to be stopped first."""
    running = Instance.register(tmp_path / "lictor" / ".lictor", RandomIds())
    assert "gateway processes use this log" in lictor("log", "rotate-key", "--yes", code=3)
    running.close()
    lictor("log", "rotate-key", "--yes")


KILLED = """
import os, sys
from lictor.stores import key_files
from lictor.service.log import rotate
where = {where!r}
def die(*_):
    os._exit(77)
async def die_too(*_, **__):
    os._exit(77)
if where == "commit":
    rotate.change_key = die_too
else:
    setattr(key_files, where, die)
from lictor.cli.main import main
main(["log", "rotate-key", "--yes", "--keep-old"])
"""


@pytest.mark.parametrize("where", ["commit", "take_over"])
def test_killed_between_its_steps(lictor, tmp_path, environment, where):
    """Whatever step it dies before, the log opens, goes on and verifies; the change can be made, or is finished."""
    work(tmp_path)
    first = keys(lictor)
    script = KILLED.format(where=where)
    done = subprocess.run(
        [sys.executable, "-c", script], cwd=tmp_path, env=environment, timeout=200, capture_output=True, check=False
    )
    assert done.returncode == 77, done.stderr
    state = tmp_path / "lictor" / ".lictor"
    after = keys(lictor)
    assert len(after) == (2 if where == "take_over" else 1)
    assert after[0] == first[0]
    work(tmp_path)
    assert "verified" in lictor("log", "verify", "--key", first[0])
    lictor("log", "rotate-key", "--yes")
    work(tmp_path)
    assert not (state / "log.key.next").exists()
    assert keys(lictor)[: len(after)] == after
    assert "verified" in lictor("log", "verify", "--key", first[0])


def test_two_at_once(lictor, tmp_path, environment):
    """One after the other, or one refused: never half of each."""
    work(tmp_path)
    words = [sys.executable, "-m", "lictor", "log", "rotate-key", "--yes"]
    both = [
        subprocess.Popen(words, cwd=tmp_path, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)
        for _ in range(2)
    ]
    for one in both:
        _, said = one.communicate(timeout=200)
        assert b"Traceback" not in said, said
    done = sum(one.returncode == 0 for one in both)
    assert done >= 1
    assert len(keys(lictor)) == 1 + done
    work(tmp_path)
    assert "verified" in lictor("log", "verify")
