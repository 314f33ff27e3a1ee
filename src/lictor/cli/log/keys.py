"""`lictor log keys`: every key the log was signed with, and the statements by which one handed over to the next."""

import argparse
from pathlib import Path
from typing import Any

from lictor.cli.main import common
from lictor.cli.output import Exit, Out, safe


def add(actions: Any) -> None:
    """Arguments."""
    line = "list the keys the log was signed with; the statements between them let others follow from the key they have"
    parser = actions.add_parser("keys", help=line, description=line)
    common(parser)
    parser.add_argument("-o", "--output", metavar="FILE", help="write the statements to a file, for `verify --keys`")
    parser.set_defaults(run=_keys)


def _keys(args: argparse.Namespace) -> int:
    from lictor.app import bundle_path
    from lictor.cli.log_keys import keys_of
    from lictor.config import read_settings

    out = Out(as_json=args.json)
    path = bundle_path(args.bundle)
    settings = read_settings(path)
    chain = keys_of(path / settings.state, settings.log_name)
    spans = [(key.text(), at) for key, at in chain.spans()]
    out.data({"keys": [{"verifier_key": key, "since": at} for key, at in spans], "statements": chain.text()})
    for key, at in spans:
        out.line(f"{f'behind record {at}' if at else 'from the beginning'}: {safe(key)}")
    if args.output:
        Path(args.output).write_text(chain.text(), "utf-8")
        out.line(f"{out.good('written')}: {safe(args.output)}")
    return Exit.OK
