"""A person approves a place. Where a link leads somewhere else by the time their answer is used, it is another action."""

import pytest

import bundles
from lictor.model.approval import HoldStatus, seal_of
from lictor.service.people.approve import Proof
from security.house import BOB, FEATURES, House, reason

WRITE = "write-file/v1.2"
ARGUMENTS = {"path": "/ws/notes", "content": "x"}
CATALOGUE = bundles.CATALOGUE.replace(
    f'[tools."{WRITE}"]\n',
    f'[tools."{WRITE}"]\npath = {{ pointer = "/path", roots = {{ ws = "/ws" }}, resolve = "host" }}\n',
)


class Links:
    """A file system with one link."""

    def __init__(self) -> None:
        self.to = "/ws/notes"

    async def resolve(self, paths: dict[str, str]) -> dict[str, str]:
        """Everything leads where the link does."""
        return dict.fromkeys(paths, self.to)


@pytest.mark.parametrize("moved", [True, False])
async def test_an_approval_is_for_the_place_that_was_shown(moved: bool) -> None:
    """A link that moves between question and answer, or answer and use, spends the approval without effect."""
    assert CATALOGUE != bundles.CATALOGUE
    house = House(**{"catalog/fs.toml": CATALOGUE + FEATURES})
    links = Links()
    house.authorize._files = links  # type: ignore[assignment]
    task = await house.task()
    assert reason(await house.call(task, WRITE, ARGUMENTS)) == "needs_approval"
    [hold] = house.store.holds(pending_only=True)
    await house.answer.approve(hold.id, Proof(human=BOB), seal_of(hold))
    links.to = "/ws/.git/hooks/pre-commit" if moved else links.to
    found = reason(await house.call(task, WRITE, ARGUMENTS))
    assert found == ("action_hash_mismatch" if moved else "")
    assert [name for name, _ in house.started()] == ([] if moved else [WRITE])
    kept = house.store.hold(hold.id)
    assert kept is not None
    assert kept.status is (HoldStatus.EXPIRED if moved else HoldStatus.CONSUMED)
    if moved:
        assert reason(await house.call(task, WRITE, ARGUMENTS)) == "needs_approval"
        [again] = house.store.holds(pending_only=True)
        assert again.id != hold.id
