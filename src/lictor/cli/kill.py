"""`lictor kill`, `lictor release`: pull the plug, see what was stopped, and let it go on again.

A kill must work when nothing else does: on a broken bundle, without an approver, with gateways that do not answer. A release
loosens, so it needs what `lictor contain lift` needs.
"""

import argparse
import asyncio
import getpass
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from lictor.cli.contain import lift, scope_of
from lictor.cli.main import common
from lictor.cli.output import Exit, Out, safe
from lictor.model.containment import Scope
from lictor.model.errors import CallerError, LictorError
from lictor.model.reasons import Reason

if TYPE_CHECKING:
    from lictor.app import House
    from lictor.model.agent import Agent
    from lictor.model.ids import AgentId
    from lictor.service.containment.contain import InFlight, Killed

_EXAMPLES = """\
examples:
  lictor kill agent coder --why "writes to production"
  lictor kill task task_5mK --why "wrong repository"
  lictor kill server mail --why "leaked token"
  lictor kill everything --why "incident 12"
"""
_BECAME = {
    "executed": "had its answer already",
    "failed": "had not left: it did not run",
    "indeterminate": "was stopped under way: it may have happened",
    "started": "no gateway has said: it may have happened",
}


def add(name: str, parser: argparse.ArgumentParser) -> None:
    """Arguments."""
    common(parser)
    if name == "release":
        parser.add_argument("id", help="cnt_…, from `lictor contain list`")
        parser.add_argument("--why", required=True, help="for the record")
        parser.set_defaults(run=lambda args: asyncio.run(lift(args)))
        return
    parser.add_argument("scope", metavar="SCOPE", choices=[scope.value for scope in Scope], help=_scopes())
    parser.add_argument("target", nargs="?", default="", metavar="TARGET", help="its name; SERVER/TOOL for an action")
    parser.add_argument("--why", required=True, help="for the record")
    parser.epilog = _EXAMPLES
    parser.set_defaults(run=lambda args: asyncio.run(_kill(args)))


async def _kill(args: argparse.Namespace) -> int:
    from lictor.app import bundle_path, open_house

    out = Out(as_json=args.json)
    if not args.why.strip():
        raise CallerError(Reason.CONFLICT, "say why it is stopped")
    scope, target = scope_of(f"{args.scope}:{args.target}")
    house = await open_house(bundle_path(args.bundle), load=False)
    try:
        who = f"os:{getpass.getuser()}"
        killed = await house.contain.kill(scope, target, by=who, why=args.why, agents=_agents(house))
        out.line(f"{out.bold('stopped')}: {safe(f'{scope.value} {target}'.strip())}, on every gateway, from now on")
        became = await house.contain.outcomes(killed)
    finally:
        house.close()
    out.data(_as_data(killed, became))
    _tell(out, killed, became)
    # Nothing new starts anywhere; but of these nobody can say that they have ended.
    return Exit.NO if any(call.outcome == "started" for call in became) else Exit.OK


def _agents(house: "House") -> "Mapping[AgentId, Agent]":
    """The registry, for whose agents are whose; a bundle that does not load keeps nobody from pulling the plug."""
    from lictor.policy.compile import compile_bundle

    try:
        return compile_bundle(house.folder.load()).agents
    except LictorError:
        return {}


def _tell(out: Out, killed: "Killed", became: "tuple[InFlight, ...]") -> None:
    for task in killed.tasks:
        out.line(f"  closed      {task}")
    for task in killed.suspended:
        out.line(f"  suspended   {task}")
    for hold in killed.holds:
        out.line(f"  not asked   {hold}: nobody has to answer it any more")
    for call in became:
        text = f"  call        {safe(call.action or call.execution)} of {call.task} {_BECAME[call.outcome]}"
        out.line(out.warm(text) if call.outcome in {"indeterminate", "started"} else text)
    if not became:
        out.line("  no call was under way")
    if killed.tasks:
        out.line("a closed task stays closed; open another")
    out.line(f"let the rest go on with: lictor release {killed.containment.id} --why …")


def _as_data(killed: "Killed", became: "tuple[InFlight, ...]") -> dict[str, Any]:
    laid = killed.containment
    return {
        "containment": laid.id,
        "scope": laid.scope.value,
        "target": laid.target,
        "laid_at_ms": laid.laid_at_ms,
        "closed": list(killed.tasks),
        "suspended": list(killed.suspended),
        "holds": list(killed.holds),
        "calls": [
            {"execution": call.execution, "task": call.task, "action": call.action, "outcome": call.outcome}
            for call in became
        ],
    }


def _scopes() -> str:
    return ", ".join(scope.value for scope in Scope)
