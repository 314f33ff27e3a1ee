"""A real house of Lictor for one upstream: a bundle folder as a user writes it, a task, and a store of either kind."""

import json
from pathlib import Path
from typing import Any

from benchmarks.wire import TOOL
from lictor.app import House, HttpPool, check_engine, connect_server, open_house
from lictor.app.house import furnish
from lictor.config import ServerSettings, read_settings
from lictor.model.ids import AgentId, HumanId
from lictor.model.limits import Limits
from lictor.model.task import Budget
from lictor.pep.mcp.lists import fetch_all
from lictor.policy.catalogue import pin_of
from lictor.stores.keys import Keys
from lictor.stores.memory import MemoryStore

AGENT, HUMAN = AgentId("bench"), HumanId("os:bench")
CALLS = 1_000_000_000
POLICY = """
@id("reads") @owner("os:bench") @reason("reading is allowed")
permit (principal, action in [Action::"read"], resource);

@id("writes") @owner("os:bench") @reason("writing needs a person")
permit (principal, action in [Action::"write"], resource)
when { context has approval && context.approval.groups.contains("owner") };
"""


async def tools_of(port: int) -> list[dict[str, Any]]:
    """The tools a server offers, through our own client."""
    pool, limits = HttpPool(), Limits()
    upstream = await connect_server("up", ServerSettings(url=f"http://127.0.0.1:{port}/mcp"), limits, pool)
    try:
        return await fetch_all(upstream, "tools/list", limits)
    finally:
        await upstream.close()
        await pool.close()


def write_bundle(folder: Path, port: int, upstream: int, tools: list[dict[str, Any]]) -> None:
    """A bundle for these tools, all reads."""
    entries = "".join(f'[tools.{tool["name"]}]\neffect = "read"\npin = "{pin_of(tool)}"\n' for tool in tools)
    files = {
        "lictor.toml": f'[listen]\nport = {port}\n[limits]\ninflight_per_task = 64\n[servers.up]\nurl = "http://127.0.0.1:{upstream}/mcp"\n',
        "agents.toml": f'purposes = ["measure"]\n[agents.{AGENT}]\nowner = "{HUMAN}"\nreview_by = 2099-12-31\n',
        "approvers.toml": f'four_eyes = false\n[approvers."{HUMAN}"]\ngroups = ["owner"]\n',
        "policies/bench.cedar": POLICY,
        "catalog/up.toml": entries,
        "catalog/up.definitions.json": json.dumps({"tools": tools}),
    }
    for name, text in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, "utf-8")


async def opened(folder: Path, port: int, upstream: int, *, durable: bool) -> tuple[House, str]:
    """The house and a task's token."""
    tools = await tools_of(upstream)
    if TOOL not in {tool["name"] for tool in tools}:
        raise ValueError("the upstream does not offer the tool")
    write_bundle(folder, port, upstream, tools)
    house = await open_house(folder) if durable else await _in_memory(folder)
    task = await house.tasks.open(
        agent=AGENT,
        human=HUMAN,
        purpose="measure",
        trusted_text="",
        ttl_s=7_200,
        budget=Budget(calls=CALLS),
        audience=house.settings.audience,
        by=HUMAN,
        token=True,
    )
    return house, str(task.token)


async def _in_memory(folder: Path) -> House:
    """`lictor.app.open_house` with the store that forgets."""
    settings = read_settings(folder)
    state = folder / settings.state
    keys = Keys.open(state)
    house = furnish(folder, settings, state, keys, MemoryStore(signer=keys.signer))
    check_engine()
    await house.activate(house.folder.load())
    return house
