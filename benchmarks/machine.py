"""The machine under the figures: cores, pinning, CPU clocks of other processes, and a probe for stolen time."""

import contextlib
import gc
import os
import platform
import tempfile
import time
from collections.abc import Iterator, Sequence
from importlib.metadata import version
from pathlib import Path
from statistics import median

HOP_CORE = 0
LOAD_CORE = 1
PROBE_S = 0.03
GAP_NS = 50_000
JITTER_MAX = 0.25
"""A window that begins with more of its time lost than this is measured again, up to `TRIES` times."""
TRIES = 3


def scratch() -> Path:
    """A folder for what measurements write, on the disk the project is on."""
    folder = Path(__file__).parent / ".work"
    folder.mkdir(exist_ok=True)
    return folder


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


@contextlib.contextmanager
def realtime(pids: Sequence[int]) -> Iterator[bool]:
    """Round-robin priority for all threads of these processes and of this one, where that is permitted; then a rest as long.

    At normal priority on a shared machine p99 measures the neighbours (docs/explanation/performance.md).
    """
    start = time.perf_counter()
    granted = _schedule(pids, os.SCHED_RR, 1)
    try:
        yield granted
    finally:
        _schedule(pids, os.SCHED_OTHER, 0)
        if granted:
            time.sleep(time.perf_counter() - start)


def _schedule(pids: Sequence[int], policy: int, priority: int) -> bool:
    try:
        for pid in (os.getpid(), *pids):
            for task in Path(f"/proc/{pid}/task").iterdir():
                with contextlib.suppress(ProcessLookupError):
                    os.sched_setscheduler(int(task.name), policy, os.sched_param(priority))
    except PermissionError:
        return False
    return True


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


def sync_us() -> float:
    """Median of one 4 KiB overwrite with fdatasync, where the records would be."""
    found = []
    with tempfile.TemporaryFile(dir=scratch()) as file:
        for _ in range(100):
            start = time.perf_counter_ns()
            os.pwrite(file.fileno(), b"x" * 4096, 0)
            os.fdatasync(file.fileno())
            found.append((time.perf_counter_ns() - start) / 1e3)
    return median(found)


@contextlib.contextmanager
def uncollected() -> Iterator[None]:
    """Without the garbage collector, after it has run."""
    gc.collect()
    gc.disable()
    try:
        yield
    finally:
        gc.enable()


_KNOWN = {str(number): number for number in range(200)}


def fixed_work_us(times: int) -> float:
    """CPU time of the same work in plain Python each time, so often: how quick this interpreter is on this host, now.

    Builds of one version differ by a third: those of distributions are optimised by a profile, one that is compiled by hand
    is not unless it was told to be.
    """
    start = time.thread_time_ns()
    total = 0
    for number in range(times):
        total += _KNOWN.get(f"{number % 300}", 1)
        total ^= sorted((total & 7, number & 7))[0]  # noqa: FURB192 - a list is made on purpose
    return (time.thread_time_ns() - start) / 1e3


def describe() -> dict[str, str]:
    """What the figures belong to."""
    cpu = next(
        (line.split(":")[1].strip() for line in Path("/proc/cpuinfo").read_text().splitlines() if "model name" in line),
        "?",
    )
    work_ms = median(fixed_work_us(10_000) for _ in range(30)) / 1e3
    names = ("lictor", "mcp", "fastmcp", "uvicorn", "uvloop", "aiohttp", "cedarpy")
    return {
        "cpu": f"{cpu}, {os.cpu_count()} cores visible",
        "kernel": platform.release().partition("-")[0],
        "python": f"{platform.python_version()}, {platform.python_compiler()}; the same work took {work_ms:.1f} ms",
        "packages": ", ".join(f"{name} {version(name)}" for name in names),
        "load average at the start": " ".join(f"{x:.2f}" for x in os.getloadavg()),
    }
