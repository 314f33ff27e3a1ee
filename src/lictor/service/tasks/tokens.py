"""Task tokens as signed JWTs: minted for a task, recorded, checked at the door, revoked. Refuses to know who may have one.

A token is a name for a task that is looked up at each use: it carries no authority that closing the task would leave alive.
Checks, in this order: signature; whether the sender holds it (DPoP or certificate); then, told to its holder alone, time,
revocation, and the task itself.
"""

import hashlib
from collections import OrderedDict
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Final, Protocol

from lictor.model.errors import CallerError
from lictor.model.identity import Proven
from lictor.model.ids import AgentId
from lictor.model.reasons import Reason
from lictor.model.record import TokenIssued, TokenRevoked
from lictor.model.task import TaskState, TaskStatus
from lictor.ports import Batch, Clock, Ids, RecordStore
from lictor.protocol.jose.algs import ALGS
from lictor.protocol.jose.compact import UnverifiedJws, read_jws
from lictor.protocol.jose.header import check_header
from lictor.protocol.jose.keys import KeySet
from lictor.protocol.jose.signature import check_signature
from lictor.protocol.oauth.claims import MAX_LIFE_S, TYP, TaskToken, claims_of, read_claims
from lictor.service.tasks.possession import Presented, Proofs, check_held

CACHED: Final = 4_096
"""Verified tokens remembered; a signature costs a tenth of a millisecond and more (facts, performance 12.3)."""
MIN_LIFE_MS: Final = 1_000
SKEW_MS: Final = 5_000
"""Another process's clock may be ahead of ours by this when it issues."""
_ALGS: Final = ("ES256",)


class TokenKeys(Protocol):
    """Keys of the token service, shared by the processes of a state folder."""

    def sign(self, claims: dict[str, Any], typ: str) -> str:
        """A compact JWS by the newest key."""
        ...

    def verifying(self, now_ms: int, *, fresh: bool = False) -> KeySet:
        """Keys whose tokens may still live; `fresh`: also those that another process made a moment ago."""
        ...

    def published(self, now_ms: int) -> dict[str, Any]:
        """The JWK set."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Minted:
    """A fresh token; `text` is shown once and kept nowhere."""

    text: str
    expires_at_ms: int
    binding: str


class Tokens:
    """Mints, checks and revokes task tokens."""

    def __init__(
        self,
        *,
        store: RecordStore,
        clock: Clock,
        ids: Ids,
        keys: TokenKeys,
        proofs: Proofs | None,
        issuer: str,
        audience: str,
    ) -> None:
        self._store = store
        self._clock = clock
        self._ids = ids
        self.keys = keys
        self.proofs = proofs
        self.issuer = issuer
        self.audience = audience
        self._verified: OrderedDict[tuple[bytes, str], TaskToken] = OrderedDict()

    async def mint(self, state: TaskState, proven: Proven, proof_digest: str, binding: str) -> Minted:
        """Issue a token for a task, on the record first.

        Args:
            state: an open task of the proved agent.
            proven: who the agent proved to be.
            proof_digest: SHA-256 of what it presented.
            binding: what the token's sender has to hold at each use; empty: a bearer.

        Raises:
            CallerError: `task_closed`, `task_expired`.
            ConflictError: the task was closed meanwhile.
        """
        now, task = self._clock.now_ms(), state.task
        ends = min(task.expires_at_ms, now // 1_000 * 1_000 + MAX_LIFE_S * 1_000)
        self._check_live(state, now)
        if ends - now < MIN_LIFE_MS:
            raise CallerError(Reason.TASK_EXPIRED, "the task is about to expire")
        jti = self._ids.new("tok")
        claims = claims_of(
            task,
            self._chain(state),
            issuer=self.issuer,
            jti=jti,
            now_ms=now,
            expires_at_ms=ends,
            binding=binding,
        )
        record = TokenIssued(
            jti=jti,
            task=task.id,
            agent=task.agent,
            issuer=proven.issuer,
            subject=proven.subject[:300],
            how=proven.how,
            proof=proof_digest,
            expires_at_ms=ends,
            thumbprint=binding,
        )
        text = self.keys.sign(claims, TYP)
        await self._store.commit(Batch(at_ms=now, records=(record,)))
        return Minted(text=text, expires_at_ms=ends, binding=binding)

    def is_ours(self, jws: UnverifiedJws) -> bool:
        """Whether a token says that it is of this service; nothing is believed by it."""
        return jws.claims.get("iss") == self.issuer

    def known(self, text: str) -> TaskToken | None:
        """What a token says that was verified here before, under keys that still verify; None: look at it."""
        key = (_digest(text), self.keys.verifying(self._clock.now_ms()).version)
        found = self._verified.get(key)
        if found is not None:
            self._verified.move_to_end(key)
        return found

    def holder(self, presented: Presented, known: TaskToken | None = None) -> Callable[[], TaskState]:
        """The task of one of our own tokens, for its holder: a function that says it as it is now.

        Args:
            presented: the request.
            known: what `known` has said of its token.

        Raises:
            CallerError: `unauthenticated` for whatever a thief could send, a more exact reason for the holder: `task_closed`,
                `task_expired`.
        """
        token = known or self.verified(presented.token)
        check_held(presented, token.binding, self.proofs, self._clock.now_ms())

        def alive() -> TaskState:
            return self.alive(token)

        return alive

    def verified(self, text: str) -> TaskToken:
        """What a token says, its signature having been checked, now or before under the same keys.

        Raises:
            CallerError: `unauthenticated`, `alg_not_allowed`, `crit_not_understood`, `audience`.
        """
        found = self.known(text)
        if found is not None:
            return found
        jws = read_jws(text)
        alg, kid = check_header(jws.header, algs=_ALGS, types=(TYP,))
        keys = self.keys.verifying(self._clock.now_ms(), fresh=True)
        fitting = keys.find(kid, ALGS[alg.name])
        if fitting is None or kid is None:
            raise CallerError(Reason.UNAUTHENTICATED, "the task token is not known here")
        check_signature(jws, fitting, alg)
        token = read_claims(jws.claims, issuer=self.issuer, audience=self.audience)
        self._verified[_digest(text), keys.version] = token
        while len(self._verified) > CACHED:
            self._verified.popitem(last=False)
        return token

    def alive(self, token: TaskToken) -> TaskState:
        """The task of a verified token, now.

        Raises:
            CallerError: `unauthenticated` (expired, revoked, not its agent's), `task_closed`, `task_expired`.
        """
        now = self._clock.now_ms()
        if not token.times.from_ms - SKEW_MS <= now < token.times.expires_at_ms:
            raise CallerError(Reason.UNAUTHENTICATED, "the token has expired", remedy="exchange for another")
        if self._store.revoked(token.jti):
            raise CallerError(Reason.UNAUTHENTICATED, "the token was revoked")
        state = self._store.task(token.task)
        if state is None or state.task.agent != token.agent or state.task.audience != self.audience:
            raise CallerError(Reason.UNAUTHENTICATED, "the task token is not known here")
        self._check_live(state, now)
        return state

    async def revoke(self, presented: Presented) -> None:
        """Make one token useless, everywhere, until it would have died anyway (RFC 7009). Its task lives on.

        Idempotent. Only its holder can: whoever steals a bound token cannot even do this.

        Raises:
            CallerError: it is no token of ours, or the sender does not hold it.
        """
        token = self.verified(presented.token)
        check_held(presented, token.binding, self.proofs, self._clock.now_ms())
        now = self._clock.now_ms()
        if now >= token.times.expires_at_ms or self._store.revoked(token.jti):
            return
        record = TokenRevoked(
            jti=token.jti, task=token.task, expires_at_ms=token.times.expires_at_ms, by=f"agent:{token.agent}"
        )
        await self._store.commit(Batch(at_ms=now, records=(record,)))

    def _chain(self, state: TaskState) -> Sequence[AgentId]:
        parents = [self._store.task(parent) for parent in state.task.parents]
        if any(parent is None for parent in parents):
            raise CallerError(Reason.DELEGATION, "a link of the chain is not in the store")
        return [state.task.agent, *(parent.task.agent for parent in parents if parent is not None)]

    def _check_live(self, state: TaskState, now_ms: int) -> None:
        """A task, and every task it was handed on from: a child falls with any of them (DELG-09)."""
        for link in (state, *(self._store.task(parent) for parent in state.task.parents)):
            if link is None or link.status is not TaskStatus.OPEN:
                raise CallerError(Reason.TASK_CLOSED, "the task is closed")
            if now_ms >= link.task.expires_at_ms:
                raise CallerError(Reason.TASK_EXPIRED, "the task has expired")


def _digest(text: str) -> bytes:
    return hashlib.sha256(text.encode("ascii", "replace")).digest()
