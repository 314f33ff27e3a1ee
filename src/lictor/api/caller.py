"""Who calls the control plane: a person or an application with a credential of its own. Never an agent, never a cookie.

An agent's token is recognised, so that it is refused with 403 and an alert instead of passing for an unknown one (ADMN-05).
Signed tokens are read by a front that `app` hands in. Refuses to know routes.
"""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Final, Literal

from lictor.model.errors import CallerError
from lictor.model.identity import Opener
from lictor.model.ids import AgentId, HumanId, TaskId
from lictor.model.reasons import Reason
from lictor.service.people.approve import Answer
from lictor.service.policy import PolicyInForce
from lictor.service.tasks.applications import Applications
from lictor.service.tasks.tasks import Tasks

Role = Literal["person", "application", "operator"]
"""`operator`: a person in a group that `operators` of approvers.toml names."""

ANYBODY: Final[frozenset[Role]] = frozenset({"person", "application"})
"""Whoever has authenticated."""
OPERATORS: Final[frozenset[Role]] = frozenset({"operator"})

_PERSON: Final = "las_"
_APPLICATION: Final = "lap_"
_TASK: Final = "lt_"
MAX_CREDENTIAL: Final = 16 * 1024
"""Bytes of one credential: a signed token with many claims is a few thousand."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Presented:
    """What a request says of its sender; nothing of it is believed yet."""

    scheme: str
    """Of the `Authorization` field, lower case; empty: there was none."""
    credential: str
    method: str
    url: str
    """As the sender addressed it: scheme, host and path."""
    dpop: str = ""
    """The `DPoP` field (RFC 9449)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Caller:
    """Somebody who has authenticated."""

    opener: Opener
    operator: bool = False

    @property
    def roles(self) -> frozenset[Role]:
        """What routes ask for."""
        own: frozenset[Role] = frozenset({"application" if self.opener.kind == "application" else "person"})
        return own | OPERATORS if self.operator else own

    @property
    def name(self) -> str:
        """`kind:name`, as records have it."""
        return f"{self.opener.kind}:{self.opener.name}"


class AgentCalledError(CallerError):
    """An agent's credential at the control plane: refused, and recorded as a signal."""

    def __init__(self, agent: AgentId, task: TaskId | None) -> None:
        """`task`: whose token it was."""
        super().__init__(Reason.FORBIDDEN, "an agent has no business here: tasks are opened by people and applications")
        self.agent = agent
        self.task = task


Front = Callable[[Presented], Awaitable["Caller | AgentId"]]
"""Reads signed tokens: who it is, or the agent it is. Raises CallerError (`unauthenticated`, or a more exact code)."""


class Callers:
    """Authenticates requests."""

    def __init__(
        self,
        *,
        answer: Answer,
        applications: Applications,
        tasks: Tasks,
        policy: PolicyInForce,
        audience: str,
        front: Front | None = None,
    ) -> None:
        self._answer = answer
        self._applications = applications
        self._tasks = tasks
        self._policy = policy
        self._audience = audience
        self._front = front

    async def __call__(self, presented: Presented) -> Caller:
        """Who sent a request.

        Raises:
            CallerError: `unauthenticated`: nobody that is known.
            AgentCalledError: an agent.
        """
        credential = presented.credential
        if not credential or len(credential) > MAX_CREDENTIAL or presented.scheme not in {"bearer", "dpop"}:
            raise CallerError(
                Reason.UNAUTHENTICATED,
                "this needs the credential of a person or an application",
                remedy="send it as: Authorization: Bearer …",
            )
        if presented.scheme == "bearer" and credential.startswith(_PERSON):
            return self.person(self._answer.authenticate(credential))
        if presented.scheme == "bearer" and credential.startswith(_APPLICATION):
            return self.application(self._applications.authenticate(credential))
        if presented.scheme == "bearer" and credential.startswith(_TASK):
            state = self._tasks.authenticate(credential, self._audience)
            raise AgentCalledError(state.task.agent, state.task.id)
        if self._front is None:
            raise CallerError(Reason.UNAUTHENTICATED, "this credential is not known here")
        found = await self._front(presented)
        if isinstance(found, Caller):
            return found
        raise AgentCalledError(found, None)

    def person(self, human: HumanId) -> Caller:
        """A person who has proved to be this one, with today's groups."""
        pdp = self._policy.current()
        groups = {*pdp.humans.get(human, ()), *pdp.approvers.groups_of.get(human, ())}
        return Caller(
            opener=Opener(kind="person", name=human, groups=tuple(sorted(groups))),
            operator=not groups.isdisjoint(pdp.approvers.operators),
        )

    def application(self, name: str) -> Caller:
        """An application that has proved to be this one.

        Raises:
            CallerError: `unauthenticated`: it is in the bundle no more, or past its review date.
        """
        found = self._applications.standing(name)
        return Caller(opener=Opener(kind="application", name=name, groups=found.groups))
