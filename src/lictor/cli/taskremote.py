"""`lictor task … --url`: the same actions at a gateway elsewhere, as a person or an application, over its task API."""

import argparse
import os
import stat
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any

from lictor import client
from lictor.cli.output import Exit, Out, moment, safe
from lictor.model.errors import CallerError, LictorError, OperatorError, UpstreamError
from lictor.model.reasons import Reason

_OTHERS = stat.S_IRWXG | stat.S_IRWXO


def add(parser: argparse.ArgumentParser) -> None:
    """Options of every action that works at a distance."""
    parser.add_argument("--url", metavar="URL", help="a gateway elsewhere, such as https://gateway.example")
    parser.add_argument(
        "--token-file", metavar="FILE", help="with --url: a file with your secret, readable by you alone"
    )


def run(args: argparse.Namespace, action: Callable[[client.Client, argparse.Namespace, Out], None]) -> int:
    """One action at a distance.

    Raises:
        LictorError: what the gateway said, or that it said nothing.
    """
    out = Out(as_json=args.json)
    try:
        action(client.Client(args.url, _secret(args.token_file)), args, out)
    except ValueError as error:
        raise OperatorError(Reason.CONFIG_REFUSED, str(error)) from None
    except client.RefusedError as refused:
        raise _as_ours(refused) from None
    except client.UnreachableError as error:
        message = f"no answer from {args.url[:120]!r}: {error}"
        raise UpstreamError(Reason.UPSTREAM_DOWN, message, effect_possible=True) from None
    return Exit.OK


def opened(there: client.Client, _: argparse.Namespace, out: Out, body: dict[str, Any]) -> None:
    """`open`."""
    _say_opened(there.open(**body), out)


def delegated(there: client.Client, args: argparse.Namespace, out: Out, body: dict[str, Any]) -> None:
    """`delegate`."""
    _say_opened(there.delegate(args.task, **body), out)


def listed(there: client.Client, _: argparse.Namespace, out: Out) -> None:
    """`list`."""
    states = list(there.tasks())
    out.data([asdict(state) for state in states])
    rows = [
        (one.task, one.state, safe(one.agent), safe(one.human), safe(one.purpose),
         f"{one.calls_used}/{one.calls_budget}", safe(",".join(one.labels)))
        for one in states
    ]  # fmt: skip
    out.table(("TASK", "STATE", "AGENT", "HUMAN", "PURPOSE", "CALLS", "LABELS"), rows)


def shown(there: client.Client, args: argparse.Namespace, out: Out) -> None:
    """`show`, with what the task asked for."""
    state, steps = there.task(args.task), list(there.story(args.task))
    out.data({**asdict(state), "steps": [asdict(step) for step in steps]})
    for name in ("task", "state", "agent", "human", "purpose", "opened_by", "audience"):
        out.line(f"{name:<10}{safe(str(getattr(state, name)))}")
    out.line(f"{'expires':<10}{moment(state.expires_at_ms)}")
    out.line(f"{'calls':<10}{state.calls_used} of {state.calls_budget} used")
    for step in steps:
        became = f" -> {step.execution_outcome or step.hold_status}" if step.execution or step.hold else ""
        out.line(f"{moment(step.at_ms)}  {step.outcome:<14} {safe(step.action or '?')} [{step.reason}]{became}")


def closed(there: client.Client, args: argparse.Namespace, out: Out) -> None:
    """`close`."""
    state = there.close(args.task)
    out.data({"task": state.task, "closed": True})
    out.line(f"task {safe(state.task)} is closed; nothing of it starts any more")


def confirmed(there: client.Client, args: argparse.Namespace, out: Out) -> None:
    """`confirm`."""
    state = there.confirm(args.task)
    out.data({"task": state.task, "confirmed_by": (state.contract or {}).get("confirmed_by")})
    out.line(f"confirmed for task {safe(state.task)}")


def _say_opened(one: client.Opened, out: Out) -> None:
    out.data({"task": one.task, "token": one.token, "audience": one.audience, "expires_at_ms": one.expires_at_ms})
    out.line(f"task {safe(one.task)} is open until {moment(one.expires_at_ms)}. Its token, shown once:")
    out.line()
    out.line(f"  {one.token}")
    out.line()
    out.line(f"The agent connects to {safe(one.audience)} with the header  Authorization: Bearer {one.token}")


def _secret(path: str | None) -> str:
    if not path:
        raise CallerError(Reason.UNAUTHENTICATED, "--url needs --token-file", remedy="name a file with your secret")
    try:
        mode = Path(path).stat().st_mode
        text = Path(path).read_text("ascii").strip()
    except (OSError, UnicodeDecodeError) as error:
        raise OperatorError(Reason.CONFIG_REFUSED, f"{path[:200]!r} cannot be read: {str(error)[:120]}") from None
    if os.name == "posix" and mode & _OTHERS:
        raise OperatorError(
            Reason.CONFIG_REFUSED, f"{path[:200]!r} can be read by others", remedy=f"chmod 600 {path[:200]}"
        )
    return text


def _as_ours(refused: client.RefusedError) -> LictorError:
    known = refused.reason in set(Reason)
    reason = Reason(refused.reason) if known else Reason.INTERNAL
    return CallerError(reason, refused.detail[:300], remedy=refused.remedy[:300])
