"""`lictor log`: one module an action. It knows their names and nothing of what they do."""

import argparse
import importlib
from typing import Final

ACTIONS: Final = (
    "show", "verify", "checkpoint", "keys", "rotate_key", "export", "prove", "erase", "schema", "backup", "restore", "unseal"
)  # fmt: skip
"""Modules of this package, in the order the help shows; each has `add(actions)`, which adds its own parser."""


def add(_: str, parser: argparse.ArgumentParser) -> None:
    """Arguments."""
    actions = parser.add_subparsers(title="actions", required=True, metavar="ACTION")
    for name in ACTIONS:
        importlib.import_module(f"lictor.cli.log.{name}").add(actions)
