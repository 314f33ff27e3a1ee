"""`lictor wrap` and `unwrap`: put Lictor in front of the servers of MCP clients on this machine."""

import argparse
import os
import shutil
import sys
from collections.abc import Callable, Iterable
from pathlib import Path

from lictor.cli import clients, lifting, wrapping
from lictor.cli.clients import ClientConfig, describe, discover
from lictor.cli.output import Exit, Out, fail, safe
from lictor.model.errors import LictorError


def add(name: str, parser: argparse.ArgumentParser) -> None:
    """Arguments of either command."""
    parser.add_argument("files", nargs="*", metavar="FILE", help="configuration files (default: those found)")
    parser.add_argument("--write", action="store_true", help="write the change; a backup is kept beside each file")
    parser.add_argument("--json", action="store_true", help="print the result as JSON")
    if name == "wrap":
        parser.add_argument("--bundle", metavar="DIR", help="bundle folder the wrapped servers use")
        parser.add_argument(
            "--keep-secrets", action="store_true", help="leave what looks like a secret in the client's file"
        )
        parser.set_defaults(run=wrap)
    else:
        parser.set_defaults(run=unwrap)


def wrap(args: argparse.Namespace) -> int:
    """Plan, show, and with --write apply, for every configuration."""
    from lictor.app import bundle_path
    from lictor.config import read_settings

    bundle = bundle_path(args.bundle)
    command = executable()
    state = None if args.keep_secrets else bundle / read_settings(bundle).state
    plans = [wrapping.plan(config, command, bundle, state) for config in _configs(args.files)]
    code = _finish(args, plans, lambda plan: _apply(plan, bundle), "wrapped", "lictor unwrap")
    if not args.json:
        _tell_unreviewed(plans, bundle)
    return code


def _apply(plan: wrapping.Plan, bundle: Path) -> None:
    """The safe first, then the bundle, checked as a whole, then the client's file.

    A crash in between leaves a secret in two places, never in none.
    """
    if plan.lifted:
        _lift(plan, bundle)
    wrapping.apply(plan)


def _lift(plan: wrapping.Plan, bundle: Path) -> None:
    from lictor.app.safekeeping import sealed
    from lictor.config import load_settings, read_settings
    from lictor.policy.compile import parse_guarded
    from lictor.policy.load import load_bundle
    from lictor.stores.bundle_folder import BundleFolder
    from lictor.stores.clock import SystemClock
    from lictor.stores.private import private_folder

    settings = read_settings(bundle)
    keep = sealed(private_folder(bundle / settings.state), settings.broker)
    lifted = [one for one in plan.lifted if not (lifting.lent(bundle, one) and keep.read(one.secret) == one.value)]
    moved = [one for one in plan.moved if getattr(settings.servers.get(one.server), "url", "") != one.url]
    drafts = lifting.drafted(bundle, lifted, moved)
    files = dict(BundleFolder(bundle).load().files)
    for path, text in drafts.items():
        if path.name == "lictor.toml":
            load_settings(text, str(path))
        else:
            files[path.relative_to(bundle).as_posix()] = text.encode()
    load_bundle(files, parse_guarded(files))
    for one in lifted:
        keep.write(one.secret, one.value, SystemClock().now_ms())
    for path, text in drafts.items():
        path.parent.mkdir(parents=True, exist_ok=True)
        clients.replace(path, text.encode(), expected=clients.read(path) if path.exists() else None)


def _tell_unreviewed(plans: Iterable[wrapping.Plan], bundle: Path) -> None:
    """A server that nobody reviewed may do nothing yet: better said here than found out in the client."""
    out = Out(as_json=False)
    servers = sorted({entry.server for plan in plans for entry in plan.entries if entry.action in {"wrap", "already"}})
    for server in servers:
        catalogue = bundle / "catalog" / f"{server}.toml"
        if server and not (catalogue.is_file() and "[" in catalogue.read_text("utf-8")):
            out.line(f"{out.warm('!')} {safe(server, 40)} has no catalogue yet, so none of its tools may run")
            out.line(f"  draft one and review it: lictor catalog pull {safe(server, 40)} --write -- COMMAND")


def unwrap(args: argparse.Namespace) -> int:
    """The same, backwards."""
    plans = [wrapping.plan_unwrap(config.path) for config in _configs(args.files)]
    return _finish(args, plans, lambda plan: wrapping.unwrap(plan.path), "restored", "")


def executable() -> str:
    """The command a client has to start: absolute, because clients have their own PATH."""
    found = shutil.which("lictor")
    beside = Path(sys.executable).with_name("lictor")
    return str(beside if beside.is_file() else found or "lictor")


def _configs(files: Iterable[str]) -> list[ClientConfig]:
    named = [describe(Path(file)) for file in files]
    return named or discover(Path.home(), Path(os.getcwd()), sys.platform)  # noqa: PTH109 - the client's folder as typed


def _finish(
    args: argparse.Namespace, plans: list[wrapping.Plan], write: Callable[[wrapping.Plan], object], done: str, back: str
) -> int:
    out = Out(as_json=args.json)
    out.data([_as_data(plan) for plan in plans])
    if not plans:
        out.line("no MCP client configuration was found; name a file, e.g.: lictor wrap .mcp.json")
        return Exit.NO
    for plan in plans:
        _show(out, plan)
    changed = [plan for plan in plans if plan.changed]
    if not changed:
        out.line("nothing to change")
        return Exit.OK
    if not args.write:
        out.line(f"nothing was written; to write: add --write ({len(changed)} of {len(plans)} files change)")
        return Exit.OK
    code = Exit.OK
    for plan in changed:
        try:
            write(plan)
        except LictorError as error:
            code = Exit(fail(error, as_json=args.json))
            continue
        out.line(f"{out.good(done)} {safe(str(plan.path))}" + (f"; take it back with: {back}" if back else ""))
    out.line("restart the client so that it reads its configuration again")
    return code


def _show(out: Out, plan: wrapping.Plan) -> None:
    out.line(out.bold(safe(str(plan.path))))
    for note in plan.notes:
        out.line(f"  {out.warm('!')} {safe(note)}")
    for entry in plan.entries:
        note = f"  {out.dim(safe(entry.note))}" if entry.note else ""
        out.line(f"  {entry.action:<8} {safe(entry.name, 40)}{note}")
    for line in wrapping.diff(plan).splitlines():
        paint = out.good if line.startswith("+") else out.bad if line.startswith("-") else out.dim
        out.line(f"  {paint(line)}")
    out.line()


def _as_data(plan: wrapping.Plan) -> dict[str, object]:
    return {
        "path": str(plan.path),
        "changed": plan.changed,
        "lifted": [{"server": one.server, "name": one.name, "secret": one.secret} for one in plan.lifted],
        "entries": [{"name": e.name, "action": e.action, "server": e.server, "note": e.note} for e in plan.entries],
        "notes": list(plan.notes),
        "diff": wrapping.diff(plan),
    }
