"""A real house (store, policy, use cases, gateway) with the console in front, and browsers without scripts that use it."""

import re
from html import unescape
from typing import Any
from urllib.parse import urlsplit

import httpx2

import bundles
from lictor.console.web import Console, console_app
from lictor.model.approval import Hold
from lictor.model.ids import HumanId
from lictor.model.preview import Preview
from lictor.model.task import TaskState
from lictor.service.people.override import Override
from lictor.service.people.reconcile import Reconcile
from security.house import FEATURES, House

URL = "http://127.0.0.1:8700"
WRITE = "write-file/v1.2"
PREVIEWED = (bundles.CATALOGUE + FEATURES).replace(
    f'[tools."{WRITE}"]\n',
    f'[tools."{WRITE}"]\npreview = {{ kind = "list", pattern = "/path", roots = {{ ws = "/ws" }} }}\n',
)
"""Writes have a preview: what `Told` says."""
PEOPLE = """\
operators = ["ops"]
authors = ["ops"]
overriders = ["ops"]

[approvers."os:bob"]
groups = ["owner", "money"]

[approvers."os:carol"]
groups = ["owner"]

[approvers."os:olga"]
groups = ["ops"]

[viewers."os:vic"]
groups = []
"""


class Told:
    """A previewer that says what it is told to."""

    def __init__(self) -> None:
        self.preview_is: Preview | None = None
        self.changed_is = ""

    async def preview(self, request: object, entry: object, resolved: object) -> Preview | None:
        """The port's."""
        return self.preview_is

    async def changed(self, preview: Preview) -> str:
        """The port's."""
        return self.changed_is


class Bench:
    """Everything. `bundle` changes files of `tests/bundles.py`; `console` changes parts of the console."""

    def __init__(self, *, url: str = URL, console: dict[str, Any] | None = None, **bundle: str | None) -> None:
        self.house = House(**{"approvers.toml": PEOPLE, "catalog/fs.toml": PREVIEWED, **bundle})
        self.url = url
        self.previewer = Told()
        house = self.house
        house.authorize._previewer = self.previewer
        parts: dict[str, Any] = {name: getattr(house, name) for name in ("store", "policy", "clock")}
        made: dict[str, Any] = {
            **parts,
            "answer": house.answer,
            "ids": house.ids,
            "recording": lambda: True,
            "public_url": url,
            "hosts": frozenset({urlsplit(url).netloc}),
            "override": Override(**parts, ids=house.ids, limits=house.limits),
            "reconcile": Reconcile(**parts),
            **(console or {}),
        }
        self.console = Console(**made)
        self.app = console_app(self.console)
        self._secrets: dict[str, str] = {}

    async def secret(self, person: str) -> str:
        """The enrolled secret of somebody."""
        if person not in self._secrets:
            vouching = HumanId(next(iter(self._secrets))) if self._secrets else None
            self._secrets[person] = await self.house.answer.enrol(HumanId(person), by="test", vouched_by=vouching)
        return self._secrets[person]

    async def browser(self, person: str = "") -> "Browser":
        """A fresh browser; signed in where a person is named."""
        browser = Browser(self)
        if person:
            await browser.sign_in(await self.secret(person))
        return browser

    async def hold(self, arguments: dict[str, Any] | None = None, tool: str = WRITE, **task: Any) -> Hold:
        """One held action of a fresh task; the newest pending hold."""
        state = await self.house.task(**task)
        return await self.ask(state, arguments, tool)

    async def ask(self, state: TaskState, arguments: dict[str, Any] | None = None, tool: str = WRITE) -> Hold:
        """One held action of a task."""
        before = {one.id for one in self.house.store.holds(limit=10_000)}
        await self.house.call(state, tool, arguments if arguments is not None else {"path": "/ws/a", "content": "x"})
        found = [one for one in self.house.store.holds(limit=10_000) if one.id not in before]
        assert len(found) == 1, found
        return found[0]


class Page:
    """One answer, as a test reads it."""

    def __init__(self, response: Any) -> None:
        self.status: int = response.status_code
        self.headers = response.headers
        self.html: str = response.text
        self.path: str = response.headers.get("location", "")

    @property
    def text(self) -> str:
        """What a person reads, roughly: no markup, blanks joined."""
        body = re.sub(r"<(style|script)\b.*?</\1>", " ", self.html, flags=re.DOTALL)
        return " ".join(unescape(re.sub(r"<[^>]+>", "", body)).split())

    def form(self, action: str) -> dict[str, str]:
        """The hidden fields of the form with this action.

        Raises:
            LookupError: there is none.
        """
        for found in re.finditer(r'<form\b[^>]*\baction="([^"]*)"[^>]*>(.*?)</form>', self.html, re.DOTALL):
            if unescape(found[1]) == action:
                fields = re.findall(r'<input type="hidden" name="([^"]*)" value="([^"]*)"', found[2])
                return {name: unescape(value) for name, value in fields}
        raise LookupError(action)

    def forms(self) -> list[str]:
        """The actions of all forms."""
        return [unescape(found) for found in re.findall(r'<form\b[^>]*\baction="([^"]*)"', self.html)]


class Browser:
    """Cookies, forms, and redirects that are not followed unless asked for."""

    def __init__(self, bench: Bench) -> None:
        self.bench = bench
        transport = httpx2.ASGITransport(app=bench.app, raise_app_exceptions=True)
        self.http = httpx2.AsyncClient(transport=transport, base_url=bench.url)
        self.origin = bench.url

    async def get(self, path: str, **headers: str) -> Page:
        """Look at a page."""
        return Page(await self.http.get(path, headers={key.replace("_", "-"): one for key, one in headers.items()}))

    async def post(self, path: str, form: dict[str, str], *, origin: str | None = "", **headers: str) -> Page:
        """Send a form; from our own origin unless said otherwise (None: no origin at all)."""
        sent = {key.replace("_", "-"): one for key, one in headers.items()}
        if origin is not None:
            sent["Origin"] = origin or self.origin
        return Page(await self.http.post(path, data=form, headers=sent))

    async def sign_in(self, secret: str) -> Page:
        """By the form."""
        page = await self.get("/login")
        return await self.post("/login", {**page.form("/login"), "secret": secret})

    async def send(self, at: str, action: str, **fields: str) -> Page:
        """Open a page and send its form with this action."""
        page = await self.get(at)
        return await self.post(action, {**page.form(action), **fields})

    async def answer(self, hold: Hold, which: str, **fields: str) -> Page:
        """Open a hold and press a button."""
        return await self.send(f"/holds/{hold.id}", f"/holds/{hold.id}", answer=which, **fields)


__all__ = ["PEOPLE", "URL", "WRITE", "Bench", "Browser", "Page", "bundles"]
