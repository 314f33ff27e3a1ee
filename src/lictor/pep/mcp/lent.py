"""A connection that was lent credentials: usable as long as they are, and clean of every secret the gateway manages.

Whatever a server says passes here on its way in: replies, errors, notices, questions, what it says of itself, and the text of its
failures. Refuses to know transports, policy and who lends.
"""

import asyncio
from collections.abc import Callable, Mapping
from contextlib import suppress
from typing import Any

import msgspec

from lictor.model.errors import CallerError, UpstreamError
from lictor.pep.mcp.seam import Ask, Cleaner, Notify, Offer, Reply, Upstream

RETIRE_S = 120.0
"""A connection whose credential has been replaced ends what is under way on it, for at most so long."""
_REFUSED = -32600


class LentUpstream:
    """`seam.Upstream` around another one.

    Attributes:
        offer: what the server said of itself, cleaned.
    """

    def __init__(
        self,
        inner: Upstream,
        offer: Offer,
        cleaner: Cleaner,
        usable: Callable[[], bool],
        done: Callable[[], None],
    ) -> None:
        """Use `lent`."""
        self._inner = inner
        self.offer = offer
        self._cleaner = cleaner
        self._usable = usable
        self._done = done
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
        """See `seam.Upstream.request`.

        Raises:
            StoreError: the reply held a secret, and that cannot be recorded.
        """
        self._under_way += 1
        self._idle.clear()
        try:
            reply = await self._inner.request(
                method,
                params,
                sealed_arguments=sealed_arguments,
                client_capabilities=client_capabilities,
                timeout_s=timeout_s,
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
        return self._inner.alive and self._usable()

    async def close(self) -> None:
        """See `seam.Upstream.close`; what was lent for it alone is given back."""
        self._done()
        await self._inner.close()

    async def abort(self) -> None:
        """See `seam.Upstream.abort`."""
        self._done()
        await self._inner.abort()

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
        with suppress(TimeoutError):
            await asyncio.wait_for(self._idle.wait(), RETIRE_S)
        await self.close()


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
