"""`lictor log export`: the log as static files that anybody can verify with a C2SP tlog-tiles client, and without us."""

import argparse
import asyncio
import sys
from pathlib import Path
from typing import Any

from lictor.cli.main import common
from lictor.cli.output import Exit, Out


def add(actions: Any) -> None:
    """Arguments."""
    line = "write the log as static files (C2SP tlog-tiles) that others verify without us; only what is new is written"
    exporting = actions.add_parser("export", help=line, description=line)
    common(exporting)
    exporting.add_argument("folder", metavar="DIR", help="an empty folder, or one that holds an earlier export")
    exporting.set_defaults(run=_export)


def _export(args: argparse.Namespace) -> int:
    from lictor.app import bundle_path, open_house
    from lictor.cli.progress import Progress
    from lictor.service.log.proofs import cosigned_note
    from lictor.stores.cosigned import read_cosigned
    from lictor.stores.tiles import TileFolder

    out = Out(as_json=args.json)
    house = asyncio.run(open_house(bundle_path(args.bundle), load=False))
    try:
        keys = house.keys.log_keys(house.settings.log_name)
        cosigned = read_cosigned(house.state)
        note = cosigned_note(house.store.newest_checkpoint(), cosigned.values(), keys)
        folder = TileFolder(Path(args.folder))
        with Progress(sys.stderr, "exporting", house.store.size(), quiet=args.json) as progress:
            done = folder.extend(
                house.store.entries,
                note,
                keys,
                cosigned=cosigned,
                statements=house.keys.statements(),
                on_progress=progress.update,
            )
    finally:
        house.close()
    key = keys.at(done.size)
    out.data({"folder": args.folder, "size": done.size, "added": done.added, "verifier_key": key.text()})
    out.line(f"{out.good('exported')}: {done.size} records, {done.added} of them new, to {args.folder}")
    if not args.json:
        print(f"verifier key (give it to others yourself, not with the files): {key.text()}", file=sys.stderr)
    return Exit.OK
