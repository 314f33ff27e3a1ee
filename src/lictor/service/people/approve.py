"""People's answers to holds. They become facts; whether they suffice is `decide`'s word when the agent comes back.

An answer is bound to what was shown (`seal_of`), given by somebody entitled, and as strong as it was proved for this very
answer. Refuses to know how somebody proved who they are: that is `Proof`.
"""

from dataclasses import dataclass

import msgspec

from lictor.model.approval import Allowance, Approval, Hold, Strength, Terms, seal_ahead, seal_of
from lictor.model.canonical import sha256_digest
from lictor.model.errors import CallerError
from lictor.model.ids import AllowanceId, ApprovalId, HoldId, HumanId, SealDigest, TaskId
from lictor.model.limits import Limits
from lictor.model.reasons import Reason
from lictor.model.record import (
    AllowanceGiven,
    AllowanceRevoked,
    ApprovalGiven,
    ApprovalWithdrawn,
    ApproverEnrolled,
    DenyOverridden,
    FindingOpened,
    HoldDenied,
    Record,
)
from lictor.model.snapshot import Snapshot
from lictor.pdp.approval import may_be_ahead, targets_of
from lictor.pdp.normalise import select
from lictor.ports import Batch, Clock, Ids, RecordStore
from lictor.service.calls.requests import held_request
from lictor.service.policy import PolicyInForce

MOST_AHEAD = 100
"""How many actions one allowance covers at the most."""
LONGEST_AHEAD_MS = 24 * 3_600_000
"""And for how long: a day (DESIGN section 8: "up to 5 of these to this recipient today")."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Proof:
    """How somebody proved who they are, for one answer. Made by whoever checked it; never from what a form says."""

    human: HumanId
    strength: Strength = Strength.SECRET
    passkey: str = ""
    """Id of the passkey that signed."""
    uses: int = 0
    """The passkey's own count of its uses."""
    signed: SealDigest | None = None
    """What it signed; None: nothing was signed for this answer, so it is worth less than a passkey."""


class Answer:
    """Approve, deny, withdraw, and approve ahead, as an authenticated approver."""

    def __init__(self, *, store: RecordStore, policy: PolicyInForce, clock: Clock, ids: Ids, limits: Limits) -> None:
        self._store = store
        self._policy = policy
        self._clock = clock
        self._ids = ids
        self._limits = limits

    # -- who answers -----------------------------------------------------------------------------------------------------

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
        # A passkey is a way in like a secret: where somebody has one, nothing is free any more.
        if vouched_by is None and any(self._store.enrolled(one) or self._store.passkeys(one) for one in groups_of):
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
        await self._record(ApproverEnrolled(human=human, secret=secret_digest(secret), by=by))
        return secret

    # -- answers ---------------------------------------------------------------------------------------------------------

    async def approve(self, hold_id: HoldId, proof: Proof, seen: SealDigest, note: str = "") -> Hold:
        """Say yes to exactly what was shown: the action, what would become of it, and the decision that asks.

        Returns:
            The hold after it: still pending while more people have to say yes.

        Raises:
            CallerError: unknown hold; something else was shown; the person may not answer it, or proved too little.
            ConflictError: answered already, or expired.
        """
        hold = self._hold(hold_id)
        answer = ApprovalGiven(approval=self._approval(hold, proof, seen, seal_of(hold)), note=note)
        if hold.override:
            await self._record(answer, *self._overriding(hold, proof.human, note))
        else:
            await self._record(answer)
        return self._hold(hold_id)

    async def deny(self, hold_id: HoldId, human: HumanId, note: str = "") -> None:
        """Say no. The action stays denied for the rest of the task; an approval not yet used can be taken back so.

        Raises:
            CallerError: unknown hold, or the person is no approver.
            ConflictError: used, denied or expired already.
        """
        hold = self._hold(hold_id)
        self._check_approver(human)
        await self._record(HoldDenied(hold=hold.id, by=human, note=note))

    async def withdraw(self, hold_id: HoldId, human: HumanId, note: str = "") -> None:
        """Take back one's own yes, until it is used. The hold waits for people again.

        Raises:
            CallerError: unknown hold, or the person is no approver.
            ConflictError: the person has not approved it, or it is used, denied or expired.
        """
        hold = self._hold(hold_id)
        self._check_approver(human)
        await self._record(ApprovalWithdrawn(hold=hold.id, by=human, note=note))

    async def allow_ahead(
        self,
        hold_id: HoldId,
        proof: Proof,
        seen: SealDigest,
        terms: Terms,
        note: str = "",
    ) -> Allowance:
        """Approve a hold, and a bounded number of the like of it.

        Args:
            proof: a passkey has to have signed these terms (`seal_ahead`): whoever only has somebody's open page raises none.
            terms: 1 to `MOST_AHEAD` more, for a day at the most.

        Raises:
            CallerError: as `approve`; or it can be approved one by one only, or has no sensible limits.
            ConflictError: answered already, expired, or other people have to approve as well.
        """
        hold = self._hold(hold_id)
        approval = self._approval(hold, proof, seen, seal_ahead(hold, terms))
        now = approval.given_at_ms
        if not 1 <= terms.most <= MOST_AHEAD or not now < terms.until_ms <= now + LONGEST_AHEAD_MS:
            raise CallerError(
                Reason.INVALID_ARGUMENTS, f"an allowance is for 1 to {MOST_AHEAD} actions and ends within a day"
            )
        need = hold.way_met((*hold.given, approval))
        if need is None:
            raise CallerError(Reason.CONFLICT, "more people have to approve it: who answers last can approve ahead")
        # They were asked as these groups, and as no other they may be in.
        bound = msgspec.structs.replace(approval, met=need.groups)
        allowance = self._allowance(hold, bound, terms)
        await self._record(ApprovalGiven(approval=approval, note=note), AllowanceGiven(allowance=allowance, note=note))
        return allowance

    async def revoke_allowance(self, allowance_id: AllowanceId, human: HumanId, note: str = "") -> None:
        """End an allowance. Any approver may: it only tightens.

        Raises:
            CallerError: unknown allowance, or the person is no approver.
            ConflictError: revoked already.
        """
        if self._store.allowance(allowance_id) is None:
            raise CallerError(Reason.UNKNOWN_APPROVAL, f"there is no allowance {allowance_id[:64]!r}")
        self._check_approver(human)
        await self._record(AllowanceRevoked(allowance=allowance_id, by=human, note=note))

    def _overriding(self, hold: Hold, human: HumanId, why: str) -> tuple[Record, ...]:
        """What is said of an override, beside the answer itself."""
        if not why.strip():
            raise CallerError(Reason.INVALID_ARGUMENTS, "an override needs a reason")
        return (
            DenyOverridden(hold=hold.id, request=hold.request, decision=hold.decision, by=human, why=why),
            FindingOpened(finding=self._ids.new("fnd"), signal=f"override:{hold.id}", task=hold.task),
        )

    def _approval(self, hold: Hold, proof: Proof, seen: SealDigest, wanted: SealDigest) -> Approval:
        """`wanted`: what a passkey has to have signed."""
        if seen != seal_of(hold):
            raise CallerError(Reason.ACTION_HASH_MISMATCH, "what was shown is not what is held")
        if (proof.passkey or proof.strength >= Strength.PASSKEY) and proof.signed != wanted:
            raise CallerError(
                Reason.PASSKEY_CHALLENGE, "the passkey signed something else", remedy="open the hold again"
            )
        groups = self._entitled(hold, proof)
        now = self._clock.now_ms()
        return Approval(
            id=ApprovalId(self._ids.new("apr")),
            hold=hold.id,
            digest=hold.digest,
            approver=proof.human,
            groups=groups,
            given_at_ms=now,
            expires_at_ms=now + int(self._limits.approval_ttl_s * 1_000),
            strength=proof.strength,
            seal=seen,
            passkey=proof.passkey,
            uses=proof.uses,
            override=hold.override,
        )

    def _allowance(self, hold: Hold, approval: Approval, terms: Terms) -> Allowance:
        pdp, request = self._policy.current(), held_request(self._store, hold)
        offering = pdp.offering(hold.kind, hold.server, hold.name)
        if offering is None or not may_be_ahead(offering.entry) or hold.override:
            raise CallerError(Reason.NOT_PERMITTED, "this can be approved one by one only")
        payload = self._store.payload(hold.request)
        resolved = Snapshot.decode(payload.snapshot).resolved if payload is not None else {}
        selected = select(offering.entry, request.arguments.open(), pdp.directory, resolved)
        value, targets = selected.value, targets_of(selected)
        if (terms.most_value > 0) is not (value is not None and value.amount > 0):
            raise CallerError(
                Reason.INVALID_ARGUMENTS, "an allowance for what moves value says how much of it, others not"
            )
        return Allowance(
            id=AllowanceId(self._ids.new("alw")),
            hold=hold.id,
            agent=hold.agent,
            human=hold.human,
            kind=hold.kind,
            server=hold.server,
            name=hold.name,
            targets=targets,
            arguments="" if targets else str(request.arguments.digest),
            task=hold.task if terms.this_task else TaskId(""),
            most=terms.most,
            currency=value.currency if value is not None else "",
            most_value=terms.most_value,
            until_ms=terms.until_ms,
            approval=approval,
        )

    def _hold(self, hold_id: HoldId) -> Hold:
        hold = self._store.hold(hold_id)
        if hold is None:
            raise CallerError(
                Reason.UNKNOWN_APPROVAL, f"there is no hold {hold_id[:64]!r}", remedy="see: lictor pending"
            )
        return hold

    def _check_approver(self, human: HumanId) -> None:
        if human not in self._policy.current().approvers.groups_of:
            raise CallerError(Reason.NOT_AN_APPROVER, f"{human!r} is no approver")

    def _entitled(self, hold: Hold, proof: Proof) -> tuple[str, ...]:
        pdp = self._policy.current()
        groups = pdp.approvers.groups_of.get(proof.human, ())
        ways = [way for way in hold.ways if set(way.groups).intersection(groups)]
        if not ways:
            wanted = " or ".join("+".join(way.groups) for way in hold.ways)
            raise CallerError(Reason.NOT_AN_APPROVER, f"{proof.human!r} is not in {wanted}")
        if all(way.strength > proof.strength for way in ways):
            needed = Strength(min(way.strength for way in ways)).name.lower()
            raise CallerError(
                Reason.APPROVAL_TOO_WEAK,
                f"this needs a {needed}",
                remedy="answer in the console, and add a passkey there under Account if you have none",
            )
        agent = pdp.agents.get(hold.agent)
        owner = agent.owner if agent is not None else ""
        if not pdp.approvers.may_answer(proof.human, requester=hold.human, owner=owner):
            rule = "four_eyes is set" if proof.human == hold.human else "owners is false"
            raise CallerError(Reason.APPROVER_IS_REQUESTER, f"somebody else has to approve: {rule} in approvers.toml")
        return tuple(sorted(groups))

    async def _record(self, *records: Record) -> None:
        await self._store.commit(Batch(at_ms=self._clock.now_ms(), records=records))


def secret_digest(secret: str) -> str:
    """SHA-256 of a secret with 120 random bits or more; no stretching is needed at that entropy (NIST SP 800-63B 5.1.2)."""
    return sha256_digest(secret.encode("utf-8", "surrogatepass"))
