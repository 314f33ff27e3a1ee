"""What `lictor log verify` checks without a state folder: an export, or one proof. No action of its own."""

import argparse
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lictor.cli.output import Exit, Out, safe
from lictor.model.errors import OperatorError
from lictor.model.reasons import Reason

if TYPE_CHECKING:
    from lictor.cli.exported import Statements
    from lictor.records.checkpoint import VerifierKey
    from lictor.records.cosign import WitnessKey


def arguments(parser: argparse.ArgumentParser) -> None:
    """What `verify` takes besides."""
    parser.add_argument("--export", metavar="DIR", help="check an exported log from its files alone; needs --key")
    parser.add_argument("--proof", metavar="FILE", help="check that one record is in a log (tlog-proof); needs --key")
    parser.add_argument("--entry", metavar="FILE", help="with --proof: the record's bytes, when they are not in it")
    parser.add_argument("--key", metavar="VKEY", help="the log's verifier key, as its operator gave it to you")
    parser.add_argument(
        "--keys",
        metavar="FILE",
        help="where the log's key was changed: the statements, from `lictor log keys -o FILE`; for --export and --proof",
    )
    parser.add_argument(
        "--witness",
        metavar="VKEY",
        action="append",
        default=[],
        help="a witness that must have cosigned the log; repeatable. Finds a rewrite by the log's own key",
    )


def witnesses(args: argparse.Namespace) -> "list[WitnessKey]":
    """The witnesses that were named.

    Raises:
        OperatorError: `config_refused`: one is no witness's verifier key.
    """
    from lictor.records.cosign import WitnessKey

    return [WitnessKey.parse(one) for one in args.witness]


def witnessed(args: argparse.Namespace, state: Path, origin: str) -> "Statements":
    """What the witnesses that were named say of a state folder's log.

    Raises:
        OperatorError: `config_refused`: `--key` is none of the folder's keys, or a witness's key is none.
        StoreError: `log_damaged`: what is kept of theirs cannot be read.
    """
    from lictor.cli.exported import Statements, read_text, statements
    from lictor.cli.log_keys import keys_of
    from lictor.stores.cosigned import read_cosigned

    if not args.witness and not args.key:
        return Statements()
    own = keys_of(state, origin, args.key or "")
    notes = [*read_cosigned(state).values(), *([read_text(Path(args.anchor))] if args.anchor else [])]
    return statements(notes, own, witnesses(args))


def verify_outside(args: argparse.Namespace) -> int:
    """Check an export or a proof."""
    if bool(args.export) is bool(args.proof):
        raise OperatorError(Reason.CONFIG_REFUSED, "name either --export or --proof")
    return _proof(args) if args.proof else _export(args)


def _key(args: argparse.Namespace) -> "VerifierKey":
    from lictor.records.checkpoint import VerifierKey

    if not args.key:
        remedy = "ask whoever runs the log for it: lictor log checkpoint prints it"
        raise OperatorError(
            Reason.CONFIG_REFUSED, "--key is missing: a key from the files proves nothing", remedy=remedy
        )
    return VerifierKey.parse(args.key)


def _export(args: argparse.Namespace) -> int:
    from lictor.cli.exported import read_text, verify_export
    from lictor.cli.log_keys import statements_in
    from lictor.cli.progress import Progress

    out = Out(as_json=args.json)
    anchors = [read_text(Path(args.anchor))] if args.anchor else []
    with Progress(sys.stderr, "verifying", None, quiet=args.json) as progress:
        report = verify_export(
            Path(args.export),
            _key(args),
            told=statements_in(Path(args.keys)) if args.keys else (),
            anchors=anchors,
            witnesses=witnesses(args),
            on_progress=progress.update,
        )
    return tell(out, report)


def tell(out: Out, report: dict[str, Any]) -> int:
    """Print what was found; the exit code."""
    out.data(report)
    for finding in report["findings"]:
        out.line(out.bad(f"at {finding['position']}: {finding['kind']}: {finding['message']}"))
    if report["ok"]:
        out.line(f"{out.good('verified')}: {report['size']} records, root {report['root'][:16]}…, {report['anchor']}")
        return Exit.OK
    out.line(out.bad(f"the log is damaged: {len(report['findings'])} findings"))
    return Exit.NO


def _proof(args: argparse.Namespace) -> int:
    from lictor.cli.exported import verify_one
    from lictor.cli.log_keys import follow, statements_in
    from lictor.cli.output import moment
    from lictor.model.errors import StoreError

    out = Out(as_json=args.json)
    try:
        keys = follow(_key(args), statements_in(Path(args.keys)) if args.keys else ())
        found = verify_one(Path(args.proof), Path(args.entry) if args.entry else None, keys, witnesses(args))
    except StoreError as error:
        out.data({"ok": False, "message": str(error)})
        out.line(out.bad(f"not proved: {error}"))
        if not args.keys:
            out.line(
                "if the log's key was changed, its statements are needed: lictor log keys -o FILE, then --keys FILE"
            )
        return Exit.NO
    out.data(found)
    out.line(f"{out.good('proved')}: record {found['index']} is in the log of {found['size']} records")
    for one in found["witnessed"]:
        out.line(f"cosigned by {safe(one['witness'])} at {moment(one['at'])}")
    out.line(safe(found["entry"], 2_000))
    return Exit.OK
