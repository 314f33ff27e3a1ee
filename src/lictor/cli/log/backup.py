"""`lictor log backup`: the log and what it needs, in one file, while the gateway runs."""

import argparse
import sys
from pathlib import Path
from typing import Any

from lictor.cli.main import common
from lictor.cli.output import Exit, Out, safe


def add(actions: Any) -> None:
    """Arguments."""
    parser = actions.add_parser("backup", help="copy the log, as it stands, into one file; the gateway may run")
    common(parser)
    parser.add_argument("file", metavar="FILE", help="to be made; only its owner can read it")
    parser.add_argument("--no-keys", action="store_true", help="leave the log's signing key out; keep it elsewhere")
    parser.set_defaults(run=_backup)


def _backup(args: argparse.Namespace) -> int:
    from lictor.app import bundle_path
    from lictor.cli.progress import Progress
    from lictor.config import read_settings
    from lictor.model.errors import OperatorError
    from lictor.model.reasons import Reason
    from lictor.stores.backup import write_backup
    from lictor.stores.clock import SystemClock
    from lictor.stores.keys import LOG_FILE, Keys
    from lictor.stores.sqlite_schema import Log

    out = Out(as_json=args.json)
    path = bundle_path(args.bundle)
    settings = read_settings(path)
    state = path / settings.state
    if not (state / LOG_FILE).exists():
        text = f"there is no log in {str(state)!r:.200}"
        raise OperatorError(Reason.CONFIG_REFUSED, text, remedy="name the bundle with --bundle")
    log = Log(state / LOG_FILE, settings.log_name, Keys.open(state).signer)
    files = _files(state, keys=not args.no_keys)
    with Progress(sys.stderr, "copying", None, quiet=args.json) as bar:
        made = write_backup(
            log, Path(args.file), files, SystemClock().now_ms(), lambda done, of: bar.update(done, total=of)
        )
    out.data({"file": args.file, "size": made.size, "files": list(made.files), "checkpoint": made.checkpoint})
    beside = f" with {', '.join(made.files)}" if made.files else ""
    out.line(f"{out.good('kept')}: {made.size} records{beside} in {safe(args.file)}")
    if "safe.db" in made.files:
        out.line("the master key of the safe is not in it: keep that elsewhere (docs/how-to/backup.md)")
    return Exit.OK


def _files(state: Path, *, keys: bool) -> dict[str, bytes]:
    """What a log is worthless without, and the sealed safe. Keys of tokens and of request state are made anew (R22)."""
    from lictor.credentials.masterkey import WRAPPED_FILE
    from lictor.credentials.safe import FILE
    from lictor.stores.backup import serialized
    from lictor.stores.keys import LOG_KEY_FILE

    found = {}
    for name in (LOG_KEY_FILE, WRAPPED_FILE):
        if (state / name).exists() and (keys or name != LOG_KEY_FILE):
            found[name] = (state / name).read_bytes()
    if (state / FILE).exists():
        found[FILE] = serialized(state / FILE)
    return found
