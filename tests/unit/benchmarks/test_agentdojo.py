"""The four bundles and the 97 contracts of the AgentDojo benchmark are good bundles and good contracts. Needs no AgentDojo."""

import json
import tomllib
from pathlib import Path

import pytest

from lictor.cli.main import main
from lictor.model.contract import ContractSource
from lictor.model.errors import CallerError
from lictor.policy.compile import compile_bundle
from lictor.policy.contracts import contract_from
from lictor.stores.bundle_folder import BundleFolder

HERE = Path(__file__).parents[3] / "benchmarks" / "agentdojo"
TASKS = {"banking": 16, "slack": 21, "travel": 20, "workspace": 40}


@pytest.mark.parametrize("suite", TASKS)
def test_bundle_passes_policy_check(suite: str, capsys: pytest.CaptureFixture[str]) -> None:
    """`lictor policy check` finds no error."""
    assert main(["policy", "check", "--bundle", str(HERE / "bundles" / suite), "--json"]) == 0
    assert json.loads(capsys.readouterr().out)


@pytest.mark.parametrize("suite", TASKS)
def test_contracts_name_what_the_catalogue_knows(suite: str) -> None:
    """Every hand-written contract is read and normalised; one with a tool that does not exist is refused."""
    pdp = compile_bundle(BundleFolder(HERE / "bundles" / suite).load())
    document = tomllib.loads((HERE / "contracts" / f"{suite}.toml").read_text("utf-8"))
    reads = [{"action": action} for action in document.pop("reads")]
    assert len(document) == TASKS[suite]
    for task in document.values():
        contract = contract_from({"clauses": [*reads, *task["may"]]}, ContractSource.PERSON, pdp)
        assert len(contract.clauses) == len(reads) + len(task["may"])
        assert task["words"]
    with pytest.raises(CallerError):
        contract_from({"clauses": [{"action": f"{suite}/wipe"}]}, ContractSource.PERSON, pdp)


@pytest.mark.parametrize("suite", TASKS)
def test_free_reads_change_nothing(suite: str) -> None:
    """What every contract may read has effect `read` in the catalogue: the control is every tool that writes."""
    pdp = compile_bundle(BundleFolder(HERE / "bundles" / suite).load())
    reads = tomllib.loads((HERE / "contracts" / f"{suite}.toml").read_text("utf-8"))["reads"]
    effects = {f"{suite}/{name}": found.entry.effect.value for (_, _, name), found in pdp.exact.items()}
    assert {effects[action] for action in reads} == {"read"}
    assert {effect for action, effect in effects.items() if action not in reads} - {"read"}
