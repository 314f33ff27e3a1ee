"""What `lictor doctor` says of owed work, of the bundle in shadow and of witnesses that disagree."""

import sqlite3
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from lictor.cli import checkup
from lictor.model.errors import StoreError
from lictor.model.record import LogContradicted
from lictor.service.evidence.shadow import Counts, InShadow
from lictor.stores.sqlite import SqliteStore
from store_samples import DIGEST, NOW, batch, erasure, opened, payload


@pytest.fixture
def store(tmp_path: Path) -> Iterator[SqliteStore]:
    """A log of its own."""
    with SqliteStore(tmp_path / "log.db", signer=Ed25519PrivateKey.generate(), origin="test.local/log") as made:
        yield made


async def test_an_owed_scrub_is_told_until_it_is_paid(store: SqliteStore, tmp_path: Path) -> None:
    """Somebody reads an older state while a key is destroyed: doctor says so, and no longer once it is cut off."""
    log = tmp_path / "log.db"
    await store.commit(batch(opened(), payloads=[payload()]))
    assert checkup.erasure(log) == []
    reader = sqlite3.connect(log)
    try:
        reader.execute("BEGIN")
        reader.execute("SELECT count(*) FROM entries").fetchall()
        await store.commit(erasure())
        assert not store.scrub()
        (check,) = checkup.erasure(log)
        assert (check.name, check.state) == ("erasure", "warn")
        assert "lictor log erase" in check.remedy
    finally:
        reader.close()
    assert store.scrub()
    assert checkup.erasure(log) == []


def test_no_log_is_an_error_and_not_a_good_sign(tmp_path: Path) -> None:
    """What cannot be looked at is not said to be well."""
    with pytest.raises(StoreError):
        checkup.erasure(tmp_path / "log.db")
    with pytest.raises(StoreError):
        checkup.contradictions(tmp_path / "log.db", set())


def shadow(size: int = 100, *, followed: bool = True, **counts: Any) -> checkup.Check:
    """The one line about a bundle in shadow."""
    kept = Counts(started_at_ms=NOW, revision=DIGEST, **counts)  # type: ignore[arg-type]
    (check,) = checkup.shadow(InShadow("../candidate", kept), size, followed=followed)
    return check


def test_a_bundle_in_shadow_is_told_with_its_figures() -> None:
    """Which, how far, how many differ; a revision short, as everywhere."""
    assert checkup.shadow(None, 100, followed=False) == []
    check = shadow(judged=9, at=98)
    assert (check.state, check.remedy) == ("ok", "")
    assert check.text == f"../candidate ({DIGEST[:19]}): 9 decisions compared, 0 differ, 0 cannot be told, 2 behind"
    assert shadow(judged=9, differed=2, at=100).remedy == "lictor shadow"


def test_what_a_bundle_in_shadow_lacks_is_a_warning() -> None:
    """Nothing compared, trouble, entries left out, far behind; one that nobody runs is not called late, but said."""
    (nothing,) = checkup.shadow(InShadow("c", None), 5, followed=True)
    assert (nothing.state, "nothing is compared yet" in nothing.text) == ("warn", True)
    trouble = shadow(trouble="the bundle in shadow is refused: \x1b[31mfile 3")
    assert trouble.state == "warn"
    assert "\x1b" not in trouble.text
    dropped = shadow(skipped=7, at=100)
    assert (dropped.state, "7 entries skipped" in dropped.text) == ("warn", True)
    assert shadow(checkup.SHADOW_LATE + 51, at=50).state == "warn"
    assert shadow(checkup.SHADOW_LATE + 50, at=50).state == "ok"
    alone = shadow(checkup.SHADOW_LATE + 51, at=50, followed=False)
    assert (alone.state, "no gateway follows the log now" in alone.text) == ("ok", True)


async def test_a_witness_that_saw_another_log_is_told(store: SqliteStore, tmp_path: Path) -> None:
    """Bad while that witness is asked; of an earlier one a warning stays. Of many the newest, and how many more."""
    log = tmp_path / "log.db"
    await store.commit(batch(opened()))
    assert checkup.contradictions(log, {"w"}) == []
    for number in range(5):
        said = LogContradicted(witness="old" if number < 3 else "w", size=1, seen=9, why=f"knows more: {number}\n")
        await store.commit(batch(said))
    told = checkup.contradictions(log, {"w"})
    assert [(one.name, one.state) for one in told] == [
        ("witness", "warn"),
        ("witness", "bad"),
        ("witness", "bad"),
        ("witness", "warn"),
    ]
    assert "knows more: 4" in told[2].text
    assert "(entry 5)" in told[2].text
    assert "\n" not in told[2].text
    assert told[3].text == "2 earlier contradictions"
