"""`lictor replay` and `lictor backtest` over ten thousand decisions of three bundles, in one process and in several."""

import asyncio
import contextlib
import json
import random
import shutil
import sqlite3
from pathlib import Path
from typing import Any

import pytest

import bundles
from integration.test_cli_backtest import put, run, run_json, spawn
from lictor.config import read_settings
from lictor.stores.clock import SystemClock
from lictor.stores.keys import Keys
from lictor.stores.reader import LogReader
from lictor.stores.sqlite import SqliteStore
from recorded_world import (
    ASKED,
    CHANGED,
    ERASE,
    FETCH,
    FILES,
    GUEST,
    HELD_READ,
    NOTHING,
    PAY,
    POLICY,
    READ,
    RESOURCE,
    STRANGER,
    WRITE,
    WRONG,
    TrafficWorld,
    pour,
    world_bundle,
)

pytestmark = pytest.mark.timeout(300)

STEPS_EACH, COPIES = 450, 6
"""Requests under each bundle; how often each decision stands in the log again, under ids of its own."""
SOME = (READ, FETCH, STRANGER, RESOURCE, GUEST, CHANGED, WRONG, NOTHING, ERASE, WRITE, PAY, ASKED)
WEIGHTS = (5, 5, 5, 5, 3, 3, 3, 3, 1, 2, 2, 1)
BUNDLES = (
    POLICY,
    POLICY.replace("context.measures.reads > 12", "context.measures.reads > 200"),
    POLICY.replace("context.measures.reads > 12", "context.measures.reads > 300").replace(
        "context.destination.external", "false"
    ),
)
UPTO = "900"
"""Entries that the closer looks are at."""


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A bundle, and the log of a gateway that went through three revisions: random requests, approvals, measures, restrictions."""
    folder = tmp_path_factory.mktemp("home")
    run(folder, "init", "fresh", "--no-approver")
    files = bundles.files(**{**FILES, "policies/main.cedar": POLICY})
    files["agents.toml"] = files["agents.toml"].replace(b"review_by = 2027-01-31", b"review_by = 2099-01-31")
    files["lictor.toml"] = (folder / "fresh" / "lictor.toml").read_bytes()
    put(folder / "lictor", files)
    put(folder / "loose", {**files, "policies/main.cedar": BUNDLES[2].encode()})
    path = folder / "lictor"
    settings, chosen = read_settings(path), random.Random(7)
    world = TrafficWorld(world_bundle(BUNDLES[0]), now_ms=SystemClock().now_ms() - 7_200_000)

    async def drive() -> None:
        for policy in BUNDLES:
            world.use(world_bundle(policy))
            for step in (*chosen.choices(SOME, WEIGHTS, k=STEPS_EACH), HELD_READ):
                await world.step(step)

    asyncio.run(drive())
    keys = Keys.open(path / settings.state)
    store = SqliteStore(path / settings.state / "log.db", signer=keys.signer, origin=settings.log_name)
    pour(world.store, store, COPIES)
    store.close()
    return folder


def test_ten_thousand_decisions_replay_identically(home: Path) -> None:
    """Of every kind, by three bundles, in two processes."""
    told = json.loads(spawn(home, "replay", "--jobs", "2", "--json")[0])
    assert told["decisions"] == told["identical"] >= 10_000
    assert told["faults"] == []
    answers: dict[str, int] = {}
    revisions = set()
    with LogReader(home / "lictor" / ".lictor" / "log.db") as log:
        for entry in log.entries():
            record = json.loads(entry.data)["record"]
            if record["type"] == "decision.made":
                answers[record["outcome"]] = answers.get(record["outcome"], 0) + 1
                revisions.add(record["revision"])
    assert len(revisions) == len(BUNDLES)
    assert set(answers) == {"allow", "deny", "needs_approval"}
    assert min(answers.values()) >= 300


def test_a_part_of_the_log(home: Path) -> None:
    """By entries, by time; what cannot be meant is said."""
    first = run_json(home, "replay", "--to", "450", "--jobs", "1")
    assert first == json.loads(spawn(home, "replay", "--to", "450", "--jobs", "2", "--json")[0])
    second = run_json(home, "replay", "--from", "450", "--to", UPTO, "--jobs", "1")
    both = run_json(home, "replay", "--to", UPTO, "--jobs", "1")
    assert first["identical"] + second["identical"] == both["decisions"] > 200
    assert run_json(home, "replay", "--from", "999999")["decisions"] == 0
    assert "0 decisions replayed" in run(home, "replay", "--since", "2099-01-01", "--to", "2000")
    assert "in this order" in run(home, "replay", "--from", "9", "--to", "3", code=5)
    assert "--jobs is 1" in run(home, "replay", "--jobs", "0", code=5)


def requests(database: Path, upto: int) -> list[tuple[str, int]]:
    """(request, number of its decision) up to an entry."""
    with LogReader(database) as log:
        made = [(entry.seq, json.loads(entry.data)["record"]) for entry in log.entries(0, upto)]
    return [(record["request"], seq) for seq, record in made if record["type"] == "decision.made"]


def test_what_was_changed_is_found_where_it_is(home: Path, tmp_path: Path) -> None:
    """A byte of a sealed payload, a payload of another request, a lost bundle: each at its decision, and no other suffers."""
    damaged = tmp_path / "damaged"
    shutil.copytree(home / "lictor", damaged)
    database = damaged / ".lictor" / "log.db"
    (one, at), (other, there), (third, _), *_ = requests(database, 300)
    with contextlib.closing(sqlite3.connect(database)) as connection:
        (sealed,) = connection.execute("SELECT ciphertext FROM payloads WHERE request = ?", (one,)).fetchone()
        flipped = sealed[:100] + bytes([sealed[100] ^ 4]) + sealed[101:]
        connection.execute("UPDATE payloads SET ciphertext = ? WHERE request = ?", (flipped, one))
        moved = connection.execute("SELECT nonce, ciphertext FROM payloads WHERE request = ?", (third,)).fetchone()
        connection.execute("UPDATE payloads SET nonce = ?, ciphertext = ? WHERE request = ?", (*moved, other))
        connection.commit()
    words = ("replay", "--bundle", str(damaged), "--to", UPTO)
    found: list[Any] = [json.loads(spawn(home, *words, "--jobs", jobs, "--json", code=1)[0]) for jobs in ("1", "2")]
    assert found[0] == found[1]
    assert [(fault["seq"], fault["request"], fault["status"]) for fault in found[0]["faults"]] == [
        (at, one, "broken"),
        (there, other, "broken"),
    ]
    assert found[0]["identical"] == found[0]["decisions"] - 2
    assert f"#{at}" in run(home, *words, "--jobs", "1", code=1)
    told = run_json(home, "policy", "backtest", "--bundle", str(damaged), "--jobs", "1", "--task", "none")
    assert sum(told["counts"].values()) == 0
    with contextlib.closing(sqlite3.connect(database)) as connection:
        connection.execute("DELETE FROM bundles")
        connection.commit()
    assert "was not kept" in run(home, "replay", "--bundle", str(damaged), "--to", "200", code=1)


def test_backtest_by_itself(home: Path) -> None:
    """The candidate by `--bundle`, its log by `--log`; grouped, explained, with an example; --guard and --fail-on decide."""
    words = ("backtest", "--bundle", "loose", "--log", str(home / "lictor"), "--to", UPTO, "--agent", "coder")
    told = run(home, *words, "--guard", code=1)
    assert "was denied (forbidden by leaks); is allowed (permitted by reads)" in told
    assert "e.g. req_" in told
    assert run(home, *words, "--fail-on", "newly-allowed,newly_held", code=1)
    words = ("backtest", "--bundle", "loose", "--to", UPTO, "--agent", "guest", "--guard")
    assert run(home, *words, "--fail-on", "newly_allowed,cannot_tell")
    assert "--fail-on is of" in run(home, *words, "--fail-on", "everything", code=5)
