"""What it costs to look for managed secrets in a reply (`lictor.protocol.scrub`), by size and by how many secrets there are."""

import base64
import json
import random
import time
from typing import Any

from benchmarks.stats import table
from lictor.protocol.scrub import Scrubber

MIB = 1024 * 1024
SECRETS = (20, 1_000)


def run(rounds: int, seconds: float) -> tuple[str, dict[str, Any]]:
    """Milliseconds of CPU for one reply that holds none of them: the best of some rounds."""
    drawn = random.Random(7)
    text = "A line of an ordinary reply, with words in it.\n" * (MIB // 47)
    bodies = {
        "1 KiB of text": json.dumps({"content": [{"type": "text", "text": text[:1_000]}]}).encode(),
        "1 MiB of text with line breaks": json.dumps({"content": [{"type": "text", "text": text}]}).encode(),
        "1 MiB of base64": json.dumps({"data": base64.b64encode(drawn.randbytes(3 * MIB // 4)).decode()}).encode(),
    }
    data: dict[str, Any] = {}
    for count in SECRETS:
        look = Scrubber((f"s{index}", drawn.randbytes(24).hex()) for index in range(count))
        for name, body in bodies.items():
            data[f"{name}, {count} secrets"] = _best(look, body, rounds, seconds)
    rows = [(name, f"{ms:.3f}") for name, ms in data.items()]
    return table(("Reply that holds none", "CPU ms"), rows), {"ms": data}


def _best(look: Scrubber, body: bytes, rounds: int, seconds: float) -> float:
    best, end = float("inf"), time.perf_counter() + seconds
    for done in range(1_000_000):
        if done >= rounds and time.perf_counter() > end:
            break
        began = time.process_time_ns()
        look.scrub_json(body)
        best = min(best, (time.process_time_ns() - began) / 1e6)
    return best
