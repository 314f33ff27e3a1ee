"""What the how-to says of notices is what is sent: its check takes a real delivery and no other, its example has every member."""

import json
import re

import pytest

from lictor.channels import webhook
from lictor.channels.webhook import Webhook, signed
from lictor.model.secret import Secret
from lictor.service.people.notify import Notice
from lictor.stores.clock import SystemClock
from notify_page import KEY, PAGE, genuine

NOTICE = Notice(id="hold_1", title="t", text="x", url="u", groups=("owner",), at_ms=1, expires_at_ms=2)


def test_the_check_of_the_page_takes_what_is_sent() -> None:
    """And with a second signature beside it, as after a change of keys."""
    now = SystemClock().now_ms() // 1_000
    headers = signed(KEY.encode(), "hold_1", now, b"{}")
    assert genuine()(KEY, headers, b"{}")
    headers["webhook-signature"] = f"v1,AAAA {headers['webhook-signature']}"
    assert genuine()(KEY, headers, b"{}")


@pytest.mark.parametrize("fault", ["key", "body", "id", "time", "old", "ahead", "none"])
def test_and_nothing_else(fault: str) -> None:
    """Another key, body, id or time; too old, from the future, not signed."""
    now = SystemClock().now_ms() // 1_000
    at_s = {"old": now - 301, "ahead": now + 400}.get(fault, now)
    headers = signed(b"other" if fault == "key" else KEY.encode(), "hold_1", at_s, b"{}")
    changes = {
        "id": {"webhook-id": "hold_2"},
        "time": {"webhook-timestamp": str(now + 1)},
        "none": {"webhook-signature": ""},
    }
    headers |= changes.get(fault, {})
    assert not genuine()(KEY, headers, b"{ }" if fault == "body" else b"{}")


async def test_the_example_has_the_members_that_are_sent(monkeypatch: pytest.MonkeyPatch) -> None:
    """No member more, none less."""
    bodies: list[bytes] = []

    async def keep(_: str, body: bytes, __: dict[str, str]) -> None:
        bodies.append(body)

    async def key() -> Secret:
        return Secret(KEY)

    monkeypatch.setattr(webhook, "post", keep)
    await Webhook("https://desk.example", key, lambda: 0).send(NOTICE)
    block = re.search(r"```json\n(.*?)```", PAGE, re.DOTALL)
    assert block
    example, real = json.loads(block[1]), json.loads(bodies[0])
    assert example.keys() == real.keys()
    assert example["data"].keys() == real["data"].keys()
