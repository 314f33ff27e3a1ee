"""Channels by their settings. A channel's secret is read from the safe when it is used, so that a rotation is not missed."""

from collections.abc import Awaitable, Callable

from lictor.channels.apprise import Apprise
from lictor.channels.settings import NotifySettings
from lictor.channels.slack import Slack
from lictor.channels.webhook import Webhook
from lictor.model.errors import OperatorError
from lictor.model.reasons import Reason
from lictor.model.secret import Secret
from lictor.ports import Clock, Safe
from lictor.service.people.notify import Channel


def channel_of(settings: NotifySettings, safe: Safe, clock: Clock) -> Channel:
    """One channel."""
    secret = _reader(safe, settings.secret)
    match settings.kind:
        case "webhook":
            return Webhook(settings.url, secret, clock.now_ms)
        case "slack":
            return Slack(secret)
        case "apprise":
            return Apprise(secret)


def _reader(safe: Safe, name: str) -> Callable[[], Awaitable[Secret]]:
    async def read() -> Secret:
        found = await safe.read(name)
        if found is None:
            raise OperatorError(
                Reason.CONFIG_REFUSED, f"the safe has no {name[:80]!r}", remedy=f"lictor secret set {name[:80]}"
            )
        return found

    return read
