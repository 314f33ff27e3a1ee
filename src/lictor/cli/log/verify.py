"""`lictor log verify`: check every record, checkpoint and the external anchor; offline."""

import argparse
import sys
from pathlib import Path
from typing import Any

from lictor.cli.log.outside import arguments, tell, verify_outside, witnessed
from lictor.cli.main import common
from lictor.cli.output import Out


def add(actions: Any) -> None:
    """Arguments."""
    verifying = actions.add_parser("verify", help="check every record, checkpoint and the external anchor; offline")
    common(verifying)
    verifying.add_argument("--anchor", metavar="FILE", help="a checkpoint kept elsewhere (default: the state folder's)")
    arguments(verifying)
    verifying.set_defaults(run=_verify)


def _verify(args: argparse.Namespace) -> int:
    if args.export or args.proof:
        return verify_outside(args)
    from lictor.app import bundle_path
    from lictor.cli.progress import Progress
    from lictor.cli.verifying import entries_in, verify_state
    from lictor.config import read_settings

    out = Out(as_json=args.json)
    path = bundle_path(args.bundle)
    settings = read_settings(path)
    anchor = Path(args.anchor) if args.anchor else None
    said = witnessed(args, path / settings.state, settings.log_name)
    state = path / settings.state
    with Progress(sys.stderr, "verifying", entries_in(state), quiet=args.json) as bar:
        report = verify_state(state, settings.log_name, anchor, bar.update, witnessed=said.anchors)
    if report["sealed"]:
        out.line(out.warm("restored from a backup and sealed: nothing runs on it until `lictor log unseal`"))
    return tell(out, said.into(report))
