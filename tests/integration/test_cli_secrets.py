"""`lictor secret` and `lictor leases` as a person uses them: no value on a screen, in a process list or in a file."""

import asyncio
import json
from pathlib import Path

import pytest

import warm
from integration.lent_world import Scene

pytestmark = pytest.mark.timeout(120)
CANARY = "canary-value-77"


def run(scene: Scene, *words: str, given: str = "", code: int = 0) -> str:
    done = warm.run(*words, "--bundle", str(scene.bundle), text=given)
    assert done.returncode == code, (words, done.stdout, done.stderr)
    assert CANARY not in done.stdout + done.stderr
    return done.stdout + done.stderr


def test_secrets_are_kept_listed_rotated_and_removed(tmp_path: Path) -> None:
    """The line break of `echo` is none of the value; a wrong name or a short value is refused."""
    scene = Scene(tmp_path)
    assert "version 1" in run(scene, "secret", "set", "issues", given=f"{CANARY}\n")
    assert "version 2" in run(scene, "secret", "set", "issues", given=f"{CANARY}2\n")
    assert "issues" in run(scene, "secret", "list")
    run(scene, "secret", "set", "wrong name", given=CANARY, code=5)
    run(scene, "secret", "set", "short", given="x", code=5)
    run(scene, "secret", "rotate")
    assert json.loads(run(scene, "secret", "list", "--json"))[0]["name"] == "issues"
    assert CANARY.encode() not in b"".join(path.read_bytes() for path in scene.bundle.rglob("*") if path.is_file())
    run(scene, "secret", "remove", "issues")
    run(scene, "secret", "remove", "issues", code=1)


async def test_leases_are_shown_and_ended_by_hand(tmp_path: Path) -> None:
    """Ended by another process: the gateway drops it and revokes it; its handle and why are shown, its secret never."""
    scene = Scene(tmp_path)
    assert "nothing is on loan" in run(scene, "leases")
    async with scene.live() as live:
        _, token = await live.task()
        await live.echo(token, "web0")
        (lease,) = json.loads(await asyncio.to_thread(run, scene, "leases", "--json"))
        assert (lease["status"], lease["credential"]) == ("active", "web0")
        assert "web0/web0" in await asyncio.to_thread(run, scene, "leases")
        await asyncio.to_thread(run, scene, "leases", "revoke", lease["lease"], "--why", "seen in a ticket")
        async with asyncio.timeout(5):
            while live.house.store.leases():
                await asyncio.sleep(0.05)
        (over,) = json.loads(await asyncio.to_thread(run, scene, "leases", "--all", "--json"))
        assert over["status"] == "revoked"
        assert "seen in a ticket" in over["why"]
        await asyncio.to_thread(run, scene, "leases", "revoke", lease["lease"], code=5)
        async with asyncio.timeout(10):
            while not live.runtime.ready:
                await asyncio.sleep(0.05)
        assert b"removed]" in (await live.echo(token, "web0")).body
