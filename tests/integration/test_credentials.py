"""Credentials on loan through a real gateway: injected where they belong, seen nowhere else, gone when their task is."""

import asyncio
import gc
import json
import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from integration.lent_world import WAYS, Live, Scene
from integration.peers import LICTOR
from lictor.model.lease import LeaseStatus
from lictor.model.record import ExecutionEnded, ExecutionStarted, LeaseAsked, RequestRefused, SignalObserved
from lictor.protocol.scrub import Scrubber, forms

pytestmark = pytest.mark.timeout(180)
CALLS = 10_000


def found_in(scene: Scene, data: bytes) -> set[str]:
    """The canaries that stand in bytes in any form, found without the code under test's filter."""
    return {name for name, value in scene.secrets.items() if any(form in data for form in forms(value))}


def files_of(folder: Path) -> bytes:
    return b"".join(path.read_bytes() for path in folder.rglob("*") if path.is_file())


async def test_what_is_lent_arrives_and_is_never_given_back(tmp_path: Path):
    """Both kinds of server get every canary; the agent sees none, in no form, and a signal says that one was given back."""
    scene = Scene(tmp_path, each=3)
    async with scene.live() as live:
        _, token = await live.task()
        for way in WAYS:
            for server in ("pipe0", "web0"):
                response = await live.echo(token, server, way)
                assert b"removed]" in response.body, (way, server, response.body)
        await live.send(token, "tools/list", {})
        assert not found_in(scene, b"".join(live.seen))
        signals = [record.signal for record in live.records() if isinstance(record, SignalObserved)]
        assert {signal.kind for signal in signals} == {"credential_in_reply"}
        assert any("lease_" in signal.source for signal in signals)
        assert len(signals) < 40  # powers of two, not one each
        assert not found_in(scene, b"".join(entry.data for entry in live.house.store.entries()))
        assert len([record for record in live.records() if isinstance(record, LeaseAsked)]) == 2
    assert not found_in(scene, files_of(tmp_path))


async def test_a_gateway_that_does_not_clean_is_found_out(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """Control: without the scrubber every canary comes back."""
    monkeypatch.setattr(Scrubber, "__bool__", lambda _self: False)
    scene = Scene(tmp_path)
    async with scene.live() as live:
        _, token = await live.task()
        for way in ("plain", "hex"):
            for server in ("pipe0", "web0"):
                await live.echo(token, server, way)
        assert found_in(scene, b"".join(live.seen)) == set(scene.secrets)


async def test_a_secret_in_the_arguments_is_refused_unsent(tmp_path: Path):
    """CRED-13: pasted into a call, whatever its form; recorded, and never stored."""
    scene = Scene(tmp_path)
    canary = scene.secrets["web0-0"]
    async with scene.live() as live:
        _, token = await live.task()
        for text in (f"key {canary}", canary.encode().hex()):
            response = await live.echo(token, "pipe0", text=text)
            assert b"credential_in_arguments" in response.body
        refused = [record for record in live.records() if isinstance(record, RequestRefused)]
        assert [record.reason for record in refused] == ["credential_in_arguments"] * 2
        assert not [record for record in live.records() if isinstance(record, ExecutionStarted) and not record.lease]
    assert not found_in(scene, files_of(tmp_path))


async def test_a_closed_task_s_credentials_are_gone_with_its_connections(tmp_path: Path):
    """Within two seconds: leases over, processes ended; another task's go on."""
    scene = Scene(tmp_path)
    async with scene.live() as live:
        (one, token), (_, other) = await live.task(), await live.task()
        for each in (token, other):
            await live.echo(each, "pipe0")
            await live.echo(each, "web0")
        assert len(live.house.store.leases()) == 4
        began = time.monotonic()
        await live.house.tasks.close(one, by="os:me")
        while [lease for lease in live.house.store.leases() if lease.task == one]:
            assert time.monotonic() - began < 5
            await asyncio.sleep(0.05)
        assert time.monotonic() - began < 2
        assert b"removed]" in (await live.echo(other, "web0")).body
        assert {lease.status for lease in live.house.store.leases()} == {LeaseStatus.ACTIVE}
    # The gateway has ended: what it held was given back.
    from lictor.app import open_house

    house = await open_house(scene.bundle)
    try:
        assert not house.store.leases()
    finally:
        house.close()


async def test_a_lease_for_a_grant_lives_for_one_request(tmp_path: Path):
    """A connection of its own for each; afterwards nothing is on loan."""
    scene = Scene(tmp_path, lease="grant")
    async with scene.live() as live:
        _, token = await live.task()
        await asyncio.gather(*(live.echo(token, server) for server in ("pipe0", "web0") for _ in range(3)))
        async with asyncio.timeout(5):
            while live.house.store.leases():
                await asyncio.sleep(0.05)
        asked = [record for record in live.records() if isinstance(record, LeaseAsked)]
        assert len(asked) == 6
        assert not live.runtime.connections.tasks()
        assert all(b"removed]" in body for body in live.seen)
    assert not found_in(scene, b"".join(live.seen))


def _leases(live: Live) -> int:
    """How many were asked for so far."""
    return len({record.lease.id for record in live.records() if isinstance(record, LeaseAsked)})


async def test_a_connection_is_renewed_with_its_lease(tmp_path: Path):
    """The lease runs out under a long task: the next call has another one, and works."""
    scene = Scene(tmp_path, ttl_s=5)
    async with scene.live() as live:
        _, token = await live.task()
        async with asyncio.timeout(60):
            while _leases(live) < 4:
                for server in ("pipe0", "web0"):
                    assert b"removed]" in (await live.echo(token, server)).body
                await asyncio.sleep(0.2)
        ended = [record for record in live.records() if isinstance(record, ExecutionEnded)]
        assert {record.outcome for record in ended} == {"executed"}


async def test_ten_thousand_calls_show_none_of_a_hundred_canaries(tmp_path: Path):
    """Five started and five remote servers, ten canaries each, giving everything back in ten ways, from eight clients."""
    scene = Scene(tmp_path, started=5, remote=5, each=10)
    assert len(scene.secrets) == 100
    servers = [f"pipe{i}" for i in range(5)] + [f"web{i}" for i in range(5)]
    count = int(os.environ.get("LICTOR_CANARY_CALLS", CALLS))
    async with scene.live() as live:
        tokens = [(await live.task())[1] for _ in range(2)]
        calls = iter([(servers[i % 10], WAYS[i // 10 % 10], tokens[i % 2]) for i in range(count)])
        bad: set[str] = set()
        done = 0

        async def client() -> None:
            nonlocal done
            for server, way, token in calls:
                response = await live.echo(token, server, way)
                assert b"removed]" in response.body, response.body
                done += 1
                if len(live.seen) >= 500:
                    bad.update(found_in_quick(scene, live))

        began = time.perf_counter()
        gc.freeze()
        await asyncio.gather(*(client() for _ in range(8)))
        bad.update(found_in_quick(scene, live))
        print(f"{done} calls in {time.perf_counter() - began:.1f} s")
        assert done == count
        assert not bad
    assert not found_in(scene, files_of(tmp_path))


async def another_gateway(scene: Scene, made: Path, gone: Path) -> asyncio.subprocess.Process:
    """`lictor run` in a process of its own, with a credential in its hands that a program made; it writes what it did."""
    program = (
        "import json, sys, pathlib; told = json.load(sys.stdin); "
        "pathlib.Path(sys.argv[1] if told['do'] == 'issue' else sys.argv[2]).write_text(told['lease']); "
        "print(json.dumps({'secret': {'token': 'tok-' + told['lease']}, 'expires_in': 600, 'handle': 'h', 'revocation': 'rev-' + told['lease']}))"
    )
    command = json.dumps([sys.executable, "-c", program, str(made), str(gone)])
    (scene.bundle / "credentials.toml").write_text(
        '[credentials.pipe0]\nserver = "pipe0"\ndestination = "command"\nprovider = "command"\n'
        f'env = {{ CANARY_0 = "{{token}}" }}\noptions = {{ command = {command} }}\n'
    )
    words = [LICTOR, "run", "--bundle", str(scene.bundle), "--server", "pipe0"]
    process = await asyncio.create_subprocess_exec(*words, stdin=-1, stdout=-1, stderr=-1)
    assert process.stdin
    begin = {"protocolVersion": "2025-11-25", "capabilities": {}, "clientInfo": {"name": "t", "version": "1"}}
    message = {"jsonrpc": "2.0", "id": 1, "method": "initialize", "params": begin}
    process.stdin.write(json.dumps(message).encode() + b"\n")
    async with asyncio.timeout(30):
        while not made.exists() or not made.read_text():
            await asyncio.sleep(0.05)
    await asyncio.sleep(0.5)
    return process


async def test_a_task_closed_in_one_gateway_loses_its_lease_in_another(tmp_path: Path):
    """Two processes on one store: the close is committed here, the other process has its credential revoked within two seconds."""
    scene = Scene(tmp_path, started=1, remote=0)
    made, gone = tmp_path / "made", tmp_path / "gone"
    other = await another_gateway(scene, made, gone)
    try:
        async with scene.live() as live:
            (lease,) = live.house.store.leases()
            assert lease.status is LeaseStatus.ACTIVE
            await live.house.tasks.close(lease.task, by="os:me")
            began = time.monotonic()
            async with asyncio.timeout(10):
                while live.house.store.leases() or not gone.exists():
                    await asyncio.sleep(0.02)
            took = time.monotonic() - began
            (ended,) = live.house.store.leases(live_only=False)
            assert (ended.status, ended.why) == (LeaseStatus.REVOKED, "task closed")
            assert gone.read_text() == lease.id
            assert took < 2, took
    finally:
        other.kill()
        await other.wait()


async def test_a_gateway_that_was_killed_leaves_nothing_on_loan(tmp_path: Path):
    """kill -9 with a credential in its hands: the next one on the same folder takes over and ends it, by its sealed note."""
    scene = Scene(tmp_path, started=1, remote=0)
    made, gone = tmp_path / "made", tmp_path / "gone"
    process = await another_gateway(scene, made, gone)
    process.kill()
    await process.wait()
    async with scene.live() as live:
        assert live.house.store.leases()
        async with asyncio.timeout(10):
            while live.house.store.leases():
                await asyncio.sleep(0.05)
        (lease,) = live.house.store.leases(live_only=False)
        assert (lease.status, lease.why) == (LeaseStatus.REVOKED, "its process ended")
    assert gone.read_text() == made.read_text() == lease.id
    kept = files_of(scene.state)
    assert f"rev-{lease.id}".encode() not in kept
    assert f"tok-{lease.id}".encode() not in kept


def found_in_quick(scene: Scene, live: Live) -> set[str]:
    """The characteristic part of each canary, which survives every form but base64; and its base64."""
    data, live.seen[:] = b"".join(live.seen), []
    return found_in(scene, data)


def test_the_process_keeps_no_core_and_cannot_be_read(tmp_path: Path):
    """CRED-07: a gateway's memory is on no disk, and another process of the same user does not get at it."""
    code = "from lictor.app.safekeeping import harden; harden(); import resource; print(resource.getrlimit(resource.RLIMIT_CORE)); print(open('/proc/self/status').read())"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.startswith("(0, 0)")
    json.dumps(done.stdout)
