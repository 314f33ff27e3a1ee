"""Starts contenders, measures one window at a time, keeps what came back."""

import base64
import contextlib
import json
import random
import socket
import subprocess
import sys
from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from statistics import median
from typing import Any

from benchmarks.machine import cpu_ns, rss_mb
from benchmarks.stats import percentile
from benchmarks.wire import request

DIRECT = "direct"


@dataclass
class Contender:
    """A running process, or the upstream itself."""

    name: str
    port: int
    pid: int
    token: str
    tool: str


@dataclass
class Sample:
    """What one window gave, in microseconds and calls per second."""

    p50: list[float] = field(default_factory=list)
    p99: list[float] = field(default_factory=list)
    rate: list[float] = field(default_factory=list)
    cpu: list[float] = field(default_factory=list)
    rss: float = 0.0
    jitter: list[float] = field(default_factory=list)
    realtime: bool = True

    def as_dict(self) -> dict[str, Any]:
        return {
            "p50_us": self.p50,
            "p99_us": self.p99,
            "per_s": self.rate,
            "hop_cpu_us": self.cpu,
            "rss_mb": round(self.rss, 1),
            "jitter": self.jitter,
            "realtime": self.realtime,
        }


class Worker:
    """A load process: one command a line, one answer a line."""

    def __init__(self, module: str, *arguments: str) -> None:
        self.process = subprocess.Popen(
            [sys.executable, "-m", f"benchmarks.{module}", *arguments],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )

    def ask(self, command: dict[str, Any] | None) -> dict[str, Any]:
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        if command is not None:
            self.process.stdin.write(json.dumps(command) + "\n")
            self.process.stdin.flush()
        line = self.process.stdout.readline()
        if not line:
            raise RuntimeError(f"the load process ended with {self.process.wait()}")
        answer: dict[str, Any] = json.loads(line)
        if "error" in answer:
            raise RuntimeError(answer["error"])
        return answer

    def close(self) -> None:
        self.process.terminate()
        self.process.wait()


def free_port() -> int:
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return int(s.getsockname()[1])


@contextlib.contextmanager
def running(upstream: str, hops: Sequence[str]) -> Iterator[list[Contender]]:
    """The upstream and hops in front of it, all up at the same time; the upstream first, under the name `direct`."""
    processes: list[subprocess.Popen[str]] = []
    try:
        first = _start(processes, DIRECT, upstream)
        yield [first, *(_start(processes, hop, hop, first.port) for hop in hops)]
    finally:
        for process in processes:
            process.terminate()
        for process in processes:
            try:
                process.wait(10)
            except subprocess.TimeoutExpired:
                process.kill()


def _start(processes: list[subprocess.Popen[str]], name: str, role: str, *more: int) -> Contender:
    port = free_port()
    process = subprocess.Popen(
        [sys.executable, "-m", "benchmarks.serve", role, str(port), *map(str, more)], stdout=subprocess.PIPE, text=True
    )
    processes.append(process)
    assert process.stdout is not None
    line = process.stdout.readline()
    if not line:
        raise RuntimeError(f"{role} did not start")
    told = json.loads(line)
    for _ in range(200):
        try:
            socket.create_connection(("127.0.0.1", port)).close()
            break
        except OSError:
            import time

            time.sleep(0.05)
    return Contender(name, port, process.pid, told["token"], told["tool"])


def measure(contenders: Sequence[Contender], *, connections: int, rounds: int, seconds: float) -> dict[str, Sample]:
    """Raw HTTP load; the order is shuffled in every round."""
    worker = Worker("load")
    found: dict[str, Sample] = defaultdict(Sample)
    try:
        for _ in range(rounds):
            for one in random.sample(contenders, len(contenders)):
                command = {
                    "port": one.port,
                    "request": base64.b64encode(request(one.port, one.token, one.tool)).decode(),
                    "connections": connections,
                    "seconds": seconds,
                    "pids": _pids(contenders, one),
                }
                _take(found[one.name], one, worker, command)
    finally:
        worker.close()
    return found


def measure_sdk(contenders: Sequence[Contender], *, rounds: int, seconds: float) -> dict[str, Sample]:
    """The SDK client, one call at a time."""
    told = {one.name: {"port": one.port, "token": one.token, "tool": one.tool} for one in contenders}
    worker = Worker("sdk_load", json.dumps(told))
    found: dict[str, Sample] = defaultdict(Sample)
    try:
        worker.ask(None)
        for _ in range(rounds):
            for one in random.sample(contenders, len(contenders)):
                _take(
                    found[one.name], one, worker, {"name": one.name, "seconds": seconds, "pids": _pids(contenders, one)}
                )
    finally:
        worker.close()
    return found


def _pids(contenders: Sequence[Contender], one: Contender) -> list[int]:
    """The processes that work in a window: the upstream, which comes first, and the contender."""
    return sorted({contenders[0].pid, one.pid})


def _take(sample: Sample, one: Contender, worker: Worker, command: dict[str, Any]) -> None:
    before = cpu_ns(one.pid)
    answer = worker.ask(command)
    spent = cpu_ns(one.pid) - before
    ns = answer["ns"]
    if not ns:
        raise RuntimeError(f"{one.name} answered nothing")
    sample.p50.append(percentile(ns, 0.5) / 1e3)
    sample.p99.append(percentile(ns, 0.99) / 1e3)
    sample.rate.append(len(ns) / answer["seconds"])
    # The window counts calls after the warm-up; the process worked during both.
    sample.cpu.append(spent / 1e3 / len(ns) * answer["seconds"] / (answer["seconds"] + 0.2))
    sample.jitter.append(answer["jitter"])
    sample.realtime &= answer["realtime"]
    sample.rss = max(sample.rss, rss_mb(one.pid))


def ratio(samples: dict[str, Sample], name: str, floor: str, what: str) -> list[float]:
    """Same-round ratios of two contenders."""
    a, b = getattr(samples[name], what), getattr(samples[floor], what)
    return [x / y for x, y in zip(a, b, strict=True)]


def middle(values: Sequence[float]) -> float:
    return median(values)
