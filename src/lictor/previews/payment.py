"""A payment: who gets it by the directory, how often this account was paid before, and whether it only looks like one that was.

What was paid before is read from the record log, as far back as is said. Refuses to know banks, and balances.
"""

import asyncio
from collections import deque
from typing import Final

import msgspec

from lictor.model.catalog import CatalogEntry
from lictor.model.errors import CallerError, LictorError
from lictor.model.ids import AgentId, ExecutionId, RequestId
from lictor.model.record import ExecutionEnded, ExecutionStarted, RequestReceived, decode_entry
from lictor.pdp.normalise.directory import Directory
from lictor.pdp.normalise.money import exponent, value_of
from lictor.pdp.normalise.select import destination_of
from lictor.ports import RecordStore
from lictor.previews.alike import alike
from lictor.previews.asking import Ask, NotFoundOutError
from lictor.previews.parts import Found, counted

MAX_LOOKED: Final = 20_000
"""Newest entries of the log that are looked through."""
MAX_KEPT: Final = 5_000
_SLICE: Final = 200
"""Entries between two turns of everybody else."""
_WORDS: Final = (b'"request.received"', b'"execution.started"', b'"execution.ended"')


class Paid(msgspec.Struct, frozen=True, kw_only=True):
    """One payment that was made, as the log has it."""

    account: str
    agent: AgentId
    at_ms: int
    currency: str
    value: int


class History:
    """Payments of the newest part of the log, read once and then kept up."""

    def __init__(self, store: RecordStore) -> None:
        self._store = store
        self._next = -1
        self._first = 0
        self._asked: dict[RequestId, RequestReceived] = {}
        self._started: dict[ExecutionId, tuple[ExecutionStarted, int]] = {}
        self._paid: deque[tuple[str, Paid]] = deque(maxlen=MAX_KEPT)
        self._lock = asyncio.Lock()

    @property
    def whole(self) -> bool:
        """Whether it began with the log's first entry."""
        return self._first == 0

    async def of(self, entry: CatalogEntry, directory: Directory) -> list[Paid]:
        """What was paid by one tool, oldest first.

        Raises:
            LictorError: the log cannot be read.
        """
        async with self._lock:
            await self._read(entry, directory)
        name = f"{entry.server}/{entry.name}"
        return [paid for tool, paid in self._paid if tool == name]

    async def _read(self, entry: CatalogEntry, directory: Directory) -> None:
        size = self._store.size()
        if self._next < 0 or size - self._next > MAX_LOOKED:
            self._next = self._first = max(0, size - MAX_LOOKED)
        while self._next < size:
            stop = min(size, self._next + _SLICE)
            for stored in self._store.entries(self._next, stop):
                if any(word in stored.data for word in _WORDS):
                    self._take(stored.data, entry, directory)
            self._next = stop
            await asyncio.sleep(0)

    def _take(self, data: bytes, entry: CatalogEntry, directory: Directory) -> None:
        found = decode_entry(data)
        record = found.record
        if isinstance(record, RequestReceived):
            self._asked[record.request] = record
        elif isinstance(record, ExecutionStarted) and record.value:
            self._started[record.execution] = (record, found.at)
        elif isinstance(record, ExecutionEnded):
            started = self._started.pop(record.execution, None)
            if started is not None and record.outcome == "executed":
                self._keep(*started, entry, directory)
        while len(self._asked) > MAX_KEPT:
            self._asked.pop(next(iter(self._asked)))

    def _keep(self, started: ExecutionStarted, at_ms: int, entry: CatalogEntry, directory: Directory) -> None:
        asked = self._asked.get(started.request)
        selector = entry.destination
        if asked is None or selector is None or (asked.server, asked.name) != (entry.server, entry.name):
            return
        payload = self._store.payload(started.request)
        if payload is None:
            return  # erased
        try:
            arguments = msgspec.json.decode(payload.arguments)
            targets = destination_of(selector, arguments, directory).targets
        except (CallerError, msgspec.DecodeError):
            return
        for target in targets:
            paid = Paid(
                account=target.address, agent=asked.agent, at_ms=at_ms, currency=started.currency, value=started.value
            )
            self._paid.append((f"{entry.server}/{entry.name}", paid))


async def make(ask: Ask, directory: Directory, history: History, now_ms: int, found: Found) -> None:
    """Say who is paid, and whether that is new.

    Raises:
        NotFoundOutError: payee or amount cannot be read.
    """
    entry = ask.entry
    if entry.destination is None or entry.value is None:
        raise NotFoundOutError("the catalogue does not say where payee and amount stand")
    try:
        targets = destination_of(entry.destination, ask.arguments, directory).targets
        value = value_of(entry.value, ask.arguments)
    except CallerError as error:
        raise NotFoundOutError(error.message) from None
    digits = exponent(value.currency) if entry.value.digits is None else entry.value.digits
    found.say("Amount", _money(value.amount, value.currency, digits))
    try:
        before = await history.of(entry, directory)
        searched = "" if history.whole else f" in the newest {MAX_LOOKED:,} records"
    except LictorError:
        before, searched = [], ""
        found.unknown("Paid before", "the records cannot be read now")
    listed = {account for group in directory.accounts.values() for account in group}
    known = sorted(listed | {one.account for one in before})
    for target in targets:
        _payee(target.address, target.directory, known, found)
        _before(
            target.address,
            [one for one in before if one.account == target.address],
            ask,
            now_ms,
            searched,
            found,
            digits,
        )


def _payee(account: str, groups: tuple[str, ...], known: list[str], found: Found) -> None:
    who = f"in {', '.join(groups)} of the directory" if groups else "unknown payee: in no group of the directory"
    found.say("Payee", f"{account}: {who}", warning=not groups)
    other = "" if groups else alike(account, known)
    if other:
        found.say("Look-alike", f"{account} is not {other}, which is known", warning=True)


def _before(account: str, paid: list[Paid], ask: Ask, now_ms: int, searched: str, found: Found, digits: int) -> None:
    if not paid:
        found.say("First time", f"nothing was paid to {account} through this tool before{searched}", warning=True)
        return
    mine = sum(one.agent == ask.request.agent for one in paid)
    last = paid[-1]
    days = max(0, now_ms - last.at_ms) // 86_400_000
    when = "today" if days == 0 else f"{counted(days, 'day')} ago"
    found.say(
        "Paid before",
        f"{counted(len(paid), 'time')}{searched}, {mine} of them by this agent; last {when}: "
        f"{_money(last.value, last.currency, digits)}",
    )


def _money(amount: int, currency: str, digits: int) -> str:
    whole, rest = divmod(amount, 10**digits)
    return f"{whole:,}.{rest:0{digits}d} {currency}" if digits else f"{whole:,} {currency}"
