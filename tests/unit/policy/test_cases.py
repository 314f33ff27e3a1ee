"""Policy tests as data, and the starter bundle, which must hold its own."""

from datetime import date

import pytest

from bundles import bundle
from lictor.config import load_settings
from lictor.model.errors import OperatorError
from lictor.policy.cases import read_suites, run_suite
from lictor.policy.compile import parse_guarded
from lictor.policy.lint import lint_bundle
from lictor.policy.load import load_bundle
from lictor.policy.problems import BundleRefused
from lictor.policy.starter import AGENT, starter_files

DEFAULTS = '[defaults]\nagent = "coder"\nhuman = "os:alice"\npurpose = "development"\n'


def run(text: str) -> list[str]:
    """What is wrong, case by case."""
    suites = read_suites({"tests/a.toml": (DEFAULTS + text).encode()})
    return [result.problem for result in run_suite(bundle(), suites[0])]


@pytest.mark.parametrize(
    "case",
    [
        'tool = "fs/read_file"\narguments = { path = "a" }\nexpect = "allow"\npolicies = ["reads"]',
        'tool = "fs/write-file/v1.2"\narguments = { path = "a" }\nexpect = "needs_approval"\ngroups = [["owner"]]',
        'tool = "fs/write-file/v1.2"\narguments = { path = "a" }\napproval = ["owner"]\nexpect = "allow"',
        'tool = "fs/write-file/v1.2"\narguments = { path = "a" }\napproval = ["owner"]\napproved_by = "os:alice"\nexpect = "deny"\nreason = "approver_is_requester"',
        'tool = "fs/pay"\narguments = { amount = "5.00" }\nbudget = { EUR = 600 }\nvalue_used = { EUR = 101 }\nexpect = "deny"\nreason = "budget_value"',
        'tool = "fs/fetch"\narguments = { url = "https://evil.example" }\nlabels = ["untrusted:web"]\nexpect = "deny"\nreason = "forbidden"\npolicies = ["leaks"]',
        'resource = { server = "fs", uri = "file:///docs/a" }\nexpect = "allow"',
        'prompt = "fs/ask"\narguments = { topic = "x" }\nexpect = "allow"',
        'feature = "fs/sampling"\nexpect = "needs_approval"',
        'tool = "fs/read_file"\narguments = { path = "a" }\nchanged = true\nexpect = "deny"\nreason = "tool_changed"',
        'tool = "fs/read_file"\narguments = { path = "a" }\nnow = 2027-02-01T00:00:00Z\nexpect = "deny"\nreason = "agent_review_overdue"',
        'tool = "fs/read_file"\narguments = { path = "a" }\ncalls_used = 1000\nexpect = "deny"\nreason = "budget_calls"',
        'tool = "fs/nothing"\nexpect = "deny"\nreason = "unknown_tool"',
    ],
)
def test_cases_hold(case):
    """Every kind of target and every fact a case can bring."""
    assert run(f'[[case]]\nname = "n"\n{case}\n') == [""]


@pytest.mark.parametrize(
    ("case", "said"),
    [
        ('expect = "deny"', "expected deny, got allow (permitted)"),
        ('expect = "needs_approval"', "expected needs_approval"),
        ('expect = "allow"\npolicies = ["writes"]', "expected policy 'writes' to decide, got reads"),
        ('expect = "allow"\ngroups = [["owner"]]', "expected groups owner, got none"),
        ('expect = "allow"\nlabels = ["untrusted"]\nreason = "forbidden"', "expected reason forbidden"),
    ],
)
def test_a_wrong_expectation_fails(case, said):
    """A test that cannot fail is none."""
    (problem,) = run(f'[[case]]\nname = "n"\ntool = "fs/read_file"\narguments = {{ path = "a" }}\n{case}\n')
    assert said in problem


@pytest.mark.parametrize(
    "text",
    [
        "",
        "[[case]]\n",
        '[[case]]\nname = "n"\nexpect = "allow"\n',
        '[[case]]\nname = "n"\nexpect = "yes"\ntool = "a/b"\n',
        '[[case]]\nname = "n"\nexpect = "deny"\ntool = "a/b"\nprompt = "a/b"\n',
        '[[case]]\nname = "n"\nexpect = "deny"\nthing = "x"\n',
        '[[case]]\nname = "n"\nexpect = "deny"\ntool = "a/b"\nreason = "because"\n',
        '[[case]]\nname = "n"\nexpect = "deny"\ntool = "a/b"\narguments = { a = 9007199254740993 }\n',
        "[cases]\n",
        '[things.x]\neffect = "read"\npin = "x"\n[[case]]\nname = "n"\nthing = "x"\nexpect = "allow"\n',
    ],
)
def test_a_malformed_case_is_refused(text):
    """Never a case that is silently not run."""
    with pytest.raises(BundleRefused) as refused:
        read_suites({"tests/a.toml": (DEFAULTS + text).encode()})
    assert all(problem.where.startswith("tests/a.toml") for problem in refused.value.problems)


def test_the_starter_holds_its_own_promises():
    """It loads, has no finding, parses its settings, and passes its own tests."""
    files = starter_files("os:alice", date(2026, 11, 21))
    made = load_bundle(files, parse_guarded(files))
    assert [str(finding) for finding in lint_bundle(made)] == []
    load_settings(files["lictor.toml"].decode())
    assert AGENT in made.agents
    assert "development" in made.purposes
    results = [result for suite in read_suites(files) for result in run_suite(made, suite)]
    assert len(results) == 11
    assert [result.problem for result in results if not result.passed] == []


def test_the_starter_takes_any_person_but_no_injection():
    """What stands in its files is a person's id and nothing else."""
    files = starter_files("os:alice.b+c@host", date(2026, 11, 21))
    load_bundle(files, parse_guarded(files))
    for bad in ('os:a"]\ngroups = ["x"]', "alice", "", "os:a b", "os:\\"):
        with pytest.raises(OperatorError):
            starter_files(bad, date(2026, 11, 21))
