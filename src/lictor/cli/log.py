"""`lictor log`: show records, verify the Merkle log, print the newest checkpoint."""

import argparse
import asyncio
import sys
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import msgspec

from lictor.cli.main import common
from lictor.cli.output import Exit, Out, safe
from lictor.model.action import ActionKind, action_words


def add(_: str, parser: argparse.ArgumentParser) -> None:
    """Arguments."""
    actions = parser.add_subparsers(title="actions", required=True, metavar="ACTION")
    showing = actions.add_parser("show", help="records, newest last")
    common(showing)
    showing.add_argument("-n", type=int, default=40, metavar="N", help="how many of the newest (default: 40; 0: all)")
    showing.add_argument("--kind", help="only request, decision, approval, privilege, signal or execution")
    showing.add_argument("--task", help="only records that name this task")
    showing.add_argument("--open", action="store_true", help="only executions whose outcome is open or unknown")
    showing.set_defaults(run=_show)
    verifying = actions.add_parser("verify", help="check every record, checkpoint and the external anchor; offline")
    common(verifying)
    verifying.add_argument("--anchor", metavar="FILE", help="a checkpoint kept elsewhere (default: the state folder's)")
    verifying.set_defaults(run=_verify)
    checkpoint = actions.add_parser("checkpoint", help="print the newest signed checkpoint; keep it somewhere else")
    common(checkpoint)
    checkpoint.set_defaults(run=_checkpoint)


def _show(args: argparse.Namespace) -> int:
    from lictor.app import bundle_path, open_house

    out = Out(as_json=args.json)
    house = asyncio.run(open_house(bundle_path(args.bundle), load=False))
    try:
        if args.open:
            return _show_open(out, house.store)
        rows = list(_entries(house.store, args))
    finally:
        house.close()
    rows = rows[-args.n :] if args.n else rows
    out.data([{"seq": seq, **entry} for seq, entry in rows])
    for seq, entry in rows:
        out.line(_line(out, seq, entry))
    return Exit.OK


def _show_open(out: Out, store: Any) -> int:
    found = []
    for _, entry in _entries(store, None):
        record = entry["record"]
        if record["type"] == "execution.ended" and record["outcome"] == "indeterminate":
            found.append(
                {"execution": record["execution"], "outcome": "indeterminate", "reason": record.get("reason", "")}
            )
    found += [{"execution": one.execution, "outcome": "started", "reason": ""} for one in store.open_executions()]
    out.data(found)
    for one in found:
        out.line(f"{one['execution']}  {out.warm(one['outcome'])}  {one['reason']}")
    if not found:
        out.line("every execution has a known outcome")
    return Exit.OK


def _entries(store: Any, args: argparse.Namespace | None) -> Iterator[tuple[int, dict[str, Any]]]:
    start = 0
    if args is not None and args.n and not args.kind and not args.task:
        start = max(0, store.size() - args.n)
    for stored in store.entries(start):
        entry = msgspec.json.decode(stored.data)
        record = entry["record"]
        if args is not None and args.kind and not record["type"].startswith(f"{args.kind}."):
            continue
        if args is not None and args.task and args.task.encode() not in stored.data:
            continue
        yield stored.seq, entry


def _line(out: Out, seq: int, entry: dict[str, Any]) -> str:
    at = datetime.fromtimestamp(entry["at"] / 1_000, UTC).strftime("%Y-%m-%d %H:%M:%S")
    record = entry["record"]
    return f"{out.dim(f'{seq:>6} {at}')}  {record['type']:<28} {_gist(out, record)}"


def _gist(out: Out, record: dict[str, Any]) -> str:
    """The few members of a record that tell what happened."""
    match record["type"]:
        case "request.received":
            words = action_words(ActionKind(record["kind"]), record["server"], record["name"])
            return safe(f"{record['agent']} asks {words}", 100)
        case "decision.made":
            paint = {"allow": out.good, "deny": out.bad}.get(record["outcome"], out.warm)
            policies = ", ".join(record.get("policies", ()))
            return f"{paint(record['outcome'])} {record['reason']} {out.dim(policies)}".rstrip()
        case "execution.ended":
            paint = out.good if record["outcome"] == "executed" else out.warm
            return f"{paint(record['outcome'])} {record.get('reason', '')}".rstrip()
        case "approval.hold_opened":
            hold = record["hold"]
            return safe(f"{hold['id']} {hold['server']}/{hold['name']}", 100)
        case "approval.given":
            return f"{record['approval']['hold']} by {safe(record['approval']['approver'], 60)}"
        case "privilege.task_opened":
            task = record["task"]
            return safe(f"{task['id']} {task['agent']} for {task['human']}: {task['purpose']}", 100)
        case "privilege.approver_enrolled":
            return safe(f"{record['human']} by {record['by']}", 100)
        case "privilege.agent_changed":
            return safe(f"{record['agent']} {record['what']} by {record['by']}", 100)
        case "privilege.bundle_approved":
            ways = len(record["widens"])
            return safe(f"{record['revision'][:19]} by {record['by']}, wider in {ways} ways", 100)
        case "privilege.bundle_activated":
            return f"{record['revision'][:19]} with {record['files']} policy and catalogue files"
        case _:
            rest = {key: value for key, value in record.items() if key != "type" and value}
            return safe(" ".join(f"{key}={value}" for key, value in rest.items()), 120)


def _verify(args: argparse.Namespace) -> int:
    from lictor.app import bundle_path
    from lictor.cli.verifying import verify_state
    from lictor.config import read_settings

    out = Out(as_json=args.json)
    path = bundle_path(args.bundle)
    settings = read_settings(path)
    anchor = Path(args.anchor) if args.anchor else None
    report = verify_state(path / settings.state, settings.log_name, anchor, lambda done: _progress(out, done))
    if sys.stderr.isatty() and not args.json:
        print("\r\x1b[K", end="", file=sys.stderr)
    out.data(report)
    for finding in report["findings"]:
        out.line(out.bad(f"at {finding['position']}: {finding['kind']}: {finding['message']}"))
    if report["ok"]:
        out.line(f"{out.good('verified')}: {report['size']} records, root {report['root'][:16]}…, {report['anchor']}")
        return Exit.OK
    out.line(out.bad(f"the log is damaged: {len(report['findings'])} findings"))
    return Exit.NO


def _progress(out: Out, done: int) -> None:
    if not out.as_json and sys.stderr.isatty() and done % 5_000 == 0:
        print(f"\rverified {done} records", end="", file=sys.stderr)


def _checkpoint(args: argparse.Namespace) -> int:
    from lictor.app import bundle_path, open_house

    out = Out(as_json=args.json)
    house = asyncio.run(open_house(bundle_path(args.bundle), load=False))
    try:
        newest = house.store.newest_checkpoint()
        key = house.keys.verifier_key(house.settings.log_name)
    finally:
        house.close()
    out.data({"checkpoint": newest, "verifier_key": key})
    out.line(newest.rstrip() if newest else "the log is empty")
    if not args.json:
        print(f"verifier key: {key}", file=sys.stderr)
    return Exit.OK
