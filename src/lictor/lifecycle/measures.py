"""Rows of measures: what an execution's moves do to them. Constant work an event, whatever went before.

A move that counts at the start is a reserve: it is in the total while the call is under way. `failed` (nothing left us) gives
back exactly that, from the bucket it stands in; `executed` and `indeterminate` keep it. A reset in between makes both void: what
it set to nothing is not taken a second time. Every change raises the version, and a move names the version its decision was made
on, so of two calls that both would be the last to fit only one starts (threats HIST-01..03).
"""

from msgspec.structs import replace

from lictor.lifecycle.reading import Changes, Changing, Read
from lictor.lifecycle.rows import Body, Execution, Key, Row, measure_key, member_key
from lictor.model.errors import ConflictError
from lictor.model.history import Member, Move, Taken, Total
from lictor.model.reasons import Reason
from lictor.model.record import ExecutionStarted
from lictor.pdp import tally


class Moved(ConflictError):  # noqa: N818 - a ConflictError by name and nature
    """A measure moved since the decision read it: decide again."""


def start(read: Read, record: ExecutionStarted, at_ms: int) -> Changes:
    """Check every version that was read, reset, and reserve.

    Raises:
        ConflictError: `conflict`: a measure moved since the decision read it, or the move is none; `unknown_measure`: the total
            would be greater than `tally.MOST`.
    """
    if not record.moves:
        return {}
    now = Changing(read)
    taken = tuple(_start(now, move, at_ms) for move in record.moves)
    key = ("execution", record.execution)
    row = now.read(key)
    if row is None or not isinstance(row.body, Execution):
        raise ConflictError(Reason.CONFLICT, f"no execution {record.execution!r}")
    now.changes[key] = replace(row, body=replace(row.body, taken=taken))
    return now.changes


def end(read: Read, started: ExecutionStarted, at_ms: int, *, failed: bool, executed: bool) -> Changes:
    """Give back what failed; count what is counted when it was executed. Of what nobody knows neither."""
    if not started.moves:
        return {}
    now = Changing(read)
    row = now.read(("execution", started.execution))
    if row is None or not isinstance(row.body, Execution) or len(row.body.taken) != len(started.moves):
        raise ConflictError(Reason.CONFLICT, f"execution {started.execution!r} did not say where it was counted")
    for move, taken in zip(started.moves, row.body.taken, strict=True):
        total = _total(now, move.key)
        if total.epoch != taken.epoch or not (move.amount or move.members):
            continue
        if move.on_executed:
            if executed:
                _count(now, move, total, at_ms)
        elif failed and total.shape == taken.shape:
            _give_back(now, move, total, taken.bucket)
    return now.changes


def _start(now: Changing, move: Move, at_ms: int) -> Taken:
    if move.amount < 0 or move.bucket_ms < 0 or move.kept < 0 or (move.amount and move.members):
        raise ConflictError(Reason.CONFLICT, f"no move of a measure: {move.key!r:.100}")
    total = _total(now, move.key)
    if total.version != move.seen:
        raise Moved(Reason.CONFLICT, f"measure {move.key!r:.100} moved since it was read")
    if move.reset:
        total = replace(total, version=total.version + 1, epoch=total.epoch + 1, buckets=())
        _put(now, measure_key(move.key), total, at_ms)
    if not move.amount and not move.members:
        return Taken(total.epoch, total.shape, 0)
    shaped = tally.reshaped(total, move.bucket_ms, move.kept, at_ms)
    if move.on_executed:
        # The row has its width before anything ends, so an execution of an older bundle cannot change it back.
        if shaped is not total:
            shaped = replace(shaped, version=total.version + 1)
            _put(now, measure_key(move.key), shaped, at_ms)
        return Taken(shaped.epoch, shaped.shape, 0)
    if sum(amount for _, amount in shaped.buckets) + move.amount + len(move.members) > tally.MOST:
        raise ConflictError(Reason.UNKNOWN_MEASURE, f"measure {move.key!r:.100} would be too great")
    return _count(now, move, shaped, at_ms)


def _count(now: Changing, move: Move, total: Total, at_ms: int) -> Taken:
    """Count a move now, in buckets of the row's own width."""
    bucket = tally.bucket_at(total, at_ms)
    buckets = total.buckets
    if move.amount:
        buckets = tally.add(buckets, bucket, move.amount, total.kept)
    for name in move.members:
        member = _member(now, move.key, name)
        before = tally.last_bucket(member, total)
        if before is not None:
            buckets = tally.take(buckets, before, 1)
        buckets = tally.add(buckets, bucket, 1, total.kept)
        own = member.buckets if member is not None and before is not None else ()
        own = tally.add(own, bucket, 1, total.kept)
        seen = Member(epoch=total.epoch, shape=total.shape, buckets=own)
        _put(now, member_key(move.key, name), seen, at_ms)
    _put(now, measure_key(move.key), replace(total, version=total.version + 1, buckets=buckets), at_ms)
    return Taken(total.epoch, total.shape, bucket)


def _give_back(now: Changing, move: Move, total: Total, bucket: int) -> None:
    buckets = tally.take(total.buckets, bucket, move.amount) if move.amount else total.buckets
    for name in move.members:
        member = _member(now, move.key, name)
        before = tally.last_bucket(member, total)
        if member is None or before is None:
            continue
        left = replace(member, buckets=tally.take(member.buckets, bucket, 1))
        after = tally.last_bucket(left, total)
        if after != before:
            buckets = tally.take(buckets, before, 1)
            buckets = buckets if after is None else tally.put(buckets, after, 1)
        _put(now, member_key(move.key, name), left if left.buckets else None, 0)
    _put(now, measure_key(move.key), replace(total, version=total.version + 1, buckets=buckets), 0)


def _total(now: Changing, key: str) -> Total:
    row = now.read(measure_key(key))
    if row is None:
        return tally.NOTHING
    if not isinstance(row.body, Total):
        raise ConflictError(Reason.UNKNOWN_MEASURE, f"measure {key!r:.100} is not readable")
    return row.body


def _member(now: Changing, key: str, name: str) -> Member | None:
    row = now.read(member_key(key, name))
    return row.body if row is not None and isinstance(row.body, Member) else None


def _put(now: Changing, key: Key, body: Body | None, at_ms: int) -> None:
    if body is None:
        now.changes[key] = None
        return
    row = now.read(key)
    now.changes[key] = (
        Row(kind=key[0], id=key[1], status="", owner="", at_ms=at_ms, body=body)
        if row is None
        else replace(row, body=body)
    )
