"""Payments: known payees, first times, look-alikes; what was paid is read from the log."""

from typing import Any

import pytest

from lictor.model.canonical import canonical, sha256_digest
from lictor.model.catalog import DestinationSelector, ValueSelector
from lictor.model.preview_rule import PaymentPreview
from lictor.model.record import ExecutionEnded, ExecutionStarted, RequestReceived, encode_entry
from lictor.pdp.normalise.directory import Directory
from lictor.ports import Payload, StoredEntry
from previews_world import NOW, Bench, entry, told

KNOWN = "DE89370400440532013000"
OTHER = "DE75512108001245126199"
PAY = entry(
    "pay",
    destination=DestinationSelector(account="/iban"),
    value=ValueSelector(amount="/amount", currency="/currency", currencies=("EUR",)),
    preview=PaymentPreview(),
)
DAY = 86_400_000


class Log:
    """Records as a store has them: entries and payloads."""

    def __init__(self) -> None:
        self.data: list[bytes] = []
        self.sealed: dict[str, bytes] = {}

    def paid(self, iban: str, *, days: int, agent: str = "a1", outcome: str = "executed", name: str = "pay") -> None:
        number = len(self.data)
        arguments = canonical({"iban": iban, "amount": "5.00", "currency": "EUR"})
        digest = sha256_digest(arguments)
        at = NOW - days * DAY
        request, execution = f"req_{number}", f"exe_{number}"
        asked = RequestReceived(
            request=request, kind="tool", server="s", name=name, arguments=digest, digest=digest, agent=agent,
            human="os:ada", task="t",
        )  # fmt: skip
        started = ExecutionStarted(
            execution=execution, request=request, decision="d", digest=digest, arguments=digest, task="t",
            instance="i", currency="EUR", value=500,
        )  # fmt: skip
        ended = ExecutionEnded(execution=execution, outcome=outcome)
        self.data += [encode_entry(at, record) for record in (asked, started, ended)]
        self.sealed[request] = arguments

    def size(self) -> int:
        return len(self.data)

    def entries(self, start: int = 0, stop: int | None = None):
        for seq in range(start, len(self.data) if stop is None else stop):
            yield StoredEntry(seq, self.data[seq], b"")

    def payload(self, request: str) -> Payload | None:
        data = self.sealed.get(request)
        return None if data is None else Payload(request=request, task="t", arguments=data, snapshot=b"")


@pytest.fixture
def log() -> Log:
    return Log()


@pytest.fixture
def bench(tmp_path, log: Log) -> Bench:
    return Bench(tmp_path, Directory(accounts={"suppliers": (KNOWN,)}), store=log)


async def pay(bench: Bench, iban: Any = KNOWN, amount: Any = "1234.50"):
    return await bench.preview(PAY, {"iban": iban, "amount": amount, "currency": "EUR"})


async def test_a_listed_payee_and_the_amount(bench: Bench) -> None:
    """By the directory's name, amount in its own units."""
    said = told(await pay(bench))
    assert "1,234.50 EUR" in said
    assert f"{KNOWN}: in suppliers of the directory" in said
    assert "[First time] nothing was paid" in said


async def test_what_was_paid_before(bench: Bench, log: Log) -> None:
    """How often, by whom, when last; failed ones and other tools do not count."""
    log.paid(KNOWN, days=9)
    log.paid(KNOWN, days=3, agent="a2")
    log.paid(KNOWN, days=1, outcome="failed")
    log.paid(KNOWN, days=1, name="other")
    log.paid(OTHER, days=1)
    said = told(await pay(bench))
    assert "2 times, 1 of them by this agent; last 3 days ago: 5.00 EUR" in said
    assert "First time" not in said
    log.paid(KNOWN, days=0)
    assert "3 times, 2 of them by this agent; last today" in told(await pay(bench))


async def test_a_stranger_is_marked(bench: Bench) -> None:
    """Unknown, and first."""
    made = await pay(bench, OTHER)
    assert "unknown payee" in made.parts[0].text
    assert made.parts[0].warning


async def test_a_look_alike_of_a_known_account_is_marked(bench: Bench) -> None:
    """Two digits exchanged, check digits made to fit."""
    form = entry(
        "pay",
        destination=DestinationSelector(account="/iban", form="id"),
        value=PAY.value,
        preview=PaymentPreview(),
    )
    made = await bench.preview(form, {"iban": "DE89370400440532103000", "amount": "1.00", "currency": "EUR"})
    assert f"is not {KNOWN}, which is known" in told(made)


@pytest.mark.parametrize(
    ("iban", "amount"), [("nonsense", "1.00"), (None, "1.00"), (KNOWN, "1,00"), (KNOWN, -1), ([], {})]
)
async def test_what_cannot_be_read_is_said(bench: Bench, iban, amount) -> None:
    """Never an amount of nothing."""
    made = await pay(bench, iban, amount)
    assert not made.whole
