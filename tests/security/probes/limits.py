"""`[limits]`: each bound is met by something just above it under one value and just below it under the other."""

import asyncio
import json
from typing import Any

from adversarial.wire import ask, headers_for, modern
from lictor.model.approval import seal_of
from lictor.model.ids import AgentId, HoldId
from lictor.model.task import Budget
from lictor.service.people.approve import Proof
from lictor.stores.clock import write_mark
from security.probes.stand import BOB, Place, Stand
from security.probes.table import probe


async def _reason(place: Place, tool: str, arguments: dict[str, Any], **more: Any) -> str:
    async with place.stand() as stand:
        return (await stand.call(tool, arguments, **more)).reason


@probe("limits.message_bytes", (1_000, "too_large"), (9_000, "permitted"), base={"limits.arguments_bytes": 900})
async def message_bytes(place: Place) -> object:
    """A message of 2 kB, most of it not arguments."""
    async with place.stand() as stand:
        message = modern("tools/call", {"name": "echo", "arguments": {}, "_meta": {"example/pad": "x" * 2_000}})
        headers = headers_for(message, stand.host, await stand.token())
        answer = await ask(stand.app, "POST", "/mcp", headers, json.dumps(message).encode())
        error = json.loads(answer.body).get("error")
        return error["data"]["reason"] if error else "permitted"


@probe("limits.arguments_bytes", (1_000, "too_large"), (9_000, "permitted"))
async def arguments_bytes(place: Place) -> object:
    """Arguments of 2 kB."""
    return await _reason(place, "echo", {"text": "x" * 2_000})


@probe("limits.json_depth", (20, "too_deep"), (100, "permitted"))
async def json_depth(place: Place) -> object:
    """Arguments 40 deep."""
    value: Any = 0
    for _ in range(40):
        value = [value]
    return await _reason(place, "echo", {"value": value})


@probe("limits.json_members", (100, "too_many_members"), (500, "permitted"))
async def json_members(place: Place) -> object:
    """200 elements."""
    return await _reason(place, "echo", {"value": [0] * 200})


@probe("limits.string_bytes", (100, "too_large"), (500, "permitted"))
async def string_bytes(place: Place) -> object:
    """A string of 200 bytes."""
    return await _reason(place, "echo", {"value": "x" * 200})


@probe("limits.key_bytes", (100, "too_large"), (500, "permitted"))
async def key_bytes(place: Place) -> object:
    """A key of 200 bytes."""
    return await _reason(place, "echo", {"x" * 200: 0})


@probe("limits.header_bytes", (1_000, "too_large"), (9_000, "permitted"))
async def header_bytes(place: Place) -> object:
    """Header fields of 2 kB together."""
    return await _reason(place, "echo", {}, more={f"X-Pad-{number}": "x" * 200 for number in range(10)})


@probe("limits.header_value_bytes", (1_000, "too_large"), (9_000, "permitted"))
async def header_value_bytes(place: Place) -> object:
    """One value of 2 kB."""
    return await _reason(place, "echo", {}, more={"X-Pad": "x" * 2_000})


# -- servers behind us ---------------------------------------------------------------------------------------------------


@probe("limits.upstream_message_bytes", (10_000, "upstream_too_large"), (100_000, "permitted"))
async def upstream_message_bytes(place: Place) -> object:
    """A reply of 50 kB."""
    return await _reason(place, "big", {"bytes": 50_000})


@probe("limits.upstream_json_members", (1_000, "upstream_too_large"), (9_000, "permitted"))
async def upstream_json_members(place: Place) -> object:
    """A reply of 2,000 elements."""
    return await _reason(place, "many", {"rows": 2_000})


@probe("limits.upstream_timeout_s", (0.2, "upstream_timeout"), (5.0, "permitted"))
async def upstream_timeout_s(place: Place) -> object:
    """A reply after half a second."""
    return await _reason(place, "slow", {"seconds": 0.5})


@probe("limits.upstream_connect_timeout_s", (0.2, "upstream_timeout"), (5.0, "permitted"))
async def upstream_connect_timeout_s(place: Place) -> object:
    """A greeting after half a second."""
    place.behaviour.greeting_s = 0.5
    return await _reason(place, "echo", {})


@probe("limits.list_pages", (2, "upstream_too_large"), (9, "permitted"))
async def list_pages(place: Place) -> object:
    """A list of four pages."""
    place.behaviour.pages = 4
    return await _reason(place, "echo", {})


@probe("limits.list_items", (3, "upstream_too_large"), (9, "permitted"))
async def list_items(place: Place) -> object:
    """Six tools on one page."""
    return await _reason(place, "echo", {})


# -- tasks, holds, approvals ---------------------------------------------------------------------------------------------


@probe("limits.inflight_per_task", (1, ["overloaded", "permitted"]), (4, ["permitted", "permitted"]))
async def inflight_per_task(place: Place) -> object:
    """Two calls of one task at once."""
    async with place.stand() as stand:
        token = await stand.token()
        await stand.call("echo", token=token)
        both = await asyncio.gather(*(stand.call("slow", {"seconds": 0.2}, token=token) for _ in range(2)))
        return sorted(one.reason for one in both)


async def _approve(stand: Stand, hold: str) -> None:
    found = stand.house.store.hold(HoldId(hold))
    if found is None:
        raise LookupError(hold)
    await stand.house.answer.approve(found.id, Proof(human=BOB), seal_of(found))


@probe("limits.hold_ttl_s", (0.2, "approval_timeout"), (60.0, "permitted"))
async def hold_ttl_s(place: Place) -> object:
    """A person answers after 0.3 seconds."""
    async with place.stand() as stand:
        token = await stand.token()
        hold = await stand.held(token)
        await asyncio.sleep(0.3)
        await _approve(stand, hold)
        return (await stand.call("edit", token=token)).reason


@probe("limits.approval_ttl_s", (0.2, "approval_expired"), (60.0, "permitted"))
async def approval_ttl_s(place: Place) -> object:
    """The approved call comes after 0.3 seconds."""
    async with place.stand() as stand:
        token = await stand.token()
        await _approve(stand, await stand.held(token))
        await asyncio.sleep(0.3)
        return (await stand.call("edit", token=token)).reason


@probe("limits.holds_per_task_per_minute", (1, "approval_rate"), (9, "needs_approval"))
async def holds_per_task_per_minute(place: Place) -> object:
    """A second question within the minute."""
    async with place.stand() as stand:
        token = await stand.token()
        await stand.held(token)
        return (await stand.call("edit", {"other": True}, token=token)).reason


@probe("limits.delegation_depth", (1, "delegation"), (4, "permitted"))
async def delegation_depth(place: Place) -> object:
    """A child of a child."""
    async with place.stand() as stand:
        parent = (await stand.opened()).task.id
        for agent, left in (("two", 60), ("three", 30)):
            made = await stand.house.delegate(
                parent=parent, agent=AgentId(agent), ttl_s=left, budget=Budget(calls=left), by="os:ann"
            )
            parent = made.task.id
        return (await stand.call("echo", token=made.token)).reason


@probe("limits.task_ttl_s", (100.0, "invalid_arguments"), (900.0, "permitted"))
async def task_ttl_s(place: Place) -> object:
    """A task of ten minutes."""
    return await _reason(place, "echo", {})


# -- deciding, recording, revoking ---------------------------------------------------------------------------------------


@probe("limits.decide_timeout_s", (0.000_001, "policy_timeout"), (5.0, "permitted"))
async def decide_timeout_s(place: Place) -> object:
    """A call that is decided in about a millisecond."""
    return await _reason(place, "echo", {})


@probe("limits.record_timeout_s", (0.000_001, "cannot_record"), (5.0, "permitted"))
async def record_timeout_s(place: Place) -> object:
    """A call that is recorded in about a millisecond."""
    return await _reason(place, "echo", {})


@probe("limits.record_queue", (1, True), (500, False))
async def record_queue(place: Place) -> object:
    """Fifty tasks opened at the same moment."""
    async with place.house() as house:
        stand = Stand(place, house, None, None)  # type: ignore[arg-type]
        made = await asyncio.gather(*(stand.opened() for _ in range(50)), return_exceptions=True)
        return any("overloaded" in repr(getattr(one, "reason", "")) for one in made)


@probe("limits.epoch_lease_s", (0.2, "state_unconfirmed"), (60.0, "permitted"))
async def epoch_lease_s(place: Place) -> object:
    """A call 0.4 seconds after the state was last confirmed."""
    async with place.stand() as stand:
        token = await stand.token()
        await stand.call("echo", token=token)
        stand.runtime.guard.arm()
        await stand.runtime.revoke.look()
        await asyncio.sleep(0.4)
        return (await stand.call("echo", token=token)).reason


@probe("limits.clock_skew_s", (1.0, "clock_unsound"), (60.0, "permitted"), base={"limits.epoch_lease_s": 60.0})
async def clock_skew_s(place: Place) -> object:
    """A clock five seconds behind the latest time that was."""
    async with place.house() as house:
        write_mark(house.state, house.clock.now_ms() + 5_000)
    async with place.stand() as stand:
        token = await stand.token()
        stand.runtime.guard.arm()
        await stand.runtime.revoke.look()
        return (await stand.call("echo", token=token)).reason
