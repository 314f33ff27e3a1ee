"""The halves that stores share cannot be had without the rest."""

import pytest

from lictor.stores.memory import MemoryStore
from lictor.stores.reading import LogReads
from lictor.stores.state import StateReads


@pytest.mark.parametrize("half", [StateReads, LogReads])
def test_a_store_that_forgets_how_to_read_is_never_made(half: type) -> None:
    """It fails at birth, not at the first question; one that knows how is made."""
    with pytest.raises(TypeError, match="abstract"):
        type("Forgetful", (half,), {})()
    known = dict.fromkeys(half.__abstractmethods__, lambda *_: None)  # type: ignore[attr-defined]
    assert type("Whole", (half,), known)()


def test_a_real_one_is_made() -> None:
    """The control: a store of ours answers what its shared half is asked."""
    assert MemoryStore().task("task_none") is None  # type: ignore[arg-type]
