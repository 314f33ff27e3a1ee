"""What would be done to one file of a client, and what was done. Values only."""

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from lictor.cli.clients import KeyPath
from lictor.cli.lifting import Lifted, Moved

Action = Literal["wrap", "already", "remote", "unknown", "unwrap", "kept"]
How = Literal["wrap", "backup", "entries"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """One server in a client's configuration, and what happens to it.

    Attributes:
        name: the client's name for it.
        where: its keys from the root of the file.
        action: `wrap`, `unwrap`, or why it is left alone: `already` wrapped, `remote`, `unknown`, `kept`.
        server: the Lictor server name; empty when there is none.
        note: for people; empty when there is nothing to say.
    """

    name: str
    where: KeyPath
    action: Action
    server: str = ""
    note: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """What would be written.

    Attributes:
        path: the file as it was named.
        target: the file behind symbolic links, the one that is written.
        before: its text now. Encoded as UTF-8 it is the file, byte for byte.
        after: its text afterwards; equal to `before` when there is nothing to do.
        entries: every server found, in the order of the file.
        notes: what a person should know about the file as a whole.
        how: `wrap`; for unwrapping `backup` (the old bytes) or `entries` (each entry rewritten back).
        command: the executable written or recognised.
        leftovers: files of ours that go once `after` is in place (unwrapping only).
    """

    path: Path
    target: Path
    before: str
    after: str
    entries: tuple[Entry, ...]
    notes: tuple[str, ...]
    how: How
    command: str
    leftovers: tuple[Path, ...] = ()
    lifted: tuple[Lifted, ...] = ()
    moved: tuple[Moved, ...] = ()
    backup: Path | None = None
    """Where the file as it was is kept, when it holds secrets; None: beside it."""

    @property
    def changed(self) -> bool:
        """Whether there is anything to write."""
        return self.before != self.after


@dataclass(frozen=True, slots=True, kw_only=True)
class Applied:
    """What was done: `backup` is the copy beside the file, None when nothing was written."""

    plan: Plan
    backup: Path | None
