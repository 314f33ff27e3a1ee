"""`lictor secret`: put secrets into the safe, list their names, take them out, change the keys. No command prints a value."""

import argparse
import getpass
import sys
from typing import TYPE_CHECKING

from lictor.cli.main import common
from lictor.cli.output import Exit, Out, moment, safe
from lictor.model.errors import CallerError, OperatorError
from lictor.model.reasons import Reason
from lictor.model.secret import Secret

if TYPE_CHECKING:
    from lictor.credentials.safe import Sealed

MAX_INPUT = 64 * 1024


def add(_: str, parser: argparse.ArgumentParser) -> None:
    """Arguments."""
    actions = parser.add_subparsers(title="actions", required=True, metavar="ACTION")
    setting = actions.add_parser(
        "set", help="keep a value, read from standard input or asked for without echo; never from the command line"
    )
    common(setting)
    setting.add_argument("name", help="what credentials.toml calls it")
    setting.set_defaults(run=_set)
    listing = actions.add_parser("list", help="names, versions and when they changed")
    common(listing)
    listing.set_defaults(run=_list)
    removing = actions.add_parser("remove", help="forget a value")
    common(removing)
    removing.add_argument("name")
    removing.set_defaults(run=_remove)
    rotating = actions.add_parser("rotate", help="fresh master and data keys; everything is sealed anew")
    common(rotating)
    rotating.add_argument("--to", choices=("file", "command", "keyring"), help="keep the master key there from now on")
    rotating.set_defaults(run=_rotate)


def _set(args: argparse.Namespace) -> int:
    from lictor.credentials.safe import NAME
    from lictor.stores.clock import SystemClock

    if NAME.fullmatch(args.name) is None:
        raise CallerError(Reason.INVALID_ARGUMENTS, "a name is letters, digits, '.', '_' and '-'")
    version = _safe(args).write(args.name, _value(args.name), SystemClock().now_ms())
    out = Out(as_json=args.json)
    out.data({"name": args.name, "version": version})
    out.line(f"{safe(args.name)} is kept (version {version}); a running gateway knows it within seconds")
    return Exit.OK


def _list(args: argparse.Namespace) -> int:
    names = _safe(args).names()
    out = Out(as_json=args.json)
    out.data([{"name": name, "version": version, "changed_ms": changed} for name, version, changed in names])
    if not names:
        out.line("the safe is empty; put something in with: lictor secret set NAME")
        return Exit.OK
    out.table(("NAME", "VERSION", "CHANGED"), [(safe(name), str(version), moment(at)) for name, version, at in names])
    return Exit.OK


def _remove(args: argparse.Namespace) -> int:
    gone = _safe(args).remove(args.name)
    out = Out(as_json=args.json)
    out.data({"name": args.name, "removed": gone})
    out.line(
        f"{safe(args.name)} is forgotten here; change it where it was issued, too"
        if gone
        else "there is none of that name"
    )
    return Exit.OK if gone else Exit.NO


def _rotate(args: argparse.Namespace) -> int:
    from lictor.app import bundle_path
    from lictor.app.safekeeping import master_of
    from lictor.config import read_settings

    path = bundle_path(args.bundle)
    settings = read_settings(path)
    broker = settings.broker
    target = None
    if args.to is not None and args.to != broker.key:
        if args.to == "command":
            raise OperatorError(
                Reason.CONFIG_REFUSED,
                "lictor.toml says nothing about the command",
                remedy='set [broker] key = "command" with unseal and seal first, then: lictor secret rotate',
            )
        import msgspec

        target = master_of(path / settings.state, msgspec.structs.replace(broker, key=args.to, unseal=(), seal=()))
    _safe(args).renew(target)
    out = Out(as_json=args.json)
    out.data({"rotated": True, "key": args.to or broker.key})
    out.line("every secret is sealed anew, under fresh keys")
    if target is not None:
        out.line(f'set this in lictor.toml now: [broker] key = "{args.to}"')
    return Exit.OK


def _safe(args: argparse.Namespace) -> "Sealed":
    from lictor.app import bundle_path
    from lictor.app.safekeeping import sealed
    from lictor.config import read_settings
    from lictor.stores.private import private_folder

    path = bundle_path(args.bundle)
    settings = read_settings(path)
    return sealed(private_folder(path / settings.state), settings.broker)


def _value(name: str) -> Secret:
    """From a pipe, without the line break at its end; from a terminal, asked for twice and not shown."""
    if not sys.stdin.isatty():
        text = sys.stdin.read(MAX_INPUT + 1)
        return Secret(text.removesuffix("\n").removesuffix("\r"))
    first = Secret(getpass.getpass(f"value of {safe(name)}: "))
    if first != Secret(getpass.getpass("once more: ")):
        raise CallerError(Reason.INVALID_ARGUMENTS, "the two are not the same; nothing was kept")
    return first
