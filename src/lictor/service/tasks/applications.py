"""Applications: an enrolled secret, and whether one is in good standing. What it may open is policy's word.

A secret is kept as its digest, under a key of its own kind: an approver's secret is never an application's (OWASP NHI).
"""

from lictor.model.application import Application
from lictor.model.errors import CallerError
from lictor.model.ids import HumanId
from lictor.model.reasons import Reason
from lictor.model.record import ApplicationEnrolled
from lictor.ports import Batch, Clock, Ids, RecordStore
from lictor.service.people.approve import secret_digest
from lictor.service.policy import PolicyInForce


class Applications:
    """Enrol and authenticate applications of the bundle."""

    def __init__(self, *, store: RecordStore, policy: PolicyInForce, clock: Clock, ids: Ids) -> None:
        self._store = store
        self._policy = policy
        self._clock = clock
        self._ids = ids

    async def enrol(self, name: str, by: str, *, vouched_by: HumanId | None = None) -> str:
        """Give an application a fresh secret; the old one stops working. Returns the secret, shown once.

        As soon as an approver is enrolled, one has to vouch (of `operators`, where the bundle names any): an agent that can
        start our command line must not be able to make itself an application (ADR 0008).

        Raises:
            CallerError: `unauthenticated`: it is not in the bundle, past its review date, or nobody vouches;
                `not_an_approver`: who vouches is no operator.
        """
        self.standing(name)
        self._check_vouched(vouched_by)
        secret = self._ids.new("lap")
        record = ApplicationEnrolled(application=name, secret=secret_digest(secret), by=by)
        await self._store.commit(Batch(at_ms=self._clock.now_ms(), records=(record,)))
        return secret

    def _check_vouched(self, person: HumanId | None) -> None:
        approvers = self._policy.current().approvers
        if person is None:
            if any(self._store.enrolled(human) for human in approvers.groups_of):
                raise CallerError(
                    Reason.UNAUTHENTICATED,
                    "an enrolled approver has to vouch for an application",
                    remedy="run it in a terminal, or set LICTOR_APPROVER_SECRET",
                )
        elif approvers.operators and approvers.operators.isdisjoint(approvers.groups_of.get(person, ())):
            raise CallerError(Reason.NOT_AN_APPROVER, f"{person[:80]!r} is in no group of `operators`")

    def authenticate(self, secret: str) -> str:
        """Whose secret this is. Its standing is asked for separately.

        Raises:
            CallerError: `unauthenticated`.
        """
        name = self._store.application_by_secret(secret_digest(secret))
        if name is None:
            raise CallerError(
                Reason.UNAUTHENTICATED,
                "this application secret is not known",
                remedy="enrol with: lictor application enrol NAME",
            )
        return name

    def standing(self, name: str) -> Application:
        """An application that may act now.

        Raises:
            CallerError: `unauthenticated`: it is not in the bundle (any more), or past its review date.
        """
        found = self._policy.current().applications.get(name)
        if found is None:
            raise CallerError(
                Reason.UNAUTHENTICATED,
                f"application {name[:80]!r} is not in the bundle",
                remedy="add it to applications.toml",
            )
        if self._clock.now_ms() >= found.review_by_ms:
            raise CallerError(
                Reason.UNAUTHENTICATED,
                f"application {name[:80]!r} is past its review date",
                remedy="review it, then move review_by in applications.toml",
            )
        return found
