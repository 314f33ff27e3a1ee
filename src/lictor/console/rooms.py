"""What a room of the console is given and gives: the console's parts, who visits, and rows of a table of routes.

A room is a module with `routes(rooms) -> list[Row]`. Its handlers get a `Visit`: a person who is signed in, has the role that the
row asks for, and, for a POST, has sent the form's token from our own origin. Refuses to know what rooms show.
"""

import asyncio
from collections.abc import Awaitable, Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, Final, Literal, TypeVar

from starlette.requests import Request
from starlette.responses import HTMLResponse, RedirectResponse, Response

from lictor.console import frame
from lictor.console.forms import MAX_FORM_BYTES, number, plausible, word
from lictor.console.signin import SignedIn, SignIns
from lictor.model.approval import Passkey
from lictor.model.errors import CallerError, LictorError
from lictor.model.ids import HumanId
from lictor.model.limits import Limits
from lictor.model.reasons import Reason
from lictor.pdp.decide import Pdp
from lictor.pdp.roles import Role
from lictor.ports import Clock, Ids, RecordStore
from lictor.records.checkpoint import LogKeys
from lictor.service.calls.offers import Offers
from lictor.service.containment.contain import Contain
from lictor.service.evidence.shadow import InShadow
from lictor.service.log.proofs import OpenLog
from lictor.service.people.approve import Answer
from lictor.service.people.login import Login
from lictor.service.people.override import Override
from lictor.service.people.passkeys import Passkeys
from lictor.service.people.presence import Presence
from lictor.service.people.reconcile import Reconcile
from lictor.service.policy import PolicyInForce

COOKIE: Final = "lictor_signin"
"""With https it has the `__Host-` prefix: no other host of the domain can plant a session of its own."""

__all__ = ["Console", "OpenRow", "Role", "Rooms", "Row", "Visit", "redirect"]

T = TypeVar("T")

MOST_ASIDE: Final = 3
"""Long pages drawn at the same time, of all people: hostile content takes seconds, and threads are everybody's."""
MOST_WAITING: Final = 16
"""Long pages of one person, with those that wait their turn: more than their windows ask for by themselves."""


class _Lane:
    """One person's long pages, one at a time."""

    def __init__(self) -> None:
        self.turn = asyncio.Lock()
        self.waiting = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Console:
    """What the pages need. A room that needs one more use case adds it here, with None (or what is harmless) as default."""

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
    passkeys: Passkeys | None = None
    """None: nobody can prove anything with a passkey."""
    override: Override | None = None
    """Opens a hold over a deny of policy; None: nobody can here."""
    reconcile: Reconcile | None = None
    """Takes a person's word on what became of an execution; None: nobody can say it here."""
    ending: Callable[[], bool] = field(default=lambda: False)
    """Whether the process is about to end: streams end first."""
    contain: Contain | None = None
    """Lays and lifts restrictions; None: the console cannot."""
    health: Callable[[], str] = field(default=lambda: "")
    """Why nothing may run now (`service.calls.guard.Guard.fault`); empty: it may."""
    limits: Limits = field(default_factory=Limits)
    open_log: OpenLog | None = None
    """A view of the log for another thread; None: proofs are not made and nothing is verified."""
    verifier_key: str = ""
    """Of the log, as `records.checkpoint.VerifierKey.text`: the one that signs now."""
    log_keys: LogKeys | None = None
    """What all its checkpoints are verified with; None: that key."""
    anchor: Callable[[], str | None] = field(default=lambda: None)
    """The newest checkpoint kept outside the log's database."""
    cosigned: Callable[[], Iterable[str]] = field(default=tuple)
    """The checkpoints that witnesses have cosigned."""
    invariants: Callable[[], bytes | None] = field(default=lambda: None)
    """`invariants.toml` of the bundle's folder as it stands there: it decides nothing, so no revision keeps it."""
    shadow: Callable[[], InShadow | None] = field(default=lambda: None)
    """What is known of the bundle in shadow; None: none is to run."""
    offers: Offers | None = None
    """What servers said last that they offer; None: nobody asked them."""
    defect: Callable[[Exception], None] | None = None
    """Told of what no page foresaw; None: it is raised."""


class Rooms:
    """The console's parts, its sign-ins, and how pages are made. One for each console."""

    def __init__(self, console: Console) -> None:
        self.console = console
        self.sign_ins = SignIns(lambda: console.ids.new("lsi"))
        self.presence = Presence(console.store, console.clock)
        self.secure: bool = console.public_url.startswith("https://")
        # The prefix makes browsers refuse the cookie from anybody but this host; they know it with https alone.
        self.cookie = f"__Host-{COOKIE}" if self.secure else COOKIE
        self._kept: dict[str, tuple[object, Any]] = {}
        self._lanes: dict[HumanId, _Lane] = {}
        self._threads = asyncio.Semaphore(MOST_ASIDE)
        self.waiting: Callable[[HumanId], int] = lambda _: 0
        """How many holds wait for somebody; the room of approvals sets it."""

    def signed_in(self, request: Request) -> SignedIn | None:
        """The sign-in of a request, while its person is known still and what it was begun with has not been replaced."""
        token, console = request.cookies.get(self.cookie, ""), self.console
        found = self.sign_ins.find(token, console.clock.now_ms())
        if found is None:
            return None
        gone = not console.policy.current().approvers.roles_of(found.human)
        replaced = bool(found.secret) and console.store.approver_by_secret(found.secret) != found.human
        removed = bool(found.passkey) and not _is_of(console.store.passkey(found.passkey), found.human)
        if gone or replaced or removed:
            self.sign_ins.end(token)
            return None
        return found

    def begin(self, response: Response, request: Request, human: HumanId, **how: Any) -> None:
        """Sign somebody in with this response; what the browser had before ends (no fixation).

        Args:
            how: as `SignIns.begin`: `secret`, `strength`, `passkey`.
        """
        self.sign_ins.end(request.cookies.get(self.cookie, ""))
        token = self.sign_ins.begin(human, self.console.clock.now_ms(), **how)
        response.set_cookie(self.cookie, token, httponly=True, samesite="strict", secure=self.secure, path="/")

    def end(self, request: Request) -> None:
        """Sign out."""
        self.sign_ins.end(request.cookies.get(self.cookie, ""))

    def origins(self, request: Request) -> frozenset[str]:
        """Where a form of this request may come from: this very host, which is one of ours, or the public address."""
        scheme = self.console.public_url.partition("://")[0]
        host = request.headers.get("host", "").lower()
        return frozenset({self.console.public_url, *([f"{scheme}://{host}"] if host in self.console.hosts else [])})

    def page(self, template: str, page: frame.Page, status: int = 200, **values: Any) -> HTMLResponse:
        """A page that needs no sign-in (`Visit.page` is for all others)."""
        return HTMLResponse(frame.draw(template, page, **values), status_code=status, headers=dict(frame.HEADERS))

    def message(self, title: str, text: str, status: int, request: Request | None = None) -> HTMLResponse:
        """One sentence: done, expired, not found, not allowed."""
        try:
            signed_in = self.signed_in(request) if request is not None else None
            page = self.framed(signed_in, title) if signed_in is not None else frame.Page(title=title)
        except LictorError:
            # It may be the store's very refusal that is said: then nobody is looked up for it.
            page = frame.Page(title=title)
        return self.page("message.html", page, status, text=text, good=status < 400)

    def framed(self, signed_in: SignedIn, title: str, *, nav: str = "", live: bool = False) -> frame.Page:
        """The frame for somebody who is signed in."""
        roles = self.console.policy.current().approvers.roles_of(signed_in.human)
        return frame.Page(
            title=title,
            nav=nav,
            user=signed_in.human,
            roles=frozenset(role.value for role in roles),
            csrf=signed_in.csrf,
            waiting=self.waiting(signed_in.human),
            live=live,
        )

    async def aside(self, human: HumanId, make: Callable[[], T]) -> T:
        """Something long, in a thread: one at a time for each person, a few for all, since agents' work needs threads too.

        Raises:
            CallerError: `overloaded`: this person waits for so much already.
        """
        lane = self._lanes.setdefault(human, _Lane())
        if lane.waiting >= MOST_WAITING:
            raise CallerError(Reason.OVERLOADED, "you are being answered: try again in a moment")
        lane.waiting += 1
        try:
            async with lane.turn, self._threads:
                return await asyncio.to_thread(make)
        finally:
            lane.waiting -= 1
            if not lane.waiting:
                del self._lanes[human]

    def while_same(self, name: str, make: Callable[[], T]) -> T:
        """What `make` makes, kept until the log has grown or another bundle is in force. `name` is fixed text, not input."""
        stamp = (self.console.store.size(), self.console.policy.current())
        kept = self._kept.get(name)
        if kept is None or kept[0] != stamp:
            kept = (stamp, make())
            self._kept[name] = kept
        found: T = kept[1]
        return found


def _is_of(passkey: Passkey | None, human: HumanId) -> bool:
    return passkey is not None and passkey.human == human and not passkey.removed


@dataclass(frozen=True, slots=True, kw_only=True)
class Visit:
    """Somebody who is signed in and may be where they are; `form` is empty for a GET."""

    rooms: Rooms
    request: Request
    signed_in: SignedIn
    roles: frozenset[Role]
    form: Mapping[str, str] = field(default_factory=dict)

    @property
    def console(self) -> Console:
        """Store, policy, use cases."""
        return self.rooms.console

    @property
    def human(self) -> HumanId:
        """Who it is."""
        return self.signed_in.human

    @property
    def csrf(self) -> str:
        """What forms send back."""
        return self.signed_in.csrf

    @property
    def now_ms(self) -> int:
        """The time."""
        return self.console.clock.now_ms()

    @property
    def pdp(self) -> Pdp:
        """The bundle in force."""
        return self.console.policy.current()

    def word(self, name: str, most: int = 200) -> str:
        """One word of the query; empty when it is missing, doubled or too long."""
        return word(self.request, name, most)

    def number(self, name: str, default: int, *, least: int = 0, most: int = 2**53) -> int:
        """One number of the query; the default when it is missing or none."""
        return number(self.request, name, default, least=least, most=most)

    def path(self, name: str) -> str:
        """A parameter of the route; empty when it cannot be an id of ours."""
        found = str(self.request.path_params.get(name, ""))
        return found if plausible(found) else ""

    def page(
        self, template: str, *, title: str, nav: str, status: int = 200, live: bool = False, **values: Any
    ) -> HTMLResponse:
        """A page in the frame. `title` may be a word from outside: it is rendered."""
        return self.rooms.page(
            template, self.rooms.framed(self.signed_in, title, nav=nav, live=live), status, visit=self, **values
        )

    async def large_page(
        self, template: str, *, title: str, nav: str, status: int = 200, live: bool = False, **values: Any
    ) -> HTMLResponse:
        """As `page`, drawn off the loop: a megabyte of hostile text takes seconds, and agents must not wait for it."""
        page = self.rooms.framed(self.signed_in, title, nav=nav, live=live)
        text = await self.rooms.aside(self.human, lambda: frame.draw(template, page, visit=self, **values))
        return HTMLResponse(text, status_code=status, headers=dict(frame.HEADERS))

    def message(self, title: str, text: str, status: int = 200) -> HTMLResponse:
        """One sentence as a page."""
        return self.rooms.message(title, text, status, self.request)

    def missing(self, what: str) -> HTMLResponse:
        """There is no such thing."""
        return self.message("Not found", f"there is no {what} of that name", 404)

    def to(self, path: str) -> Response:
        """After a POST: look at this path of ours."""
        return redirect(path)


Handler = Callable[[Visit], Awaitable[Response]]
OpenHandler = Callable[[Request], Awaitable[Response]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """One route for people who are signed in."""

    method: Literal["GET", "POST"]
    path: str
    handler: Handler
    role: Role = Role.VIEWER
    """What somebody has to be; everybody who can sign in is a viewer."""
    most_bytes: int = MAX_FORM_BYTES
    """Of a POST's form."""


@dataclass(frozen=True, slots=True, kw_only=True)
class OpenRow:
    """One route without a sign-in: its handler checks forms by itself. Only the account room and the frame have such."""

    method: Literal["GET", "POST"]
    path: str
    handler: OpenHandler


def redirect(path: str) -> Response:
    """To a path of ours, and nowhere else.

    Raises:
        ValueError: it could lead elsewhere; a defect of ours, since no input becomes a path without `plausible`.
    """
    if (
        not path.startswith("/")
        or path.startswith("//")
        or "\\" in path
        or not path.isascii()
        or not path.isprintable()
    ):
        raise ValueError("not a path of ours")
    headers = {"Cache-Control": "no-store", "Referrer-Policy": "same-origin"}
    return RedirectResponse(path, status_code=303, headers=headers)
