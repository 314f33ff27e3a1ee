"""Asked right before a send: may this still go out? And before a server is started: is there anybody left to start it for?

The commit has judged all of it a moment ago, inside its transaction. Between the two the store can have hung, the process can
have been stopped, and somebody can have pulled the plug.
"""

from lictor.model.errors import CallerError
from lictor.model.reasons import Reason
from lictor.model.task import Task
from lictor.ports import Clock, RecordStore
from lictor.service.calls.grant import Grant
from lictor.service.calls.guard import Guard
from lictor.service.calls.standing import ended
from lictor.service.policy import PolicyInForce


class Gate:
    """Nothing passes here that the newest known state does not let pass."""

    def __init__(self, *, store: RecordStore, policy: PolicyInForce, clock: Clock, guard: Guard) -> None:
        self._store = store
        self._policy = policy
        self._clock = clock
        self._guard = guard

    def __call__(self, grant: Grant) -> None:
        """Let a grant through to the send.

        Raises:
            StoreError: `state_unconfirmed`, `clock_unsound`, or the store cannot be read.
            CallerError: `contained`, `task_closed`, `task_expired`.
        """
        self._guard.check()
        request = grant.request
        state = self._store.task(request.task)
        reason = Reason.TASK_CLOSED
        if state is not None:
            found = self.ended(state.task, request.server, request.action)
            if found is None:
                return
            reason = found
        raise CallerError(reason, "it was stopped before it was sent")

    def ended(self, task: Task, server: str, action: str = "") -> Reason | None:
        """Why nothing of this task may go to this server any more; None: it may.

        Raises:
            StoreError: the store cannot be read.
        """
        return ended(
            task,
            self._store.task,
            self._store.containments(),
            self._policy.current().agents,
            self._clock.now_ms(),
            server=server,
            action=action,
        )
