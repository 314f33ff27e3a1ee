"""One recorded decision looked at again: what was asked, on what facts, and why it came out so. Nothing is decided by it.

Bundles are loaded and compiled once each, from the files kept beside the log, and only a few are kept: old decisions are
explained by the policy they were made under. It takes its time (a child process reads the policies): call it off the loop, with
what was read from the store before. Refuses to know how it is drawn.
"""

import threading
from dataclasses import dataclass
from typing import Final

import msgspec

from lictor.model.action import ActionRequest
from lictor.model.errors import LictorError
from lictor.model.ids import DecisionId, PolicyRevision
from lictor.model.record import DecisionMade, RequestReceived
from lictor.model.snapshot import Snapshot, snapshot_digest
from lictor.pdp.decide import Pdp
from lictor.policy.bundle import Bundle
from lictor.policy.compile import compile_bundle, parse_guarded
from lictor.policy.explain import Explanation, explain
from lictor.policy.load import load_bundle
from lictor.ports import RecordStore
from lictor.service.calls.recorded import rebuilt, received

MAX_BUNDLES: Final = 4
"""Bundles kept compiled."""
MAX_EXPLAINED: Final = 32
"""Explanations kept: each costs the engine some tenths of a second, and a recorded decision never changes."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Sealed:
    """What one decision was made on, proved by its digests."""

    request: ActionRequest
    snapshot: Snapshot


def sealed_facts(store: RecordStore, asked: RequestReceived, made: DecisionMade) -> Sealed | str:
    """What a decision was made on; or in one line why that is not known any more."""
    payload = store.payload(made.request)
    if payload is None:
        return "the arguments and facts were erased with the key of their task"
    request = rebuilt(asked, payload.arguments)
    if received(request) != asked or snapshot_digest(payload.snapshot) != made.snapshot:
        return "what is sealed is not what was recorded; see: lictor log verify"
    try:
        return Sealed(request=request, snapshot=Snapshot.decode(payload.snapshot))
    except msgspec.MsgspecError:
        return "the facts were written by another version of Lictor"


class Kept:
    """The bundles kept beside the log, compiled on demand. May be used from several threads."""

    def __init__(self, store: RecordStore) -> None:
        self._store = store
        self._found: dict[PolicyRevision, tuple[Bundle, Pdp] | str] = {}
        self._explained: dict[DecisionId, Explanation | str] = {}
        self._turn = threading.Lock()

    def files(self, revision: PolicyRevision) -> dict[str, bytes] | None:
        """What `load` needs; None: nothing was kept. Reads the store."""
        return self._store.bundle(revision)

    def load(self, revision: PolicyRevision, files: dict[str, bytes] | None) -> tuple[Bundle, Pdp] | str:
        """A bundle and what it compiles to; or in one line why there is none. Does not read the store."""
        with self._turn:
            if revision not in self._found:
                found = "the policy of that time was not kept" if files is None else _compiled(revision, files)
                self._found[revision] = found
                if len(self._found) > MAX_BUNDLES:
                    del self._found[next(iter(self._found))]
            return self._found[revision]

    def explain(self, made: DecisionMade, files: dict[str, bytes] | None, sealed: Sealed) -> Explanation | str:
        """Why a decision came out as it did; or in one line why nobody can tell. Does not read the store."""
        kept = self.load(made.revision, files)
        with self._turn:
            if made.decision not in self._explained:
                self._explained[made.decision] = kept if isinstance(kept, str) else _explained(*kept, sealed)
                if len(self._explained) > MAX_EXPLAINED:
                    del self._explained[next(iter(self._explained))]
            return self._explained[made.decision]


def _compiled(revision: PolicyRevision, files: dict[str, bytes]) -> tuple[Bundle, Pdp] | str:
    try:
        bundle = load_bundle(files, parse_guarded(files))
        if bundle.revision != revision:
            return "the policy that was kept is not that of the decision; see: lictor log verify"
        return bundle, compile_bundle(bundle)
    except LictorError as error:
        return f"the policy of that time does not compile any more: {error.message[:200]}"


def _explained(bundle: Bundle, pdp: Pdp, sealed: Sealed) -> Explanation | str:
    try:
        return explain(bundle, pdp, sealed.request, sealed.snapshot)
    except LictorError as error:
        return f"it cannot be explained: {error.message[:200]}"
