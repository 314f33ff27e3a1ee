"""Mailboxes and the hub."""

import asyncio

from lictor.model.ids import TaskId
from lictor.pep.mcp.downstream.listening import SUBSCRIPTION_KEY, Subscription
from lictor.pep.mcp.downstream.notices import UNREAD, Hub, Mailbox

CHANGED = "notifications/tools/list_changed"
UPDATED = "notifications/resources/updated"


async def test_equal_notices_merge_and_the_box_is_bounded() -> None:
    """A slow reader costs bounded memory and loses the oldest."""
    box = Mailbox()
    for _ in range(3):
        box.put(CHANGED, {})
    for index in range(2 * UNREAD):
        box.put(UPDATED, {"uri": str(index)})
    got = []
    while (notice := await box.get(0)) is not None:
        got.append(notice)
    assert len(got) == UNREAD
    assert got[-1] == (UPDATED, {"uri": str(2 * UNREAD - 1)})


async def test_a_waiting_reader_is_woken() -> None:
    """A notice that comes while somebody waits."""
    box = Mailbox()
    reader = asyncio.create_task(box.get(5))
    await asyncio.sleep(0)
    box.put(CHANGED, {})
    assert await asyncio.wait_for(reader, 10) == (CHANGED, {})


async def test_a_subscription_gets_only_what_was_granted_and_only_its_tasks() -> None:
    """Other types, other resources and other tasks' notices never arrive; sub-resources do."""
    hub, own, other = Hub(), TaskId("a"), TaskId("b")
    granted = {"toolsListChanged": True, "resourceSubscriptions": ["file:///p"]}
    subscription = Subscription(7, granted)
    with hub.joined(own, subscription):
        hub.publish(other, CHANGED, {})
        for method in ("notifications/prompts/list_changed", "notifications/message", "x"):
            hub.publish(own, method, {})
        hub.publish(own, UPDATED, {"uri": "file:///private"})
        hub.publish(own, UPDATED, {"uri": 1})
        assert await subscription.mailbox.get(0) is None
        hub.publish(own, CHANGED, {})
        hub.publish(own, UPDATED, {"uri": "file:///p/x"})
        assert await subscription.mailbox.get(0) == (CHANGED, {})
        assert await subscription.mailbox.get(0) == (UPDATED, {"uri": "file:///p/x"})
    hub.publish(own, CHANGED, {})
    assert await subscription.mailbox.get(0) is None
    assert hub.count(own) == 0


def test_every_message_of_a_subscription_carries_its_id() -> None:
    """Ours wins over whatever a server wrote there."""
    message = Subscription(7, {}).message(CHANGED, {"_meta": {SUBSCRIPTION_KEY: "forged", "v": 1}})
    assert f'"{SUBSCRIPTION_KEY}":7'.encode() in message
    assert b"forged" not in message
