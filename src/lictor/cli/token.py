"""`lictor token`: the keys of the token service."""

import argparse

from lictor.cli.main import common
from lictor.cli.output import Exit, Out


def add(_: str, parser: argparse.ArgumentParser) -> None:
    """Arguments."""
    kinds = parser.add_subparsers(dest="what", required=True, metavar="WHAT")
    for name, text in (
        ("rotate", "sign with a fresh key; tokens that are out stay good until they expire"),
        ("keys", "show the public keys"),
    ):
        one = kinds.add_parser(name, help=text, description=text)
        common(one)
        one.set_defaults(run=_run)


def _run(args: argparse.Namespace) -> int:
    from lictor.app import bundle_path
    from lictor.config import read_settings
    from lictor.stores.clock import SystemClock
    from lictor.stores.private import private_folder
    from lictor.stores.token_keys import TokenKeys

    folder, now_ms = bundle_path(args.bundle), SystemClock().now_ms()
    keys = TokenKeys(private_folder(folder / read_settings(folder).state), now_ms)
    out = Out(as_json=args.json)
    if args.what == "rotate":
        keys.rotate(now_ms)
    published = keys.published(now_ms)
    out.data(published)
    for index, key in enumerate(published["keys"]):
        out.line(f"{key['kid']}  {key['alg']}  {'verifies until its tokens expire' if index else 'signs'}")
    return Exit.OK
