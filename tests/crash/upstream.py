"""The server behind the gateway, as far as a crash is concerned: a file that only grows, one line an effect, synced.

A line stays when the process that caused it is killed. The effect id is the execution id, so a repeated effect shows.
"""

import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import msgspec

from lictor.model.canonical import sha256_digest
from lictor.service.calls.grant import Grant


class Effect(msgspec.Struct, frozen=True):
    """One thing that happened in the world."""

    execution: str
    tool: str
    arguments: str
    digest: str


def _nothing() -> None:
    """No kill point."""


@dataclass(frozen=True)
class EffectFile:
    """Appends effects; any number of processes may hold one open."""

    path: Path

    def __call__(self, grant: Grant, sealed: bytes, *, between: Callable[[], None] = _nothing) -> None:
        """Let the effect happen. `between` runs after it happened and before it is synced."""
        request = grant.request
        effect = Effect(grant.execution, request.name, sha256_digest(sealed), request.digest)
        descriptor = os.open(self.path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
        try:
            os.write(descriptor, msgspec.json.encode(effect) + b"\n")
            between()
            os.fdatasync(descriptor)
        finally:
            os.close(descriptor)

    def read(self) -> list[Effect]:
        """Everything that happened, in order."""
        if not self.path.exists():
            return []
        whole = self.path.read_bytes().split(b"\n")[:-1]  # a kill may tear the last line: that effect never was
        return [msgspec.json.decode(line, type=Effect) for line in whole]


@dataclass(frozen=True)
class AckFile:
    """What people were told: one line for each answer that the gateway confirmed to them."""

    path: Path

    def __call__(self, word: str, hold: str) -> None:
        """Tell somebody that their answer is kept."""
        descriptor = os.open(self.path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
        try:
            os.write(descriptor, f"{word} {hold}\n".encode())
        finally:
            os.close(descriptor)

    def read(self) -> list[tuple[str, str]]:
        """(approved or denied, hold), in order."""
        if not self.path.exists():
            return []
        return [(word, hold) for word, _, hold in (line.partition(" ") for line in self.path.read_text().splitlines())]
