"""The secret values this process knows of: those that are lent now, those that were, and those the vault could lend.

They are looked for in whatever an agent is shown and in whatever it sends (CRED-02, CRED-05, CRED-13). What was lent stays known
for a while after its lease: a server may give it back late. Refuses to know where a value came from and where it is injected.
"""

from collections import OrderedDict
from collections.abc import Iterable, Mapping
from typing import Final

from lictor.model.ids import LeaseId
from lictor.protocol.scrub import MIN_BYTES, Scrubber

MAX_PAST: Final = 1_024
"""Leases that are over and whose values are still looked for; the oldest is forgotten first."""


class Managed:
    """Values by what they are called. Prepared anew only when the set has changed."""

    def __init__(self) -> None:
        self._lent: dict[LeaseId, tuple[tuple[str, str], ...]] = {}
        self._past: OrderedDict[LeaseId, tuple[tuple[str, str], ...]] = OrderedDict()
        self._kept: tuple[tuple[str, str], ...] = ()
        self._scrubber: Scrubber | None = None

    def lend(self, lease: LeaseId, name: str, values: Iterable[str]) -> None:
        """From now on a lease's values are looked for; call it before anything is injected."""
        self._lent[lease] = tuple((name, value) for value in values if len(value.encode()) >= MIN_BYTES)
        self._scrubber = None

    def over(self, lease: LeaseId) -> None:
        """The lease is over; its values are looked for a while longer. Idempotent."""
        values = self._lent.pop(lease, None)
        if values is not None:
            self._past[lease] = values
            while len(self._past) > MAX_PAST:
                self._past.popitem(last=False)
                self._scrubber = None

    def keep(self, values: Mapping[str, str]) -> None:
        """What the vault holds, by name: it is looked for also where nobody has lent it."""
        self._kept = tuple((name, value) for name, value in values.items() if len(value.encode()) >= MIN_BYTES)
        self._scrubber = None

    @property
    def scrubber(self) -> Scrubber:
        """Looks for everything that is known now."""
        if self._scrubber is None:
            groups = (*self._lent.values(), *self._past.values(), self._kept)
            self._scrubber = Scrubber(pair for group in groups for pair in group)
        return self._scrubber

    def leases_of(self, name: str) -> tuple[LeaseId, ...]:
        """The leases whose values go by a name, newest last."""
        groups = (*self._past.items(), *self._lent.items())
        return tuple(lease for lease, values in groups if any(tag == name for tag, _ in values))
