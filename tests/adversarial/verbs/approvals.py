"""People: what they are shown, what they answer, and what happens when they do not."""

from typing import Any

from adversarial.expand import expanded, generated
from adversarial.fixture import with_policy, with_tool
from adversarial.model import Observed, Unreadable, Word
from adversarial.people import page_reason
from adversarial.run import Run, verb
from adversarial.verbs.calls import duration_ms
from adversarial.wire import ask
from adversarial.world import HOST, Held
from lictor.cli.held import describe
from lictor.model.ids import HoldId

RENDERED = "x.render"
_HELD = """@id("case/render")
permit(principal, action == Action::"x/render", resource)
when { context has approval && context.approval.digest == context.digest && context.approval.groups.contains("approver") };
"""


@verb("approval.render", "tool", "args", "gen", "agent_summary", "surface")
async def render(run: Run, step: dict[str, Any]) -> Observed:
    """Let a person look at a held call: on the page and in the terminal, or on the surface the case names.

    Without a tool, one that takes exactly these arguments is drafted into the catalogue.
    """
    world = run.world
    arguments = {**expanded(step.get("args", {})), **(generated(step["gen"]) if "gen" in step else {})}
    tool = step.get("tool")
    if tool is None:
        tool = RENDERED
        await _draft(run, arguments)
    meta = {"example.agent/summary": step["agent_summary"]} if "agent_summary" in step else None
    session = await world.session()
    seen = await world.call(tool, arguments, session=session, meta=meta)
    if "url" not in seen.facts or seen.word is not Word.HOLD:
        return seen
    hold = seen.facts["url"].rsplit("/", 1)[1]
    world.approvals["shown"] = Held(session, tool, arguments, seen.facts["state"], hold)
    person = await world.person("bob")
    await person.sign_in()
    page = await person.get(f"/holds/{hold}")
    found = world.store.hold(HoldId(hold))
    screens = {"web": page.body.decode(), "cli": describe(world.main.house, found)}
    if "surface" in step:
        screens = {step["surface"]: screens[step["surface"]]}
    seen.facts |= {
        "screens": screens,
        "page": page,
        "hold": hold,
        "arguments": arguments,
        "summary": step.get("agent_summary", ""),
    }
    return seen


async def _draft(run: Run, arguments: dict[str, Any]) -> None:
    definition = {
        "name": "render",
        "description": "Takes what the case says.",
        "inputSchema": {
            "type": "object",
            "properties": {name: {"type": "string"} for name in arguments},
            "required": sorted(arguments),
            "additionalProperties": False,
        },
    }
    run.world.servers.offered["x"].append(definition)
    await run.world.deploy(
        with_policy(with_tool(run.world.files, "x", definition, 'effect = "write"'), "render", _HELD)
    )


@verb("approval.flood", "n")
async def flood(run: Run, step: dict[str, Any]) -> Observed:
    """One agent asks for people so many times within a minute, each time for something else."""
    world = run.world
    found = [await world.call("bank.transfer", {"amount": f"{101 + number}.00"}) for number in range(int(step["n"]))]
    other = await world.session("A2", "eve")
    beside = await world.call("mail.send", {"to": "y@evil.example"}, session=other)
    last = found[-1]
    last.facts |= {"flood": [(seen.word, seen.reason) for seen in found], "beside": beside}
    return last


@verb("approve", "id", "by", "requested_by", "tool", "args", "cwd")
async def approve(run: Run, step: dict[str, Any]) -> Observed:
    """Somebody says yes at the console to what somebody's agent asked for: a transfer, or the program the step names."""
    world, name = run.world, step.get("id", "a1")
    if name not in world.approvals:
        session = await world.session("A1", step.get("requested_by", "alice"))
        await world.hold(name, session=session, **_wanted(step))
        run.mark()
    page = await world.approve(world.approvals[name], by=step.get("by", "bob"))
    reason = page_reason(page)
    return Observed(word=None if page.status == 200 else Word.REFUSED, reason=reason, status=page.status)


def _wanted(step: dict[str, Any]) -> dict[str, Any]:
    """A program by its words, or in a directory, is asked for with the one tool of the fixture that people are asked about."""
    if "tool" not in step and "cwd" not in step:
        return {}
    arguments = {"command": ["ls"], **step.get("args", {}), **({"cwd": step["cwd"]} if "cwd" in step else {})}
    if step.get("tool", "shell.run") != "shell.run" or not isinstance(arguments["command"], list):
        raise Unreadable("only a program is approved by its tool")
    return {"tool": "shell.run_script", "arguments": arguments}


@verb("approval.wait", "timeout")
async def wait(run: Run, step: dict[str, Any]) -> Observed:
    """Nobody answers; the agent comes back when the time is over, a person later still."""
    world = run.world
    held = await world.hold("a1")
    run.mark()
    world.clock.advance(duration_ms(step["timeout"]))
    seen = await world.redeem(held)
    late = await world.approve(held)
    again = await world.call(held.tool, held.arguments)
    seen.facts |= {"late": late.status, "again": again, "first": held.hold}
    return seen


@verb("http.get", "url")
async def get(run: Run, step: dict[str, Any]) -> Observed:
    """A link is followed by something that is no person; then forms are sent that lack what a person would have."""
    world = run.world
    path, _, query = step["url"].partition("?")
    name = path.rsplit("/", 1)[1]
    if name not in world.approvals:
        await world.hold(name)
    held = world.approvals[name]
    link = f"/holds/{held.hold}"
    size = world.store.size()
    app = world.main.app
    plain = [("Host", HOST)]
    form = [*plain, ("Content-Type", "application/x-www-form-urlencoded"), ("Origin", f"http://{HOST}")]
    body = f"answer=approve&digest={_digest(run, held)}&csrf=".encode()
    seen = Observed(word=None)
    safe = query.encode("ascii", "ignore").decode()
    seen.facts["gets"] = [(await ask(app, "GET", target, plain, query=safe)).status for target in (path, link)]
    seen.facts["grew"] = world.store.size() - size
    seen.facts["posts"] = {"without session": (await ask(app, "POST", link, form, body)).status}
    person = await world.person("bob")
    await person.sign_in()
    size = world.store.size()
    looked = await person.get(link)
    seen.facts["looked"] = (looked.status, world.store.size() - size)
    digest = _digest(run, held)
    seen.facts["posts"]["without csrf"] = (await person.post(link, {"answer": "approve", "digest": digest})).status
    seen.facts["posts"]["wrong csrf"] = (
        await person.post(link, {"answer": "approve", "digest": digest, "csrf": "x"})
    ).status
    seen.facts["status"] = _status(run, held)
    seen.facts["person"] = (await world.approve(held)).status
    seen.facts["after"] = _status(run, held)
    return seen


def _digest(run: Run, held: Held) -> str:
    found = run.world.store.hold(HoldId(held.hold))
    return str(found.digest)


def _status(run: Run, held: Held) -> str:
    found = run.world.store.hold(HoldId(held.hold))
    return str(found.status.value)
