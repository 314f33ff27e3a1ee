"""How the life cycles see state: rows by key, and rows changed so far. Shared by every file of this folder."""

from collections.abc import Callable

from lictor.lifecycle.rows import Key, Row

Read = Callable[[Key], Row | None]
Changes = dict[Key, Row | None]
"""New rows by key; None removes the row."""


class Changing:
    """Rows changed by one record, step by step; a later step sees what an earlier one changed."""

    __slots__ = ("_below", "changes")

    def __init__(self, below: Read) -> None:
        self._below = below
        self.changes: Changes = {}

    def read(self, key: Key) -> Row | None:
        """A row as it stands now."""
        return self.changes[key] if key in self.changes else self._below(key)
