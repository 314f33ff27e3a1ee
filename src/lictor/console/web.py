"""The console's routes: sign in, see what waits, answer one hold. A GET changes nothing (BIND-18).

Every route but sign-in, style sheet and health needs a signed-in approver; every POST needs the same origin and the sign-in's
CSRF token. Host is checked against the configured names (DNS rebinding). Refuses to know policy: it calls use cases.
"""

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from importlib.resources import files
from typing import Final
from urllib.parse import parse_qs

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import HTMLResponse, JSONResponse, RedirectResponse, Response
from starlette.routing import Route

from lictor.console import pages
from lictor.console.held import answerable, decision_views, hold_view
from lictor.console.signin import SignedIn, SignIns, same
from lictor.model.errors import LictorError, StoreError
from lictor.model.ids import ActionDigest, HoldId
from lictor.model.reasons import Reason
from lictor.ports import Clock, Ids, RecordStore
from lictor.service.approve import Answer, secret_digest
from lictor.service.login import Login
from lictor.service.policy import PolicyInForce
from lictor.service.presence import BY_SECRET, Presence

COOKIE: Final = "lictor_signin"
"""With https it has the `__Host-` prefix: no other host of the domain can plant a session of its own."""
FORM_COOKIE: Final = "lictor_form"
MAX_FORM_BYTES: Final = 16 * 1024
FORM_TIMEOUT_S: Final = 10.0
RECENT: Final = 30
MAX_ANSWER: Final = 20


@dataclass(frozen=True, slots=True, kw_only=True)
class Console:
    """What the pages need."""

    store: RecordStore
    policy: PolicyInForce
    answer: Answer
    clock: Clock
    ids: Ids
    recording: Callable[[], bool]
    """Whether the last decision could be recorded."""
    public_url: str
    hosts: frozenset[str]
    login: Login | None = None
    """Signs people in with an issuer; None: enrolled secrets only."""
    issuer: str = ""
    """Its name."""


Handler = Callable[[Request], Awaitable[Response]]


def console_app(console: Console) -> Starlette:
    """The console as an ASGI application."""
    web = _Web(console)
    return Starlette(
        routes=[
            Route("/", web.guard(web.inbox), methods=["GET"]),
            Route("/login", web.guard(web.login_form), methods=["GET"]),
            Route("/login", web.guard(web.login), methods=["POST"]),
            Route("/login/start", web.guard(web.login_start), methods=["GET"]),
            Route("/login/callback", web.guard(web.login_callback), methods=["GET"]),
            Route("/logout", web.guard(web.logout), methods=["POST"]),
            Route("/holds/{hold}", web.guard(web.hold), methods=["GET"]),
            Route("/holds/{hold}", web.guard(web.answer), methods=["POST"]),
            Route("/static/lictor.css", web.guard(web.style), methods=["GET"]),
            Route("/healthz", web.guard(web.health), methods=["GET"]),
        ]
    )


class _Web:
    def __init__(self, console: Console) -> None:
        self._console = console
        self._sign_ins = SignIns(lambda: console.ids.new("lsi"))
        self._secure = console.public_url.startswith("https://")
        # The prefix makes browsers refuse the cookie from anybody but this host; they know it with https alone.
        self._cookie = f"__Host-{COOKIE}" if self._secure else COOKIE
        self._presence = Presence(console.store, console.clock)
        self._login_cookie = "__Host-lictor_login" if self._secure else "lictor_login"
        self._style = (files("lictor.console") / "static" / "lictor.css").read_bytes()

    # -- around every route ----------------------------------------------------------------------------------------------

    def guard(self, handler: Handler) -> Handler:
        """Host, origin, and one place where a refusal becomes a page."""

        async def guarded(request: Request) -> Response:
            if request.headers.get("host", "").lower() not in self._console.hosts:
                return self._message("Not here", "this name is not served", 421)
            if request.method == "POST" and request.headers.get("origin") not in {self._console.public_url, None}:
                return self._message("Refused", "the form came from another site", 403)
            try:
                return await handler(request)
            except LictorError as error:
                status = 503 if error.reason is Reason.CANNOT_RECORD else 409
                return self._message("Not done", f"{error.message} ({error.reason.value})", status, request)

        return guarded

    def _signed_in(self, request: Request) -> SignedIn | None:
        """The sign-in of a request, while its person is an approver still and its secret has not been replaced."""
        token, console = request.cookies.get(self._cookie, ""), self._console
        found = self._sign_ins.find(token, console.clock.now_ms())
        if found is None:
            return None
        gone = found.human not in console.policy.current().approvers.groups_of
        replaced = bool(found.secret) and console.store.approver_by_secret(found.secret) != found.human
        if gone or replaced:
            self._sign_ins.end(token)
            return None
        return found

    def _page(self, text: str, status: int = 200) -> Response:
        return HTMLResponse(text, status_code=status, headers=dict(pages.HEADERS))

    def _message(self, title: str, text: str, status: int, request: Request | None = None) -> Response:
        signed_in = self._signed_in(request) if request is not None else None
        return self._page(pages.message_page(title=title, text=text, user=signed_in.human if signed_in else ""), status)

    def _to_login(self, hold: str = "") -> Response:
        target = f"/login?hold={hold}" if hold and _plausible(hold) else "/login"
        return RedirectResponse(target, status_code=303, headers=_redirect_headers())

    # -- sign in ---------------------------------------------------------------------------------------------------------

    async def login_form(self, request: Request) -> Response:
        """The form. Its token is tied to a cookie of its own: nobody can sign a visitor in unasked."""
        return self._login_page(request.query_params.get("hold", ""), "")

    def _login_page(self, hold: str, error: str, status: int = 200) -> Response:
        token = self._console.ids.new("lsf")
        page = self._page(
            pages.login_page(
                csrf=token, error=error, next_hold=hold if _plausible(hold) else None, issuer=self._console.issuer
            ),
            status,
        )
        page.set_cookie(FORM_COOKIE, token, httponly=True, samesite="strict", secure=self._secure, path="/login")
        return page

    async def login(self, request: Request) -> Response:
        """Exchange an approver's secret for a sign-in."""
        form = await _form(request)
        hold = form.get("next_hold", "")
        if not same(form.get("csrf", ""), request.cookies.get(FORM_COOKIE, "")):
            return self._login_page(hold, "the form had expired; please try again", 403)
        try:
            human = self._console.answer.authenticate(form.get("secret", ""))
            await self._presence.signed_in(human, BY_SECRET)
        except StoreError:
            raise
        except LictorError:
            return self._login_page(hold, "this secret is not known", 403)
        target = f"/holds/{hold}" if _plausible(hold) else "/"
        response = RedirectResponse(target, status_code=303, headers=_redirect_headers())
        self._sign_ins.end(request.cookies.get(self._cookie, ""))
        secret = secret_digest(form.get("secret", ""))
        token = self._sign_ins.begin(human, self._console.clock.now_ms(), secret=secret)
        response.set_cookie(self._cookie, token, httponly=True, samesite="strict", secure=self._secure, path="/")
        response.delete_cookie(FORM_COOKIE, path="/login")
        return response

    async def login_start(self, request: Request) -> Response:
        """Send the browser to the issuer. What it is to come back with is kept under a cookie of its own."""
        if self._console.login is None:
            return self._message("Not here", "people sign in with their approver secret", 404)
        hold = request.query_params.get("hold", "")
        begun = await self._console.login.begin(hold if _plausible(hold) else "")
        response = RedirectResponse(begun.url, status_code=303, headers=_redirect_headers())
        # Lax: the way back is a navigation from another site.
        response.set_cookie(
            self._login_cookie, begun.secret, httponly=True, samesite="lax", secure=self._secure, path="/", max_age=600
        )
        return response

    async def login_callback(self, request: Request) -> Response:
        """Back from the issuer: one answer, for this browser's round."""
        if self._console.login is None:
            return self._message("Not here", "people sign in with their approver secret", 404)
        answer = _answer(request)
        try:
            human, hold = await self._console.login.finish(request.cookies.get(self._login_cookie, ""), answer)
        except LictorError as error:
            refused = self._login_page("", error.message, 403)
            refused.delete_cookie(self._login_cookie, path="/", secure=self._secure)
            return refused
        if human not in self._console.policy.current().approvers.groups_of:
            await self._presence.refused(human)
            text = f"you are {human}; nobody of that name is in approvers.toml"
            return self._message("Not an approver", text, 403)
        await self._presence.signed_in(human, self._console.issuer)
        self._sign_ins.end(request.cookies.get(self._cookie, ""))
        # A page, and no redirect: the session's strict cookie is not sent along a redirect that another site began.
        page = self._message("Signed in", f"as {human}", 200)
        page.headers["Refresh"] = f"0; url={f'/holds/{hold}' if _plausible(hold) else '/'}"
        token = self._sign_ins.begin(human, self._console.clock.now_ms())
        page.set_cookie(self._cookie, token, httponly=True, samesite="strict", secure=self._secure, path="/")
        page.delete_cookie(self._login_cookie, path="/", secure=self._secure)
        return page

    async def logout(self, request: Request) -> Response:
        """End the sign-in."""
        signed_in = self._signed_in(request)
        form = await _form(request)
        if signed_in is not None and same(form.get("csrf", ""), signed_in.csrf):
            self._sign_ins.end(request.cookies.get(self._cookie, ""))
            await self._presence.signed_out(signed_in.human)
        return self._to_login()

    # -- holds -----------------------------------------------------------------------------------------------------------

    async def inbox(self, request: Request) -> Response:
        """What waits, and what was decided lately."""
        signed_in = self._signed_in(request)
        if signed_in is None:
            return self._to_login()
        console, now = self._console, self._console.clock.now_ms()
        pdp = console.policy.current()
        waiting = [hold for hold in console.store.holds(pending_only=True) if answerable(console.store, hold, now)]
        views = [hold_view(console.store, pdp, hold, now, signed_in.human) for hold in waiting]
        views.sort(key=lambda view: view.expires_at)
        recent = decision_views(console.store, limit=RECENT)
        return self._page(pages.inbox_page(holds=views, decisions=recent, user=signed_in.human, csrf=signed_in.csrf))

    async def hold(self, request: Request) -> Response:
        """One hold, in full."""
        signed_in = self._signed_in(request)
        hold_id = request.path_params["hold"]
        if signed_in is None:
            return self._to_login(hold_id)
        hold = self._console.store.hold(HoldId(hold_id))
        if hold is None:
            return self._message("Not found", "there is no such hold", 404, request)
        now, pdp = self._console.clock.now_ms(), self._console.policy.current()
        view = hold_view(self._console.store, pdp, hold, now, signed_in.human)
        # Off the loop: rendering a megabyte of hostile text takes seconds, and agents must not wait for it.
        text = await asyncio.to_thread(pages.hold_page, view, csrf=signed_in.csrf, user=signed_in.human)
        return self._page(text)

    async def answer(self, request: Request) -> Response:
        """Approve or deny exactly the action that was shown."""
        signed_in = self._signed_in(request)
        hold_id = HoldId(request.path_params["hold"])
        if signed_in is None:
            return self._to_login(hold_id)
        form = await _form(request)
        if not same(form.get("csrf", ""), signed_in.csrf):
            return self._message("Refused", "the form had expired; open the hold again", 403, request)
        note = form.get("note", "")[:500]
        match form.get("answer"):
            case "approve":
                refused = self._unread(hold_id, form)
                if refused:
                    return self._message("Not done", refused, 409, request)
                digest = ActionDigest(form.get("digest", ""))
                await self._console.answer.approve(hold_id, signed_in.human, digest, note)
                text = "approved, once: the agent's retry with the same arguments runs"
                return self._message("Approved", text, 200, request)
            case "deny":
                await self._console.answer.deny(hold_id, signed_in.human, note)
                return self._message("Denied", "it stays denied for this task", 200, request)
            case _:
                return self._message("Not done", "neither approved nor denied", 400, request)

    def _unread(self, hold_id: HoldId, form: dict[str, str]) -> str:
        """Long content has to be confirmed as read to its end; the page asks, this checks (APRV-02)."""
        hold = self._console.store.hold(hold_id)
        if hold is None:
            return ""
        view = hold_view(self._console.store, self._console.policy.current(), hold, self._console.clock.now_ms())
        unread = pages.must_confirm_end(view) and form.get("seen_end") != "yes"
        return "confirm that you have read to the end" if unread else ""

    # -- small things ----------------------------------------------------------------------------------------------------

    async def style(self, _: Request) -> Response:
        """The style sheet."""
        headers = {"Cache-Control": "max-age=300", "X-Content-Type-Options": "nosniff"}
        return Response(self._style, media_type="text/css", headers=headers)

    async def health(self, _: Request) -> Response:
        """Ready: a policy is in force and decisions can be recorded. Says nothing else."""
        ready = self._console.policy.ready and self._console.recording()
        return JSONResponse({"ready": ready}, status_code=200 if ready else 503)


async def _form(request: Request) -> dict[str, str]:
    """A small URL-encoded form; each field once.

    Raises:
        LictorError: never; a form that is too large, late, or has a field twice reads as empty, which no check accepts.
    """
    body = b""
    try:
        async with asyncio.timeout(FORM_TIMEOUT_S):
            async for chunk in request.stream():
                body += chunk
                if len(body) > MAX_FORM_BYTES:
                    return {}
    except TimeoutError:
        return {}
    try:
        fields = parse_qs(body.decode("utf-8"), keep_blank_values=True, strict_parsing=True, max_num_fields=20)
    except ValueError:
        return {}
    if any(len(values) != 1 for values in fields.values()):
        return {}
    return {name: values[0] for name, values in fields.items()}


def _answer(request: Request) -> dict[str, str]:
    """The parameters of the redirect; one given twice makes all of them count for nothing."""
    pairs = request.query_params.multi_items()
    found = dict(pairs)
    return found if len(found) == len(pairs) <= MAX_ANSWER else {}


def _plausible(hold: str) -> bool:
    """Only ids of ours go into a redirect (no open redirect, no header injection)."""
    return 0 < len(hold) <= 64 and hold.isascii() and all(char.isalnum() or char in "_-" for char in hold)


def _redirect_headers() -> dict[str, str]:
    return {"Cache-Control": "no-store", "Referrer-Policy": "same-origin"}
