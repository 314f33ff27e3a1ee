"""The process in which a bundle runs in shadow: it reads the log and the bundle's folder, and can write neither.

A line with an entry's number comes in; the log's size and what the part from there on shows (`service.evidence.shadow.Range`)
go out, a line each. It ends with its standard input. Whatever it meets that is no refusal ends it, and the gateway starts
another.
"""

import contextlib
import os
import sys
from pathlib import Path
from typing import BinaryIO, Final

import msgspec

from lictor.model.errors import OperatorError
from lictor.model.ids import PolicyRevision
from lictor.policy.compile import compile_bundle, compile_files
from lictor.service.evidence.backtest import Backtest
from lictor.service.evidence.shadow import Range, range_of
from lictor.stores.bundle_folder import BundleFolder
from lictor.stores.reader import LogReader

_POLITE: Final = 10
"""How much the gateway goes first, on systems where one can say so."""


class Shadowing:
    """A bundle in shadow over a log. The bundle is loaded again when its files change."""

    def __init__(self, log: LogReader, folder: Path) -> None:
        self._log = log
        self._folder = BundleFolder(folder)
        self._loaded: tuple[PolicyRevision, Backtest] | None = None
        self._refused = ""

    def judge(self, start: int) -> Range:
        """The part from an entry on; of a bundle that is refused only that, and up to where.

        Raises:
            StoreError: the log cannot be read.
        """
        if (self._loaded is None and not self._refused) or self._folder.changed():
            self._load()
        if self._loaded is None:
            size = self._log.size()
            return Range(at=max(start, size), size=size, refused=self._refused, skipped=max(0, size - start))
        revision, backtest = self._loaded
        return range_of(backtest, self._log, revision, start)

    def _load(self) -> None:
        self._loaded, self._refused = None, ""
        try:
            bundle = self._folder.load()
            self._loaded = bundle.revision, Backtest(self._log, compile_files, compile_bundle(bundle))
        except OperatorError as error:
            self._refused = str(error)[:500]


def serve(log: LogReader, folder: Path, asked: BinaryIO, answered: BinaryIO) -> None:
    """Answer until nobody asks any more.

    Raises:
        StoreError: the log cannot be read.
    """
    shadowing = Shadowing(log, folder)
    for line in asked:
        # Before judging: what goes wrong there goes wrong in a part of the log that is known to be there.
        answered.write(b"%d\n" % log.size())
        answered.flush()
        answered.write(msgspec.json.encode(shadowing.judge(int(line))) + b"\n")
        answered.flush()


if __name__ == "__main__":
    if hasattr(os, "nice"):
        with contextlib.suppress(OSError):
            os.nice(_POLITE)
    with LogReader(Path(sys.argv[1])) as opened:
        serve(opened, Path(sys.argv[2]), sys.stdin.buffer, sys.stdout.buffer)
