"""The token service: proof of a workload in, task token out (RFC 8693). It never makes authority that is not there already.

Three ways, each ending in a task and a token for exactly the agent that proved itself:

* **bind**: an agent names a task that somebody opened for it, and gets a token for that task;
* **open**: a person or an application, with a credential of its own, asks for a task for an agent that is there too; opening it
  is a decided, recorded action (`opening`). The subject's token has to name the agent (`may_act`, RFC 8693 4.4, or its audience):
  two tokens that do not belong together never meet (case DELG-05);
* **delegate**: whoever holds a task's token passes a part of it to an agent that is there too (`delegate`). The agent proves
  itself as a workload, never by a task token: what its own task has seen could otherwise be left behind.

Each sender has a pace (`pace`), and whoever proved themselves and is refused all the same is written down.

What is wrong with a request is found before anything is opened. An agent that brings somebody's token vouches for nothing in
their name: the token was handed to it, and what the request says besides is the agent's own word, as evidence no better than a
result (`Wish.vouched`).

Numbers in the code are the steps of `Exchange.__call__`.
"""

from collections.abc import Awaitable, Callable, Collection
from dataclasses import dataclass, field
from typing import Final, Protocol, TypeVar

from lictor.model.errors import CallerError, ConflictError
from lictor.model.identity import Opener, Proven
from lictor.model.ids import AgentId, HumanId, TaskId
from lictor.model.limits import Limits
from lictor.model.reasons import Reason
from lictor.model.record import PartyRefused
from lictor.model.secret import Secret
from lictor.model.task import Budget, Task, TaskState
from lictor.pdp.decide import Pdp
from lictor.pdp.proof import matches, whose
from lictor.ports import Batch, Clock, RecordStore
from lictor.protocol.jose.compact import read_jws
from lictor.protocol.oauth.details import TYPE, Existing, NewTask, task_of_claims
from lictor.protocol.oauth.errors import OAuthError, refuse
from lictor.protocol.oauth.request import TokenRequest
from lictor.service.calls.pace import Pace
from lictor.service.policy import PolicyInForce
from lictor.service.tasks.delegate import Delegate
from lictor.service.tasks.opening import Open
from lictor.service.tasks.possession import Presented, Proofs
from lictor.service.tasks.prospect import OpeningRefusedError
from lictor.service.tasks.tasks import Tasks, Wish
from lictor.service.tasks.tokens import Minted, Tokens

TASK_TOKEN: Final = "lt_"  # noqa: S105 - a prefix
_MAX_BY: Final = 300
SECRETS: Final = ("las_", "lap_")
"""Enrolled secrets of people and applications."""


Got = TypeVar("Got")

KeepSubject = Callable[[Task, Secret, int], Awaitable[None]]
"""(task, the token by which a person opened it, when that expires) -> kept, where a provider acts on behalf of people. Raises
StoreError: it cannot be kept; nobody gets a token for the task then."""


class Front(Protocol):
    """Proves workloads and people by tokens and certificates."""

    async def identify(
        self,
        *,
        authorization: str | None,
        dpop: str | None = None,
        method: str,
        url: str,
        chain: tuple[bytes, ...] = (),
        audience: str = "",
    ) -> Proven:
        """Who sends a request. Raises CallerError."""
        ...

    async def prove(
        self,
        token: str,
        *,
        dpop: str | None = None,
        method: str,
        url: str,
        chain: tuple[bytes, ...] = (),
        audience: str = "",
    ) -> Proven:
        """Whose token this is. Raises CallerError."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Sent:
    """The request around a form: what a proof of possession is held against."""

    method: str
    url: str
    proof: str | None = None
    chain: tuple[bytes, ...] = ()
    parties: list[str] = field(default_factory=list)
    """Who has proved themselves by it so far: kept for the record of a refusal, and read for nothing else."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Issued:
    """A token and the task it is for."""

    token: Minted
    task: Task


@dataclass(frozen=True, slots=True, kw_only=True)
class Openers:
    """Who may stand behind a task."""

    by_secret: Callable[[str], Opener]
    """Of an enrolled secret. Raises CallerError."""
    person: Callable[[HumanId], Opener]
    application: Callable[[str], Opener]
    """With its standing checked. Raises CallerError."""
    people: Collection[str]
    """Names of issuers whose tokens may stand for a person."""
    human_of: Callable[[Proven], HumanId]
    """The person of a proof by one of them. Raises CallerError."""


class Exchange:
    """See the module."""

    def __init__(
        self,
        *,
        store: RecordStore,
        policy: PolicyInForce,
        clock: Clock,
        limits: Limits,
        tasks: Tasks,
        tokens: Tokens,
        delegate: Delegate,
        front: Front | None,
        open_task: Open | None,
        openers: Openers,
        default_ttl_s: int,
        check: Callable[[], None] = lambda: None,
        keep_subject: KeepSubject | None = None,
    ) -> None:
        """`check`: raises StoreError while the newest state or the time is not known: no authority is given then.

        `keep_subject`: keeps the tokens by which people open tasks, where a provider acts on behalf of them.
        """
        self._keep_subject = keep_subject
        self.pace = Pace()
        self._notes_of_one, self._notes = Pace(burst=10, per_s=0.1), Pace(burst=100, per_s=1.0)
        self._check = check
        self._store = store
        self._policy = policy
        self._clock = clock
        self._limits = limits
        self._tasks = tasks
        self._tokens = tokens
        self._delegate = delegate
        self._front = front
        self._open_task = open_task
        self._openers = openers
        self._default_ttl_s = default_ttl_s

    async def __call__(self, request: TokenRequest, sent: Sent) -> Issued:
        """Issue a token, or refuse.

        Raises:
            OAuthError: what is wrong with the request.
            CallerError: policy, a life cycle or a limit says no.
            StoreError: it cannot be recorded, or the newest state is not known.
        """
        try:
            self._check()
            return await self._answer(request, sent)
        except (CallerError, ConflictError) as error:
            await self._note(request, sent, error)
            raise

    async def _note(self, request: TokenRequest, sent: Sent, error: CallerError | ConflictError) -> None:
        """Write down who was refused. Nobody who is nobody, nothing twice, and nothing that is too much already."""
        if not sent.parties or isinstance(error, OpeningRefusedError) or error.reason is Reason.OVERLOADED:
            return
        try:
            self._paced_notes(sent.parties[0])
        except CallerError:
            return  # enough of it is on record: anybody's issuer may have issued the token, and the log is not theirs to fill
        task = request.wanted.task if isinstance(request.wanted, Existing) else ""
        record = PartyRefused(by=sent.parties[0][:_MAX_BY], where="token", reason=error.reason.value, task=task)
        await self._store.commit(Batch(at_ms=self._clock.now_ms(), records=(record,)))

    def _paced_notes(self, by: str) -> None:
        now = self._clock.now_ms()
        self._notes_of_one.take(by, now)
        self._notes.take("", now)

    def _paced(self, name: str) -> None:
        self.pace.take(name, self._clock.now_ms())

    async def _answer(self, request: TokenRequest, sent: Sent) -> Issued:
        # (1) whose authority is asked for: read before anything is spent
        if request.grant == "client":
            proven = await self._client(request, sent)
            return await self._bind(request, sent, proven, bound=False)
        if request.subject.startswith(TASK_TOKEN) or self._is_ours(request.subject):
            return await self._pass_on(request, sent)
        if request.subject.startswith(SECRETS):
            opener = _grant(lambda: self._openers.by_secret(request.subject))
            sent.parties.append(f"{opener.kind}:{opener.name}")
            return await self._open(request, sent, opener, None)
        subject = await self._prove(request.subject, sent)
        match self.party(subject):
            case Opener() as opener:
                return await self._open(request, sent, opener, subject)
            case _:
                if request.actor:
                    refuse("invalid_request", "an agent acts for nobody here but itself: leave out actor_token")
                return await self._bind(request, sent, subject, bound=True)

    # -- bind ------------------------------------------------------------------------------------------------------------

    async def _bind(self, request: TokenRequest, sent: Sent, proven: Proven, *, bound: bool) -> Issued:
        if bound and request.assertion:
            client = await self._client(request, sent)
            if self.agent(client) != self.agent(proven):
                refuse("invalid_client", "the client assertion and the subject token prove two agents")
        # (2) who asks: the one agent whose proofs hold
        agent = self.agent(proven)
        self._paced(f"agent:{agent}")
        wanted = request.wanted or _signed(proven)
        if not isinstance(wanted, Existing):
            refuse(
                "unauthorized_client",
                "an agent opens no task: a person or an application does",
                reason=Reason.FORBIDDEN,
                remedy="send their token as subject_token and yours as actor_token",
            )
        # (3) the task, opened for exactly this agent; another's is not told from none
        state = self._store.task(TaskId(wanted.task))
        if state is None or state.task.agent != agent or state.task.audience != self._tokens.audience:
            refuse("invalid_grant", "there is no such task for this agent", reason=Reason.UNKNOWN_TASK)
        return await self._issue(state, proven, self._binding(proven, sent))

    # -- open ------------------------------------------------------------------------------------------------------------

    async def _open(self, request: TokenRequest, sent: Sent, opener: Opener, subject: Proven | None) -> Issued:
        wish = request.wanted
        if not isinstance(wish, NewTask):
            refuse("invalid_request", "the task is open: its agent alone asks for a token", reason=Reason.FORBIDDEN)
        self._paced(f"{opener.kind}:{opener.name}")
        # (2) the agent is there too, and the subject's token is meant for it
        actor = await self._actor(request, sent)
        agent = self.agent(actor)
        if subject is not None and not names(subject, actor, agent):
            refuse(
                "invalid_request",
                "the subject token does not name this agent",
                reason=Reason.DELEGATION,
                remedy="it needs may_act.sub, or the agent in its audience",
            )
        if subject is not None and wish.declared:
            refuse(
                "invalid_authorization_details",
                "a token that was handed to an agent vouches for no values",
                reason=Reason.FORBIDDEN,
                remedy="whoever vouches for them opens the task: POST /v1/tasks",
            )
        if self._open_task is None:
            raise CallerError(Reason.FORBIDDEN, "no task is opened here")
        binding = self._binding(actor, sent, shown=subject.thumbprint if subject is not None else "")
        # (3) decided and recorded
        opened = await self._open_task(
            opener,
            Wish(
                agent=agent,
                human=_human(opener, wish),
                purpose=wish.purpose,
                text=wish.text,
                ttl_s=wish.ttl_s or self._default_ttl_s,
                budget=_budget(wish),
                declared=dict(wish.declared),
                bearer=False,
                vouched=subject is None,
            ),
            audience=self._tokens.audience,
        )
        if subject is not None and opener.kind == "person" and self._keep_subject is not None:
            await self._keep_subject(opened.task, Secret(request.subject), subject.expires_at_ms)
        return await self._issue(self._state(opened.task.id), actor, binding)

    # -- delegate --------------------------------------------------------------------------------------------------------

    async def _pass_on(self, request: TokenRequest, sent: Sent) -> Issued:
        wish = request.wanted
        if not isinstance(wish, NewTask):
            refuse(
                "invalid_request",
                "a task's token proves no agent: send the agent's own proof",
                reason=Reason.DELEGATION,
            )
        if not (request.actor or request.assertion):
            refuse("invalid_request", "a task's token does not renew itself: send the agent's own proof")
        if wish.purpose or wish.human or wish.declared:
            refuse(
                "invalid_authorization_details",
                "a child task has its parent's purpose and person, and declares nothing",
            )
        # (2) the subject's task, for whoever holds its token; and the agent, proved as a workload
        parent, shown = self._parent(request.subject, sent)
        sent.parties.append(f"agent:{parent.task.agent}")
        self._paced(sent.parties[0])
        actor = await self._actor(request, sent)
        agent = self.agent(actor)
        binding = self._binding(actor, sent, shown=shown)
        # (3) less than the parent in every dimension, or refused
        left_s = (parent.task.expires_at_ms - self._clock.now_ms()) // 1_000
        opened = await self._delegate(
            parent.task.id,
            agent=agent,
            ttl_s=wish.ttl_s or max(1, min(left_s, self._default_ttl_s)),
            budget=_budget(wish, left=parent.task.budget.calls - parent.calls_used),
            by=f"agent:{parent.task.agent}",
            text=wish.text,
        )
        return await self._issue(self._state(opened.task.id), actor, binding)

    def _parent(self, token: str, sent: Sent) -> tuple[TaskState, str]:
        """The task of a token, for its holder, and what the token is bound to."""
        presented = Presented(
            scheme="body", token=token, method=sent.method, url=sent.url, proof=sent.proof, chain=sent.chain
        )
        if token.startswith(TASK_TOKEN):
            return _grant(lambda: self._tasks.authenticate(token, self._tokens.audience)), ""
        return _grant(lambda: self._held(presented))

    def _held(self, presented: Presented) -> tuple[TaskState, str]:
        state = self._tokens.holder(presented)()
        return state, self._tokens.verified(presented.token).binding

    # -- steps -----------------------------------------------------------------------------------------------------------

    def _is_ours(self, token: str) -> bool:
        try:
            return self._tokens.is_ours(read_jws(token))
        except CallerError:
            refuse("invalid_request", "the subject token cannot be read", reason=Reason.UNAUTHENTICATED)

    async def _prove(self, token: str, sent: Sent) -> Proven:
        """Whose token it is. Its own word chooses between our two names, and is then checked like any other."""
        if self._front is None:
            refuse("invalid_request", "no issuer is configured", reason=Reason.UNAUTHENTICATED)
        if token.startswith(TASK_TOKEN) or self._is_ours(token):
            refuse("invalid_request", "a task's token proves no agent", reason=Reason.DELEGATION)
        audience = read_jws(token).claims.get("aud")
        named = audience if isinstance(audience, list) else [audience]
        meant = next((one for one in (self._tokens.audience, self._tokens.issuer, sent.url) if one in named), "")
        try:
            proven = await self._front.prove(
                token, dpop=sent.proof, method=sent.method, url=sent.url, chain=sent.chain, audience=meant
            )
        except CallerError as error:
            raise OAuthError("invalid_request", error.message, reason=error.reason, remedy=error.remedy) from None
        sent.parties.append(f"{proven.issuer}:{proven.subject}")
        return proven

    async def _client(self, request: TokenRequest, sent: Sent) -> Proven:
        """The client of the request by its assertion, or by the certificate of its connection."""
        try:
            if request.assertion:
                return await self._prove(request.assertion, sent)
            if self._front is None:
                refuse("invalid_client", "no issuer is configured")
            proven = await self._front.identify(
                authorization=None, method=sent.method, url=sent.url, chain=sent.chain, dpop=None
            )
            sent.parties.append(f"{proven.issuer}:{proven.subject}")
            return proven
        except CallerError as error:
            raise OAuthError("invalid_client", error.message, reason=error.reason, remedy=error.remedy) from None

    async def _actor(self, request: TokenRequest, sent: Sent) -> Proven:
        if request.actor:
            return await self._prove(request.actor, sent)
        return await self._client(request, sent)

    def agent(self, proven: Proven) -> AgentId:
        """The agent that somebody proved to be.

        Raises:
            OAuthError: nobody's, or more than one's.
        """
        pdp = self._policy.current()
        try:
            return whose(proven, pdp.proofs.items())
        except CallerError as error:
            raise OAuthError("invalid_request", error.message, reason=error.reason, remedy=error.remedy) from None

    def party(self, proven: Proven) -> Opener | None:
        """The application or person that somebody proved to be; None: an agent, if anybody.

        Raises:
            OAuthError: an identity that is an agent's and somebody else's too.
        """
        pdp = self._policy.current()
        agents = any(matches(proof, proven) for proofs in pdp.proofs.values() for proof in proofs)
        applications = _applications(pdp, proven)
        if applications:
            if agents or len(applications) > 1:
                refuse("invalid_request", "the identity proves more than one", reason=Reason.UNAUTHENTICATED)
            return _grant(lambda: self._openers.application(applications[0]))
        if agents or proven.issuer not in self._openers.people:
            return None
        return _grant(lambda: self._openers.person(self._openers.human_of(proven)))

    def _state(self, task: TaskId) -> TaskState:
        state = self._store.task(task)
        if state is None:
            raise CallerError(Reason.UNKNOWN_TASK, "the task is not in the store")
        return state

    def _binding(self, proven: Proven, sent: Sent, shown: str = "") -> str:
        """What a token is bound to: what its agent's proof is bound to; else what the sender has shown to hold for the subject.

        Asked before anything is opened. A bound token never leads to one that is not (RFC 9449 5).

        Raises:
            OAuthError: `invalid_dpop_proof`.
        """
        binding = proven.thumbprint or shown
        if not binding and sent.proof is not None:
            binding = self._key_of(sent, self._tokens.proofs)
        return binding

    async def _issue(self, state: TaskState, proven: Proven, binding: str) -> Issued:
        # (4) on the record, then signed
        token = await self._tokens.mint(state, proven, proven.token_digest, binding)
        return Issued(token=token, task=state.task)

    def _key_of(self, sent: Sent, proofs: Proofs | None) -> str:
        """The key of a proof that came beside tokens bound to none: the new token is bound to it (RFC 9449 5)."""
        if proofs is None or sent.proof is None:
            refuse("invalid_dpop_proof", "proofs of possession cannot be checked here")
        now = self._clock.now_ms()
        try:
            proof = proofs.read(sent.proof, method=sent.method, url=sent.url, token="", now_ms=now)
            proofs.spend(proof, now_ms=now)
        except CallerError as error:
            raise OAuthError("invalid_dpop_proof", error.message, reason=error.reason) from None
        return f"jkt:{proof.thumbprint}"


def names(subject: Proven, actor: Proven, agent: AgentId) -> bool:
    """Whether a subject's token is meant to be used by this agent (RFC 8693 4.4; case DELG-05).

    `may_act` is the last word where it is there. Otherwise the token's audience has to hold the agent; or the token was issued to
    it (`azp`, `client_id`) by the issuer that also vouches for it. An agent goes by its id here, or, in its own issuer's tokens,
    by the subject it has there: equal subjects of two issuers are two workloads.
    """
    same_issuer = subject.issuer == actor.issuer
    if "may_act" in subject.claims:
        return _may_act(subject.claims["may_act"], actor, agent, same_issuer=same_issuer)
    audience = subject.claims.get("aud")
    audiences = audience if isinstance(audience, list) else [audience]
    if agent in audiences or (same_issuer and actor.subject in audiences):
        return True
    clients = [subject.claims[name] for name in ("azp", "client_id") if name in subject.claims]
    own = [actor.subject, *(actor.claims[name] for name in ("azp", "client_id") if name in actor.claims)]
    known = {one for one in own if isinstance(one, str) and one}
    return same_issuer and bool(clients) and all(isinstance(client, str) and client in known for client in clients)


def _may_act(stated: object, actor: Proven, agent: AgentId, *, same_issuer: bool) -> bool:
    if not isinstance(stated, dict) or not stated.keys() <= {"sub", "iss"}:
        return False  # a condition that is not understood is one that does not hold
    if "iss" in stated:
        return stated["iss"] == actor.claims.get("iss") and stated.get("sub") == actor.subject
    return stated.get("sub") == agent or (same_issuer and stated.get("sub") == actor.subject)


def _signed(proven: Proven) -> Existing:
    """The task that the agent's own proof names: its signature says it as well as the form would."""
    task = task_of_claims(proven.claims)
    if task is None:
        refuse("invalid_authorization_details", f"say which task: authorization_details of type {TYPE!r}")
    return Existing(task)


def _applications(pdp: Pdp, proven: Proven) -> list[str]:
    return [
        name
        for name, application in pdp.applications.items()
        if any(matches(proof, proven) for proof in application.proofs)
    ]


def _human(opener: Opener, wish: NewTask) -> HumanId:
    if opener.kind == "person":
        if wish.human not in {"", opener.name}:
            refuse("invalid_authorization_details", "a person opens a task for nobody else", reason=Reason.FORBIDDEN)
        return HumanId(opener.name)
    if not wish.human:
        refuse("invalid_authorization_details", "an application says on whose behalf: human")
    return HumanId(wish.human)


def _budget(wish: NewTask, left: int | None = None) -> Budget:
    most = Budget().calls if left is None else max(1, min(left, Budget().calls))
    return Budget(calls=wish.calls or most, value=dict(wish.value))


def _grant(ask: Callable[[], Got]) -> Got:
    """A refusal of somebody's token, as RFC 8693 2.2.2 says it."""
    try:
        return ask()
    except OAuthError:
        raise
    except CallerError as error:
        raise OAuthError("invalid_request", error.message, reason=error.reason, remedy=error.remedy) from None
