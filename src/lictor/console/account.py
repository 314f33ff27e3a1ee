"""The account room: people sign in and out, have passkeys, and let others in. A GET begins a round with an issuer at the most.

A sign-in form's token is tied to a cookie of its own: nobody can sign a visitor in unasked, and what a passkey signs is for this
browser. Whatever gives or takes a way in is confirmed with a passkey on a page of its own. Refuses to know policy and holds.
"""

from typing import Final
from urllib.parse import urlsplit

from starlette.requests import Request
from starlette.responses import Response

from lictor.console.forms import plausible, read_form
from lictor.console.frame import Page
from lictor.console.rooms import OpenRow, Rooms, Row, Visit, redirect
from lictor.console.signin import same
from lictor.model.approval import Strength
from lictor.model.errors import CallerError, LictorError, StoreError
from lictor.model.ids import HumanId
from lictor.model.reasons import Reason
from lictor.pdp.roles import Role
from lictor.service.people.approve import secret_digest
from lictor.service.people.passkey_acts import Act, AddKey, EnrolPerson, ForgetKeys, RemoveKey
from lictor.service.people.passkeys import MAX_KEYS, Passkeys
from lictor.service.people.presence import BY_PASSKEY, BY_SECRET

FORM_COOKIE: Final = "lictor_form"
MAX_ANSWER: Final = 20
FRESH_MS: Final = 110_000
"""After which a page's challenge is not worth signing any more: a little less than it lives."""


def routes(rooms: Rooms) -> list[Row | OpenRow]:
    """What people open to sign in and out."""
    room = _Account(rooms)
    return [
        OpenRow(method="GET", path="/login", handler=room.login_form),
        OpenRow(method="POST", path="/login", handler=room.login),
        OpenRow(method="POST", path="/login/passkey", handler=room.login_passkey),
        OpenRow(method="GET", path="/login/start", handler=room.login_start),
        OpenRow(method="GET", path="/login/callback", handler=room.login_callback),
        OpenRow(method="POST", path="/logout", handler=room.logout),
        Row(method="GET", path="/account", handler=room.account),
        Row(method="POST", path="/account/passkeys", handler=room.add),
        Row(method="POST", path="/account/ask", handler=room.ask),
        Row(method="POST", path="/account/confirm", handler=room.confirm),
    ]


class _Account:
    def __init__(self, rooms: Rooms) -> None:
        self._rooms = rooms
        self._console = rooms.console
        self._login_cookie = "__Host-lictor_login" if rooms.secure else "lictor_login"

    # -- signing in and out ----------------------------------------------------------------------------------------------

    async def login_form(self, request: Request) -> Response:
        """The form. Its token is tied to a cookie of its own: nobody can sign a visitor in unasked."""
        return self._login_page(request, request.query_params.get("hold", ""), "")

    def _login_page(self, request: Request, hold: str, error: str, status: int = 200) -> Response:
        token, keys, here = self._console.ids.new("lsf"), self._console.passkeys, self._here(request)
        page = self._rooms.page(
            "login.html",
            Page(title="Sign in"),
            status,
            csrf=token,
            error=error,
            next_hold=hold if plausible(hold) else None,
            issuer=self._console.issuer,
            issuer_at=self._issuer_at(request),
            passkey=keys.ask_sign_in(token) if here and keys is not None else None,
            elsewhere=keys.site.origin if keys is not None and not here else "",
            fresh_ms=FRESH_MS,
        )
        page.set_cookie(FORM_COOKIE, token, httponly=True, samesite="strict", secure=self._rooms.secure, path="/login")
        return page

    async def login(self, request: Request) -> Response:
        """Exchange an approver's secret for a sign-in."""
        form = await read_form(request)
        hold = form.get("next_hold", "")
        if not same(form.get("csrf", ""), request.cookies.get(FORM_COOKIE, "")):
            return self._login_page(request, hold, "the form had expired; please try again", 403)
        try:
            human = self._console.answer.authenticate(form.get("secret", ""))
            await self._rooms.presence.signed_in(human, BY_SECRET)
        except StoreError:
            raise
        except LictorError:
            return self._login_page(request, hold, "this secret is not known", 403)
        response = redirect(f"/holds/{hold}" if plausible(hold) else "/")
        secret = secret_digest(form.get("secret", ""))
        self._rooms.begin(response, request, human, secret=secret, strength=Strength.SECRET)
        response.delete_cookie(FORM_COOKIE, path="/login")
        return response

    async def login_passkey(self, request: Request) -> Response:
        """Exchange what a passkey signed for this browser for a sign-in; the passkey says who it is."""
        form, browser = await read_form(request), request.cookies.get(FORM_COOKIE, "")
        hold = form.get("next_hold", "")
        if not same(form.get("csrf", ""), browser):
            return self._login_page(request, hold, "the form had expired; please try again", 403)
        try:
            proof = await self._keys().sign_in(browser, form.get("stamp", ""), form.get("assertion", ""))
        except CallerError as error:
            return self._login_page(request, hold, f"{error.message} ({error.reason.value})", 403)
        if not self._console.policy.current().approvers.roles_of(proof.human):
            await self._rooms.presence.refused(proof.human)
            return self._login_page(request, hold, f"{proof.human} is not in approvers.toml any more", 403)
        await self._rooms.presence.signed_in(proof.human, BY_PASSKEY, passkey=proof.passkey, uses=proof.uses)
        response = redirect(f"/holds/{hold}" if plausible(hold) else "/")
        self._rooms.begin(response, request, proof.human, strength=Strength.PASSKEY, passkey=proof.passkey)
        response.delete_cookie(FORM_COOKIE, path="/login")
        return response

    async def login_start(self, request: Request) -> Response:
        """Send the browser to the issuer. What it is to come back with is kept under a cookie of its own."""
        if self._console.login is None:
            return self._rooms.message("Not here", "people sign in with their approver secret", 404)
        hold = request.query_params.get("hold", "")
        begun = await self._console.login.begin(hold if plausible(hold) else "")
        response = Response(status_code=303)
        response.headers.update({"Location": begun.url, "Cache-Control": "no-store", "Referrer-Policy": "same-origin"})
        # Lax: the way back is a navigation from another site.
        response.set_cookie(
            self._login_cookie,
            begun.secret,
            httponly=True,
            samesite="lax",
            secure=self._rooms.secure,
            path="/",
            max_age=600,
        )
        return response

    async def login_callback(self, request: Request) -> Response:
        """Back from the issuer: one answer, for this browser's round."""
        if self._console.login is None:
            return self._rooms.message("Not here", "people sign in with their approver secret", 404)
        answer = _answer(request)
        try:
            human, hold = await self._console.login.finish(request.cookies.get(self._login_cookie, ""), answer)
        except LictorError as error:
            refused = self._login_page(request, "", error.message, 403)
            refused.delete_cookie(self._login_cookie, path="/", secure=self._rooms.secure)
            return refused
        if not self._console.policy.current().approvers.roles_of(human):
            await self._rooms.presence.refused(human)
            text = f"you are {human}; nobody of that name is in approvers.toml"
            return self._rooms.message("Not an approver", text, 403)
        await self._rooms.presence.signed_in(human, self._console.issuer)
        # A page, and no redirect: the session's strict cookie is not sent along a redirect that another site began.
        page = self._rooms.message("Signed in", f"as {human}", 200)
        page.headers["Refresh"] = f"0; url={f'/holds/{hold}' if plausible(hold) else '/'}"
        self._rooms.begin(page, request, human, strength=Strength.LOGIN)
        page.delete_cookie(self._login_cookie, path="/", secure=self._rooms.secure)
        return page

    async def logout(self, request: Request) -> Response:
        """End the sign-in."""
        signed_in = self._rooms.signed_in(request)
        form = await read_form(request)
        if signed_in is not None and same(form.get("csrf", ""), signed_in.csrf):
            self._rooms.end(request)
            await self._rooms.presence.signed_out(signed_in.human)
        return redirect("/login")

    # -- passkeys, and letting others in ---------------------------------------------------------------------------------

    async def account(self, visit: Visit) -> Response:
        """Who is signed in, and how; their passkeys; whom they can let in."""
        keys, here, human = self._console.passkeys, self._here(visit.request), visit.human
        mine = keys.of(human) if keys is not None else ()
        names = {key.id: key.name for key in mine}
        return visit.page(
            "account.html",
            title="Your account",
            nav="account",
            how=self._how(visit, names),
            ends_ms=visit.signed_in.expires_at_ms,
            keys=mine,
            offer=keys.offer(human, visit.csrf) if keys is not None and here and len(mine) < MAX_KEYS else None,
            most=MAX_KEYS,
            elsewhere=keys.site.origin if keys is not None and not here else "",
            people=self._people(visit) if mine else (),
            fresh_ms=FRESH_MS,
        )

    async def add(self, visit: Visit) -> Response:
        """A key that the person's device has just made: their first is added, any further one has to be confirmed."""
        form = visit.form
        act = await self._keys().candidate(
            visit.human, visit.csrf, form.get("stamp", ""), form.get("credential", ""), form.get("name", "")
        )
        return visit.to("/account") if act is None else self._confirm_page(visit, act)

    async def ask(self, visit: Visit) -> Response:
        """What is to be done, on a page that asks for a passkey."""
        form = visit.form
        match form.get("act"):
            case "remove":
                act: Act = RemoveKey(passkey=form.get("passkey", ""))
            case "enrol":
                act = EnrolPerson(human=form.get("human", ""))
            case "forget":
                act = ForgetKeys(human=form.get("human", ""))
            case _:
                return visit.message("Not done", "nothing was asked for", 400)
        return self._confirm_page(visit, act)

    async def confirm(self, visit: Visit) -> Response:
        """Do what a passkey has signed."""
        form = visit.form
        act, stamp, assertion = (form.get(name, "") for name in ("act", "stamp", "assertion"))
        done = await self._keys().confirm(visit.human, visit.csrf, act, stamp, assertion)
        if not done.secret:
            return visit.to("/account")
        human = done.act.human if isinstance(done.act, EnrolPerson) else ""
        return visit.page("passkey_secret.html", title="A fresh secret", nav="account", human=human, secret=done.secret)

    def _confirm_page(self, visit: Visit, act: Act) -> Response:
        keys = self._keys()
        asked = keys.ask(visit.human, visit.csrf, act)
        names = {key.id: key.name for key in keys.of(visit.human)}
        return visit.page(
            "passkey_confirm.html",
            title="Confirm with a passkey",
            nav="account",
            asked=asked,
            kind=type(act).__name__,
            about=_about(act, names),
            fresh_ms=FRESH_MS,
        )

    # -- small things ----------------------------------------------------------------------------------------------------

    def _keys(self) -> Passkeys:
        if self._console.passkeys is None:
            raise CallerError(Reason.PASSKEY_ORIGIN, "no passkeys work at this address", remedy="use https and a name")
        return self._console.passkeys

    def _here(self, request: Request) -> bool:
        """Whether the browser is at the address that passkeys belong to."""
        keys = self._console.passkeys
        return keys is not None and request.headers.get("host", "").lower() == urlsplit(keys.site.origin).netloc

    def _issuer_at(self, request: Request) -> str:
        """Where a round with the issuer begins: where the issuer sends people back to, since its cookie is there."""
        public = self._console.public_url
        return "" if request.headers.get("host", "").lower() == urlsplit(public).netloc.lower() else public

    def _how(self, visit: Visit, names: dict[str, str]) -> str:
        found = visit.signed_in
        if found.passkey:
            return f"passkey {names.get(found.passkey, '')}"
        return "approver secret" if found.secret else self._console.issuer

    def _people(self, visit: Visit) -> tuple[tuple[HumanId, int], ...]:
        """Everybody who answers holds, and how many passkeys they have."""
        if Role.APPROVER not in visit.roles:
            return ()
        everybody = sorted(visit.pdp.approvers.groups_of)
        return tuple((human, len(self._console.store.passkeys(human))) for human in everybody)


def _about(act: Act, names: dict[str, str]) -> str:
    """Whom or what it is about, in a word from outside."""
    match act:
        case AddKey():
            return act.name
        case RemoveKey():
            return names.get(act.passkey, act.passkey)
        case EnrolPerson() | ForgetKeys():
            return act.human


def _answer(request: Request) -> dict[str, str]:
    """The parameters of the redirect; one given twice makes all of them count for nothing."""
    pairs = request.query_params.multi_items()
    found = dict(pairs)
    return found if len(found) == len(pairs) <= MAX_ANSWER else {}
