"""The machine under the figures: cores, pinning, CPU clocks of other processes, and a probe for stolen time."""

import os
import platform
import time
from importlib.metadata import version
from pathlib import Path

HOP_CORE = 0
LOAD_CORE = 1
PROBE_S = 0.03
GAP_NS = 50_000
JITTER_MAX = 0.25
"""A window that begins with more of its time lost than this is measured again, up to `TRIES` times."""
TRIES = 3


def pin(core: int) -> None:
    """Keep this process on one core, where there are two."""
    if len(os.sched_getaffinity(0)) > 1:
        os.sched_setaffinity(0, {core})


def jitter() -> float:
    """Share of a short busy loop during which somebody else had the core: gaps over 50 us."""
    start = last = time.perf_counter_ns()
    lost = 0
    while (now := time.perf_counter_ns()) - start < PROBE_S * 1e9:
        if now - last > GAP_NS:
            lost += now - last
        last = now
    return lost / (last - start)


def cpu_ns(pid: int) -> int:
    """CPU time of all threads of a process."""
    total = 0
    for path in Path(f"/proc/{pid}/task").glob("*/schedstat"):
        try:
            total += int(path.read_text().split()[0])
        except OSError:  # the thread ended
            continue
    return total


def rss_mb(pid: int) -> float:
    """Resident memory."""
    pages = int(Path(f"/proc/{pid}/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE") / 1e6


def describe() -> dict[str, str]:
    """What the figures belong to."""
    cpu = next(
        (line.split(":")[1].strip() for line in Path("/proc/cpuinfo").read_text().splitlines() if "model name" in line),
        "?",
    )
    names = ("lictor", "mcp", "fastmcp", "uvicorn", "uvloop", "aiohttp", "cedarpy")
    return {
        "cpu": f"{cpu}, {os.cpu_count()} cores visible",
        "kernel": platform.release(),
        "python": platform.python_version(),
        "packages": ", ".join(f"{name} {version(name)}" for name in names),
        "load average at the start": " ".join(f"{x:.2f}" for x in os.getloadavg()),
    }
