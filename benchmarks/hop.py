"""What the gateway adds to one call, over HTTP, beside the bare hop and beside fastmcp's proxies."""

from typing import Any

from benchmarks import contenders
from benchmarks.contenders import DIRECT, Sample, middle, ratio
from benchmarks.stats import spread, table, verdict, verdicts

OURS = ("bare", "memory", "durable")
PEERS = ("fastmcp-connected", "fastmcp-shipped")
NAMES = {
    DIRECT: "direct to the upstream",
    "bare": "bare pass-through, same stack",
    "memory": "Lictor, records in memory",
    "durable": "Lictor, records durable (SQLite)",
    "fastmcp-connected": "fastmcp proxy, connected client",
    "fastmcp-shipped": "fastmcp `create_proxy(url)`",
}
_HEADER = ("Contender", "p50 us", "p99 us", "calls/s", "hop CPU us/call", "x direct p50", "RSS MB")


def rows(found: dict[str, Sample]) -> list[list[object]]:
    """One line a contender, medians over rounds (min..max)."""
    return [
        [
            NAMES[name],
            spread(found[name].p50),
            spread(found[name].p99),
            spread(found[name].rate),
            "" if name == DIRECT else spread(found[name].cpu),
            f"{middle(ratio(found, name, DIRECT, 'p50')):.2f}",
            f"{found[name].rss:.0f}",
        ]
        for name in NAMES
        if name in found
    ]


def added(found: dict[str, Sample], name: str) -> list[float]:
    """Latency added to direct, round by round."""
    return [x - y for x, y in zip(found[name].p50, found[DIRECT].p50, strict=True)]


def run(rounds: int, seconds: float) -> tuple[str, dict[str, Any]]:
    """Sections `hop` of the report."""
    text, data, bars = [], {}, []
    for upstream, label in (("fast", "a stub that answers at once"), ("sdk", "the official SDK's server")):
        hops = OURS if upstream == "fast" else OURS + PEERS
        with contenders.running(upstream, hops) as up:
            for connections in (1, 8):
                found = contenders.measure(up, connections=connections, rounds=rounds, seconds=seconds)
                data[f"{upstream}-{connections}"] = {name: sample.as_dict() for name, sample in found.items()}
                text += [f"### In front of {label}, {connections} connection(s)", "", table(_HEADER, rows(found)), ""]
                bars += _bars(found, f"{upstream} upstream, {connections} connection(s)", connections)
    if bars:
        text += ["### Bars", "", verdicts(bars), ""]
    note = "fastmcp's connected client does not complete against the stub, so its proxies stand in front of the SDK server only."
    return "\n".join(["## The gateway hop over HTTP", "", note, "", *text]), {"samples": data, "bars": bars}


def _bars(found: dict[str, Sample], where: str, connections: int) -> list[dict[str, object]]:
    bars = [
        verdict(
            f"in memory <= 1.25x the pass-through's p50; {where}", middle(ratio(found, "memory", "bare", "p50")), 1.25
        )
    ]
    if connections == 8:
        rate = middle(ratio(found, "memory", "bare", "rate"))
        bars.append(verdict(f"in memory >= 0.7x the pass-through's calls/s; {where}", rate, 0.7, at_least=True))
    if "fastmcp-connected" in found and connections == 1:
        share = middle(added(found, "durable")) / middle(added(found, "fastmcp-connected"))
        bars.append(verdict(f"added p50, durable, <= 1/5 of fastmcp's connected proxy; {where}", share, 0.2))
    return bars
