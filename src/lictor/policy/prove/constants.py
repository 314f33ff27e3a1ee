"""Constants of the extension types, read exactly as the engine reads them; what it would refuse is not supported here.

Sources: Cedar 4.12, `extensions/decimal.rs` and `datetime.rs`. Refuses to know expressions.
"""

import re
from datetime import UTC, datetime, timedelta
from typing import Final

from lictor.policy.prove.logic import MAX_LONG, MIN_LONG
from lictor.policy.prove.unsupported import Unsupported

DECIMAL_SCALE: Final = 10_000
DAY_MS: Final = 86_400_000
_DECIMAL: Final = re.compile(r"(-?)([0-9]+)\.([0-9]{1,4})", re.ASCII)
_DURATION: Final = re.compile(
    r"(-?)(?=.)(?:([0-9]+)d)?(?:([0-9]+)h)?(?:([0-9]+)m(?!s))?(?:([0-9]+)s)?(?:([0-9]+)ms)?", re.ASCII
)
_UNITS: Final = (DAY_MS, 3_600_000, 60_000, 1_000, 1)
_DATE: Final = re.compile(
    r"([0-9]{4}-[0-9]{2}-[0-9]{2})(?:T([0-9]{2}:[0-9]{2}:[0-9]{2})(\.[0-9]{3})?(Z|[+-][0-9]{4}))?", re.ASCII
)
_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)


def decimal_of(value: str) -> int:
    """Ten-thousandths.

    Raises:
        Unsupported: not a decimal, or out of range.
    """
    found = _DECIMAL.fullmatch(value)
    if found is None:
        raise Unsupported(f"decimal({value[:40]!r})")
    magnitude = int(found[2]) * DECIMAL_SCALE + int(found[3].ljust(4, "0"))
    return _bounded(-magnitude if found[1] else magnitude, value)


def duration_of(value: str) -> int:
    """Milliseconds.

    Raises:
        Unsupported: not a duration, or out of range.
    """
    found = _DURATION.fullmatch(value)
    if found is None or not any(found.groups()[1:]):
        raise Unsupported(f"duration({value[:40]!r})")
    total = sum(int(part or "0") * unit for part, unit in zip(found.groups()[1:], _UNITS, strict=True))
    return _bounded(-total if found[1] else total, value)


def datetime_of(value: str) -> int:
    """Milliseconds since the epoch.

    Raises:
        Unsupported: not a datetime that is certainly read alike by both.
    """
    found = _DATE.fullmatch(value)
    if found is None:
        raise Unsupported(f"datetime({value[:40]!r})")
    try:
        day = datetime.fromisoformat(f"{found[1]}T{found[2] or '00:00:00'}+00:00")
    except ValueError:
        raise Unsupported(f"datetime({value[:40]!r})") from None
    offset = timedelta()
    if found[4] not in (None, "Z"):
        hours, minutes = int(found[4][1:3]), int(found[4][3:])
        if hours > 23 or minutes > 59:
            raise Unsupported(f"datetime({value[:40]!r})")
        offset = timedelta(hours=hours, minutes=minutes) * (-1 if found[4][0] == "-" else 1)
    return (day - offset - _EPOCH) // timedelta(milliseconds=1) + int((found[3] or ".0")[1:])


def _bounded(value: int, written: str) -> int:
    if not MIN_LONG <= value <= MAX_LONG:
        raise Unsupported(f"{written[:40]!r} is out of range")
    return value
