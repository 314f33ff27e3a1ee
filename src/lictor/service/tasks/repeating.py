"""Asking twice for the same: an idempotency key of somebody's choice finds the task that it opened, and opens no other.

The key belongs to whoever sent it and to what it was sent to: another party's equal key, and the same key at another parent, are
other keys. It is kept with the task, so it holds however long after and in whatever process.
"""

from typing import Any

import msgspec

from lictor.model.canonical import sha256_digest
from lictor.model.errors import CallerError
from lictor.model.reasons import Reason
from lictor.ports import RecordStore
from lictor.service.tasks.tasks import Opened


def key_digest(*parts: str) -> str:
    """`TaskOpened.key` of a key and whom it belongs to."""
    return sha256_digest(msgspec.json.encode(["lictor idempotency/1", *parts]))


def asked_digest(*parts: Any) -> str:
    """`TaskOpened.asked`: what two requests with one key have to have in common."""
    return sha256_digest(msgspec.json.encode(["lictor wish/1", *parts], order="sorted"))


def repeated(store: RecordStore, told: str, asked: str) -> Opened | None:
    """The task that was opened with a key; None: none was. Its token is not shown again.

    Raises:
        CallerError: `key_reused`: for something else.
    """
    before = store.opened_with(told)
    if before is None:
        return None
    state = store.task(before[0])
    if before[1] != asked or state is None:
        raise CallerError(Reason.KEY_REUSED, "this idempotency key was used for another task", remedy="use a fresh key")
    return Opened(task=state.task, token="", repeated=True)
