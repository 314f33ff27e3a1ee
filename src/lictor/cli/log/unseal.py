"""`lictor log unseal`: go on with a restored log. What could be spent a second time is ended first, in one commit."""

import argparse
import asyncio
import getpass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lictor.cli.main import common
from lictor.cli.output import Exit, Out, moment, safe

if TYPE_CHECKING:
    from lictor.config import Settings
    from lictor.model.record import EpochRaised
    from lictor.stores.sqlite_schema import Log

_WARNING = """\
Unsealing ends every open task, every waiting or unspent approval and every allowance of the restored log, for good.
What was recorded after the backup is lost: lay containments again, take people, keys and agents out of service again."""


def add(actions: Any) -> None:
    """Arguments."""
    parser = actions.add_parser("unseal", help="raise the epoch of a restored log, so that a gateway may run on it")
    common(parser)
    parser.add_argument(
        "--over", metavar="FILE", action="append", default=[], help="newest known checkpoint of the lost log"
    )
    parser.add_argument("--why", default="", help="for the record")
    parser.add_argument("--yes", action="store_true", help="do it; without, only say what it means")
    parser.set_defaults(run=_unseal)


def _unseal(args: argparse.Namespace) -> int:
    from lictor.app import bundle_path
    from lictor.config import read_settings
    from lictor.stores.backup import seal_of
    from lictor.stores.keys import LOG_FILE

    out = Out(as_json=args.json)
    path = bundle_path(args.bundle)
    settings = read_settings(path)
    state = path / settings.state
    seal = seal_of(state / LOG_FILE)
    if seal is None:
        out.data({"sealed": False})
        out.line("the log is not sealed")
        return Exit.NO
    out.line(f"restored from a backup of {moment(seal.get('at_ms', 0))} with {seal.get('size', 0)} records")
    if not args.yes:
        out.data({"sealed": True, **seal})
        out.line(_WARNING)
        out.line("to do it: lictor log unseal --yes")
        return Exit.NO
    raised = asyncio.run(_raise(state, settings, args))
    out.data({"sealed": False, "epoch": raised.epoch, "restored": raised.restored, "over": raised.over})
    out.line(f"{out.good('unsealed')}: epoch {raised.epoch} begins at record {raised.restored}")
    if raised.over:
        size = raised.over.split("\n")[1]
        out.line(
            out.warm(f"records {raised.restored} to {int(size) - 1} of the log that was lost are named in it, and gone")
        )
    return Exit.OK


async def _raise(state: Path, settings: "Settings", args: argparse.Namespace) -> "EpochRaised":
    from lictor.service.log.epoch import raise_epoch
    from lictor.stores.backup import lift_seal
    from lictor.stores.clock import SystemClock
    from lictor.stores.keys import LOG_FILE, Keys
    from lictor.stores.sqlite import SqliteStore
    from lictor.stores.sqlite_schema import Log

    keys = Keys.open(state)
    log = Log(state / LOG_FILE, settings.log_name, keys.signer, sealed=True)
    over = _over(log, keys.read_anchor(), args.over)
    # One commit, however much there is to end: no limit for what waits.
    store = SqliteStore(log.path, signer=log.signer, origin=log.origin, queue_limit=2**31, sealed=True)
    try:
        who = f"os:{getpass.getuser()}"
        raised = await raise_epoch(store, SystemClock(), by=who, over=over, why=safe(args.why, 500))
        lift_seal(log, store.newest_checkpoint(), f"anchor.epoch-{raised.epoch}")
    finally:
        store.close()
    return raised


def _over(log: "Log", anchor: str | None, given: list[str]) -> str:
    """The newest checkpoint from outside that this log does not continue."""
    from lictor.cli.log_keys import chain_of
    from lictor.model.errors import OperatorError
    from lictor.model.reasons import Reason
    from lictor.service.log.epoch import newest_lost
    from lictor.stores.cosigned import read_cosigned
    from lictor.stores.sqlite import SqliteStore

    known = [*read_cosigned(log.path.parent).values(), *([] if anchor is None else [anchor])]
    for name in given:
        try:
            known.append(Path(name).read_text("utf-8"))
        except (OSError, UnicodeDecodeError):
            raise OperatorError(Reason.CONFIG_REFUSED, f"cannot read {name!r:.200}") from None
    with SqliteStore.open_unverified(log.path) as view:
        return newest_lost(known, chain_of(view, log.key()), view.checkpoints())
