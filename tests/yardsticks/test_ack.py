"""AgentAck's nine rules on what a real gateway did under attack, as `agentack check` judges it; and gateways that must not pass."""

import asyncio
import json
import subprocess
import sys
from collections import defaultdict
from pathlib import Path
from typing import Any

import pytest
from agentack.findings import RULES

from yardsticks.ack import POLICY, Trace
from yardsticks.attacks import SETTINGS, Agent
from yardsticks.world import world

pytestmark = [pytest.mark.xdist_group("yardsticks"), pytest.mark.timeout(180)]

REFUSED = {
    "unasked": ["held", "held", "held"],
    "denied": ["held", "approval_denied", "approval_denied"],
    "changed": ["held", "action_hash_mismatch", "ran", "held"],
    "again": ["approval_used"] * 8 + ["held", "ran"],
    "late": ["held", "approval_expired"],
    "around": ["held", "held", "approval_denied"],
    "unanswered": ["held"],
    "stopped": ["ran", "held", "contained", "contained"],
}
"""What the right gateway answers to each try; in parallel, in any order."""
WRONG = (
    ("unheld records_later", {"unasked": {"ACK001", "ACK006"}, "changed": {"ACK006"}}),
    (
        "not_consumed denial_forgotten unsealed never_late deaf",
        {
            "denied": {"ACK002"},
            "changed": {"ACK003"},
            "again": {"ACK004"},
            "late": {"ACK005"},
            "around-2": {"ACK002", "ACK007"},
            "after": {"ACK008"},
        },
    ),
)
"""(what is wrong with the gateway, what the yardstick has to say of which action)."""


async def check(trace: Trace, folder: Path) -> tuple[str, dict[str, set[str]]]:
    """`agentack check`: its verdict, and the rules that each action broke, by the name the agent gave it."""
    path, policy, report = folder / "trace.jsonl", folder / "agentack.toml", folder / "report.json"
    trace.write(path)
    policy.write_text(POLICY, "utf-8")
    command = (Path(sys.executable).parent / "agentack", "check", path, "--policy", policy, "--json", report)
    done = await asyncio.to_thread(subprocess.run, command, capture_output=True, text=True, check=False)
    found: dict[str, Any] = json.loads(report.read_text("utf-8"))["result"]
    assert done.returncode == {"PASS": 0, "FAIL": 1, "INCOMPLETE": 3}[found["status"]], done.stderr
    rules: dict[str, set[str]] = defaultdict(set)
    for one in found["findings"]:
        rules[trace.name(one["action_id"])].add(one["rule_id"])
    return found["status"], dict(rules)


async def test_no_rule_is_broken(tmp_path: Path) -> None:
    """Nine rules, attacked: the trace passes. While somebody is asked and has not answered, it says so."""
    async with world(settings=SETTINGS) as made:
        agent = Agent(made)
        await agent.try_all()
        held = await agent.wait_in_vain()
        assert await check(Trace(made, agent.done), tmp_path) == ("INCOMPLETE", {"unanswered": {"ACK009"}})
        await agent.deny(held, "no")
        await agent.be_stopped()
        agent.answers["again"].sort()
        assert agent.answers == REFUSED
        assert await check(Trace(made, agent.done), tmp_path) == ("PASS", {})


@pytest.mark.parametrize(("mutants", "expected"), WRONG)
async def test_a_wrong_gateway_fails(tmp_path: Path, mutants: str, expected: dict[str, set[str]]) -> None:
    """Control: each rule finds the gateway that breaks it, in the very action that was attacked."""
    async with world(*mutants.split(), settings=SETTINGS) as made:
        agent = Agent(made)
        await agent.try_all()
        await agent.be_stopped()
        status, found = await check(Trace(made, agent.done), tmp_path)
    assert status == "FAIL"
    assert {name: expected[name] - found.get(name, set()) for name in expected} == {name: set() for name in expected}


def test_every_rule_has_a_control() -> None:
    """A rule that no gateway breaks here would say nothing."""
    broken = {rule for _, expected in WRONG for rules in expected.values() for rule in rules}
    assert broken | {"ACK009"} == set(RULES)
