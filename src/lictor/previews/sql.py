"""Rows a statement would touch, as far as the gateway's own authority can find out, and said so where it cannot (APRV-18).

Refuses to know how one database is asked.
"""

import json
import time
from collections.abc import Mapping
from typing import TYPE_CHECKING, Final

from lictor.model.errors import CallerError
from lictor.model.preview_rule import SqlPreview
from lictor.pdp.normalise.pointers import point
from lictor.pdp.sql import SqlFacts, sql_facts
from lictor.previews.asking import Ask, NotFoundOutError, Secrets, Workers
from lictor.previews.disk import Disk
from lictor.previews.parts import Found, counted
from lictor.previews.settings import PostgresAuthority, PreviewAuthority, SqliteAuthority
from lictor.previews.sqlite import DEADLINE_S, SAMPLE, Outcome, Touched, run_on_copy

if TYPE_CHECKING:
    from lictor.previews.postgres import PostgresLook
UNKNOWN: Final = "unknown number of rows"
_CHANGES: Final = frozenset({"update", "delete"})


class SqlPreviews:
    """Makes them, and looks again at rows."""

    def __init__(
        self, authorities: Mapping[str, PreviewAuthority], disk: Disk, workers: Workers, secrets: Secrets
    ) -> None:
        self._authorities = dict(authorities)
        self._disk = disk
        self._workers = workers
        self._secrets = secrets

    async def make(self, ask: Ask, rule: SqlPreview, found: Found) -> None:
        """Find the rows, or say that their number is unknown.

        Raises:
            NotFoundOutError: the statement cannot be read.
        """
        text, facts = _read(ask)
        if facts.read_only:
            found.say("Effect", "it only reads: no row changes")
            return
        every = not facts.where and not _CHANGES.isdisjoint(facts.kinds)
        tables = ", ".join(facts.tables) or "no table"
        try:
            value = await self._found(rule, ask, text, facts, found, every=every)
        except NotFoundOutError as error:
            of_all = f"all rows of {tables}: {UNKNOWN}" if every else f"{UNKNOWN} of {tables}"
            found.unknown("Rows", f"{of_all} ({error})")
            return
        if value:
            target = json.dumps({"authority": rule.authority, "sql": text}, ensure_ascii=False, sort_keys=True)
            found.rests_on("rows", target, value)

    async def look_again(self, kind: str, target: str) -> str:
        """The value of a precondition of kind `rows` now."""
        del kind
        said: dict[str, str] = json.loads(target)
        authority = self._authority(said["authority"])
        if isinstance(authority, SqliteAuthority):
            return (await self._copy(authority, said["sql"])).value
        return await self._look(authority).value(said["sql"])

    async def _found(self, rule: SqlPreview, ask: Ask, text: str, facts: SqlFacts, found: Found, *, every: bool) -> str:
        if not rule.authority:
            raise NotFoundOutError("no authority to read the database is configured")
        authority = self._authority(rule.authority)
        dialect = ask.entry.sql.dialect if ask.entry.sql is not None else ""
        if dialect != ("sqlite" if isinstance(authority, SqliteAuthority) else "postgres"):
            raise NotFoundOutError("the configured authority is for another kind of database")
        if isinstance(authority, SqliteAuthority):
            outcome = await self._copy(authority, text)
            _say(outcome, facts, found, every=every)
            return outcome.value
        return await self._look(authority).effect(text, facts, found, every=every)

    def _authority(self, name: str) -> PreviewAuthority:
        authority = self._authorities.get(name)
        if authority is None:
            raise NotFoundOutError(f"no [previews.{name[:80]}] is configured")
        return authority

    async def _copy(self, authority: SqliteAuthority, text: str) -> Outcome:
        return await self._workers.run(run_on_copy, self._disk, authority, text, time.monotonic() + DEADLINE_S)

    def _look(self, authority: PostgresAuthority) -> "PostgresLook":
        try:
            from lictor.previews.postgres import PostgresLook  # noqa: PLC0415 - the driver is an extra
        except ImportError:
            raise NotFoundOutError("the driver is not installed: pip install lictor[postgres]") from None
        return PostgresLook(authority, self._secrets)


def _read(ask: Ask) -> tuple[str, SqlFacts]:
    selector = ask.entry.sql
    if selector is None:
        raise NotFoundOutError("the catalogue does not say where the statement stands")
    text = point(ask.arguments, selector.text)
    if not isinstance(text, str):
        raise NotFoundOutError("the statement is missing or no text")
    try:
        return text, sql_facts(text, selector.dialect)
    except CallerError as error:
        raise NotFoundOutError(f"{UNKNOWN}: {error.message}") from None


def _say(outcome: Outcome, facts: SqlFacts, found: Found, *, every: bool) -> None:
    found.say(
        "How", "run on a copy of the database that is forgotten; the server's own connection may be set up otherwise"
    )
    for one in outcome.touched:
        text, warning = _sentence(one, facts, every=every)
        found.say("Rows", text, warning=warning)
    if not outcome.touched:
        found.say("Rows", f"no row changes, of all rows of {', '.join(facts.tables)}" if every else "no row changes")
    if not outcome.settled:
        found.unknown(
            "Values", "some come from the clock or from chance: what rows become may differ, and is not checked again"
        )
    for table, other in outcome.referring:
        found.unknown("Rows that refer to them", f"{table} refers to {other}: its rows may go or change too")
    for one in outcome.touched:
        rest = max(0, one.change + one.go + one.come - SAMPLE)
        found.table(f"Rows of {one.table}, before (-) and after (+)", ("", *one.columns), one.sample, left_out=rest)


def _sentence(one: Touched, facts: SqlFacts, *, every: bool) -> tuple[str, bool]:
    if one.gone:
        return f"the table {one.table} goes, with all rows (N = {one.rows:,})", True
    parts = [(one.change, "change"), (one.go, "go"), (one.come, "come")]
    what = ", ".join(f"{counted(count, 'row')} {verb}" for count, verb in parts if count)
    hit = one.change + one.go
    if (every and one.table.lower() in facts.tables) or (hit and hit == one.rows):
        return f"all rows (N = {one.rows:,}) of {one.table}: {what}", True
    return f"{what}, of {one.rows:,} in {one.table}", False
