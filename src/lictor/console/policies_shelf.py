"""Bundles compiled for looking, apart from the one that decides: what a page asks never touches the engine in force.

Files are those kept beside the log; a revision that was in force can be looked at for ever. Compiled in a thread, one at a time,
and a few kept. Refuses to know pages.
"""

import asyncio
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final, TypeVar

from lictor.model.errors import CallerError
from lictor.model.ids import PolicyRevision
from lictor.model.reasons import Reason
from lictor.pdp.decide import Pdp
from lictor.policy.bundle import Bundle
from lictor.policy.compile import compile_bundle, parse_guarded
from lictor.policy.lint import Finding, lint_bundle
from lictor.policy.load import check_revision, load_bundle
from lictor.ports import RecordStore

MAX_KEPT: Final = 3
MAX_WAITING: Final = 8
"""Visitors who wait for the thread; more are told to come back."""

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Volume:
    """One revision: what was written, and compiled."""

    bundle: Bundle
    pdp: Pdp


class Shelf:
    """Volumes by revision, and one thread's worth of work on them at a time."""

    def __init__(self, store: RecordStore) -> None:
        self._store = store
        self._kept: OrderedDict[PolicyRevision, Volume] = OrderedDict()
        self._lints: OrderedDict[PolicyRevision, tuple[Finding, ...]] = OrderedDict()
        self._work = asyncio.Lock()
        self._waiting = 0

    async def volume(self, revision: PolicyRevision) -> Volume:
        """One revision.

        Raises:
            CallerError: it was not kept.
            OperatorError: its files are not its own any more, or do not compile any more.
        """
        async with self._work:
            found = self._kept.get(revision)
            if found is None:
                files = self._store.bundle(revision)
                if files is None:
                    raise CallerError(Reason.NO_POLICY, f"no bundle of revision {revision[:80]!r} is kept")
                found = await asyncio.to_thread(_compiled, revision, files)
            self._kept[revision] = found
            self._kept.move_to_end(revision)
            while len(self._kept) > MAX_KEPT:
                self._kept.popitem(last=False)
            return found

    async def lints(self, volume: Volume) -> tuple[Finding, ...]:
        """What there is to say about a bundle."""
        async with self._work:
            revision = volume.bundle.revision
            if revision not in self._lints:
                self._lints[revision] = await asyncio.to_thread(lint_bundle, volume.bundle)
                while len(self._lints) > MAX_KEPT:
                    self._lints.popitem(last=False)
            return self._lints[revision]

    async def work(self, make: Callable[[], T]) -> T:
        """Something long, in a thread, when nobody else's is being done.

        Raises:
            CallerError: `overloaded`: too many wait for it.
        """
        if self._waiting >= MAX_WAITING:
            raise CallerError(Reason.OVERLOADED, "others are being answered: try again in a moment")
        self._waiting += 1
        try:
            async with self._work:
                return await asyncio.to_thread(make)
        finally:
            self._waiting -= 1


def _compiled(revision: PolicyRevision, files: dict[str, bytes]) -> Volume:
    check_revision(revision, files)
    bundle = load_bundle(files, parse_guarded(files))
    return Volume(bundle, compile_bundle(bundle))
