"""An agent that hands its task on cannot write itself the contract that a policy takes for somebody's word."""

import pytest

import bundles
from lictor.model.contract import Binding, Clause, Contract, ContractSource
from lictor.model.ids import AgentId, HumanId
from lictor.model.task import Budget
from lictor.service.tasks.contract import Contracts
from lictor.service.tasks.delegate import Delegate
from security.house import FEATURES, House, reason

POLICY = """\
@id("bound") @owner("alice") @reason("somebody looked at the bounds")
permit (principal, action, resource) when { context has contract && context.contract.bound.contains("to") };
"""
AGENTS = bundles.FILES["agents.toml"].replace("autonomy = 2\n", 'autonomy = 2\ndelegates_to = ["guest"]\n')
CATALOGUE = bundles.CATALOGUE.replace(
    "[tools.pay]\n", '[tools.pay]\nwatch = { to = { pointer = "/to", kind = "email" } }\n'
)
EVE = "eve@evil.example"
FILES = {"policies/main.cedar": POLICY, "agents.toml": AGENTS, "catalog/fs.toml": CATALOGUE + FEATURES}


@pytest.mark.parametrize("source", list(ContractSource))
@pytest.mark.parametrize("name", [None, HumanId("os:alice")])
async def test_a_childs_contract_is_no_evidence_until_a_person_confirms_it(
    source: ContractSource, name: HumanId | None
) -> None:
    """Whatever the holder of the parent says about who made it; the control is the person's own yes."""
    assert bundles.FILES["agents.toml"] != AGENTS
    house = House(**FILES)
    parent = await house.task()
    assert reason(await house.call(parent, "pay", {"amount": "1.00", "to": EVE})) == "not_permitted"
    contract = Contract(
        source=source, clauses=(Clause(action="fs/pay", bind={"to": Binding(values=(EVE,))}),), confirmed_by=name
    )
    delegate = Delegate(store=house.store, policy=house.policy, clock=house.clock, ids=house.ids, limits=house.limits)
    budget = Budget(calls=5, value={"EUR": 1_000})
    opened = await delegate(
        parent.task.id, agent=AgentId("guest"), ttl_s=60, budget=budget, by="agent", contract=contract
    )
    child = house.store.task(opened.task.id)
    assert child is not None
    assert reason(await house.call(child, "pay", {"amount": "1.00", "to": EVE})) == "not_permitted"
    await Contracts(store=house.store, clock=house.clock).confirm(opened.task.id, by=HumanId("os:alice"))
    assert reason(await house.call(child, "pay", {"amount": "1.00", "to": EVE})) == ""
