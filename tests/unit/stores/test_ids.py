"""Random identifiers."""

import re

from lictor.stores.ids import RandomIds


def test_ids_are_distinct_and_fit_a_url():
    """128 bits after the prefix, URL-safe, never twice."""
    made = [RandomIds().new("task") for _ in range(1000)]
    assert len(set(made)) == 1000
    assert all(re.fullmatch(r"task_[A-Za-z0-9_-]{22}", one) for one in made)
