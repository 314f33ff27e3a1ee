"""What is wrong with a bundle, all of it at once: an operator fixes a folder in one round, not in ten."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final

from lictor.model.errors import LictorError, OperatorError
from lictor.model.reasons import Reason

MAX_PROBLEMS: Final = 100
"""Problems kept: one broken generator must not print a book."""
_BOUND: Final = 160


@dataclass(frozen=True, slots=True, order=True)
class Problem:
    """One fault: `where` is `file:line` or `file`; `remedy` says what to do, or is empty."""

    where: str
    message: str
    remedy: str = ""

    def __str__(self) -> str:
        """One line, as `LictorError` prints itself."""
        hint = f" ({self.remedy})" if self.remedy else ""
        return f"{self.where}: {self.message}{hint}"


class BundleRefused(OperatorError):  # noqa: N818 - an OperatorError by name and nature
    """The bundle is refused as a whole.

    Attributes:
        problems: every fault found, by place; never empty.
    """

    def __init__(self, problems: Iterable[Problem], reason: Reason = Reason.BUNDLE_REFUSED) -> None:
        found = tuple(sorted(set(problems), key=_place))[:MAX_PROBLEMS]
        if not found:
            raise ValueError("a refusal needs a problem")
        first, more = found[0], len(found) - 1
        message = first.message if not more else f"{first.message} (and {more} more)"
        super().__init__(reason, message, remedy=first.remedy, where=first.where)
        self.problems = found


class Problems:
    """Collects faults while the rest is still looked at."""

    __slots__ = ("_found",)

    def __init__(self) -> None:
        self._found: list[Problem] = []

    def add(self, where: str, message: str, remedy: str = "") -> None:
        """Note one fault."""
        self._found.append(Problem(where, message, remedy))

    def take(self, error: LictorError, where: str = "") -> None:
        """Note what another part refused; `where` counts when the error names no file."""
        if isinstance(error, BundleRefused):
            self._found.extend(error.problems)
            return
        place = where or error.where
        message = error.message if not where or not error.where else f"{error.message} at {error.where}"
        self._found.append(Problem(place, message, error.remedy))

    def raise_if_any(self) -> None:
        """Refuse if anything was noted.

        Raises:
            BundleRefused: with all of it.
        """
        if self._found:
            raise BundleRefused(self._found)


def quote(value: object) -> str:
    """Foreign text for a message: quoted, one line, bounded."""
    text = ascii(value)
    return text if len(text) <= _BOUND else text[: _BOUND - 1] + "…"


def _place(problem: Problem) -> tuple[str, int, str]:
    file, _, line = problem.where.rpartition(":")
    return (file, int(line), problem.message) if line.isdigit() else (problem.where, 0, problem.message)
