"""Medians with their spread, and tables."""

from collections.abc import Sequence
from statistics import median


def percentile(values: Sequence[float], share: float) -> float:
    """Of sorted values."""
    return values[min(len(values) - 1, int(len(values) * share))]


def spread(values: Sequence[float], digits: int = 0) -> str:
    """`median (min..max)` over rounds."""
    return f"{median(values):,.{digits}f} ({min(values):,.{digits}f}..{max(values):,.{digits}f})"


def table(header: Sequence[str], rows: Sequence[Sequence[object]]) -> str:
    """A markdown table."""
    lines = ["| " + " | ".join(header) + " |", "|" + "---|" * len(header)]
    lines += ["| " + " | ".join(str(cell) for cell in row) + " |" for row in rows]
    return "\n".join(lines)


def verdict(bar: str, value: float, limit: float, *, at_least: bool = False) -> dict[str, object]:
    """One bar of the issue and whether it is met."""
    met = value >= limit if at_least else value <= limit
    return {"bar": bar, "measured": round(value, 3), "limit": limit, "met": met}


def verdicts(found: Sequence[dict[str, object]]) -> str:
    """Bars as a table."""
    return table(
        ("Bar", "measured", "met"),
        [(v["bar"], f"{v['measured']:g}", "**yes**" if v["met"] else "**no**") for v in found],
    )
