"""An agent at the control plane: written down as a signal about its task, so that somebody looks and a bundle can restrict it.

Nothing legitimate brings an agent there: it was told to, or it is looking for a way round (ADMN-05, OWASP ASI03). One record a
minute for each agent and task is enough; an agent in a loop must not fill the log.
"""

from typing import Final

from lictor.model.ids import AgentId, TaskId
from lictor.model.reasons import Reason
from lictor.model.record import FindingOpened, Record, RequestRefused, SignalObserved
from lictor.model.signal import FULL, Signal
from lictor.ports import Batch, Clock, Ids, RecordStore
from lictor.service.policy import PolicyInForce

KIND: Final = "control_plane"
"""The kind of signal; what it restricts is the bundle's word (`signals.toml`)."""
SOURCE: Final = "lictor control plane"
EVERY_MS: Final = 60_000
MAX_KNOWN: Final = 4_096


class Alarm:
    """Records agents that call routes of the control plane."""

    def __init__(self, *, store: RecordStore, policy: PolicyInForce, clock: Clock, ids: Ids) -> None:
        self._store = store
        self._policy = policy
        self._clock = clock
        self._ids = ids
        self._last: dict[tuple[AgentId, TaskId | None], int] = {}

    async def __call__(self, agent: AgentId, task: TaskId | None, route: str) -> None:
        """Write it down.

        Args:
            agent: who called.
            task: whose token it came with; None: the agent proved itself by other means.
            route: `METHOD /path`, as in the table of routes.

        Raises:
            StoreError: it cannot be recorded; the caller is told so instead of the refusal.
        """
        now = self._clock.now_ms()
        if 0 <= now - self._last.get((agent, task), -EVERY_MS) < EVERY_MS:
            return
        await self._store.commit(Batch(at_ms=now, records=self._records(agent, task, route)))
        self._last.pop((agent, task), None)
        self._last[agent, task] = now
        if len(self._last) > MAX_KNOWN:
            self._last.pop(next(iter(self._last)))

    def _records(self, agent: AgentId, task: TaskId | None, route: str) -> tuple[Record, ...]:
        refused = RequestRefused(
            task=task or TaskId(""), reason=Reason.FORBIDDEN.value, where=f"{route} by {agent}"[:200], size=0, digest=""
        )
        if task is None:
            return (refused,)
        signal = Signal(id=self._ids.new("sig"), kind=KIND, task=task, score=FULL, source=SOURCE)
        rule = self._policy.current().signals.get(KIND)
        records: tuple[Record, ...] = (refused, SignalObserved(signal=signal))
        if rule is None:
            return records
        finding = FindingOpened(finding=self._ids.new("fnd"), signal=signal.id, task=task, restriction=rule.restriction)
        return (*records, finding)
