"""That an entry is in a log, as a text anybody can check without us: C2SP tlog-proof.

It refuses to know where the text comes from. The entry may travel along as the proof's extra data: it is not believed by that,
its hash is what is proved.
"""

import re
from base64 import b64encode
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final, Self

from lictor.records.checkpoint import LogKeys
from lictor.records.cosign import Witnessed, WitnessKey, open_witnessed
from lictor.records.merkle import HASH_SIZE, MAX_SIZE, leaf_hash, verify_inclusion
from lictor.records.note import damaged, exact_base64

FORMAT: Final = "c2sp.org/tlog-proof@v1"
MAX_PATH: Final = 63
"""Most hashes of an inclusion proof: one a level of the largest tree."""

_INDEX = re.compile(r"index (0|[1-9][0-9]{0,18})", re.ASCII)


@dataclass(frozen=True, slots=True)
class Proof:
    """An inclusion proof, of which nothing is verified.

    Attributes:
        index: of the entry.
        path: sibling hashes from the leaf upwards, 32 bytes each.
        note: the checkpoint as signed.
        extra: with us the entry itself; None: it is not in the file.
    """

    index: int
    path: tuple[bytes, ...]
    note: str
    extra: bytes | None = None

    def text(self) -> str:
        """As a file (`.tlog-proof`)."""
        extra = "" if self.extra is None else f"extra {b64encode(self.extra).decode()}\n"
        hashes = "".join(f"{b64encode(one).decode()}\n" for one in self.path)
        return f"{FORMAT}\n{extra}index {self.index}\n{hashes}\n{self.note}"

    @classmethod
    def read(cls, text: str) -> Self:
        """From a file.

        Raises:
            StoreError: `log_damaged`: it is no such text.
        """
        head, blank, note = text.partition("\n\n")
        lines = head.split("\n")
        if not blank or lines.pop(0) != FORMAT:
            raise damaged(f"not a proof: it does not begin with {FORMAT}")
        extra = None
        if lines and lines[0].startswith("extra "):
            extra = exact_base64(lines.pop(0).removeprefix("extra "))
            if extra is None:
                raise damaged("the extra data of the proof is not base64")
        index = _INDEX.fullmatch(lines.pop(0)) if lines else None
        if index is None or int(index[1]) > MAX_SIZE or len(lines) > MAX_PATH:
            raise damaged("the proof has no index, or too many lines behind it")
        path = tuple(filter(None, map(exact_base64, lines)))
        if len(path) != len(lines) or any(len(one) != HASH_SIZE for one in path):
            raise damaged("a line of the proof is not a hash")
        return cls(int(index[1]), path, note, extra)


def verify_proof(proof: Proof, data: bytes, log: LogKeys, witnesses: Iterable[WitnessKey] = ()) -> Witnessed:
    """Check that an entry is in a log (tlog-proof, "Verifying a tlog proof"); the numbers are its steps.

    Args:
        proof: as read.
        data: the entry's bytes.
        log: whose checkpoint it must be.
        witnesses: who must have cosigned it, all of them.

    Raises:
        StoreError: `log_damaged`: it is not, or the proof does not show it. Returning is the only good answer.
    """
    leaf = leaf_hash(data)  # 1
    found = open_witnessed(proof.note, log, witnesses)  # 2, 3
    verify_inclusion(leaf, proof.index, found.checkpoint.size, proof.path, found.checkpoint.root)  # 4
    return found
