"""Questions to a client."""

import asyncio
import json

import pytest

from lictor.model.errors import CallerError
from lictor.model.limits import Limits
from lictor.model.reasons import Reason
from lictor.pep.mcp.downstream.asks import ASKS_AT_ONCE, Asks
from lictor.pep.mcp.downstream.door import read_message
from lictor.protocol.jsonrpc import Response


class Client:
    """Keeps what it was asked."""

    def __init__(self) -> None:
        self.asks = Asks()
        self.got: list[dict] = []

    async def send(self, data: bytes) -> bool:
        self.got.append(json.loads(data))
        return True

    def answer(self, text: str) -> bool:
        data = text.encode()
        response = read_message(data, Limits())
        assert isinstance(response, Response)
        return self.asks.resolve(response, data)


async def test_only_the_right_id_answers_and_only_once() -> None:
    """Invented ids, other types and late answers are ignored; the result's bytes arrive untouched."""
    client = Client()
    job = asyncio.create_task(client.asks.ask(client.send, "roots/list", {}, timeout_s=5))
    await asyncio.sleep(0)
    assert not client.answer('{"jsonrpc":"2.0","id":"1","result":{}}')
    assert not client.answer('{"jsonrpc":"2.0","id":2,"result":{}}')
    assert client.answer('{"jsonrpc":"2.0","id":1,"result":{"b": 1.0,  "a":[]}}')
    assert (await job).result == b'{"b": 1.0,  "a":[]}'
    assert not client.answer('{"jsonrpc":"2.0","id":1,"result":{}}')


async def test_a_question_is_withdrawn_when_nobody_waits() -> None:
    """Late is refused, and the client is told."""
    client = Client()
    with pytest.raises(CallerError) as caught:
        await client.asks.ask(client.send, "roots/list", {}, timeout_s=0.01)
    assert caught.value.reason is Reason.CANCELLED
    await asyncio.sleep(0.01)
    assert client.got[-1]["method"] == "notifications/cancelled"
    assert client.got[-1]["params"]["requestId"] == client.got[0]["id"]


async def test_questions_are_bounded_and_fail_when_the_client_goes() -> None:
    """One too many is refused; all end at once with the connection."""
    client = Client()
    jobs = [asyncio.create_task(client.asks.ask(client.send, "x", {}, timeout_s=5)) for _ in range(ASKS_AT_ONCE)]
    await asyncio.sleep(0)
    with pytest.raises(CallerError) as caught:
        await client.asks.ask(client.send, "x", {}, timeout_s=5)
    assert caught.value.reason is Reason.OVERLOADED
    client.asks.close()
    results = await asyncio.wait_for(asyncio.gather(*jobs, return_exceptions=True), 10)
    assert all(isinstance(result, CallerError) for result in results)
