"""A connection that was lent credentials: usable as long as they are, and clean of every secret the gateway manages.

Whatever a server says passes here on its way in: replies, errors, notices, questions, what it says of itself, and the text of its
failures. Refuses to know transports, policy and who lends.
"""

import asyncio
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

import msgspec

from lictor.model.errors import CallerError, UpstreamError
from lictor.model.reasons import Reason
from lictor.pep.mcp.seam import Ask, Cleaner, Notify, Offer, Reply, Upstream

_REFUSED = -32600


def _nothing() -> None:
    """What was lent for good is not given back."""


def _endless() -> float | None:
    return None


@dataclass(frozen=True, slots=True, kw_only=True)
class Terms:
    """On which terms a connection has what was lent for it.

    Attributes:
        usable: whether something new may be begun on it.
        left_s: seconds until what is under way on it has to be over; None: nothing was lent, so nothing ends.
        done: gives back what was lent for this connection alone.
    """

    usable: Callable[[], bool]
    left_s: Callable[[], float | None] = _endless
    done: Callable[[], None] = _nothing


class LentUpstream:
    """`seam.Upstream` around another one.

    Attributes:
        offer: what the server said of itself, cleaned.
        on_closed: told when it is ended, by whomever.
    """

    def __init__(self, inner: Upstream, offer: Offer, cleaner: Cleaner, terms: Terms) -> None:
        """Around a connection that stands."""
        self._inner = inner
        self.offer = offer
        self._cleaner = cleaner
        self._terms = terms
        self.on_closed: Callable[[], None] = _nothing
        self._ended = False
        self._under_way = 0
        self._idle = asyncio.Event()
        self._idle.set()
        self._retiring: asyncio.Task[None] | None = None

    async def request(
        self,
        method: str,
        params: dict[str, Any],
        *,
        sealed_arguments: bytes | None = None,
        client_capabilities: dict[str, Any] | None = None,
        timeout_s: float,
        notify: Notify | None = None,
        progress: bool = False,
        header_params: dict[str, tuple[str, ...]] | None = None,
    ) -> Reply:
        """See `seam.Upstream.request`. It takes no longer than what was lent for it lives.

        Raises:
            UpstreamError: besides: what was lent has ended.
            StoreError: the reply held a secret, and that cannot be recorded.
        """
        left_s = self._terms.left_s()
        if left_s is not None and left_s <= 0:
            raise UpstreamError(
                Reason.UPSTREAM_DOWN, "what was lent for this connection has ended", effect_possible=False
            )
        self._under_way += 1
        self._idle.clear()
        try:
            reply = await self._inner.request(
                method,
                params,
                sealed_arguments=sealed_arguments,
                client_capabilities=client_capabilities,
                timeout_s=timeout_s if left_s is None else min(timeout_s, left_s),
                notify=clean_notify(notify, self._cleaner) if notify is not None else None,
                progress=progress,
                header_params=header_params,
            )
        except UpstreamError as error:
            raise cleaned(error, self._cleaner) from None
        finally:
            self._under_way -= 1
            if not self._under_way:
                self._idle.set()
        return await clean_reply(reply, self._cleaner)

    async def notify(self, method: str, params: dict[str, Any]) -> None:
        """See `seam.Upstream.notify`."""
        try:
            await self._inner.notify(method, params)
        except UpstreamError as error:
            raise cleaned(error, self._cleaner) from None

    async def listen(self, params: dict[str, Any], notify: Notify) -> None:
        """See `seam.Upstream.listen`."""
        try:
            await self._inner.listen(params, clean_notify(notify, self._cleaner))
        except UpstreamError as error:
            raise cleaned(error, self._cleaner) from None

    @property
    def alive(self) -> bool:
        """Whether a request may still be tried, with what was lent for it."""
        return not self._ended and self._inner.alive and self._terms.usable()

    async def close(self) -> None:
        """See `seam.Upstream.close`; what was lent for it alone is given back."""
        self._end()
        await self._inner.close()

    async def abort(self) -> None:
        """See `seam.Upstream.abort`."""
        self._end()
        await self._inner.abort()

    def _end(self) -> None:
        if not self._ended:
            self._ended = True
            self._terms.done()
            self.on_closed()

    async def cut(self) -> None:
        """What was lent for it has ended: it is ended at once, unless it is being closed already."""
        if not self._ended:
            await self.abort()

    def strike(self) -> None:
        """See `seam.Upstream.strike`."""
        self._inner.strike()

    async def retire(self) -> None:
        """Another connection takes its place: what is under way is finished first. Does not wait for that."""
        if not self._under_way:
            await self.close()
        elif self._retiring is None:
            self._retiring = asyncio.get_running_loop().create_task(self._retire())

    async def _retire(self) -> None:
        """Until it is idle, and no longer than its lease lives; one that ends before its time is `cut`."""
        with suppress(TimeoutError):
            await asyncio.wait_for(self._idle.wait(), self._terms.left_s())
        await (self.abort() if self._under_way else self.close())


def clean_notify(notify: Notify, cleaner: Cleaner) -> Notify:
    """A way in for notices."""

    async def told(method: str, params: dict[str, Any]) -> None:
        await notify(method, await cleaner.value(params))

    return told


def clean_ask(ask: Ask, cleaner: Cleaner) -> Ask:
    """A way in for a server's questions; and what the client answers holds no secret either."""

    async def asked(method: str, params: dict[str, Any]) -> Reply:
        reply = await ask(method, await cleaner.value(params))
        try:
            cleaner.check(reply.result if reply.result is not None else msgspec.json.encode(reply.error))
        except CallerError as error:
            return Reply(error={"code": _REFUSED, "message": "refused", "data": {"reason": error.reason.value}})
        return reply

    return asked


async def clean_reply(reply: Reply, cleaner: Cleaner) -> Reply:
    """A reply as it may go on; the same object where it was clean."""
    if reply.result is not None:
        result = await cleaner.json(reply.result)
        return reply if result is reply.result else Reply(result=result)
    error = await cleaner.value(reply.error)
    return reply if error is reply.error else Reply(error=error)


async def clean_offer(offer: Offer, cleaner: Cleaner) -> Offer:
    """What a server says of itself, as it may go on."""
    said: Mapping[str, Any] = {"c": offer.capabilities, "s": offer.server_info, "i": offer.instructions}
    clean = await cleaner.value(said)
    if clean is said:
        return offer
    return msgspec.structs.replace(offer, capabilities=clean["c"], server_info=clean["s"], instructions=clean["i"])


def cleaned(error: UpstreamError, cleaner: Cleaner) -> UpstreamError:
    """The same failure in words that may be printed; the frames behind it, which held the reply, are left behind."""
    return UpstreamError(
        error.reason,
        cleaner.text(error.message),
        effect_possible=error.effect_possible,
        remedy=cleaner.text(error.remedy),
        where=error.where,
    )
