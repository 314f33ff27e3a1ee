"""`lictor policy record`: recorded requests as test fixtures, arguments in clear."""

import argparse
import asyncio
import contextlib
import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from lictor.cli.main import common
from lictor.cli.output import Exit, Out, safe
from lictor.cli.span import filters, wanted_of
from lictor.model.errors import CallerError, OperatorError
from lictor.model.reasons import Reason

if TYPE_CHECKING:
    from lictor.policy.recorded import Fixture
    from lictor.service.calls.traffic import Facts, Passed

_LIMIT: Final = 200
_MAX_BYTES: Final = 4 * 1024 * 1024
"""One file of a bundle."""


def add(actions: Any) -> None:
    """`record` among the actions of `policy`."""
    recording = actions.add_parser(
        "record",
        help="write recorded requests as fixtures for `policy test`",
        description="Write requests of the log, with the facts they were decided on, as test fixtures. Arguments are in clear.",
    )
    common(recording)
    filters(recording)
    recording.add_argument(
        "--out", required=True, metavar="FILE", help="the file; tests/NAME.toml of a bundle is run with its tests"
    )
    recording.add_argument(
        "--limit", type=int, default=_LIMIT, metavar="N", help=f"at most so many, the newest (default: {_LIMIT})"
    )
    recording.add_argument("--force", action="store_true", help="overwrite the file")
    recording.set_defaults(run=_record)


def _record(args: argparse.Namespace) -> int:
    from lictor.app import bundle_path
    from lictor.policy.recorded import fixtures_text

    if args.limit < 1:
        raise CallerError(Reason.INVALID_ARGUMENTS, "--limit is 1 or more")
    out, target = Out(as_json=args.json), Path(args.out)
    fixtures, skipped, more = _fixtures(bundle_path(args.bundle), args)
    text = fixtures_text(fixtures).encode()
    if len(text) > _MAX_BYTES:
        message = f"{len(fixtures)} requests are {len(text)} bytes, and a file of a bundle has at most {_MAX_BYTES}"
        raise CallerError(Reason.TOO_LARGE, message, remedy="ask for fewer: --limit, --task, --since")
    if fixtures:
        _write(target, text, force=args.force)
        print("lictor: arguments are in clear in this file: look at it before you share it", file=sys.stderr)
    out.data(
        {"written": len(fixtures), "left_out": more, "skipped": skipped, "file": str(target) if fixtures else None}
    )
    for reason, count in sorted(skipped.items()):
        out.line(f"{count} skipped: {safe(reason)}")
    if more:
        out.line(f"{more} older ones left out (--limit {args.limit})")
    out.line(f"{len(fixtures)} requests written to {safe(str(target))}" if fixtures else "nothing to write")
    return Exit.OK if fixtures else Exit.NO


def _fixtures(path: Path, args: argparse.Namespace) -> tuple[list["Fixture"], dict[str, int], int]:
    from collections import Counter, deque

    from lictor.app import open_house
    from lictor.policy.compile import compile_files
    from lictor.service.calls.traffic import Reader, passed
    from lictor.service.evidence.backtest import LATE

    skipped: Counter[str] = Counter()
    newest: deque[Passed] = deque(maxlen=args.limit)
    seen = 0
    house = asyncio.run(open_house(path, load=False))
    try:
        for one in passed(house.store, wanted_of(args)):
            newest.append(one)
            seen += 1
        reader = Reader(house.store, compile_files)
        found = []
        for one in newest:
            facts = LATE if one.decided.reason == Reason.POLICY_TIMEOUT else reader.facts(one)
            if isinstance(facts, str):
                skipped[facts] += 1
            else:
                found.append(_fixture(one, facts))
    finally:
        house.close()
    return found, dict(skipped), seen - len(newest)


def _fixture(one: "Passed", facts: "Facts") -> "Fixture":
    from lictor.policy.recorded import Fixture

    return Fixture(
        where="",
        name=f"{one.decided.request} {facts.request.action}",
        request=facts.request,
        snapshot=facts.snapshot,
        basis=facts.basis,
        changed=one.decided.reason == Reason.TOOL_CHANGED,
        expect=one.decided.outcome,
        reason=one.decided.reason,
        policies=one.decided.policies,
    )


def _write(target: Path, data: bytes, *, force: bool) -> None:
    """A file for its owner alone, whole or not at all; an existing one is not touched unless it is forced."""
    if target.exists() and not force:
        raise OperatorError(
            Reason.CONFIG_REFUSED, f"{str(target)!r:.120} is there already", remedy="name another file, or --force"
        )
    part = target.with_name(f".{target.name}.part")
    try:
        part.unlink(missing_ok=True)
        descriptor = os.open(part, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with os.fdopen(descriptor, "wb") as file:
            file.write(data)
        part.replace(target)
    except OSError as error:
        with contextlib.suppress(OSError):
            part.unlink(missing_ok=True)
        raise OperatorError(Reason.CONFIG_REFUSED, f"cannot write {str(target)!r:.120}: {error.strerror}") from None
