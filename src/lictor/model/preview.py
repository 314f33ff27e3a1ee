"""What would become of an action, shown to people before they answer: made by the gateway, never by the model.

A preview is sealed beside the hold it is for and named by its digest; what it rests on (preconditions) is looked at again when
the approval is used. Refuses to know how it is made and drawn.
"""

from typing import Literal

import msgspec

from lictor.model.canonical import sha256_digest

PreviewKind = Literal["file", "sql", "http", "message", "git", "payment", "tool", "list", "command"]


class Precondition(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Something that has to be as it was when people looked."""

    kind: str
    """Who looks again: `file`, `directory`, `link`, `rows`, `address`, `ref`, `tool`."""
    target: str
    """What is looked at; raw, as the previewer of that kind reads it."""
    value: str
    """What was found: a digest, a version, a canonical place; `absent` where nothing was."""


class Line(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, array_like=True):
    """One line of a difference or of text. Raw: it is rendered when drawn."""

    mark: Literal["+", "-", " ", "@"]
    text: str


class Part(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, omit_defaults=True):
    """One thing to show. Exactly one of `lines`, `rows` and `text` says something."""

    title: str
    text: str = ""
    """A sentence, e.g. `changes 3 of 120 rows`."""
    lines: tuple[Line, ...] = ()
    rows: tuple[tuple[str, ...], ...] = ()
    """A table; the first row is its head."""
    warning: bool = False
    """It belongs before everything else."""
    left_out: int = 0
    """Lines or rows that are not shown; what is left out is always said."""


class Preview(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, omit_defaults=True):
    """The effect, as far as it could be found out."""

    kind: PreviewKind
    made_at_ms: int
    parts: tuple[Part, ...] = ()
    preconditions: tuple[Precondition, ...] = ()
    whole: bool = True
    """False: some of the effect is not known; a part says what."""

    def encode(self) -> bytes:
        """Canonical bytes: what is sealed, and what the digest is of."""
        return msgspec.json.encode(self, order="sorted")

    @staticmethod
    def decode(data: bytes) -> "Preview":
        """Inverse of `encode`.

        Raises:
            msgspec.ValidationError: it is no preview.
        """
        return msgspec.json.decode(data, type=Preview)


def preview_digest(encoded: bytes) -> str:
    """Digest of an encoded preview."""
    return sha256_digest(encoded)
