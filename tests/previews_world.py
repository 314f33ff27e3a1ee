"""A previewer on a folder that stands for the servers' file system, for tests of every kind of preview."""

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from lictor.model.action import ActionKind, ActionRequest, SealedArguments
from lictor.model.catalog import CatalogEntry, EffectClass, PathSelector
from lictor.model.preview import Part, Preview
from lictor.pdp.normalise.directory import Directory
from lictor.pdp.normalise.path import paths_to_resolve
from lictor.previews.previewer import Parts, Previews
from lictor.stores.memory import MemoryStore
from lictor.testing.clock import ManualClock

NOW = 1_790_000_000_000


class FolderFiles:
    """`lictor.ports.Files` of a folder that stands for `/`."""

    def __init__(self, base: Path) -> None:
        self._base = str(base)

    async def resolve(self, paths: Mapping[str, str]) -> dict[str, str]:
        found = {key: os.path.realpath(f"{self._base}{path}") for key, path in paths.items()}
        return {key: real.removeprefix(self._base) or "/" for key, real in found.items() if real.startswith(self._base)}


class Bench:
    """One previewer, and how to ask it."""

    def __init__(self, base: Path, directory: Directory | None = None, **parts: Any) -> None:
        self.base = Path(os.path.realpath(base))
        self.files = FolderFiles(self.base)
        self.clock = ManualClock(NOW)
        self.store = MemoryStore()
        self.directory = directory or Directory()
        made = {"clock": self.clock, "store": self.store, "files": self.files, "base": str(self.base), **parts}
        self.previews = Previews(Parts(directory=lambda: self.directory, **made))

    def write(self, path: str, text: str | bytes) -> Path:
        """A file of the servers' file system."""
        place = Path(f"{self.base}{path}")
        place.parent.mkdir(parents=True, exist_ok=True)
        place.write_bytes(text.encode() if isinstance(text, str) else text)
        return place

    async def preview(self, entry: CatalogEntry, arguments: dict[str, Any]) -> Preview:
        """What it would do, paths resolved as the gateway does."""
        resolved: dict[str, str] = {}
        if entry.path is not None:
            try:
                resolved = await self.files.resolve(paths_to_resolve(entry.path, arguments))
            except Exception:  # noqa: BLE001 - the decision refuses such a path; a preview must bear it all the same
                resolved = {}
        found = await self.previews.preview(request(entry, arguments), entry, resolved)
        assert found is not None
        return found

    async def changed(self, preview: Preview) -> str:
        return await self.previews.changed(preview)


def entry(name: str = "tool", *, effect: str = "write", **members: Any) -> CatalogEntry:
    """A catalogue entry of server `s`."""
    return CatalogEntry(server="s", kind=ActionKind.TOOL, name=name, effect=EffectClass(effect), **members)


def paths(*pointers: str, **members: Any) -> PathSelector:
    """Paths below `/ws`, resolved on the host."""
    return PathSelector(pointer=pointers, roots={"ws": "/ws"}, resolve="host", **members)


def request(of: CatalogEntry, arguments: dict[str, Any], agent: str = "a1") -> ActionRequest:
    return ActionRequest.make(
        id="req_1",
        kind=of.kind,
        server=of.server,
        name=of.name,
        arguments=SealedArguments.seal(arguments),
        agent=agent,
        human="os:ada",
        task="task_1",
    )


def told(preview: Preview) -> str:
    """Everything a preview says, as one text."""
    return "\n".join(_part(part) for part in preview.parts)


def _part(part: Part) -> str:
    lines = [f"{line.mark}{line.text}" for line in part.lines]
    rows = [" | ".join(row) for row in part.rows]
    return "\n".join([f"[{part.title}] {part.text}{' !' if part.warning else ''}", *lines, *rows])
