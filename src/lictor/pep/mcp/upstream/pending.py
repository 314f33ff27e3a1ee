"""Requests under way on one channel, matched by our own ids. A reply that matches none is counted and forgotten.

Refuses to know bytes and transports.
"""

from collections.abc import Iterator
from typing import Any, Final, TypeAlias

import msgspec

from lictor.model.errors import UpstreamError
from lictor.model.reasons import Reason
from lictor.pep.mcp.seam import Notify, Reply
from lictor.pep.mcp.upstream.mailbox import Mailbox
from lictor.pep.mcp.upstream.wire import SUBSCRIPTION_ID, MessageId, Notification

UNREAD_NOTIFICATIONS: Final = 256
"""Notifications of one request (or one connection) that wait for a slow client; more are dropped."""


class Counters(msgspec.Struct):
    """What a server did that was ignored. For `doctor` and for tests; nothing is decided on it."""

    unmatched_replies: int = 0
    """Unknown, duplicate or late ids."""
    dropped_notifications: int = 0
    """Beyond what waits for a slow client, or for a request that does not exist (any more)."""
    refused_requests: int = 0
    """Requests of a server that may not ask, or asks too much at once."""
    noise_lines: int = 0
    """Lines before the first message of a server that were no messages (banners)."""
    failed_sends: int = 0
    """Notifications and answers of ours that did not get through."""


class Failure(msgspec.Struct, frozen=True):
    """Why an exchange ended without a reply."""

    reason: Reason
    message: str


Event: TypeAlias = Notification | Reply | Failure


class Exchange:
    """One request under way: its notifications in order, then its end."""

    def __init__(
        self,
        id: int,  # noqa: A002 - the word of the protocol
        *,
        max_bytes: int,
        wants: bool,
        progress: bool = False,
    ) -> None:
        """`wants`: whether anyone listens for notifications; `max_bytes` bounds those unread; `progress`: was asked for."""
        self.id = id
        self.wants = wants
        self.progress = progress
        self.written = False
        """Whether a byte of it may have left us."""
        self._mailbox: Mailbox[Event] = Mailbox(UNREAD_NOTIFICATIONS, max_bytes)

    def offer(self, notification: Notification) -> bool:
        """A notification that belongs to it; says whether it was taken."""
        return self.wants and self._mailbox.offer(notification, notification.size)

    def end(self, event: Reply | Failure) -> None:
        """Its end."""
        self._mailbox.put(event)

    async def outcome(self, notify: Notify | None) -> Reply:
        """Hand notifications on until the end comes.

        Raises:
            UpstreamError: it failed; `effect_possible` if it had been written.
        """
        while True:
            event = await self._mailbox.get()
            match event:
                case Reply():
                    return event
                case Failure(reason=reason, message=message):
                    raise UpstreamError(reason, message, effect_possible=self.written)
                case Notification(method=method, params=params):
                    if notify is not None:
                        await notify(method, params)


class Pending:
    """The table of exchanges of one channel."""

    def __init__(self) -> None:
        """Empty."""
        self._exchanges: dict[int, Exchange] = {}

    def add(self, exchange: Exchange) -> None:
        """Enter an exchange under its id."""
        self._exchanges[exchange.id] = exchange

    def drop(self, exchange: Exchange) -> bool:
        """Take it out; says whether it was still waiting for its reply."""
        return self._exchanges.pop(exchange.id, None) is not None

    def find(self, id: MessageId | None) -> Exchange | None:  # noqa: A002 - the word of the protocol
        """The exchange with this id. Ids of ours are integers: `"1"`, `True` and `1.0` are not `1`."""
        return self._exchanges.get(id) if type(id) is int else None

    def only(self) -> Exchange | None:
        """The exchange, when there is exactly one."""
        return next(iter(self._exchanges.values())) if len(self._exchanges) == 1 else None

    def end(self, id: MessageId | None, event: Reply | Failure) -> bool:  # noqa: A002 - the word of the protocol
        """End the exchange with this id; says whether there was one."""
        exchange = self.find(id)
        if exchange is None:
            return False
        del self._exchanges[exchange.id]
        exchange.end(event)
        return True

    def end_all(self, failure: Failure) -> None:
        """Nothing more will come."""
        for exchange in self._take_all():
            exchange.end(failure)

    def _take_all(self) -> Iterator[Exchange]:
        exchanges, self._exchanges = self._exchanges, {}
        return iter(exchanges.values())


def without_token(params: dict[str, Any]) -> dict[str, Any]:
    """Progress parameters without the token, which is ours and means nothing to a client."""
    return {key: value for key, value in params.items() if key != "progressToken"}


def subscription_of(params: dict[str, Any]) -> MessageId | None:
    """The subscription a notification belongs to (spec 2026-07-28, subscriptions), or None."""
    meta = params.get("_meta")
    id_ = meta.get(SUBSCRIPTION_ID) if isinstance(meta, dict) else None
    return id_ if type(id_) is int or type(id_) is str else None


def without_subscription(notification: Notification) -> Notification:
    """The notification without the subscription id, which is ours and means nothing to a client."""
    meta = {key: value for key, value in notification.params["_meta"].items() if key != SUBSCRIPTION_ID}
    params = {key: value for key, value in notification.params.items() if key != "_meta"}
    if meta:
        params["_meta"] = meta
    return Notification(notification.method, params, notification.size)
