"""`lictor policy backtest`: what another bundle would have answered to everything that was asked."""

import argparse
import asyncio
import multiprocessing
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor, as_completed
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import msgspec

from lictor.cli.main import common
from lictor.cli.output import Exit, Out, safe
from lictor.cli.span import bar, filters, wanted_of
from lictor.model.errors import CallerError, LictorError, OperatorError, StoreError
from lictor.model.ids import PolicyRevision
from lictor.model.reasons import Reason
from lictor.policy.bundle import Bundle

if TYPE_CHECKING:
    from lictor.service.backtest import Group, Report, Sort
    from lictor.service.traffic import Wanted

_WORDS: Final = {"allow": "allowed", "needs_approval": "held", "deny": "denied"}
_MAX_JOBS: Final = 64
_RANGES_A_JOB: Final = 4
_SHORTEST_RANGE: Final = 1_000


def add(actions: Any) -> None:
    """`backtest` among the actions of `policy`."""
    testing = actions.add_parser(
        "backtest",
        help="what another bundle would have answered to everything in the log",
        description=(
            "Decide every recorded request again with another bundle, on the facts of then, and compare with what was answered. "
            "Exit code 0; with --guard 1 if anything is newly allowed."
        ),
    )
    common(testing)
    filters(testing)
    testing.add_argument(
        "new", nargs="?", help="a bundle folder, or a kept revision (sha256:…); default: the bundle folder as it is now"
    )
    testing.add_argument("--guard", action="store_true", help="exit 1 if anything is newly allowed")
    testing.add_argument("--jobs", type=int, default=1, metavar="N", help="processes (default: 1)")
    testing.set_defaults(run=_backtest)


def _backtest(args: argparse.Namespace) -> int:
    from lictor.app import bundle_path

    if not 1 <= args.jobs <= _MAX_JOBS:
        raise CallerError(Reason.INVALID_ARGUMENTS, f"--jobs is 1 to {_MAX_JOBS}")
    out = Out(as_json=args.json)
    path = bundle_path(args.bundle)
    new = chosen_bundle(path, args.new)
    found = over_log(out, path, args, new)
    out.data({"revision": new.revision, **report_data(found)})
    out.line(f"bundle {new.revision[:19]} on recorded traffic")
    show_report(out, found)
    return Exit.NO if args.guard and found.counts["newly_allowed"] else Exit.OK


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
    out: Out, path: Path, args: argparse.Namespace, new: Bundle, before: Bundle | None = None, jobs: int | None = None
) -> "Report":
    """The report over the log of a bundle folder, in as many processes as wanted.

    Args:
        args: with the options of `span.filters`.
        before: compare with this bundle's answers instead of the recorded ones.
        jobs: processes; None: `args.jobs`.

    Raises:
        OperatorError: a bundle does not compile.
        StoreError: the log cannot be read.
    """
    from lictor.app import open_house
    from lictor.policy.compile import compile_bundle

    jobs = args.jobs if jobs is None else jobs
    compile_bundle(new)  # what it is refused for is said here, not by a worker
    house = asyncio.run(open_house(path, load=False))
    try:
        size = house.store.size()
    finally:
        house.close()
    wanted = wanted_of(args, stop=size)
    bundles = tuple((one.revision, one.files) for one in (new, before) if one is not None)
    show = bar(out, "deciding again", size)
    if jobs == 1:
        _open(str(path), bundles)
        try:
            return _run(wanted, show)
        finally:
            _close()
    return _in_processes(path, bundles, wanted, size, jobs, show)


_Bundles = tuple[tuple[PolicyRevision, dict[str, bytes]], ...]
_here: dict[str, Any] = {}
"""What one process has open: its house, its backtest."""


def _open(path: str, bundles: _Bundles) -> None:
    from lictor.app import open_house
    from lictor.policy.compile import compile_files
    from lictor.service.backtest import Backtest

    house = asyncio.run(open_house(Path(path), load=False))
    pdps = [compile_files(revision, files) for revision, files in bundles]
    _here["house"] = house
    _here["backtest"] = Backtest(house.store, compile_files, *pdps)


def _close() -> None:
    _here.pop("backtest")
    _here.pop("house").close()


def _run(wanted: "Wanted", show: Callable[[int], None] | None = None) -> "Report":
    found: Report = _here["backtest"](wanted, show)
    return found


def _remember(path: str, bundles: _Bundles) -> None:
    """In a worker, before its first range: what fails here could only break the pool, so nothing is opened yet."""
    _here["arguments"] = (path, bundles)


def _work(wanted: "Wanted") -> "Report | _Failure":
    """One range in a worker. Our errors do not travel between processes as they are."""
    try:
        if "backtest" not in _here:
            _open(*_here["arguments"])
        return _run(wanted)
    except LictorError as error:
        return isinstance(error, StoreError), error.reason.value, error.message, error.remedy


_Failure = tuple[bool, str, str, str]
"""Whether the store failed, reason, message, remedy."""


def _report(found: "Report | _Failure") -> "Report":
    if not isinstance(found, tuple):
        return found
    store, reason, message, remedy = found
    raise (StoreError if store else OperatorError)(Reason(reason), message, remedy=remedy)


def _in_processes(
    path: Path, bundles: _Bundles, wanted: "Wanted", size: int, jobs: int, show: Callable[[int], None]
) -> "Report":
    from dataclasses import replace

    from lictor.service.backtest import merged

    ranges = ranges_of(size, jobs)
    reports: dict[int, Report] = {}
    done = 0
    context = multiprocessing.get_context("spawn")  # a fork would share the store's threads and files
    with ProcessPoolExecutor(jobs, mp_context=context, initializer=_remember, initargs=(str(path), bundles)) as pool:
        waiting = {
            pool.submit(_work, replace(wanted, start=start, stop=stop)): (index, stop - start)
            for index, (start, stop) in enumerate(ranges)
        }
        try:
            for future in as_completed(waiting):
                index, length = waiting[future]
                reports[index] = _report(future.result())
                done += length
                show(done)
        except BaseException:
            pool.shutdown(wait=False, cancel_futures=True)
            raise
    return merged(reports[index] for index in range(len(ranges)))


def ranges_of(size: int, jobs: int) -> list[tuple[int, int]]:
    """Consecutive ranges of a log: several for each process, so that none waits long for the last."""
    length = max(_SHORTEST_RANGE, -(-size // (jobs * _RANGES_A_JOB)))
    return [(start, min(size, start + length)) for start in range(0, size, length)] or [(0, 0)]


# -- words -----------------------------------------------------------------------------------------------------------


def report_data(found: "Report") -> dict[str, Any]:
    """For programs."""
    groups = [
        {**msgspec.to_builtins(one.sort), "looser": one.sort.looser, "count": one.count, "example": one.example}
        for one in found.groups
    ]
    return {"counts": found.counts, "different": found.different, "groups": groups}


def show_report(out: Out, found: "Report") -> None:
    """For people."""
    for group in found.groups:
        _show_group(out, group)
    counts = found.counts
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
