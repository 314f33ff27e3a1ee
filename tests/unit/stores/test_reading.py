"""A row that is not as it was written is said to be damaged, whatever it raises: for every reader in the same words."""

from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from lictor.model.errors import StoreError
from lictor.model.reasons import Reason
from lictor.stores.reader import LogReader
from lictor.stores.reading import decoded
from lictor.stores.sqlite import SqliteStore
from lictor.stores.tail import LogTail


@pytest.mark.parametrize("body", [None, 7, b"", b"{", b"\xff", b"{}"])
def test_a_bad_row_is_damage(body: Any) -> None:
    """No body, a number, nothing, half of one, no text, another's."""
    with pytest.raises(StoreError) as caught:
        decoded("task", "task_1", "open", "", 1, body)
    assert caught.value.reason is Reason.LOG_DAMAGED


def test_what_the_driver_cannot_say_is_an_error_of_the_log(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """On a damaged file the driver may fail at its own message; no reader passes that on as it is."""

    class Broken:
        def execute(self, *_: object) -> object:
            raise UnicodeDecodeError("utf-8", b"\xff", 0, 1, "invalid")

        def close(self) -> None:
            """Nothing."""

    path = tmp_path / "state" / "log.db"
    SqliteStore(path, signer=Ed25519PrivateKey.generate(), origin="a/log").close()
    for kind in (LogReader, LogTail):
        reader = kind(path)
        monkeypatch.setattr(reader, "_connection", Broken())
        with pytest.raises(StoreError):
            reader.size()
