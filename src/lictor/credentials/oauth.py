"""OAuth: a token for ourselves (RFC 6749 4.4) or on behalf of a person (RFC 8693), bound to an audience, revoked (RFC 7009).

A token that came back wider or longer than asked is given back at once, not lent. Refuses to know what a token is good for.
"""

import re
from base64 import b64encode
from collections.abc import Mapping
from secrets import token_urlsafe
from typing import Any, Final, Literal
from urllib.parse import quote_plus

from lictor.credentials.assertion import Alg, sign
from lictor.credentials.http import DEADLINE_S, Answer, Client, Reply, form
from lictor.credentials.options import Options, Secrets, need, need_name, need_template, place, read_url, too_wide
from lictor.model.errors import UpstreamError
from lictor.model.ids import LeaseId
from lictor.model.lease import Credential
from lictor.model.reasons import Reason
from lictor.model.secret import Secret
from lictor.ports import Clock, Issued, LeaseAsk

Part = tuple[str, str | Secret]

ACCESS_TOKEN: Final = "urn:ietf:params:oauth:token-type:access_token"  # noqa: S105 - a type, not a token
_EXCHANGE: Final = "urn:ietf:params:oauth:grant-type:token-exchange"
_ASSERTION: Final = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer"
_FACT: Final = re.compile(r"(?!.*\.\.)[A-Za-z0-9._~/-]{1,200}", re.ASCII)
"""No space (another scope), no `?`, `#`, `%` or `:` (another part of a URI), no step up."""
_SCOPE: Final = re.compile(r"[\x21\x23-\x5B\x5D-\x7E]{1,200}")
"""scope-token, RFC 6749 3.3."""
_CODES: Final = frozenset(
    {
        "invalid_request",
        "invalid_client",
        "invalid_grant",
        "unauthorized_client",
        "unsupported_grant_type",
        "invalid_scope",
        "invalid_target",
        "unsupported_token_type",
        "access_denied",
        "server_error",
        "temporarily_unavailable",
    }
)
"""Only these are repeated: any other text of a server might quote what was sent to it."""


class OAuthOptions(Options, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """`[credentials.NAME.options]` with `provider = "oauth"`."""

    token_url: str
    revocation_url: str = ""
    """RFC 7009; without one a lease stays visible until its token expires."""
    client_id: str
    auth: Literal["client_secret_basic", "client_secret_post", "private_key_jwt"] = "client_secret_basic"
    secret: str
    """The name of the client's secret or, for `private_key_jwt`, of its private key."""
    alg: Alg = "ES256"
    key_id: str = ""
    assertion_audience: str = ""
    """Default: the token URL."""
    grant: Literal["client_credentials", "token_exchange"] = "client_credentials"
    scopes: tuple[str, ...] = ()
    """May hold `{fact}`s of the grant."""
    audiences: tuple[str, ...] = ()
    resources: tuple[str, ...] = ()
    """RFC 8707; may hold `{fact}`s."""
    subject_token_type: str = ACCESS_TOKEN
    actor_secret: str = ""
    """The name of a token that says who acts (RFC 8693 `act`); empty: the client alone says it."""
    actor_token_type: str = ACCESS_TOKEN
    max_life_s: int = 3_600
    """A token that lives longer, or does not say, is given back."""
    ca_file: str = ""
    deadline_s: float = DEADLINE_S

    def check(self) -> None:
        """Addresses, names, templates, and that a token is bound to something."""
        read_url(self.token_url, "token_url")
        if self.revocation_url:
            read_url(self.revocation_url, "revocation_url")
        need(bool(self.client_id) and self.client_id.isascii() and self.client_id.isprintable(), "client_id is ASCII")
        need_name(self.secret, "secret")
        need(not self.actor_secret or self.grant == "token_exchange", "actor_secret belongs to token_exchange")
        if self.actor_secret:
            need_name(self.actor_secret, "actor_secret")
        need(bool(self.scopes or self.audiences or self.resources), "scopes, audiences or resources say what it is for")
        for template in (*self.scopes, *self.resources):
            need_template(template, "scopes and resources")
        need(0 < self.max_life_s <= 86_400, "max_life_s is 1 to 86400")
        need(0 < self.deadline_s <= 60, "deadline_s is at most 60")


class OAuth:
    """The provider (`lictor.ports.Provider`)."""

    def __init__(self, options: OAuthOptions, secrets: Secrets, clock: Clock) -> None:
        self._options = options
        self._secrets = secrets
        self._clock = clock
        self._token = self._client(options.token_url)
        self._revocation = self._client(options.revocation_url) if options.revocation_url else None

    def _client(self, url: str) -> Client:
        options = self._options
        return Client(read_url(url, "url"), ca_file=options.ca_file, deadline_s=options.deadline_s)

    async def issue(self, ask: LeaseAsk) -> Issued:
        """`token`.

        Raises:
            UpstreamError: see `ports.Provider`; an answer with 4xx says that nothing was made.
        """
        scopes = [place(one, ask.narrow, _FACT) for one in self._options.scopes]
        if not all(_SCOPE.fullmatch(one) for one in scopes):
            raise too_wide("a scope has characters that scopes do not have")
        parts = await self._asked(ask, scopes)
        reply = await self._post(self._token, parts, ask.lease)
        if not reply.ok:
            raise self._token.refused(reply, _code(self._token, reply))
        answer = self._token.answer(reply)
        token = answer.secret("access_token")
        problem = self._checked(answer, scopes)
        if problem:
            raise await self._given_back(ask.lease, token, answer, problem)
        return Issued(
            secret={"token": token},
            expires_at_ms=self._clock.now_ms() + 1_000 * answer.seconds("expires_in"),
            handle=ask.lease,
            revocation=token,
        )

    async def _asked(self, ask: LeaseAsk, scopes: list[str]) -> list[Part]:
        options = self._options
        parts: list[Part] = [("grant_type", "client_credentials")]
        if options.grant == "token_exchange":
            if ask.subject_token is None:
                raise too_wide("the person's own token is not at hand, and this credential acts for a person")
            parts = [
                ("grant_type", _EXCHANGE),
                ("subject_token", ask.subject_token),
                ("subject_token_type", options.subject_token_type),
                ("requested_token_type", ACCESS_TOKEN),
            ]
            if options.actor_secret:
                actor = await self._secrets(options.actor_secret)
                parts += [("actor_token", actor), ("actor_token_type", options.actor_token_type)]
        if scopes:
            parts.append(("scope", " ".join(scopes)))
        parts += [("audience", one) for one in options.audiences]
        parts += [("resource", place(one, ask.narrow, _FACT)) for one in options.resources]
        return parts

    async def _post(self, client: Client, parts: list[Part], lease: LeaseId) -> Reply:
        """Authenticated as the client (RFC 6749 2.3.1; RFC 7523 2.2)."""
        options = self._options
        fields: dict[str, str | Secret] = {"Content-Type": "application/x-www-form-urlencoded"}
        secret = await self._secrets(options.secret)
        if options.auth == "client_secret_basic":
            pair = Secret(f"{quote_plus(options.client_id)}:{quote_plus(secret.reveal())}")
            fields["Authorization"] = Secret(f"Basic {b64encode(pair.reveal().encode()).decode()}")
        elif options.auth == "client_secret_post":
            parts = [*parts, ("client_id", options.client_id), ("client_secret", secret)]
        else:
            parts = [*parts, *self._assertion(secret, lease)]
        return await client.call("POST", fields=fields, body=form(parts))

    def _assertion(self, key: Secret, lease: LeaseId) -> list[Part]:
        options = self._options
        now = self._clock.now_ms() // 1_000
        claims = {
            "iss": options.client_id,
            "sub": options.client_id,
            "aud": options.assertion_audience or options.token_url,
            "iat": now,
            "exp": now + 60,
            "jti": f"{lease}.{token_urlsafe(16)}",
        }
        signed = sign(claims, key, alg=options.alg, key_id=options.key_id, named=options.secret)
        return [("client_id", options.client_id), ("client_assertion_type", _ASSERTION), ("client_assertion", signed)]

    def _checked(self, answer: Answer, scopes: list[str]) -> str:
        """What is wrong with a token that was made, unreadable parts included; empty: nothing."""
        try:
            return self._problem(answer, scopes)
        except UpstreamError as error:
            return error.message

    def _problem(self, answer: Answer, scopes: list[str]) -> str:
        if answer.text("token_type", "").lower() != "bearer":
            return "the token is of a type that cannot be used"
        if self._options.grant == "token_exchange" and answer.text("issued_token_type", "") != ACCESS_TOKEN:
            return "another type of token than asked for"
        if "refresh_token" in answer:
            return "a refresh token that nobody asked for"
        if not set(answer.text("scope", " ".join(scopes)).split()) <= set(scopes):
            return "more scopes than asked for"
        if "expires_in" not in answer or answer.seconds("expires_in") > self._options.max_life_s:
            return f"the token does not expire within {self._options.max_life_s} s"
        return ""

    async def _given_back(self, lease: LeaseId, token: Secret, answer: Answer, problem: str) -> UpstreamError:
        """Revoke what cannot be lent; the error says whether something is left."""
        tokens = [token, *([answer.secret("refresh_token")] if "refresh_token" in answer else [])]
        left = False
        for one in tokens:
            left = await self._unconfirmed(lease, one) is not None or left
        error = answer.wrong(problem)
        return UpstreamError(error.reason, error.message, effect_possible=left)

    def longest_s(self, ttl_s: int) -> int:
        """A token that lives longer is given back, but one that never arrived cannot be."""
        del ttl_s
        return self._options.max_life_s

    async def revoke(self, lease: LeaseId, credential: Credential, handle: str, revocation: Secret | None) -> None:
        """Revoke the token. A server that forgot it says so with success (RFC 7009 2.2).

        Raises:
            UpstreamError: not confirmed; or it cannot be: nobody answered the ask, or there is no revocation endpoint. Such a
                lease stays visible until the token's own end.
        """
        del credential, handle
        if revocation is None:
            raise UpstreamError(
                Reason.OUTCOME_UNKNOWN,
                f"{self._token.url.authority}: a token that never arrived cannot be named, and may exist until it expires",
                effect_possible=True,
            )
        failed = await self._unconfirmed(lease, revocation)
        if failed is not None:
            raise failed

    async def _unconfirmed(self, lease: LeaseId, token: Secret) -> UpstreamError | None:
        """Try to revoke one token; why that is not confirmed, or None."""
        if self._revocation is None:
            message = f"{self._token.url.authority}: no revocation_url, so the token may be used until it expires"
            return UpstreamError(Reason.CONFIG_REFUSED, message, effect_possible=True)
        try:
            reply = await self._post(self._revocation, [("token", token), ("token_type_hint", "access_token")], lease)
        except UpstreamError as error:
            return UpstreamError(error.reason, error.message, effect_possible=True)
        return None if reply.ok else self._revocation.refused(reply, _code(self._revocation, reply))


def _code(client: Client, reply: Reply) -> str:
    """The error code of RFC 6749 5.2, if it is one that is known."""
    try:
        code = client.answer(reply).text("error", "")
    except UpstreamError:
        return ""
    return code if code in _CODES else "an error of its own"


def build(options: Mapping[str, Any], secrets: Secrets, clock: Clock) -> OAuth:
    """A provider from options as written.

    Raises:
        OperatorError: `config_refused`.
    """
    return OAuth(OAuthOptions.read(options), secrets, clock)
