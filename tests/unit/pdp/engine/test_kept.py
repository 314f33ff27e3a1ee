"""Bounded keeping: weight holds, hot entries survive a stream of new ones."""

from hypothesis import given
from hypothesis import strategies as st

from lictor.pdp.engine.kept import Kept


def test_what_is_put_is_found_and_what_is_not_is_none():
    """A mapping as long as it is not full."""
    kept = Kept(100)
    kept.put("a", 1, 10)
    assert kept.get("a") == 1
    assert kept.get("b") is None


def test_a_stream_of_new_keys_pushes_out_only_its_like():
    """What was used twice is there after any number of keys that were used once; the control was used once."""
    kept = Kept(100)
    kept.put("hot", 1, 10)
    kept.get("hot")
    kept.put("cold", 1, 10)
    for number in range(1_000):
        kept.put(number, number, 10)
    assert kept.get("hot") == 1
    assert kept.get("cold") is None


def test_putting_again_replaces():
    """One entry a key, with its latest weight."""
    kept = Kept(100)
    kept.put("a", 1, 10)
    kept.get("a")
    kept.put("a", 2, 5)
    assert kept.get("a") == 2
    assert kept.weight == 5
    assert len(kept) == 1


@given(st.lists(st.tuples(st.booleans(), st.integers(0, 12), st.integers(1, 9)), max_size=80))
def test_weight_is_bounded_and_true(steps):
    """Whatever is put and asked for: within the limit, and the sum of what is there."""
    kept = Kept(40)
    weights = {}
    for putting, key, weight in steps:
        if putting:
            kept.put(key, key, weight)
            weights[key] = weight
        else:
            assert kept.get(key) in {key, None}
        assert kept.weight <= 40
        assert kept.weight == sum(entry[1] for part in (kept._new, kept._hot) for entry in part.values())
        assert all(entry[1] == weights[key] for part in (kept._new, kept._hot) for key, entry in part.items())


def test_one_that_is_too_heavy_is_alone():
    """A set larger than the trial part is kept, but nothing else is then on trial."""
    kept = Kept(40)
    kept.put("small", 1, 5)
    kept.put("big", 2, 500)
    assert kept.get("small") is None
    assert kept.get("big") == 2
