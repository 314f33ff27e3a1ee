"""A person's answer to a hold. It becomes a fact; whether it suffices is `decide`'s word when the agent comes back."""

from lictor.model.approval import Approval, Hold
from lictor.model.canonical import sha256_digest
from lictor.model.errors import CallerError
from lictor.model.ids import ActionDigest, ApprovalId, HoldId, HumanId
from lictor.model.limits import Limits
from lictor.model.reasons import Reason
from lictor.model.record import ApprovalGiven, ApproverEnrolled, HoldDenied
from lictor.ports import Batch, Clock, Ids, RecordStore
from lictor.service.policy import PolicyInForce


class Answer:
    """Approve and deny holds, as an authenticated approver."""

    def __init__(self, *, store: RecordStore, policy: PolicyInForce, clock: Clock, ids: Ids, limits: Limits) -> None:
        self._store = store
        self._policy = policy
        self._clock = clock
        self._ids = ids
        self._limits = limits

    def authenticate(self, secret: str) -> HumanId:
        """Who holds this approver secret.

        Raises:
            CallerError: `unauthenticated`: nobody does, or that person is no approver any more.
        """
        human = self._store.approver_by_secret(secret_digest(secret))
        if human is None or human not in self._policy.current().approvers.groups_of:
            raise CallerError(
                Reason.UNAUTHENTICATED,
                "this approver secret is not known",
                remedy="enrol with: lictor approver enrol HUMAN",
            )
        return human

    async def enrol(self, human: HumanId, by: str, *, vouched_by: HumanId | None = None) -> str:
        """Give an approver of the bundle a fresh secret; the old one stops working. Returns the secret, shown once.

        Only the very first enrolment is free. Later ones need an approver who authenticated: an agent that can start our
        command line must not be able to make itself an approver (ADR 0008).

        Raises:
            CallerError: not in the bundle, or nobody vouches.
        """
        groups_of = self._policy.current().approvers.groups_of
        if vouched_by is None and any(self._store.enrolled(person) for person in groups_of):
            raise CallerError(
                Reason.UNAUTHENTICATED,
                "somebody is enrolled already, so an enrolled approver has to vouch",
                remedy="run it in a terminal, or set LICTOR_APPROVER_SECRET to an enrolled approver's secret",
            )
        if human not in groups_of:
            raise CallerError(
                Reason.NOT_AN_APPROVER,
                f"{human!r} is not in approvers.toml",
                remedy="add the person to approvers.toml first",
            )
        secret = self._ids.new("las")
        record = ApproverEnrolled(human=human, secret=secret_digest(secret), by=by)
        await self._store.commit(Batch(at_ms=self._clock.now_ms(), records=(record,)))
        return secret

    async def approve(self, hold_id: HoldId, approver: HumanId, seen: ActionDigest, note: str = "") -> Approval:
        """Say yes to exactly the action whose digest was shown.

        Raises:
            CallerError: unknown hold; the digest shown is another; the approver is the requester, or in no sufficient group.
            ConflictError: answered already, or expired.
        """
        hold = self._hold(hold_id)
        if seen != hold.digest:
            raise CallerError(Reason.ACTION_HASH_MISMATCH, "what was shown is not what is held")
        groups = self._entitled(hold, approver)
        now = self._clock.now_ms()
        approval = Approval(
            id=ApprovalId(self._ids.new("apr")),
            hold=hold.id,
            digest=hold.digest,
            approver=approver,
            groups=groups,
            given_at_ms=now,
            expires_at_ms=now + int(self._limits.approval_ttl_s * 1_000),
        )
        await self._store.commit(Batch(at_ms=now, records=(ApprovalGiven(approval=approval, note=note),)))
        return approval

    async def deny(self, hold_id: HoldId, approver: HumanId, note: str = "") -> None:
        """Say no. The action stays denied for the rest of the task; an approval not yet used can be taken back so.

        Raises:
            CallerError: unknown hold, or the person is no approver.
            ConflictError: used, denied or expired already.
        """
        hold = self._hold(hold_id)
        if approver not in self._policy.current().approvers.groups_of:
            raise CallerError(Reason.NOT_AN_APPROVER, f"{approver!r} is no approver")
        record = HoldDenied(hold=hold.id, by=approver, note=note)
        await self._store.commit(Batch(at_ms=self._clock.now_ms(), records=(record,)))

    def _hold(self, hold_id: HoldId) -> Hold:
        hold = self._store.hold(hold_id)
        if hold is None:
            raise CallerError(
                Reason.UNKNOWN_APPROVAL, f"there is no hold {hold_id[:64]!r}", remedy="see: lictor pending"
            )
        return hold

    def _entitled(self, hold: Hold, approver: HumanId) -> tuple[str, ...]:
        approvers = self._policy.current().approvers
        groups = approvers.groups_of.get(approver, ())
        if not any(set(needed).issubset(groups) for needed in hold.groups):
            wanted = " or ".join("+".join(needed) for needed in hold.groups)
            raise CallerError(Reason.NOT_AN_APPROVER, f"{approver!r} is not in {wanted}")
        if approvers.four_eyes and approver == hold.human:
            raise CallerError(
                Reason.APPROVER_IS_REQUESTER, "somebody else has to approve: four_eyes is set in approvers.toml"
            )
        return tuple(sorted(groups))


def secret_digest(secret: str) -> str:
    """SHA-256 of a secret with 120 random bits or more; no stretching is needed at that entropy (NIST SP 800-63B 5.1.2)."""
    return sha256_digest(secret.encode("utf-8", "surrogatepass"))
