"""What a hostile agent, server, page, neighbour or person tries at the console and its channels (review of issue 5)."""

import asyncio
import re
import socket
import ssl
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from urllib.parse import quote, urlencode

import pytest

from console.bench import URL, Bench, Browser
from console.story_world import bench as story_bench
from lictor.channels import post as posting
from lictor.channels.apprise import Apprise
from lictor.console import pages, rooms, web
from lictor.console.frame import HEADERS, brief
from lictor.console.held import hold_view
from lictor.console.rooms import OpenRow, Role, Rooms, Row
from lictor.console.views import ArgumentView
from lictor.model.errors import CallerError, StoreError, UpstreamError
from lictor.model.ids import HumanId
from lictor.model.reasons import Reason
from lictor.model.record import DecisionMade, RequestReceived, RequestRefused, decode_entry
from lictor.model.secret import Secret
from lictor.pep.mcp.request import MAX_NAME_BYTES
from lictor.service.people import notify
from lictor.service.people.notify import Notice, Notifier

EVIL = "https://evil.example"
HOSTILE = "\u202e\"'><script>alert(1)</script>{{7*7}}\x1b[2J\u200b\r\nX: y"
MIXED = "aа\u03b1\u202e\u200b\u05d0"
"""Every character is another script or hidden: the dearest text to draw."""
WORDS = "q agent task action answer reason within until kind name server on request revision path id effect hold part state human"
PEOPLE = {
    "os:vic": {Role.VIEWER},
    "os:carol": {Role.VIEWER, Role.APPROVER},
    "os:olga": set(Role),
}


def table(bench: Bench) -> list[Row | OpenRow]:
    """Every route of the console's rooms."""
    made = Rooms(bench.console)
    return [row for room in web.ROOMS for row in room.routes(made)]


def filled(path: str, word: str) -> str:
    """A path of the table with something in its places."""
    return re.sub(r"\{(\w+)(:\w+)?\}", word, path)


def running(bench: Bench) -> Rooms:
    """The rooms of the running console."""
    route = next(one for one in bench.app.routes if getattr(one, "path", "") == "/events")
    cells = getattr(route, "endpoint").__closure__  # noqa: B009
    found: Rooms = next(cell.cell_contents._rooms for cell in cells if hasattr(cell.cell_contents, "_rooms"))
    return found


def signed_in(bench: Bench, person: str) -> tuple[Browser, str]:
    """A browser of somebody, and the token of their forms; viewers have no secret to sign in with."""
    browser, made, now = Browser(bench), running(bench), bench.house.clock.now_ms()
    token = made.sign_ins.begin(HumanId(person), now)
    browser.http.cookies.set(made.cookie, token, domain="127.0.0.1")
    found = made.sign_ins.find(token, now)
    assert found is not None
    return browser, found.csrf


# -- who may what --------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("person", PEOPLE)
async def test_every_row_asks_for_its_role(person: str) -> None:
    """The whole table by person: exactly those rows whose role somebody lacks say so, and none of them writes anything."""
    bench = Bench()
    browser, csrf = signed_in(bench, person)
    assert bench.house.policy.current().approvers.roles_of(HumanId(person)) == PEOPLE[person]
    size = bench.house.store.size()
    for row in table(bench):
        if isinstance(row, OpenRow):
            continue
        path = filled(row.path, "none")
        page = await (browser.get(path) if row.method == "GET" else browser.post(path, {"csrf": csrf}))
        assert (f"this needs the role {row.role.value}" in page.text) is (row.role not in PEOPLE[person]), row
        assert page.status < 500, row
    assert bench.house.store.size() == size


async def test_no_post_works_as_a_get_and_no_get_as_a_post() -> None:
    """Prefetching, images and links reach nothing that changes: each row answers its own method alone."""
    bench = Bench()
    browser, csrf = signed_in(bench, "os:olga")
    posts = {row.path for row in table(bench) if row.method == "POST"}
    gets = {row.path for row in table(bench) if row.method == "GET"}
    matching = {path: re.compile(re.sub(r"\{(\w+)(:\w+)?\}", "[^/]+", path)) for path in posts | gets}
    size = bench.house.store.size()
    for path in posts - gets:
        asked = filled(path, "none")
        if not any(matching[one].fullmatch(asked) for one in gets):
            assert (await browser.get(asked)).status == 405, path
    for path in gets - posts:
        asked = filled(path, "none")
        if not any(matching[one].fullmatch(asked) for one in posts):
            assert (await browser.post(asked, {"csrf": csrf})).status == 405, path
    assert bench.house.store.size() == size


@pytest.mark.parametrize(
    ("origin", "more"),
    [(EVIL, {}), ("null", {}), ("http://localhost:3000", {}), (URL, {"sec_fetch_site": "cross-site"}), (None, {"sec_fetch_site": "same-site"})],
)  # fmt: skip
async def test_every_form_is_refused_from_elsewhere(origin: str | None, more: dict[str, str]) -> None:
    """CSRF, each POST of the table, the sign-in too, with the right token: 403, and nothing is written."""
    bench = Bench()
    browser, csrf = signed_in(bench, "os:olga")
    size = bench.house.store.size()
    for row in table(bench):
        if row.method == "POST":
            page = await browser.post(filled(row.path, "none"), {"csrf": csrf}, origin=origin, **more)
            assert (page.status, "another site" in page.text) == (403, True), row
    assert bench.house.store.size() == size
    assert (await browser.get("/")).status == 200


# -- what is sent --------------------------------------------------------------------------------------------------------------


async def test_whatever_is_sent_has_the_strict_headers() -> None:
    """Redirects, fragments' refusals, static files, health, downloads, streams' refusals: not pages alone."""
    bench = Bench()
    browser, _ = signed_in(bench, "os:olga")
    visitor = await bench.browser()
    answers = [
        await visitor.get("/"), await visitor.get("/", hx_request="true"), await visitor.get("/healthz"),
        await visitor.get("/static/none"), await visitor.get("/static/lictor.js"), await browser.get("/records/0/data"),
        await browser.get("/records/checkpoints/newest"), await browser.get("/policy/explain"),
    ]  # fmt: skip
    for page in answers:
        lacking = [name for name in HEADERS if name != "Content-Type" and name not in page.headers]
        assert not lacking, (page.status, page.path, lacking)


@pytest.mark.parametrize("path", ["/decisions/", "/holds/x/", "/static/lictor.js/", "/login/", "/v1/"])
async def test_no_redirect_before_the_guard(path: str) -> None:
    """A path with a slash too many led to whatever host was asked for, before anybody had looked at it (DNS rebinding)."""
    browser = await Bench().browser()
    assert (await browser.get(path, host="evil.example")).status == 421
    assert (await browser.post(path, {}, origin=EVIL)).status == 403
    assert (await browser.get(path)).status == 404


@pytest.mark.parametrize("broken", ["approver_by_secret", "size"])
async def test_a_store_that_refuses_is_said(broken: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Even where the refusal is of the very look-up that a page's frame needs: a page, and no stack trace."""
    bench = Bench()
    browser = await bench.browser("os:bob")

    def refused(*_: object) -> None:
        raise StoreError(Reason.CANNOT_RECORD, "the store does not answer")

    monkeypatch.setattr(bench.house.store, broken, refused)
    page = await browser.get("/")
    assert (page.status, "cannot_record" in page.text) == (503, True)
    assert (await browser.get("/nothing")).status == 404
    assert (await browser.post("/nothing", {})).status == 404


async def test_no_word_of_anybody_becomes_markup_or_hides() -> None:
    """Every page of the table, with every query word hostile, over arguments, names, notes and refusals that are hostile."""
    bench = story_bench()
    olga, bob = await bench.browser("os:olga"), await bench.browser("os:bob")
    state = await bench.house.task()
    held = await bench.ask(state, {"path": f"/ws/{HOSTILE}", "content": HOSTILE})
    denied = await bench.ask(await bench.house.task(), {"path": "/ws/b", "content": HOSTILE})
    await bench.house.call(state, f"nope{HOSTILE}", {HOSTILE: HOSTILE})
    await bob.answer(denied, "deny", note=HOSTILE)
    everything = urlencode(dict.fromkeys(WORDS.split(), HOSTILE))
    places = {row.path for row in table(bench) if row.method == "GET" and row.path != "/login/start"}
    asked = {
        filled(place, quote(word, safe=""))
        for place in places
        for word in (held.id, denied.id, held.task, held.request, "3", HOSTILE)
    }
    for path in sorted(asked | {"/events/none"}):
        for address in (path, f"{path}?{everything}"):
            page = await olga.get(address)
            assert page.status < 500, address
            assert "<script>alert" not in page.html, address
            assert not re.search(r'="[^"<>]*"\'>', page.html), address
            assert ">49<" not in page.html, address
            assert not re.search("[\u202e\u200b\x1b]", page.html), address
            assert page.path.startswith("/") or page.status not in {301, 302, 303, 307, 308}, address


@pytest.mark.parametrize("word", ["agent", "action", "reason"])
async def test_a_hidden_search_word_is_shown(word: str) -> None:
    """A link can fill a filter: what hides in it is made visible in the field too."""
    bench = Bench()
    page = await (await bench.browser("os:bob")).get(f"/decisions?{word}={quote('a' + chr(0x202E) + 'b')}")
    assert "\u202e" not in page.html


# -- what it costs ---------------------------------------------------------------------------------------------------------------


async def test_a_name_is_no_place_for_a_document() -> None:
    """A tool's name of a megabyte was recorded, kept 5,000 times in memory, and drawn in every list: it is refused at the door."""
    bench = Bench()
    state = await bench.house.task()
    name = (MIXED * 60_000)[:100_000]
    answer = await bench.house.call(state, name, {"path": "/ws/a"})
    assert answer.error is not None
    assert answer.error["data"]["reason"] == "too_large"
    records = [decode_entry(entry.data).record for entry in bench.house.store.entries()]
    assert not [one for one in records if isinstance(one, RequestReceived)]
    assert [one.reason for one in records if isinstance(one, RequestRefused)] == ["too_large"]
    await bench.house.call(state, "x" * MAX_NAME_BYTES, {})
    assert [one.reason for one in _decided(bench)] == ["unknown_tool"]


async def test_lists_cut_long_names_and_their_page_does_not() -> None:
    """The longest name there can be, fifty times, in the list that refreshes itself: cut, and that is said."""
    bench = Bench()
    state = await bench.house.task()
    name = ("ab" + MIXED) * 130
    for _ in range(50):
        await bench.house.call(state, name, {})
    bob = await bench.browser("os:bob")
    page = await bob.get("/decisions")
    assert f"({len(f'fs/{name}')} characters)" in page.text
    assert len(page.html) < 300_000
    one = re.search(r'href="(/decisions/\d+)"', page.html)
    assert one is not None
    assert (await bob.get(one[1])).html.count("U+202E") > 100 or (await bob.get(one[1])).html.count("202e") > 100
    assert brief("x" * 160) == "x" * 160


def _decided(bench: Bench) -> list[DecisionMade]:
    found = (decode_entry(entry.data).record for entry in bench.house.store.entries())
    return [one for one in found if isinstance(one, DecisionMade)]


async def test_the_names_of_arguments_are_read_like_their_values() -> None:
    """APRV-02: a wall of text in a member's name was no reason to be asked whether one has read to the end."""
    bench = Bench()
    hold = await bench.hold()
    view = hold_view(bench.house.store, bench.house.policy.current(), hold, bench.house.clock.now_ms())
    assert not pages.must_confirm_end(view)
    walled = replace(view, arguments=(*view.arguments, ArgumentView(path="k" * 30_000, kind="string", text="")))
    assert pages.must_confirm_end(walled)
    assert not pages.fits_together([walled] * 3)


async def test_what_refreshes_itself_is_not_the_content(monkeypatch: pytest.MonkeyPatch) -> None:
    """A hold's open page asks at every new hold what became of it: without drawing a megabyte again, and without a form."""
    bench = Bench()
    hold = await bench.hold({"path": "/ws/a", "content": MIXED * 500})
    bob = await bench.browser("os:bob")
    page = await bob.get(f"/holds/{hold.id}")
    refreshed = re.search(r'id="state"[^>]*hx-get="([^"]*)"', page.html)
    assert refreshed is not None
    monkeypatch.setattr(pages, "hold_page", lambda *_, **__: pytest.fail("drawn in full"))
    state = await bob.get(refreshed[1])
    assert state.status == 200
    assert 'id="state"' in state.html
    assert state.forms() == ["/logout"]
    assert len(state.html) < 10_000
    assert (await bob.get("/holds/none/state")).status == 404


async def test_one_person_draws_one_long_page_at_a_time() -> None:
    """Threads are shared with what agents wait for: somebody who asks a hundred times has one of them, and others get theirs."""
    made = Rooms(Bench().console)
    going, most, gate = 0, 0, threading.Event()

    def long() -> str:
        nonlocal going, most
        going += 1
        most = max(most, going)
        gate.wait(5)
        going -= 1
        return "drawn"

    bob = [asyncio.create_task(made.aside(HumanId("os:bob"), long)) for _ in range(100)]
    await asyncio.sleep(0.05)
    assert most == 1
    refused = [one for one in bob if one.done() and isinstance(one.exception(), CallerError)]
    assert len(refused) == 100 - rooms.MOST_WAITING
    others = [asyncio.create_task(made.aside(HumanId(f"os:{n}"), long)) for n in range(10)]
    await asyncio.sleep(0.05)
    assert most == rooms.MOST_ASIDE
    assert await asyncio.wait_for(asyncio.to_thread(lambda: "free"), 2) == "free"
    gate.set()
    assert await asyncio.gather(*others) == ["drawn"] * 10
    await asyncio.gather(*bob, return_exceptions=True)
    assert not made._lanes


# -- telling people ----------------------------------------------------------------------------------------------------------------


@pytest.fixture
def dripping() -> Iterator[int]:
    """A receiver that takes everything and answers a byte at a time, for ever."""
    server = socket.create_server(("127.0.0.1", 0))
    over = threading.Event()

    def drip(peer: socket.socket) -> None:
        try:
            peer.recv(65_536)
            # Of TLS: the beginning of a handshake record that never ends. Of HTTP: of a header's line.
            peer.sendall(b"HTTP/1.1 200 OK\r\nX: ")
            while not over.wait(0.05):
                peer.sendall(b"a")
        except OSError:
            peer.close()

    def accept() -> None:
        while not over.is_set():
            try:
                peer, _ = server.accept()
            except OSError:
                return
            threading.Thread(target=drip, args=(peer,), daemon=True).start()

    threading.Thread(target=accept, daemon=True).start()
    yield server.getsockname()[1]
    over.set()
    server.close()


async def test_a_receiver_that_drips_keeps_no_thread(dripping: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """A socket's timeout begins anew with every byte: each notice kept a thread of the pool for ever, and all else waited."""
    monkeypatch.setattr(posting, "DEADLINE_S", 0.3)

    async def send() -> None:
        with pytest.raises(UpstreamError):
            await posting.post(f"http://127.0.0.1:{dripping}/hook", b"{}", {})

    await asyncio.gather(*(send() for _ in range(40)))
    assert await asyncio.wait_for(asyncio.to_thread(lambda: "free"), 2) == "free"


async def test_a_handshake_that_drips_ends(monkeypatch: pytest.MonkeyPatch) -> None:
    """TLS records announced and sent a byte at a time: over at the same deadline."""
    server = socket.create_server(("127.0.0.1", 0))

    def drip() -> None:
        peer, _ = server.accept()
        try:
            peer.recv(65_536)
            peer.sendall(b"\x16\x03\x03\x3f\xff")
            while True:
                peer.sendall(b"\x02")
                time.sleep(0.05)
        except OSError:
            peer.close()

    threading.Thread(target=drip, daemon=True).start()
    monkeypatch.setattr(posting, "DEADLINE_S", 0.3)
    monkeypatch.setattr(ssl, "create_default_context", ssl._create_unverified_context)
    began = time.monotonic()
    parts = posting.urlsplit(f"https://127.0.0.1:{server.getsockname()[1]}/")
    with pytest.raises((OSError, ValueError)):
        await asyncio.to_thread(posting._send, parts, b"{}", {}, began + 0.3)
    assert time.monotonic() - began < 3
    server.close()


async def test_a_slow_channel_keeps_no_other_waiting() -> None:
    """Every channel has its own queue: one that hangs had each notice of all others wait a minute and a half."""
    told: list[str] = []

    class Hanging:
        async def send(self, notice: Notice) -> None:
            await asyncio.sleep(60)

    class Quick:
        async def send(self, notice: Notice) -> None:
            told.append(notice.id)

    bench = Bench()
    holds = [await bench.hold() for _ in range(5)]
    notifier = Notifier({"slow": (Hanging(), frozenset()), "quick": (Quick(), frozenset())}, url=str, say=told.append)
    job = asyncio.create_task(notifier.run())
    for hold in holds:
        notifier.held(hold)
    await asyncio.sleep(0.05)
    assert told == [hold.id for hold in holds]
    job.cancel()
    assert notify.MAX_WAITING > 5


@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # of its own old imports
async def test_an_apprise_service_that_hangs_holds_one_thread_of_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    """Its own timeouts begin anew with every byte too: it has a thread beside the pool, and one delivery at a time."""
    import apprise

    gate, begun = threading.Event(), threading.Event()

    def notified(*_: object, **__: object) -> bool:
        begun.set()
        return gate.wait(10)

    monkeypatch.setattr(apprise.Apprise, "notify", notified)

    async def url() -> Secret:
        return Secret("json://127.0.0.1:9/x")

    bench = Bench()
    notice = notify.notice_of(await bench.hold(), "http://x/holds/1")
    channel = Apprise(url)
    first = asyncio.create_task(channel.send(notice))
    assert await asyncio.to_thread(begun.wait, 10)
    first.cancel()
    with pytest.raises(UpstreamError, match="hangs still"):
        await channel.send(notice)
    gate.set()
    await _until(lambda: not channel._busy.locked())
    await channel.send(notice)


async def _until(true: Callable[[], bool]) -> None:
    for _ in range(200):
        if true():
            return
        await asyncio.sleep(0.01)
    raise AssertionError("it did not come true")
