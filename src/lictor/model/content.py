"""What is looked for in everything a server sends: rules that label content, and the kinds of values that are remembered.

Deterministic rules only: a literal text, or a value whose form can be checked. No model, no score. A rule only ever adds a label.
"""

from typing import Literal

import msgspec

Holds = Literal["card", "email", "iban", "secret"]


class ContentRule(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One rule of `labels.toml`: what holds any of it gets the labels."""

    name: str
    labels: tuple[str, ...]
    """With their families."""
    contains: tuple[str, ...] = ()
    """Literal texts; case, compatibility forms and invisible characters do not count."""
    holds: tuple[Holds, ...] = ()
    """Card numbers (Luhn), e-mail addresses, IBANs (check digits), secrets by their published forms."""
    actions: tuple[str, ...] = ()
    """Of which actions' content; empty: of all."""


class Content(msgspec.Struct, frozen=True, kw_only=True):
    """What one bundle looks for in content."""

    rules: tuple[ContentRule, ...] = ()
    kinds: frozenset[str] = frozenset()
    """Kinds of values that some watched argument has: only these are remembered."""
