"""Verifying from the console a log whose key was changed."""

import pytest

from lictor.console.records_verify import Verification
from lictor.records.keychain import KeyChain
from lictor.stores.snapshot import LogSnapshot
from lictor.testing.clock import ManualClock
from rotation_world import commits, open_store, rotate


@pytest.mark.parametrize("known", ["all", "one"])
async def test_all_keys_are_needed_and_suffice(tmp_path, known):
    """With the keys the store found nothing is wrong; with the newest alone (the control) the old checkpoints are."""
    folder = tmp_path / "state"
    await commits(folder, 3)
    await rotate(folder)
    await commits(folder, 2, first=3)
    with open_store(folder) as store:
        keys, newest = store.log_keys, store.newest_checkpoint()
    assert isinstance(keys, KeyChain)
    given = keys if known == "all" else KeyChain(keys.last)
    room = Verification(lambda: LogSnapshot(folder / "log.db"), given, lambda: newest, ManualClock())
    assert room.start("os:test", 6)
    await room.finished()
    done = room.now()
    assert done is not None
    assert done.failed == ""
    assert done.size == 6
    kinds = {one.kind for one in done.faults}
    assert kinds == (set() if known == "all" else {"checkpoint", "inconsistent", "roll"})
