"""`lictor run --server NAME -- command…`: one MCP server behind Lictor, over this process's standard streams.

This is what an MCP client starts. The identity is the process it started, for the operating system's user; the task it opens
lives as long as the process. Start-up is on every client's critical path, so imports are late.
"""

import argparse
import asyncio
import getpass
import signal
import sys
from collections.abc import Mapping

from lictor.cli.main import common
from lictor.cli.output import Exit
from lictor.model.agent import Agent
from lictor.model.ids import AgentId


def add(_: str, parser: argparse.ArgumentParser) -> None:
    """Arguments."""
    common(parser)
    parser.add_argument("--server", required=True, metavar="NAME", help="the server's name in the catalogue")
    parser.add_argument(
        "--agent", default="", help="the agent of agents.toml that this client is (default: the only one)"
    )
    parser.add_argument("--purpose", default="", help="declared purpose of the task (default: the first one declared)")
    parser.add_argument("--text", default="", help="what the person asked, in their words")
    parser.add_argument("--cwd", default="", metavar="DIR", help="where to start the server")
    parser.add_argument("--pass-env", action="append", default=[], metavar="NAME", help="hand a variable to the server")
    parser.epilog = "example: lictor run --server git -- mcp-server-git --repository ."
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Serve one server over stdio until the client goes."""
    try:
        return asyncio.run(_run(args, args.command))
    except asyncio.CancelledError:
        return Exit.INTERRUPTED


async def _run(args: argparse.Namespace, command: list[str]) -> int:
    from lictor.app import Runtime, bundle_path, open_house, servers_of
    from lictor.config import ServerSettings
    from lictor.model.identity import Opener
    from lictor.model.ids import HumanId, ServerName
    from lictor.model.task import Budget
    from lictor.pep.mcp.downstream.stdio import serve_stdio
    from lictor.service.tasks.tasks import Wish

    house = await open_house(bundle_path(args.bundle))
    name = ServerName(args.server)
    if command:
        defaults = ServerSettings(command=tuple(command))
        passed = (*defaults.pass_env, *args.pass_env)
        servers = {name: ServerSettings(command=tuple(command), cwd=args.cwd, pass_env=passed)}
    else:
        servers = servers_of(house.settings, [name])
    runtime = Runtime(house, servers, prefixed=False)
    _end_in_order()
    async with runtime.running():
        user = f"os:{getpass.getuser()}"
        wish = Wish(
            agent=_agent(args.agent, house.policy.current().agents),
            human=HumanId(user),
            purpose=args.purpose or (house.bundle.purposes[0] if house.bundle else ""),
            text=args.text,
            ttl_s=house.settings.task_ttl_s,
            budget=Budget(),
            bearer=False,
        )
        opened = await house.open(Opener(kind="operator", name=user), wish, audience="local", by=user)
        try:
            await serve_stdio(runtime.gateway, house, opened.task.id, sys.stdin.buffer, sys.stdout.buffer)
        finally:
            await house.tasks.close(opened.task.id, by=user)
    return Exit.OK


def _end_in_order() -> None:
    """Clients that do not wait for the end of input send SIGTERM: the task is closed and the server stopped then, too."""
    current = asyncio.current_task()
    if current is not None:
        asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, current.cancel)


def _agent(named: str, registered: Mapping[AgentId, Agent]) -> AgentId:
    """The agent this client is; with several registered it has to be said which."""
    if named or len(registered) != 1:
        return AgentId(named)
    return next(iter(registered))
