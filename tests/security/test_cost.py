"""One call cannot keep the gateway busy: what policy has to read, and how often, is bounded."""

import json
from dataclasses import replace
from typing import Any

import bundles
from lictor.model.decision import Deny, NeedsApproval
from lictor.model.reasons import Reason
from lictor.pdp.decide import decide
from lictor.policy.catalogue import pin_of

BULK = {
    "name": "bulk",
    "inputSchema": {
        "type": "object",
        "properties": {"items": {"type": "array", "items": {"type": "integer"}}},
        "required": ["items"],
    },
}
GROUPS = [f"g{number}" for number in range(12)]
RULES = "".join(
    f'@id("r{index}") @owner("alice") @reason("x")\npermit (principal, action in [Action::"write"], resource)\n'
    f'when {{ context has approval && context.approval.groups.containsAll(["{one}", "g0", "g5"]) }};\n'
    for index, one in enumerate(GROUPS)
)
READS_IT = (
    '@id("bulk") @owner("alice") @reason("x")\nforbid (principal, action == Action::"fs/bulk", resource)\n'
    "when { context.input.items.contains(13) };\n"
)


class Counting:
    """The real engine; adds up what it was given to read."""

    def __init__(self, engine: Any) -> None:
        self._engine = engine
        self.calls = 0

    def evaluate(self, *request: Any) -> Any:
        self.calls += 1
        return self._engine.evaluate(*request)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._engine, name)


def decided(items: int) -> tuple[Any, int]:
    """The decision on a call with so many list items, and how often the engine read them."""
    catalogue = bundles.CATALOGUE + f'\n[tools.bulk]\neffect = "write"\npin = "{pin_of(BULK)}"\n'
    tools = [bundles.READ, bundles.WRITE, bundles.ERASE, bundles.FETCH, bundles.PAY, BULK]
    made = bundles.pdp(
        bundles.POLICY.replace('groups.contains("owner")', 'groups.containsAll(["owner", "money", "g0"])')
        + RULES
        + READS_IT,
        **{
            "catalog/fs.toml": catalogue,
            "catalog/fs.definitions.json": json.dumps({"tools": tools, "prompts": [bundles.ASK]}),
            "approvers.toml": f'[approvers."os:bob"]\ngroups = {json.dumps([*GROUPS, "owner", "money"])}\n',
        },
    )
    counting = Counting(made.engine)
    pdp = replace(made, engine=counting)
    asked = bundles.request("bulk", {"items": list(range(100, 100 + items))})
    return decide(pdp, asked, bundles.snapshot(pdp, asked)), counting.calls


def test_a_list_nobody_can_read_in_time_is_refused() -> None:
    """A hundred thousand items are refused before the engine reads any.

    Control: unfixed, the engine reads them once for each set of approver groups: 34 s during which nobody else is served.
    """
    decision, calls = decided(99_000)
    assert isinstance(decision, Deny)
    assert decision.reason is Reason.TOO_MANY
    assert calls == 0


def test_long_lists_are_read_less_often() -> None:
    """The longer the input, the fewer sets of groups are tried; what is not tried is demanded, which is stricter.

    Control: unfixed, 5,000 items are read 80 times.
    """
    decision, calls = decided(5_000)
    assert isinstance(decision, NeedsApproval)
    assert calls * 5_000 <= 200_000


def test_short_inputs_are_read_as_often_as_needed() -> None:
    """The other half: the smallest sufficient sets of groups are found for ordinary calls."""
    decision, _ = decided(10)
    assert isinstance(decision, NeedsApproval)
    assert ("g0", "g5") in decision.approvers
