"""`lictor signal`: a detector, a guardrail or a person says what was observed about a task. It can only tighten."""

import argparse
import asyncio
import getpass

from lictor.cli.main import common
from lictor.cli.output import Exit, Out, safe
from lictor.model.ids import RequestId, TaskId


def add(_: str, parser: argparse.ArgumentParser) -> None:
    """Arguments."""
    common(parser)
    parser.add_argument("task", help="what it is about")
    parser.add_argument("kind", help="a kind of the bundle's signals.toml")
    parser.add_argument("score", help="a number from 0 to 1")
    parser.add_argument("--source", default=f"os:{getpass.getuser()}", help="who observed it (default: you)")
    parser.add_argument("--request", metavar="REQ", help="the request it was observed on")
    parser.set_defaults(run=lambda args: asyncio.run(_observe(args)))


async def _observe(args: argparse.Namespace) -> int:
    from lictor.app import bundle_path, open_house

    out = Out(as_json=args.json)
    house = await open_house(bundle_path(args.bundle))
    try:
        signal = await house.signals.observe(
            TaskId(args.task),
            args.kind,
            _number(args.score),
            source=args.source,
            request=RequestId(args.request) if args.request else None,
        )
        rule = house.policy.current().signals.get(signal.kind)
    finally:
        house.close()
    reached = rule is not None and signal.score >= rule.at_least
    out.data({"signal": signal.id, "score": signal.score, "restricts": rule.restriction if rule and reached else None})
    out.line(f"{signal.id}: {safe(args.kind)} at {signal.score / 1_000:.3f} for {safe(args.task)}")
    out.line(f"from now on: {rule.restriction.value}" if rule and reached else "below what restricts; written down")
    return Exit.OK


def _number(text: str) -> float | str:
    """A number, or the text, so that what is no number is refused and recorded like any other."""
    try:
        return float(text)
    except ValueError:
        return text
