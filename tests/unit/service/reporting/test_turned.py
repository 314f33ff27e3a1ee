"""Reasons in groups."""

from lictor.model.reasons import Reason
from lictor.service.evidence.reporting import turned
from lictor.service.evidence.reporting.turned import GROUPS, NO_REFUSALS, OTHER, group_of


def test_every_reason_is_in_one_place() -> None:
    """A reason is in exactly one group, or is no refusal; a new one is put somewhere."""
    grouped = [Reason(reason) for _, reasons in turned._GROUPS.values() for reason in reasons]
    assert len(grouped) == len(set(grouped))
    assert set(grouped) | NO_REFUSALS == set(Reason)
    assert not set(grouped) & NO_REFUSALS


def test_an_unknown_reason_is_other() -> None:
    """What nobody knows is counted all the same."""
    assert group_of("from a later version") == OTHER
    assert OTHER in GROUPS
