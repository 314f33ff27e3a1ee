"""Calls: well-formed ones, raw bytes, retries, and several in order or at once."""

import asyncio
import base64
import os
import re
from typing import Any

from adversarial.expand import expanded, generated
from adversarial.fixture import complete
from adversarial.model import Observed, Unreadable, Word
from adversarial.run import Run, perform, verb
from adversarial.verbs import admin, identity, oauth
from adversarial.wire import VERSION, headers_for, modern
from adversarial.world import HOST, encode, public
from lictor.model.action import ActionKind, ActionRequest, SealedArguments
from lictor.model.ids import HoldId, RequestId, ServerName
from lictor.model.reasons import Reason
from lictor.service.calls.authorize import Refused

ROUNDS = int(os.environ.get("LICTOR_ROUNDS", "6"))
"""Rounds of a race. A change runs few, a release many; the number is reported with the result."""
_OUR_APPROVAL = re.compile(r"a\d+")
_REFERENCES = ("approval", "approval_id")
_SENTINEL = re.compile(r"=\?base64\?(.*)\?=")
_STATE = re.compile(r"state\((\w+)\)")


@verb("mcp.call", "tool", "args", "gen", "as_agent", "as_user", "agent", "user", "signals", "headers", "auth", "note")
async def call(run: Run, step: dict[str, Any]) -> Observed:
    """A well-formed `tools/call`. A tool that takes an approval is the case's way to redeem one."""
    about_oauth = await oauth.called(run, step)
    if about_oauth is not None:
        return about_oauth
    arguments = {**expanded(step.get("args", {})), **(generated(step["gen"]) if "gen" in step else {})}
    reference = next((arguments[name] for name in _REFERENCES if name in arguments), None)
    tool = _sibling(run, step.get("tool") or _tool_for(run, arguments), arguments)
    if tool.endswith(".prepare"):
        return await _prepare(run, arguments)
    if reference is not None or tool.endswith(".commit"):
        changes = {name: value for name, value in arguments.items() if name not in _REFERENCES}
        return await _redeem(run, str(reference or "a1"), changes)
    session = await run.world.session(
        step.get("as_agent", step.get("agent", "A1")), step.get("as_user", step.get("user", "alice"))
    )
    for kind, score in step.get("signals", {}).items():
        source = "test:detector"
        await run.world.main.house.signals.observe(session.task.id, kind, score, source=source)
    more = step.get("headers", {})
    seen = await run.world.call(tool, arguments, session=session, more=list(more.items()))
    seen.facts |= {"given": list(arguments), "headers": more}
    for variant in run.world.variants:
        changed = {**complete(tool, arguments), **variant}
        kept = {name: value for name, value in changed.items() if value is not None}
        params = {"name": public(tool), "arguments": kept}
        other = await run.world.request(session, "tools/call", params)
        if (other.word, other.reason) != (seen.word, seen.reason):
            raise AssertionError(f"with {variant}: {other.summary()}, not {seen.word} {seen.reason}")
    return seen


def _tool_for(run: Run, arguments: dict[str, Any]) -> str:
    """Where a case names no tool: the one of the fixture that declares all these arguments."""
    for server, tools in run.world.servers.offered.items():
        for tool in tools:
            if arguments.keys() <= tool["inputSchema"]["properties"].keys():
                return f"{server}.{tool['name']}"
    raise Unreadable(f"no tool of the fixture takes {sorted(arguments)}")


def _sibling(run: Run, tool: str, arguments: dict[str, Any]) -> str:
    """A list where the tool declares a text is for the tool of the same server that declares the same argument as a list."""
    server, _, name = tool.partition(".")
    offered = {one["name"]: one["inputSchema"]["properties"] for one in run.world.servers.offered.get(server, [])}
    for argument, value in arguments.items():
        if isinstance(value, list) and offered.get(name, {}).get(argument, {}).get("type") == "string":
            for other, declared in offered.items():
                if declared.get(argument, {}).get("type") == "array" and declared.keys() == offered[name].keys():
                    return f"{server}.{other}"
    return tool


async def _prepare(run: Run, arguments: dict[str, Any]) -> Observed:
    """First half of an act in two steps: asked for, and approved; what is left is to come back for it."""
    held = await run.world.hold("a1", arguments=complete("bank.transfer", arguments))
    await run.world.approve(held)
    return Observed(word=Word.HOLD, reason=Reason.NEEDS_APPROVAL.value)


@verb("new_session")
async def new_session(run: Run, step: dict[str, Any]) -> Observed:
    """The same agent for the same person, in a task of its own."""
    run.world.sessions["A1/alice"] = await run.world.new_session()
    return Observed()


async def _redeem(run: Run, reference: str, changes: dict[str, Any], gateway: int = 0) -> Observed:
    world = run.world
    if not _OUR_APPROVAL.fullmatch(reference):
        return await forged(run, reference)
    if reference not in world.approvals:
        held = await world.hold(reference)
        await world.approve(held)
        run.mark()
    held = world.approvals[reference]
    asking = await world.session(held.session.agent, held.session.human)
    return await world.redeem(held, changes, session=asking, gateway=gateway)


async def forged(run: Run, reference: str) -> Observed:
    """A reference that is no approval of ours, brought in the two ways there are: in the protocol's state, and as a hold's name.

    The state is opened before anything is decided, so it never gets as far as an approval; the answer observed is that of the
    use case, which is handed the bare name.
    """
    world = run.world
    wire = await world.call("bank.transfer", {}, state=reference)
    session = await world.session()
    sealed = SealedArguments.seal(complete("bank.transfer", {}))
    request = ActionRequest.make(
        id=RequestId(world.ids.new("req")),
        kind=ActionKind.TOOL,
        server=ServerName("bank"),
        name="transfer",
        arguments=sealed,
        agent=session.task.agent,
        human=session.task.human,
        task=session.task.id,
    )
    runtime = world.main.runtime
    definition = runtime.calls.offers.definition(ActionKind.TOOL, ServerName("bank"), "transfer")
    outcome = await runtime.gateway.authorize(request, definition=definition, hint=HoldId(reference))
    seen = Observed(facts={"wire": wire})
    if isinstance(outcome, Refused) and wire.word is Word.REJECT:
        seen.word, seen.reason = Word.DENY, outcome.reason.value
    return seen


@verb("mcp.raw", "body", "headers", "body_desc", "encoding", "gen", "as_agent", "as_user", "peer")
async def raw(run: Run, step: dict[str, Any]) -> Observed:
    """Literal bytes, or a message in words with headers that may say something else."""
    world = run.world
    session = await world.session()
    if "body_desc" in step:
        return await _described(run, step)
    text = step["body"] if "body" in step else generated(step["gen"])
    body = text.encode(step.get("encoding", "utf-8"), "surrogatepass")
    stated = [("MCP-Protocol-Version", VERSION), ("Mcp-Method", "tools/call")]
    seen = await world.send(session, [*world.transport(session), *stated, *_pairs(step.get("headers", []))], body)
    seen.facts["body"] = text
    return seen


_NAMED = re.compile(r"(?:body: )?(?:(?:method )?(?P<method>[a-z]+/[a-z]+) ?)?(?:name (?:= )?\"?(?P<name>[\w.]+)\"?)?")
_READING = re.compile(r"resources/read (?P<uri>\S+)")
_ARGUMENT = re.compile(r"arguments\.(?P<argument>\w+) = \"(?P<value>[^\"]*)\"")


async def _described(run: Run, step: dict[str, Any]) -> Observed:
    about_the_sender = await identity.described(run, step)
    if about_the_sender is not None:
        return about_the_sender
    about_a_page_or_session = await oauth.described(run, step)
    if about_a_page_or_session is not None:
        return about_a_page_or_session
    about_the_control_plane = await admin.described(run, step)
    if about_the_control_plane is not None:
        return about_the_control_plane
    reading = _READING.fullmatch(step["body_desc"])
    if reading is not None:
        seen = await run.world.read(reading["uri"])
        seen.facts["uri"] = reading["uri"]
        return seen
    method, tool, arguments = "tools/call", _tool_named_in(run), {}
    argument = _ARGUMENT.fullmatch(step["body_desc"])
    named = _NAMED.fullmatch(step["body_desc"])
    if argument is not None:
        arguments[argument["argument"]] = argument["value"]
    elif named is not None and step["body_desc"].strip():
        method, tool = named["method"] or method, named["name"] or tool
    else:
        raise Unreadable(f"no message: {step['body_desc'][:120]!r}")
    session = await run.world.session()
    params = {"name": public(tool), "arguments": complete(tool, arguments)} if method == "tools/call" else {}
    if run.meta_version:
        params["_meta"] = {"io.modelcontextprotocol/protocolVersion": run.meta_version}
    message = modern(method, params)
    given = _pairs(step.get("headers", []))
    lower = {name.lower() for name, _ in given}
    right = [(name, value) for name, value in headers_for(message, HOST, session.token) if name.lower() not in lower]
    seen = await run.world.send(session, [*right, *given], encode(message))
    seen.facts |= {"message_sent": message, "headers_given": given, "headers_right": right}
    return seen


def _tool_named_in(run: Run) -> str:
    """The tool the precondition speaks of, else a harmless one."""
    names = [f"{server}.{tool['name']}" for server, tools in run.world.servers.offered.items() for tool in tools]
    return next((name for name in names if name in run.precondition), "fs.read_file")


def _pairs(headers: Any) -> list[tuple[str, str]]:
    """Headers with the case's tool names as this gateway publishes them."""
    items = headers.items() if isinstance(headers, dict) else headers
    return [(name, _published(value) if name.lower() == "mcp-name" else value) for name, value in items]


def _published(value: str) -> str:
    encoded = _SENTINEL.fullmatch(value)
    if encoded is None:
        return public(value)
    inner = public(base64.b64decode(encoded[1]).decode())
    return f"=?base64?{base64.b64encode(inner.encode()).decode()}?="


@verb("mcp.retry", "requestState", "as_user")
async def retry(run: Run, step: dict[str, Any]) -> Observed:
    """Somebody comes back with a state; `state(alice)` is one that was handed to alice's agent."""
    match = _STATE.fullmatch(step["requestState"])
    if match is None:
        raise Unreadable(f"no state: {step['requestState'][:80]!r}")
    owner = await run.world.session("A1", match[1])
    held = await run.world.hold("retry", session=owner)
    run.mark()
    return await run.world.redeem(held, session=await run.world.session("A1", step.get("as_user", "alice")))


@verb("redeem", "as_agent", "approval", "clock")
async def redeem(run: Run, step: dict[str, Any]) -> Observed:
    """Use an approval, perhaps as somebody else or much later."""
    world, name = run.world, step.get("approval", "a1")
    if name not in world.approvals:
        await world.approve(await world.hold(name))
    run.mark()
    if "clock" in step:
        world.clock.advance(duration_ms(step["clock"]))
    agent = step.get("as_agent", "A1")
    return await world.redeem(world.approvals[name], session=await world.session(agent, "alice"))


_DURATION = re.compile(r"\+?(\d{1,6})\s*(s|m|h|d)")
_UNITS = {"s": 1_000, "m": 60_000, "h": 3_600_000, "d": 86_400_000}


def duration_ms(text: str) -> int:
    """`+601s`, `15m`."""
    match = _DURATION.fullmatch(text)
    if match is None:
        raise Unreadable(f"no duration: {text[:40]!r}")
    return int(match[1]) * _UNITS[match[2]]


@verb("steps", "steps")
async def steps(run: Run, step: dict[str, Any]) -> Observed:
    """One after the other; what counts is how the last one ends."""
    found = [await perform(run, one) for one in step["steps"]]
    last = found[-1]
    last.facts["steps"] = found
    return last


@verb("repeat", "n", "do")
async def repeat(run: Run, step: dict[str, Any]) -> Observed:
    """The same again and again; what counts is how the last one ends."""
    found = [await perform(run, _numbered(step["do"], number)) for number in range(int(step["n"]))]
    last = found[-1]
    last.facts["steps"] = found
    return last


def _numbered(step: dict[str, Any], number: int) -> dict[str, Any]:
    arguments = {
        name: value.replace("{i}", str(number)) if isinstance(value, str) else value
        for name, value in step.get("args", {}).items()
    }
    return {**step, **({"args": arguments} if arguments else {})}


@verb("parallel", "n", "gateways", "do", "fault", "clients", "id", durable=True)
async def parallel(run: Run, step: dict[str, Any]) -> Observed:
    """Many at once, on several gateways over one log; without `do` it is an approval that is redeemed."""
    if "clients" in step:
        from adversarial.verbs.isolation import colliding

        return await colliding(run, int(step["clients"]), step["id"])
    wanted = step.get("do", {"op": "mcp.call", "tool": "bank.commit", "args": {"approval": "a1"}})
    arguments = wanted.get("args", {})
    if not any(name in arguments for name in _REFERENCES):
        if wanted.get("op") != "mcp.call" or "tool" not in wanted or "fault" in step:
            raise Unreadable("only calls and the redemption of an approval can be run in parallel")
        from adversarial.verbs.measures import race

        return await race(run, wanted, int(step["n"]), ROUNDS)
    if "fault" in step:
        from adversarial.verbs.faults import lost_connection

        return await lost_connection(run, step["fault"])
    gateways, many = int(step.get("gateways", 1)), int(step["n"])
    rounds = []
    for _ in range(ROUNDS):
        session = await run.world.new_session()
        held = await run.world.hold("race", session=session)
        await run.world.approve(held)
        before = len(run.world.servers.effects)
        found = await asyncio.gather(*(run.world.redeem(held, gateway=number % gateways) for number in range(many)))
        allowed = sum(seen.word is Word.ALLOW for seen in found)
        rounds.append((allowed, len(run.world.servers.effects) - before, sorted({seen.reason for seen in found})))
    violations = sum(allowed != 1 or effects != 1 for allowed, effects, _ in rounds)
    run.world.dialogue.append(f"   {len(rounds)} rounds, {violations} violations; 95 % bound {3 / len(rounds):.3f}")
    return Observed(word=Word.ALLOW, facts={"rounds": rounds, "violations": violations})
