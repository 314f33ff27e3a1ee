"""Ids that count."""

from lictor.testing.ids import SequenceIds


def test_each_prefix_counts_for_itself():
    """From 1."""
    ids = SequenceIds()
    assert [ids.new("task"), ids.new("hold"), ids.new("task")] == ["task_1", "hold_1", "task_2"]
