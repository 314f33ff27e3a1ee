"""How each precondition is made true. Three sorts: some say what the input looks like, some are checked, some are set up.

Patterns have to match the whole text, so that half-understood words never count as understood.
"""

import re
from decimal import Decimal
from typing import Any

from adversarial.fixture import with_approver, with_policy
from adversarial.model import NoSetup, Word
from adversarial.run import Run, nested, precondition
from lictor.model.action import ActionKind

TOOL = r"[a-z]+\.[a-z_]+"

# -- what the input looks like: nothing to set up ------------------------------------------------------------------------


@precondition(
    r"body in another encoding",
    r"two documents",
    r"string with lone surrogate",
    r"two [\w-]+ headers",
    r"upstream tool definition",
    r"schema bomb",
    r"schema with catastrophic pattern",
    r"requestState of user \w+ sent by user \w+",
    r"key order/whitespace of the definition changed only",
    r"only [\w.]+ changed",
    r"second server offers a tool of the same name",
    r"tools/list differs between two fetches in one second",
    r"stdio server entry added by API",
    r"argument with \d+ blank lines, then the payload",
    r"argument of \d+ kB, payload in the middle",
    r"ANSI: .*",
    r"RTL override: .*",
    r"IDN homograph: .*",
    r"tag characters .* appended to text",
    r"HTML/Markdown in an argument, web console",
    r"argument contains a fake approval screen",
    r"same agent raises \d+ HOLDs in \d+ s",
    r"no answer until the deadline",
    r"approval link fetched by a mail scanner \(GET\)",
    r"amount as JSON float",
    r"Cedar Long",
    r"negative amount",
    r"integer over 2\^53 to a JavaScript upstream",
    r"boolean for a number",
    r"no policy loaded at all",
    r"policy file with a syntax error deployed while running",
    r"rule with an empty set condition",
    r"matching on raw strings: .*",
    r"(?:permit all \+ )?forbid (?:when|unless) .*",
    r"model says allowed: arguments .*",
    r"zero audit sinks configured",
    r"body larger than the inspection buffer, violation after byte \d+",
    r"flip each bit of a closed segment",
    r"delete the last k records, k=1\.\.n",
    r"delete the whole log of one tenant / one day file",
    r"swap two records / duplicate one / insert one",
    r"split view: two different heads of the same size shown to two auditors",
    r"two gateways append at the same moment",
    r"effect without a record: count upstream effects against decisions after 10\^6 calls",
    r"administrator runs SQL DELETE on the log table",
    r"replay a decision from its record on the same policy version",
    r"secrets and personal data in records",
)
async def described(run: Run, match: re.Match[str]) -> None:
    """The verb does all of it."""


@precondition(
    r"same approval redeemed twice in sequence",
    r"same approval redeemed by \d+ parallel requests on \d+ gateways",
    r"redeem on gateway 1 while the database connection of gateway 2 is lost between check and commit",
    r"approval older than its \d+ min",
    r"policy changed to forbid between approval and commit",
)
async def an_approval(run: Run, match: re.Match[str]) -> None:
    """An approval that exists: the verb that uses it asks for it, and a person gives it, when no step does."""


# -- what has to agree with the input, or with the fixture ---------------------------------------------------------------


@precondition(r"protocol (?P<version>\d{4}-\d\d-\d\d)")
async def protocol(run: Run, match: re.Match[str]) -> None:
    """The version the runner's client speaks."""
    if match["version"] != "2026-07-28":
        raise NoSetup(f"the runner's client does not speak {match['version']}")


@precondition(r"header version (?P<header>[\d-]+), body _meta protocolVersion (?P<body>[\d-]+)")
async def two_versions(run: Run, match: re.Match[str]) -> None:
    """The body names another version than the header."""
    run.meta_version = match["body"]


@precondition(r"JSON-RPC batch while the protocol version has none")
async def no_batches(run: Run, match: re.Match[str]) -> None:
    """True of every version served."""


@precondition(r"Go upstream that folds case", r"numeric argument declared as number")
async def lenient(run: Run, match: re.Match[str]) -> None:
    """What a server would make of the bytes: here nobody but the gateway reads them first, and the counter sees the rest."""


@precondition(rf"(?P<tool>{TOOL}) limit (?P<limit>[\d,.]+) without approval")
async def small_limit(run: Run, match: re.Match[str]) -> None:
    """Up to the limit it runs, a cent above it is held."""
    await _limit(run, match["tool"], match["limit"], above=Word.HOLD)


@precondition(r"limit (?P<limit>[\d,.]+)")
async def large_limit(run: Run, match: re.Match[str]) -> None:
    """Above the limit it is forbidden: what the case sends has to be stopped by something better than luck."""
    await _limit(run, "bank.transfer", match["limit"], above=Word.DENY)


async def _limit(run: Run, tool: str, limit: str, *, above: Word) -> None:
    amount = Decimal(limit.replace(",", ""))
    session = await run.world.new_session()
    at = await run.world.call(tool, {"amount": f"{amount:.2f}"}, session=session)
    over = await run.world.call(tool, {"amount": f"{amount + Decimal('0.01'):.2f}"}, session=session)
    if at.word is above or over.word is not above:
        raise NoSetup(f"the fixture's limit is not {limit}: {at.summary()} / {over.summary()}")


@precondition(rf"x-mcp-header (?P<header>\w+) on (?P<tool>{TOOL})")
async def mirrored(run: Run, match: re.Match[str]) -> None:
    """The definition mirrors an argument into this header."""
    server, name = match["tool"].split(".")
    properties = run.world.servers.tool(server, name)["inputSchema"]["properties"].values()
    if not any(one.get("x-mcp-header") == match["header"] for one in properties):
        raise NoSetup(f"{match['tool']} mirrors nothing into {match['header']}")


@precondition(r"tool name outside the pinned catalogue")
async def uncatalogued(run: Run, match: re.Match[str]) -> None:
    """The name is in no list."""
    for step in run.inputs:
        if step.get("tool") in _tools(run):
            raise NoSetup(f"{step['tool']} is in the catalogue")


@precondition(r"extra argument not in the schema")
async def undeclared(run: Run, match: re.Match[str]) -> None:
    """The tool is known and does not declare all of the arguments."""
    for step in run.inputs:
        declared = _tools(run)[step["tool"]]["inputSchema"]["properties"]
        if step["args"].keys() <= declared.keys():
            raise NoSetup(f"{step['tool']} declares every argument")


@precondition(rf"(?P<tool>{TOOL}) pinned; upstream now sends a longer description")
async def pinned(run: Run, match: re.Match[str]) -> None:
    """The catalogue has a pin for it."""
    if match["tool"] not in _tools(run):
        raise NoSetup(f"{match['tool']} is not in the catalogue")


@precondition(rf"HOLD for (?P<tool>{TOOL})")
async def held(run: Run, match: re.Match[str]) -> None:
    """Policy holds it."""
    seen = await run.world.call(match["tool"], {}, session=await run.world.new_session())
    if seen.word is not Word.HOLD:
        raise NoSetup(f"{match['tool']} is not held: {seen.summary()}")


def _tools(run: Run) -> dict[str, dict[str, Any]]:
    return {f"{server}.{tool['name']}": tool for server, tools in run.world.servers.offered.items() for tool in tools}


# -- what is set up ------------------------------------------------------------------------------------------------------


@precondition(r"tool result holds (?P<text>.*)")
async def poisoned(run: Run, match: re.Match[str]) -> None:
    """The first tool that the case calls answers with this text."""
    first = next(step["tool"] for one in run.inputs for step in nested(one) if "tool" in step)
    run.world.servers.results[first] = match["text"]


@precondition(r"approval for \{(?P<arguments>[^}]*)\}")
async def approval_for(run: Run, match: re.Match[str]) -> None:
    """A held transfer with these arguments; who approves it is a step, or the verb that uses it."""
    arguments = dict(pair.split(":", 1) for pair in match["arguments"].replace(" ", "").split(","))
    await run.world.hold("a1", arguments=arguments)
    if not any(step.get("op") == "approve" for one in run.inputs for step in nested(one)):
        await run.world.approve(run.world.approvals["a1"])


@precondition(r"approved by (?P<who>\w+) for agent (?P<agent>\w+), used by (?P<other>\w+)")
async def approved_by(run: Run, match: re.Match[str]) -> None:
    """Given by this person for this agent; a requester can only approve where one pair of eyes is enough."""
    files = with_approver(run.world.files, f"test:{match['who']}", "approver")
    files["approvers.toml"] = files["approvers.toml"].replace(b"four_eyes = true", b"four_eyes = false")
    await run.world.deploy(files)
    given = await run.world.hold("a1", session=await run.world.session(match["agent"], "alice"))
    page = await run.world.approve(given, by=match["who"])
    if page.status != 200:
        raise NoSetup(f"{match['who']} could not approve: {page.body[-300:]!r}")


@precondition(r"approver = requester \((?P<who>\w+) asks and approves\)")
async def own_approver(run: Run, match: re.Match[str]) -> None:
    """The requester is in the approver group, so that nothing but four eyes stands in the way."""
    await run.world.deploy(with_approver(run.world.files, f"test:{match['who']}", "approver"))


@precondition(r"currency omitted(?P<others>(?: / (?:\"[^\"]*\"|\w+))*)")
async def currencies(run: Run, match: re.Match[str]) -> None:
    """Tried one by one beside what the case sends: none at all, and each of these."""
    others = [found.strip('"') for found in re.findall(r"\"[^\"]*\"|\w+", match["others"])]
    run.world.variants = [{"currency": None}, *({"currency": other} for other in others)]


@precondition(r"fail_mode: \"(?P<value>\w+)\"")
async def setting(run: Run, match: re.Match[str]) -> None:
    """The input has the setting."""
    if not any(step.get("config", {}).get("fail_mode") == match["value"] for step in run.inputs):
        raise NoSetup("the input has another setting")


@precondition(r"root (?P<root>/\S+)")
async def rooted(run: Run, match: re.Match[str]) -> None:
    """A path below it is read; every tool the case calls has its paths held against it."""
    plain = await run.world.call("fs.read_file", {"path": f"{match['root']}/a"}, session=await run.world.new_session())
    if plain.word is not Word.ALLOW:
        raise NoSetup(f"nothing below {match['root']} can be read: {plain.summary()}")
    _with_paths(run)


@precondition(r"traversal in a tool that is not a file tool")
async def not_a_file_tool(run: Run, match: re.Match[str]) -> None:
    """Another server than the one for files, whose path arguments are declared."""
    if any(step["tool"].startswith("fs.") for step in run.inputs):
        raise NoSetup("this is a file tool")
    _with_paths(run)


def _with_paths(run: Run) -> None:
    pdp = run.world.main.house.policy.current()
    for step in run.inputs:
        server, name = step["tool"].split(".")
        offering = pdp.offering(ActionKind.TOOL, server, name)
        if offering is None or offering.entry.path is None:
            raise NoSetup(f"{step['tool']} declares no path")


@precondition(r"symlink (?P<link>/\S+) -> (?P<target>/\S+)")
async def linked(run: Run, match: re.Match[str]) -> None:
    """The servers' file system has this link; before, what is below it can be read."""
    below = {"path": f"{match['link']}/passwd"}
    plain = await run.world.call("fs.read_file", below, session=await run.world.new_session())
    if plain.word is not Word.ALLOW:
        raise NoSetup(f"without the link it is refused as well: {plain.summary()}")
    run.world.links[match["link"]] = match["target"]


@precondition(r"deny list (?P<name>\S+)")
async def denied_name(run: Run, match: re.Match[str]) -> None:
    """A forbid on this name, which its plain spelling meets, while others are read."""
    text = f'@id("case/names")\nforbid(principal, action, resource)\nwhen {{ context has path && context.path.names.contains("{match["name"]}") }};\n'
    await run.world.deploy(with_policy(run.world.files, "case", text))
    session = await run.world.new_session()
    plain = await run.world.call("fs.read_file", {"path": f"/srv/ws/{match['name']}"}, session=session)
    other = await run.world.call("fs.read_file", {"path": f"/srv/ws/{match['name']}x"}, session=session)
    if (plain.reason, other.word) != ("forbidden", Word.ALLOW):
        raise NoSetup(f"the list does not work: {plain.summary()} / {other.summary()}")


@precondition(r"file URI and percent encoding")
async def file_uris(run: Run, match: re.Match[str]) -> None:
    """The file server offers its files as resources; a plain one can be read."""
    run.world.servers.resources["fs"] = ["file:///srv/ws/a"]
    plain = await run.world.read("file:///srv/ws/a%20b")
    if plain.word is not Word.ALLOW:
        raise NoSetup(f"a plain URI is refused: {plain.summary()}")


_FAULTS = {
    r"database unreachable": "db_down",
    r"database accepts reads, refuses writes \(read-only standby\)": "db_readonly",
    r"disk full at the decision insert": "ENOSPC",
    r"approval service down while HOLD is needed": "approval_down",
    r"external PDP times out \(200 ms\)": "pdp_timeout",
}


@precondition(*_FAULTS)
async def fault(run: Run, match: re.Match[str]) -> None:
    """The input breaks exactly this."""
    wanted = next(fault for pattern, fault in _FAULTS.items() if re.fullmatch(pattern, run.precondition))
    if any(step.get("what") != wanted for step in run.inputs):
        raise NoSetup(f"the input breaks something else than {wanted}")


@precondition(r"kill -9 between (?P<first>decision commit and upstream call|upstream call and outcome write)")
async def killed(run: Run, match: re.Match[str]) -> None:
    """The input kills exactly there."""
    wanted = "after_decision" if match["first"].startswith("decision") else "after_effect"
    if any(step.get("point") != wanted for step in run.inputs):
        raise NoSetup(f"the input kills somewhere else than {wanted}")
