"""Arithmetic of a measure's row: buckets of time, constant in size and in work, wrong only upwards.

A window of length W is kept in 60 buckets of W/60 (rounded up) and one more. At a moment, a bucket counts while it overlaps
`[moment - W, moment]`: so everything in the window counts, and what is up to one bucket older may. Fixed windows keep one
bucket, a window of 0 has one for ever. Time never runs backwards in a row: what happens under a clock that was set back
counts in the newest bucket there is, and later buckets count. Where the width changes, everything that either window could
still see moves into the newest bucket. Refuses to know what is counted and for whom (threats HIST-01..03, HIST-11).
"""

from bisect import bisect_left
from collections.abc import Callable
from operator import itemgetter
from typing import Final

from msgspec.structs import replace

from lictor.model.history import Measure, Member, Total

BUCKETS: Final = 60
MOST: Final = 2**53 - 1
"""Greatest total: the last integer every reader of the log keeps exactly. A row that gets there stays there."""
NOTHING: Final = Total()

_AMOUNT: Final[Callable[[tuple[int, int]], int]] = itemgetter(1)

Buckets = tuple[tuple[int, int], ...]


def width(measure: Measure) -> tuple[int, int]:
    """(milliseconds of a bucket, buckets kept beside the newest) of a measure."""
    if not measure.window_ms:
        return 0, 0
    if measure.fixed:
        return measure.window_ms, 0
    return -(-measure.window_ms // BUCKETS), BUCKETS


def oldest(measure: Measure, at_ms: int) -> int:
    """The oldest bucket that counts at a moment."""
    return _oldest(measure, width(measure)[0], at_ms)


def _oldest(measure: Measure, bucket_ms: int, at_ms: int) -> int:
    if not bucket_ms:
        return 0
    return (at_ms if measure.fixed else at_ms - measure.window_ms) // bucket_ms


def total_at(total: Total, measure: Measure, at_ms: int) -> int:
    """What a row says at a moment; at most `MOST`."""
    bucket_ms, kept = width(measure)
    buckets = reshaped(total, bucket_ms, kept, at_ms).buckets
    # In order: of all from the first one that counts.
    first = bisect_left(buckets, (_oldest(measure, bucket_ms, at_ms),))
    return min(MOST, sum(map(_AMOUNT, buckets[first:] if first else buckets)))


def counts_at(member: Member | None, total: Total, measure: Measure, at_ms: int) -> bool:
    """Whether a value is in what the row says at a moment."""
    shaped = reshaped(total, *width(measure), at_ms)
    newest = last_bucket(member, shaped)
    return newest is not None and newest >= oldest(measure, at_ms)


def reshaped(total: Total, bucket_ms: int, kept: int, at_ms: int) -> Total:
    """The row with buckets of another width; nothing that either window could see is lost.

    The very same row where the width is the same.
    """
    if total.bucket_ms == bucket_ms and total.kept == kept:
        return total
    left, newest = 0, 0 if not bucket_ms else at_ms // bucket_ms
    for bucket, amount in total.buckets:
        if _gone(total, bucket, bucket_ms, kept, at_ms):
            continue
        left += amount
        if bucket_ms and total.bucket_ms:
            newest = max(newest, ((bucket + 1) * total.bucket_ms - 1) // bucket_ms)
    buckets: Buckets = ((newest, left),) if left else ()
    return replace(total, shape=total.shape + 1, bucket_ms=bucket_ms, kept=kept, buckets=buckets)


def _gone(total: Total, bucket: int, bucket_ms: int, kept: int, at_ms: int) -> bool:
    """Whether neither the old nor the new window reaches back to a bucket of the old width."""
    if not total.bucket_ms or not bucket_ms:
        return False
    reach = max(total.bucket_ms * (total.kept + 1), bucket_ms * (kept + 1))
    return (bucket + 1) * total.bucket_ms <= at_ms - reach


def bucket_at(total: Total, at_ms: int) -> int:
    """The bucket in which something counts that happens now."""
    now = at_ms // total.bucket_ms if total.bucket_ms else 0
    return max(now, total.buckets[-1][0]) if total.buckets else now


def add(buckets: Buckets, bucket: int, amount: int, kept: int) -> Buckets:
    """More in a bucket that is the newest; those that are too old fall out."""
    if buckets and buckets[-1][0] == bucket:
        return (*buckets[:-1], (bucket, min(MOST, buckets[-1][1] + amount)))
    first = bucket - kept
    return (*(pair for pair in buckets if pair[0] >= first), (bucket, amount))


def take(buckets: Buckets, bucket: int, amount: int) -> Buckets:
    """Less in a bucket, never below nothing; one that is not there any more, or is as full as can be, has nothing to give."""
    found = []
    for number, had in buckets:
        left = max(0, had - amount) if number == bucket and had < MOST else had
        if left:
            found.append((number, left))
    return tuple(found)


def put(buckets: Buckets, bucket: int, amount: int) -> Buckets:
    """More in any bucket, in order."""
    found = dict(buckets)
    found[bucket] = min(MOST, found.get(bucket, 0) + amount)
    return tuple(sorted(found.items()))


def last_bucket(member: Member | None, total: Total) -> int | None:
    """The newest bucket of a value that its total still holds."""
    if member is None or not member.buckets or not total.buckets:
        return None
    if (member.epoch, member.shape) != (total.epoch, total.shape):
        return None
    newest = member.buckets[-1][0]
    return newest if newest >= total.buckets[-1][0] - total.kept else None
