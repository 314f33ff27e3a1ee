"""What a command prints and how it ends: one place for JSON, tables, colours and exit codes."""

import json
import os
import sys
from collections.abc import Sequence
from datetime import UTC, datetime
from enum import IntEnum
from typing import Any

from lictor.model.errors import CallerError, ConflictError, LictorError, OperatorError, StoreError


class Exit(IntEnum):
    """Fixed exit codes (docs/reference/cli.md)."""

    OK = 0
    NO = 1
    """The command worked and the answer is no: a check failed, a log is damaged, a decision differs."""
    USAGE = 2
    CONFIG = 3
    STORE = 4
    REFUSED = 5
    """Not authenticated, not allowed, or no longer possible."""
    INTERRUPTED = 130


class Out:
    """Standard output of one command: JSON when asked, else text; colour only on a terminal and without NO_COLOR."""

    def __init__(self, *, as_json: bool) -> None:
        self.as_json = as_json
        self.colour = not as_json and sys.stdout.isatty() and "NO_COLOR" not in os.environ

    def data(self, value: Any) -> None:
        """The command's result for programs."""
        if self.as_json:
            print(json.dumps(value, indent=2, ensure_ascii=True, default=str))

    def line(self, text: str = "") -> None:
        """A line for people."""
        if not self.as_json:
            print(text)

    def table(self, head: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
        """Columns for people."""
        if self.as_json:
            return
        widths = [max(len(str(row[i])) for row in (head, *rows)) for i in range(len(head))]
        for index, row in enumerate((head, *rows)):
            text = "  ".join(str(cell).ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip()
            print(self.dim(text) if index == 0 else text)

    def dim(self, text: str) -> str:
        """Secondary text."""
        return self._paint("2", text)

    def good(self, text: str) -> str:
        """Something that is as it should be."""
        return self._paint("32", text)

    def bad(self, text: str) -> str:
        """Something refused or damaged."""
        return self._paint("31", text)

    def warm(self, text: str) -> str:
        """Something that waits for a person."""
        return self._paint("33", text)

    def bold(self, text: str) -> str:
        """A heading."""
        return self._paint("1", text)

    def _paint(self, code: str, text: str) -> str:
        return f"\x1b[{code}m{text}\x1b[0m" if self.colour else text


def fail(error: LictorError, *, as_json: bool) -> int:
    """Say what is wrong and what to do, on standard error; the exit code that fits."""
    if as_json:
        body = {"reason": error.reason.value, "message": error.message, "remedy": error.remedy, "where": error.where}
        print(json.dumps({"error": body}, indent=2, ensure_ascii=True), file=sys.stderr)
    else:
        place = f"{error.where}: " if error.where else ""
        print(f"lictor: {place}{error.message} [{error.reason.value}]", file=sys.stderr)
        if error.remedy:
            print(f"        {error.remedy}", file=sys.stderr)
    return exit_code(error)


def exit_code(error: LictorError) -> Exit:
    """Exit code of an error, by the party at fault."""
    match error:
        case ConflictError() | CallerError():
            return Exit.REFUSED
        case OperatorError():
            return Exit.CONFIG
        case StoreError():
            return Exit.STORE
        case _:
            return Exit.NO


def moment(at_ms: int) -> str:
    """A time for people, in UTC, to the second."""
    return datetime.fromtimestamp(at_ms / 1_000, UTC).strftime("%Y-%m-%d %H:%M:%S UTC")


def safe(text: str, limit: int = 200) -> str:
    """A short string from elsewhere, fit for one terminal line (see `protocol.display` for the injective form)."""
    from lictor.protocol.display import show

    shown = show(text).text
    return shown if len(shown) <= limit else f"{shown[:limit]}… ({len(shown)} characters)"
