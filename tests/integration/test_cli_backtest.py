"""`lictor policy record`, `backtest`, `draft`, `explain`, `diff --log`, `test --coverage` on a real log, as a person runs them."""

import asyncio
import contextlib
import importlib.util
import io
import json
import os
import shutil
import sqlite3
import subprocess
from pathlib import Path
from typing import Any

import pytest

import bundles
import warm
from integration.peers import LICTOR
from lictor.cli.main import main
from lictor.stores.clock import SystemClock
from lictor.stores.keys import Keys
from lictor.stores.sqlite import SqliteStore
from recorded_world import FETCH, FILES, GUEST, POLICY, READ, STEPS, STRANGER, TrafficWorld

pytestmark = pytest.mark.timeout(180)


def run(folder: Path, *words: str, code: int = 0) -> str:
    """A command in this process; standard output, or standard error where it is refused."""
    told, said = io.StringIO(), io.StringIO()
    with (
        pytest.MonkeyPatch.context() as patch,
        contextlib.chdir(folder),
        contextlib.redirect_stdout(told),
        contextlib.redirect_stderr(said),
    ):
        patch.setenv("HOME", str(folder))
        patch.setenv("LICTOR_BUNDLE", str(folder / "lictor"))
        assert main(words) == code, (words, told.getvalue(), said.getvalue())
    return told.getvalue() if code in {0, 1} else said.getvalue()


def spawn(folder: Path, *words: str, code: int = 0) -> tuple[str, str]:
    """A command as a person starts it; standard output and standard error."""
    environment = {**os.environ, "HOME": str(folder), "NO_COLOR": "1", "LICTOR_BUNDLE": str(folder / "lictor")}
    done = warm.run(*words, cwd=folder, env=environment, timeout=120)
    assert done.returncode == code, (words, done.returncode, done.stdout, done.stderr)
    assert "Traceback" not in done.stderr
    return done.stdout, done.stderr


def run_json(folder: Path, *words: str, code: int = 0) -> Any:
    """A command's result for programs."""
    return json.loads(run(folder, *words, "--json", code=code))


def put(folder: Path, files: dict[str, bytes]) -> None:
    """A bundle folder."""
    for path, data in files.items():
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        (folder / path).write_bytes(data)


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A bundle with a log of traffic, and a careless copy of the bundle."""
    folder = tmp_path_factory.mktemp("home")
    run(folder, "init", "fresh", "--no-approver")
    files = bundles.files(**{**FILES, "policies/main.cedar": POLICY})
    review = "review_by = 2099-01-31"
    files["agents.toml"] = files["agents.toml"].replace(b"review_by = 2027-01-31", review.encode())
    files["lictor.toml"] = (folder / "fresh" / "lictor.toml").read_bytes()
    put(folder / "lictor", files)
    put(
        folder / "careless",
        {
            **files,
            "policies/main.cedar": POLICY.replace(
                " && context.destination.external", " && context.input_opaque"
            ).encode(),
        },
    )
    put(
        folder / "strict",
        {
            **files,
            "policies/main.cedar": POLICY.replace(
                'permit (principal, action in [Action::"write"]', 'forbid (principal, action in [Action::"write"]'
            ).encode(),
        },
    )
    from lictor.config import read_settings
    from lictor.stores.bundle_folder import BundleFolder

    path = folder / "lictor"
    settings = read_settings(path)
    keys = Keys.open(path / settings.state)
    store = SqliteStore(
        path / settings.state / "log.db", signer=keys.signer, origin=settings.log_name, anchor=keys.read_anchor()
    )
    world = TrafficWorld(BundleFolder(path).load(), store, SystemClock().now_ms() - 3_600_000)

    async def drive() -> None:
        for step in (FETCH, STRANGER, *STEPS, READ, FETCH, GUEST):
            await world.step(step)

    asyncio.run(drive())
    store.close()
    return folder


def test_the_unchanged_bundle_differs_in_nothing(home: Path) -> None:
    """Zero differences, in one process and in several; --guard is content."""
    told = run(home, "policy", "backtest", "--guard")
    assert "0 newly allowed, 0 newly denied, 0 newly held" in told
    assert "0 cannot tell" in told
    one = run_json(home, "policy", "backtest")
    assert one["counts"]["unchanged"] > 15
    assert json.loads(spawn(home, "policy", "backtest", "--jobs", "2", "--json")[0]) == one


def test_the_guard_stops_a_careless_bundle(home: Path) -> None:
    """What is newly allowed is named with who, what, why and an example; exit code 1 with --guard only."""
    told, _ = spawn(home, "policy", "backtest", "careless", "--guard", code=1)
    assert "newly allowed" in told
    assert "was denied (forbidden by leaks); is allowed (permitted by reads)" in told
    found = run_json(home, "policy", "backtest", "careless")
    assert found["groups"][0]["kind"] == "newly_allowed"
    assert found["groups"][0]["example"].startswith("req_")
    strict = run_json(home, "policy", "backtest", "strict", "--guard")
    assert strict["counts"]["newly_denied"] > 0
    assert strict["counts"]["newly_allowed"] == 0


def test_a_damaged_log_is_said_by_workers_too(home: Path) -> None:
    """One line and the exit code of the store, whoever met it."""
    damaged = home / "damaged"
    shutil.copytree(home / "lictor", damaged)
    (database,) = damaged.glob(".lictor/log.db")
    with contextlib.closing(sqlite3.connect(database)) as connection:
        for (name,) in connection.execute("SELECT name FROM sqlite_master WHERE type = 'trigger'").fetchall():
            connection.execute(f'DROP TRIGGER "{name}"')
        connection.execute("UPDATE entries SET data = x'7b7d' WHERE seq = 2")
        connection.commit()
    for jobs in ("1", "2"):
        _, said = spawn(home, "policy", "backtest", "--bundle", "damaged", "--jobs", jobs, code=4)
        assert "entry 2 cannot be read" in said


def test_filters_and_errors(home: Path) -> None:
    """Only what is asked for; what is wrong is said in one line."""
    assert sum(run_json(home, "policy", "backtest", "--agent", "guest")["counts"].values()) == 2
    assert sum(run_json(home, "policy", "backtest", "--since", "2099-01-01")["counts"].values()) == 0
    assert sum(run_json(home, "policy", "backtest", "--since", "7d")["counts"].values()) > 15
    assert "is no moment" in run(home, "policy", "backtest", "--since", "yesterday", code=5)
    assert "--jobs is 1" in run(home, "policy", "backtest", "--jobs", "0", code=5)
    assert "is no folder" in run(home, "policy", "backtest", "nowhere", code=3)
    assert "is kept" in run(home, "policy", "backtest", "sha256:00", code=3)


def test_what_was_never_recorded_is_not_guessed(home: Path) -> None:
    """A measure that nobody kept then: cannot tell, and the measure is named."""
    folder = home / "measured"
    shutil.copytree(home / "lictor", folder, ignore=shutil.ignore_patterns(".lictor"))
    text = (folder / "measures.toml").read_text()
    (folder / "measures.toml").write_text(
        text + '\n[measures.fresh]\nof = "count"\nper = ["agent"]\nwindow = "1d"\nwhere = {}\n'
    )
    found = run_json(home, "policy", "backtest", "measured")
    assert found["counts"]["cannot_tell"] > 5
    assert found["different"] == 0
    assert {group["why"] for group in found["groups"]} == {"never recorded: measure fresh"}
    assert found["counts"]["unchanged"] > 0  # refused before any measure is read


def test_recorded_traffic_becomes_a_test(home: Path) -> None:
    """Record, test, see a careless change fail the test; arguments in clear are warned about."""
    bundle = home / "tested"
    shutil.copytree(home / "lictor", bundle, ignore=shutil.ignore_patterns(".lictor"))
    (bundle / "tests").mkdir()
    target = str(bundle / "tests" / "recorded.toml")
    assert run_json(home, "policy", "record", "--agent", "coder", "--out", target)["written"] > 10
    assert oct(Path(target).stat().st_mode & 0o777) == "0o600"
    assert "is there already" in run(home, "policy", "record", "--out", target, code=3)
    told, said = spawn(home, "policy", "record", "--out", target, "--force", "--limit", "3")
    assert "arguments are in clear" in said
    assert "older ones left out" in told
    run(home, "policy", "record", "--out", target, "--force")
    tested = run(home, "policy", "test", "--bundle", "tested", "--coverage")
    assert "0 failed" in tested
    assert "100 % of 6 policies" not in tested
    assert "policies/main.cedar" in tested
    assert "never determining" in tested
    low = run(home, "policy", "test", "--bundle", "tested", "--fail-under", "99", code=1)
    assert "coverage is below 99 %" in low
    data = run_json(home, "policy", "test", "--bundle", "tested", "--coverage")
    assert {one["id"] for one in data["coverage"]["policies"]} >= {"reads", "leaks", "busy"}
    shutil.copy(home / "careless" / "policies" / "main.cedar", bundle / "policies" / "main.cedar")
    failed = run(home, "policy", "test", "--bundle", "tested", code=1)
    assert "expected deny, got allow (permitted)" in failed
    (bundle / "tests" / "recorded.toml").write_text(
        '[[recorded]]\nname = "x"\nexpect = "allow"\nrequest = "{}"\nsnapshot = "{}"\nbasis = "{}"\n'
    )
    assert "not a recorded request" in run(home, "policy", "test", "--bundle", "tested", code=1)


def test_a_draft_is_less_and_enough(home: Path) -> None:
    """It is checked, nothing is newly allowed, no read is lost; it refuses to overwrite; the solver agrees that it is not looser."""
    told = run_json(home, "policy", "draft", "--out", "least")
    assert told["permits"] > 1
    assert [one for one in told["findings"] if one["rule"] not in {"never_matches", "no_task_opens"}] == []
    assert "is there already" in run(home, "policy", "draft", "--out", "least", code=3)
    run(home, "policy", "check", "--bundle", "least")
    found = run_json(home, "policy", "backtest", "least", "--guard")
    assert found["counts"]["newly_allowed"] == 0
    assert not [one for one in found["groups"] if one["looser"]]
    lost = [one for one in found["groups"] if one["was"] == "allow" and one["now"] == "deny"]
    assert not [one for one in lost if one["action"] in {"fs/read_file", "fs/fetch"}]
    text = (home / "least" / "policies" / "observed.cedar").read_text()
    assert 'principal == Agent::"coder"' in text
    assert 'Agent::"guest"' not in text
    assert "used" in text
    if importlib.util.find_spec("z3"):
        diff = run_json(home, "policy", "diff", "lictor", "least", "--log", code=1)
        assert not [one for one in diff["changes"] if one["looser"]]
        assert diff["log"]["counts"]["newly_allowed"] == 0
        run(
            home,
            "policy",
            "prove",
            "--bundle",
            "least",
            "no_policy_errs",
            "no_unapproved_destruction",
            "approval_only_helps",
        )


def test_nothing_observed_nothing_drafted(home: Path) -> None:
    """No traffic: exit code 1, no folder."""
    assert "nothing to draft" in run(home, "policy", "draft", "--since", "2099-01-01", "--out", "empty", code=1)
    assert not (home / "empty").exists()


def test_explain_says_what_would_have_changed_it(home: Path) -> None:
    """A recorded refusal: the forbid, its conditions with their values, and the smallest changes, each with its outcome."""
    groups = run_json(home, "policy", "backtest", "careless")["groups"]
    told = run(home, "policy", "explain", groups[0]["example"], "--verbose")
    assert "forbid leaks" in told
    assert "context.destination.external is true" in told
    assert "it would have been allowed if the task had not seen untrusted, untrusted:web" in told
    assert "if the directory listed https://evil.example:443 under 'docs'" in told
    data = run_json(home, "policy", "explain", groups[0]["example"])
    assert {one["outcome"] for one in data["suggestions"]} == {"allowed"}
    assert any(clause["holds"] for one in data["in_scope"] for clause in one["clauses"])


def test_without_the_solver_diff_still_reads_the_log(home: Path) -> None:
    """`diff --log` without z3 compares the traffic and says what is missing; exit code 1, for nothing is proved."""
    script = (
        "import sys; from importlib import util; found = util.find_spec\n"
        "util.find_spec = lambda name, package=None: None if name == 'z3' else found(name, package)\n"
        "from lictor.cli.main import main; sys.exit(main(sys.argv[1:]))"
    )
    done = subprocess.run(
        [str(Path(LICTOR).with_name("python")), "-c", script, "policy", "diff", "lictor", "careless", "--log"],
        cwd=home, env={**os.environ, "HOME": str(home), "LICTOR_BUNDLE": str(home / "lictor")}, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 1, done.stderr
    assert "not compared in principle" in done.stdout
    assert "newly allowed" in done.stdout
