"""How long what an issuer published is used, and how often it is asked."""

import asyncio

import pytest

from lictor.identity.sources import Pace, Published, Source
from lictor.model.errors import CallerError, UpstreamError
from lictor.model.reasons import Reason
from lictor.protocol.jose.algs import ALGS
from lictor.protocol.jose.keys import read_key_set
from tokens import NOW_MS, jwk, jwks

PACE = Pace(fresh_ms=300_000, stale_ms=3_600_000, retry_ms=5_000, unknown_ms=30_000)
ES256 = ALGS["ES256"]


class Publisher:
    """An issuer whose document can change, fail, and take its time."""

    def __init__(self, *names: str) -> None:
        self.document = jwks(*names)
        self.asked = 0
        self.fails = ""
        self.gate: asyncio.Event | None = None

    async def load(self) -> Published:
        self.asked += 1
        if self.gate is not None:
            await self.gate.wait()
        if self.fails:
            raise UpstreamError(Reason.UPSTREAM_DOWN, self.fails, effect_possible=False)
        keys = read_key_set(self.document, "sig")
        return Published(keys.version, keys)


def source(publisher: Publisher, pace: Pace = PACE) -> tuple[Source, list[str]]:
    """A source, and what the operator is told."""
    told: list[str] = []
    return Source("ci", publisher.load, pace, told.append), told


async def kid(found: Source, name: str, now_ms: int) -> bool:
    """Whether a key is known."""
    try:
        await found.key(name, ES256, now_ms)
    except CallerError:
        return False
    return True


async def test_asked_once_while_fresh() -> None:
    """A thousand tokens, one request."""
    publisher = Publisher("p256")
    found, _ = source(publisher)
    for step in range(1_000):
        assert await kid(found, "p256", NOW_MS + step * 299)
    assert publisher.asked == 1


async def test_at_once_means_one_request() -> None:
    """Whoever comes while it is asked waits for the same answer; whoever gives up does not end it."""
    publisher = Publisher("p256")
    publisher.gate = asyncio.Event()
    found, _ = source(publisher)
    waiting = [asyncio.create_task(kid(found, "p256", NOW_MS)) for _ in range(50)]
    await asyncio.sleep(0)
    waiting[0].cancel()
    await asyncio.sleep(0)
    publisher.gate.set()
    assert await asyncio.gather(*waiting[1:]) == [True] * 49
    assert publisher.asked == 1


async def test_an_unknown_key_asks_at_most_once_in_30_seconds() -> None:
    """Strangers choose `kid`: they cannot make us ask more often. A new key is known at the next time."""
    publisher = Publisher("p256")
    found, _ = source(publisher)
    assert await kid(found, "p256", NOW_MS)
    for step in range(100):
        assert not await kid(found, f"evil-{step}", NOW_MS + step)
    assert publisher.asked == 1
    publisher.document = jwks("p256", "p256-new")
    assert not await kid(found, "p256-new", NOW_MS + 29_999)
    assert await kid(found, "p256-new", NOW_MS + 30_000)
    assert publisher.asked == 2


async def test_a_withdrawn_key_is_refused_when_fresh_is_over() -> None:
    """In use: asked meanwhile, and gone at the next. Idle for longer: asked first."""
    publisher = Publisher("p256", "p384")
    found, _ = source(publisher)
    assert await kid(found, "p256", NOW_MS)
    publisher.document = jwks("p384")
    assert await kid(found, "p256", NOW_MS + 300_000)
    await asyncio.sleep(0.01)
    assert not await kid(found, "p256", NOW_MS + 300_001)

    publisher = Publisher("p256", "p384")
    found, _ = source(publisher)
    assert await kid(found, "p256", NOW_MS)
    publisher.document = jwks("p384")
    assert not await kid(found, "p256", NOW_MS + 600_000)


async def test_an_issuer_that_is_down_is_used_until_it_is_stale() -> None:
    """The last good document stays for an hour, then nobody is proved by it; when it is back, it counts again."""
    publisher = Publisher("p256")
    found, told = source(publisher)
    assert await kid(found, "p256", NOW_MS)
    publisher.fails = "no answer"
    assert await kid(found, "p256", NOW_MS + 3_599_999)
    assert not await kid(found, "p256", NOW_MS + 3_600_000)
    assert len(told) == 1
    assert "'ci': no answer" in told[0]
    publisher.fails = ""
    assert await kid(found, "p256", NOW_MS + 3_606_000)
    assert found.problem == ""


async def test_a_document_that_is_refused_keeps_the_last_good_one() -> None:
    """An equal `kid` twice: the set is ambiguous, the one before stays, and somebody is told."""
    publisher = Publisher("p256")
    found, told = source(publisher)
    assert await kid(found, "p256", NOW_MS)
    publisher.document = jwks("p256-evil", jwk("p256-b", kid="p256-evil"))
    assert not await kid(found, "p256-evil", NOW_MS + 30_000)
    assert await kid(found, "p256", NOW_MS + 30_001)
    assert told == ["issuer 'ci': the key set has two keys of one kid; what it published last is used for a while"]


async def test_a_failure_is_not_retried_at_once() -> None:
    """An issuer that is down is not hammered, and its callers are not kept waiting."""
    publisher = Publisher("p256")
    publisher.fails = "no answer"
    found, _ = source(publisher)
    for step in range(100):
        assert not await kid(found, "p256", NOW_MS + step * 10)
    assert publisher.asked == 1
    publisher.fails = ""
    assert await kid(found, "p256", NOW_MS + 5_000)


@pytest.mark.parametrize("jump", [-86_400_000, 86_400_000, -NOW_MS, 10**12])
async def test_a_clock_that_jumps_asks_again(jump: int) -> None:
    """A document from the future or from long ago is none; with the issuer there, nothing is lost."""
    publisher = Publisher("p256")
    found, _ = source(publisher)
    assert await kid(found, "p256", NOW_MS)
    assert await kid(found, "p256", NOW_MS + jump)
    publisher.fails = "down"
    assert not await kid(found, "p256", NOW_MS)


async def test_close_ends_what_is_under_way() -> None:
    """Nothing is left behind."""
    publisher = Publisher("p256")
    publisher.gate = asyncio.Event()
    found, _ = source(publisher)
    task = asyncio.create_task(kid(found, "p256", NOW_MS))
    await asyncio.sleep(0)
    await found.close()
    with pytest.raises(asyncio.CancelledError):
        await task


async def test_a_defect_of_ours_is_seen_and_proves_nobody() -> None:
    """An exception that is none of ours ends neither the next attempt nor the caller: it is told, and keys are not known."""
    publisher = Publisher("p256")
    found, told = source(publisher)
    real = publisher.load

    async def broken() -> Published:
        raise ZeroDivisionError

    found._load = broken
    assert not await kid(found, "p256", NOW_MS)
    assert told == ["issuer 'ci': a defect of ours: ZeroDivisionError; nobody is proved by it"]
    found._load = real
    assert await kid(found, "p256", NOW_MS + 5_000)
