"""AgentBarrier's eleven scenarios through a real gateway, as its own command judges them; and gateways that must not pass."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from yardsticks.world import BRIEFLY_S

pytestmark = [pytest.mark.xdist_group("yardsticks"), pytest.mark.timeout(180)]

TESTS = Path(__file__).parents[1]
SCENARIOS = (
    "approval_hold",
    "rejection",
    "argument_binding",
    "replay",
    "outcome_ambiguity",
    "outcome_reconciliation",
    "cancellation",
    "timeout",
    "parallel_barrier",
    "delegation",
    "audit_receipts",
)
WRONG = (
    ("Gateway", "unheld", {"approval_hold": "error", "parallel_barrier": "error"}),
    (
        "Gateway",
        "not_consumed denial_forgotten uncounted unheard",
        {
            "approval_hold": "AB003",
            "rejection": "AB004",
            "replay": "AB007",
            "cancellation": "AB008",
            "timeout": "AB009",
            "audit_receipts": "AB017",
        },
    ),
    (
        "Gateway",
        "unsealed lost_is_done",
        {"argument_binding": "AB005", "outcome_ambiguity": "AB012", "outcome_reconciliation": "error"},
    ),
    ("Loose", "", {"parallel_barrier": "AB010", "delegation": "AB014"}),
)
"""(adapter, what is wrong with its gateway, what the yardstick has to say of which scenario). Every scenario is there."""


def verify(folder: Path, *words: str, adapter: str = "Gateway", mutant: str = "") -> dict[str, Any]:
    """`agentbarrier verify`: each scenario's result by name."""
    report = folder / "report.json"
    timing = ("--tool-timeout", str(BRIEFLY_S), "--operation-timeout", "30")
    command = (Path(sys.executable).parent / "agentbarrier", "verify", f"yardsticks.barrier:{adapter}", *timing)
    environment = {**os.environ, "PYTHONPATH": str(TESTS), "LICTOR_MUTANT": mutant}
    done = subprocess.run(
        [*command, "--strict-skips", "--json", str(report), *words], env=environment, capture_output=True, text=True,
        check=False,
    )  # fmt: skip
    assert report.is_file(), done.stderr
    results = {one["id"]: one for one in json.loads(report.read_text("utf-8"))["results"]}
    assert (done.returncode == 0) is all(one["status"] == "passed" for one in results.values())
    return results


def judged(results: dict[str, Any]) -> dict[str, str]:
    """Status by scenario; what is wrong, where something is."""
    return {name: one["status"] if one["status"] == "passed" else str(one) for name, one in results.items()}


def test_every_scenario_passes(tmp_path: Path) -> None:
    """All eleven, none skipped, in the yardstick's own strictest profile: nothing of a run before what is reviewed."""
    assert judged(verify(tmp_path)) == dict.fromkeys(SCENARIOS, "passed")


def test_siblings_need_not_wait(tmp_path: Path) -> None:
    """Where policy lets the rest of a run go on, only what is reviewed waits."""
    found = verify(tmp_path, "--approval-profile", "per-action", "--scenario", "parallel_barrier", adapter="PerAction")
    assert judged(found) == {"parallel_barrier": "passed"}
    early = [event for event in found["parallel_barrier"]["events"] if event["phase"] == "committed"]
    assert [event["action_id"].rpartition(":")[2] for event in early] == ["sibling", "gated"]


@pytest.mark.parametrize(("adapter", "mutants", "expected"), WRONG)
def test_a_wrong_gateway_fails(tmp_path: Path, adapter: str, mutants: str, expected: dict[str, str]) -> None:
    """Control: what the yardstick passes, it passes because the gateway does it."""
    words = [word for scenario in expected for word in ("--scenario", scenario)]
    found = verify(tmp_path, *words, adapter=adapter, mutant=mutants)
    said = {name: (one["finding"] or {}).get("code", one["status"]) for name, one in found.items()}
    assert said == expected, judged(found)


def test_every_scenario_has_a_control() -> None:
    """A scenario that no wrong gateway fails would say nothing."""
    assert {scenario for _, _, expected in WRONG for scenario in expected} == set(SCENARIOS)
