"""The bundle that `lictor init` writes: commented, safe, working at once. The files beside this one are its templates."""

import re
from datetime import date, timedelta
from importlib.resources import files
from typing import Final

from lictor.model.errors import OperatorError
from lictor.model.reasons import Reason
from lictor.policy.names import human_problem

PATHS: Final = (
    "lictor.toml",
    "agents.toml",
    "approvers.toml",
    "directory.toml",
    "invariants.toml",
    "policies/baseline.cedar",
    "tests/baseline.toml",
)
AGENT: Final = "assistant"
"""The agent it registers."""
REVIEW_DAYS: Final = 90
_SLOT: Final = re.compile(r"\{\{(\w+)\}\}")


def starter_files(human: str, today: date) -> dict[str, bytes]:
    """The files by relative POSIX path.

    Args:
        human: who is alone on this machine, as `issuer:name`: owner, and only approver.
        today: the agent's review date is 90 days later.

    Raises:
        OperatorError: `config_refused`: `human` is no person's id.
    """
    problem = human_problem(human)
    if problem:
        raise OperatorError(Reason.CONFIG_REFUSED, f"{human[:80]!r}: {problem}")
    values = {"human": human, "review_by": (today + timedelta(days=REVIEW_DAYS)).isoformat()}
    folder = files(__name__)
    found: dict[str, bytes] = {}
    for path in PATHS:
        text = folder.joinpath(*path.split("/")).read_text("utf-8")
        found[path] = _SLOT.sub(lambda slot: values[slot[1]], text).encode()
    return found
