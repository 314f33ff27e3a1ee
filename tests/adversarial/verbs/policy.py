"""Policy: evaluated with hostile facts, deployed, refused; and a gateway that is started with something wrong."""

import asyncio
import json
import re
from pathlib import Path
from typing import Any

from adversarial import fixture
from adversarial.fixture import fixture_files, policy_of, with_policy, with_tool
from adversarial.model import Observed, Unreadable, Word
from adversarial.run import Run, verb
from adversarial.wire import ask
from adversarial.world import HOST, World
from lictor.app import open_house
from lictor.model.errors import LictorError
from lictor.policy.lint import lint_bundle

_RULE = re.compile(
    r"(?P<all>permit all \+ )?forbid (?P<kind>when|unless) (?P<condition>.*?)(?: and (?P<absent>\w+) absent)?"
)
_STRINGS = re.compile(r"matching on raw strings: (?P<what>.*)", re.DOTALL)
_ATTRIBUTE = re.compile(r"context\.(\w+)")
_PERMIT_ALL = '@id("case/permit")\npermit(principal, action, resource);\n'


@verb("policy.eval", "context", "entities")
async def evaluate(run: Run, step: dict[str, Any]) -> Observed:
    """Facts for the rule that the precondition states, brought the only way there is: as a call that carries them.

    `context.amount` is an argument (`context.input.amount`) of a tool that declares it as a type the facts have, so that the
    engine, not the schema, meets what the case is about. A host is judged as a destination, a resource as an MCP resource.
    """
    if "entities" in step:
        from adversarial.verbs.deadline import large_graph

        return await large_graph(run, int(step["entities"]))
    context = step["context"]
    rule = _RULE.fullmatch(run.precondition)
    if rule is not None:
        return await _rule(run, rule, context)
    if _STRINGS.fullmatch(run.precondition) is None or len(context) != 1:
        raise Unreadable(f"no rule: {run.precondition[:120]!r}")
    if "host" in context:
        return await _host(run, str(context["host"]))
    if "resource" in context:
        return await _resource(run, str(context["resource"]))
    raise Unreadable(f"no fact: {context!r}")


async def _rule(run: Run, rule: re.Match[str], context: dict[str, Any]) -> Observed:
    condition = rule["condition"]
    kinds = {name: _type(condition, name, context) for name in _ATTRIBUTE.findall(condition)}
    definition = {
        "name": "evaluate",
        "inputSchema": {
            "type": "object",
            "properties": {name: {"type": kind} for name, kind in kinds.items()},
            "additionalProperties": False,
        },
    }
    clause = _ATTRIBUTE.sub(r"context.input.\1", condition)
    text = f'{_PERMIT_ALL}@id("case/forbid")\nforbid(principal, action == Action::"x/evaluate", resource) {rule["kind"]} {{ {clause} }};\n'
    await _deploy_tool(run, definition, 'effect = "read"', text)
    return await run.world.call("x.evaluate", context)


def _type(condition: str, name: str, context: dict[str, Any]) -> str:
    """A tool may declare what it likes; here it declares what is sent, or what the rule's author had in mind."""
    if name in context:
        return "integer" if isinstance(context[name], int) else "string"
    return "integer" if re.search(rf"context\.{name}\s*[<>=]+\s*\d", condition) else "string"


async def _host(run: Run, host: str) -> Observed:
    """Forbidden under its plain name; every spelling has to meet the same rule."""
    spellings = re.findall(r'"([^"]+)"', run.precondition)
    plain = host.lower()
    definition = {
        "name": "evaluate",
        "inputSchema": {
            "type": "object",
            "properties": {"url": {"type": "string"}},
            "required": ["url"],
            "additionalProperties": False,
        },
    }
    text = (
        f'{_PERMIT_ALL}@id("case/forbid")\nforbid(principal, action == Action::"x/evaluate", resource)\n'
        f'when {{ context has destination && context.destination.host like "{plain}" }};\n'
    )
    await _deploy_tool(run, definition, 'effect = "read"\ndestination = { url = "/url" }', text)
    allowed = await run.world.call("x.evaluate", {"url": "https://elsewhere.example/"})
    run.mark()
    found = {
        spelling: await run.world.call("x.evaluate", {"url": f"https://{spelling}/"})
        for spelling in [*spellings, plain, host]
    }
    seen = found[host]
    seen.facts |= {"spellings": {name: (one.word, one.reason) for name, one in found.items()}, "control": allowed.word}
    return seen


async def _resource(run: Run, resource: str) -> Observed:
    """Forbidden under its plain name, while everything beside it may be read."""
    world, plain = run.world, "".join(char for char in resource if char.isascii()).strip()
    base = "res://case/"
    world.servers.resources["x"] = [base + plain]
    entries = f'\n[resources."{base}{plain}"]\neffect = "read"\n\n[resources."{base}*"]\neffect = "read"\n'
    files = {**world.files, "catalog/x.toml": world.files["catalog/x.toml"] + entries.encode()}
    text = f'{_PERMIT_ALL}@id("case/forbid")\nforbid(principal, action, resource == Resource::"x/{base}{plain}");\n'
    await world.deploy(with_policy(files, "case", text))
    session = await world.session()
    control = await world.request(session, "resources/read", {"uri": f"{base}other"})
    run.mark()
    spellings = [
        resource,
        plain,
        f"{plain} ",
        f" {plain}",
        f"{plain}%20",
        f"{plain}e\u0301",
        f"{plain}\u00e9",
        f"./{plain}",
        f"%70{plain[1:]}",
    ]
    found = {}
    for spelling in spellings:
        headers = world.transport(session)
        headers += [
            ("MCP-Protocol-Version", "2026-07-28"),
            ("Mcp-Method", "resources/read"),
            ("Mcp-Name", _header(base + spelling)),
        ]
        found[spelling] = await world.request(session, "resources/read", {"uri": base + spelling}, headers=headers)
    seen = found[resource]
    seen.facts |= {"spellings": {name: (one.word, one.reason) for name, one in found.items()}, "control": control.word}
    return seen


def _header(value: str) -> str:
    from lictor.protocol.headers import encode_value

    return encode_value(value)


async def _deploy_tool(run: Run, definition: dict[str, Any], entry: str, text: str) -> None:
    run.world.servers.offered["x"].append(definition)
    await run.world.deploy(with_policy(with_tool(run.world.files, "x", definition, entry), "case", text))
    run.mark()


@verb("policy.deploy", "add", "text", "by")
async def deploy(run: Run, step: dict[str, Any]) -> Observed:
    """A rule is added while the gateway runs: one in words, or a file as somebody saved it."""
    world = run.world
    if "by" in step:
        from adversarial.verbs.registry import one_persons_change

        return await one_persons_change(run, step["by"])
    if "add" in step:
        await world.deploy(with_policy(world.files, "case", policy_of(step["add"])))
        return Observed(word=None, facts={"revision": world.main.house.policy.current().revision})
    if "…" in step["text"]:
        return await _checked(world, step["text"])
    folder = world.folder / "bundle"
    write(folder, world.files)
    before = world.main.house.policy.current().revision
    world.main.house.folder.load()
    write(folder, {"policies/case.cedar": step["text"].encode()})
    first = await world.call("fs.read_file", {})
    await _watched(run)
    seen = Observed(facts={"before": before, "after": world.main.house.policy.current().revision, "first": first})
    try:
        world.main.house.folder.load()
    except LictorError as error:
        seen.word, seen.reason, seen.text = Word.REFUSED, error.reason.value, str(error)
    return seen


async def _checked(world: World, text: str) -> Observed:
    """A rule as somebody describes it: dots for what every rule has. It goes through the check that precedes a deployment."""
    whole = text.replace("permit …", "permit (principal, action, resource)").replace("…", "").rstrip() + ";"
    rule = f'@id("case/rule")\n@owner("test")\n@reason("case")\n{whole}'
    findings = lint_bundle(fixture.bundle_of(with_policy(world.files, "case", rule)))
    mine = {finding.rule: finding.severity for finding in findings if "case.cedar" in finding.where}
    return Observed(facts={"lint": mine}, text=str(mine))


async def _watched(run: Run) -> None:
    """The gateway's own hot reload, until it has said something."""
    reload = run.world.main.runtime.reload
    reload.every_s = 0.02
    job = asyncio.create_task(reload.run())
    for _ in range(250):
        await asyncio.sleep(0.02)
        if run.world.operator:
            break
    job.cancel()
    await asyncio.gather(job, return_exceptions=True)


def write(folder: Path, files: dict[str, bytes]) -> None:
    """Bundle files on disk."""
    for name, data in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)


@verb("start", "policy_dir", "config", "perm")
async def start(run: Run, step: dict[str, Any]) -> Observed:
    """Start a gateway on a folder of its own, with something missing or something strange in its settings."""
    if "perm" in step:
        from adversarial.verbs.registry import started_with

        return await started_with(run, int(step["perm"], 8))
    folder = run.world.folder / "started"
    files: dict[str, bytes] = dict(fixture_files())
    if "policy_dir" in step:
        if step["policy_dir"] != "empty":
            raise Unreadable(f"no policy folder: {step['policy_dir']!r}")
        files = {name: data for name, data in files.items() if not name.startswith("policies/")}
    lines = [f"{name} = {_toml(value)}" for name, value in step.get("config", {}).items()]
    files["lictor.toml"] = ("\n".join(lines) + "\n").encode()
    write(folder, files)
    seen = Observed()
    try:
        house = await open_house(folder)
    except LictorError as error:
        seen.word, seen.reason, seen.text = Word.REFUSED, error.reason.value, str(error)
    else:
        house.close()
        seen.facts["started"] = True
    if "policy_dir" in step:
        await _without_policy(run, seen)
    return seen


async def _without_policy(run: Run, seen: Observed) -> None:
    """Nothing serves in that state; should anything ever do, it has to refuse everything and say that it is not ready."""
    world = run.world
    session = await world.session()
    world.main.house.policy._pdp = None
    run.mark()
    calls = [
        await world.call(tool, {}, session=session)
        for tool in ("fs.read_file", "fs.write_file", "bank.transfer", "x.set")
    ]
    seen.facts["calls"] = calls
    health = await ask(world.main.app, "GET", "/healthz", [("Host", HOST)])
    seen.facts["health"] = (health.status, health.body.decode())


def _toml(value: Any) -> str:
    return json.dumps(value)
