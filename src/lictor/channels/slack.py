"""A Slack message by an incoming webhook: plain text and a button that is a link. Nothing is answered in Slack."""

from collections.abc import Awaitable, Callable
from typing import Any

import msgspec

from lictor.channels.post import post
from lictor.model.secret import Secret
from lictor.service.people.notify import Notice


def message(notice: Notice) -> dict[str, Any]:
    """The message. Only `plain_text` blocks, so that no name becomes a mention, a link or markup."""
    return {
        "text": _escaped(notice.title),
        "blocks": [
            {"type": "header", "text": {"type": "plain_text", "text": notice.title[:150], "emoji": False}},
            {"type": "section", "text": {"type": "plain_text", "text": notice.text[:2_900], "emoji": False}},
            {
                "type": "actions",
                "elements": [
                    {
                        "type": "button",
                        "text": {"type": "plain_text", "text": "Look and answer", "emoji": False},
                        "url": notice.url,
                    }
                ],
            },
        ],
    }


def _escaped(text: str) -> str:
    """`text` is read as markup by clients that show no blocks: Slack's own three escapes keep mentions and links out."""
    return text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")


class Slack:
    """Tells one Slack channel."""

    def __init__(self, url: Callable[[], Awaitable[Secret]]) -> None:
        self._url = url

    async def send(self, notice: Notice) -> None:
        """See `Channel.send`."""
        body = msgspec.json.encode(message(notice))
        await post((await self._url()).reveal(), body, {"Content-Type": "application/json"})
