"""The development issuer over HTTP: discovery, sign-in by a click, code with PKCE, ID and access tokens, exchange, JWKS.

Every page, every token and every start says what it is. Refuses to know where it listens; `check_loopback` refuses for it.
"""

import html
import json
from collections.abc import Callable
from typing import Any, Final
from urllib.parse import urlencode

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import HTMLResponse, JSONResponse, RedirectResponse, Response
from starlette.routing import Route

from lictor.model.errors import CallerError, OperatorError
from lictor.model.reasons import Reason
from lictor.ports import Clock, Ids
from lictor.protocol.oauth.errors import OAuthError, refuse
from lictor.protocol.oauth.form import MAX_BYTES, read_form
from lictor.protocol.oauth.request import EXCHANGE
from lictor.testing.issuer.state import Asked, Client, State
from lictor.testing.issuer.tokens import DevTokens

WARNING: Final = (
    "DEVELOPMENT ISSUER: it asks for no password. Whoever reaches it is whoever they say. Never use it in production."
)
LOOPBACK: Final = frozenset({"127.0.0.1", "::1", "localhost"})
_COOKIE: Final = "lictor_dev_session"
_HEADERS: Final = {
    "Cache-Control": "no-store",
    "Content-Security-Policy": "default-src 'none'; frame-ancestors 'none'; base-uri 'none'",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
}


def check_loopback(host: str) -> None:
    """Refuse to be reachable from anywhere else.

    Raises:
        OperatorError: `config_refused`.
    """
    if host not in LOOPBACK:
        raise OperatorError(
            Reason.CONFIG_REFUSED,
            f"the development issuer listens on loopback only, not on {host[:80]!r}",
            remedy="use your organisation's issuer",
        )


def issuer_app(
    url: str,
    people: tuple[str, ...],
    clients: dict[str, Client],
    *,
    clock: Clock,
    ids: Ids,
    say: Callable[[str], None],
) -> Starlette:
    """The issuer as an ASGI application.

    Args:
        url: what it calls itself; loopback.
        people: who can sign in.
        clients: those that need not register themselves.
        clock: the time.
        ids: fresh names.
        say: tells the operator one line.
    """
    web = _Web(url, State(people, clients, ids.new), DevTokens(url, clock, ids), clock, say)
    rows = [
        ("/.well-known/openid-configuration", web.metadata, "GET"),
        ("/.well-known/oauth-authorization-server", web.metadata, "GET"),
        ("/jwks.json", web.jwks, "GET"),
        ("/authorize", web.authorize, "GET"),
        ("/sign-in", web.sign_in, "POST"),
        ("/consent", web.consent, "POST"),
        ("/token", web.token, "POST"),
        ("/register", web.register, "POST"),
        ("/userinfo", web.userinfo, "GET"),
    ]
    return Starlette(routes=[Route(path, web.guard(handler), methods=[method]) for path, handler, method in rows])


class _Web:
    def __init__(self, url: str, state: State, tokens: DevTokens, clock: Clock, say: Callable[[str], None]) -> None:
        self._url = url
        self._state = state
        self._tokens = tokens
        self._clock = clock
        self._say = say

    def guard(self, handler: Callable[[Request], Any]) -> Callable[[Request], Any]:
        """The host is ours (DNS rebinding), no other site's page posts, and a refusal is an answer, never a redirect."""
        host = self._url.partition("://")[2]

        async def guarded(request: Request) -> Response:
            if request.headers.get("host", "").lower() != host:
                return _page("Not here", "<p>this name is not served</p>", 421)
            if request.method == "POST" and request.headers.get("origin") not in {self._url, None}:
                return _page("Refused", "<p>the form came from another site</p>", 403)
            try:
                answer: Response = await handler(request)
            except OAuthError as error:
                return _json({"error": error.code, "error_description": error.message}, error.status)
            except CallerError as error:
                return _page("Refused", f"<p>{html.escape(error.message)}</p>", 400)
            return answer

        return guarded

    async def metadata(self, _: Request) -> Response:
        """OpenID Connect Discovery 3, RFC 8414."""
        found = {
            "issuer": self._url,
            "authorization_endpoint": f"{self._url}/authorize",
            "token_endpoint": f"{self._url}/token",
            "jwks_uri": f"{self._url}/jwks.json",
            "registration_endpoint": f"{self._url}/register",
            "userinfo_endpoint": f"{self._url}/userinfo",
            "response_types_supported": ["code"],
            "grant_types_supported": ["authorization_code", EXCHANGE],
            "subject_types_supported": ["public"],
            "id_token_signing_alg_values_supported": ["ES256"],
            "code_challenge_methods_supported": ["S256"],
            "token_endpoint_auth_methods_supported": ["none"],
            "authorization_response_iss_parameter_supported": True,
            "scopes_supported": ["openid"],
            "lictor_dev_issuer": WARNING,
        }
        return _json(found)

    async def jwks(self, _: Request) -> Response:
        """RFC 7517."""
        return _json({"keys": [self._tokens.public]})

    # -- browsers ------------------------------------------------------------------------------------------------------------

    async def authorize(self, request: Request) -> Response:
        """Who is it, do they agree with this client, and back with a code."""
        asked = self._state.asked(_once(request))
        return self._step(request, asked, request.cookies.get(_COOKIE, ""))

    async def sign_in(self, request: Request) -> Response:
        """A click on a name."""
        form = await _form(request)
        asked = self._state.asked(form)
        cookie = self._state.sign_in(request.cookies.get(_COOKIE, ""), form.get("form", ""), form.get("person", ""))
        return self._step(request, asked, cookie)

    async def consent(self, request: Request) -> Response:
        """Yes to this client."""
        form = await _form(request)
        asked = self._state.asked(form)
        cookie = request.cookies.get(_COOKIE, "")
        person = self._state.consent(cookie, form.get("form", ""), asked)
        return self._back(asked, person)

    def _step(self, _: Request, asked: Asked, cookie: str) -> Response:
        name, session = self._state.session(cookie)
        if session.person and self._state.consented(session.person, asked):
            return self._back(asked, session.person)
        hidden = _hidden({**_asked_fields(asked), "form": session.form})
        if not session.person:
            buttons = "".join(
                f'<p><button name="person" value="{html.escape(one)}">{html.escape(one)}</button></p>'
                for one in self._state.people
            )
            page = _page("Who are you?", f'<form method="post" action="/sign-in">{hidden}{buttons}</form>')
        else:
            text = (
                f"<p>{html.escape(session.person)}, do you agree that <strong>{html.escape(asked.client.name)}</strong> "
                f"({html.escape(asked.client.id)}) learns who you are? It is at <strong>{html.escape(asked.redirect_uri)}"
                "</strong>.</p>"
            )
            page = _page("Agree?", f'{text}<form method="post" action="/consent">{hidden}<button>Agree</button></form>')
        page.set_cookie(_COOKIE, name, httponly=True, samesite="lax", path="/")
        return page

    def _back(self, asked: Asked, person: str) -> Response:
        code = self._state.code(asked, person, self._clock.now_ms())
        query = {"code": code, "iss": self._url, **({"state": asked.state} if asked.state else {})}
        joint = "&" if "?" in asked.redirect_uri else "?"
        return RedirectResponse(f"{asked.redirect_uri}{joint}{urlencode(query)}", status_code=303, headers=_HEADERS)

    # -- clients -------------------------------------------------------------------------------------------------------------

    async def token(self, request: Request) -> Response:
        """A code, or a token for another audience (RFC 8693)."""
        form = await _form(request)
        match form.get("grant_type"):
            case "authorization_code":
                return self._redeem(form)
            case grant if grant == EXCHANGE:
                return self._exchange(form)
            case _:
                return refuse("unsupported_grant_type", f"grant_type is authorization_code or {EXCHANGE}")

    def _redeem(self, form: dict[str, str]) -> Response:
        try:
            code = self._state.redeem(form, self._clock.now_ms())
        except CallerError as error:
            refuse("invalid_grant", error.message)
        asked = code.asked
        access, jti = self._tokens.access(code.person, asked.client.id, asked.resource or self._url, asked.scope)
        identity, _ = self._tokens.identity(code.person, asked.client.id, asked.nonce)
        code.tokens.append(jti)
        self._say(f"{code.person} signed in for client {asked.client.id}. {WARNING}")
        found = {"access_token": access, "token_type": "Bearer", "expires_in": 600, "scope": asked.scope}
        return _json({**found, "id_token": identity} if "openid" in asked.scope.split(" ") else found)

    def _exchange(self, form: dict[str, str]) -> Response:
        """A token of ours for another audience, and for an actor where one is named."""
        claims = self._tokens.verified(form.get("subject_token", ""))
        if claims is None or self._state.revoked(str(claims["jti"])):
            refuse("invalid_request", "the subject token is not good")
        audience = form.get("resource") or form.get("audience") or ""
        if not audience:
            refuse("invalid_target", "say for whom: resource or audience")
        actor = form.get("may_act", "")
        access, _ = self._tokens.access(
            str(claims["sub"]), str(claims["client_id"]), audience, "", {"may_act": {"sub": actor}} if actor else {}
        )
        found = {"access_token": access, "token_type": "Bearer", "expires_in": 600}
        return _json({**found, "issued_token_type": "urn:ietf:params:oauth:token-type:access_token"})

    async def register(self, request: Request) -> Response:
        """RFC 7591; everybody is a public client."""
        try:
            wished = json.loads(await _body(request))
            uris = tuple(wished["redirect_uris"])
            client = self._state.register(str(wished.get("client_name", "a client")), uris)
        except (ValueError, TypeError, KeyError, AttributeError, CallerError) as error:
            return _json({"error": "invalid_client_metadata", "error_description": str(error)[:200]}, 400)
        found = {
            "client_id": client.id,
            "client_name": client.name,
            "redirect_uris": list(client.redirect_uris),
            "token_endpoint_auth_method": "none",
            "grant_types": ["authorization_code"],
            "response_types": ["code"],
        }
        return _json(found, 201)

    async def userinfo(self, request: Request) -> Response:
        """OpenID Connect Core 5.3; also the place where a revoked token shows."""
        token = request.headers.get("authorization", "").removeprefix("Bearer ")
        claims = self._tokens.verified(token)
        if claims is None or self._state.revoked(str(claims["jti"])):
            return _json({"error": "invalid_token"}, 401, {"WWW-Authenticate": 'Bearer error="invalid_token"'})
        return _json({"sub": claims["sub"], "lictor_dev_issuer": WARNING})


def _asked_fields(asked: Asked) -> dict[str, str]:
    return {
        "client_id": asked.client.id,
        "redirect_uri": asked.redirect_uri,
        "response_type": "code",
        "state": asked.state,
        "nonce": asked.nonce,
        "code_challenge": asked.challenge,
        "code_challenge_method": "S256",
        "scope": asked.scope,
        "resource": asked.resource,
    }


def _hidden(fields: dict[str, str]) -> str:
    return "".join(
        f'<input type="hidden" name="{name}" value="{html.escape(value)}">' for name, value in fields.items() if value
    )


def _once(request: Request) -> dict[str, str]:
    pairs = request.query_params.multi_items()
    found = dict(pairs)
    if len(found) != len(pairs):
        raise CallerError(Reason.INVALID_ARGUMENTS, "a parameter is given twice")
    return found


async def _form(request: Request) -> dict[str, str]:
    return read_form(await _body(request))


async def _body(request: Request) -> bytes:
    body = b""
    async for chunk in request.stream():
        body += chunk
        if len(body) > MAX_BYTES:
            refuse("invalid_request", f"a request has at most {MAX_BYTES} bytes")
    return body


def _page(title: str, body: str, status: int = 200) -> HTMLResponse:
    banner = f'<h1 role="alert">&#9888; {html.escape(WARNING)}</h1>'
    heading = html.escape(title)
    text = f"<!doctype html><meta charset=utf-8><title>{heading}: development issuer</title>{banner}<h2>{heading}</h2>{body}"
    return HTMLResponse(text, status_code=status, headers=_HEADERS)


def _json(value: Any, status: int = 200, headers: dict[str, str] | None = None) -> JSONResponse:
    return JSONResponse(value, status_code=status, headers={**_HEADERS, **(headers or {})})
