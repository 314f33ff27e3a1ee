"""Who put a bundle in force is on the record: the process, or the person for whom a command did it, and whose files changed."""

from datetime import date
from pathlib import Path

import pytest

from lictor import app as application
from lictor.model.record import BundleActivated, decode_entry
from lictor.policy.starter import starter_files
from lictor.stores.users import owner_of, process_user


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A bundle that nobody has opened."""
    for name, data in starter_files("test:ann", date(2098, 11, 1)).items():
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)
    return tmp_path


def activations(house: application.House) -> list[BundleActivated]:
    """Changes of policy, in order."""
    found = (decode_entry(entry.data).record for entry in house.store.entries())
    return [record for record in found if isinstance(record, BundleActivated)]


async def test_who_put_a_bundle_in_force_and_whose_files_changed_is_recorded(folder: Path) -> None:
    """First the whole folder by this process; then one changed file, by the person whose command it was."""
    house = await application.open_house(folder)
    try:
        assert house.bundle is not None
        (first,) = activations(house)
        owners = {owner_of(folder / path) for path in house.bundle.files}
        assert (first.by, first.authors) == (process_user(), tuple(sorted(owners)))
        changed = folder / "agents.toml"
        changed.write_text(changed.read_text() + "\n# looked at\n")
        assert await house.activate(house.folder.load(), by="os:olga")
        assert (activations(house)[-1].by, activations(house)[-1].authors) == ("os:olga", (owner_of(changed),))
        assert not await house.activate(house.bundle, by="os:olga")
        assert len(activations(house)) == 2
    finally:
        house.close()


async def test_a_file_that_is_gone_since_keeps_no_bundle_from_force_but_no_author_from_being_asked_for(
    folder: Path,
) -> None:
    """The record names nobody; whoever has to know the authors (the second person's check) gets an error instead of a short list."""
    house = await application.open_house(folder)
    try:
        agents = folder / "agents.toml"
        before = agents.read_text()
        agents.write_text(before + "\n# looked at\n")
        bundle, previous = house.folder.load(), house.store.revision()
        agents.unlink()
        with pytest.raises(FileNotFoundError):
            house.authors(previous, bundle)
        assert await house.activate(bundle)
        assert activations(house)[-1].authors == ()
    finally:
        house.close()
