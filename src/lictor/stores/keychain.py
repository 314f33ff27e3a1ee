"""The keys of a log, as its store knows them: where they changed is in the state, what counts is in the records that stand there.

A row only says where to look. A row too few leaves checkpoints that no known key signed, a row too many leads to a record that is
no hand-over, and a record without its row is found by whoever reads every record (`lictor log verify`). Refuses to know the files
of private keys (`key_files`).
"""

import sqlite3
from collections.abc import Callable, Iterable
from functools import lru_cache
from typing import Final

import msgspec
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from lictor.lifecycle.rows import LOG_KEY, Pointer
from lictor.model.errors import ConflictError, StoreError
from lictor.model.reasons import Reason
from lictor.model.record import LogKeyChanged, decode_entry
from lictor.records.checkpoint import VerifierKey
from lictor.records.keychain import MAX_CHANGES, Handover, KeyChain
from lictor.records.merkle import FrontierBuilder
from lictor.records.note import damaged

SELECT_PLACES: Final = "SELECT id FROM rows WHERE kind = 'log_key' AND id <> 'in force' LIMIT ?"
_SELECT_IN_FORCE: Final = "SELECT body FROM rows WHERE kind = ? AND id = ?"
_SELECT_ENTRY: Final = "SELECT data FROM entries WHERE seq = ?"
_POINTER: Final = msgspec.json.Decoder(Pointer)
_DIGITS: Final = 18

Data = Callable[[int], bytes | None]
"""The bytes of one entry; None: there is none."""


def key_in_force(cursor: sqlite3.Cursor | sqlite3.Connection) -> str:
    """The verifier key that signs, as the log's state says; empty while it has its first one.

    Raises:
        StoreError: `log_damaged`: the row cannot be read.
        sqlite3.Error: nor can the table.
    """
    found = cursor.execute(_SELECT_IN_FORCE, LOG_KEY).fetchone()
    if found is None:
        return ""
    try:
        return _POINTER.decode(found[0]).target
    except (msgspec.MsgspecError, TypeError) as error:
        raise damaged("what the log says of its key cannot be read") from error


def chain_in(connection: sqlite3.Connection, key: VerifierKey) -> KeyChain:
    """The chain that ends with the key this process signs with.

    Raises:
        StoreError: `log_key_changed`: the log's state names another key; `log_damaged`: what it says of its keys does not hold.
        sqlite3.Error: it cannot be read.
    """
    check_in_force(key_in_force(connection), key.text())

    def data(seq: int) -> bytes | None:
        found = connection.execute(_SELECT_ENTRY, (seq,)).fetchone()
        return None if found is None else found[0]

    places = (place for (place,) in connection.execute(SELECT_PLACES, (MAX_CHANGES + 1,)))
    chain = KeyChain.through(key, handovers(places, data))
    if chain.last != key:
        raise changed(chain.last.text())
    return chain


def handovers(places: Iterable[object], data: Data) -> list[Handover]:
    """The hand-overs recorded at these places, in order, each verified by itself.

    Raises:
        StoreError: `log_damaged`: there is none at one of them.
    """
    return [_handover(place, data(place)) for place in sorted(map(_number, places))]


def _number(place: object) -> int:
    text = str(place)
    if not (text.isascii() and text.isdigit() and len(text) <= _DIGITS):
        raise damaged(f"not the place of a change of key: {text!r:.40}")
    return int(text)


def _handover(place: int, data: bytes | None) -> Handover:
    try:
        record = decode_entry(data).record if type(data) is bytes else None
    except msgspec.MsgspecError:
        record = None
    if not isinstance(record, LogKeyChanged):
        raise damaged(f"the key is said to have changed at entry {place}: there is no such record")
    return Handover.recorded(record, place)


def check_in_force(in_force: str, own: str) -> None:
    """That the log does not name another verifier key than ours.

    Raises:
        StoreError: `log_key_changed`.
    """
    if in_force and in_force != own:
        raise changed(in_force)


def changed(in_force: str) -> StoreError:
    """The error of whoever signs with another key than the one in force."""
    return StoreError(
        Reason.LOG_KEY_CHANGED,
        f"the log's key was changed to {in_force!r:.120}; this process has another, and writes nothing",
        remedy="start it again; if that does not help, put the key that is in force back into the state folder",
    )


@lru_cache(maxsize=4)
def own_key(origin: str, signer: Ed25519PrivateKey) -> str:
    """The verifier key of a signer. Kept: it is compared with every group where the key was ever changed."""
    return VerifierKey.of(origin, signer).text()


def admit(record: LogKeyChanged, tree: FrontierBuilder, key: VerifierKey, *, alone: bool) -> None:
    """Whether a change of key may be recorded now; what comes in between makes it void.

    Args:
        record: to be recorded next.
        tree: the log before it.
        key: that signs the commit.
        alone: whether the commit holds nothing else. So the place of the record is where the key changes.

    Raises:
        ConflictError: somebody else recorded something since the statement was made, or it does not stand alone; make a new one.
        StoreError: `log_damaged`: it is not signed by the two keys, or not about this log.
    """
    if not alone or record.size != tree.size:
        raise ConflictError(
            Reason.CONFLICT, f"the log went on since the change of its key was signed for {record.size}"
        )
    found = Handover.recorded(record, tree.size)
    if found.old != key or found.before.origin != key.name or found.before.root != tree.root():
        raise damaged("a change of key is not about this log as it stands, or not by the key that signs it")
