"""Having the log witnessed: whatever a witness does, the log goes on; what it says is believed only with its signature."""

import asyncio

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from lictor.model.errors import UpstreamError
from lictor.model.reasons import Reason
from lictor.model.record import LogContradicted, decode_entry
from lictor.records.checkpoint import VerifierKey
from lictor.records.cosign import WitnessKey, cosign
from lictor.records.note import read_note
from lictor.records.submission import Submission
from lictor.service.log import cosigning as module
from lictor.service.log.cosigning import Cosigning, Line
from lictor.service.log.proofs import cosigned_note
from lictor.service.log.witness import Witness
from lictor.stores.sqlite import SqliteStore
from lictor.testing.clock import ManualClock
from store_samples import NOW, batch, received
from unit.service.test_witness import Kept

LOG = Ed25519PrivateKey.from_private_bytes(b"\x11" * 32)
KEY = VerifierKey.of("cosigning.example/log", LOG)
SIGNER = Ed25519PrivateKey.from_private_bytes(b"\x12" * 32)
W = WitnessKey.of("w.example", SIGNER)


class World:
    """A store, a real witness in memory, and a line between them that can be told to misbehave."""

    def __init__(self, folder):
        self.store = SqliteStore(folder / "log.db", signer=LOG, origin=KEY.name)
        self.clock = ManualClock(NOW)
        self.witness = Witness(W.name, SIGNER, {KEY.name: KEY}, Kept(), self.clock)
        self.kept: dict[str, str] = {}
        self.said: list[str] = []
        self.sent: list[Submission] = []
        self.folder = folder
        self.answer = None
        self.cosigning = self.made()

    def made(self, **changes):
        line = Line(
            name="w", key=W, post=self.post, kept=lambda: self.kept.get("w"), keep=lambda note: self.kept.update(w=note)
        )
        for name, value in changes.items():
            setattr(line, name, value)
        return Cosigning(
            [line],
            store=self.store,
            key=KEY,
            open_log=lambda: SqliteStore.open_unverified(self.folder / "log.db"),
            clock=self.clock,
            say=self.said.append,
            every_s=60,
        )

    async def post(self, body):
        self.sent.append(Submission.read(body))
        if self.answer is not None:
            return await self.answer(body)
        answer = self.witness.add(body)
        return answer.status, answer.body.encode()

    async def grow(self, count=3):
        size = self.store.size()
        await self.store.commit(batch(*(received(f"req_{size + at}") for at in range(count))))

    @property
    def lag(self):
        return self.cosigning.lags()[0]


@pytest.fixture
def world(tmp_path):
    made = World(tmp_path)
    yield made
    made.store.close()


def answering(status, body=b""):
    async def answer(_):
        return status, body

    return answer


async def test_an_empty_log_is_not_submitted(world):
    """There is nothing to vouch for yet."""
    await world.cosigning.once()
    assert (world.sent, world.lag.size, world.lag.behind) == ([], 0, 0)


async def test_what_is_cosigned_is_submitted_again_when_it_grows_or_grows_old(world):
    """An unchanged log costs nothing within the hour; then the witness says once more that it is the newest."""
    await world.grow()
    for _ in range(3):
        await world.cosigning.once()
    assert len(world.sent) == 1
    await world.grow(300)
    await world.cosigning.once()
    assert [one.old for one in world.sent] == [0, 3]
    world.clock.advance(module.AGAIN_AFTER_S * 1_000)
    await world.cosigning.once()
    assert len(world.sent) == 3
    assert (world.lag.behind, world.lag.at_ms, world.said) == (0, world.clock.now_ms(), [])


@pytest.mark.parametrize(
    "answer",
    [
        answering(500, b"oops"), answering(404), answering(403), answering(200, b""), answering(200, b"nonsense\n"),
        answering(409, b"x"), answering(409, b"0\n"), answering(302),
    ],
)  # fmt: skip
async def test_a_strange_witness_is_a_fault_that_is_said_once(world, answer):
    """Nothing of it is kept; the next good answer ends it."""
    await world.grow()
    world.answer = answer
    for _ in range(3):
        await world.cosigning.once()
    assert world.lag.fault
    assert len(world.said) == 1
    assert world.kept == {}
    assert len(world.sent) <= 3 * module.ROUNDS
    world.answer = None
    await world.cosigning.once()
    assert (world.lag.fault, world.lag.behind) == ("", 0)
    assert world.said[-1] == "witness w: cosigns again"


async def test_a_witness_that_is_down_blocks_nothing(world):
    """Records are committed while it hangs, and the end of the process does not wait for it for long."""
    await world.grow()

    async def hang(_):
        await asyncio.sleep(3_600)

    world.answer = hang
    job = asyncio.create_task(world.cosigning.run())
    await asyncio.sleep(0)
    await world.grow()
    assert world.store.size() == 6
    job.cancel()

    async def down(_):
        raise UpstreamError(Reason.UPSTREAM_DOWN, "nobody there", effect_possible=False)

    world.answer = down
    await world.cosigning.finish()
    assert "nobody there" in world.said[-1]


async def test_the_end_does_not_wait_long(world, monkeypatch):
    """A witness that hangs at the end is given up."""
    monkeypatch.setattr(module, "LAST_S", 0.05)
    await world.grow()

    async def hang(_):
        await asyncio.sleep(3_600)

    world.answer = hang
    await asyncio.wait_for(world.cosigning.finish(), 30)
    assert "not cosigned in time" in world.said[-1]


async def test_a_signature_that_is_not_the_witnesss_is_not_kept(world):
    """Somebody else answers at its address: another key under its name, its key on another text."""
    await world.grow()
    text = read_note(world.store.newest_checkpoint()).text
    stranger = Ed25519PrivateKey.from_private_bytes(b"\x13" * 32)
    for line in (cosign(text, W.name, stranger, 5), cosign(text + "x\n", W.name, SIGNER, 5)):
        world.answer = answering(200, line.line().encode())
        await world.cosigning.once()
        assert world.lag.fault
        assert world.kept == {}


async def test_what_cannot_be_kept_is_a_fault(world):
    """A full disk: said, and tried again."""

    def full(_):
        raise OSError(28, "No space left on device")

    await world.grow()
    world.cosigning = world.made(keep=full)
    await world.cosigning.once()
    assert "No space left" in world.lag.fault


async def test_a_contradiction_is_recorded_once_and_ends_nothing(world):
    """422, or more records than there are: loud, on record, and the log goes on."""
    await world.grow()
    world.answer = answering(422)
    for _ in range(3):
        await world.cosigning.once()
    assert world.lag.contradicted
    records = [decode_entry(one.data).record for one in world.store.entries()]
    assert [(one.size, one.seen) for one in records if isinstance(one, LogContradicted)] == [(3, 0)]
    world.answer = answering(409, b"99\n")
    world.cosigning = world.made()
    await world.cosigning.once()
    assert "rolled back" in world.said[-1]


async def test_what_was_cosigned_before_is_remembered(world):
    """A new process goes on where the last one was; what it cannot read it asks for."""
    await world.grow()
    await world.cosigning.once()
    await world.grow()
    again = world.made()
    assert again.lags()[0].size == 3
    world.kept["w"] = "nonsense"
    broken = world.made()
    assert "cannot be read" in world.said[-1]
    await broken.once()
    assert broken.lags()[0].behind == 0


async def test_a_witness_that_forgets_is_told_of(world):
    """It could be led to sign a fork now: its operator has to know."""
    await world.grow()
    await world.cosigning.once()
    world.witness = Witness(W.name, SIGNER, {KEY.name: KEY}, Kept(), world.clock)
    await world.grow()
    await world.cosigning.once()
    assert world.said == ["witness w: it has forgotten what it signed: 0, not 3"]
    assert world.lag.behind == 0


async def test_what_is_published_has_every_cosignature_there_is(world):
    """Those of the newest checkpoint; older ones and what cannot be read are left out."""
    await world.grow()
    await world.cosigning.once()
    newest = world.store.newest_checkpoint()
    assert cosigned_note(newest, world.kept.values(), KEY) == world.kept["w"]
    assert cosigned_note(newest, ["nonsense", world.kept["w"]], KEY) == world.kept["w"]
    await world.grow()
    newest = world.store.newest_checkpoint()
    assert cosigned_note(newest, world.kept.values(), KEY) == newest
