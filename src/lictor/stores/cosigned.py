"""The newest checkpoint that each witness has cosigned, in the state folder: one file a witness. Refuses to know what it says."""

import re
from pathlib import Path
from typing import Final

from lictor.model.errors import StoreError
from lictor.model.reasons import Reason
from lictor.records.note import MAX_TEXT
from lictor.stores.private import private_folder, replace_private

FOLDER: Final = "cosigned"
NAME: Final = re.compile(r"[a-z0-9][a-z0-9_-]{0,63}", re.ASCII)
"""What a witness can be called in the settings: it names a file."""


def read_cosigned(state: Path) -> dict[str, str]:
    """The checkpoints, by the witness's name in the settings.

    Raises:
        StoreError: `log_damaged`: one cannot be read.
    """
    folder = state / FOLDER
    found = {}
    try:
        paths = sorted(one for one in folder.iterdir() if NAME.fullmatch(one.name)) if folder.is_dir() else []
        for path in paths:
            with path.open("rb") as file:
                found[path.name] = file.read(4 * MAX_TEXT).decode()
    except (OSError, UnicodeDecodeError) as error:
        raise StoreError(Reason.LOG_DAMAGED, f"cannot read the cosigned checkpoints in {str(folder)!r:.200}") from error
    return found


def keep_cosigned(state: Path, name: str, note: str) -> None:
    """Keep one in place of the one before it.

    Raises:
        OSError: it cannot be written; the old one stays.
    """
    replace_private(private_folder(state / FOLDER) / name, note.encode())
