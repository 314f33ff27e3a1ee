"""Which recorded requests a command is about: `--since`, `--task`, `--agent`; and how far it is."""

import argparse
import re
import sys
from collections.abc import Callable
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Final

from lictor.cli.output import Out
from lictor.model.errors import CallerError
from lictor.model.ids import AgentId, TaskId
from lictor.model.reasons import Reason

if TYPE_CHECKING:
    from lictor.service.calls.traffic import Wanted

_AGO: Final = re.compile(r"([0-9]{1,6})([smhdw])", re.ASCII)
_UNIT_MS: Final = {"s": 1_000, "m": 60_000, "h": 3_600_000, "d": 86_400_000, "w": 7 * 86_400_000}
_BAR: Final = 30


def filters(parser: argparse.ArgumentParser) -> None:
    """The options."""
    parser.add_argument("--since", metavar="WHEN", help="only what came after: 12h, 7d, 2026-11-01, 2026-11-01T08:00Z")
    parser.add_argument("--task", metavar="ID", help="only this task")
    parser.add_argument("--agent", metavar="ID", help="only this agent")


def wanted_of(args: argparse.Namespace, start: int = 0, stop: int | None = None) -> "Wanted":
    """What the options ask for.

    Raises:
        CallerError: `--since` is no moment.
    """
    from lictor.service.calls.traffic import Wanted

    return Wanted(
        since_ms=moment_of(args.since) if args.since else 0,
        task=TaskId(args.task) if args.task else None,
        agent=AgentId(args.agent) if args.agent else None,
        start=start,
        stop=stop,
    )


def moment_of(text: str, now_ms: int | None = None) -> int:
    """Milliseconds since the epoch of `7d` (ago) or an ISO 8601 date or time; UTC unless it says otherwise.

    Args:
        text: what was written.
        now_ms: what `ago` counts back from; None: now.

    Raises:
        CallerError: neither.
    """
    from lictor.stores.clock import SystemClock

    ago = _AGO.fullmatch(text)
    if ago is not None:
        return (SystemClock().now_ms() if now_ms is None else now_ms) - int(ago[1]) * _UNIT_MS[ago[2]]
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        raise CallerError(
            Reason.INVALID_ARGUMENTS, f"{text[:40]!r} is no moment", remedy="write 12h, 7d, or 2026-11-01"
        ) from None
    return int((moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp() * 1_000)


def bar(out: Out, what: str, total: int, every: int = 500) -> Callable[[int], None]:
    """A progress bar on a terminal's standard error; nowhere else."""
    shown = not out.as_json and sys.stderr.isatty()

    def show(done: int) -> None:
        if shown and (done % every == 0 or done >= total):
            share = done * _BAR // max(1, total)
            text = f"\r{what} [{'#' * share:<{_BAR}}] {done}/{total}" if done < total else "\r\x1b[K"
            print(text, end="", file=sys.stderr, flush=True)

    return show
