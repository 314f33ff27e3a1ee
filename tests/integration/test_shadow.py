"""A bundle in shadow beside a real gateway: it records what would differ, and whatever becomes of it, the gateway is the same."""

import asyncio
import contextlib
import os
import shutil
import signal
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import pytest

from integration.stopping import POLICY, Live, Stage
from lictor.app import shadow as module
from lictor.app.shadow import Child
from lictor.model.errors import OperatorError
from lictor.model.reasons import Reason
from lictor.model.record import DecisionMade, ExecutionEnded, ShadowDiffered
from lictor.service.evidence.shadow import COUNTS_FILE, Counts, Shadow

pytestmark = pytest.mark.timeout(180)

STRICT = POLICY.replace('permit (principal, action in Action::"write"', 'forbid (principal, action in Action::"write"')
BROKEN = 'permit (principal, action in Action::"write", resource) when {'
_SLEEPS = (sys.executable, "-c", "import sys, time; [time.sleep(60) for _ in sys.stdin]")
_DIES = (sys.executable, "-c", "import sys; sys.stdin.readline(); sys.exit(3)")
_RAVES = (sys.executable, "-c", "import sys; [print('x' * 999, flush=True) for _ in sys.stdin]")


def stage(folder: Path, candidate: str | None) -> Stage:
    """A stage, with a candidate in shadow whose policies are these."""
    folder.mkdir()
    made = Stage(folder)
    path = made.bundle / "lictor.toml"
    text = path.read_text("utf-8").replace("hold_wait_s = 30.0", "hold_wait_s = 0.0")
    if candidate is not None:
        shutil.copytree(made.bundle, folder / "candidate")
        (folder / "candidate" / "policies" / "test.cedar").write_text(candidate, "utf-8")
        text += '\n[shadow]\nbundle = "../candidate"\n'
    path.write_text(text, "utf-8")
    return made


async def until(happened: Callable[[], Any], within_s: float = 60) -> None:
    async with asyncio.timeout(within_s):
        while not happened():
            await asyncio.sleep(0.02)


async def work(live: Live, meanwhile: Callable[[], Any] = lambda: None) -> list[str]:
    """Some calls; what their client was told."""
    _, token = await live.task()
    told = [await live.call(token, "one"), await live.call(token, "two", tool="peek")]
    meanwhile()
    told += [await live.call(token, "three"), await live.call(token, "four", tool="no_such_tool")]
    return told


def outline(live: Live) -> list[tuple[str, ...]]:
    """The log without shadow's records, and without what differs from one run to the next."""
    found: list[tuple[str, ...]] = []
    for record in live.records():
        tag = str(type(record).__struct_config__.tag)
        if isinstance(record, DecisionMade):
            found.append((tag, record.outcome, record.reason, *record.policies))
        elif isinstance(record, ExecutionEnded):
            found.append((tag, record.outcome, record.reason))
        elif not isinstance(record, ShadowDiffered):
            found.append((tag,))
    return found


def differed(live: Live) -> list[ShadowDiffered]:
    return [record for record in live.records() if isinstance(record, ShadowDiffered)]


def following(live: Live) -> Shadow:
    shadow = live.runtime.shadowed.shadow
    assert shadow is not None
    return shadow


_PLAIN: list[tuple[list[str], list[tuple[str, ...]], list[int]]] = []


async def plain(folder: Path) -> tuple[list[str], list[tuple[str, ...]], list[int]]:
    """What happens without a shadow: answers, log, effects. Found out once."""
    if not _PLAIN:
        _PLAIN.append(await _plain(folder))
    return _PLAIN[0]


async def _plain(folder: Path) -> tuple[list[str], list[tuple[str, ...]], list[int]]:
    made = stage(folder, None)
    async with made.gateway() as live:
        told = await work(live)
        await live.runtime.calls.execute.drain()
        assert live.runtime.shadowed.shadow is None
        return told, outline(live), [len(made.effects(name)) for name in ("one", "two", "three", "four")]


async def test_differences_are_recorded_and_shown(tmp_path: Path) -> None:
    """A stricter candidate: each call it would have denied, with both answers; `lictor shadow` groups them."""
    made = stage(tmp_path / "a", STRICT)
    async with made.gateway() as live:
        await until(lambda: live.runtime.shadowed.shadow is not None)
        await work(live)
        await until(lambda: len(differed(live)) == 2)
        one = differed(live)[0]
        assert (one.action, one.agent, one.was, one.was_policies) == ("clock/tick", "coder", "allow", ("writes",))
        assert (one.outcome, one.reason, one.policies) == ("deny", "forbidden", ("writes",))
        decided = {record.request: record for record in live.records() if isinstance(record, DecisionMade)}
        assert decided[one.request].decision == one.decision
        assert decided[one.request].revision != one.revision
        assert module.followed(made.bundle / ".lictor")
    assert not module.followed(made.bundle / ".lictor")
    (line,) = [one for one in await asyncio.to_thread(made.command, "doctor") if one["name"] == "shadow"]
    assert line["text"].startswith(
        f"../candidate ({one.revision[:19]}): 4 decisions compared, 2 differ, 0 cannot be told, "
    )
    assert (line["state"], line["remedy"]) == ("ok", "lictor shadow")
    kept = msgspec.json.decode((made.bundle / ".lictor" / COUNTS_FILE).read_bytes(), type=Counts)
    assert (kept.judged, kept.differed, kept.recorded, kept.trouble) == (4, 2, 2, "")
    told = await asyncio.to_thread(made.command, "shadow")
    assert told["counts"]["newly_denied"] == 2
    assert [(group["action"], group["count"], group["now"]) for group in told["groups"]] == [("clock/tick", 2, "deny")]
    assert told["gateway"]["judged"] == 4
    assert (await asyncio.to_thread(made.command, "shadow", "--guard"))["suspect"] == 0
    assert (await asyncio.to_thread(made.command, "shadow", "--revision", "feed"))["groups"] == []
    await asyncio.to_thread(made.command, "log", "verify")


SHADOWS: dict[str, tuple[str, tuple[str, ...] | None]] = {
    "strict": (STRICT, None),
    "broken": (BROKEN, None),
    "hangs": (STRICT, _SLEEPS),
    "dies": (STRICT, _DIES),
    "raves": (STRICT, _RAVES),
    "no such program": (STRICT, ("/nonexistent/python",)),
}


@pytest.mark.parametrize("how", SHADOWS)
async def test_the_gateway_is_the_same_whatever_the_shadow_does(
    tmp_path: Path, how: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Answers, records and effects, with a candidate that is good, refused, dead, hanging or raving, or none."""
    without = await plain(tmp_path / "plain")
    policy, command = SHADOWS[how]
    if command is not None:
        monkeypatch.setattr(module, "_COMMAND", command)
    made = stage(tmp_path / "shadowed", policy)
    said: list[str] = []
    async with made.gateway() as live:
        live.house.say = said.append
        live.runtime.shadowed.patience_s = 60.0 if command is None else 0.2
        await until(lambda: live.runtime.shadowed.shadow is not None)
        told = await work(live)
        counts = following(live).counts
        done = {"strict": lambda: counts.recorded == 2, "broken": lambda: counts.skipped > 4}
        await until(done.get(how, lambda: counts.failed >= 2))
        await live.runtime.calls.execute.drain()
        assert (told, outline(live)) == without[:2]
        assert len(differed(live)) == (2 if how == "strict" else 0)
        assert bool(counts.trouble) is (how != "strict")
        assert await live.call((await live.task())[1], "after") == "permitted"
    assert [len(made.effects(name)) for name in ("one", "two", "three", "four")] == without[2]
    assert len(said) == len(set(said))
    assert bool(said) is (how != "strict")


async def test_the_candidate_is_loaded_again_when_it_changes(tmp_path: Path) -> None:
    """Refused, mended, changed: each difference names the revision that would have made it."""
    made = stage(tmp_path / "a", BROKEN)
    policy = tmp_path / "a" / "candidate" / "policies" / "test.cedar"
    async with made.gateway() as live:
        live.house.say = lambda _: None
        await until(lambda: live.runtime.shadowed.shadow is not None)
        _, token = await live.task()
        assert await live.call(token, "one") == "permitted"
        await until(lambda: "refused" in following(live).counts.trouble)
        policy.write_text(STRICT, "utf-8")
        await until(lambda: following(live).counts.revision is not None)
        assert await live.call(token, "two") == "permitted"
        await until(lambda: len(differed(live)) == 1)
        policy.write_text(POLICY, "utf-8")
        await until(lambda: following(live).counts.revision != differed(live)[0].revision)
        assert await live.call(token, "three") == "permitted"
        await until(lambda: following(live).counts.judged == 2)
        assert len(differed(live)) == 1
        assert following(live).counts.trouble == ""


async def test_one_gateway_of_several_follows(tmp_path: Path) -> None:
    """Each difference is recorded once; when the one that follows ends, another goes on."""
    made = stage(tmp_path / "a", STRICT)
    async with contextlib.AsyncExitStack() as stack:
        async with made.gateway() as first:
            await until(lambda: first.runtime.shadowed.shadow is not None)
            second = await stack.enter_async_context(made.gateway())
            await work(second)
            await until(lambda: len(differed(first)) == 2)
            assert second.runtime.shadowed.shadow is None
        await until(lambda: second.runtime.shadowed.shadow is not None)
        _, token = await second.task()
        await second.call(token, "later")
        await until(lambda: len(differed(second)) == 3)


async def test_a_dead_process_is_started_again(tmp_path: Path) -> None:
    """Killed from outside in the middle: the next decisions are judged."""
    made = stage(tmp_path / "a", STRICT)
    async with made.gateway() as live:
        live.house.say = lambda _: None
        await until(lambda: live.runtime.shadowed.shadow is not None)
        await work(live)
        await until(lambda: len(differed(live)) == 2)
        judge: Any = following(live)._judge
        os.kill(judge._process.pid, signal.SIGKILL)
        _, token = await live.task()
        await live.call(token, "later")
        await until(lambda: len(differed(live)) == 3 or following(live).counts.skipped > 0)
        await live.call(token, "again")
        await until(lambda: any(one.action == "clock/tick" for one in differed(live)[2:]))
        pid = judge._process.pid
    with pytest.raises(ProcessLookupError):
        os.kill(pid, 0)


async def test_a_judge_on_the_path_is_found_out(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Control: judging in the gateway's own thread keeps a call waiting, and the same calls show it."""

    async def blocks(_: Child, start: int) -> Any:
        time.sleep(0.5)
        raise OperatorError(Reason.INTERNAL, "slow")

    async def slowest() -> float:
        made = stage(tmp_path / str(time.monotonic_ns()), STRICT)
        async with made.gateway() as live:
            live.house.say = lambda _: None
            live.runtime.shadowed.every_s = 0.01
            _, token = await live.task()
            await live.call(token, "warm")
            worst = 0.0
            for _ in range(60):
                begun = time.perf_counter()
                await asyncio.sleep(0.01)
                worst = max(worst, time.perf_counter() - begun)
            return worst

    monkeypatch.setattr(Child, "judge", blocks)
    assert await slowest() > 0.4
