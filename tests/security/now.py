"""Moments around the real now, for what reads the real clock: handshakes, tokens, a gateway as it is started."""

from datetime import UTC, datetime

from lictor.stores.clock import SystemClock

_MONTH_S = 30 * 86_400


def now_s() -> int:
    """Seconds since the epoch."""
    return SystemClock().now_ms() // 1_000


def lasting() -> dict[str, datetime]:
    """`begins` and `ends` of a certificate that is good now."""
    return {
        "begins": datetime.fromtimestamp(now_s() - _MONTH_S, UTC),
        "ends": datetime.fromtimestamp(now_s() + _MONTH_S, UTC),
    }
