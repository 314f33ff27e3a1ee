"""History as facts: origins by name, contracts only from somebody who answers for them."""

import pytest

from lictor.model.contract import Binding, Clause, Contract, ContractSource
from lictor.model.history import Origin
from lictor.pdp.history import origin_facts, trusted_contract


@pytest.mark.parametrize(
    ("origin", "expected"),
    [
        (Origin(), {"nowhere"}),
        (Origin(labels=("untrusted:web",)), {"nowhere", "tainted"}),
        (Origin(sources=("task",)), {"task", "vouched"}),
        (Origin(sources=("declared",)), {"declared", "vouched"}),
        (Origin(sources=("directory", "tool:a/b"), labels=("untrusted",)), {"directory", "tool", "vouched"}),
        (Origin(sources=("tool:a/b",)), {"tool"}),
        (Origin(sources=("tool:a/b",), labels=("untrusted:mail",)), {"tool", "tainted"}),
        (Origin(sources=("tool:a/b",), labels=("confidential",)), {"tool"}),
    ],
)
def test_an_argument_is_named_where_its_value_comes_from(origin, expected):
    """Vouched is what no content can add to; tainted is what only untrusted content names."""
    facts = origin_facts({"to": origin})
    assert {name for name, found in facts.items() if "to" in found} == expected


def test_labels_are_named_with_their_argument_and_their_family():
    """`to=untrusted:web` and `to=untrusted`."""
    assert origin_facts({"to": Origin(labels=("untrusted:web",))})["labels"] == ["to=untrusted", "to=untrusted:web"]


@pytest.mark.parametrize(
    ("source", "confirmed", "seen"),
    [
        (ContractSource.APPLICATION, None, True),
        (ContractSource.PERSON, None, True),
        (ContractSource.DRAFTED, None, False),
        (ContractSource.DRAFTED, "os:alice", True),
    ],
)
def test_a_draft_nobody_confirmed_is_no_evidence(source, confirmed, seen):
    """It restricts all the same; policy just cannot lean on it."""
    clauses = (Clause(action="a/b", bind={"to": Binding(values=("x",))}), Clause(action="a/c", bind={"by": Binding()}))
    fact = trusted_contract(Contract(source=source, clauses=clauses, confirmed_by=confirmed))
    assert (fact is not None) is seen
    if fact is not None:
        assert fact == {"source": source.value, "confirmed": confirmed is not None, "bound": ["by", "to"]}
