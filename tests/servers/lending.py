"""What tests of credential providers share: a vault of named secrets, asks, and the search for what must not be seen."""

import base64
import time
import traceback
from collections.abc import Awaitable, Callable, Iterable, Mapping
from types import TracebackType
from typing import Any
from urllib.parse import quote, quote_plus

from lictor.credentials.providers import make
from lictor.model.ids import AgentId, HumanId, LeaseId, ServerName, TaskId
from lictor.model.lease import Credential
from lictor.model.secret import Secret
from lictor.ports import Issued, LeaseAsk, Provider
from lictor.stores.clock import SystemClock
from lictor.stores.ids import RandomIds


class Wall:
    """A clock that can be moved."""

    def __init__(self) -> None:
        self.ahead_ms = 0

    def now_ms(self) -> int:
        return time.time_ns() // 1_000_000 + self.ahead_ms


def vault(**named: str) -> Callable[[str], Awaitable[Secret]]:
    """Reads named secrets."""

    async def read(name: str) -> Secret:
        return Secret(named[name])

    return read


def fresh_lease() -> LeaseId:
    """An id as ours are."""
    return LeaseId(RandomIds().new("lease"))


def credential(provider: str, options: Mapping[str, Any]) -> Credential:
    """One as `credentials.toml` would state it."""
    return Credential(
        name="tested", server=ServerName("srv"), destination="command", provider=provider, options=dict(options)
    )


class Lender:
    """A provider with its options, asked by lease."""

    def __init__(
        self, name: str, options: Mapping[str, Any], *, provider: Provider | None = None, **secrets: str
    ) -> None:
        self.credential = credential(name, options)
        self.provider = provider or make(name, options, vault(**secrets), clock=SystemClock())

    async def issue(self, lease: LeaseId, *, ttl_s: int = 60, subject: str = "", **narrow: str) -> Issued:
        return await self.provider.issue(
            LeaseAsk(
                lease=lease,
                credential=self.credential,
                agent=AgentId("worker"),
                human=HumanId("os:alice"),
                task=TaskId("task_1"),
                purpose="support",
                ttl_s=ttl_s,
                narrow=narrow,
                subject_token=Secret(subject) if subject else None,
            )
        )

    async def revoke(self, lease: LeaseId, issued: Issued | None = None) -> None:
        await self.provider.revoke(
            lease, self.credential, issued.handle if issued else "", issued.revocation if issued else None
        )


def forms(canary: str) -> list[str]:
    """How a secret may look in a text."""
    data = canary.encode()
    return [canary, base64.b64encode(data).decode().rstrip("="), data.hex(), quote(canary, safe=""), quote_plus(canary)]


def _frames(tb: TracebackType | None) -> Iterable[str]:
    while tb is not None:
        if "/src/lictor/" in tb.tb_frame.f_code.co_filename:
            yield repr(dict(tb.tb_frame.f_locals))
        tb = tb.tb_next


def shown_by(error: BaseException) -> str:
    """Everything that a report of an error could print: texts, causes, contexts, and the values in all frames of ours."""
    texts, seen, waiting = [], set(), [error]
    while waiting:
        one = waiting.pop()
        if id(one) in seen:
            continue
        seen.add(id(one))
        texts += [str(one), repr(one), repr(one.args), repr(vars(one)), "".join(traceback.format_exception(one))]
        texts += _frames(one.__traceback__)
        waiting += [cause for cause in (one.__cause__, one.__context__) if cause is not None]
    return "\n".join(texts)


def leaked(text: str, canaries: Iterable[str]) -> list[str]:
    """The canaries found in a text, in any form."""
    return [canary for canary in canaries if any(form in text for form in forms(canary))]
