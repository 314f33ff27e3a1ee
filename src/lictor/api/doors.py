"""The token service put together from parts that `app` hands in: one object for the MCP endpoint, the API and the command line.

Refuses to know where keys are kept and how issuers are reached.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from lictor.api.metadata import RESOURCE, metadata_routes
from lictor.api.oauth import OAuthApi
from lictor.api.settings import OAuth
from lictor.api.signed import SignedCallers
from lictor.api.web import Route
from lictor.model.errors import CallerError
from lictor.model.identity import Opener, Proven
from lictor.model.ids import HumanId
from lictor.model.limits import Limits
from lictor.model.reasons import Reason
from lictor.policy.names import human_problem
from lictor.ports import Clock, Ids, RecordStore
from lictor.service.people.approve import Answer
from lictor.service.policy import PolicyInForce
from lictor.service.tasks.admit import Admit
from lictor.service.tasks.applications import Applications
from lictor.service.tasks.delegate import Delegate
from lictor.service.tasks.exchange import Exchange, Front, KeepSubject, Openers
from lictor.service.tasks.opening import Open
from lictor.service.tasks.possession import Proofs
from lictor.service.tasks.tasks import Tasks
from lictor.service.tasks.tokens import TokenKeys, Tokens

PERSON_SECRET = "las_"  # noqa: S105 - a prefix


@dataclass(frozen=True, slots=True, kw_only=True)
class Issuer:
    """What is needed of a configured issuer here."""

    url: str
    human_claim: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Parts:
    """What the token service is made of."""

    store: RecordStore
    policy: PolicyInForce
    clock: Clock
    ids: Ids
    limits: Limits
    tasks: Tasks
    open: Open
    delegate: Delegate
    answer: Answer
    applications: Applications
    keys: TokenKeys
    front: Front | None
    proofs: Proofs | None
    issuers: dict[str, Issuer]
    oauth: OAuth
    public_url: str
    audience: str
    task_ttl_s: int
    client_certificates: bool
    keep_subject: KeepSubject | None = None
    check: Callable[[], None] = lambda: None
    """Raises StoreError while the newest state or the time is not known: no authority is given then."""


class Doors:
    """Who gets in, and by what."""

    def __init__(self, parts: Parts) -> None:
        self._parts = parts
        self.tokens = Tokens(
            store=parts.store,
            clock=parts.clock,
            ids=parts.ids,
            keys=parts.keys,
            proofs=parts.proofs,
            issuer=parts.public_url,
            audience=parts.audience,
        )
        self.exchange = Exchange(
            store=parts.store,
            policy=parts.policy,
            clock=parts.clock,
            limits=parts.limits,
            tasks=parts.tasks,
            tokens=self.tokens,
            delegate=parts.delegate,
            front=parts.front,
            open_task=parts.open,
            openers=Openers(
                by_secret=self._by_secret,
                person=self._person,
                application=self._application,
                people=frozenset(parts.oauth.people),
                human_of=self.human_of,
            ),
            default_ttl_s=parts.task_ttl_s,
            check=parts.check,
            keep_subject=parts.keep_subject,
        )
        self.admit = Admit(
            store=parts.store,
            policy=parts.policy,
            clock=parts.clock,
            tasks=parts.tasks,
            tokens=self.tokens,
            front=parts.front,
            servers=parts.oauth.mcp_clients,
        )
        self.signed = SignedCallers(
            exchange=self.exchange,
            tokens=self.tokens,
            front=parts.front,
            shared=frozenset(parts.oauth.mcp_clients),
        )
        self.resource_metadata = f"{parts.public_url}{RESOURCE}/mcp"

    def routes(self) -> Sequence[Route]:
        """Rows for `api.web`: the token service and the metadata."""
        parts = self._parts
        oauth = OAuthApi(exchange=self.exchange, tokens=self.tokens, clock=parts.clock, public_url=parts.public_url)
        servers = [parts.issuers[name].url for name in parts.oauth.mcp_clients]
        return [
            *oauth.routes(),
            *metadata_routes(parts.public_url, parts.audience, servers, client_certificates=parts.client_certificates),
        ]

    def human_of(self, proven: Proven) -> HumanId:
        """The person whom an issuer's token stands for: `<issuer>:<claim>`.

        Raises:
            CallerError: `unauthenticated`: the claim is missing or is no name.
        """
        claim = self._parts.issuers[proven.issuer].human_claim
        value = proven.claims.get(claim)
        if claim == "email" and proven.claims.get("email_verified") is not True:
            # Otherwise whoever can write an address into their own profile is that person here.
            raise CallerError(Reason.UNAUTHENTICATED, "the token's address is not verified by its issuer")
        human = f"{proven.issuer}:{value}"
        if not isinstance(value, str) or not value or human_problem(human):
            raise CallerError(Reason.UNAUTHENTICATED, "the token names no person")
        return HumanId(human)

    def _by_secret(self, secret: str) -> Opener:
        if secret.startswith(PERSON_SECRET):
            return self._person(self._parts.answer.authenticate(secret))
        return self._application(self._parts.applications.authenticate(secret))

    def _person(self, human: HumanId) -> Opener:
        pdp = self._parts.policy.current()
        groups = {*pdp.humans.get(human, ()), *pdp.approvers.groups_of.get(human, ())}
        return Opener(kind="person", name=human, groups=tuple(sorted(groups)))

    def _application(self, name: str) -> Opener:
        found = self._parts.applications.standing(name)
        return Opener(kind="application", name=name, groups=found.groups)
