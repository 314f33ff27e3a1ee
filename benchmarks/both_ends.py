"""What an agent sees: the official SDK's client and server at the two ends."""

from typing import Any

from benchmarks import contenders
from benchmarks.contenders import middle, ratio
from benchmarks.hop import OURS, added, rows
from benchmarks.stats import table, verdict, verdicts


def run(rounds: int, seconds: float) -> tuple[str, dict[str, Any]]:
    """Section `sdk` of the report."""
    with contenders.running("sdk", (*OURS, "fastmcp-connected")) as up:
        found = contenders.measure_sdk(up, rounds=rounds, seconds=seconds)
    bars = [
        verdict("decision and outcome durable <= 1.35x direct", middle(ratio(found, "durable", "direct", "p50")), 1.35),
        verdict(
            "added p50, durable, <= 1/5 of fastmcp's connected proxy",
            middle(added(found, "durable")) / middle(added(found, "fastmcp-connected")),
            0.2,
        ),
    ]
    header = ("Path", "p50 us", "p99 us", "calls/s", "hop CPU us/call", "x direct p50", "RSS MB")
    text = ["## Official SDK client and server at both ends", "", table(header, rows(found)), "", verdicts(bars), ""]
    return "\n".join(text), {"samples": {name: s.as_dict() for name, s in found.items()}, "bars": bars}
