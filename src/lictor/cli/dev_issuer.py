"""`lictor dev-issuer`: an OpenID issuer for this machine, for development and demonstrations. It asks for no password."""

import argparse
import asyncio
from pathlib import Path
from typing import TYPE_CHECKING

from lictor.cli.output import Exit
from lictor.model.errors import OperatorError
from lictor.model.reasons import Reason

if TYPE_CHECKING:
    from lictor.testing.issuer.state import Client

_MAX_PEOPLE = 100
_MAX_NAME = 80


def add(_: str, parser: argparse.ArgumentParser) -> None:
    """Arguments."""
    parser.add_argument(
        "--people", required=True, metavar="FILE", help="who can sign in: one name a line, # for comments"
    )
    parser.add_argument("--host", default="127.0.0.1", help="loopback only (default: 127.0.0.1)")
    parser.add_argument("--port", type=int, default=8790, help="default: 8790")
    parser.add_argument(
        "--client",
        action="append",
        default=[],
        metavar="ID=REDIRECT_URI",
        help="a client that need not register itself; repeatable, for several addresses too",
    )
    parser.set_defaults(run=_run, json=False)


def _run(args: argparse.Namespace) -> int:
    from lictor.testing.issuer.app import check_loopback

    check_loopback(args.host)
    return asyncio.run(_serve(args))


async def _serve(args: argparse.Namespace) -> int:
    import uvicorn

    from lictor.app import warn
    from lictor.stores.clock import SystemClock
    from lictor.stores.ids import RandomIds
    from lictor.testing.issuer.app import WARNING, issuer_app

    shown = f"[{args.host}]" if ":" in args.host else args.host
    url = f"http://{shown}:{args.port}"
    app = issuer_app(
        url, _people(Path(args.people)), _clients(args.client), clock=SystemClock(), ids=RandomIds(), say=warn
    )
    warn(WARNING)
    warn(f"issuer        {url}")
    config = uvicorn.Config(
        app,
        host=args.host,
        port=args.port,
        log_level="warning",
        lifespan="off",
        access_log=False,
        server_header=False,
        proxy_headers=False,
    )
    await uvicorn.Server(config).serve()
    return Exit.OK


def _people(path: Path) -> tuple[str, ...]:
    try:
        lines = path.read_text("utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise OperatorError(Reason.CONFIG_REFUSED, f"cannot be read: {error}", where=str(path)) from None
    people = tuple(line.strip() for line in lines if line.strip() and not line.strip().startswith("#"))
    if not 0 < len(people) <= _MAX_PEOPLE or any(len(one) > _MAX_NAME or not one.isprintable() for one in people):
        raise OperatorError(
            Reason.CONFIG_REFUSED, f"1 to {_MAX_PEOPLE} names of at most {_MAX_NAME} characters", where=str(path)
        )
    return people


def _clients(given: list[str]) -> "dict[str, Client]":
    from lictor.testing.issuer.state import Client

    found: dict[str, tuple[str, ...]] = {}
    for one in given:
        name, equals, uri = one.partition("=")
        if not (name and equals and uri.startswith(("http://", "https://"))):
            raise OperatorError(Reason.CONFIG_REFUSED, f"--client {one[:80]!r} is not ID=REDIRECT_URI")
        found[name] = (*found.get(name, ()), uri)
    return {name: Client(id=name, name=name, redirect_uris=uris) for name, uris in found.items()}
