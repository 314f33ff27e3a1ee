"""A change that widens what is permitted needs a second person (OWASP AISVS, ADMN-06); until then the last good bundle stays.

Two are needed: whoever changed the files, and an operator who looked at what the change permits, says so with their own secret,
and does not own the changed files. The approval is for exactly this content over exactly that bundle, and is spent when it is put
in force. Refuses to know folders.

If the process dies before the approval's commit nobody has approved; after it, any gateway on the store may put the bundle in
force.
"""

import asyncio
import importlib.util
from collections.abc import Callable, Collection, Mapping
from typing import Final

from lictor.model.errors import CallerError, OperatorError
from lictor.model.ids import HumanId, PolicyRevision
from lictor.model.reasons import Reason
from lictor.model.record import BundleApproved
from lictor.pdp.roles import Approvers
from lictor.policy.bundle import Bundle
from lictor.policy.compile import parse_guarded
from lictor.policy.load import load_bundle
from lictor.policy.widening import Compare, widening
from lictor.ports import Batch, Clock, RecordStore

Widens = Callable[[Mapping[str, bytes], Bundle], tuple[str, ...]]
"""In which ways a bundle permits more than the one these files make; may take seconds, and runs on a thread of its own."""
_KEPT: Final = 8


class SecondPerson:
    """Asks for the second person, and takes their word."""

    def __init__(self, *, store: RecordStore, clock: Clock, widens: Widens | None = None) -> None:
        self._store = store
        self._clock = clock
        self._widens = widens or widens_over
        self._known: dict[tuple[PolicyRevision, PolicyRevision], tuple[str, ...]] = {}

    async def ways(self, previous: PolicyRevision, bundle: Bundle) -> tuple[str, ...]:
        """In which ways a bundle permits more than the one in force; the same pair is asked about once."""
        pair = (previous, bundle.revision)
        if pair not in self._known:
            files = self._store.bundle(previous)
            if files is None:
                return ("the bundle in force was not kept: nothing can be compared with it",)
            self._known[pair] = await asyncio.to_thread(self._widens, files, bundle)
            if len(self._known) > _KEPT:
                self._known.pop(next(iter(self._known)))
        return self._known[pair]

    async def check(self, previous: PolicyRevision | None, bundle: Bundle) -> None:
        """Refuse to put a wider bundle in force that nobody else has approved.

        Raises:
            OperatorError: `bundle_unapproved`.
        """
        if previous is None or previous == bundle.revision or self._store.approved_over(bundle.revision) == previous:
            return
        ways = await self.ways(previous, bundle)
        if ways:
            more = f" (and {len(ways) - 1} more)" if len(ways) > 1 else ""
            raise OperatorError(
                Reason.BUNDLE_UNAPPROVED,
                f"revision {bundle.revision[:19]} permits more than the one in force: {ways[0]}{more}",
                remedy=f"somebody else looks at it: lictor policy approve {bundle.revision[:19]}",
            )

    async def approve(
        self, bundle: Bundle, approvers: Approvers, *, by: HumanId, authors: Collection[HumanId], why: str = ""
    ) -> BundleApproved:
        """Record an operator's yes.

        Args:
            bundle: what is approved, by its content.
            approvers: who may answer, by the bundle *in force*: nobody makes themselves an operator.
            by: who says yes; authenticated.
            authors: who is known to have made the change.

        Raises:
            CallerError: `conflict`: there is nothing to approve; `not_an_approver`: no operator; `approver_is_requester`: an
                author.
        """
        previous = self._store.revision()
        if previous is None or previous == bundle.revision:
            raise CallerError(Reason.CONFLICT, "this bundle is in force already")
        if approvers.operators.isdisjoint(approvers.groups_of.get(by, ())):
            raise CallerError(
                Reason.NOT_AN_APPROVER,
                f"{by!r} is in no group of operators of the bundle in force",
                remedy='say in approvers.toml who may: operators = ["group"]',
            )
        if by in authors:
            raise CallerError(Reason.APPROVER_IS_REQUESTER, f"{by!r} made the change: somebody else has to look at it")
        ways = await self.ways(previous, bundle)
        record = BundleApproved(revision=bundle.revision, previous=previous, by=by, widens=ways, why=why)
        self._store.keep_bundle(bundle.revision, bundle.files)
        await self._store.commit(Batch(at_ms=self._clock.now_ms(), records=(record,)))
        return record


def widens_over(files: Mapping[str, bytes], bundle: Bundle) -> tuple[str, ...]:
    """The comparison with a kept bundle, by the solver where it is installed.

    Raises:
        OperatorError: the kept files do not load any more.
    """
    compare: Compare | None = None
    if importlib.util.find_spec("z3") is not None:
        from lictor.policy.prove.widened import widened  # noqa: PLC0415 - the solver is heavy, and an extra

        compare = widened
    return widening(load_bundle(files, parse_guarded(files)), bundle, compare)
