"""A gateway that is killed while an approved transfer is under way. Run by `verbs/faults.py` in a process of its own."""

import asyncio
import json
import os
import signal
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from adversarial.world import opened


async def main(folder: Path, point: str) -> None:
    """Hold, approve, say on standard output what is needed to come back, redeem, die."""
    with opened(durable=True, folder=folder) as world:
        await world.start()
        held = await world.hold("a1")
        await world.approve(held)

        def die(_server: str, method: str) -> None:
            if method == "tools/call":
                os.kill(os.getpid(), signal.SIGKILL)

        def happen(server: str, method: str) -> None:
            with (folder / "effects").open("ab") as file:
                file.write(b"transfer\n")
                file.flush()
                os.fsync(file.fileno())
            die(server, method)

        if point == "after_decision":
            world.servers.fault = die
        else:
            world.servers.after = happen
        told = {
            "token": held.session.token,
            "task": held.session.task.id,
            "tool": held.tool,
            "arguments": held.arguments,
            "state": held.state,
            "hold": held.hold,
            "now": world.clock.now_ms(),
        }
        sys.stdout.write(json.dumps(told))
        sys.stdout.flush()
        await world.redeem(held)
    raise SystemExit("nothing killed this process")


if __name__ == "__main__":
    asyncio.run(main(Path(sys.argv[1]), sys.argv[2]))
