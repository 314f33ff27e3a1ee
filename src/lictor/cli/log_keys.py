"""The keys of a log for whoever verifies it: of a state folder, of an export, or of a file of statements.

Trusted is one key only: the state folder's own, or the one the caller was given. All others follow from it (`records.keychain`).
"""

from collections.abc import Iterable
from pathlib import Path

from lictor.model.errors import OperatorError, StoreError
from lictor.model.reasons import Reason
from lictor.ports import StoredEntry
from lictor.records.checkpoint import VerifierKey
from lictor.records.keychain import MAX_CHANGES, Handover, KeyChain, key_in, read_statements
from lictor.stores.keychain import Data, handovers
from lictor.stores.keys import LOG_FILE, Keys
from lictor.stores.snapshot import LogSnapshot

MAX_FILE = MAX_CHANGES * 4_096
"""Bytes of a file of statements: one has some 700."""


def keys_of(state: Path, origin: str, given: str = "") -> KeyChain:
    """The keys of a state folder's log; the folder's own key is the last of them.

    Args:
        state: the folder.
        origin: the log's name.
        given: a verifier key that must be one of them; empty: nobody gave one.

    Raises:
        OperatorError: `config_refused`: the key given is none, or none of these.
        StoreError: `log_damaged`: what the log says of its keys does not hold.
    """
    own = VerifierKey.of(origin, Keys.open(state).signer)
    with LogSnapshot(state / LOG_FILE) as view:
        chain = chain_of(view, own)
    check_given(given, chain)
    return chain


def chain_of(view: LogSnapshot, key: VerifierKey) -> KeyChain:
    """The keys of a log that is open, as they follow from one of them.

    Raises:
        StoreError: `log_damaged`: what it says of its keys does not hold.
    """
    return KeyChain.through(key, handovers(view.key_places(), lambda seq: _data(view.entries(seq, seq + 1))))


def _data(found: Iterable[StoredEntry]) -> bytes | None:
    return next((entry.data for entry in found), None)


def check_given(given: str, chain: KeyChain) -> None:
    """That a key somebody gave is one of a log's.

    Raises:
        OperatorError: `config_refused`: it is none, or not of this log.
    """
    if given and not key_in(given, chain):
        raise OperatorError(
            Reason.CONFIG_REFUSED,
            f"the key of this folder is {chain.last.text()}, not the one given, and does not follow from it",
            remedy="somebody replaced the key, or this is another log",
        )


def follow(key: VerifierKey, *told: Iterable[Handover]) -> KeyChain:
    """The keys that follow from one, by statements from several places; what is said twice counts once.

    Raises:
        StoreError: `log_damaged`: they do not hold, or contradict each other.
    """
    known = {one.note: one for each in told for one in each}
    return KeyChain.through(key, sorted(known.values(), key=lambda one: one.before.size))


def unrecorded(chain: KeyChain, data: Data, size: int) -> list[tuple[int, str]]:
    """Changes of key that no record of a log of this size says, each with its place. A statement needs its record to count."""
    wrong = []
    for one in chain.changes:
        place = one.before.size
        if place >= size:
            continue  # what the log does not reach is found by its length (`KeyChain.heads`)
        try:
            if handovers([place], data)[0].note != one.note:
                wrong.append((place, "the record of the change of key is another one"))
        except StoreError as error:
            wrong.append((place, error.message))
    return wrong


def statements_in(path: Path) -> list[Handover]:
    """The hand-overs of a file that `lictor log keys -o` or an export wrote.

    Raises:
        OperatorError: `config_refused`: it cannot be read.
        StoreError: `log_damaged`: one of them does not hold.
    """
    try:
        with path.open("rb") as file:
            return read_statements(file.read(MAX_FILE).decode())
    except (OSError, UnicodeDecodeError) as error:
        raise OperatorError(Reason.CONFIG_REFUSED, f"cannot be read: {error}", where=str(path)) from None
