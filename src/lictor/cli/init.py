"""`lictor init`: write a commented starter bundle, check it, and say what comes next."""

import argparse
import asyncio
import getpass
from datetime import date
from pathlib import Path

from lictor.cli.output import Exit, Out
from lictor.model.errors import OperatorError
from lictor.model.ids import HumanId
from lictor.model.reasons import Reason


def add(_: str, parser: argparse.ArgumentParser) -> None:
    """Arguments."""
    parser.add_argument("folder", nargs="?", default="lictor", help="where to write it (default: ./lictor)")
    parser.add_argument("--json", action="store_true", help="print the result as JSON")
    parser.add_argument("--no-approver", action="store_true", help="do not mint an approver secret for you now")
    parser.epilog = (
        "Nothing that exists is overwritten. Keep the folder under version control; its .lictor part is not for it."
    )
    parser.set_defaults(run=lambda args: asyncio.run(_init(args)))


async def _init(args: argparse.Namespace) -> int:
    from lictor.app import open_house
    from lictor.policy.starter import starter_files

    out = Out(as_json=args.json)
    folder = Path(args.folder)
    human = f"os:{getpass.getuser()}"
    files = starter_files(human, date.today())  # noqa: DTZ011 - a person's calendar day
    taken = [name for name in files if (folder / name).exists()]
    if taken:
        raise OperatorError(
            Reason.CONFIG_REFUSED, f"{str(folder / taken[0])!r} exists already", remedy="name another folder"
        )
    for name, data in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)
    secret = ""
    house = await open_house(folder.resolve())
    try:
        if not args.no_approver:
            secret = await house.answer.enrol(HumanId(human), by=human)
    finally:
        house.close()
    out.data({"folder": str(folder), "files": sorted(files), "approver": human, "secret": secret})
    out.line(f"{out.good('wrote')} {folder}/  ({len(files)} files, checked and in force)")
    if secret:
        out.line()
        out.line(
            f"You ({human}) approve held actions with this secret. It is shown once; keep it where no agent can read it:"
        )
        out.line()
        out.line(f"  {secret}")
    out.line()
    out.line("Next: lictor catalog pull NAME -- COMMAND   draft entries for an MCP server, then review them")
    out.line("      lictor policy check                   after every change")
    out.line("      lictor wrap                           put it in front of your MCP clients (shows the diff first)")
    return Exit.OK
