"""A contract's binding holds for the name it was made for, and a count of values counts values."""

import bundles
from lictor.model.catalog import Watch
from lictor.model.contract import Binding, Clause, Contract, ContractSource
from lictor.model.history import Matching, Measure, Per
from lictor.model.ids import TaskId
from lictor.pdp.contract import clause_of
from lictor.pdp.measures import asked_of, share_of
from lictor.pdp.origins.watched import forms_of

BOUND = Contract(
    source=ContractSource.PERSON,
    clauses=(Clause(action="fs/pay", bind={"to": Binding(values=("anna@good.example",), optional=True)}),),
)


def test_a_name_nobody_watches_is_not_an_absent_argument() -> None:
    """A catalogue that no longer watches a bound argument, or another resource of the server, leaves the clause unfit."""
    watch = Watch(pointer="/to", kind="email")
    absent = {"to": forms_of(watch, {})}
    anna, eve = ({"to": forms_of(watch, {"to": to})} for to in ("anna@good.example", "eve@evil.example"))
    assert clause_of(BOUND, (0,), "fs/pay", absent, {}) == (0, True)
    assert clause_of(BOUND, (0,), "fs/pay", anna, {}) == (0, True)
    assert clause_of(BOUND, (0,), "fs/pay", eve, {}) == (-1, False)
    renamed = {"recipient": forms_of(watch, {"to": "eve@evil.example"})}
    assert clause_of(BOUND, (0,), "fs/pay", renamed, {}) == (-1, False)
    assert clause_of(BOUND, (0,), "fs/pay", {}, {}) == (-1, False)


def test_a_list_is_as_many_values_as_it_holds() -> None:
    """Ten recipients in one list are ten, not one new value: else a list hides any number from a distinct count."""
    pdp = bundles.pdp()
    measure = Measure(name="people", of="distinct", where=Matching(), per=(Per.TASK,), window_ms=0, field="/to")
    offering = pdp.named("fs/pay")
    assert offering is not None
    for to, count in (("a", 1), (["a", "b", "c"], 3), (["a", "a"], 1), ([["a"], ["a", "b"]], 2)):
        asked = asked_of(bundles.request("pay", {"to": to}), TaskId("t"), offering.entry, pdp.directory, {})
        assert len(share_of(measure, asked).members) == count, to
