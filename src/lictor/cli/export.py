"""`lictor export`: the log, or a part of it, in one go, in a format that others read. What goes on for ever is a sink."""

import argparse
import csv
import io
import os
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO, Final, Protocol, Self

from lictor.cli.main import common
from lictor.cli.output import Exit, Out
from lictor.cli.progress import Progress
from lictor.cli.span import moment_of
from lictor.model.errors import CallerError, OperatorError
from lictor.model.reasons import Reason

if TYPE_CHECKING:
    from lictor.protocol.events import Told
    from lictor.service.log.pump import Event

FORMATS: Final = ("jsonl", "ocsf", "cloudevents", "csv", "parquet")
_PAGE: Final = 512
_GROUP: Final = 10_000
"""Rows of a Parquet row group: what is held in memory at once."""
_LEVEL: Final = {"ocsf": "ocsf", "cloudevents": "cloudevents", "jsonl": "lictor"}


class Writer(Protocol):
    """Writes one format."""

    def write(self, told: "Told") -> None:
        """One entry."""
        ...

    def end(self) -> None:
        """What is left."""
        ...


def add(_: str, parser: argparse.ArgumentParser) -> None:
    """Arguments."""
    common(parser)
    parser.add_argument(
        "--format", choices=FORMATS, default="jsonl", help="jsonl: our own entries; ocsf: OCSF 1.9; default: jsonl"
    )
    parser.add_argument(
        "--kind", action="append", default=[], metavar="KIND", help="only this kind or tag of records; may be repeated"
    )
    parser.add_argument("--task", metavar="ID", help="only what belongs to this task")
    parser.add_argument("--since", metavar="WHEN", help="only what came after: 12h, 7d, 2026-11-01, 2026-11-01T08:00Z")
    parser.add_argument("file", metavar="FILE", help="a file that is not there yet; -: standard output")
    parser.set_defaults(run=_export)


def _export(args: argparse.Namespace) -> int:
    from lictor.app import bundle_path
    from lictor.config import read_settings
    from lictor.sinks.settings import KINDS
    from lictor.stores.keys import LOG_FILE
    from lictor.stores.tail import LogTail

    path = bundle_path(args.bundle)
    settings = read_settings(path)
    for kind in args.kind:
        if kind not in KINDS:
            raise CallerError(Reason.INVALID_ARGUMENTS, f"{kind[:60]!r} is neither a kind nor a tag of records")
    since_ms = moment_of(args.since) if args.since else 0
    making = _maker(args.format)
    tail = LogTail(path / settings.state / LOG_FILE)
    out, count, to_stdout = Out(as_json=args.json), 0, args.file == "-"
    try:
        size = tail.size()
        with _Target(args.file) as target, Progress(sys.stderr, "exporting", size, quiet=args.json) as bar:
            writer = making(target.file)
            for told in _told(tail, settings.log_name, size):
                bar.update(told.seq + 1)
                if _wanted(told, tuple(args.kind), args.task, since_ms):
                    writer.write(told)
                    count += 1
            writer.end()
            target.keep()
    finally:
        tail.close()
    if not to_stdout:
        out.data({"file": args.file, "format": args.format, "records": count, "log_size": size})
        out.line(f"{count} of {size} records: {args.file}")
    return Exit.OK


def _told(tail: Any, origin: str, size: int) -> "Iterator[Told]":
    from lictor.protocol.events import Joins

    joins, start = Joins(origin), 0
    while start < size and (page := tail.read(start, min(_PAGE, size - start))):
        for entry in page:
            yield joins.read(entry.seq, entry.data, entry.leaf)
        start = page[-1].seq + 1


def _wanted(told: "Told", kinds: tuple[str, ...], task: str | None, since_ms: int) -> bool:
    from lictor.protocol.events import read_kinds

    return told.at_ms >= since_ms and (not task or told.names.task == task) and read_kinds(kinds, told.tag)


# -- formats ---------------------------------------------------------------------------------------------------------------


def _maker(form: str) -> Callable[[BinaryIO], Writer]:
    """What makes the writer of a format.

    Raises:
        OperatorError: the format needs a package that is not installed.
    """
    if form == "csv":
        return _Csv
    if form == "parquet":
        try:
            import pyarrow as pa
            from pyarrow import parquet
        except ImportError:
            raise OperatorError(
                Reason.CONFIG_REFUSED, "parquet needs a package", remedy="pip install 'lictor[parquet]'"
            ) from None
        return lambda file: _Parquet(file, pa, parquet)
    from lictor.sinks.encode import encoder

    encode = encoder(_LEVEL[form])
    return lambda file: _Lines(file, encode)


class _Lines:
    """One JSON object a line, of printable ASCII."""

    def __init__(self, file: BinaryIO, encode: "Callable[[Told], Event]") -> None:
        self._file, self._encode = file, encode

    def write(self, told: "Told") -> None:
        self._file.write(self._encode(told).data + b"\n")

    def end(self) -> None:
        """Nothing is left."""


class _Csv:
    """RFC 4180, with a head."""

    def __init__(self, file: BinaryIO) -> None:
        from lictor.protocol.sheet import COLUMNS

        self._text = io.TextIOWrapper(file, encoding="ascii", newline="", write_through=True)
        self._rows = csv.writer(self._text)
        self._rows.writerow(COLUMNS)

    def write(self, told: "Told") -> None:
        from lictor.protocol.sheet import cells_of

        self._rows.writerow(cells_of(told))

    def end(self) -> None:
        self._text.detach()


class _Parquet:
    """Columns as they are: nothing in a Parquet file is evaluated."""

    def __init__(self, file: BinaryIO, pa: Any, parquet: Any) -> None:
        from lictor.protocol.sheet import COLUMNS

        kinds = {"seq": pa.int64(), "at": pa.timestamp("ms", tz="UTC")}
        self._pa, self._schema = pa, pa.schema([(name, kinds.get(name, pa.string())) for name in COLUMNS])
        self._writer = parquet.ParquetWriter(file, self._schema)
        self._rows: list[dict[str, Any]] = []

    def write(self, told: "Told") -> None:
        from lictor.protocol.sheet import row_of

        self._rows.append(row_of(told))
        if len(self._rows) >= _GROUP:
            self._flush()

    def end(self) -> None:
        if self._rows:
            self._flush()
        self._writer.close()

    def _flush(self) -> None:
        self._writer.write_table(self._pa.Table.from_pylist(self._rows, schema=self._schema))
        self._rows = []


# -- where to --------------------------------------------------------------------------------------------------------------


class _Target:
    """A file that is there whole or not at all, for its owner; or standard output."""

    def __init__(self, name: str) -> None:
        self._path = None if name == "-" else Path(name)
        self._draft: Path | None = None
        self.file: BinaryIO = sys.stdout.buffer

    def __enter__(self) -> Self:
        if self._path is None:
            return self
        if self._path.exists():
            raise CallerError(
                Reason.INVALID_ARGUMENTS, f"{str(self._path)!r:.200} is there already", remedy="name another file"
            )
        self._draft = self._path.with_name(f".{self._path.name}.{os.urandom(8).hex()}")
        try:
            descriptor = os.open(self._draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        except OSError as error:
            raise CallerError(
                Reason.INVALID_ARGUMENTS, f"{str(self._path)!r:.200} cannot be written: {error.strerror}"
            ) from None
        self.file = open(descriptor, "wb")  # noqa: PTH123 - a descriptor, closed at the end of the context
        return self

    def keep(self) -> None:
        """Everything is written: give it its name."""
        self.file.flush()
        if self._path is None or self._draft is None:
            return
        os.fsync(self.file.fileno())
        try:
            os.link(self._draft, self._path)  # never over a file that came to be meanwhile
        except OSError as error:
            raise CallerError(
                Reason.INVALID_ARGUMENTS, f"{str(self._path)!r:.200} cannot be made: {error.strerror}"
            ) from None

    def __exit__(self, *_: object) -> None:
        if self._draft is not None:
            self.file.close()
            self._draft.unlink(missing_ok=True)
