"""Where paths lead on this host, links followed (`lictor.ports.Files`). For servers that share the gateway's file system.

A path that does not exist yet is resolved up to its deepest existing parent. What cannot be resolved for certain is left out, and
the decision refuses it: a link to nowhere (creating through it lands elsewhere), a loop, a parent that may not be read, a change
while looking, an answer that takes too long. Between this look and the server's own use the tree can still change: a root that
somebody else writes to needs a sandbox as well (CVE-2025-53109, CVE-2026-25724). Refuses to know roots and policy.
"""

import asyncio
import os
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Final

THREADS: Final = 2
MAX_WAITING: Final = 64
"""Requests that may wait for the threads; a file system that hangs must not pile up more."""
_PATH_ONLY: Final[int] = getattr(os, "O_PATH", 0)


class HostFiles:
    """Resolves on threads of its own, so that a slow file system delays nobody else."""

    def __init__(self, *, timeout_s: float = 2.0) -> None:
        self._timeout_s = timeout_s
        self._threads: ThreadPoolExecutor | None = None
        self._waiting = 0

    async def resolve(self, paths: Mapping[str, str]) -> dict[str, str]:
        """Real paths by the same keys; without those that cannot be resolved for certain, in time."""
        if self._waiting >= MAX_WAITING:
            return {}
        if self._threads is None:
            self._threads = ThreadPoolExecutor(THREADS, thread_name_prefix="lictor-files")
        self._waiting += 1
        future = asyncio.get_running_loop().run_in_executor(self._threads, _resolve_all, dict(paths))
        future.add_done_callback(self._ended)
        try:
            async with asyncio.timeout(self._timeout_s):
                return await asyncio.shield(future)
        except TimeoutError:
            return {}

    def close(self) -> None:
        """Let the threads end."""
        if self._threads is not None:
            self._threads.shutdown(wait=False, cancel_futures=True)

    def _ended(self, future: "asyncio.Future[dict[str, str]]") -> None:
        self._waiting -= 1
        if not future.cancelled():
            future.exception()


def _resolve_all(paths: dict[str, str]) -> dict[str, str]:
    found = {key: real_path(path) for key, path in paths.items()}
    return {key: real for key, real in found.items() if real is not None}


def real_path(path: str) -> str | None:
    """The path without links, as far as it exists; None when that is not certain."""
    missing: list[str] = []
    existing = path
    while (real := _strictly(existing)) is None:
        parent, name = os.path.split(existing)
        if parent == existing or not _absent(existing):
            return None
        missing.append(name)
        existing = parent
    if missing and not Path(real).is_dir():
        return None
    return str(Path(real, *reversed(missing))) if _is_still(existing, real) else None


def _strictly(path: str) -> str | None:
    try:
        return os.path.realpath(path, strict=True)
    except (OSError, ValueError):
        return None


def _absent(path: str) -> bool:
    """Whether there is certainly nothing of that name; a link to nowhere is something: creating through it lands elsewhere."""
    try:
        os.lstat(path)
    except FileNotFoundError:
        return True
    except (OSError, ValueError):
        return False
    return False


def _is_still(path: str, real: str) -> bool:
    """Open it, and ask the kernel what was opened: the walk above was not one moment. True where that cannot be asked."""
    if not _PATH_ONLY:
        return True
    try:
        descriptor = os.open(path, _PATH_ONLY | os.O_CLOEXEC)
    except OSError:
        return False
    try:
        return str(Path(f"/proc/self/fd/{descriptor}").readlink()) == real
    except OSError:
        return True  # no /proc here: the walk has to do
    finally:
        os.close(descriptor)
