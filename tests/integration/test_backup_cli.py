"""Backup, loss, restore and unsealing as an operator does it; and what `lictor log verify` says of a damaged file."""

import json
import os
import shutil
import sqlite3

import pytest

import warm

pytestmark = [pytest.mark.xdist_group("command line"), pytest.mark.timeout(300)]


@pytest.fixture
def lictor(tmp_path):
    environment = {**os.environ, "HOME": str(tmp_path), "NO_COLOR": "1"}
    environment.pop("LICTOR_BUNDLE", None)

    def run(*words, code=0):
        done = warm.run(*words, cwd=tmp_path, env=environment, timeout=200)
        assert done.returncode == code, (words, done.returncode, done.stdout, done.stderr)
        assert "Traceback" not in done.stderr
        return done.stdout if code in {0, 1} else done.stderr

    run("init")
    return run


def opened(lictor):
    words = ("task", "open", "--agent", "assistant", "--purpose", "development", "--json")
    return json.loads(lictor(*words))


def test_from_backup_to_a_log_that_goes_on(lictor, tmp_path):
    """The disk dies with the newest records: nothing runs on the restored folder until the operator says so, then it goes on."""
    bundle = tmp_path / "lictor"
    with (bundle / "lictor.toml").open("a") as settings:
        settings.write('\n[servers.files]\ncommand = ["true"]\n')
    opened(lictor)
    kept = json.loads(lictor("log", "backup", "kept.db", "--json"))
    assert kept["files"] == ["log.key"]
    assert (tmp_path / "kept.db").stat().st_mode & 0o777 == 0o600
    assert "there already" in lictor("log", "backup", "kept.db", code=3)
    opened(lictor)
    (tmp_path / "newest.txt").write_text(json.loads(lictor("log", "checkpoint", "--json"))["checkpoint"])
    state = bundle / ".lictor"
    assert (state / "log.db").exists()
    shutil.rmtree(state)

    assert "it is sealed" in lictor("log", "restore", "kept.db")
    for words in (("task", "open", "--agent", "assistant", "--purpose", "development"), ("log", "show"), ("serve",)):
        assert "restored_sealed" in lictor(*words, code=4)
    assert "sealed" in lictor("log", "verify")
    assert "--yes" in lictor("log", "unseal", code=1)
    assert "restored_sealed" in lictor("log", "show", code=4)

    told = lictor("log", "unseal", "--yes", "--over", "newest.txt", "--why", "disk died")
    assert "epoch 1" in told
    assert "gone" in told
    assert "not sealed" in lictor("log", "unseal", code=1)
    tasks = json.loads(lictor("task", "list", "--json"))
    assert {task["state"] for task in tasks} == {"closed"}
    opened(lictor)
    assert "verified" in lictor("log", "verify")
    # What was seen outside of the log that was lost still shows that something is missing.
    told = lictor("log", "verify", "--anchor", "newest.txt", code=1)
    assert "rollback" in told or "rewritten" in told
    records = json.loads(lictor("log", "show", "--kind", "privilege", "--json"))
    raised = [one["record"] for one in records if one["record"]["type"] == "privilege.epoch_raised"]
    assert [(one["epoch"], one["restored"], one["why"]) for one in raised] == [(1, kept["size"], "disk died")]
    assert raised[0]["over"] == (tmp_path / "newest.txt").read_text()


def test_a_file_that_is_no_backup_is_refused(lictor, tmp_path):
    """In words, with nothing left behind."""
    (tmp_path / "no.db").write_bytes(b"nothing of ours")
    assert "no backup" in lictor("log", "restore", "no.db", "--to", "elsewhere", code=3)
    assert not list((tmp_path / "elsewhere").iterdir())
    opened(lictor)
    assert "there already" in lictor("log", "restore", "no.db", code=3)


@pytest.mark.parametrize("damage", ["entry", "page", "header"])
def test_verify_says_in_words_what_is_damaged(lictor, tmp_path, damage):
    """Exit 1 with a position where it can be read, 4 where it cannot; never a trace of ours, never `verified`."""
    opened(lictor)
    path = tmp_path / "lictor" / ".lictor" / "log.db"
    connection = sqlite3.connect(path)
    connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    where = connection.execute("SELECT min(seq) FROM entries WHERE instr(data, 'development')").fetchone()[0]
    if damage == "entry":
        connection.execute("DROP TRIGGER entries_update")
        changed = "CAST(replace(data, 'development', 'developmenu') AS BLOB)"
        connection.execute(f"UPDATE entries SET data = {changed} WHERE seq = ?", (where,))
    connection.commit()
    connection.close()
    data = bytearray(path.read_bytes())
    if damage == "page":
        for at in range(4096, len(data), 97):
            data[at] ^= 0x55
    elif damage == "header":
        data[:100] = bytes(100)
    path.write_bytes(data)
    told = warm.run(
        "log", "verify", cwd=tmp_path, env={**os.environ, "HOME": str(tmp_path), "NO_COLOR": "1"}, timeout=200
    )
    assert told.returncode in {1, 4}
    assert "Traceback" not in told.stderr
    assert "verified" not in told.stdout
    assert "damaged" in told.stdout or "log_damaged" in told.stderr
    if damage == "entry":
        assert f"at {where}: entry" in told.stdout
