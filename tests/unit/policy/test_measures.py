"""`measures.toml`: what is read, and what is refused with its line."""

import pytest

import bundles
from lictor.model.history import Per
from lictor.policy.problems import BundleRefused

GOOD = """\
[measures.spent]
of = "sum"
field = "value:EUR"
per = ["human", "task"]
window = "1d"
where = { tags = ["spends"] }
since = { actions = ["fs/erase"] }
"""


def test_a_measure_is_read() -> None:
    """Times become milliseconds, subjects get one order, and the file is part of the revision."""
    bundle = bundles.bundle(**{"measures.toml": GOOD})
    measure = bundle.measures["spent"]
    assert (measure.window_ms, measure.per, measure.on) == (86_400_000, (Per.TASK, Per.HUMAN), "started")
    assert measure.since is not None
    assert bundle.revision != bundles.bundle().revision


def test_policy_reads_it_by_name() -> None:
    """A measure is a fact of every action; one that does not exist is no fact."""
    policy = bundles.POLICY.replace("reading is fine", "r") + (
        '\n@id("few")\n@reason("r")\n@owner("alice")\n'
        "forbid (principal, action, resource) when { context.measures.spent > 5 };\n"
    )
    assert bundles.pdp(policy, **{"measures.toml": GOOD}).measures.keys() == {"spent"}


@pytest.mark.parametrize(
    ("change", "line", "message"),
    [
        (('of = "sum"', 'of = "total"'), 2, "of"),
        (('field = "value:EUR"', 'field = "value"'), 3, "what is summed"),
        (('field = "value:EUR"', 'field = "value:USD"'), 3, "no measure sums"),
        (('per = ["human", "task"]', "per = []"), 4, "whose total"),
        (('per = ["human", "task"]', 'per = ["task", "task"]'), 4, "twice"),
        (('per = ["human", "task"]', 'per = ["task", "destination"]'), 4, "per destination"),
        (('window = "1d"', 'window = "1 day"'), 5, "no length of time"),
        (('window = "1d"', 'window = "401d"'), 5, "no length of time"),
        (('window = "1d"', 'window = "0s"'), 5, "no length of time"),
        (('window = "1d"', 'window = "1d"\nuntil = 3'), 6, "unknown key"),
        (('tags = ["spends"]', 'tags = ["spend"]'), 6, "nothing in the catalogue"),
        (('tags = ["spends"]', "tags = []"), 6, "empty list"),
        (('tags = ["spends"]', 'effects = ["write"]'), 3, "has no 'value:EUR'"),
        (('actions = ["fs/erase"]', 'actions = ["fs/raze"]'), 7, "nothing in the catalogue"),
        (("[measures.spent]", "[measures.Spent]"), 1, "a name is"),
        (('window = "1d"', 'window = "forever"\nfixed = true'), 6, "no fixed starts"),
    ],
)
def test_what_would_count_nothing_is_refused(change: tuple[str, str], line: int, message: str) -> None:
    """Every fault has its file and line."""
    with pytest.raises(BundleRefused) as refused:
        bundles.bundle(**{"measures.toml": GOOD.replace(*change)})
    found = [str(problem) for problem in refused.value.problems]
    assert any(text.startswith(f"measures.toml:{line}: ") and message in text for text in found), found


def test_no_more_than_can_be_read_at_every_call() -> None:
    """64 measures, and no more."""
    many = "".join(GOOD.replace("spent", f"m{n}") for n in range(65))
    with pytest.raises(BundleRefused, match="more than 64"):
        bundles.bundle(**{"measures.toml": many})
