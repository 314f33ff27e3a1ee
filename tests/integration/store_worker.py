"""A process that uses a record store hard; run as a script by `test_single_use` and `test_store_kill`.

store_worker.py write FOLDER    for each line `ACKS MODE` on stdin: fork a writer that appends to the file ACKS what was
                                acknowledged to it, and print its process id; MODE `early` is the control
store_worker.py redeem FOLDER REDEEMERS MODE   redeem every approved hold that many times at once; print who won
"""

import asyncio
import os
import sys
from itertools import count
from pathlib import Path

import msgspec

from lictor.lifecycle import fold as rules
from lictor.model.approval import HoldStatus
from lictor.model.errors import ConflictError
from lictor.stores import commit, scribe
from lictor.stores.keys import Keys
from lictor.stores.sqlite import SqliteStore
from store_samples import NOW, batch, decided, opened, payload, received, started
from unhurried import Unhurried

ORIGIN = "test.local/log"
CALLERS = 12


def open_store(folder):
    return SqliteStore(folder / "log.db", signer=Keys.open(folder).signer, origin=ORIGIN)


async def write(folder, acks, mode):
    """Commit without end; a line for each acknowledged batch goes out in one write, so that a kill never tears one."""
    scribe.CHECKPOINT_IDLE, scribe.CHECKPOINT_BUSY = 200_000, 400_000  # so that kills hit checkpoints too
    store, me = open_store(folder), os.getpid()
    out = os.open(acks, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
    task = f"task_{me}_{acks.name}"
    await store.commit(batch(opened(task, calls=10**9)))
    numbers = count()

    async def caller():
        for number in numbers:
            name = f"{me}_{acks.name}_{number}"
            records = (received(name, task=task), decided(name), started(name, task=task, request=name))
            job = store.commit(batch(*records, payloads=[payload(name, task=task, arguments=b"x" * (number % 3000))]))
            if mode == "early":
                os.write(out, f"{name}\n".encode())
            await job
            if mode != "early":
                os.write(out, f"{name}\n".encode())

    await asyncio.gather(*(caller() for _ in range(CALLERS)))


def serve_writers(folder):
    """Fork a writer for each order: everything is imported once, and no thread runs here."""
    for line in sys.stdin:
        acks, mode = line.split()
        child = os.fork()
        if child == 0:
            asyncio.run(write(folder, Path(acks), mode))
        print(child, flush=True)
        os.waitpid(child, 0)
        print("gone", flush=True)


def forget_the_check():
    """The control: marks without looking whether it is marked already, as if the look a moment ago were good enough."""
    real = rules.fold

    def mark(read, record, at):
        def approved(key):
            row = read(key)
            if row is None or key[0] != "hold" or row.body.status is not HoldStatus.CONSUMED:
                return row
            return msgspec.structs.replace(row, body=msgspec.structs.replace(row.body, status=HoldStatus.APPROVED))

        return real(approved, record, at)

    commit.fold = mark


async def redeem(folder, redeemers, mode):
    """Ask `redeemers` times at once for each hold; print `hold execution` for each success."""
    store, me = open_store(folder), os.getpid()
    if mode == "check_then_mark":
        forget_the_check()
        store = Unhurried(store)
    holds = sorted((one.id, one.digest) for one in store.holds(limit=10_000))
    print("ready", flush=True)
    sys.stdin.readline()

    async def once(hold, digest, number):
        name = f"{hold}_{me}_{number}"
        if store.hold(hold).status is not HoldStatus.APPROVED:
            return
        try:
            await store.commit(batch(started(name, hold=hold, digest=digest), at=NOW + 1))
        except ConflictError:
            return
        print(hold, name, flush=True)

    for hold, digest in holds:
        await asyncio.gather(*(once(hold, digest, number) for number in range(redeemers)))
    store.close()


if __name__ == "__main__":
    verb, state, *rest = sys.argv[1:]
    if verb == "write":
        serve_writers(Path(state))
    else:
        asyncio.run(redeem(Path(state), int(rest[0]), rest[1]))
