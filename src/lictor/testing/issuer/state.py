"""What the development issuer remembers: people, clients, consents, sessions, codes. In memory; a restart forgets it all.

The rules that make an authorization code safe are here, although everything else about this issuer is not: an exact redirect
address, a verifier, one redemption, and consent for each client (cases OAUT-01 to 05). Refuses to know HTTP.
"""

import hmac
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Final
from urllib.parse import urlsplit

from lictor.model.errors import CallerError
from lictor.model.reasons import Reason
from lictor.protocol.jose.base64url import decode
from lictor.service.people.login import challenge_of

CODE_MS: Final = 60_000
MAX_KEPT: Final = 2_000
MAX_URI: Final = 1_000
_CHALLENGE_BYTES: Final = 32


@dataclass(frozen=True, slots=True, kw_only=True)
class Client:
    """A registered client; every one is public: there are no secrets here."""

    id: str
    name: str
    redirect_uris: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """One authorization request that has been checked; the browser may be sent back."""

    client: Client
    redirect_uri: str
    state: str
    nonce: str
    challenge: str
    scope: str
    resource: str


@dataclass(slots=True, kw_only=True)
class Code:
    """One code. `tokens` are those issued for it, to be revoked when it comes twice."""

    asked: Asked
    person: str
    ends_ms: int
    used: bool = False
    tokens: list[str] = field(default_factory=list)


@dataclass(slots=True, kw_only=True)
class Session:
    """Somebody's browser."""

    form: str
    """What every form of it sends back."""
    person: str = ""


class State:
    """All of it. For one event loop: each method is one step that nobody comes between."""

    def __init__(self, people: tuple[str, ...], clients: dict[str, Client], new: Callable[[str], str]) -> None:
        self.people = people
        self.clients = clients
        self._new = new
        self._sessions: dict[str, Session] = {}
        self._consents: set[tuple[str, str]] = set()
        self._codes: dict[str, Code] = {}
        self._revoked: dict[str, None] = {}

    def register(self, name: str, redirect_uris: tuple[str, ...]) -> Client:
        """A client that registers itself (RFC 7591).

        Raises:
            CallerError: an address that is no absolute URI, or has a fragment (RFC 6749 3.1.2).
        """
        if not 0 < len(redirect_uris) <= 10:
            raise CallerError(Reason.INVALID_ARGUMENTS, "1 to 10 redirect_uris")
        for uri in redirect_uris:
            parts = urlsplit(uri)
            if (
                len(uri) > MAX_URI
                or not parts.scheme
                or parts.fragment
                or parts.scheme in {"javascript", "data", "file"}
            ):
                raise CallerError(Reason.INVALID_ARGUMENTS, f"{uri[:80]!r} is no redirect address")
        client = Client(id=self._new("client"), name=name[:80], redirect_uris=redirect_uris)
        _bounded(self.clients)
        self.clients[client.id] = client
        return client

    def asked(self, query: dict[str, str]) -> Asked:
        """Check an authorization request. Until this returns, nobody is sent anywhere.

        Raises:
            CallerError: unknown client, a redirect address that is not exactly one of its own, no PKCE with S256.
        """
        client = self.clients.get(query.get("client_id", ""))
        if client is None:
            raise CallerError(Reason.INVALID_ARGUMENTS, "the client is not known here")
        uri = query.get("redirect_uri", "")
        if (
            uri not in client.redirect_uris
        ):  # character by character (RFC 9700 2.1): no path below, no other port (OAUT-02)
            raise CallerError(Reason.INVALID_ARGUMENTS, "the redirect address is not one that the client registered")
        if query.get("response_type") != "code":
            raise CallerError(Reason.INVALID_ARGUMENTS, "response_type is code")
        challenge = query.get("code_challenge", "")
        if query.get("code_challenge_method") != "S256" or len(decode(challenge) or b"") != _CHALLENGE_BYTES:
            raise CallerError(Reason.INVALID_ARGUMENTS, "PKCE with S256 is required")
        return Asked(
            client=client,
            redirect_uri=uri,
            state=query.get("state", ""),
            nonce=query.get("nonce", ""),
            challenge=challenge,
            scope=query.get("scope", ""),
            resource=query.get("resource", ""),
        )

    # -- browsers ------------------------------------------------------------------------------------------------------------

    def session(self, cookie: str) -> tuple[str, Session]:
        """The session of a cookie, or a fresh one under a name of our own."""
        found = self._sessions.get(cookie)
        if found is not None:
            return cookie, found
        _bounded(self._sessions)
        name, fresh = self._new("session"), Session(form=self._new("form"))
        self._sessions[name] = fresh
        return name, fresh

    def sign_in(self, cookie: str, form: str, person: str) -> str:
        """Believe it. The session gets a new name.

        Raises:
            CallerError: not a form of this session, or nobody of the file.
        """
        self._checked(cookie, form)
        if person not in self.people:
            raise CallerError(Reason.UNAUTHENTICATED, "nobody of that name is in the file")
        del self._sessions[cookie]
        name = self._new("session")
        self._sessions[name] = Session(form=self._new("form"), person=person)
        return name

    def consented(self, person: str, asked: Asked) -> bool:
        """Whether this person has agreed to *this* client (OAUT-01)."""
        return (person, asked.client.id) in self._consents

    def consent(self, cookie: str, form: str, asked: Asked) -> str:
        """The signed-in person agrees; who it is.

        Raises:
            CallerError: not a form of this session, or nobody is signed in.
        """
        session = self._checked(cookie, form)
        if not session.person:
            raise CallerError(Reason.UNAUTHENTICATED, "nobody is signed in")
        self._consents.add((session.person, asked.client.id))
        return session.person

    def _checked(self, cookie: str, form: str) -> Session:
        session = self._sessions.get(cookie)
        if session is None or not hmac.compare_digest(session.form.encode(), form.encode("utf-8", "surrogatepass")):
            raise CallerError(Reason.UNAUTHENTICATED, "the form had expired")
        return session

    # -- codes ---------------------------------------------------------------------------------------------------------------

    def code(self, asked: Asked, person: str, now_ms: int) -> str:
        """A code for somebody who has agreed.

        Raises:
            CallerError: they have not.
        """
        if not self.consented(person, asked):
            raise CallerError(Reason.FORBIDDEN, "no consent for this client")
        _bounded(self._codes)
        code = self._new("code")
        self._codes[code] = Code(asked=asked, person=person, ends_ms=now_ms + CODE_MS)
        return code

    def redeem(self, form: dict[str, str], now_ms: int) -> Code:
        """Spend a code. One that comes twice takes the tokens of its first time with it (RFC 6749 4.1.2; OAUT-03, OAUT-04).

        Raises:
            CallerError: unknown, spent, late, another client's or address's, or without its verifier (OAUT-05).
        """
        code = self._codes.get(form.get("code", ""))
        if code is None:
            raise CallerError(Reason.UNAUTHENTICATED, "the code is not known")
        if code.used:
            for jti in code.tokens:
                self._revoked[jti] = None
            raise CallerError(Reason.UNAUTHENTICATED, "the code was used before; its tokens are revoked")
        asked = code.asked
        if form.get("client_id") != asked.client.id or form.get("redirect_uri") != asked.redirect_uri:
            raise CallerError(Reason.UNAUTHENTICATED, "the code was given to another client or address")
        verifier = form.get("code_verifier", "")
        if not 43 <= len(verifier) <= 128 or not verifier.isascii():
            raise CallerError(Reason.UNAUTHENTICATED, "code_verifier is missing")
        if not hmac.compare_digest(challenge_of(verifier), asked.challenge):
            raise CallerError(Reason.UNAUTHENTICATED, "code_verifier is not that of the challenge")
        if now_ms >= code.ends_ms:
            raise CallerError(Reason.UNAUTHENTICATED, "the code has expired")
        code.used = True
        return code

    def revoked(self, jti: str) -> bool:
        """Whether a token was revoked."""
        return jti in self._revoked


def _bounded(kept: dict[str, object] | dict[str, Client] | dict[str, Session] | dict[str, Code]) -> None:
    while len(kept) >= MAX_KEPT:
        del kept[next(iter(kept))]
