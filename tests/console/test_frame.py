"""Around every page of the console: host, origin, sign-in, role, token; headers; nothing changes by looking."""

import asyncio
import hashlib
import re
from collections.abc import AsyncIterator
from importlib.resources import files
from typing import Any

import pytest
from starlette.routing import Route

from console.bench import URL, Bench, Browser
from lictor.console import events, web
from lictor.console.events import Changes
from lictor.console.forms import MAX_FIELDS, MAX_FORM_BYTES, plausible
from lictor.console.frame import HEADERS, NAVIGATION, STATIC, span
from lictor.console.rooms import OpenRow, Role, Rooms, Row, Visit, redirect
from lictor.model.approval import seal_of
from lictor.model.errors import StoreError
from lictor.model.ids import HumanId
from lictor.model.reasons import Reason

EVIL = "https://evil.example"
OPEN = {"/login", "/login/start", "/login/callback", "/login/passkey", "/logout", "/static/{name}", "/healthz"}
"""Everything that answers without a sign-in."""

FREE = {"/policy/what-if/{request}", "/records/verify", "/containment", "/containment/kill"}
"""Forms for everybody who can sign in: their handlers say who may do what with them."""


def rows(bench: Bench) -> list[Row | OpenRow]:
    """The whole table."""
    rooms = Rooms(bench.console)
    return [row for room in web.ROOMS for row in room.routes(rooms)]


def filled(path: str, hold: str) -> str:
    """A path of the table with something in its places."""
    return re.sub(r"\{(\w+)(:\w+)?\}", lambda found: hold if found[1] == "hold" else "none", path)


@pytest.fixture
def bench() -> Bench:
    """A console."""
    return Bench()


# -- who asks ----------------------------------------------------------------------------------------------------------------


async def test_no_page_without_a_sign_in(bench: Bench) -> None:
    """Every route but the named ones leads to the sign-in, and a part of a page asks for the whole again."""
    visitor = await bench.browser()
    seen = set()
    for row in rows(bench):
        if isinstance(row, OpenRow):
            seen.add(row.path)
            continue
        path = filled(row.path, "hold_x")
        page = await (visitor.get(path) if row.method == "GET" else visitor.post(path, {"csrf": "x"}))
        assert (page.status, page.path.partition("?")[0]) == (303, "/login"), row
        assert (await visitor.get(path, hx_request="true")).headers.get("hx-refresh") == "true" or row.method == "POST"
    assert seen <= OPEN
    assert (await visitor.get("/events")).path == "/login"


async def test_a_link_to_a_hold_survives_the_sign_in(bench: Bench) -> None:
    """The link an approver got leads to its hold, after the form."""
    visitor = await bench.browser()
    page = await visitor.get("/holds/hold_x")
    assert page.path == "/login?hold=hold_x"
    form = (await visitor.get(page.path)).form("/login")
    done = await visitor.post("/login", {**form, "secret": await bench.secret("os:bob")})
    assert (done.status, done.path) == (303, "/holds/hold_x")


@pytest.mark.parametrize(
    "target",
    [EVIL, "//evil.example", "/\\evil.example", "x/../../y", "a%0d%0aSet-Cookie: x=y", "a\r\nX: y", "é", "a" * 200],
)
async def test_no_open_redirect(bench: Bench, target: str) -> None:
    """Nothing that is no id of ours gets into a redirect (no header injection either)."""
    visitor = await bench.browser()
    form = (await visitor.get("/login")).form("/login")
    done = await visitor.post("/login", {**form, "next_hold": target, "secret": await bench.secret("os:bob")})
    assert (done.status, done.path) == (303, "/")
    with pytest.raises(ValueError, match="not a path of ours"):
        redirect(target)
    assert not plausible(target)


async def test_a_planted_session_is_none(bench: Bench) -> None:
    """Session fixation: a cookie somebody else chose counts for nothing, and a sign-in makes a fresh one and ends the old."""
    browser = await bench.browser()
    browser.http.cookies.set("lictor_signin", "lsi_planted", domain="127.0.0.1")
    await browser.sign_in(await bench.secret("os:bob"))
    first = browser.http.cookies.get("lictor_signin")
    assert first != "lsi_planted"
    other = await bench.browser()
    other.http.cookies.set("lictor_signin", "lsi_planted", domain="127.0.0.1")
    assert (await other.get("/")).status == 303
    await browser.sign_in(await bench.secret("os:bob"))
    other.http.cookies.set("lictor_signin", first, domain="127.0.0.1")
    assert (await other.get("/")).status == 303


async def test_a_viewer_looks_and_changes_nothing() -> None:
    """Somebody who is only a viewer gets every page of the table and none of its buttons' effects."""
    bench = Bench()
    hold = await bench.hold()
    viewer = Browser(bench)
    rooms = _rooms(bench)
    token = rooms.sign_ins.begin(HumanId("os:vic"), bench.house.clock.now_ms())
    viewer.http.cookies.set(rooms.cookie, token, domain="127.0.0.1")
    csrf = rooms.sign_ins.find(token, bench.house.clock.now_ms())
    assert csrf is not None
    page = await viewer.get(f"/holds/{hold.id}")
    assert page.status == 200
    assert "you may look, and answer nothing" in page.text
    size = bench.house.store.size()
    for row in rows(bench):
        if isinstance(row, Row) and row.method == "POST" and row.role is not Role.VIEWER:
            done = await viewer.post(
                filled(row.path, hold.id), {"csrf": csrf.csrf, "answer": "approve", "seal": seal_of(hold)}
            )
            assert done.status == 403, row
            assert f"role {row.role.value}" in done.text
    assert bench.house.store.size() == size


async def test_roles_stand_on_the_rows(bench: Bench) -> None:
    """Every POST asks for more than looking, but one's own account, questions that record nothing, and what only tightens."""
    free = {
        row.path for row in rows(bench) if isinstance(row, Row) and row.method == "POST" and row.role is Role.VIEWER
    }
    assert {path for path in free if not path.startswith("/account")} <= FREE
    carol = await bench.browser("os:carol")
    page = await carol.post("/requests/r/override", {"csrf": await csrf(carol), "seq": "1"})
    assert (page.status, "overrider" in page.text) == (403, True)


# -- where it comes from -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("path", ["/", "/login", "/nothing", "/static/lictor.css", "/healthz", "/events"])
async def test_another_name_is_not_served(bench: Bench, path: str) -> None:
    """DNS rebinding: a host that is none of ours gets no page, not even that there is none."""
    browser = await bench.browser("os:bob")
    page = await browser.get(path, host="rebound.example:8700")
    assert page.status == 421
    assert page.headers["content-security-policy"] == HEADERS["Content-Security-Policy"]


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({"origin": EVIL}, 403),
        ({"origin": "null"}, 403),
        ({"origin": "http://127.0.0.1:8701"}, 403),
        ({"origin": "https://127.0.0.1:8700"}, 403),
        ({"origin": URL, "sec_fetch_site": "cross-site"}, 403),
        ({"origin": None, "sec_fetch_site": "same-site"}, 403),
        ({"origin": URL, "sec_fetch_site": "same-origin"}, 200),
        ({"origin": None}, 200),
    ],
)
async def test_a_form_of_another_site_is_refused(bench: Bench, headers: dict[str, Any], status: int) -> None:
    """CSRF: even with the right token; what sends no origin is no browser and needs the token like all."""
    hold = await bench.hold()
    browser = await bench.browser("os:bob")
    form = (await browser.get(f"/holds/{hold.id}")).form(f"/holds/{hold.id}")
    page = await browser.post(f"/holds/{hold.id}", {**form, "answer": "deny"}, **headers)
    assert page.status == status
    kept = bench.house.store.hold(hold.id)
    assert kept is not None
    assert kept.status.value == ("denied" if status == 200 else "pending")


async def test_each_name_of_the_console_is_its_own_origin() -> None:
    """A form of one of our hosts is not one of another of our hosts."""
    bench = Bench(console={"hosts": frozenset({"127.0.0.1:8700", "localhost:8700"})})
    browser = await bench.browser("os:bob")
    form = {"csrf": await csrf(browser)}
    assert (await browser.post("/logout", form, origin="http://localhost:8700")).status == 403
    other = Browser(bench)
    page = await other.post("/login", {}, origin="http://localhost:8700", host="localhost:8700")
    assert page.status != 421
    assert "another site" not in page.text
    assert (await browser.post("/logout", form)).status == 303


@pytest.mark.parametrize("token", ["", "forged", "another's"])
async def test_no_form_without_the_signins_own_token(bench: Bench, token: str) -> None:
    """Every POST of the table, with no token, a made-up one, and another sign-in's: refused, and nothing is recorded."""
    hold = await bench.hold()
    browser, other = await bench.browser("os:olga"), await bench.browser("os:bob")
    sent = await csrf(other) if token == "another's" else token
    size = bench.house.store.size()
    for row in rows(bench):
        if isinstance(row, Row) and row.method == "POST" and row.role in {Role.VIEWER, *_roles(bench, "os:olga")}:
            page = await browser.post(
                filled(row.path, hold.id), {"csrf": sent, "answer": "deny", "seal": seal_of(hold)}
            )
            assert (page.status, "expired" in page.text) == (403, True), row
    assert bench.house.store.size() == size


@pytest.mark.parametrize(
    "body",
    [
        "csrf={csrf}&answer=deny&answer=approve",
        "csrf={csrf}&csrf={csrf}&answer=deny",
        "csrf={csrf}&answer=deny&note=" + "x" * MAX_FORM_BYTES,
        "csrf={csrf}&answer=deny&" + "&".join(f"a{n}=" for n in range(MAX_FIELDS)),
        "csrf={csrf}&answer=deny&note=%ff",
        "csrf={csrf}&answer=deny&note",
    ],
    ids=["field twice", "token twice", "too large", "too many", "no UTF-8", "no value"],
)
async def test_an_odd_form_is_no_form(bench: Bench, body: str) -> None:
    """A form with a field twice, too large, or malformed has no token that could be right."""
    hold = await bench.hold()
    browser = await bench.browser("os:bob")
    sent = body.format(csrf=await csrf(browser)).encode()
    headers = {"content-type": "application/x-www-form-urlencoded", "origin": URL}
    response = await browser.http.post(f"/holds/{hold.id}", content=sent, headers=headers)
    assert response.status_code == 403
    assert bench.house.store.hold(hold.id) == hold


# -- what is sent ------------------------------------------------------------------------------------------------------------


async def test_looking_changes_nothing(bench: Bench) -> None:
    """BIND-18: every GET of the table leaves the log as it is."""
    hold = await bench.hold()
    browser = await bench.browser("os:bob")
    size = bench.house.store.size()
    for row in rows(bench):
        if row.method == "GET":
            page = await browser.get(filled(row.path, hold.id))
            assert page.status < 500, row
            assert bench.house.store.size() == size, row


async def test_every_answer_has_the_strict_headers(bench: Bench) -> None:
    """Clickjacking, sniffing, caching, leaks by referrer: on pages, refusals, what is not there, and redirects."""
    browser = await bench.browser("os:bob")
    for path in [*(address for _, _, address in NAVIGATION), "/nothing", "/holds/none", "/login"]:
        page = await browser.get(path)
        for name, value in HEADERS.items():
            assert page.headers[name] == value, (path, name)
    answers = [await browser.post("/nothing", {}), await browser.post("/", {}), await browser.get("/", host="x")]
    assert [page.status for page in answers] == [404, 405, 421]
    assert all(page.headers["x-frame-options"] == "DENY" for page in answers)
    away = await (await bench.browser()).get("/")
    assert (away.headers["cache-control"], away.headers["referrer-policy"]) == ("no-store", "same-origin")


async def test_pages_load_only_files_of_ours(bench: Bench) -> None:
    """No address of another site and no inline script or style on any page; each file is there under its digest."""
    browser = await bench.browser("os:bob")
    for _, _, address in NAVIGATION:
        page = await browser.get(address)
        assert not re.search(r"<script(?![^>]*\bsrc=)|<style|\sstyle=|\son[a-z]+=", page.html), address
        loaded = re.findall(r'(?:src|href)="(/static/[^"]+)"', page.html)
        assert loaded
        for one in loaded:
            found = await browser.get(one)
            assert (found.status, found.headers["x-content-type-options"]) == (200, "nosniff"), one
            assert "immutable" in found.headers["cache-control"], one
        assert not re.search(r'(?:src|href|action|hx-get)="(?:https?:)?//', page.html), address


@pytest.mark.parametrize("name", ["nothing.css", "..%2fweb.py", "VENDORED.md", "htmx.LICENSE", "", "lictor.css/x"])
async def test_only_known_files_are_static(bench: Bench, name: str) -> None:
    """By name from a table, never by path; what is not loaded by pages is not served."""
    assert (await (await bench.browser()).get(f"/static/{name}")).status == 404


def test_what_is_vendored_is_what_the_page_says() -> None:
    """Version and digest of each file of others stand in VENDORED.md, and their licences beside them."""
    folder = files("lictor.console") / "static"
    said = folder.joinpath("VENDORED.md").read_text("utf-8")
    for name in ("htmx.min.js", "htmx-sse.min.js"):
        [line] = [line for line in said.splitlines() if line.startswith(f"| `{name}`")]
        assert hashlib.sha256(STATIC[name].data).hexdigest() in line
        licence = re.search(r"\(`([^`]+)`\)", line)
        assert licence is not None
        assert "Zero" in folder.joinpath(licence[1]).read_text("utf-8")


async def test_a_defect_is_told_to_the_operator_alone() -> None:
    """What no page foresaw is a page without words of ours; where nobody is told it is raised."""
    told: list[Exception] = []

    class OddError(RuntimeError):
        """Nobody expects it."""

    def broken() -> str:
        raise OddError("secret words")

    bench = Bench(console={"defect": told.append, "health": broken, "recording": lambda: broken() == ""})
    page = await (await bench.browser()).get("/healthz")
    assert page.status == 500
    assert "secret words" not in page.html
    assert [type(one) for one in told] == [OddError]
    with pytest.raises(OddError):
        await (await Bench(console={"recording": lambda: broken() == ""}).browser()).get("/healthz")


async def test_a_store_that_cannot_record_is_said(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    """503, with the reason; the person is not told that it was done."""
    hold = await bench.hold()
    browser = await bench.browser("os:bob")

    async def full(_: object) -> None:
        raise StoreError(Reason.CANNOT_RECORD, "the disk is full")

    form = (await browser.get(f"/holds/{hold.id}")).form(f"/holds/{hold.id}")
    monkeypatch.setattr(bench.house.store, "commit", full)
    page = await browser.post(f"/holds/{hold.id}", {**form, "answer": "approve"})
    assert (page.status, "cannot_record" in page.text) == (503, True)


# -- live --------------------------------------------------------------------------------------------------------------------


def listening(bench: Bench) -> tuple[Changes, AsyncIterator[bytes], Visit, Rooms]:
    """A stream of somebody who is signed in, as the route makes it."""
    rooms = _rooms(bench)
    token = rooms.sign_ins.begin(HumanId("os:bob"), bench.house.clock.now_ms())
    scope = {
        "type": "http",
        "headers": [(b"cookie", f"{rooms.cookie}={token}".encode())],
        "method": "GET",
        "path": "/events",
    }
    from starlette.requests import Request

    request = Request(scope)
    signed_in = rooms.signed_in(request)
    assert signed_in is not None
    visit = Visit(rooms=rooms, request=request, signed_in=signed_in, roles=frozenset({Role.VIEWER}))
    changes = Changes(rooms)
    return changes, changes._events(visit), visit, rooms


async def test_what_changes_is_told_within_a_second(bench: Bench) -> None:
    """A new hold is an event of its own name, with a number and not a word of what it is."""
    _, stream, _, _ = listening(bench)
    assert b"listening" in await anext(stream)
    next_one = asyncio.ensure_future(anext(stream))
    await asyncio.sleep(events.TICK_S * 1.5)
    await bench.hold()
    told = await asyncio.wait_for(next_one, 1.0)
    assert re.search(rb"event: holds\ndata: \d+\n\n", told)
    assert b"event: decisions" in told
    assert set(re.findall(rb"^(\w+):", told, re.MULTILINE)) == {b"event", b"data"}
    await stream.aclose()  # type: ignore[attr-defined]


async def test_a_stream_ends_with_the_sign_in(bench: Bench) -> None:
    """Whoever signs out, or is no approver any more, is told nothing further."""
    changes, stream, visit, rooms = listening(bench)
    await anext(stream)
    rooms.end(visit.request)
    await bench.hold()
    with pytest.raises(StopAsyncIteration):
        await asyncio.wait_for(anext(stream), 2.0)
    assert changes._open == {}


async def test_nobody_has_more_than_a_few_streams(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    """A window too many gets no stream; one that closes makes room. Nobody listening, nothing is read."""
    monkeypatch.setattr(events, "MAX_STREAMS", 2)
    changes, first, visit, _ = listening(bench)
    second = changes._events(visit)
    await anext(first)
    await anext(second)
    assert (await changes.stream(visit)).status_code == 429
    await second.aclose()
    assert (await changes.stream(visit)).status_code == 200
    await first.aclose()  # type: ignore[attr-defined]
    await asyncio.sleep(events.TICK_S * 2)
    assert changes._reader is not None
    assert changes._reader.done()


async def test_a_store_in_trouble_is_not_read(monkeypatch: pytest.MonkeyPatch) -> None:
    """While decisions cannot be recorded the stream asks the store nothing."""
    bench = Bench(console={"recording": lambda: False})
    _, stream, _, _ = listening(bench)
    await anext(stream)
    await asyncio.sleep(0)
    asked: list[int] = []
    real = bench.house.store.size
    monkeypatch.setattr(bench.house.store, "size", lambda: asked.append(1) or real())
    await asyncio.sleep(events.TICK_S * 3)
    assert asked == []
    await stream.aclose()  # type: ignore[attr-defined]


# -- small things ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("ms", "text"),
    [
        (-5, "0 s"),
        (999, "0 s"),
        (59_000, "59 s"),
        (60_000, "1 min"),
        (61_500, "1 min 1 s"),
        (7_500_000, "2 h 5 min"),
        (90_000_000, "1 d 1 h"),
    ],
)
def test_spans_are_said_in_two_units(ms: int, text: str) -> None:
    """As people say them."""
    assert span(ms) == text


async def csrf(browser: Browser) -> str:
    """The token of a browser's sign-in."""
    return (await browser.get("/")).form("/logout")["csrf"]


def _roles(bench: Bench, person: str) -> frozenset[Role]:
    return bench.house.policy.current().approvers.roles_of(HumanId(person))


def _rooms(bench: Bench) -> Rooms:
    """The rooms of the running console."""
    route = next(one for one in bench.app.routes if isinstance(one, Route) and one.path == "/events")
    found = route.endpoint.__closure__
    assert found is not None
    guard = next(cell.cell_contents for cell in found if hasattr(cell.cell_contents, "_rooms"))
    rooms = guard._rooms
    assert isinstance(rooms, Rooms)
    return rooms
