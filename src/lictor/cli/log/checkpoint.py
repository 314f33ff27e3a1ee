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
    from lictor.records.checkpoint import open_checkpoint

    out = Out(as_json=args.json)
    house = asyncio.run(open_house(bundle_path(args.bundle), load=False))
    try:
        newest = house.store.newest_checkpoint()
        keys, in_force = house.keys.log_keys(house.settings.log_name), house.keys.verifier_key(house.settings.log_name)
        since = house.keys.chain.spans()[-1][1] if house.keys.chain is not None else 0
    finally:
        house.close()
    key = keys.at(open_checkpoint(newest, keys).size).text()
    out.data({"checkpoint": newest, "verifier_key": key, "key_in_force": in_force, "since": since})
    out.line(newest.rstrip() if newest else "the log is empty")
    if not args.json:
        print(f"verifier key: {key}", file=sys.stderr)
        if since:
            told = "" if key == in_force else f"; the next one is signed by {in_force}"
            print(f"the key was changed last by record {since} (lictor log keys){told}", file=sys.stderr)
    return Exit.OK
