"""A person signs in with their own organisation: OpenID Connect, authorization code with PKCE. It says who.

One round, in this order: (1) we remember state, nonce and verifier under a secret that only this browser gets; (2) the browser
comes back with a code; (3) the answer belongs to this browser, this round and this issuer (RFC 9207); (4) the code is redeemed
with the verifier, once; (5) the ID token is verified like any other, for us and for this round. A round ends at its first answer.
"""

import hashlib
import hmac
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Final, Protocol
from urllib.parse import urlencode

from lictor.model.errors import CallerError, OperatorError
from lictor.model.identity import Proven
from lictor.model.ids import HumanId
from lictor.model.reasons import Reason
from lictor.model.secret import Secret
from lictor.ports import Clock, Ids
from lictor.protocol.jose.base64url import encode

ROUND_MS: Final = 10 * 60 * 1_000
"""For a person to find their second factor."""
MAX_ROUNDS: Final = 1_000
"""Bounded: the oldest round ends first."""
_MAX_CODE: Final = 2_048


@dataclass(frozen=True, slots=True, kw_only=True)
class Endpoints:
    """What an issuer's discovery document says, as far as a sign-in needs it."""

    issuer: str
    authorization: str
    token: str
    names_itself: bool
    """Whether its answers carry `iss` (RFC 9207)."""


class Relying(Protocol):
    """The issuer, as somebody who relies on it sees it."""

    async def endpoints(self) -> Endpoints:
        """Raises LictorError: it cannot be reached, or its document is not acceptable."""
        ...

    async def redeem(self, code: Secret, verifier: Secret, redirect_uri: str) -> Secret:
        """The ID token for a code. Raises LictorError."""
        ...

    async def verify(self, id_token: Secret) -> Proven:
        """Check an ID token for this client. Raises CallerError."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class _Round:
    state: str
    nonce: str
    verifier: Secret
    endpoints: Endpoints
    ends_ms: int
    after: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Begun:
    """Where the browser goes, and the secret it keeps meanwhile."""

    url: str
    secret: str


class Login:
    """Rounds of one process; a restart ends them, and people begin again."""

    def __init__(
        self,
        *,
        relying: Relying,
        clock: Clock,
        ids: Ids,
        client_id: str,
        scope: str,
        redirect_uri: str,
        human_of: Callable[[Proven], HumanId],
    ) -> None:
        self._relying = relying
        self._clock = clock
        self._ids = ids
        self._client_id = client_id
        self._scope = scope
        self._redirect_uri = redirect_uri
        self._human_of = human_of
        self._rounds: dict[str, _Round] = {}

    async def begin(self, after: str = "") -> Begun:
        """Start a round.

        Args:
            after: what the person wanted to see; comes back from `finish`, never by way of the issuer.

        Raises:
            LictorError: the issuer cannot be asked.
        """
        endpoints = await self._relying.endpoints()
        # Two ids: RFC 7636 4.1 wants 43 characters at least.
        verifier = Secret(self._ids.new("v") + self._ids.new("v"))
        begun = _Round(
            state=self._ids.new("state"),
            nonce=self._ids.new("nonce"),
            verifier=verifier,
            endpoints=endpoints,
            ends_ms=self._clock.now_ms() + ROUND_MS,
            after=after,
        )
        while len(self._rounds) >= MAX_ROUNDS:
            del self._rounds[next(iter(self._rounds))]
        secret = self._ids.new("login")
        self._rounds[secret] = begun
        query = {
            "response_type": "code",
            "client_id": self._client_id,
            "redirect_uri": self._redirect_uri,
            "scope": self._scope,
            "state": begun.state,
            "nonce": begun.nonce,
            "code_challenge": challenge_of(verifier.reveal()),
            "code_challenge_method": "S256",
        }
        joint = "&" if "?" in endpoints.authorization else "?"
        return Begun(url=f"{endpoints.authorization}{joint}{urlencode(query)}", secret=secret)

    async def finish(self, secret: str, answer: Mapping[str, str]) -> tuple[HumanId, str]:
        """End a round: who it is, and what they wanted to see.

        Args:
            secret: of the browser that came back.
            answer: the parameters of the redirect, each once.

        Raises:
            CallerError: `unauthenticated`: no such round, another browser's, another issuer's, refused there, or the ID token is
                not good.
            LictorError: the issuer cannot be asked.
        """
        begun = self._rounds.pop(secret, None)
        if begun is None or self._clock.now_ms() >= begun.ends_ms:
            raise _refused("this sign-in was not begun here, or took too long")
        if not hmac.compare_digest(answer.get("state", "").encode(), begun.state.encode()):
            raise _refused("the answer belongs to another sign-in")
        self._check_issuer(begun.endpoints, answer)
        if "error" in answer:
            raise _refused(f"the issuer says no: {answer['error'][:60]!r}")
        code = answer.get("code", "")
        if not 0 < len(code) <= _MAX_CODE:
            raise _refused("the answer has no code")
        id_token = await self._relying.redeem(Secret(code), begun.verifier, self._redirect_uri)
        proven = await self._relying.verify(id_token)
        self._check_token(proven, begun)
        return self._human_of(proven), begun.after

    @staticmethod
    def _check_issuer(endpoints: Endpoints, answer: Mapping[str, str]) -> None:
        """RFC 9207 2.4: another issuer's answer is not taken for this one's (mix-up)."""
        named = answer.get("iss")
        if named != endpoints.issuer and (named is not None or endpoints.names_itself):
            raise _refused("the answer is of another issuer")

    def _check_token(self, proven: Proven, begun: _Round) -> None:
        """OpenID Connect Core 3.1.3.7: for this round, and issued to us."""
        nonce = proven.claims.get("nonce")
        if not isinstance(nonce, str) or not hmac.compare_digest(nonce.encode(), begun.nonce.encode()):
            raise _refused("the token belongs to another sign-in")
        if proven.claims.get("azp", self._client_id) != self._client_id:
            raise _refused("the token was issued to another client")
        if proven.thumbprint:
            raise _refused("the token is bound to a sender")


def challenge_of(verifier: str) -> str:
    """PKCE S256 (RFC 7636 4.2)."""
    return encode(hashlib.sha256(verifier.encode("ascii")).digest())


def _refused(message: str) -> CallerError:
    return CallerError(Reason.UNAUTHENTICATED, message, remedy="sign in again")


def check_endpoint(url: object, what: str, fetchable: Callable[[str], bool]) -> str:
    """An address of a discovery document that a browser is sent to or a secret is posted to.

    Raises:
        OperatorError: `config_refused`: neither https nor on loopback; `javascript:` and `file:` are neither (case OAUT-17).
    """
    if not isinstance(url, str) or not fetchable(url) or any(char in url for char in "\"'<>`\\"):
        raise OperatorError(Reason.CONFIG_REFUSED, f"the issuer's {what} is no https address")
    return url
