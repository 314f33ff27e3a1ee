"""What was asked, read back from its seal and checked against what was recorded. Refuses to guess what is gone."""

import msgspec

from lictor.model.action import ActionRequest, SealedArguments
from lictor.model.approval import Hold
from lictor.model.errors import StoreError
from lictor.model.ids import RequestId
from lictor.model.preview import Preview, preview_digest
from lictor.model.reasons import Reason
from lictor.model.snapshot import Snapshot
from lictor.ports import RecordStore


def held_request(store: RecordStore, hold: Hold) -> ActionRequest:
    """The held request, rebuilt from its sealed payload and checked against the digest the hold is for.

    Raises:
        StoreError: `log_damaged`: payload missing or of another action.
    """
    payload = store.payload(hold.request)
    if payload is None:
        raise StoreError(Reason.LOG_DAMAGED, f"the sealed arguments of hold {hold.id!r} are gone")
    request = ActionRequest.make(
        id=hold.request,
        kind=hold.kind,
        server=hold.server,
        name=hold.name,
        arguments=SealedArguments.seal(msgspec.json.decode(payload.arguments)),
        agent=hold.agent,
        human=hold.human,
        task=hold.task,
    )
    if request.digest != hold.digest:
        raise StoreError(
            Reason.LOG_DAMAGED, f"the sealed arguments of hold {hold.id!r} are not those it was opened for"
        )
    return request


def held_snapshot(store: RecordStore, hold: Hold) -> Snapshot:
    """The facts the hold was opened on.

    Raises:
        StoreError: `log_damaged`: they are gone or are not a snapshot.
    """
    payload = store.payload(hold.request)
    try:
        return Snapshot.decode(payload.snapshot if payload is not None else b"")
    except msgspec.DecodeError:
        raise StoreError(Reason.LOG_DAMAGED, f"the sealed facts of hold {hold.id!r} are gone") from None


def held_preview(store: RecordStore, hold: Hold) -> Preview | None:
    """What people are shown of its effect; None: its catalogue entry asks for no preview.

    Raises:
        StoreError: `log_damaged`: it is gone, or not the one the hold names.
    """
    if not hold.preview:
        return None
    payload = store.payload(preview_key(hold))
    encoded = payload.arguments if payload is not None else b""
    if preview_digest(encoded) != hold.preview:
        raise StoreError(Reason.LOG_DAMAGED, f"the sealed preview of hold {hold.id!r} is gone")
    return Preview.decode(encoded)


def preview_key(hold: Hold) -> RequestId:
    """What a hold's preview is sealed under: the hold's own id, which no request has."""
    return RequestId(hold.id)
