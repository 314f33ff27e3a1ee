"""The example bundles hold what they say: they load, are clean, their cases pass, and every policy is needed."""

import re
from dataclasses import replace
from typing import Any

import msgspec
import pytest

from examples.shelf import EXAMPLES, NAMES, loaded
from integration.peers import lictor
from lictor.config import read_settings
from lictor.model.contract import ContractSource
from lictor.policy.bundle import Bundle
from lictor.policy.casefiles import Suite
from lictor.policy.cases import run_cases, run_suite, suite_pdp
from lictor.policy.compile import compile_bundle
from lictor.policy.contracts import contract_from, explain
from lictor.policy.lint import lint_bundle

LEAST_CASES = 25

pytestmark = pytest.mark.parametrize("name", NAMES)


def test_it_is_clean(name: str) -> None:
    """Bundle and settings load and compile, and the lints find nothing, warnings included."""
    _, bundle, _ = loaded(name)
    compile_bundle(bundle)
    assert read_settings(EXAMPLES / "bundles" / name).servers.keys() == {
        entry.server for entry in bundle.entries if entry.server
    }
    assert [str(finding) for finding in lint_bundle(bundle)] == []


def test_its_cases_pass(name: str) -> None:
    """At least 25 cases, each with the expected answer, at least ten of them denials."""
    _, bundle, suites = loaded(name)
    results = [result for suite in suites for result in run_suite(bundle, suite)]
    assert [(result.case.where, result.case.name, result.problem) for result in results if not result.passed] == []
    assert len(results) >= LEAST_CASES
    assert len({result.case.name for result in results}) == len(results)
    assert sum(result.case.expect == "deny" for result in results) >= 10


def test_every_policy_decides_something(name: str) -> None:
    """Each policy is among the determining ones of some case."""
    _, bundle, suites = loaded(name)
    determining = {
        policy for suite in suites for result in run_suite(bundle, suite) for policy in result.decision.policies
    }
    assert {policy.id for policy in bundle.policies} - determining == set()


def test_every_policy_is_needed(name: str) -> None:
    """Whichever policy is taken away, some case notices."""
    _, bundle, suites = loaded(name)
    for policy in bundle.policies:
        fewer = replace(bundle, policies=tuple(other for other in bundle.policies if other is not policy))
        assert any(_notices(fewer, suite, policy.id) for suite in suites), policy.id


def _notices(bundle: Bundle, suite: Suite, policy: str) -> bool:
    """Whether a case fails; those that name the policy are asked first."""
    pdp = suite_pdp(bundle, suite)
    cases = sorted(suite.cases, key=lambda case: policy not in case.policies)
    return any(not result.passed for case in cases for result in run_cases(pdp, [case]))


def test_its_contract_binds(name: str) -> None:
    """The example contract is one for this catalogue, and everything in it is possible under the policy."""
    _, bundle, _ = loaded(name)
    pdp = compile_bundle(bundle)
    raw: Any = msgspec.toml.decode((EXAMPLES / "contracts" / f"{name}.toml").read_bytes())
    contract = contract_from(raw, ContractSource.PERSON, pdp)
    assert len(explain(contract)) == len(contract.clauses) >= 3
    permitted = {clause.action for clause in contract.clauses}
    for action in permitted:
        offering = pdp.named(action)
        assert offering is not None
        assert any(pdp.engine.may_permit(("Agent", agent), action, offering.resource) for agent in bundle.agents)


def test_two_groups_are_two_people(name: str) -> None:
    """Dual control rests on groups without a person in common, and on four eyes."""
    _, bundle, _ = loaded(name)
    assert bundle.approvers.four_eyes
    assert all(len(groups) == 1 for groups in bundle.approvers.groups_of.values())


def test_annotations_say_why(name: str) -> None:
    """Every policy has a reason and an owner, and every forbid names the control it is for."""
    _, bundle, _ = loaded(name)
    for policy in bundle.policies:
        named = dict(re.findall(r'@(\w+)\("([^"]*)"\)', policy.text))
        assert named["reason"]
        assert named["owner"]
        assert "control" in named or "forbid" not in policy.text.split("(principal")[0].split()


def test_the_commands_agree(name: str) -> None:
    """`policy check` with proofs, and `policy test`, end with 0."""
    bundle = str(EXAMPLES / "bundles" / name)
    for words in (("check", "--require-proofs"), ("test",)):
        done = lictor("policy", *words, "--bundle", bundle)
        assert done.returncode == 0, done.stdout + done.stderr
