"""`lictor catalog pull`: ask a server what it offers and draft catalogue entries for a person to review."""

import argparse
import asyncio
import difflib
import json
import shlex
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lictor.cli.main import common
from lictor.cli.output import Exit, Out, safe
from lictor.config import ServerSettings
from lictor.model.errors import OperatorError, UpstreamError
from lictor.model.reasons import Reason

if TYPE_CHECKING:
    from lictor.policy.draft import Draft

LISTS = {
    "tools": "tools/list",
    "prompts": "prompts/list",
    "resources": "resources/list",
    "templates": "resources/templates/list",
}


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
    pulling.add_argument(
        "--accept",
        action="append",
        default=[],
        metavar="tools.NAME",
        help="take over a changed definition you looked at",
    )
    pulling.add_argument("--write", action="store_true", help="write the files; reviewed entries are never touched")
    pulling.epilog = "example: lictor catalog pull git -- mcp-server-git --repository ."
    pulling.set_defaults(run=lambda args: asyncio.run(_pull(args)))


async def _pull(args: argparse.Namespace) -> int:
    from lictor.app import bundle_path
    from lictor.config import read_settings
    from lictor.policy.draft import Listing, merge_draft

    out = Out(as_json=args.json)
    path = bundle_path(args.bundle)
    settings = (
        ServerSettings(command=tuple(args.command)) if args.command else read_settings(path).servers.get(args.server)
    )
    if settings is None:
        raise OperatorError(
            Reason.UNKNOWN_SERVER,
            f"server {args.server[:40]!r} is not in lictor.toml",
            remedy=f"name its command: lictor catalog pull {args.server} -- COMMAND",
        )
    try:
        lists = await pull_lists(args.server, settings)
    except UpstreamError as error:
        if settings.command and not error.remedy:
            error.remedy = f"run it by hand, and see what it says: {shlex.join(settings.command)}"
        raise
    text, definitions = (_read(path / "catalog" / name) for name in _names(args.server))
    draft = merge_draft(text, definitions.encode(), args.server, Listing(**lists), accept=args.accept)
    out.data(
        {
            "server": args.server,
            "files": draft.files,
            "added": list(draft.added),
            "changed": list(draft.changed),
            "accepted": list(draft.accepted),
            "gone": list(draft.gone),
            "skipped": [{"name": name, "why": why} for name, why in draft.skipped],
        }
    )
    _tell(out, draft)
    changed = {
        name: new for (name, new), old in zip(draft.files.items(), (text, definitions), strict=True) if new != old
    }
    if not changed:
        out.line(f"nothing to write: catalog/{args.server}.toml has everything the server offers")
        return Exit.OK
    if not args.write:
        _preview(out, args.server, text, draft)
        return Exit.OK
    for name, new in changed.items():
        target = path / "catalog" / name
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_text(new, "utf-8")
        out.line(f"wrote {target}")
    out.line("review every entry (a drafted one is a write), then: lictor policy check")
    if args.command and args.server not in read_settings(path).servers:
        out.line(f"lictor run and lictor wrap can use it then; for lictor serve, add to {path / 'lictor.toml'}:")
        out.line(f"  [servers.{args.server}]")
        out.line(f"  command = {json.dumps(args.command)}")
    return Exit.OK


def _preview(out: Out, server: str, before: str, draft: "Draft") -> None:
    """What would be written: a new file as it is, an existing one as a difference."""
    name = f"catalog/{server}.toml"
    rows = draft.text.splitlines()
    if before:
        rows = list(difflib.unified_diff(before.splitlines(), rows, name, name, lineterm=""))
    out.line(out.bold(name))
    for row in rows:
        out.line(row)
    out.line("nothing was written; to write: add --write")


def _tell(out: Out, draft: "Draft") -> None:
    for name in draft.added:
        out.line(f"{out.good('new')}       {safe(name)}")
    for name in draft.accepted:
        out.line(f"{out.good('accepted')}  {safe(name)}")
    for name in draft.changed:
        out.line(
            f"{out.warm('changed')}   {safe(name)}: not the pinned definition; look at it, then --accept {safe(name)}"
        )
    for name in draft.gone:
        out.line(f"{out.warm('gone')}      {safe(name)}: the server does not list it")
    for name, why in draft.skipped:
        out.line(f"{out.bad('skipped')}   {safe(name)}: {safe(why)}")


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
