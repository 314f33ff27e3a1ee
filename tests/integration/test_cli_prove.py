"""`lictor policy prove`, `diff` and the proofs of `check`, as a person runs them."""

import json
import os
import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest

import warm
from integration.peers import LICTOR

pytestmark = pytest.mark.timeout(180)

LOOSE = """
@id("loose")
@owner("os:me")
@reason("a careless one")
permit (principal, action in [Action::"destructive"], resource) when { principal.autonomy >= 4 };
"""


def run(folder: Path, *words: str, code: int = 0) -> str:
    """A command; standard output, or standard error where it is refused."""
    environment = {**os.environ, "HOME": str(folder), "NO_COLOR": "1"}
    done = warm.run(*words, cwd=folder, env=environment, timeout=120)
    assert done.returncode == code, (words, done.returncode, done.stdout, done.stderr)
    assert "Traceback" not in done.stderr
    return done.stdout if code in {0, 1} else done.stderr


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A home with the starter bundle, and a careless copy of it."""
    folder = tmp_path_factory.mktemp("home")
    run(folder, "init", "lictor", "--no-approver")
    shutil.copytree(folder / "lictor", folder / "careless", ignore=shutil.ignore_patterns(".lictor"))
    policy = folder / "careless" / "policies" / "baseline.cedar"
    text = policy.read_text()
    forbid = 'forbid (\n  principal,\n  action in [Action::"destructive"],\n  resource\n);'
    assert forbid in text
    policy.write_text(text.replace(forbid, forbid[:-1] + "\nwhen { principal.autonomy < 4 };") + LOOSE)
    return folder


def test_the_starter_bundle_is_proved(home: Path) -> None:
    """Every standing claim and every claim of the starter's own holds; exit code 0."""
    told = run(home, "policy", "prove", "--bundle", "lictor")
    assert "BROKEN" not in told
    assert "not proved" not in told
    found = json.loads(run(home, "policy", "prove", "--bundle", "lictor", "--json"))
    assert {one["status"] for one in found["claims"]} == {"proved"}
    assert {"nothing_destroyed", "no_change_unasked", "no_policy_errs"} <= {one["name"] for one in found["claims"]}


def test_a_broken_claim_is_shown_with_a_case(home: Path) -> None:
    """The claim, the policy to blame, and a request that can be pasted; exit code 1."""
    told = run(home, "policy", "prove", "--bundle", "careless", "no_unapproved_destruction", code=1)
    assert told.startswith("BROKEN  no_unapproved_destruction")
    assert "by loose" in told
    assert 'expect = "deny"  # today: allow' in told
    assert "0 of 1 proved" in told
    (found,) = json.loads(run(home, "policy", "prove", "--bundle", "careless", "nothing_destroyed", "--json", code=1))[
        "claims"
    ]
    assert found["status"] == "broken"
    assert found["example"]["answer"] == "allow"
    assert found["example"]["request"]["action"]


def test_a_claim_nobody_made_is_refused(home: Path) -> None:
    """A name that is no claim's is not quietly proved."""
    assert "no claim is called" in run(home, "policy", "prove", "--bundle", "lictor", "no_such", code=5)


def test_check_runs_the_claims(home: Path) -> None:
    """Proved with the bundle, broken with the careless one, which is refused for it."""
    told = run(home, "policy", "check", "--bundle", "lictor", "--require-proofs")
    assert re.search(r"claims: (\d\d) of \1 proved", told), told
    told = run(home, "policy", "check", "--bundle", "careless", code=1)
    assert "BROKEN  no_unapproved_destruction" in told
    assert told.splitlines()[0].startswith("refused") or "refused:" in told


def test_without_the_solver_the_skip_is_seen(home: Path) -> None:
    """No solver: `prove` is refused, `check` says what was skipped, and with --require-proofs it fails."""
    script = (
        "import sys; from importlib import util; found = util.find_spec\n"
        "util.find_spec = lambda name, package=None: None if name == 'z3' else found(name, package)\n"
        "from lictor.cli.main import main; sys.exit(main(sys.argv[1:]))"
    )

    def alone(*words: str) -> Any:
        python = Path(LICTOR).with_name("python")
        return subprocess.run(
            [str(python), "-c", script, *words],
            cwd=home,
            env={**os.environ, "HOME": str(home)},
            capture_output=True,
            text=True,
            check=False,
        )

    refused = alone("policy", "prove", "--bundle", "lictor")
    assert refused.returncode == 3
    assert "pip install 'lictor[prove]'" in refused.stderr
    skipped = alone("policy", "check", "--bundle", "lictor")
    assert skipped.returncode == 0
    assert "not proved, the solver is not installed" in skipped.stdout
    assert alone("policy", "check", "--bundle", "lictor", "--require-proofs").returncode == 1


def test_a_faulty_file_names_its_line(home: Path) -> None:
    """A condition that does not type-check refuses the check, with file and line."""
    broken = home / "broken"
    shutil.copytree(home / "lictor", broken, ignore=shutil.ignore_patterns(".lictor"))
    text = '[invariants.typo]\ntitle = "x"\nwhen = "principal.autonomi > 1"\nnever = "allow"\n'
    (broken / "invariants.toml").write_text(text)
    told = run(home, "policy", "check", "--bundle", "broken", code=1)
    assert "invariants.toml:3" in told
    assert "autonomi" in told


def test_diff_shows_what_became_looser(home: Path) -> None:
    """Alike: exit code 0. A careless copy: 1, with the request, the policy, and how many answers are looser."""
    assert "0 kinds of difference" in run(home, "policy", "diff", "lictor", "lictor")
    told = run(home, "policy", "diff", "lictor", "careless", code=1)
    assert "policy added: loose" in told
    assert "looser  was denied, is allowed  (now by loose)" in told
    found = json.loads(run(home, "policy", "diff", "lictor", "careless", "--json", code=1))
    assert found["complete"]
    assert all(one["status"] == "confirmed" for one in found["changes"])
    assert any(one["looser"] for one in found["changes"])
    assert found["policies"]["changed"] == ["baseline/nothing-destructive"]


def test_diff_takes_a_kept_revision(home: Path) -> None:
    """A revision that was in force is compared from the log's own copy."""
    revision = json.loads(run(home, "policy", "check", "--bundle", "lictor", "--json"))["revision"]
    assert "0 kinds of difference" in run(home, "policy", "diff", "--bundle", "lictor", revision, "lictor")
    assert "is no folder" in run(home, "policy", "diff", "lictor", "nowhere", code=3)
