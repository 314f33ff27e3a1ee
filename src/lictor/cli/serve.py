"""`lictor serve`: the configured servers behind one MCP endpoint, and the approval page, over HTTP."""

import argparse
import asyncio

from lictor.cli.main import common
from lictor.cli.output import Exit


def add(_: str, parser: argparse.ArgumentParser) -> None:
    """Arguments."""
    common(parser)
    parser.add_argument("--only", action="append", default=[], metavar="NAME", help="only this server; repeatable")
    parser.set_defaults(run=lambda args: asyncio.run(_serve(args)))


async def _serve(args: argparse.Namespace) -> int:
    from lictor.app import Runtime, bundle_path, http_server, open_house, servers_of, warn

    house = await open_house(bundle_path(args.bundle))
    servers = servers_of(house.settings, args.only)
    runtime = Runtime(house, servers, prefixed=True)
    async with runtime.running():
        settings = house.settings
        warn(f"MCP endpoint  {settings.audience}  ({', '.join(servers)})")
        warn(f"approvals     {settings.public_url}/")
        warn("open a task with: lictor task open --agent NAME --purpose PURPOSE")
        await http_server(runtime).serve()
    return Exit.OK
