"""Clients beside each other: the same ids, one that leaves, each other's lists."""

import asyncio
import json
import os
import re
from typing import Any

from adversarial.expectations import phrase, require
from adversarial.model import Observed, Word
from adversarial.run import Run, precondition, verb
from adversarial.verbs.lists import names
from adversarial.wire import headers_for, modern
from adversarial.world import HOST, Session, encode, public
from lictor.model.record import ExecutionEnded

Match = re.Match[str]
COLLISIONS = int(os.environ.get("LICTOR_COLLISIONS", "200"))
"""Rounds of two clients with one id (facts R18: a release runs 10,000)."""


@precondition(
    r"two clients use JSON-RPC id 1 at the same time, [\d,]+ rounds",
    r"client disconnects mid-call, its connection/worker slot is reused",
    r"tools/list cached as private for alice, then bob asks",
)
async def nothing_to_prepare(run: Run, match: Match) -> None:
    """What has to be so is made by the verb."""


def _request(session: Session, identity: Any, text: str) -> tuple[list[tuple[str, str]], bytes]:
    arguments = {"path": f"/srv/ws/{text}"}
    message = modern("tools/call", {"name": public("fs.read_file"), "arguments": arguments}, identity=identity)
    return headers_for(message, HOST, session.token), encode(message)


def _text(seen: Observed) -> str:
    content = seen.facts.get("message", {}).get("result", {}).get("content", [{}])
    return str(content[0].get("text", ""))


async def colliding(run: Run, clients: int, identity: Any) -> Observed:
    """Clients of their own tasks, one id, at the same time, again and again; every third round somebody leaves."""
    world = run.world
    world.servers.echo = True
    sessions = [await world.new_session("A1", "alice"), await world.new_session("A2", "bob")][:clients]
    wrong = []
    for number in range(COLLISIONS):
        jobs = []
        for who, session in enumerate(sessions):
            headers, body = _request(session, identity, f"{number}-{who}")
            jobs.append(asyncio.create_task(world.send(session, headers, body)))
        if number % 3 == 0:
            await asyncio.sleep(0)
            jobs[number % clients].cancel()
        found = await asyncio.gather(*jobs, return_exceptions=True)
        for who, seen in enumerate(found):
            if isinstance(seen, Observed) and f"{number}-{who}" not in _text(seen):
                wrong.append((number, who, seen.summary()))
    return Observed(facts={"wrong": wrong, "rounds": COLLISIONS})


@phrase(r"each gets its own result")
async def own_result(run: Run, seen: Observed, match: Match) -> None:
    require(seen.facts["rounds"] >= 100, "too few rounds")
    require(not seen.facts["wrong"], f"mixed up: {seen.facts['wrong'][:2]}")


@verb("abort+reuse")
async def abort(run: Run, step: dict[str, Any]) -> Observed:
    """A client leaves in the middle of a call; the next one has the same task, the same id and the same connection."""
    world = run.world
    session = await world.session()
    world.servers.echo = True
    await world.call("fs.read_file", {"path": "/srv/ws/warm"}, session=session)
    world.servers.wait = waits = asyncio.Event()
    headers, body = _request(session, 7, "left")
    leaving = asyncio.create_task(_leaving(world.main.app, headers, body))
    while not any(b"left" in effect.data for effect in world.servers.effects):
        await asyncio.sleep(0.01)
    told = await leaving
    world.servers.wait = None
    headers, body = _request(session, 7, "stayed")
    second = asyncio.create_task(world.send(session, headers, body))
    waits.set()
    seen = await second
    await world.settle()
    return Observed(
        word=seen.word,
        reason=seen.reason,
        facts={"told": told, "text": _text(seen), "message": seen.facts.get("message")},
    )


async def _leaving(app: Any, headers: list[tuple[str, str]], body: bytes) -> bytes:
    """A client that sends a request and is gone a moment later; what was sent to it all the same."""
    chunks, told = [body], b""

    async def receive() -> dict[str, Any]:
        if chunks:
            return {"type": "http.request", "body": chunks.pop(), "more_body": False}
        await asyncio.sleep(0.3)
        return {"type": "http.disconnect"}

    async def send(event: dict[str, Any]) -> None:
        nonlocal told
        told += event.get("body", b"")

    fields = [(name.lower().encode(), value.encode()) for name, value in headers]
    scope = {
        "type": "http",
        "http_version": "1.1",
        "method": "POST",
        "scheme": "http",
        "path": "/mcp",
        "raw_path": b"/mcp",
        "query_string": b"",
        "root_path": "",
        "headers": fields,
        "client": ("127.0.0.1", 1),
        "server": ("127.0.0.1", 8700),
    }
    async with asyncio.timeout(10):
        await app(scope, receive, send)
    return told


@phrase(r"late result discarded")
async def discarded(run: Run, seen: Observed, match: Match) -> None:
    require(seen.word is Word.ALLOW, seen.summary())
    require("stayed" in seen.facts["text"] and "left" not in seen.facts["text"], f"told {seen.facts['text']!r}")
    require(b"left" not in seen.facts["told"], "the client that left was sent its result")
    ended = [record.outcome for record in run.records() if isinstance(record, ExecutionEnded)]
    require("indeterminate" in ended, f"what became of the call is not said: {ended}")


@verb("list", "user")
async def list_tools(run: Run, step: dict[str, Any]) -> Observed:
    """What a user's agent sees: alice's is a payer, bob's is not."""
    agent = {"alice": "A1", "bob": "A2"}[step["user"]]
    session = await run.world.session(agent, step["user"])
    seen = await run.world.request(session, "tools/list", {})
    result = seen.facts["message"].get("result", {})
    seen.facts |= {"listed": names(seen), "scope": result.get("cacheScope")}
    return seen


@phrase(r"bob gets his own list")
async def own_list(run: Run, seen: Observed, match: Match) -> None:
    alice, bob = (one.facts["listed"] for one in seen.facts["steps"])
    require(alice and bob, f"an empty list: {alice}, {bob}")
    require("bank__transfer" in alice and "bank__transfer" not in bob, f"alice: {alice}; bob: {bob}")


@phrase(r"cache key holds the authorisation context")
async def private(run: Run, seen: Observed, match: Match) -> None:
    scopes = {one.facts["scope"] for one in seen.facts["steps"]}
    require(scopes == {"private"}, f"cacheScope: {scopes}")
    first = seen.facts["steps"][0].facts["listed"]
    again = await list_tools(run, {"user": "alice"})
    require(again.facts["listed"] == first, "alice's list changed with bob's")
    require(json.dumps(first), "a list that cannot be written")
