"""Contracts of the 97 tasks: written by hand from the prompts (`contracts/*.toml`), or made from the ground truth (the oracle).

The file is data for `lictor.policy.contracts.contract_from`, which checks and normalises it as it does anybody's.
"""

import tomllib
from collections import Counter
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

from benchmarks.agentdojo.suites import Step
from lictor.model.catalog import CatalogEntry
from lictor.pdp.origins.watched import forms_of

HERE = Path(__file__).parent
ROWS = ("no contract", "from the prompt", "oracle")


def from_prompt(suite: str) -> dict[str, dict[str, Any]]:
    """The hand-written contracts of a suite, by task."""
    document = tomllib.loads((HERE / "contracts" / f"{suite}.toml").read_text("utf-8"))
    reads = [{"action": action} for action in document.pop("reads")]
    return {task: {"clauses": [*reads, *table["may"]]} for task, table in document.items()}


def oracle(suite: str, steps: Iterable[Step], entry: Callable[[str], CatalogEntry]) -> dict[str, Any]:
    """An upper bound, not a product: exactly the user's tools, as often, with exactly their watched values."""
    counted: Counter[str] = Counter()
    clauses: dict[str, dict[str, Any]] = {}
    for step in steps:
        bind: dict[str, Any] = {}
        for name, watch in entry(step.tool).watch.items():
            values = forms_of(watch, step.arguments)
            forms = [form for form in values if form is not None]
            if len(forms) == len(values):  # what has no form cannot be bound; policy asks about it
                bind[name] = {"values": forms} if forms else {"optional": True}
        key = f"{step.tool} {bind}"
        counted[key] += 1
        clauses[key] = {"action": f"{suite}/{step.tool}", "bind": bind, "calls": counted[key]}
    return {"clauses": list(clauses.values())}


def declared(contract: dict[str, Any] | None) -> dict[str, tuple[str, ...]]:
    """The values a contract spells out, by argument: whoever made the contract vouches for them."""
    found: dict[str, dict[str, None]] = {}
    for clause in contract["clauses"] if contract is not None else ():
        for name, binding in clause.get("bind", {}).items():
            found.setdefault(name, {}).update(dict.fromkeys(binding.get("values", ())))
    return {name: tuple(values) for name, values in found.items()}
