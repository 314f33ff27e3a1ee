"""Which task a token is for, at the door of an enforcement point. Three kinds of token, one answer: a task that is open now.

* an opaque task token, shown to whoever opened the task;
* a token of our own token service (`tokens`);
* an access token of an external authorisation server that the settings name for this: it identifies the *agent*, by the proofs of
  the registry, and names a task that somebody opened for exactly this agent (ADR 0011). Without a task it is worth nothing.

Nothing else says who asks: no cookie, no other header, no argument.
"""

from collections.abc import Callable, Collection

from lictor.model.errors import CallerError
from lictor.model.identity import Proven
from lictor.model.ids import TaskId
from lictor.model.reasons import Reason
from lictor.model.task import TaskState, TaskStatus
from lictor.pdp.proof import whose
from lictor.ports import Clock, RecordStore
from lictor.protocol.jose.compact import read_jws
from lictor.protocol.oauth.details import task_of_claims
from lictor.service.policy import PolicyInForce
from lictor.service.tasks.exchange import TASK_TOKEN, Front
from lictor.service.tasks.possession import Presented, UnprovedError, check_held
from lictor.service.tasks.tasks import Tasks
from lictor.service.tasks.tokens import Tokens


class TasklessError(CallerError):
    """An agent proved itself, and says no task: it has no authority (RFC 6750 3.1 `insufficient_scope`)."""


class Admit:
    """Authenticates requests of agents."""

    def __init__(
        self,
        *,
        store: RecordStore,
        policy: PolicyInForce,
        clock: Clock,
        tasks: Tasks,
        tokens: Tokens,
        front: Front | None,
        servers: Collection[str],
    ) -> None:
        """`servers`: names of the issuers whose access tokens are accepted here."""
        self._store = store
        self._policy = policy
        self._clock = clock
        self._tasks = tasks
        self._tokens = tokens
        self._front = front
        self._servers = frozenset(servers)

    async def __call__(self, presented: Presented) -> Callable[[], TaskState]:
        """The task of a request: a function that says it as it is now, and raises once it has ended.

        The function is to be called before anything is done.

        Raises:
            UnprovedError: the token is bound, and the sender did not show to hold what it is bound to.
            TasklessError: an agent without a task.
            CallerError: `unauthenticated`, or a more exact code.
            StoreError: tasks cannot be read.
        """
        if presented.token.startswith(TASK_TOKEN):
            check_held(presented, "", None, 0)
            return lambda: self._tasks.authenticate(presented.token, self._tokens.audience)
        known = self._tokens.known(presented.token)
        if known is not None or self._tokens.is_ours(read_jws(presented.token)):
            return self._tokens.holder(presented, known)
        return await self._external(presented)

    async def _external(self, presented: Presented) -> Callable[[], TaskState]:
        if self._front is None or not self._servers:
            raise CallerError(Reason.UNAUTHENTICATED, "the token is of no issuer that is known here")
        scheme = "DPoP" if presented.scheme == "dpop" else "Bearer"
        try:
            proven = await self._front.identify(
                authorization=f"{scheme} {presented.token}",
                dpop=presented.proof,
                method=presented.method,
                url=presented.url,
                chain=presented.chain,
            )
        except CallerError as error:
            if presented.scheme == "dpop":
                raise UnprovedError(error.reason, error.message) from None
            raise
        if proven.issuer not in self._servers or proven.how == "private_key_jwt":
            raise CallerError(
                Reason.UNAUTHENTICATED,
                "tokens of this issuer are exchanged, not used here",
                remedy="exchange it at the token endpoint",
            )
        agent = whose(proven, self._policy.current().proofs.items())
        task = task_of_claims(proven.claims)
        if task is None:
            raise TasklessError(Reason.UNKNOWN_TASK, "the token names no task", remedy="exchange it for a task token")

        def alive() -> TaskState:
            return self._alive(TaskId(task), agent, proven)

        return alive

    def _alive(self, task: TaskId, agent: str, proven: Proven) -> TaskState:
        """As of now: the registry, the token and the task may all have ended since."""
        now = self._clock.now_ms()
        if now >= proven.expires_at_ms:
            raise CallerError(Reason.UNAUTHENTICATED, "the token has expired")
        state = self._store.task(task)
        # Another agent's task is not told from none.
        if state is None or state.task.agent != agent or state.task.audience != self._tokens.audience:
            raise TasklessError(Reason.UNKNOWN_TASK, "there is no such task for this agent")
        if state.status is not TaskStatus.OPEN:
            raise CallerError(Reason.TASK_CLOSED, "the task is closed")
        if now >= state.task.expires_at_ms:
            raise CallerError(Reason.TASK_EXPIRED, "the task has expired")
        return state
