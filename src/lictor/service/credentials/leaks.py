"""What a server says, without the secrets this process manages; and the record that it said one (CRED-02, CRED-05, CRED-13).

A signal of kind `credential_in_reply` is durable before the cleaned words go on. One server that repeats itself does not fill the
log: the first time is recorded, then each power of two. Refuses to know transports.
"""

from collections import Counter
from typing import Any, Final

import msgspec

from lictor.model.errors import CallerError
from lictor.model.ids import LeaseId, ServerName, TaskId
from lictor.model.reasons import Reason
from lictor.model.record import SignalObserved
from lictor.model.signal import FULL, Signal
from lictor.ports import Batch, Clock, Ids, RecordStore
from lictor.service.credentials.managed import Managed

KIND: Final = "credential_in_reply"
MAX_COUNTED: Final = 4_096
"""Pairs of task and credential that are counted; past it every time is recorded again."""


class Leaks:
    """For all connections of one process."""

    def __init__(self, *, store: RecordStore, clock: Clock, ids: Ids, managed: Managed) -> None:
        self._store = store
        self._clock = clock
        self._ids = ids
        self._managed = managed
        self._seen: Counter[tuple[TaskId, str]] = Counter()

    def of(self, task: TaskId, server: ServerName) -> "Cleaner":
        """For the connection of one task to one server."""
        return Cleaner(self, self._managed, task, server)

    def check_sent(self, data: bytes) -> None:
        """Refuse what an agent sends, where it holds a secret that the gateway manages.

        Raises:
            CallerError: `credential_in_arguments`. The text names the credential, which the agent may know.
        """
        scrubber = self._managed.scrubber
        tags = scrubber.tags_json(data) if scrubber else frozenset()
        if tags:
            raise CallerError(
                Reason.CREDENTIAL_IN_ARGUMENTS,
                f"the arguments hold credential {min(tags)!r}",
                remedy="leave it out: the gateway puts it where it belongs",
            )

    def text(self, text: str) -> str:
        """A line of ours, for operators and logs."""
        scrubber = self._managed.scrubber
        return scrubber.scrub_text(text)[0] if scrubber else text

    async def report(self, task: TaskId, server: ServerName, tags: frozenset[str]) -> None:
        """Write down that a server gave secrets back.

        Raises:
            StoreError: it cannot be recorded; what was said must not go on.
        """
        found = []
        for tag in sorted(tags):
            if len(self._seen) >= MAX_COUNTED:
                self._seen.clear()
            self._seen[task, tag] += 1
            times = self._seen[task, tag]
            if times & (times - 1) == 0:
                leases = self._managed.leases_of(tag)
                found.append(SignalObserved(signal=self._signal(task, server, tag, leases[-1:], times)))
        if found:
            await self._store.commit(Batch(at_ms=self._clock.now_ms(), records=tuple(found)))

    def _signal(self, task: TaskId, server: ServerName, tag: str, leases: tuple[LeaseId, ...], times: int) -> Signal:
        """The source says everything: which server, which credential, by which lease it was lent, how often."""
        source = " ".join(["broker", server, tag, *leases, str(times)])
        return Signal(id=self._ids.new("sig"), kind=KIND, task=task, score=FULL, source=source)


class Cleaner:
    """`lictor.pep.mcp.seam.Cleaner`: takes managed secrets out of what one server says to one task."""

    __slots__ = ("_leaks", "_managed", "_server", "_task")

    def __init__(self, leaks: Leaks, managed: Managed, task: TaskId, server: ServerName) -> None:
        self._leaks = leaks
        self._managed = managed
        self._task = task
        self._server = server

    async def json(self, data: bytes) -> bytes:
        """A JSON text, byte for byte where it holds none.

        Raises:
            StoreError: it held one, and that cannot be recorded.
        """
        scrubber = self._managed.scrubber
        if not scrubber:
            return data
        clean, tags = scrubber.scrub_json(data)
        if tags:
            await self._leaks.report(self._task, self._server, tags)
        return clean

    async def value(self, value: Any) -> Any:
        """The same for a JSON value."""
        if not self._managed.scrubber or not value:
            return value
        data = msgspec.json.encode(value)
        clean = await self.json(data)
        return value if clean is data else msgspec.json.decode(clean)

    def text(self, text: str) -> str:
        """Text for operators and logs."""
        return self._leaks.text(text)

    def check(self, data: bytes) -> None:
        """Refuse what goes to the server (`Leaks.check_sent`)."""
        self._leaks.check_sent(data)
