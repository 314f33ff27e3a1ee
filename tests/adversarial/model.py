"""What a case is, what running it showed, and the four ways in which it can fail."""

import json
import os
from collections import Counter
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path
from typing import Any

OWN_CASES = Path(__file__).with_name("cases.json")
VARIABLE = "LICTOR_CASES"


@dataclass(frozen=True, slots=True)
class Case:
    """One case of the file."""

    id: str
    class_id: str
    precondition: str
    input: Any
    expected: str

    @property
    def steps(self) -> list[dict[str, Any]]:
        """The inputs: a list means that each is tried and each must end as expected."""
        return self.input if isinstance(self.input, list) else [self.input]


def read_cases(path: Path) -> list[Case]:
    """Every case of a file."""
    document = json.loads(path.read_text("utf-8"))
    return [
        Case(
            id=raw["id"],
            class_id=raw["class_id"],
            precondition=raw["precondition"],
            input=raw["input"],
            expected=raw["expected"],
        )
        for raw in document["cases"]
    ]


def cases_path(option: str | None) -> Path:
    """The file: as given on the command line, in the environment, or our own copy."""
    return Path(option or os.environ.get(VARIABLE) or OWN_CASES)


class Word(StrEnum):
    """The outcome words of the case file."""

    ALLOW = "ALLOW"
    HOLD = "HOLD"
    DENY = "DENY"
    REJECT = "REJECT"
    QUARANTINE = "QUARANTINE"
    DETECT = "DETECT"
    UNKNOWN = "UNKNOWN"
    REFUSED = "REFUSED"


class Failure(Exception):  # noqa: N818 - it is counted, not raised to anybody
    """A case that did not pass."""

    kind = "failure"


class Wrong(Failure):
    """The gateway did something else than expected."""

    kind = "wrong outcome"


class Unreadable(Failure):
    """The runner cannot read the expectation, the verb, one of its fields, or a generated value."""

    kind = "not readable"


class NoSetup(Failure):
    """The runner cannot make the precondition true."""

    kind = "no precondition"


@dataclass(slots=True)
class Observed:
    """What one input led to. `facts` are what phrases of the expectation are held against."""

    word: Word | None = None
    reason: str = ""
    status: int = 0
    code: int | None = None
    text: str = ""
    facts: dict[str, Any] = field(default_factory=dict)

    def summary(self) -> str:
        """One line for a failure's report."""
        shown = {
            key: (value if len(repr(value)) < 120 else f"{repr(value)[:117]}...") for key, value in self.facts.items()
        }
        return f"{self.word} {self.status} {self.code} {self.reason!r} facts={shown} text={self.text[:300]!r}"


@dataclass(slots=True)
class Verdict:
    """How a case ended."""

    case: Case
    failure: Failure | None
    dialogue: list[str] = field(default_factory=list)

    @property
    def passed(self) -> bool:
        return self.failure is None

    def report(self) -> str:
        """The case, what was said, and what is in the log."""
        head = f"{self.case.id}: {self.case.precondition}\n  input:    {json.dumps(self.case.input)[:600]}\n  expected: {self.case.expected}"
        end = "passed" if self.failure is None else f"{self.failure.kind}: {self.failure}"
        return "\n".join([head, f"  {end}", *(f"    {line}" for line in self.dialogue)])


TALLY: Counter[str] = Counter()
"""How the cases of this process ended; what the runner could not do is counted apart from what the gateway did wrong."""
