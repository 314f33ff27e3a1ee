"""The token service over HTTP: `/oauth/token`, `/oauth/revoke`, `/oauth/jwks.json`. Bytes in and out; `Exchange` decides.

A refusal is what OAuth says it is (RFC 6749 5.2), with our reason beside it. No cookie and no `Authorization` header counts here.
"""

import re
from typing import Any, Final

import msgspec
from starlette.requests import Request
from starlette.responses import Response

from lictor.api.web import OPEN, Route, read_body
from lictor.model.errors import CallerError, ConflictError, LictorError, StoreError
from lictor.model.reasons import Reason
from lictor.ports import Clock
from lictor.protocol.oauth.details import TYPE
from lictor.protocol.oauth.errors import OAuthError, refuse
from lictor.protocol.oauth.form import MAX_BYTES, read_form
from lictor.protocol.oauth.request import ACCESS_TOKEN, MAX_TOKEN, read_request
from lictor.service.calls.pace import Pace
from lictor.service.tasks.exchange import TASK_TOKEN, Exchange, Issued, Sent
from lictor.service.tasks.possession import Presented
from lictor.service.tasks.tokens import Tokens

TOKEN: Final = "/oauth/token"  # noqa: S105 - a path
REVOKE: Final = "/oauth/revoke"
JWKS: Final = "/oauth/jwks.json"
AUTHORIZE: Final = "/oauth/authorize"
CHAIN_KEY: Final = "lictor_chain"
"""Where our own TLS layer leaves the client's certificate chain, in the connection's ASGI state. No header writes there."""
_FORM: Final = "application/x-www-form-urlencoded"
_UNSAID: Final = re.compile(r"[^ !#-\[\]-~]")
"""What an `error_description` may not hold (RFC 6749 5.2)."""
_POLICY: Final = frozenset(
    {Reason.NOT_PERMITTED, Reason.FORBIDDEN, Reason.NEEDS_APPROVAL, Reason.CONTAINED, Reason.POLICY_ERROR}
)
ALL_BURST, ALL_PER_S = 400, 200.0
ADDRESS_BURST, ADDRESS_PER_S = 200, 100.0
"""Requests for tokens before anything in them is looked at: of everybody together, and of one address (behind a proxy that is
the proxy's), which alone cannot use up everybody's. Who has proved themselves has a pace of their own besides (`Exchange`)."""
_EVERYBODY: Final = ""
_HEADERS: Final = {"Cache-Control": "no-store", "Pragma": "no-cache"}


class OAuthApi:
    """Handlers of the token service."""

    def __init__(self, *, exchange: Exchange, tokens: Tokens, clock: Clock, public_url: str) -> None:
        """`public_url` is what clients call us: proofs of possession are held against it, never against `Host`."""
        self._exchange = exchange
        self._tokens = tokens
        self._clock = clock
        self._url = public_url
        self._all = Pace(burst=ALL_BURST, per_s=ALL_PER_S)
        self._addresses = Pace(burst=ADDRESS_BURST, per_s=ADDRESS_PER_S)

    def routes(self) -> list[Route]:
        """Rows for `api.web`. They are open: what they take authenticates itself."""
        return [
            _row("POST", TOKEN, self.token, "Exchange proof of a workload for a task token (RFC 8693)."),
            _row("POST", REVOKE, self.revoke, "Make one task token useless (RFC 7009)."),
            _row("GET", JWKS, self.jwks, "The keys task tokens are signed with (RFC 7517)."),
            _row("GET", AUTHORIZE, self.authorize, "Nothing is authorised here."),
        ]

    async def token(self, request: Request) -> Response:
        """RFC 8693 2.1, RFC 6749 4.4."""
        try:
            self._paced(request)
            form = await _form(request)
            asked = read_request(form, resource=self._tokens.audience)
            issued = await self._exchange(asked, self._sent(request, TOKEN))
        except LictorError as error:
            return _refusal(error)
        return _json(_answer(issued, self._clock.now_ms()))

    async def revoke(self, request: Request) -> Response:
        """RFC 7009 2: 200 also for what is no token of ours, so that nobody learns which are."""
        try:
            self._paced(request)
            form = await _form(request)
            token = form.get("token", "")
            if not token or len(token) > MAX_TOKEN:
                refuse("invalid_request", "token is missing")
            if token.startswith(TASK_TOKEN):
                refuse("unsupported_token_type", "close the task instead", remedy="POST /v1/tasks/{id}/close")
            await self._revoke(token, self._sent(request, REVOKE))
        except LictorError as error:
            return _refusal(error)
        return Response(status_code=200, headers=_HEADERS)

    async def _revoke(self, token: str, sent: Sent) -> None:
        presented = Presented(
            scheme="body", token=token, method=sent.method, url=sent.url, proof=sent.proof, chain=sent.chain
        )
        try:
            await self._tokens.revoke(presented)
        except StoreError:
            raise
        except CallerError:
            return

    async def jwks(self, _: Request) -> Response:
        """Public members alone."""
        return Response(
            msgspec.json.encode(self._tokens.keys.published(self._clock.now_ms())),
            media_type="application/jwk-set+json",
            headers={"Cache-Control": "max-age=60"},
        )

    async def authorize(self, _: Request) -> Response:
        """The metadata has to name such an endpoint: clients refuse it otherwise. Nobody gets authority by a browser here."""
        return _refusal(OAuthError("unauthorized_client", "there is no authorization endpoint: use the token endpoint"))

    def _paced(self, request: Request) -> None:
        """Bound what a flood costs.

        Raises:
            CallerError: `overloaded`.
        """
        now = self._clock.now_ms()
        self._addresses.take(request.client.host if request.client is not None else _EVERYBODY, now)
        self._all.take(_EVERYBODY, now)

    def _sent(self, request: Request, path: str) -> Sent:
        proofs = request.headers.getlist("dpop")
        if len(proofs) > 1:
            refuse("invalid_dpop_proof", "more than one DPoP proof (RFC 9449 4.3)")
        return Sent(
            method="POST",
            url=f"{self._url}{path}",
            proof=proofs[0] if proofs else None,
            chain=tuple(request.scope.get("state", {}).get(CHAIN_KEY, ())),
        )


def _row(method: str, path: str, raw: Any, summary: str) -> Route:
    return Route(method=method, path=path, who=OPEN, summary=summary, raw=raw, described=False)


async def _form(request: Request) -> dict[str, str]:
    kinds = request.headers.getlist("content-type")
    kind, _, parameters = (kinds[0] if len(kinds) == 1 else "").partition(";")
    if kind.strip().lower() != _FORM or parameters.strip().lower() not in {"", "charset=utf-8"}:
        refuse("invalid_request", f"send {_FORM}")
    if request.headers.get("content-encoding", "identity") != "identity":
        refuse("invalid_request", "send it uncompressed")
    if request.scope.get("query_string"):
        refuse("invalid_request", "parameters belong into the body, never into the address (RFC 6749 2.3.1)")
    if "authorization" in request.headers:
        refuse(
            "invalid_client", "no client secret is taken here: prove the workload", remedy="see docs/how-to/tokens.md"
        )
    return read_form(await read_body(request, MAX_BYTES))


def _answer(issued: Issued, now_ms: int) -> dict[str, Any]:
    task, token = issued.task, issued.token
    return {
        "access_token": token.text,
        "issued_token_type": ACCESS_TOKEN,
        "token_type": "DPoP" if token.binding.startswith("jkt:") else "Bearer",
        "expires_in": max(0, (token.expires_at_ms - now_ms) // 1_000),
        "scope": f"task:{task.id}",
        "authorization_details": [{"type": TYPE, "task": task.id, "purpose": task.purpose}],
    }


def _refusal(error: LictorError) -> Response:
    known = error if isinstance(error, OAuthError) else _translated(error)
    text = f"{known.message} ({known.remedy})" if known.remedy else known.message
    body = {
        "error": known.code,
        "error_description": _UNSAID.sub("'", text)[:400],
        "lictor_reason": error.reason.value,
    }
    headers = {"WWW-Authenticate": 'Bearer realm="lictor"'} if known.status == 401 else {}
    if error.reason is Reason.OVERLOADED:
        return _json(body, 429, {"Retry-After": "1"})
    return _json(body, known.status, headers)


def _translated(error: LictorError) -> OAuthError:
    """What was refused further inside, in OAuth's words."""
    if error.reason is Reason.OVERLOADED:
        return OAuthError("temporarily_unavailable", error.message, reason=error.reason)
    if isinstance(error, ConflictError) or error.reason in {Reason.TASK_CLOSED, Reason.TASK_EXPIRED}:
        return OAuthError("invalid_grant", error.message, reason=error.reason, remedy=error.remedy)
    if isinstance(error, StoreError):
        return OAuthError("temporarily_unavailable", error.message, reason=error.reason)
    if error.reason in _POLICY:
        return OAuthError("access_denied", error.message, reason=error.reason, remedy=error.remedy)
    if isinstance(error, CallerError):
        return OAuthError("invalid_request", error.message, reason=error.reason, remedy=error.remedy)
    return OAuthError("server_error", "something went wrong here; nothing was issued", reason=Reason.INTERNAL)


def _json(value: Any, status: int = 200, headers: dict[str, str] | None = None) -> Response:
    return Response(
        msgspec.json.encode(value),
        status_code=status,
        media_type="application/json",
        headers={**_HEADERS, **(headers or {})},
    )
