"""Store, policy and use cases of one bundle folder: all that an operator's command needs, with no server running.

Opening refuses to go on when the engine misbehaves, the log is damaged, or another bundle does not load. Refuses to know
servers, connections and HTTP.
"""

import os
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final

from lictor.app.notices import warn
from lictor.app.usecases import use_cases
from lictor.config import Settings, read_settings
from lictor.model.errors import LictorError, OperatorError
from lictor.model.ids import HoldId, PolicyRevision
from lictor.model.reasons import Reason
from lictor.model.record import BundleActivated
from lictor.pdp.engine import selftest
from lictor.policy.bundle import Bundle
from lictor.policy.compile import compile_bundle, compile_files, parse_guarded
from lictor.policy.load import load_bundle
from lictor.ports import Batch, Probe, RecordStore
from lictor.service.containment.contain import Contain
from lictor.service.containment.signals import Signals
from lictor.service.evidence.erase import Erase
from lictor.service.evidence.replay import Replay
from lictor.service.people.approve import Answer
from lictor.service.people.override import Override
from lictor.service.people.reconcile import Reconcile
from lictor.service.people.second_person import SecondPerson
from lictor.service.policy import PolicyInForce
from lictor.service.tasks.applications import Applications
from lictor.service.tasks.contract import Contracts
from lictor.service.tasks.delegate import Delegate
from lictor.service.tasks.opening import Open
from lictor.service.tasks.tasks import Tasks
from lictor.stores.bundle_folder import BundleFolder
from lictor.stores.clock import SystemClock
from lictor.stores.ids import RandomIds
from lictor.stores.keys import Keys
from lictor.stores.probe import DirectProbe, SqliteProbe
from lictor.stores.sqlite import SqliteStore
from lictor.stores.users import owner_of, process_user

MAX_AUTHORS: Final = 20
"""Owners of changed files that a record names."""


@dataclass(slots=True, kw_only=True)
class House:
    """Store, policy and use cases of one bundle folder. `bundle` is the one in force here, None until one is."""

    folder: BundleFolder
    settings: Settings
    state: Path
    keys: Keys
    store: RecordStore
    policy: PolicyInForce
    clock: SystemClock
    ids: RandomIds
    tasks: Tasks
    open: Open
    applications: Applications
    delegate: Delegate
    contain: Contain
    contracts: Contracts
    erase: Erase
    signals: Signals
    answer: Answer
    override: Override
    reconcile: Reconcile
    second_person: SecondPerson
    say: Callable[[str], None] = warn
    """Says a line to whoever runs this process."""
    bundle: Bundle | None = None
    waits: bool = False
    """Whether what is in the folder permits more than what is in force, and waits for a second person."""

    def replay(self) -> Replay:
        """Replays this store's decisions with the bundles kept beside it."""
        return Replay(self.store, compile_files)

    def probe(self) -> Probe:
        """What reads the newest state: past everything that is kept in memory, where there is a file."""
        return SqliteProbe(self.state / "log.db") if isinstance(self.store, SqliteStore) else DirectProbe(self.store)

    def approval_url(self, hold: HoldId) -> str:
        """Where a person answers a hold."""
        return f"{self.settings.people_url}/holds/{hold}"

    async def activate(self, bundle: Bundle, *, by: str = "") -> bool:
        """Put a bundle in force: compiled first, recorded second, swapped third. False when it is in force already.

        Args:
            bundle: what was read of the folder.
            by: who does it, for the record; empty: nobody but this process.

        Raises:
            OperatorError: it does not compile, or `bundle_unapproved`; the previous one stays.
            StoreError: the change cannot be recorded; the previous one stays.
        """
        if self.policy.ready and self.policy.current().revision == bundle.revision:
            return False
        pdp = compile_bundle(bundle)
        previous = self.store.revision()
        self.waits = self.settings.bundle.second_person
        if self.waits:
            await self.second_person.check(previous, bundle)
            self.waits = False
        if previous != bundle.revision:
            self.store.keep_bundle(bundle.revision, bundle.files)
            record = BundleActivated(
                revision=bundle.revision,
                previous=previous,
                files=len(bundle.files),
                by=by or process_user(),
                authors=self._told_authors(previous, bundle),
            )
            await self.store.commit(Batch(at_ms=self.clock.now_ms(), records=(record,)))
        self.policy.swap(pdp)
        self.bundle = bundle
        return True

    def authors(self, previous: PolicyRevision | None, bundle: Bundle) -> tuple[str, ...]:
        """The users of this machine who own a file of the folder that differs from an earlier bundle, in order.

        Raises:
            OSError: one is gone since it was read.
        """
        before = (self.store.bundle(previous) if previous is not None else None) or {}
        changed = [path for path, data in bundle.files.items() if before.get(path) != data]
        return tuple(sorted({owner_of(self.folder.path / path) for path in changed}))

    def _told_authors(self, previous: PolicyRevision | None, bundle: Bundle) -> tuple[str, ...]:
        """For the record: what cannot be found out any more keeps no policy from being put in force."""
        try:
            return self.authors(previous, bundle)[:MAX_AUTHORS]
        except OSError:
            return ()

    def stay(self) -> None:
        """Put the bundle that was in force last in force again, from the files kept beside the log.

        Raises:
            OperatorError: there is none, or it does not load any more.
        """
        revision = self.store.revision()
        files = self.store.bundle(revision) if revision is not None else None
        if files is None:
            raise OperatorError(Reason.NO_POLICY, "no bundle that was in force is kept")
        bundle = load_bundle(files, parse_guarded(files))
        self.policy.swap(compile_bundle(bundle))
        self.bundle = bundle

    def close(self) -> None:
        """Release the store."""
        self.store.close()


def bundle_path(given: str | None) -> Path:
    """The bundle folder: as given, or `$LICTOR_BUNDLE`, or `./lictor`, or `~/.config/lictor`.

    Raises:
        OperatorError: none of them exists.
    """
    home = Path.home() / ".config" / "lictor"
    named = given or os.environ.get("LICTOR_BUNDLE")
    candidates = [Path(named)] if named else [Path("lictor"), home]
    for path in candidates:
        if path.is_dir() and (path / "agents.toml").is_file():
            return path.resolve()
    raise OperatorError(
        Reason.CONFIG_REFUSED,
        f"no bundle in {' or '.join(repr(str(path)) for path in candidates)}",
        remedy="make one with: lictor init",
    )


async def open_house(path: Path, *, load: bool = True) -> House:
    """Open a bundle folder's house.

    Args:
        load: whether to load and activate the bundle; False for commands that must work on a broken one.

    Raises:
        OperatorError: settings or bundle are refused, or the engine fails its self-test.
        StoreError: the log is damaged or cannot be opened.
    """
    settings = read_settings(path)
    state = path / settings.state
    keys = Keys.open(state)
    store = SqliteStore(
        state / "log.db",
        signer=keys.signer,
        origin=settings.log_name,
        anchor=keys.read_anchor(),
        queue_limit=settings.limits.record_queue,
    )
    house = furnish(path, settings, state, replace(keys, chain=store.log_keys), store)
    if load:
        try:
            check_engine()
            await _first(house)
        except LictorError:
            house.close()
            raise
    return house


def furnish(path: Path, settings: Settings, state: Path, keys: Keys, store: RecordStore) -> House:
    """The house round a store that is open; no bundle is in force yet."""
    policy, clock, ids = PolicyInForce(), SystemClock(), RandomIds()
    parts: dict[str, Any] = {"store": store, "policy": policy, "clock": clock, "ids": ids}
    return House(
        folder=BundleFolder(path),
        settings=settings,
        state=state,
        keys=keys,
        **parts,
        **use_cases({**parts, "limits": settings.limits}),
    )


async def _first(house: House) -> None:
    try:
        await house.activate(house.folder.load())
    except OperatorError as error:
        if error.reason is not Reason.BUNDLE_UNAPPROVED:
            raise
        house.stay()
        house.say(f"the last good bundle stays in force: {error}")


def check_engine() -> None:
    """Refuse to decide with an engine that lets through what it must not.

    Raises:
        OperatorError: the self-test failed; it names the checks.
    """
    failures = selftest.run()
    if failures:
        raise OperatorError(
            Reason.POLICY_ERROR,
            f"the policy engine failed its self-test: {'; '.join(failures)[:300]}",
            remedy="reinstall cedarpy; see: lictor doctor",
        )
