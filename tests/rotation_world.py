"""A log of the real store whose key is changed, step by step, as `lictor log rotate-key` does it; and one written by hand."""

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from lictor.model.errors import LictorError
from lictor.model.record import encode_entry
from lictor.ports import StoredEntry
from lictor.records.checkpoint import Checkpoint, VerifierKey, open_checkpoint, sign_checkpoint
from lictor.records.keychain import Handover, KeyChain
from lictor.records.merkle import FrontierBuilder, leaf_hash
from lictor.records.roll import Roll, digest_of, open_roll
from lictor.records.verify import verify_log
from lictor.service.evidence.consistency import inconsistencies
from lictor.service.log.rotate import Signers, change_key
from lictor.stores.key_files import changing, next_key, take_over
from lictor.stores.keychain import handovers
from lictor.stores.keys import LOG_FILE, Keys
from lictor.stores.snapshot import LogSnapshot
from lictor.stores.sqlite import SqliteStore
from lictor.testing.clock import ManualClock
from store_samples import NOW, batch, received

ORIGIN = "test.local/log"


def open_store(folder, **kwargs) -> SqliteStore:
    return SqliteStore(folder / LOG_FILE, signer=Keys.open(folder).signer, origin=ORIGIN, **kwargs)


async def commits(folder, count, *, first=0):
    """So many commits of one record each."""
    with open_store(folder) as store:
        for number in range(first, first + count):
            await store.commit(batch(received(f"req_{number}")))


async def record_change(folder, *, why="") -> Handover:
    """Up to the commit: the new key is not in place yet."""
    old = Keys.open(folder).signer
    with open_store(folder) as store, changing(folder):
        signers = Signers(old=old, new=next_key(folder))
        return await change_key(store, ManualClock(NOW), store.log_keys, signers, by="os:test", why=why)


async def rotate(folder) -> Handover:
    """The whole of it."""
    made = await record_change(folder)
    with changing(folder):
        take_over(folder)
    return made


def chain_of(folder, key) -> KeyChain:
    with LogSnapshot(folder / LOG_FILE) as view:
        found = handovers(view.key_places(), lambda seq: next(iter(view.entries(seq, seq + 1))).data)
    return KeyChain.through(key, found)


class Written:
    """A log written by hand, as whoever holds some of its keys can write it: any entry, any checkpoint, any claim where keys changed."""

    def __init__(self) -> None:
        self.entries: list[bytes] = []
        self.heads: list[str] = []
        self.rolls: list[str] = []
        self.places: list[str] = []
        self.signers = [signer_of(0)]
        self.tree = FrontierBuilder()
        self.sign()

    @property
    def signer(self) -> Ed25519PrivateKey:
        return self.signers[-1]

    def holders(self) -> list[VerifierKey]:
        return [VerifierKey.of(ORIGIN, one) for one in self.signers]

    def head(self) -> Checkpoint:
        return Checkpoint(ORIGIN, self.tree.size, self.tree.root())

    def sign(self, signer=None) -> None:
        self.heads.append(sign_checkpoint(self.head(), signer or self.signer))

    def append(self, record, *, signer=None) -> None:
        data = encode_entry(NOW, record)
        self.entries.append(data)
        self.tree.append(data)
        self.sign(signer)

    def work(self, count=1, *, signer=None) -> None:
        for _ in range(count):
            self.append(received(f"req_{len(self.entries)}"), signer=signer)

    def change(self, new=None, *, told=True) -> Handover:
        """The key in force hands over. `told`: and the state says where."""
        new = new or signer_of(len(self.signers))
        made = Handover.sign(self.head(), self.signer, new)
        self.append(made.record("os:test"))
        self.roll()
        if told:
            self.places.append(str(made.before.size))
        self.signers.append(new)
        return made

    def roll(self) -> None:
        """Over every checkpoint of the key in force that none covers yet."""
        last = open_roll(self.rolls[-1], self.chain(self.holders()[0])).last if self.rolls else -1
        sizes = [int(text.split("\n")[1]) for text in self.heads]
        texts = [text for size, text in zip(sizes, self.heads, strict=True) if size > last]
        sizes = [size for size in sizes if size > last]
        if texts:
            self.rolls.append(Roll(ORIGIN, sizes[0], sizes[-1], len(texts), digest_of(texts)).signed(self.signer))

    def cut(self, size) -> "Written":
        """The first so many entries, with their checkpoints and keys."""
        kept = Written()
        kept.entries, kept.places = self.entries[:size], [one for one in self.places if int(one) < size]
        kept.heads = [text for text in self.heads if int(text.split("\n")[1]) <= size]
        kept.signers = self.signers[: len(kept.places) + 1]
        for data in kept.entries:
            kept.tree.append(data)
        return kept

    def chain(self, key) -> KeyChain:
        return KeyChain.through(
            key, handovers(self.places, lambda seq: self.entries[seq] if seq < len(self.entries) else None)
        )


def found(log, key, *, anchors=(), compare=True) -> list[str]:
    """What a verifier with one key finds: kinds of findings. `compare`: whether it holds the records against the keys it used."""
    try:
        chain = log.chain(key)
        known = [open_checkpoint(one, chain) for one in anchors]
    except LictorError:
        return ["key"]
    entries = [StoredEntry(seq, data, leaf_hash(data)) for seq, data in enumerate(log.entries)]
    report = verify_log(entries, log.heads, chain, anchor=[*known, *chain.heads()], rolls=log.rolls)
    odd = inconsistencies(entries, key_changes=chain.places() if compare else None)
    return [one.kind.value for one in report.findings] + ["inconsistent" for _ in odd]


def signer_of(number) -> Ed25519PrivateKey:
    return Ed25519PrivateKey.from_private_bytes(bytes([number + 1]) * 32)
