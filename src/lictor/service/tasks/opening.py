"""Open a task as a decided, recorded action: policy says who may open one, for whom, for what, and how large.

The decision is made on the task as it would be, and one commit holds request, decision and task: there is no task without its
decision in the log, and no decision that allowed one which is not there. A refusal leaves request and decision, and no task.

An approval is never waited for: nobody is asked before there is a task, so where policy wants one, somebody who may open it
without has to (DESIGN section 6: opened by an application or a person, never by the model).

If the process dies here: before the commit nothing is known; after it the task is open, and whoever asked with an idempotency
key finds it by asking again.
"""

from typing import Final

import msgspec

from lictor.model.errors import CallerError, ConflictError
from lictor.model.identity import Opener
from lictor.model.reasons import Reason
from lictor.policy.names import human_problem
from lictor.ports import RecordStore
from lictor.service.tasks.prospect import Prospects
from lictor.service.tasks.repeating import asked_digest, key_digest, repeated
from lictor.service.tasks.tasks import Opened, Tasks, Wish

MAX_KEY: Final = 200
"""Characters of an idempotency key."""


class Open:
    """Opens tasks for people, applications and operators."""

    def __init__(self, *, tasks: Tasks, store: RecordStore, prospects: Prospects) -> None:
        self._tasks = tasks
        self._store = store
        self._prospects = prospects

    async def __call__(self, opener: Opener, wish: Wish, *, audience: str, by: str = "", key: str = "") -> Opened:
        """Open a task, if policy lets this opener.

        Args:
            opener: who asks, authenticated.
            wish: what is asked for.
            audience: the gateway the task is for; `local` for a process-bound task.
            by: who opens it, for the record (default: `kind:name` of the opener).
            key: an idempotency key of the opener's choice. The same key and wish find the same task again, however long
                after and in whatever process; its token is not shown again.

        Raises:
            OpeningRefusedError: policy, the registry or a restriction says no; that is recorded.
            CallerError: `key_reused`; a member is out of range; `forbidden`: a person opens tasks in their own name only.
            StoreError: it cannot be recorded; nothing is open.
        """
        _check(opener, wish)
        if not key:
            return await self._open(opener, wish, audience, by, "", "")
        told = key_digest(opener.kind, opener.name, key)
        asked = wish_digest(wish, audience)
        found = repeated(self._store, told, asked)
        if found is not None:
            return found
        try:
            return await self._open(opener, wish, audience, by, told, asked)
        except ConflictError:
            found = repeated(self._store, told, asked)  # somebody else was first, with this key
            if found is None:
                raise
            return found

    async def _open(self, opener: Opener, wish: Wish, audience: str, by: str, told: str, asked: str) -> Opened:
        name = f"{opener.kind}:{opener.name}"
        draft = self._tasks.draft(wish, audience=audience, by=by or name, opener=name)
        record = msgspec.structs.replace(draft.record, key=told, asked=asked)
        await self._prospects.open(opener, record, draft.text, key=draft.key)
        return Opened(task=draft.task, token=draft.token)


def wish_digest(wish: Wish, audience: str) -> str:
    """What two requests with one idempotency key have to have in common: everything."""
    return asked_digest(wish, audience)


def _check(opener: Opener, wish: Wish) -> None:
    """What no policy can permit.

    Raises:
        CallerError: `invalid_arguments`: this is no person's id; `forbidden`: a person opens tasks in somebody else's name.
    """
    problem = human_problem(wish.human)
    if problem:
        raise CallerError(Reason.INVALID_ARGUMENTS, f"{wish.human[:80]!r}: {problem}", where="/human")
    if opener.kind == "person" and opener.name != wish.human:
        raise CallerError(Reason.FORBIDDEN, "a person opens tasks in their own name only", where="/human")
