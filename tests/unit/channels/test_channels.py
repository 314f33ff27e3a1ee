"""Channels against a real HTTP server: what arrives, how it is signed, what is refused, and that nothing is decided by it."""

import asyncio
import base64
import hashlib
import hmac
import http.server
import json
import threading
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from lictor.channels.apprise import Apprise
from lictor.channels.build import channel_of
from lictor.channels.settings import NotifySettings, check_notify
from lictor.channels.slack import Slack, message
from lictor.channels.webhook import Webhook, key_of
from lictor.model.action import ActionKind
from lictor.model.approval import Hold
from lictor.model.errors import OperatorError, UpstreamError
from lictor.model.ids import ActionDigest, AgentId, HoldId, HumanId, RequestId, ServerName, TaskId
from lictor.model.reasons import Reason
from lictor.model.secret import Secret
from lictor.service.people import notify
from lictor.service.people.notify import Notice, Notifier, notice_of
from lictor.testing.clock import ManualClock

KEY = "k" * 32


def hold(**changes: Any) -> Hold:
    members: dict[str, Any] = {
        "id": HoldId("hold_1"), "request": RequestId("r"), "digest": ActionDigest("sha256:0"), "task": TaskId("t"),
        "agent": AgentId("coder"), "human": HumanId("os:alice"), "kind": ActionKind.TOOL, "server": ServerName("fs"),
        "name": "write", "groups": (("owner",),), "opened_at_ms": 1_000, "expires_at_ms": 901_000,
    }  # fmt: skip
    return Hold(**{**members, **changes})


def notice(**changes: Any) -> Notice:
    return notice_of(hold(**changes), "https://lictor.example/holds/hold_1")


class Receiver:
    """A server that keeps what it is sent and answers as told."""

    def __init__(self) -> None:
        self.got: list[tuple[str, dict[str, str], bytes]] = []
        self.answers: list[int] = []
        outer = self

        class Handler(http.server.BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers.get("Content-Length", "0")))
                outer.got.append((self.path, {k.lower(): v for k, v in self.headers.items()}, body))
                status = outer.answers.pop(0) if outer.answers else 200
                self.send_response(status)
                if status == 302:
                    self.send_header("Location", "/elsewhere")
                self.send_header("Content-Length", "0")
                self.end_headers()

            def log_message(self, *_: Any) -> None:
                pass

        self._server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self._server.server_port}"
        threading.Thread(target=self._server.serve_forever, daemon=True).start()

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    found = Receiver()
    yield found
    found.close()


async def key() -> Secret:
    return Secret(KEY)


def verified(headers: dict[str, str], body: bytes, secret: str, now_s: int) -> bool:
    """As a receiver checks a delivery (Standard Webhooks 1.0): fresh, and signed over id, time and body."""
    signed = f"{headers['webhook-id']}.{headers['webhook-timestamp']}.".encode() + body
    mac = base64.b64encode(hmac.new(secret.encode(), signed, hashlib.sha256).digest()).decode()
    fresh = abs(now_s - int(headers["webhook-timestamp"])) <= 300
    return fresh and hmac.compare_digest(headers["webhook-signature"], f"v1,{mac}")


async def test_a_webhook_can_be_verified_and_holds_a_link_and_no_argument(receiver: Receiver) -> None:
    """Its signature is over id, time and body; another body, key, id or an old time does not verify."""
    await Webhook(f"{receiver.url}/hook?x=1", key, lambda: 5_000_000).send(notice())
    path, headers, body = receiver.got[0]
    assert path == "/hook?x=1"
    assert verified(headers, body, KEY, 5_000)
    assert not verified(headers, body + b" ", KEY, 5_000)
    assert not verified(headers, body, "other", 5_000)
    assert not verified({**headers, "webhook-id": "hold_2"}, body, KEY, 5_000)
    assert not verified(headers, body, KEY, 6_000)
    told = json.loads(body)
    assert told["type"] == "hold.opened"
    assert told["data"]["url"] == "https://lictor.example/holds/hold_1"
    assert set(told["data"]) == {"hold", "title", "text", "url", "groups", "at_ms", "expires_at_ms"}


def test_a_standard_secret_is_decoded() -> None:
    """`whsec_` and base64, as receivers' libraries write it; anything else is the key as it stands; rubbish is refused."""
    assert key_of("whsec_" + base64.b64encode(b"raw key").decode()) == b"raw key"
    assert key_of("as it stands") == b"as it stands"
    with pytest.raises(OperatorError):
        key_of("whsec_not base64!")


async def test_a_dead_channel_keeps_nobody_else_waiting() -> None:
    """One channel hangs for as long as it may; the other is told of every hold meanwhile."""

    class Hanging:
        async def send(self, notice: Notice) -> None:
            await asyncio.sleep(60)

    quick = Flaky(0)
    channels = {"dead": (Hanging(), frozenset[str]()), "quick": (quick, frozenset[str]())}
    holds = hold(id=HoldId("a")), hold(id=HoldId("b"))
    await _run(Notifier(channels, url=str, say=lambda _: None), *holds, until=lambda: len(quick.told) == 2)
    assert [one.id for one in quick.told] == ["a", "b"]


async def test_a_redirect_is_not_followed(receiver: Receiver) -> None:
    """A webhook that redirects is a failure, and nothing is sent elsewhere."""
    receiver.answers = [302]
    with pytest.raises(UpstreamError):
        await Webhook(receiver.url, key, lambda: 0).send(notice())
    assert len(receiver.got) == 1


@pytest.mark.parametrize(
    "url",
    [
        "http://example.com/x",
        "ftp://127.0.0.1/",
        "https://user:pw@example.com/",
        "file:///etc/passwd",
        "http://169.254.169.254/",
    ],
)
async def test_no_other_place_is_spoken_to(url: str) -> None:
    """Plain http leaves this machine never; the error names no path of the URL."""
    with pytest.raises(UpstreamError) as caught:
        await Webhook(url, key, lambda: 0).send(notice())
    assert "pw" not in str(caught.value)


async def test_a_slack_message_is_plain_and_answers_nothing(receiver: Receiver) -> None:
    """Names become neither mentions nor links; the only element is a link button."""
    hostile = message(notice(agent=AgentId("<!channel> <https://evil.example|ok>"), name="*bold* @here"))
    assert {block["type"] for block in hostile["blocks"]} == {"header", "section", "actions"}
    assert all(block["text"]["type"] == "plain_text" for block in hostile["blocks"] if "text" in block)
    assert "<!channel>" not in hostile["text"]
    (button,) = hostile["blocks"][2]["elements"]
    assert set(button) == {"type", "text", "url"}

    async def url() -> Secret:
        return Secret(f"{receiver.url}/services/T/B/secret")

    await Slack(url).send(notice())
    assert receiver.got[0][0] == "/services/T/B/secret"


async def test_slacks_secret_url_is_in_no_error(receiver: Receiver) -> None:
    """Whoever has the URL can write to the channel: a refusal does not repeat it."""
    receiver.answers = [500]

    async def url() -> Secret:
        return Secret(f"{receiver.url}/services/T/B/secret")

    with pytest.raises(UpstreamError) as caught:
        await Slack(url).send(notice())
    assert "secret" not in str(caught.value)


@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # of its own old imports
async def test_apprise_tells_it(receiver: Receiver) -> None:
    """The real library, over its JSON plug-in: title, text and link arrive."""

    async def url() -> Secret:
        return Secret(receiver.url.replace("http://", "json://") + "/told")

    await Apprise(url).send(notice())
    assert b"https://lictor.example/holds/hold_1" in receiver.got[0][2]


@pytest.mark.parametrize(
    "name",
    ["write\nBcc: all@example.com", "wri\u202ete", "\x1b[2Jwrite", "a\u200bb", "ab" * 150, "\r\nSubject: ok"],
)
def test_a_notice_is_one_line_and_hides_nothing(name: str) -> None:
    """Line breaks, bidi, zero width and control characters are made visible, and what is cut is said (LOGI-01 to 03)."""
    told = notice(name=name, agent=AgentId(name), human=HumanId(name))
    for text in (told.title, told.text):
        assert text.isprintable()
        assert "\u202e" not in text
        assert "\u200b" not in text
    if len(name) > 100:
        assert "(300 characters)" in told.text


# -- the notifier ----------------------------------------------------------------------------------------------------------


class Flaky:
    """Fails so often, then takes it."""

    def __init__(self, fails: int) -> None:
        self.fails = fails
        self.told: list[Notice] = []

    async def send(self, notice: Notice) -> None:
        if self.fails:
            self.fails -= 1
            raise UpstreamError(Reason.UPSTREAM_DOWN, "no", effect_possible=False)
        self.told.append(notice)


async def _run(notifier: Notifier, *holds: Hold, until: Callable[[], bool]) -> None:
    """Tell of holds, until that is so, and a little longer: for what must not come."""
    job = asyncio.create_task(notifier.run())
    for one in holds:
        notifier.held(one)
    async with asyncio.timeout(60):
        while not until():
            await asyncio.sleep(0.01)
    await asyncio.sleep(0.2)
    job.cancel()


async def test_who_can_answer_is_told_and_others_are_not(monkeypatch: pytest.MonkeyPatch) -> None:
    """A channel for a group hears of that group's holds; one for nobody in particular of all; a failing one is tried again."""
    monkeypatch.setattr(notify, "FIRST_RETRY_S", 0.01)
    owners, money, everybody, dead = Flaky(2), Flaky(0), Flaky(0), Flaky(99)
    said: list[str] = []
    channels = {
        "owners": (owners, frozenset({"owner"})), "money": (money, frozenset({"money"})),
        "all": (everybody, frozenset()), "dead": (dead, frozenset()),
    }  # fmt: skip
    notifier = Notifier(channels, url=lambda one: f"u/{one}", say=said.append)
    await _run(notifier, hold(), until=lambda: bool(said and owners.told and everybody.told))
    assert [one.id for one in owners.told] == ["hold_1"]
    assert money.told == []
    assert len(everybody.told) == 1
    assert len(said) == 1
    assert "dead" in said[0]


def test_a_full_queue_is_said_and_keeps_nobody_waiting(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nobody sends: the queue fills, and the call that opens a hold goes on."""
    monkeypatch.setattr(notify, "MAX_WAITING", 2)
    said: list[str] = []
    notifier = Notifier({"all": (Flaky(0), frozenset())}, url=str, say=said.append)
    for _ in range(4):
        notifier.held(hold())
    assert len(said) == 2


# -- settings --------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "wrong",
    [
        NotifySettings(kind="webhook", secret="a"),
        NotifySettings(kind="slack", url="https://hooks.example/", secret="a"),
        NotifySettings(kind="apprise", secret=""),
    ],
)
def test_contradictions_refuse_the_start(wrong: NotifySettings) -> None:
    """A secret URL in the settings file, a webhook without one, no secret at all."""
    with pytest.raises(OperatorError):
        check_notify({"ops": wrong}, "lictor.toml")


async def test_a_missing_secret_says_what_to_do() -> None:
    """The safe has no such name: the error tells the command."""

    class Empty:
        async def read(self, name: str) -> Secret | None:
            return None

    channel = channel_of(NotifySettings(kind="slack", secret="ops"), Empty(), ManualClock(0))  # type: ignore[arg-type]
    with pytest.raises(OperatorError) as caught:
        await channel.send(notice())
    assert "lictor secret set ops" in caught.value.remedy
