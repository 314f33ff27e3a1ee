"""`lictor log checkpoint`: print the newest signed checkpoint, to be kept somewhere else."""

import argparse
import asyncio
import sys
from typing import Any

from lictor.cli.main import common
from lictor.cli.output import Exit, Out


def add(actions: Any) -> None:
    """Arguments."""
    checkpoint = actions.add_parser("checkpoint", help="print the newest signed checkpoint; keep it somewhere else")
    common(checkpoint)
    checkpoint.set_defaults(run=_checkpoint)


def _checkpoint(args: argparse.Namespace) -> int:
    from lictor.app import bundle_path, open_house

    out = Out(as_json=args.json)
    house = asyncio.run(open_house(bundle_path(args.bundle), load=False))
    try:
        newest = house.store.newest_checkpoint()
        key = house.keys.verifier_key(house.settings.log_name)
    finally:
        house.close()
    out.data({"checkpoint": newest, "verifier_key": key})
    out.line(newest.rstrip() if newest else "the log is empty")
    if not args.json:
        print(f"verifier key: {key}", file=sys.stderr)
    return Exit.OK
