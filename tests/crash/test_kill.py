"""kill -9 at every numbered step under load, and at random moments (facts R1, cases FAIL-14 and FAIL-15).

`LICTOR_KILL_ROUNDS` sets the number of rounds; 300 is for every change, 10,000 for a release.
"""

import os
import sys

import pytest

from crash.harness import Worker, campaign, first_violation
from crash.points import JOURNAL_POINTS, LOAD_POINTS, RECOVERY_POINTS

pytestmark = [
    pytest.mark.skipif(sys.platform == "win32", reason="needs fork and SIGKILL"),
    pytest.mark.timeout(3_600),
]
ROUNDS = int(os.environ.get("LICTOR_KILL_ROUNDS", "300"))
SEED = int(os.environ.get("LICTOR_KILL_SEED", "1"))


@pytest.fixture(scope="module")
def worker(tmp_path_factory):
    """One parent of all gateways."""
    made = Worker(tmp_path_factory.mktemp("bundle"))
    yield made
    made.close()


def test_no_kill_breaks_a_promise(worker, tmp_path):
    """After every kill: no effect without decision, none twice, no approval lost, open ends indeterminate, the log whole."""
    faults, totals = campaign(tmp_path, worker, ROUNDS, seed=SEED)
    print(f"\n{totals}")
    assert not faults, "\n".join(faults[:20])
    assert totals.rounds == ROUNDS
    assert totals.replayed > 5 * ROUNDS
    assert totals.effects > ROUNDS
    assert totals.indeterminate > 0
    if ROUNDS >= 300:
        assert not {*LOAD_POINTS, *JOURNAL_POINTS, *RECOVERY_POINTS} - totals.points.keys()


@pytest.mark.parametrize(
    ("mutant", "wanted"),
    [
        ("record_after_effect", "a: effect of"),
        ("check_then_mark", "b: the approval of"),
        ("rerun", "b: execution"),
        ("lost_is_failed", "d: "),
    ],
)
def test_a_wrong_gateway_is_caught(worker, tmp_path, mutant, wanted):
    """Control: the same rounds, the same checks, a gateway that is wrong in one place."""
    faults = first_violation(tmp_path, worker, mutant, wanted, rounds=60, seed=SEED)
    assert any(fault.startswith(wanted) for fault in faults), f"{mutant} was not caught"
