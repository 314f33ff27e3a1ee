"""`lictor log erase`: destroy a task's sealing key, for good. The log stays whole, and says who did it."""

import argparse
import asyncio
import getpass
import sys
from typing import TYPE_CHECKING, Any

from lictor.cli.main import common
from lictor.cli.output import Exit, Out, safe
from lictor.model.ids import TaskId

if TYPE_CHECKING:
    from lictor.service.evidence.erase import Erased, Plan

_NAMED = 10
"""Tasks named in the question."""


def add(actions: Any) -> None:
    """Arguments."""
    erasing = actions.add_parser("erase", help="make what a task's requests carried unreadable, for good")
    common(erasing)
    erasing.add_argument("--task", required=True, metavar="ID", help="a task that is over; all below it goes with it")
    erasing.add_argument("--why", default="", help="for the record, for example a request's number")
    erasing.add_argument("--yes", action="store_true", help="do not ask")
    erasing.set_defaults(run=lambda args: asyncio.run(_erase(args)))


async def _erase(args: argparse.Namespace) -> int:
    from lictor.app import bundle_path, open_house

    out = Out(as_json=args.json)
    task = TaskId(args.task)
    house = await open_house(bundle_path(args.bundle), load=False)
    try:
        plan = house.erase.plan(task)
        if plan.tasks and not args.yes and not _confirmed(out, task, plan):
            out.line("nothing was erased")
            return Exit.NO
        erased = await house.erase(task, by=f"os:{getpass.getuser()}", why=args.why)
    finally:
        house.close()
    out.data({"erased": list(erased.tasks), "already": list(plan.already), "clean": erased.clean})
    _tell(out, erased, plan)
    return Exit.OK if erased.clean else Exit.NO


def _confirmed(out: Out, task: TaskId, plan: "Plan") -> bool:
    """Ask; without a terminal the answer is no."""
    count = f"{len(plan.tasks)} tasks" if len(plan.tasks) > 1 else "this task"
    print(f"the arguments and facts of {count} will be readable by nobody any more:", file=sys.stderr)
    for one in plan.tasks[-_NAMED:]:
        print(f"  {safe(one)}{'' if one == task else f', delegated below {safe(task)}'}", file=sys.stderr)
    if len(plan.tasks) > _NAMED:
        print(f"  and {len(plan.tasks) - _NAMED} more below them", file=sys.stderr)
    print("their decisions stay in the log, and cannot be replayed", file=sys.stderr)
    if out.as_json or not sys.stdin.isatty():
        print("say --yes to do it", file=sys.stderr)
        return False
    return input("erase? type yes: ").strip() == "yes"


def _tell(out: Out, erased: "Erased", plan: "Plan") -> None:
    for task in erased.tasks:
        out.line(f"erased   {safe(task)}")
    for task in plan.already:
        out.line(f"before   {safe(task)} was erased already")
    if erased.clean:
        out.line("no file of the log holds their keys; copies of the state folder that were taken before still do")
    else:
        out.line(out.warm("somebody reads an older state of the log: old pages are cut off when that has ended"))
