"""Writing a roll (`records.roll`) in the commit that makes it due. Refuses to know what is verified with it."""

import sqlite3
from typing import Final

from lictor.records.roll import MOST, Roll, digest_of
from lictor.stores.sqlite_schema import Log

_AFTER: Final = (
    "SELECT max((SELECT ifnull(max(last), -1) FROM rolls), (SELECT ifnull(max(CAST(id AS INTEGER)) + 1, -1) FROM rows"
    " WHERE kind = 'log_key' AND id <> 'in force'"
    " AND CAST(id AS INTEGER) + 1 < (SELECT max(size) FROM checkpoints)))"
)
"""What no roll covers begins behind the last one, and behind the last checkpoint of another key: a roll is of one key."""


def write_roll(cursor: sqlite3.Cursor, log: Log) -> None:
    """Sign one roll over every checkpoint that no roll covers yet; inside the transaction of a commit.

    They are read back rather than remembered: other processes write some of them. It is a millisecond, once in `roll.EVERY`
    entries.

    Raises:
        sqlite3.Error: it cannot be read or written; the commit is lost with it.
    """
    after = cursor.execute(_AFTER).fetchone()[0]
    sql = "SELECT size, text FROM checkpoints WHERE size > ? ORDER BY size DESC LIMIT ?"
    found = cursor.execute(sql, (after, MOST)).fetchall()[
        ::-1
    ]  # in a log of an earlier release the older ones have none
    if not found:
        return
    first, last = found[0][0], found[-1][0]
    roll = Roll(log.origin, first, last, len(found), digest_of(text for _, text in found))
    cursor.execute("INSERT INTO rolls VALUES(?, ?)", (last, roll.signed(log.signer)))
