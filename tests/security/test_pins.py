"""A thing runs only while the very connection it runs on offers the definition a person looked at."""

import pytest

from lictor.model.approval import seal_of
from lictor.pep.mcp.seam import Era
from lictor.service.people.approve import Proof
from security.house import BOB, CHANGED, TOOLS, House, Line, reason

WRITE = "write-file/v1.2"
ARGUMENTS = {"path": "a", "content": "b"}
URLS = {"elicitation": {"url": {}}}


async def test_definition_changed_while_a_person_looks() -> None:
    """The pin is checked against the present definition when the approval is used, not the one before the wait.

    Control: unfixed, the digest taken before the question is used again and the changed tool runs.
    """
    house = House(server_era=Era.LEGACY, wait_s=5.0)
    task = await house.task()
    channel = Line(can_ask=True)

    async def person(_: str) -> bytes:
        server = house.servers[0]
        server.tools = CHANGED
        await server.notices("notifications/tools/list_changed", {})
        [hold] = house.store.holds(pending_only=True)
        await house.answer.approve(hold.id, Proof(human=BOB), seal_of(hold))
        return b'{"action":"accept"}'

    channel.reply = person
    answer = await house.call(task, WRITE, ARGUMENTS, era=Era.LEGACY, channel=channel, capabilities=URLS)
    assert reason(answer) == "tool_changed"
    assert house.servers[0].sent == []


async def test_the_same_wait_without_a_change_runs() -> None:
    """The other half: an unchanged tool runs after the wait."""
    house = House(server_era=Era.LEGACY, wait_s=5.0)
    task = await house.task()
    channel = Line(can_ask=True)

    async def person(_: str) -> bytes:
        [hold] = house.store.holds(pending_only=True)
        await house.answer.approve(hold.id, Proof(human=BOB), seal_of(hold))
        return b'{"action":"accept"}'

    channel.reply = person
    answer = await house.call(task, WRITE, ARGUMENTS, era=Era.LEGACY, channel=channel, capabilities=URLS)
    assert reason(answer) == ""
    assert len(house.servers[0].sent) == 1


async def test_a_change_during_the_listing_is_not_forgotten() -> None:
    """A change notice that arrives while the list is being read makes the next call read it again.

    Control: unfixed, the end of the reading marks the old list as fresh for a minute and the changed tool runs.
    """
    house = House()
    task = await house.task()

    def lie(server: object) -> None:
        async def while_listing(method: str) -> None:
            if method == "prompts/list":
                house.servers[0].tools = CHANGED
                await house.servers[0].notices("notifications/tools/list_changed", {})
                house.servers[0].before_list = None

        server.before_list = while_listing  # type: ignore[attr-defined]

    house.on_connect = lie
    await house.call(task, "read_file", {"path": "a"})
    assert reason(await house.call(task, "read_file", {"path": "b"})) == "tool_changed"


async def test_a_fresh_connection_is_looked_at() -> None:
    """A server that was restarted (or answers another task) shows its list before anything on it runs.

    Control: unfixed, one connection's list vouches for all others for a minute.
    """
    house = House()
    first, second = await house.task(), await house.task()
    assert reason(await house.call(first, "read_file", {"path": "a"})) == ""

    def lie(server: object) -> None:
        server.tools = CHANGED  # type: ignore[attr-defined]

    house.on_connect = lie
    assert reason(await house.call(second, "read_file", {"path": "a"})) == "tool_changed"
    assert house.servers[1].sent == []
    await house.servers[0].close()
    assert reason(await house.call(first, "read_file", {"path": "a"})) == "tool_changed"


async def test_one_connections_list_does_not_vouch_for_anothers() -> None:
    """A connection that changed stays refused, whatever an honest one shows meanwhile; and the honest one goes on.

    Control: with one list a server for all connections, whoever listed last decides for everybody.
    """
    house = House()
    first, second = await house.task(), await house.task()
    await house.call(first, "read_file", {"path": "a"})
    house.servers[0].tools = CHANGED
    await house.servers[0].notices("notifications/tools/list_changed", {})
    assert reason(await house.call(first, "read_file", {"path": "a"})) == "tool_changed"
    assert reason(await house.call(second, "read_file", {"path": "a"})) == ""
    assert reason(await house.call(first, "read_file", {"path": "a"})) == "tool_changed"
    assert len(house.servers[0].sent) == 1


@pytest.mark.parametrize("rounds", [40])
async def test_names_a_server_invents_are_not_kept(rounds: int) -> None:
    """A server that offers other names each time costs no memory beyond its present list.

    Control: unfixed, a table of definitions holds every name ever seen.
    """
    house = House()
    task = await house.task()
    await house.call(task, "read_file", {"path": "a"})
    for turn in range(rounds):
        house.servers[0].tools = [*TOOLS, *({"name": f"n{turn}_{i}", "inputSchema": {}} for i in range(50))]
        await house.ask(task, "tools/list", {})
    for part in (house.gateway, house.offers):
        kept = [getattr(part, name, None) for name in getattr(part, "__slots__", None) or vars(part)]
        assert sum(f"'n{turn}_" in repr(kept) for turn in range(rounds)) <= 1
