"""Lives of a gateway, each cut at many moments and the next begun on what one of the cuts left."""

import asyncio
import random
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

from crash.scene import Policy
from lictor.stores.keys import Keys
from power.check import Checker, Truth, lay_out
from power.disk import installed
from power.platter import Event, Platter, Recorder
from power.session import Session

CUTS = 200
"""Of one life."""
LIVES = 4
"""After one another, each on what a cut of the one before left."""


class Campaign:
    """Lives and cuts until there were enough.

    Attributes:
        faults: what was not as it must be, each with its life and the place in its record.
        rounds: cuts so far.
        promised: of them, those after something had been promised.
        moved: checkpoints of the write-ahead log in the records.
    """

    def __init__(
        self,
        home: Path,
        policy: Policy,
        scratch: Path,
        seed: int,
        *,
        mutant: Any = None,
        heard: Callable[[list[Event]], list[Event]] = list,
        recorder: Callable[[Path], Recorder] = Recorder,
        failing: bool = False,
        first: dict[str, bytes] | None = None,
    ) -> None:
        """Nothing happened yet.

        Args:
            home: for the folders of the lives.
            policy: what decides in them.
            scratch: where crash images are opened.
            seed: of all chance but the machine's timing.
            mutant: wraps the store: a wrong one.
            heard: what of a record the platter hears: a wrong disk.
            recorder: makes the record.
            failing: whether its disk fails meanwhile.
            first: files that are there before the first life of each line.
        """
        self.home, self.policy, self.mutant, self.heard, self.recorder = home, policy, mutant, heard, recorder
        self.first = first or {}
        self.random = random.Random(seed)
        self.checker = Checker(scratch, failing)
        self.keys = home / "keys"
        Keys.open(self.keys)
        self.faults: list[str] = []
        self.records: list[Recorder] = []
        self.rounds = self.promised = self.moved = 0

    def run(self, rounds: int, *, stop: bool = False) -> None:
        """Cut `rounds` times. `stop`: at the first fault."""
        life, left = 0, dict[str, bytes]()
        while self.rounds < rounds and not (stop and self.faults):
            if life % LIVES == 0:
                left = self.first
            left = self._life(self.home / str(life), left, min(CUTS, rounds - self.rounds), stop=stop)
            life += 1

    def _life(self, folder: Path, files: dict[str, bytes], cuts: int, *, stop: bool) -> dict[str, bytes]:
        """One session, and cuts of it; what one of them left is returned."""
        lay_out(folder, self.keys, files)
        recorder = self.recorder(folder)
        with installed(recorder):
            asyncio.run(Session(folder, self.policy, recorder, self.random.random(), self.mutant).run())
        self.records.append(recorder)
        self.moved += sum(event.what == "begin" and event.name == "log.db" for event in recorder.events)
        truth, platter = Truth.of(folder), Platter(files, self.heard(recorder.events))
        left, keep = files, self.random.randrange(cuts)
        places = sorted(self.random.randrange(len(platter.events) + 1) for _ in range(cuts))
        for number, place in enumerate(places):
            platter.go(place)
            image = platter.image(self.random)
            lay_out(self.checker.folder, self.keys, image, index=self.random)
            found = self.checker.faults(truth, platter.marks)
            self.faults += [f"{folder.name}/{place}: {fault}" for fault in found]
            self.rounds += 1
            self.promised += truth.needed(platter.marks) > 0
            if number >= keep and platter.marks and not found and left is files:
                left = image
            if stop and found:
                break
        shutil.rmtree(folder)
        return left
