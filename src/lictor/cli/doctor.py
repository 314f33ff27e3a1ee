"""`lictor doctor`: check the whole installation, one line each, with what to do where something is wrong."""

import argparse
import asyncio
import os
import resource
import shutil
import stat
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from lictor.cli import checkup
from lictor.cli.checkup import Check
from lictor.cli.main import common
from lictor.cli.output import Exit, Out, safe
from lictor.model.errors import LictorError
from lictor.model.ids import ServerName
from lictor.model.lease import LeaseStatus

if TYPE_CHECKING:
    from lictor.app import House

NEEDED_STACK: int = 8 * 1024 * 1024
"""The engine skips policies it cannot evaluate on a small stack (facts S4); the self-test proves that we deny there."""


LATE_WITNESS: int = 10
"""A witness that has missed so many rounds is told of."""


def add(_: str, parser: argparse.ArgumentParser) -> None:
    """Arguments."""
    common(parser)
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Run every check; exit 1 when one is bad."""
    out = Out(as_json=args.json)
    checks = [_python(), _stack(), *_guarded("engine", _engine), *_guarded("bundle", lambda: _bundle(args.bundle))]
    checks += _guarded("clients", _clients)
    out.data([{"name": c.name, "state": c.state, "text": c.text, "remedy": c.remedy} for c in checks])
    for check in checks:
        paint = {"ok": out.good, "warn": out.warm}.get(check.state, out.bad)
        out.line(f"{paint(check.state.ljust(4))}  {check.name:<10} {check.text}")
        if check.remedy:
            out.line(f"                 {out.dim(check.remedy)}")
    return Exit.NO if any(check.state == "bad" for check in checks) else Exit.OK


def _guarded(name: str, checks: Callable[[], list[Check]]) -> list[Check]:
    """A check that cannot be made is a bad one, with its reason."""
    try:
        return checks()
    except LictorError as error:
        return [Check(name=name, state="bad", text=str(error.message), remedy=error.remedy)]
    except OSError as error:
        return [Check(name=name, state="bad", text=f"cannot be checked: {error}")]


def _python() -> Check:
    version = ".".join(map(str, sys.version_info[:3]))
    return Check(name="python", state="ok", text=f"{version}, {sys.executable}")


def _stack() -> Check:
    soft, _ = resource.getrlimit(resource.RLIMIT_STACK)
    if soft != resource.RLIM_INFINITY and soft < NEEDED_STACK:
        return Check(name="stack", state="bad", text=f"{soft} bytes is too small", remedy="ulimit -s 8192")
    return Check(name="stack", state="ok", text="8 MiB or more")


def _engine() -> list[Check]:
    from lictor.app import check_engine

    check_engine()
    return [Check(name="engine", state="ok", text="the policy engine denies whatever it must deny (self-test)")]


def _bundle(given: str | None) -> list[Check]:
    from lictor.app import bundle_path, open_house
    from lictor.cli.verifying import verify_state

    path = bundle_path(given)
    house = asyncio.run(open_house(path))
    try:
        bundle = house.bundle
        count = len(bundle.policies) if bundle else 0
        checks = [
            Check(name="bundle", state="ok", text=f"{path}: policies: {count}, servers: {len(house.settings.servers)}")
        ]
        if house.waits:
            text = "what is in the folder permits more than what is in force, and waits for a second person"
            checks.append(Check(name="bundle", state="warn", text=text, remedy="lictor policy approve REVISION"))
        enrolled = [person for person in (bundle.approvers.groups_of if bundle else {}) if house.store.enrolled(person)]
        if not enrolled:
            checks.append(
                Check(
                    name="approvers",
                    state="warn",
                    text="nobody can answer holds yet",
                    remedy="lictor approver enrol HUMAN",
                )
            )
        else:
            checks.append(Check(name="approvers", state="ok", text=", ".join(enrolled)))
        opened = house.store.open_executions()
        pending = [lease for lease in house.store.leases() if lease.status is LeaseStatus.REVOKING]
        checks += _credentials(house)
        checks += _sinks(house)
        checks += _witnesses(house)
        checks.append(_log_key(house))
        checks += _guarded("telemetry", lambda: _telemetry(house))
        checks += _log(house)
        state, origin = house.state, house.settings.log_name
        servers = house.settings.servers
        issuers = {name: issuer.url for name, issuer in house.settings.issuers.items()}
    finally:
        house.close()
    checks.append(_private(state))
    checks.extend(_plain(name, url) for name, url in issuers.items() if url.startswith("http://"))
    for name, server in servers.items():
        if server.command and shutil.which(server.command[0]) is None:
            text = f"{name}: {server.command[0]!r} is not on PATH"
            checks.append(Check(name="server", state="bad", text=text, remedy="install it, or correct lictor.toml"))
    if pending:
        named = ", ".join(f"{one.server}/{one.credential}" for one in pending[:5])
        text = f"{len(pending)} credentials are not revoked yet: {named}"
        checks.append(Check(name="leases", state="warn", text=text, remedy="lictor leases"))
    if opened:
        text = f"{len(opened)} executions are open; another gateway may be running them"
        checks.append(Check(name="open", state="warn", text=text, remedy="lictor log show --open"))
    report = verify_state(state, origin, None, lambda _done: None)
    if report["ok"]:
        checks.append(Check(name="log", state="ok", text=f"{report['size']} records verify; {report['anchor']}"))
    else:
        first = report["findings"][0]
        text = f"the log does not verify: {len(report['findings'])} findings, first of all {safe(first['message'])}"
        checks.append(Check(name="log", state="bad", text=text, remedy="lictor log verify"))
    return checks


def _log(house: "House") -> list[Check]:
    """What the log and the files around it say, without verifying it."""
    from lictor.app.shadow import followed, in_shadow
    from lictor.records.cosign import WitnessKey
    from lictor.stores.keys import LOG_FILE

    log, told, size = house.state / LOG_FILE, in_shadow(house), house.store.size()
    checks = _guarded("erasure", lambda: checkup.erasure(log))
    checks += checkup.shadow(told, size, followed=told is not None and followed(house.state))
    names = {WitnessKey.parse(one.key).name for one in house.settings.witness.values()}
    return checks + _guarded("witness", lambda: checkup.contradictions(log, names))


def _telemetry(house: "House") -> list[Check]:
    """Whether figures and traces would start, where they are asked for."""
    from lictor.app.observing import check_observing

    metrics, traces = house.settings.metrics.listen, house.settings.telemetry.otlp
    check_observing(house.settings, os.environ)
    found = [f"figures at {metrics}"] if metrics else []
    found += [f"traces to {traces}"] if traces else []
    return [Check(name="telemetry", state="ok", text=", ".join(found))] if found else []


def _plain(name: str, url: str) -> Check:
    """Only loopback is accepted without TLS, so it is somebody's experiment; `lictor dev-issuer` asks for no password."""
    text = f"{name} at {url} is a development issuer: who it vouches for is whoever asked it"
    return Check(name=f"issuer {name}", state="warn", text=text, remedy="use your organisation's issuer in production")


def _credentials(house: "House") -> list[Check]:
    """Secrets in the clear in lictor.toml, credentials that cannot be lent, a safe that does not open."""
    from lictor.app.lendable import problem_of
    from lictor.app.safekeeping import sealed
    from lictor.cli.lifting import in_the_clear

    checks = []
    for name, clear in in_the_clear(house.settings):
        text = f"{name}: in the clear in lictor.toml: {', '.join(clear)}"
        checks.append(Check(name="secrets", state="warn", text=text, remedy="lictor secret set, and credentials.toml"))
    servers = {ServerName(name): server for name, server in house.settings.servers.items()}
    for credential in house.policy.current().credentials.values():
        problem = problem_of(credential, servers.get(credential.server))
        if problem:
            checks.append(Check(name="lending", state="bad", text=f"credential {credential.name!r}: {problem}"))
    if house.policy.current().credentials:
        count = len(sealed(house.state, house.settings.broker).values())
        checks.append(Check(name="safe", state="ok", text=f"it opens; secrets: {count}"))
    return checks


def _log_key(house: "House") -> Check:
    """Which key signs the log, and since when."""
    chain, key = house.keys.chain, house.keys.verifier_key(house.settings.log_name)
    since = chain.spans()[-1][1] if chain is not None and chain.changes else 0
    return Check(
        name="log key", state="ok", text=f"{key}, {f'since record {since}' if since else 'from the beginning'}"
    )


def _witnesses(house: "House") -> list[Check]:
    """How far each witness is behind; what it has contradicted is in the log."""
    from lictor.cli.exported import statements
    from lictor.cli.output import moment
    from lictor.records.cosign import WitnessKey
    from lictor.stores.cosigned import read_cosigned

    checks = []
    kept, key = read_cosigned(house.state), house.keys.log_keys(house.settings.log_name)
    late_ms = LATE_WITNESS * house.settings.log.witness_every_s * 1_000
    for name, settings in house.settings.witness.items():
        said = statements([kept[name]] if name in kept else [], key, [WitnessKey.parse(settings.key)])
        if said.findings:
            text = f"{name}: {said.findings[0]['message']}"
            checks.append(Check(name="witness", state="warn", text=text, remedy="lictor serve submits to it"))
            continue
        size, at = said.said[0]["size"], said.said[0]["at"]
        behind = house.store.size() - size
        late = behind > 0 and house.clock.now_ms() - at > late_ms
        text = f"{name}: cosigned {size} records at {moment(at)}, {behind} behind"
        checks.append(
            Check(
                name="witness",
                state="warn" if late else "ok",
                text=text,
                remedy="docs/how-to/witness.md" if late else "",
            )
        )
    return checks


def _sinks(house: "House") -> list[Check]:
    """How far each place outside is that the log is sent to."""
    from lictor.app.sinking import kept_lag

    checks = []
    for name in house.settings.sinks:
        try:
            behind = kept_lag(house, name)
        except LictorError as error:
            checks.append(Check(name="sink", state="bad", text=f"{name}: {error.message}", remedy=error.remedy))
            continue
        text = f"{name}: {behind} records wait for it" if behind else f"{name}: it has taken everything"
        remedy = "a running gateway sends them; what it says on standard error tells why not" if behind else ""
        checks.append(Check(name="sink", state="warn" if behind else "ok", text=text, remedy=remedy))
    return checks


def _private(state: Path) -> Check:
    mode = stat.S_IMODE(os.stat(state).st_mode)  # noqa: PTH116
    if mode & 0o077:
        return Check(name="state", state="bad", text=f"{state} is open to others", remedy=f"chmod 700 {state}")
    return Check(name="state", state="ok", text=f"{state} is private to this user")


def _clients() -> list[Check]:
    from lictor.cli import wrapping
    from lictor.cli.clients import discover

    checks = []
    for config in discover(Path.home(), Path.cwd(), sys.platform):
        plan = wrapping.plan(config, "lictor", None)
        bare = [entry.name for entry in plan.entries if entry.action == "wrap"]
        remote = [entry.name for entry in plan.entries if entry.action == "remote"]
        if bare or remote:
            text = f"{config.path}: not behind Lictor: {', '.join([*bare, *remote])}"
            remedy = (
                "lictor wrap"
                if bare
                else "a remote server: name it in lictor.toml and point the client at lictor serve"
            )
            checks.append(Check(name="client", state="warn", text=text, remedy=remedy))
        elif plan.entries:
            checks.append(Check(name="client", state="ok", text=f"{config.path}: every server is behind Lictor"))
    return checks or [Check(name="client", state="ok", text="no MCP client configuration on this machine")]
