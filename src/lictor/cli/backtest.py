"""`lictor policy backtest`: what another bundle would have answered to everything that was asked."""

import argparse
import asyncio
import contextlib
import sys
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import msgspec

from lictor.cli.main import common
from lictor.cli.output import Exit, Out, safe
from lictor.cli.progress import Progress
from lictor.cli.ranges import bounds_of, jobs_of, over_ranges, range_options
from lictor.cli.span import filters, wanted_of
from lictor.model.errors import CallerError, OperatorError
from lictor.model.ids import PolicyRevision
from lictor.model.reasons import Reason
from lictor.policy.bundle import Bundle

if TYPE_CHECKING:
    from lictor.cli.ranges import Work
    from lictor.service.calls.traffic import Wanted
    from lictor.service.evidence.backtest import Group, Report, Sort

_WORDS: Final = {"allow": "allowed", "needs_approval": "held", "deny": "denied"}
_FAILING: Final = ("newly_allowed", "newly_held", "newly_denied", "cannot_tell")
_WHAT: Final = (
    "Decide every recorded request again with another bundle, on the facts of then, and compare with what was answered. Exit "
    "code 0; 1 where --guard or --fail-on says so."
)
_NEW: Final = "a bundle folder, or a kept revision (sha256:…)"


def add(where: Any, parser: argparse.ArgumentParser | None = None) -> None:
    """`backtest` by itself (command and parser), or among the actions of `policy` (these)."""
    if parser is not None:
        parser.description = _WHAT
        parser.add_argument("--bundle", dest="new", metavar="NEW", required=True, help=_NEW)
        parser.add_argument(
            "--log", dest="bundle", metavar="DIR", help="the bundle folder whose log is asked (default: as elsewhere)"
        )
        parser.add_argument("--json", action="store_true", help="print the result as JSON")
    else:
        parser = where.add_parser(
            "backtest", help="what another bundle would have answered to everything in the log", description=_WHAT
        )
        common(parser)
        parser.add_argument("new", nargs="?", help=f"{_NEW}; default: the bundle folder as it is now")
    filters(parser)
    parser.add_argument(
        "--guard", action="store_true", help="exit 1 if anything is looser, or asks other people than before"
    )
    parser.add_argument(
        "--fail-on", metavar="KINDS", default="", help=f"exit 1 if there is any of these: {','.join(_FAILING)}"
    )
    range_options(parser)
    parser.set_defaults(run=_backtest)


def _backtest(args: argparse.Namespace) -> int:
    from lictor.app import bundle_path

    failing = _failing(args.fail_on)
    jobs = jobs_of(args.jobs)
    out = Out(as_json=args.json)
    path = bundle_path(args.bundle)
    new = chosen_bundle(path, args.new)
    found = over_log(out, path, args, new, jobs=jobs)
    out.data({"revision": new.revision, **report_data(found)})
    out.line(f"bundle {new.revision[:19]} on recorded traffic")
    show_report(out, found)
    refused = (args.guard and found.suspect) or any(found.counts[kind] for kind in failing)
    return Exit.NO if refused else Exit.OK


def _failing(kinds: str) -> list[str]:
    named = [kind.strip().replace("-", "_") for kind in kinds.split(",") if kind.strip()]
    for kind in named:
        if kind not in _FAILING:
            raise CallerError(Reason.INVALID_ARGUMENTS, f"--fail-on is of {', '.join(_FAILING)}, not {kind[:40]!r}")
    return named


def chosen_bundle(path: Path, name: str | None) -> Bundle:
    """A bundle by its folder, by a revision kept beside the log of `path`, or the folder `path` itself.

    Raises:
        OperatorError: there is none, or it does not load.
    """
    from lictor.cli.prove import load

    if name is None or not name.startswith("sha256:"):
        folder = path if name is None else Path(name)
        if not folder.is_dir():
            raise OperatorError(
                Reason.CONFIG_REFUSED, f"{str(name)[:120]!r} is no folder", remedy="name a bundle's folder"
            )
        return load(folder)[1]
    from lictor.app import open_house
    from lictor.policy.compile import parse_guarded
    from lictor.policy.load import load_bundle

    house = asyncio.run(open_house(path, load=False))
    try:
        files = house.store.bundle(PolicyRevision(name))
    finally:
        house.close()
    if files is None:
        raise OperatorError(Reason.BUNDLE_REFUSED, f"no bundle of revision {name[:80]!r} is kept")
    return load_bundle(files, parse_guarded(files))


def over_log(
    out: Out, path: Path, args: argparse.Namespace, new: Bundle, before: Bundle | None = None, jobs: int = 1
) -> "Report":
    """The report over the log of a bundle folder, in as many processes as wanted.

    Args:
        args: with the options of `span.filters`, and those of `ranges.range_options` where there are any.
        before: compare with this bundle's answers instead of the recorded ones.
        jobs: processes.

    Raises:
        OperatorError: a bundle does not compile.
        StoreError: the log cannot be read.
    """
    from lictor.app import open_house
    from lictor.policy.compile import compile_bundle
    from lictor.service.evidence.backtest import merged

    compile_bundle(new)  # what it is refused for is said here, not by a worker
    house = asyncio.run(open_house(path, load=False))
    try:
        size, log = house.store.size(), house.state / "log.db"
    finally:
        house.close()
    bundles = tuple((one.revision, dict(one.files)) for one in (new, before) if one is not None)
    start, stop = bounds_of(args, size)
    with Progress(sys.stderr, "deciding again", stop - start, quiet=out.as_json) as bar:
        return merged(over_ranges(partial(opened, log, bundles), wanted_of(args, start, stop), jobs, bar.update))


@contextlib.contextmanager
def opened(path: Path, bundles: tuple[tuple[PolicyRevision, dict[str, bytes]], ...]) -> Iterator["Work[Report]"]:
    """Deciding a log again with the first of one or two bundles, in this process.

    Raises:
        OperatorError: a bundle does not compile.
        StoreError: the log cannot be read.
    """
    from lictor.policy.compile import compile_files
    from lictor.service.evidence.backtest import Backtest
    from lictor.stores.reader import LogReader

    pdps = [compile_files(revision, files) for revision, files in bundles]
    with LogReader(path) as log:
        backtest = Backtest(log, compile_files, *pdps)

        def work(wanted: "Wanted", on_progress: Callable[[int], None] | None) -> "Report":
            return backtest(wanted, on_progress)

        yield work


# -- words -----------------------------------------------------------------------------------------------------------


def report_data(found: "Report") -> dict[str, Any]:
    """For programs."""
    groups = [
        {**msgspec.to_builtins(one.sort), "looser": one.sort.looser, "count": one.count, "example": one.example}
        for one in found.groups
    ]
    return {"counts": found.counts, "different": found.different, "suspect": found.suspect, "groups": groups}


def show_report(out: Out, found: "Report", *, recorded: bool = False) -> None:
    """For people.

    Args:
        recorded: whether only differences were counted, as they were recorded.
    """
    for group in found.groups:
        _show_group(out, group)
    if found.different:
        out.line(out.dim("why one of them came out as it did: lictor policy explain REQUEST"))
    counts = found.counts
    if recorded:
        out.line(", ".join(f"{counts[kind]} {kind.replace('_', ' ')}" for kind in _FAILING[:3]))
        return
    if counts["cannot_tell"]:
        out.line(
            out.dim("what cannot be told is not guessed: erased, or the new bundle asks for facts nobody recorded")
        )
    out.line(
        f"{counts['newly_allowed']} newly allowed, {counts['newly_denied']} newly denied, {counts['newly_held']} newly held, "
        f"{counts['unchanged']} unchanged, {counts['cannot_tell']} cannot tell"
    )
    if found.different:
        out.line(out.dim("labels and totals are those of then; a stricter bundle would also have left others behind"))


def _show_group(out: Out, group: "Group") -> None:
    sort = group.sort
    words = sort.kind.replace("_", " ")
    paint = {"newly_allowed": out.bad, "newly_denied": out.warm, "newly_held": out.warm}.get(sort.kind, out.dim)
    loose = out.bad(" looser") if sort.looser and sort.kind != "newly_allowed" else ""
    who = f"{safe(sort.agent, 60)}  {safe(sort.action, 100)}"
    out.line(f"{paint(f'{words:<14}')}{group.count:>7}  {who}{loose}  {out.dim(f'e.g. {safe(group.example, 60)}')}")
    out.line(f"    {safe(explained(sort), 400)}")


def explained(sort: "Sort") -> str:
    """One sort of difference in words."""
    if not sort.was:
        return sort.why or "of several kinds"
    was = f"was {_WORDS[sort.was]}{_by(sort.was_reason, sort.was_by)}"
    now = f"is {_WORDS[sort.now]}{_by(sort.now_reason, sort.now_by)}"
    return "; ".join(filter(None, (was, now, sort.why)))


def _by(reason: str, policies: tuple[str, ...]) -> str:
    return f" ({reason}{' by ' + ', '.join(policies) if policies else ''})"
