"""`lictor serve`: the configured servers behind one MCP endpoint, and the approval page, over HTTP."""

import argparse
import asyncio
from collections.abc import Callable

from lictor.cli.main import common
from lictor.cli.output import Exit


def add(_: str, parser: argparse.ArgumentParser) -> None:
    """Arguments."""
    common(parser)
    parser.add_argument("--only", action="append", default=[], metavar="NAME", help="only this server; repeatable")
    parser.set_defaults(run=_run)


def _run(args: argparse.Namespace) -> int:
    from lictor.app import bundle_path, servers_of
    from lictor.config import read_settings

    servers = servers_of(read_settings(bundle_path(args.bundle)), args.only)
    factory = _quick_loop() if all(server.url for server in servers.values()) else None
    with asyncio.Runner(loop_factory=factory) as runner:
        return runner.run(_serve(args))


def _quick_loop() -> Callable[[], asyncio.AbstractEventLoop] | None:
    """The quicker loop where it is installed (extra `fast`); None: Python's own.

    Not for servers we start: it does not tell when one closes its output and lives on, so that a call would wait out its
    deadline.
    """
    try:
        import uvloop
    except ImportError:
        return None
    factory: Callable[[], asyncio.AbstractEventLoop] = uvloop.new_event_loop
    return factory


async def _serve(args: argparse.Namespace) -> int:
    from lictor.app import Runtime, bundle_path, open_house, servers_of, warn
    from lictor.app.collector import set_aside
    from lictor.app.listen import http_server
    from lictor.app.metrics import metrics_served

    house = await open_house(bundle_path(args.bundle))
    servers = servers_of(house.settings, args.only)
    runtime = Runtime(house, servers, prefixed=True)
    async with runtime.running(), metrics_served(runtime):
        settings = house.settings
        warn(f"MCP endpoint  {settings.audience}  ({', '.join(servers)})")
        warn(f"approvals     {settings.people_url}/")
        warn("open a task with: lictor task open --agent NAME --purpose PURPOSE")
        server = http_server(runtime)
        runtime.reload.then = set_aside
        set_aside()
        await server.serve()
    return Exit.OK
