"""`subscriptions/listen` (spec 2026-07-28, patterns/subscriptions): acknowledged first, then only what was acknowledged.

Every notice carries the id of the request that opened the subscription. It ends by cancellation, with its task, or, in good
order, when the servers end it. Refuses to know transports.
"""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any, Final, NoReturn

import msgspec

from lictor.model.action import ActionKind
from lictor.model.errors import CallerError
from lictor.model.reasons import Reason
from lictor.pep.mcp.downstream.asks import cannot_ask
from lictor.pep.mcp.downstream.notices import RESOURCE_UPDATED, Hub, Mailbox
from lictor.pep.mcp.gateway import Gateway
from lictor.pep.mcp.seam import Caller, Channel, Era, Reply
from lictor.protocol.jsonrpc import MessageId, Request, encode_notification

SUBSCRIPTION_KEY: Final = "io.modelcontextprotocol/subscriptionId"
ACKNOWLEDGED: Final = "notifications/subscriptions/acknowledged"
LISTENERS_PER_TASK: Final = 32
"""Sessions and subscriptions of one task: a client needs one."""
URIS: Final = 256
"""Resources watched by one subscription; each is looked up for each server."""
LIVENESS_S: Final = 2.0
"""How soon a closed task ends its streams (the kill switch's promise, docs/reference/mcp.md)."""

_LISTS: Final = {
    "toolsListChanged": ("tools", "notifications/tools/list_changed"),
    "promptsListChanged": ("prompts", "notifications/prompts/list_changed"),
    "resourcesListChanged": ("resources", "notifications/resources/list_changed"),
}
"""Member of the filter: capability it needs, notice it asks for."""

Emit = Callable[[bytes], Awaitable[None]]
"""Sends one encoded message to the client."""


class Subscription:
    """One subscription's filter and unread notices; the `Channel` its servers' notices arrive on."""

    def __init__(self, identity: MessageId, granted: dict[str, Any]) -> None:
        """`granted` is what will be acknowledged."""
        self._identity = identity
        self._methods = frozenset(method for member, (_, method) in _LISTS.items() if granted.get(member))
        self._uris: tuple[str, ...] = tuple(granted.get("resourceSubscriptions", ()))
        self.mailbox = Mailbox()

    def offer(self, method: str, params: dict[str, Any]) -> None:
        """Keep a notice that was asked for; drop any other (MUST NOT, "Opening a Stream")."""
        if method in self._methods or (method == RESOURCE_UPDATED and self._watches(params.get("uri"))):
            self.mailbox.put(method, params)

    def message(self, method: str, params: dict[str, Any]) -> bytes:
        """A notice as this subscription's message."""
        meta = params.get("_meta")
        stamped = {**(meta if isinstance(meta, dict) else {}), SUBSCRIPTION_KEY: self._identity}
        return encode_notification(method, {**params, "_meta": stamped})

    async def notify(self, method: str, params: dict[str, Any]) -> None:
        """See `Channel.notify`."""
        self.offer(method, params)

    async def ask(self, method: str, params: dict[str, Any], *, timeout_s: float) -> Reply:  # noqa: ARG002
        """See `Channel.ask`."""
        raise cannot_ask()

    @property
    def can_ask(self) -> bool:
        """See `Channel.can_ask`."""
        return False

    def _watches(self, uri: object) -> bool:
        """The resource itself or something below it, which the protocol allows to be reported."""
        return isinstance(uri, str) and any(uri == own or uri.startswith(own.rstrip("/") + "/") for own in self._uris)


async def listen(
    gateway: Gateway,
    caller: Caller,
    request: Request,
    emit: Emit,
    *,
    hub: Hub,
    channel: Channel,
    alive: Callable[[], object],
) -> bytes:
    """Serve one subscription; returns the result that ends it in good order.

    Args:
        channel: of the request, for connections that have to be started.
        alive: raises `CallerError` once the task has ended.

    Raises:
        CallerError: INVALID_MESSAGE, TOO_MANY, OVERLOADED; the task has ended, or was stopped.
        UpstreamError: a server refused or dropped the subscription.
    """
    task = caller.task.task.id
    asked = _asked(request)
    if hub.count(task) >= LISTENERS_PER_TASK:
        raise CallerError(Reason.OVERLOADED, f"more than {LISTENERS_PER_TASK} streams are open")
    granted, modern = await _granted(gateway, caller, asked, channel)
    subscription = Subscription(request.id, granted)
    try:
        with gateway.underway.during(caller.task.task), hub.joined(task, subscription):
            await _serve(gateway, caller, subscription, emit, alive, granted, modern=modern)
    except CallerError as error:
        await gateway.cut(caller, request.params, error)
        raise
    return msgspec.json.encode({"resultType": "complete", "_meta": {SUBSCRIPTION_KEY: request.id}})


async def _serve(
    gateway: Gateway,
    caller: Caller,
    subscription: Subscription,
    emit: Emit,
    alive: Callable[[], object],
    granted: dict[str, Any],
    *,
    modern: bool,
) -> None:
    """Hand notices on until the servers end the subscription, the task ends, or somebody stops it."""
    await emit(subscription.message(ACKNOWLEDGED, {"notifications": granted}))
    jobs: list[asyncio.Task[None]] = [asyncio.create_task(_pump(subscription, emit, alive))]
    if modern:
        wanted = {"notifications": granted}
        jobs.append(asyncio.create_task(gateway.listen(caller, wanted, subscription)))
    try:
        done, _ = await asyncio.wait(jobs, return_when=asyncio.FIRST_COMPLETED)
        for job in done:
            job.result()
    finally:
        for job in jobs:
            job.cancel()
        await asyncio.wait(jobs, timeout=LIVENESS_S)


async def _pump(subscription: Subscription, emit: Emit, alive: Callable[[], object]) -> NoReturn:
    while True:
        notice = await subscription.mailbox.get(LIVENESS_S)
        alive()
        if notice is not None:
            await emit(subscription.message(*notice))


def _asked(request: Request) -> dict[str, Any]:
    """The filter, checked."""
    asked = request.params.get("notifications")
    where = "/params/notifications"
    if not isinstance(asked, dict):
        raise CallerError(Reason.INVALID_MESSAGE, "notifications must be an object", where=where)
    for member in _LISTS:
        if not isinstance(asked.get(member, False), bool):
            raise CallerError(Reason.INVALID_MESSAGE, f"{member} must be a boolean", where=f"{where}/{member}")
    uris = asked.get("resourceSubscriptions", [])
    if not isinstance(uris, list) or not all(isinstance(uri, str) for uri in uris):
        where += "/resourceSubscriptions"
        raise CallerError(Reason.INVALID_MESSAGE, "resourceSubscriptions must be strings", where=where)
    if len(uris) > URIS:
        raise CallerError(Reason.TOO_MANY, f"more than {URIS} resources in one subscription", where=where)
    return asked


async def _granted(
    gateway: Gateway, caller: Caller, asked: dict[str, Any], channel: Channel
) -> tuple[dict[str, Any], bool]:
    """What is honoured of a filter, and whether a modern server has to be listened to for it."""
    offered = await gateway.offered(caller, channel)
    capabilities = gateway.capabilities(caller, offered)
    granted: dict[str, Any] = {
        member: True
        for member, (capability, _) in _LISTS.items()
        if asked.get(member) is True and capabilities.get(capability, {}).get("listChanged") is True
    }
    modern = {server: offer for server, offer in offered.items() if offer.era is Era.MODERN}
    agent = caller.task.task.agent
    watching = [
        server
        for server, offer in modern.items()
        if isinstance(offer.capabilities.get("resources"), dict) and offer.capabilities["resources"].get("subscribe")
    ]
    uris = [
        uri
        for uri in dict.fromkeys(asked.get("resourceSubscriptions", []))
        if any(gateway.offers.visible(ActionKind.RESOURCE, server, uri, agent) for server in watching)
    ]
    if uris:
        granted["resourceSubscriptions"] = uris
    return granted, bool(modern) and bool(granted)
