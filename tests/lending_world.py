"""A broker of real parts over a memory store, with providers that a test holds in its hands."""

import asyncio
from collections import Counter
from collections.abc import Awaitable, Callable, Iterable
from typing import Any

import bundles
from lictor.model.errors import UpstreamError
from lictor.model.ids import AgentId, HumanId, InstanceId, LeaseId, ServerName
from lictor.model.lease import Credential, Lease
from lictor.model.limits import Limits
from lictor.model.reasons import Reason
from lictor.model.record import decode_entry
from lictor.model.secret import Secret
from lictor.model.task import Budget, TaskState
from lictor.ports import Issued, LeaseAsk
from lictor.service.calls.authorize import Authorize
from lictor.service.calls.outcomes import Outcomes
from lictor.service.containment.contain import Contain
from lictor.service.credentials.broker import Broker
from lictor.service.credentials.loan import Loan, Where
from lictor.service.credentials.reap import Orphans, Reaper
from lictor.service.policy import PolicyInForce
from lictor.service.tasks.tasks import Tasks
from lictor.stores.ids import RandomIds
from lictor.stores.memory import MemoryStore
from lictor.testing.clock import ManualClock

FS = ServerName("fs")
URL = "https://fs.example/mcp"
WHERE = Where(destination="https://fs.example", url=URL)
LENDS = """
@id("lends")
@reason("its own server")
@owner("alice")
permit (principal, action in [Action::"credential.use"], resource);
"""
TOKEN = """
[credentials.token]
server = "fs"
destination = "https://fs.example"
provider = "test"
headers = { Authorization = "Bearer {token}" }
"""


class Desk:
    """A provider that remembers what it made; a test tells it how to fail."""

    def __init__(self) -> None:
        self.live: dict[str, str] = {}
        self.made: list[LeaseAsk] = []
        self.revokes: Counter[str] = Counter()
        self.before: Callable[[LeaseAsk], Awaitable[None]] | None = None
        self.after: Callable[[LeaseAsk], Awaitable[None]] | None = None
        self.refuses_revoking: BaseException | None = None
        self.life_s: int | None = None
        self.longest = 0

    async def issue(self, ask: LeaseAsk) -> Issued:
        self.made.append(ask)
        await asyncio.sleep(0)
        if self.before is not None:
            await self.before(ask)
        secret = f"sk-live-{len(self.made):04}-{ask.lease}"
        self.live[ask.lease] = secret
        if self.after is not None:
            await self.after(ask)
        life = ask.ttl_s if self.life_s is None else self.life_s
        expires = bundles.NOW + life * 1_000
        return Issued(
            secret={"token": Secret(secret)},
            expires_at_ms=expires,
            handle=f"h-{ask.lease}",
            revocation=Secret(f"revoke-{ask.lease}"),
        )

    def longest_s(self, ttl_s: int) -> int:
        return self.longest or ttl_s

    async def revoke(self, lease: LeaseId, credential: Credential, handle: str, revocation: Secret | None) -> None:
        self.revokes[lease] += 1
        await asyncio.sleep(0)
        if self.refuses_revoking is not None:
            raise self.refuses_revoking
        assert handle in {"", f"h-{lease}"}
        assert credential.provider == "test"
        if handle:
            assert revocation == Secret(f"revoke-{lease}")
        self.live.pop(lease, None)


class Drawer:
    """`ports.Safe` in memory."""

    def __init__(self) -> None:
        self.kept: dict[str, Secret] = {}

    async def read(self, name: str) -> Secret | None:
        return self.kept.get(name)

    async def write(self, name: str, secret: Secret) -> None:
        self.kept[name] = secret

    async def remove(self, name: str) -> None:
        self.kept.pop(name, None)

    async def names(self, prefix: str) -> tuple[str, ...]:
        return tuple(sorted(name for name in self.kept if name.startswith(prefix)))


class LendingWorld:
    """One process's broker; `other` makes another process on the same store."""

    def __init__(self, credentials: str = TOKEN, policy: str = bundles.POLICY + LENDS, **changes: str | None) -> None:
        self.store, self.ids, self.clock = MemoryStore(), RandomIds(), ManualClock(bundles.NOW)
        self.policy = PolicyInForce(bundles.pdp(policy, **{"credentials.toml": credentials, **changes}))
        self.desk, self.drawer = Desk(), Drawer()
        self.dead: set[InstanceId] = set()
        self.said: list[str] = []
        parts: dict[str, Any] = {"store": self.store, "clock": self.clock, "ids": self.ids}
        self.tasks = Tasks(**parts, policy=self.policy, limits=Limits())
        self.contain = Contain(**parts)
        self.broker, self.reaper = self.process("inst_one")

    def process(self, name: str, *, turn: bool = True, broker: type[Broker] = Broker) -> tuple[Broker, Reaper]:
        """One gateway process's half."""
        outcomes = Outcomes(store=self.store, clock=self.clock)
        instance = InstanceId(name)
        authorize = Authorize(
            store=self.store,
            policy=self.policy,
            clock=self.clock,
            ids=self.ids,
            limits=Limits(),
            instance=instance,
            outcomes=outcomes,
        )
        made = broker(
            store=self.store,
            policy=self.policy,
            clock=self.clock,
            ids=self.ids,
            authorize=authorize,
            providers=lambda _: self.desk,
            safe=self.drawer,
            outcomes=outcomes,
            instance=instance,
        )
        reaper = Reaper(
            broker=made,
            store=self.store,
            policy=self.policy,
            clock=self.clock,
            safe=self.drawer,
            providers=lambda _: self.desk,
            orphans=Orphans(dead=self._dead, turn=lambda: turn),
            jitter=lambda: 1.0,
            say=self.said.append,
        )
        return made, reaper

    def _dead(self, seen: Iterable[InstanceId]) -> set[InstanceId]:
        return set(seen) & self.dead

    async def task(self, **changes: Any) -> TaskState:
        asked: dict[str, Any] = {
            "agent": AgentId("coder"),
            "human": HumanId("os:alice"),
            "purpose": "development",
            "trusted_text": "",
            "ttl_s": 3_600,
            "budget": Budget(calls=1_000),
            "audience": "local",
            "by": "os:alice",
            "token": False,
            **changes,
        }
        opened = await self.tasks.open(**asked)
        state = self.store.task(opened.task.id)
        assert state is not None
        return state

    async def lend(self, task: TaskState, where: Where = WHERE) -> Loan:
        return await self.broker.lend(task, FS, where)

    async def look(self, reaper: Reaper | None = None) -> None:
        """One look, and what it started."""
        reaper = reaper or self.reaper
        await self.settle()
        await reaper.tick()
        jobs = [attempt.job for attempt in reaper._tries.values() if attempt.job is not None]
        await asyncio.gather(*jobs)

    async def settle(self) -> None:
        await self.broker._outcomes.drain()

    def lease(self, at: int = 0) -> Lease:
        return self.store.leases(live_only=False)[at]

    def kinds(self) -> list[str]:
        return [type(decode_entry(entry.data).record).__name__ for entry in self.store.entries()]

    def text(self) -> bytes:
        """Everything durable, as bytes."""
        return b"".join(entry.data for entry in self.store.entries())


def unanswered() -> UpstreamError:
    return UpstreamError(Reason.UPSTREAM_TIMEOUT, "no answer", effect_possible=True)


def refused() -> UpstreamError:
    return UpstreamError(Reason.UPSTREAM_DOWN, "not there", effect_possible=False)
