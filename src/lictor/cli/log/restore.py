"""`lictor log restore`: a state folder from a backup. It is sealed: nothing runs on it before `lictor log unseal`."""

import argparse
import sys
from pathlib import Path
from typing import Any

from lictor.cli.main import common
from lictor.cli.output import Exit, Out, safe


def add(actions: Any) -> None:
    """Arguments."""
    parser = actions.add_parser("restore", help="make a state folder from a backup; nothing runs before it is unsealed")
    common(parser)
    parser.add_argument("file", metavar="FILE", help="that `lictor log backup` wrote")
    parser.add_argument("--to", metavar="STATE", help="the state folder (default: the bundle's); it has no log yet")
    parser.set_defaults(run=_restore)


def _restore(args: argparse.Namespace) -> int:
    from lictor.cli.progress import Progress
    from lictor.cli.verifying import verify_state
    from lictor.stores.backup import restore

    out = Out(as_json=args.json)
    state = Path(args.to) if args.to else _own_state(args)
    with Progress(sys.stderr, "restoring", None, quiet=args.json) as bar:
        restored = restore(Path(args.file), state, lambda done, of: bar.update(done, total=of))
    with Progress(sys.stderr, "verifying", restored.size, quiet=args.json) as bar:
        report = verify_state(state, restored.origin, None, bar.update)
    # What an anchor that was here already says is missing is what restoring means; the rest is damage.
    damage = [one for one in report["findings"] if one["kind"] != "rollback"]
    out.data({"state": str(state), "size": restored.size, "lost": restored.lost, "sealed": True, "findings": damage})
    for one in damage:
        out.line(out.bad(f"at {one['position']}: {one['kind']}: {one['message']}"))
    out.line(f"{out.good('restored')}: {restored.size} records in {safe(str(state))}; it is sealed")
    if restored.lost:
        out.line(out.warm(f"the log that was here had {restored.lost} records more"))
    if "safe.db" in restored.files:
        out.line("put the master key of the safe back too (docs/how-to/backup.md)")
    out.line("nothing runs on it until: lictor log unseal")
    return Exit.NO if damage else Exit.OK


def _own_state(args: argparse.Namespace) -> Path:
    from lictor.app import bundle_path
    from lictor.config import read_settings

    path = bundle_path(args.bundle)
    return path / read_settings(path).state
