"""Every fact a case can bring is put into the snapshot as the gateway would, so structure is tested too."""

import pytest

import bundles
from lictor.model.errors import CallerError
from lictor.policy.cases import facts_of_case, read_suites, run_cases
from lictor.policy.compile import compile_bundle
from lictor.policy.problems import BundleRefused

DEFAULTS = '[defaults]\nagent = "coder"\nhuman = "os:alice"\npurpose = "development"\n'
AGENTS = (
    bundles.FILES["agents.toml"]
    + '\n[agents.chief]\nowner = "carla"\nreview_by = 2027-01-31\ngroups = ["coders"]\n\n[humans."os:alice"]\ngroups = ["staff"]\n'
)
CATALOGUE = bundles.CATALOGUE.replace(
    "value = { amount", 'watch = { to = { pointer = "/to", kind = "account" } }\nvalue = { amount'
)
POLICY = """
@id("reads") @reason("r") @owner("o")
permit (principal in AgentGroup::"coders", action in [Action::"read"], resource);
@id("pays") @reason("r") @owner("o")
permit (principal in AgentGroup::"coders", action in [Action::"spends"], resource)
when { context.origin.task.contains("to") && context.measures.spent <= 1000 };
@id("listed") @reason("r") @owner("o")
permit (principal in AgentGroup::"coders", action in [Action::"spends"], resource)
when { context.origin.directory.contains("to") && context.user.groups.contains("staff") && context.chain.depth == 0 };
"""
PDP = compile_bundle(
    bundles.bundle(
        POLICY,
        **{
            "agents.toml": AGENTS,
            "catalog/fs.toml": CATALOGUE,
            "directory.toml": '[accounts]\nknown = ["DE89370400440532013000"]\n',
            "measures.toml": '[measures.spent]\nof = "sum"\nfield = "value:EUR"\nper = ["task"]\nwindow = "1d"\nwhere = { tags = ["spends"] }\n',
            "signals.toml": '[signals.odd]\nat_least = 0.8\nlay = "step_up"\n',
        },
    )
)
READ = 'tool = "fs/read_file"\narguments = { path = "a" }\n'
PAY = 'tool = "fs/pay"\narguments = { amount = "5.00", to = "DE89370400440532013000" }\nbudget = { EUR = 100000 }\n'
OTHER = 'tool = "fs/pay"\narguments = { amount = "5.00", to = "x" }\nbudget = { EUR = 100000 }\n'


def results(text: str) -> list[str]:
    (suite,) = read_suites({"tests/a.toml": (DEFAULTS + f'[[case]]\nname = "n"\n{text}\n').encode()})
    return [one.problem for one in run_cases(PDP, suite.cases)]


@pytest.mark.parametrize(
    "case",
    [
        PAY + 'expect = "allow"\npolicies = ["listed"]',
        OTHER + 'expect = "deny"\nreason = "not_permitted"',
        OTHER + 'origin = { to = { sources = ["task"] } }\nexpect = "allow"\npolicies = ["pays"]',
        OTHER + 'origin = { to = { sources = ["task"] } }\nmeasures = { spent = 501 }\nexpect = "deny"',
        OTHER + 'origin = { to = { sources = ["task"] } }\nmeasures = { spent = 500 }\nexpect = "allow"',
        PAY + 'human_groups = []\nexpect = "deny"',
        PAY + 'chain = ["chief"]\nexpect = "deny"\nreason = "not_permitted"',
        READ + 'chain = ["chief"]\nexpect = "allow"',
        READ + 'chain = ["guest"]\nexpect = "deny"\nreason = "not_permitted"',
        READ + 'chain = ["coder"]\nexpect = "deny"\nreason = "delegation"',
        READ + 'chain = ["nobody"]\nexpect = "deny"\nreason = "unknown_agent"',
        READ + 'signals = { odd = 0.9 }\nexpect = "needs_approval"\nreason = "contained"',
        READ + 'signals = { odd = 0.79 }\nexpect = "allow"',
        READ + 'containment = [{ restriction = "step_up" }]\nexpect = "needs_approval"\nreason = "contained"',
        READ + 'containment = [{ restriction = "suspended", scope = "server" }]\nexpect = "deny"\nreason = "contained"',
        READ + 'containment = [{ restriction = "suspended", scope = "server", target = "other" }]\nexpect = "allow"',
        READ
        + 'chain = ["chief"]\ncontainment = [{ restriction = "suspended", scope = "owner", target = "carla" }]\nexpect = "deny"',
        READ + 'contract = { clauses = [{ action = "fs/read_file" }] }\nexpect = "allow"',
        READ
        + 'contract = { clauses = [{ action = "fs/read_file", calls = 1 }], used = [1] }\nexpect = "deny"\nreason = "contract_used"',
        READ + 'contract = { clauses = [{ action = "fs/fetch" }] }\nexpect = "deny"\nreason = "outside_contract"',
        PAY
        + 'contract = { clauses = [{ action = "fs/pay", bind = { to = { values = ["DE89 3704 0044 0532 0130 00"] } } }] }\nexpect = "allow"',
        OTHER
        + 'origin = { to = { sources = ["task"] } }\ncontract = { clauses = [{ action = "fs/pay", bind = { to = { sources = ["directory"] } } }] }\nexpect = "deny"\nreason = "outside_contract"',
    ],
)
def test_facts_reach_the_decision(case):
    """Origins, chains, measures, signals, restrictions, contracts and groups, each with what structure makes of it."""
    assert results(case) == [""]


@pytest.mark.parametrize(
    "case",
    [
        READ + "measures = { nothing = 1 }",
        READ + "signals = { nothing = 0.5 }",
        READ + 'origin = { to = { sources = ["task"] } }',
        'tool = "fs/pay"\narguments = { amount = "5.00" }\norigin = { to = { sources = ["task"] } }',
        READ + 'contract = { clauses = [{ action = "fs/nothing" }] }',
    ],
)
def test_a_fact_nobody_reads_is_refused(case):
    """A misspelt fact would make a test say less than it seems to."""
    (suite,) = read_suites({"tests/a.toml": (DEFAULTS + f'[[case]]\nname = "n"\nexpect = "deny"\n{case}\n').encode()})
    with pytest.raises(CallerError):
        facts_of_case(PDP, suite.cases[0])


@pytest.mark.parametrize(
    "case",
    [
        "signals = { odd = 2.0 }",
        'containment = [{ restriction = "gentle" }]',
        'origin = { to = { sources = ["rumour"] } }',
        "contract = { clauses = 3 }",
        'chain = "chief"',
    ],
)
def test_malformed_facts_have_a_place(case):
    """File and line, as for every fault of a bundle."""
    with pytest.raises(BundleRefused) as refused:
        read_suites({"tests/a.toml": (DEFAULTS + f'[[case]]\nname = "n"\nexpect = "deny"\n{READ}{case}\n').encode()})
    assert all(problem.where.startswith("tests/a.toml:") for problem in refused.value.problems)
