"""Signed tokens at the control plane: a person's or an application's, by a configured issuer. Never an agent's, never a task's.

They have to be for the control plane (our public URL), not for the MCP endpoint: what an MCP client got to act for a person is no
credential of that person here.
"""

from lictor.api.caller import Caller, Callers, Presented
from lictor.model.errors import CallerError
from lictor.model.identity import Proven
from lictor.model.ids import AgentId, HumanId
from lictor.model.reasons import Reason
from lictor.protocol.jose.compact import read_jws
from lictor.service.tasks.exchange import Exchange, Front
from lictor.service.tasks.possession import Presented as Held
from lictor.service.tasks.tokens import Tokens


class SignedCallers:
    """`api.caller.Front`."""

    def __init__(
        self, *, exchange: Exchange, tokens: Tokens, front: Front | None, shared: frozenset[str] = frozenset()
    ) -> None:
        """`shared`: names of issuers whose tokens are used at the MCP endpoint, too."""
        self._shared = shared
        self._exchange = exchange
        self._tokens = tokens
        self._front = front
        self.callers: Callers | None = None
        """Set once they are there: they ask us, and we ask them for a person's groups."""

    async def __call__(self, presented: Presented) -> Caller | AgentId:
        """Who it is.

        Raises:
            CallerError: `unauthenticated`, or a more exact code.
        """
        if self._tokens.is_ours(read_jws(presented.credential)):
            held = Held(
                scheme="dpop" if presented.scheme == "dpop" else "bearer",
                token=presented.credential,
                method=presented.method,
                url=presented.url,
                proof=presented.dpop or None,
            )
            return self._tokens.holder(held)().task.agent
        if self._front is None or self.callers is None:
            raise CallerError(Reason.UNAUTHENTICATED, "this credential is not known here")
        word = "DPoP" if presented.scheme == "dpop" else "Bearer"
        proven = await self._front.identify(
            authorization=f"{word} {presented.credential}",
            dpop=presented.dpop or None,
            method=presented.method,
            url=presented.url,
            audience=self._tokens.issuer,
        )
        opener = self._exchange.party(proven)
        if opener is None:
            return self._exchange.agent(proven)
        self._check_meant(proven)
        if opener.kind == "application":
            return self.callers.application(opener.name)
        return self.callers.person(HumanId(opener.name))

    def _check_meant(self, proven: Proven) -> None:
        """An issuer of MCP clients' tokens may have an `audience` of its own in the settings: then it alone tells nothing apart.

        Raises:
            CallerError: `audience`.
        """
        audience = proven.claims.get("aud")
        named = audience if isinstance(audience, list) else [audience]
        if proven.issuer in self._shared and self._tokens.issuer not in named:
            raise CallerError(Reason.AUDIENCE, f"the token is not for {self._tokens.issuer!r}")
