"""Arrivals at a fixed rate, whatever becomes of those before: a process of its own says when, so that a loop waits without turning.

`python -m benchmarks.arrivals RATE COUNT`: a byte on standard output for each arrival, when it is due.
"""

import asyncio
import os
import subprocess
import sys
import time
from collections.abc import Awaitable, Callable, Sequence
from typing import Any

from benchmarks.machine import LOAD_CORE, pin, realtime

BEFORE_S = 0.3
"""Between the start of the process and the first arrival."""


async def open_loop(commit: Callable[[Any], Awaitable[object]], items: Sequence[Any], rate: float) -> list[float]:
    """Latencies in us, sorted: each from when the item was due, not from when there was time for it."""
    loop = asyncio.get_running_loop()
    start = time.perf_counter() + BEFORE_S
    command = [sys.executable, "-m", "benchmarks.arrivals", str(rate), str(len(items)), repr(start)]
    found: list[float] = []
    ended = loop.create_future()
    arrived = 0

    async def one(number: int) -> None:
        await commit(items[number])
        found.append((time.perf_counter() - start - number / rate) * 1e6)
        if len(found) == len(items):
            ended.set_result(None)

    with subprocess.Popen(command, stdout=subprocess.PIPE) as clock:  # noqa: ASYNC220 - before anything is measured
        assert clock.stdout is not None
        pipe = clock.stdout.fileno()
        tasks = set()

        def due() -> None:
            nonlocal arrived
            count = len(os.read(pipe, 65_536))
            for number in range(arrived, arrived + count):
                tasks.add(asyncio.ensure_future(one(number)))
            arrived += count
            if arrived == len(items):
                loop.remove_reader(pipe)

        loop.add_reader(pipe, due)
        await ended
        await asyncio.gather(*tasks)
    found.sort()
    return found


def main() -> None:
    """Say when, by the clock that all processes of a machine share."""
    pin(LOAD_CORE)
    rate, count, start = float(sys.argv[1]), int(sys.argv[2]), float(sys.argv[3])
    with realtime([]):
        said = 0
        while said < count:
            time.sleep(max(0.0, start + said / rate - time.perf_counter()))
            due = min(count, int((time.perf_counter() - start) * rate) + 1)
            os.write(1, b"." * (due - said))
            said = due
        os._exit(0)  # without the rest that a window takes


if __name__ == "__main__":
    main()
