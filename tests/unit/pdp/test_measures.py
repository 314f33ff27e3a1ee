"""Which measures concern a request, whose totals they are, and what fails closed."""

from typing import Any

import msgspec
import pytest

import bundles
from lictor.model.action import SealedArguments
from lictor.model.decision import Allow, Decision, Deny
from lictor.model.history import Matching, Measure, Per, Reading
from lictor.model.ids import TaskId
from lictor.model.reasons import Reason
from lictor.pdp import tally
from lictor.pdp.decide import decide
from lictor.pdp.measures import asked_of, matches, share_of, values_of
from lictor.pdp.refused import Refused

MEASURES = """\
[measures.spent]
of = "sum"
field = "value:EUR"
per = ["task"]
window = "1d"
where = { tags = ["spends"] }
"""
POLICY = """\
@id("all") @reason("r") @owner("o")
permit (principal, action, resource) when { context.measures.spent <= 10000 };
"""
PDP = bundles.pdp(POLICY, **{"measures.toml": MEASURES})


def asked(name: str = "pay", *, root: str = "t", **arguments: Any) -> Any:
    """A request as measures see it."""
    request = bundles.request(name, arguments or {"amount": "99.00"})
    offering = PDP.offering(request.kind, request.server, request.name)
    assert offering is not None
    return asked_of(request, TaskId(root), offering.entry, PDP.directory, {})


def measure(**parts: Any) -> Measure:
    """One measure."""
    given: dict[str, Any] = {"name": "m", "of": "count", "where": Matching(), "per": (Per.TASK,), "window_ms": 60_000}
    return Measure(**{**given, **parts})


def answer(readings: tuple[Reading, ...] | None, name: str = "pay", **arguments: Any) -> Decision:
    """The decision on these readings."""
    request = bundles.request(name, arguments or {"amount": "99.00"})
    measures = {} if readings is None else {"spent": readings}
    return decide(PDP, request, bundles.snapshot(PDP, request, measures=measures))


def reading(before: int, **parts: Any) -> tuple[Reading, ...]:
    """The reading that belongs to the request of `asked()`."""
    return (Reading(key=share_of(PDP.measures["spent"], asked()).keys[0], version=3, before=before, **parts),)


def test_the_value_includes_the_request() -> None:
    """Up to the limit it runs; a cent above it does not; an action that does not match sees the total without itself."""
    assert isinstance(answer(reading(100)), Allow)
    assert isinstance(answer(reading(101)), Deny)
    assert isinstance(answer(reading(10_000), "read_file", path="/a"), Allow)


@pytest.mark.parametrize(
    "readings",
    [
        None,
        (),
        (Reading(key="spent:other", version=0, before=0),),
        reading(-1),
        reading(0, counted=1),
        reading(tally.MOST),
        reading(tally.MOST - 9_900),
    ],
)
def test_what_was_not_read_is_denied(readings: tuple[Reading, ...] | None) -> None:
    """A missing, foreign, negative or overflowing reading is never a lower number."""
    decision = answer(readings)
    assert isinstance(decision, Deny)
    assert decision.reason is Reason.UNKNOWN_MEASURE


def test_whose_total_it_is() -> None:
    """The key holds the subjects and nothing of window and selector; a child task has its root's."""
    one = share_of(measure(), asked()).keys
    assert one == share_of(measure(window_ms=0, where=Matching(tags=("spends",)), fixed=False), asked()).keys
    assert one != share_of(measure(), asked(root="u")).keys
    assert one != share_of(measure(per=(Per.HUMAN,)), asked()).keys
    tool = measure(per=(Per.TOOL,))
    assert share_of(tool, asked()).keys != share_of(tool, asked("read_file", path="/a")).keys


def test_a_place_is_one_place_however_it_is_written() -> None:
    """Scheme, port, case and a trailing dot open no second budget."""
    per = measure(per=(Per.DESTINATION,))
    urls = ("https://a.example/x", "http://a.example:8080/y", "https://A.EXAMPLE./")
    assert len({share_of(per, asked("fetch", url=url)).keys for url in urls}) == 1
    assert (
        share_of(per, asked("fetch", url="https://b.example/")).keys != share_of(per, asked("fetch", url=urls[0])).keys
    )


@pytest.mark.parametrize(
    "broken",
    [
        measure(per=(Per.DESTINATION,)),
        measure(of="sum", field="value:EUR", where=Matching(actions=("fs/read_file",))),
        measure(of="sum", field="/path"),
        measure(of="sum", field="/nothing"),
        measure(of="distinct", field="/nothing"),
        measure(of="distinct", field="destination"),
        measure(of="distinct", field="resource"),
    ],
)
def test_what_cannot_be_named_is_denied(broken: Measure) -> None:
    """A measure that matches needs its key and its field; nothing missing counts as 0."""
    with pytest.raises(Refused) as refused:
        share_of(broken, asked("read_file", path="/a"))
    assert refused.value.reason is Reason.UNKNOWN_MEASURE


@pytest.mark.parametrize("amount", [-1, 1.0, "1", True, 2**53])
def test_only_whole_numbers_are_summed(amount: Any) -> None:
    """A boolean, a float, a text, a negative or a huge number is no amount."""
    summed = measure(of="sum", field="/n")
    with pytest.raises(Refused):
        share_of(summed, replace_arguments({"n": amount}))
    assert share_of(summed, replace_arguments({"n": 7})).amount == 7


def replace_arguments(arguments: dict[str, Any]) -> Any:
    """The same request with other arguments."""
    changed = asked()
    request = msgspec.structs.replace(
        changed.request, arguments=SealedArguments(msgspec.json.encode(arguments), changed.request.arguments.digest)
    )
    return msgspec.structs.replace(changed, request=request)


def test_other_money_is_another_budget() -> None:
    """A measure of dollars counts no euros."""
    assert share_of(measure(of="sum", field="value:USD"), asked()).amount == 0
    assert share_of(measure(of="sum", field="value:EUR"), asked()).amount == 9_900


def test_of_several_rows_policy_sees_the_greatest() -> None:
    """Values of a distinct count that are in the total already add nothing."""
    distinct = measure(of="distinct", field="/amount")
    share = share_of(distinct, asked())
    assert len(share.members) == 1
    for counted, value in ((0, 5), (1, 4)):
        readings = {"m": (Reading(key=share.keys[0], version=0, before=4, counted=counted),)}
        assert values_of({"m": distinct}, asked(), readings) == {"m": value}


def test_selectors_are_joined() -> None:
    """Every member that is named must hold."""
    entry = asked().entry
    assert matches(Matching(), entry, "fs/pay")
    assert matches(Matching(tags=("other", "spends"), effects=("write",), servers=("fs",)), entry, "fs/pay")
    assert not matches(Matching(tags=("spends",), effects=("read",)), entry, "fs/pay")
    assert not matches(Matching(actions=("fs/pay2",)), entry, "fs/pay")
