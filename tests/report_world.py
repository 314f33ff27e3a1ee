"""A state folder with a story in its log, as `lictor report` finds one: real decisions on a SQLite store, and a few records beside."""

import asyncio
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from random import Random

import bundles
import recorded_world as recorded
from lictor.config import read_settings
from lictor.model.containment import Containment, Restriction, Scope
from lictor.model.ids import AgentId, HumanId, TaskId
from lictor.model.record import AgentChanged, BundleActivated, ContainmentLaid, FindingOpened, Record, SignedIn
from lictor.policy.bundle import Bundle
from lictor.ports import Batch, RecordStore
from lictor.stores.keys import Keys
from lictor.stores.sqlite import SqliteStore

HOUR = 3_600_000
UNTIL = "2026-11-25"
HOSTILE = 'guest\u202egnp.exe`|</bdi></td><script>alert(1)</script>\n\n# Verified\n![x](http://evil.example/a.png) @team #12\x1b[2J\u200b"'
"""A name that would leave its place, pose as ours, load something or move a cursor."""
CONTROLLED = recorded.POLICY.replace('@id("leaks")', '@id("leaks")\n@control("ASI01, AC-4")').replace(
    '@id("pays")', '@id("pays")\n@control("ASI02")'
)


def aside(bundle: Bundle) -> tuple[Record, ...]:
    """What happened besides the calls, two hours before them."""
    return (
        BundleActivated(revision=bundle.revision, previous=None, files=len(bundle.files)),
        AgentChanged(agent=AgentId("coder"), what="reviewed", by="os:alice"),
        SignedIn(human=HumanId("os:bob"), how="passkey"),
        FindingOpened(finding="fnd_1", signal="sig_1", task=TaskId("task_0")),
        ContainmentLaid(
            containment=Containment(
                id="cnt_x", scope=Scope.AGENT, target=HOSTILE, restriction=Restriction.SUSPENDED, by="os:alice"
            )
        ),
    )


def story(store: RecordStore, steps: Sequence[recorded.Step] = recorded.STEPS, policy: str = CONTROLLED) -> Bundle:
    """Play it."""
    bundle = recorded.world_bundle(policy)
    store.keep_bundle(bundle.revision, dict(bundle.files))
    asyncio.run(store.commit(Batch(at_ms=bundles.NOW - 2 * HOUR, records=aside(bundle))))
    recorded.drive(bundle, steps, store)
    return bundle


def deployment(folder: Path, steps: Sequence[recorded.Step] = recorded.STEPS, policy: str = CONTROLLED) -> Path:
    """A bundle folder with its state folder."""
    bundle = recorded.world_bundle(policy)
    for name, data in {**bundle.files, "lictor.toml": b""}.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)
    found = read_settings(folder)
    keys = Keys.open(folder / found.state)
    store = SqliteStore(folder / found.state / "log.db", signer=keys.signer, origin=found.log_name, anchor=None)
    try:
        story(store, steps, policy)
    finally:
        store.close()
    return folder


def many_steps(count: int, seed: int = 1) -> list[recorded.Step]:
    """Steps at random."""
    rng = Random(seed)
    chosen = [rng.choice(recorded.STEPS) for _ in range(count)]
    return [replace(one, minutes=rng.randint(0, 3), contain=False) for one in chosen]
