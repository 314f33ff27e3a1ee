"""`lictor catalog pull`: ask a server what it offers and draft catalogue entries for a person to review."""

import argparse
import asyncio
from pathlib import Path
from typing import Any

from lictor.cli.main import common
from lictor.cli.output import Exit, Out, safe
from lictor.config import ServerSettings
from lictor.model.errors import OperatorError
from lictor.model.reasons import Reason

LISTS = {"tools": "tools/list", "prompts": "prompts/list", "resources": "resources/list"}


def add(_: str, parser: argparse.ArgumentParser) -> None:
    """Arguments."""
    actions = parser.add_subparsers(title="actions", required=True, metavar="ACTION")
    pulling = actions.add_parser(
        "pull",
        help="draft catalog/NAME.toml from the server's own list",
        description="Start or reach the server, list what it offers, and draft entries. A drafted entry is a write until a "
        "person has looked at it; what the server says of itself stands beside it as a comment, never as a fact.",
    )
    common(pulling)
    pulling.add_argument("server", help="the server's name: of lictor.toml, or new, with a command behind --")
    pulling.add_argument("--write", action="store_true", help="write the files; reviewed entries are never touched")
    pulling.add_argument("command", nargs=argparse.REMAINDER, help="-- and the server's command")
    pulling.set_defaults(run=lambda args: asyncio.run(_pull(args)))


async def _pull(args: argparse.Namespace) -> int:
    from lictor.app import bundle_path
    from lictor.config import read_settings
    from lictor.policy.draft import draft_catalogue

    out = Out(as_json=args.json)
    path = bundle_path(args.bundle)
    command = args.command[1:] if args.command[:1] == ["--"] else args.command
    settings = ServerSettings(command=tuple(command)) if command else read_settings(path).servers.get(args.server)
    if settings is None:
        raise OperatorError(
            Reason.UNKNOWN_SERVER,
            f"server {args.server[:40]!r} is not in lictor.toml",
            remedy=f"name its command: lictor catalog pull {args.server} -- COMMAND",
        )
    lists = await pull_lists(args.server, settings)
    existing = {name: _read(path / "catalog" / name) for name in _names(args.server)}
    draft = draft_catalogue(args.server, lists, existing)
    out.data({"server": args.server, "files": draft.files, "added": list(draft.added), "changed": list(draft.changed)})
    for name in draft.added:
        out.line(f"{out.good('new')}      {safe(name)}")
    for name in draft.changed:
        out.line(f"{out.warm('changed')}  {safe(name)}: its definition is not the pinned one; look at it, then re-pin")
    if not args.write:
        for name, text in draft.files.items():
            out.line(out.bold(f"catalog/{name}"))
            if name.endswith(".toml"):
                out.line(text)
        out.line("nothing was written; to write: add --write")
        return Exit.OK
    for name, text in draft.files.items():
        target = path / "catalog" / name
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_text(text, "utf-8")
        out.line(f"wrote {target}")
    out.line("review every entry (a drafted one is a write), then: lictor policy check")
    return Exit.OK


async def pull_lists(name: str, settings: ServerSettings) -> dict[str, list[dict[str, Any]]]:
    """What a server offers: tools, prompts and resources, as it says.

    Raises:
        UpstreamError: it cannot be started or does not answer.
    """
    from lictor.app import HttpPool, connect_server
    from lictor.model.limits import Limits
    from lictor.pep.mcp.lists import fetch_all

    limits, pool = Limits(), HttpPool()
    try:
        upstream = await connect_server(name, settings, limits, pool)
        try:
            return {kind: await fetch_all(upstream, method, limits) for kind, method in LISTS.items()}
        finally:
            await upstream.close()
    finally:
        await pool.close()


def _names(server: str) -> tuple[str, str]:
    return f"{server}.toml", f"{server}.definitions.json"


def _read(path: Path) -> str:
    try:
        return path.read_text("utf-8")
    except FileNotFoundError:
        return ""
