"""Settings: every key under two values on real parts, builds that ignore one, and keys that nobody knows."""

import re
from pathlib import Path
from typing import Any

from adversarial.expectations import phrase, require
from adversarial.model import NoSetup, Observed, Unreadable
from adversarial.run import Run, precondition, verb
from lictor.config import Settings
from security.probes import PROBES, findings
from security.probes.broken import BREAKS
from security.probes.keys import keys
from security.probes.unknown import FILES, KEY, TABLES, refusal_of_file, refusal_of_table

_PAGE = Path(__file__).parents[3] / "docs" / "reference" / "settings.md"
_EVERY = 3
"""A case has to end within its minute: here every third key in the order of the alphabet, in `tests/security/test_settings.py` each."""
_CONTROLS = 4
Match = re.Match[str]


def documented() -> set[str]:
    """Every key of the reference, as a dotted path."""
    found, prefix = set(), ""
    for line in _PAGE.read_text("utf-8").splitlines():
        heading = re.fullmatch(r"## (?:`\[([\w.]+)\]`(?:: .*)?|(.*))", line)
        row = re.match(r"\| `(\w+)` \|", line)
        if heading is not None:
            prefix = f"{heading[1].replace('NAME', '*')}." if heading[1] else ""
        elif (
            row is not None and not row[1].isupper() and prefix != "previews.*."
        ):  # of two kinds: one value of its name
            found.add(prefix + row[1])
    return found - {key.partition(".")[0] for key in found if "." in key} - {"listen.tls"}


@precondition(r"every documented security setting has a test that fails when the setting is ignored")
async def tested(run: Run, match: Match) -> None:
    """The reference, the types and the probes name the same keys, and a build that ignores one is noticed."""
    if not documented() == set(keys(Settings)) == set(PROBES):
        raise NoSetup(f"not the same keys: {sorted(documented() ^ set(PROBES) | set(keys(Settings)) ^ set(PROBES))}")
    for key, broken in BREAKS[:_CONTROLS]:
        with broken():
            if not await findings(PROBES[key]):
                raise NoSetup(f"nobody notices that {key} is ignored")


@verb("config.mutate", "each_key")
async def mutate(run: Run, step: dict[str, Any]) -> Observed:
    """Keys of `lictor.toml` changed one by one, and a key added to each table of each file."""
    if step.get("each_key") is not True:
        raise Unreadable("which keys?")
    inert = [text for key in sorted(PROBES)[::_EVERY] for text in await findings(PROBES[key])]
    silent = [table for table in TABLES if KEY not in refusal_of_table(table)]
    silent += [f"{path}: {text}" for path, text in FILES if KEY not in refusal_of_file(path, text)]
    return Observed(facts={"inert": inert, "silent": silent, "keys": len(PROBES), "tables": len(TABLES)})


@phrase(r"no inert key: for each key a behaviour changes")
async def none_inert(run: Run, seen: Observed, match: Match) -> None:
    require(seen.facts["keys"] > 50, "hardly a key was looked at")
    require(not seen.facts["inert"], f"{seen.facts['inert']}")


@phrase(r"unknown keys refuse start")
async def none_unknown(run: Run, seen: Observed, match: Match) -> None:
    require(seen.facts["tables"] > 8, "hardly a table was looked at")
    require(not seen.facts["silent"], f"taken without a word: {seen.facts['silent']}")
