"""The supply chain: the dependency audit as it is run before a release, against advisories that are missing in part or altogether."""

import asyncio
import re
import tempfile
from pathlib import Path
from typing import Any

from adversarial.expectations import phrase, require
from adversarial.model import Observed, Unreadable
from adversarial.run import Run, precondition, verb
from security.advisories import Index, audit, reached, served

Match = re.Match[str]
_PACKAGE = "msgspec"


@precondition(r"CI dependency audit skips packages")
async def skips(run: Run, match: Match) -> None:
    """What skips them is the verb's."""


@verb("ci", "tool", "offline")
async def pipeline(run: Run, step: dict[str, Any]) -> Observed:
    """The audit with every answer, with one package that nobody knows, with one that is known to be bad, and offline."""
    if (step["tool"], step.get("offline")) != ("pip-audit", True):
        raise Unreadable(f"{step['tool']!r}?")
    indexes = {
        "whole": Index(),
        "one unknown": Index(unknown=frozenset({_PACKAGE})),
        "one bad": Index(bad={_PACKAGE: "PYSEC-2099-1"}),
    }
    ends: dict[str, tuple[int, str]] = {}
    with tempfile.TemporaryDirectory() as name:
        for what, index in indexes.items():
            folder = Path(name) / what.replace(" ", "-")
            folder.mkdir()
            with served(index, folder) as environment:
                done = await asyncio.to_thread(audit, environment, folder)
            ends[what] = (done.returncode, done.stdout + done.stderr)
        trusted = Path(name) / "none.pem"
        trusted.touch()
        done = await asyncio.to_thread(audit, reached("http://127.0.0.1:9", trusted), Path(name))
        ends["offline"] = (done.returncode, done.stdout + done.stderr)
    return Observed(facts={"ends": ends, "asked": len(indexes["whole"].asked)})


@phrase(r"pipeline fails when anything was skipped")
async def fails(run: Run, seen: Observed, match: Match) -> None:
    ends = seen.facts["ends"]
    code, said = ends.pop("whole")
    require(
        code == 0 and f"{seen.facts['asked']} packages, none skipped" in said, f"red with every answer: {said!r:.300}"
    )
    green = [what for what, (code, said) in ends.items() if code == 0 or "none skipped" in said]
    require(not green, f"green: {green}")
    for what in ("one unknown", "one bad"):
        require(_PACKAGE in ends[what][1], f"{what}: it is not said which: {ends[what][1]!r:.300}")
