"""`lictor log rotate-key`: sign the log with a new key from now on. The old one says so in the log, and is then destroyed."""

import argparse
import asyncio
import getpass
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lictor.cli.main import common
from lictor.cli.output import Exit, Out, safe

if TYPE_CHECKING:
    from lictor.app import House
    from lictor.records.keychain import Handover

_MEANING = """\
The log is signed with a new key from the next record on; the old one signs the record that says so.
The old private key is destroyed{kept}. What it signed stays valid: its public half is in the log.
Afterwards: start the gateway, make a backup (older ones bring the old key back), give the new verifier key to every witness."""


def add(actions: Any) -> None:
    """Arguments."""
    line = "sign the log with a new key from now on; the gateway must be stopped"
    parser = actions.add_parser("rotate-key", help=line, description=line)
    common(parser)
    parser.add_argument("--keep-old", action="store_true", help="keep the old private key, as log.key.retired-ID")
    parser.add_argument("--why", default="", help="for the record")
    parser.add_argument("--yes", action="store_true", help="do it; without, only say what it means")
    parser.set_defaults(run=lambda args: asyncio.run(_rotate(args)))


async def _rotate(args: argparse.Namespace) -> int:
    from lictor.app import bundle_path, open_house

    out = Out(as_json=args.json)
    house = await open_house(bundle_path(args.bundle), load=False)
    try:
        _check_alone(house)
        if not args.yes:
            out.data({"changed": False, "verifier_key": house.keys.verifier_key(house.settings.log_name)})
            out.line(
                _MEANING.format(kept=", unless you say --keep-old" if not args.keep_old else " only after you do it")
            )
            out.line("to do it: lictor log rotate-key --yes")
            return Exit.NO
        made, kept = await _changed(house, args)
    finally:
        house.close()
    _tell(out, made, kept)
    return Exit.OK


def _check_alone(house: "House") -> None:
    """A gateway that is running would refuse everything from the change on, until somebody starts it again."""
    from lictor.model.errors import OperatorError
    from lictor.model.reasons import Reason
    from lictor.stores.instances import live_instances

    live = live_instances(house.state)
    if live:
        text = f"{len(live)} gateway processes use this log: they could record nothing after the change"
        raise OperatorError(Reason.CONFIG_REFUSED, text, remedy="stop them, change the key, start them again")


async def _changed(house: "House", args: argparse.Namespace) -> "tuple[Handover, Path | None]":
    """The steps of `stores.key_files`, which says what a crash between them means."""
    from lictor.service.log.rotate import Signers, change_key
    from lictor.stores.key_files import changing, keep_old, next_key, take_over

    keys, origin = house.keys, house.settings.log_name
    known, by = keys.log_keys(origin), f"os:{getpass.getuser()}"
    with changing(house.state):
        signers = Signers(old=keys.signer, new=next_key(house.state))  # 1
        old = known.at(house.store.size() + 1)
        kept = keep_old(house.state, old.key_id()) if args.keep_old else None  # 2
        made = await change_key(house.store, house.clock, known, signers, by=by, why=safe(args.why, 500))  # 3
        keys.write_anchor(
            house.store.newest_checkpoint()
        )  # that nobody goes on from before it with the old key, unseen
        take_over(house.state)  # 4
    return made, kept


def _tell(out: Out, made: "Handover", kept: Path | None) -> None:
    old, new, size = made.old.text(), made.new.text(), made.before.size
    out.data({"changed": True, "old": old, "verifier_key": new, "record": size, "kept": str(kept) if kept else ""})
    out.line(f"{out.good('changed')}: record {size} says so, and everything behind it is signed by the new key")
    out.line(f"old key: {old} ({f'kept in {safe(str(kept))}' if kept else 'destroyed'})")
    out.line(f"new key: {new}")
    if not out.as_json:
        text = "now: start the gateway, make a backup, give the new verifier key to witnesses and to whoever verifies"
        print(text, file=sys.stderr)
