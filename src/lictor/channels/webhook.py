"""A signed POST of JSON (Standard Webhooks 1.0): who receives it can tell that it is ours, whole, fresh and not seen before."""

import base64
import hashlib
import hmac
from collections.abc import Awaitable, Callable

import msgspec

from lictor.channels.post import post
from lictor.model.errors import OperatorError
from lictor.model.reasons import Reason
from lictor.model.secret import Secret
from lictor.service.people.notify import Notice

_PREFIX = "whsec_"


def signed(key: bytes, notice_id: str, at_s: int, body: bytes) -> dict[str, str]:
    """The three headers of a signed delivery.

    Args:
        key: what both sides know.
        notice_id: the same for every try.
        at_s: seconds since the epoch of this try; a receiver refuses old ones.
    """
    mac = hmac.new(key, f"{notice_id}.{at_s}.".encode() + body, hashlib.sha256).digest()
    return {
        "webhook-id": notice_id,
        "webhook-timestamp": str(at_s),
        "webhook-signature": f"v1,{base64.b64encode(mac).decode()}",
    }


def key_of(secret: str) -> bytes:
    """What signs: the bytes behind `whsec_`, as Standard Webhooks writes a secret; else the text itself.

    Raises:
        OperatorError: behind the prefix there is no base64.
    """
    if not secret.startswith(_PREFIX):
        return secret.encode()
    try:
        return base64.b64decode(secret.removeprefix(_PREFIX), validate=True)
    except ValueError:
        raise OperatorError(Reason.CONFIG_REFUSED, f"a secret that begins with {_PREFIX} is base64 behind it") from None


class Webhook:
    """Tells one URL."""

    def __init__(self, url: str, key: Callable[[], Awaitable[Secret]], now_ms: Callable[[], int]) -> None:
        self._url = url
        self._key = key
        self._now_ms = now_ms

    async def send(self, notice: Notice) -> None:
        """See `Channel.send`."""
        event = {"type": "hold.opened", "data": {**_members(notice), "groups": list(notice.groups)}}
        body = msgspec.json.encode(event, order="sorted")
        key = key_of((await self._key()).reveal())
        headers = signed(key, notice.id, self._now_ms() // 1_000, body)
        await post(self._url, body, {**headers, "Content-Type": "application/json"})


def _members(notice: Notice) -> dict[str, str | int]:
    return {
        "hold": notice.id,
        "title": notice.title,
        "text": notice.text,
        "url": notice.url,
        "at_ms": notice.at_ms,
        "expires_at_ms": notice.expires_at_ms,
    }
