"""History, chain, contract and posture into the context policy reads. One type for every action, so an unscoped forbid validates.

Refuses to know how any of it was gathered: it is all in the snapshot.
"""

from collections.abc import Iterable, Mapping
from typing import Any, Final

from lictor.model.containment import POSTURE
from lictor.model.contract import Contract, ContractSource
from lictor.model.history import Origin
from lictor.model.ids import AgentId
from lictor.model.snapshot import Snapshot
from lictor.pdp.shapes import quoted

HISTORY_CONTEXT: Final = (
    "chain: {depth: Long, agents: Set<String>}, "
    "origin: {task: Set<String>, declared: Set<String>, directory: Set<String>, tool: Set<String>, nowhere: Set<String>, "
    "vouched: Set<String>, tainted: Set<String>, labels: Set<String>}, "
    "posture: Long, "
    "contract?: {source: String, confirmed: Bool, bound: Set<String>}"
)
"""Cedar record members of every action's context. Sets of `origin` hold names of watched arguments; its `labels` hold
`name=label` and `name=family`. `vouched`: named by the task, declared or in the directory. `tainted`: not vouched, and carried
by a result that has a label of the family `untrusted`."""


_ORIGINS: Final = ("task", "declared", "directory", "tool", "nowhere", "vouched", "tainted", "labels")
VOUCHING: Final = frozenset({"task", "declared", "directory"})
"""Sources that no content an agent reads can add to."""
UNTRUSTED: Final = "untrusted"
"""The family of labels that a result carries which outsiders can write."""


def measures_context(names: Iterable[str]) -> str:
    """The Cedar type of `measures`: every measure of the bundle, for every action."""
    return "measures: {" + ", ".join(f"{quoted(name)}: Long" for name in sorted(names)) + "}"


def history_facts(snapshot: Snapshot, agent: AgentId, measures: Mapping[str, int]) -> dict[str, Any]:
    """The members of `HISTORY_CONTEXT`, and `measures` as they would be after this request."""
    state = snapshot.task
    parents = [parent.task.agent for parent in snapshot.parents if parent is not None]
    found: dict[str, Any] = {
        "chain": {"depth": len(parents), "agents": sorted({agent, *parents})},
        "origin": origin_facts(snapshot.origins),
        "posture": max([POSTURE[containment.restriction] for containment in snapshot.containments], default=0),
        "measures": dict(measures),
    }
    contract = trusted_contract(state.contract) if state is not None else None
    if contract is not None:
        found["contract"] = contract
    return found


def origin_facts(origins: Mapping[str, Origin]) -> dict[str, list[str]]:
    """Names of watched arguments by where their values come from. Positive evidence only: no source means `nowhere`."""
    facts: dict[str, list[str]] = {name: [] for name in _ORIGINS}
    labelled: set[str] = set()
    # Names in order, and each told once of a fact: so the lists are sorted as they are.
    for name in sorted(origins):
        origin = origins[name]
        forms = {source.partition(":")[0] for source in origin.sources}
        for form in forms or ("nowhere",):
            facts[form].append(name)
        vouched = not VOUCHING.isdisjoint(origin.sources)
        if vouched:
            facts["vouched"].append(name)
        if not origin.labels:
            continue
        families = {label.partition(":")[0] for label in origin.labels}
        if UNTRUSTED in families and not vouched:
            facts["tainted"].append(name)
        labelled.update([f"{name}={label}" for label in (*origin.labels, *families)])
    facts["labels"] = sorted(labelled)
    return facts


def trusted_contract(contract: Contract | None) -> dict[str, Any] | None:
    """A contract as a fact: only one that an application or a person made, or a person confirmed.

    What a model drafted and nobody looked at restricts, but is no evidence of anything.
    """
    if contract is None or (contract.source is ContractSource.DRAFTED and contract.confirmed_by is None):
        return None
    bound = sorted({name for clause in contract.clauses for name in clause.bind})
    return {"source": contract.source.value, "confirmed": contract.confirmed_by is not None, "bound": bound}
