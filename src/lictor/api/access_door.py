"""The door of what agents ask over HTTP beside the MCP endpoint: a task's token, boundedly many at a time, refusals on record.

The control plane's own door turns agents away with an alert; these rows are `OPEN` there and authenticate here. Knows no routes.
"""

import re
from collections import Counter
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Final

from starlette.requests import Request
from starlette.responses import Response

from lictor.api.access_told import problem_of
from lictor.api.oauth import CHAIN_KEY
from lictor.api.problem import HEADERS, Turned
from lictor.api.web import Raw, only_one
from lictor.model.errors import CallerError, LictorError
from lictor.model.ids import TaskId
from lictor.model.limits import Limits
from lictor.model.reasons import Reason
from lictor.model.task import TaskState
from lictor.protocol.jose.algs import DEFAULT_ALGS
from lictor.service.calls.authorize import Authorize
from lictor.service.tasks.admit import TasklessError
from lictor.service.tasks.possession import Presented, UnprovedError

PRINTABLE: Final = re.compile(r"[!-~]{1,200}", re.ASCII)
"""What comes back in a header, or is kept as a key."""
_CREDENTIAL: Final = re.compile(r"(?i:(bearer|dpop)) +([A-Za-z0-9\-._~+/]{1,16384}=*)", re.ASCII)


@dataclass(slots=True)
class Sent:
    """One authenticated request."""

    request: Request
    alive: Callable[[], TaskState]
    """The task as it is now; raises once it has ended. To be called before anything is done."""
    body: bytes = b""
    """As far as it was read."""


Handler = Callable[[Sent], Awaitable[Response]]


@dataclass(frozen=True, slots=True, kw_only=True)
class DoorParts:
    """What it needs."""

    admit: Callable[[Presented], Awaitable[Callable[[], TaskState]]]
    """`service.tasks.admit`: whose token it is."""
    guard: Callable[[], None]
    """Raises StoreError while this process must not act at all."""
    authorize: Authorize
    limits: Limits
    public_url: str
    resource_metadata: str = ""


class TaskDoor:
    """Stands before handlers."""

    def __init__(self, parts: DoorParts) -> None:
        self._parts = parts
        self._open: Counter[TaskId] = Counter()

    def __call__(self, handler: Handler) -> Raw:
        """A handler behind the token; refusals as problem details, each answer with the request's own `X-Request-ID`."""

        async def raw(request: Request) -> Response:
            echo: dict[str, str] = {}
            try:
                echo = _echo(request)
                answer = await self._admitted(request, handler)
            except LictorError as error:
                answer = problem_of(error)
            answer.headers.update({**HEADERS, **echo})
            return answer

        return raw

    async def _admitted(self, request: Request, handler: Handler) -> Response:
        """Who asks; then the handler, boundedly many of one task at a time, and every refusal on record."""
        parts = self._parts
        parts.guard()
        alive, state = await self._holder(request)
        task = state.task.id
        if self._open[task] >= parts.limits.inflight_per_task:
            raise Turned(429, Reason.OVERLOADED, "too many requests of this task at once", headers={"Retry-After": "1"})
        self._open[task] += 1
        sent = Sent(request, alive)
        try:
            _check_query(request)
            return await handler(sent)
        except CallerError as error:
            await parts.authorize.turned_away(task, sent.body or request.scope["path"].encode(), error)
            raise
        finally:
            self._open[task] -= 1
            if not self._open[task]:
                del self._open[task]

    async def _holder(self, request: Request) -> tuple[Callable[[], TaskState], TaskState]:
        """The task of a token, by its token alone.

        Raises:
            Turned: 401, or 403 where an agent has no task.
            StoreError: tasks cannot be read.
        """
        match = _CREDENTIAL.fullmatch(only_one(request, "authorization"))
        if match is None:
            raise self._refused(CallerError(Reason.UNAUTHENTICATED, "a task token is needed"), known=False)
        presented = Presented(
            scheme="dpop" if match[1].lower() == "dpop" else "bearer",
            token=match[2],
            method=request.method,
            url=self._parts.public_url + request.scope["path"],
            proof=only_one(request, "dpop") or None,
            chain=tuple(request.scope.get("state", {}).get(CHAIN_KEY, ())),
        )
        try:
            alive = await self._parts.admit(presented)
            return alive, alive()
        except CallerError as error:
            raise self._refused(error) from None

    def _refused(self, error: CallerError, *, known: bool = True) -> Turned:
        """RFC 6750 3.1, RFC 9449 7.1."""
        taskless, dpop = isinstance(error, TasklessError), isinstance(error, UnprovedError)
        word = "insufficient_scope" if taskless else "invalid_dpop_proof" if dpop else "invalid_token"
        said = f', error="{word}"' if known else ""
        found = self._parts.resource_metadata
        where = f', resource_metadata="{found}"' if found else ""
        algs = f', algs="{" ".join(DEFAULT_ALGS)}"' if dpop else ""
        challenge = f'{"DPoP" if dpop else "Bearer"} realm="lictor"{said}{algs}{where}'
        return Turned(403 if taskless else 401, error.reason, error.message, headers={"WWW-Authenticate": challenge})


def _check_query(request: Request) -> None:
    if request.scope.get("query_string"):
        raise CallerError(Reason.UNKNOWN_MEMBER, "this takes no query")


def _echo(request: Request) -> dict[str, str]:
    """AuthZEN 1.0, "Request Identification".

    Raises:
        CallerError: one that could not be said again: twice there, or no printable ASCII.
    """
    said = only_one(request, "x-request-id")
    if said and not PRINTABLE.fullmatch(said):
        raise Turned(400, Reason.INVALID_ARGUMENTS, "an X-Request-ID is 1 to 200 printable ASCII characters")
    return {"X-Request-ID": said} if said else {}
