"""`lictor witness`: a small witness of logs (C2SP tlog-witness), to be run where the log's operator cannot reach it."""

import argparse
import asyncio
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lictor.cli.output import Exit, Out, moment, safe

if TYPE_CHECKING:
    from lictor.stores.witness import WitnessFolder

MAX_CONNECTIONS = 256


def add(_: str, parser: argparse.ArgumentParser) -> None:
    """Arguments."""
    actions = parser.add_subparsers(title="actions", required=True, metavar="ACTION")
    making = _action(actions, "init", "make a witness: its key, and a settings file to name logs in", _init)
    making.add_argument("--name", required=True, help="of the witness, for good: a URL without scheme that you control")
    serving = _action(actions, "serve", "cosign what the logs of its settings submit", _serve)
    serving.add_argument(
        "--host", default="127.0.0.1", help="default: 127.0.0.1; put TLS in front before you change it"
    )
    serving.add_argument("--port", type=int, default=8710, help="default: 8710")
    _action(actions, "show", "its verifier key, and what it has cosigned of each log", _show)


def _action(actions: Any, name: str, line: str, run: Any) -> argparse.ArgumentParser:
    one: argparse.ArgumentParser = actions.add_parser(name, help=line, description=line)
    one.add_argument("folder", metavar="DIR", help="the witness's folder")
    one.add_argument("--json", action="store_true", help="print the result as JSON")
    one.set_defaults(run=run)
    return one


def _init(args: argparse.Namespace) -> int:
    from lictor.records.cosign import WitnessKey
    from lictor.stores.witness import SETTINGS, WitnessFolder

    out = Out(as_json=args.json)
    made = WitnessFolder.make(Path(args.folder), args.name)
    key = WitnessKey.of(made.name, made.signer).text()
    out.data({"name": made.name, "verifier_key": key, "settings": str(made.path / SETTINGS)})
    out.line(f"verifier key, to give to whoever verifies: {key}")
    out.line(f"name the logs in {made.path / SETTINGS}, then: lictor witness serve {args.folder}")
    return Exit.OK


def _show(args: argparse.Namespace) -> int:
    from lictor.records.checkpoint import read_head
    from lictor.records.cosign import WitnessKey, cosigned_at
    from lictor.records.note import read_note
    from lictor.stores.witness import WitnessFolder

    out = Out(as_json=args.json)
    found = WitnessFolder.open(Path(args.folder))
    key = WitnessKey.of(found.name, found.signer)
    rows: list[dict[str, Any]] = []
    for origin in found.logs:
        note = found.latest(origin)
        head = read_head(read_note(note).text, extensions=True) if note else None
        at = (cosigned_at(read_note(note), key) or 0) * 1_000 if note else 0
        rows.append(
            {"log": origin, "size": head.size if head else 0, "at": at, "contradictions": found.evidence(origin)}
        )
    out.data({"name": found.name, "verifier_key": key.text(), "logs": rows})
    out.line(f"verifier key: {key.text()}")
    for row in rows:
        seen = f"{row['size']} records at {moment(row['at'])}" if row["at"] else "nothing cosigned yet"
        out.line(f"{safe(row['log'])}: {seen}")
        if row["contradictions"]:
            text = (
                f"{row['contradictions']} signed checkpoints contradict it; they are kept in {found.path / 'evidence'}"
            )
            out.line(out.bad(f"{safe(row['log'])}: {text}"))
    if not rows:
        out.line("no log is named in its settings")
    return Exit.OK


def _serve(args: argparse.Namespace) -> int:
    from lictor.stores.witness import WitnessFolder

    found = WitnessFolder.open(Path(args.folder))
    found.hold()
    return asyncio.run(_run(found, args.host, args.port))


async def _run(folder: "WitnessFolder", host: str, port: int) -> int:
    import uvicorn

    from lictor.api.witness import witness_app
    from lictor.app.notices import warn
    from lictor.service.log.witness import Witness
    from lictor.stores.clock import SystemClock

    witness = Witness(folder.name, folder.signer, folder.logs, folder, SystemClock())
    warn(f"witness       {witness.key.text()}")
    warn(f"logs          {', '.join(folder.logs) or 'none: name them in witness.toml'}")
    warn(f"submit to     http://{host}:{port}/add-checkpoint")
    config = uvicorn.Config(
        witness_app(witness, lambda error: warn(f"nothing is cosigned: {error}")),
        host=host,
        port=port,
        log_level="warning",
        lifespan="off",
        access_log=False,
        server_header=False,
        proxy_headers=False,
        limit_concurrency=MAX_CONNECTIONS,
        timeout_graceful_shutdown=5,
    )
    await uvicorn.Server(config).serve()
    return Exit.OK
