"""`lictor log prove`: that one record is in the log, as a text anybody can check offline (C2SP tlog-proof)."""

import argparse
import asyncio
from pathlib import Path
from typing import Any

from lictor.cli.main import common
from lictor.cli.output import Exit, Out


def add(actions: Any) -> None:
    """Arguments."""
    line = "print a proof that one record is in the log (C2SP tlog-proof); check it with: lictor log verify --proof"
    proving = actions.add_parser("prove", help=line, description=line)
    common(proving)
    proving.add_argument("seq", type=int, metavar="SEQ", help="the record's number, as in `lictor log show`")
    proving.add_argument("--bare", action="store_true", help="leave the record itself out of the file")
    proving.add_argument("-o", "--output", metavar="FILE", help="write it to a file")
    proving.set_defaults(run=_prove)


def _prove(args: argparse.Namespace) -> int:
    from lictor.app import bundle_path, open_house
    from lictor.service.log.proofs import Runs, cosigned_note
    from lictor.stores.cosigned import read_cosigned

    out = Out(as_json=args.json)
    house = asyncio.run(open_house(bundle_path(args.bundle), load=False))
    try:
        keys = house.keys.log_keys(house.settings.log_name)
        note = cosigned_note(house.store.newest_checkpoint(), read_cosigned(house.state).values(), keys)
        proved = Runs().prove(house.store, args.seq, note, keys)
        data = next(iter(house.store.entries(args.seq, args.seq + 1))).data
    finally:
        house.close()
    key = keys.at(proved.checkpoint.size)
    text = proved.text(None if args.bare else data)
    out.data({"index": proved.index, "size": proved.checkpoint.size, "proof": text, "verifier_key": key.text()})
    if args.output:
        Path(args.output).write_text(text, "utf-8")
        out.line(f"{out.good('written')}: {args.output}")
    else:
        out.line(text.rstrip("\n"))
    return Exit.OK
