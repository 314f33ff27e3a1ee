"""Change the key that signs a log, on the record. What happens to the key files before and after is the caller's.

The statement that both keys sign names the log's size. Whoever records something between signing and committing makes it void;
then it is signed anew, for the log as it stands now. Refuses to know who may: whoever holds the old key can.
"""

from dataclasses import dataclass
from typing import Final

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from lictor.model.errors import ConflictError
from lictor.model.reasons import Reason
from lictor.ports import Batch, Clock, RecordStore
from lictor.records.checkpoint import LogKeys, open_checkpoint
from lictor.records.keychain import Handover

ROUNDS: Final = 50
"""Times it is signed anew because others recorded something meanwhile."""
MAX_WHY: Final = 500


@dataclass(frozen=True, slots=True, kw_only=True)
class Signers:
    """The two keys of a change."""

    old: Ed25519PrivateKey
    new: Ed25519PrivateKey


async def change_key(
    store: RecordStore, clock: Clock, keys: LogKeys, signers: Signers, *, by: str, why: str = ""
) -> Handover:
    """Record it, in a commit of its own that the old key signs. When it returns, the new key has to be in place for the next one.

    Args:
        store: of the log, opened with the old key; it writes nothing any more after this.
        clock: for the record.
        keys: that the log's checkpoints are verified with.
        signers: the keys.
        by: who does it.
        why: for the record.

    Raises:
        ConflictError: `conflict`: the old key is not the one in force, or others record without a pause.
        StoreError: it is not recorded; the old key stays in force.
    """
    for _ in range(ROUNDS):
        head = open_checkpoint(store.newest_checkpoint(), keys)
        handover = Handover.sign(head, signers.old, signers.new)
        try:
            await store.commit(Batch(at_ms=clock.now_ms(), records=(handover.record(by, why[:MAX_WHY]),)))
        except ConflictError:
            if store.size() == head.size:  # nobody came in between: it is refused for what it is
                raise
        else:
            return handover
    raise ConflictError(
        Reason.CONFLICT,
        "others record without a pause: the key was not changed",
        remedy="stop the gateway, and try again",
    )
