"""OAuth, confused deputies, rebinding, sessions: the development issuer, the MCP door, the token service, and upstreams that lie.

The issuer is ours as it is, asked as a browser and a client ask it. Where a case says that something is refused, the same request
without its fault is shown to work first.
"""

import asyncio
import base64
import contextlib
import hashlib
import json
import re
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from typing import Any
from urllib.parse import parse_qsl, urlencode, urlsplit

from adversarial.expectations import phrase, require
from adversarial.model import NoSetup, Observed, Unreadable, Word, Wrong
from adversarial.run import OUTSIDE, Run, precondition, verb
from adversarial.upstreams import Effect
from adversarial.wire import Response, ask, headers_for, modern, observe
from adversarial.world import HOST, UPSTREAM_SECRET, Session, encode, public
from lictor.app import connect_server
from lictor.config import ServerSettings
from lictor.identity.settings import fetchable
from lictor.model.canonical import canonical, sha256_digest
from lictor.model.errors import OperatorError
from lictor.model.identity import Proven
from lictor.model.reasons import Reason
from lictor.protocol.jose.base64url import decode
from lictor.protocol.jose.base64url import encode as b64
from lictor.protocol.oauth.request import ACCESS_TOKEN, EXCHANGE
from lictor.service.people.login import check_endpoint
from lictor.testing.issuer.app import issuer_app
from lictor.testing.issuer.state import Client
from servers.scripted_http import scripted

Match = re.Match[str]
ISSUER_HOST = "127.0.0.1:8790"
ISSUER = f"http://{ISSUER_HOST}"
GOOD, EVIL = "https://ok.example/cb", "https://evil.example"
VERIFIER = "v" * 64
PRECONDITIONS = (
    r"DCR client M registers redirect (?P<evil>\S+); alice consented earlier for client K",
    r"authorize with registered redirect .*",
    r"code exchanged (?:twice|by \d+ clients at the same instant)",
    r"empty code_verifier after an S256 challenge",
    r"inbound access token forwarded",
    r"browser page, DNS rebinding",
    r"session id guessed/stolen \(legacy 2025-11-25 client\)",
    r"authorization server metadata of a malicious upstream",
    r"approval tier while logged in by browser cookie instead of a token",
)


@precondition(*PRECONDITIONS)
async def the_verb_does_it(run: Run, match: Match) -> None:
    """Issuer, browser and clients are the verb's."""


# -- the development issuer ------------------------------------------------------------------------------------------------


@dataclass
class Issuing:
    """The issuer, and alice's browser."""

    app: Any
    cookies: dict[str, str] = field(default_factory=dict)

    async def get(self, path: str, query: dict[str, str]) -> Response:
        return self._keep(await ask(self.app, "GET", path, self._headers(), query=urlencode(query)))

    async def post(self, path: str, form: dict[str, str]) -> Response:
        kind = ("Content-Type", "application/x-www-form-urlencoded")
        return self._keep(await ask(self.app, "POST", path, [*self._headers(), kind], urlencode(form).encode()))

    async def submit(self, page: Response, **more: str) -> Response:
        text = page.body.decode()
        action = re.search(r'action="([^"]*)"', text)
        if action is None:
            raise NoSetup(f"no form: {text[:200]}")
        hidden = dict(re.findall(r'<input type="hidden" name="([^"]*)" value="([^"]*)"', text))
        return await self.post(action[1], {**hidden, **more})

    async def code(self) -> str:
        """Alice signs in and agrees to client K; its code."""
        page = await self.get("/authorize", asking("K", GOOD))
        if page.status == 200:
            page = await self.submit(page, person="alice")
        if page.status == 200:
            page = await self.submit(page)
        return dict(parse_qsl(urlsplit(page.header("location")).query))["code"]

    async def redeem(self, code: str, **changes: str) -> Response:
        form = {"grant_type": "authorization_code", "code": code, "client_id": "K", "redirect_uri": GOOD}
        return await self.post("/token", {**form, "code_verifier": VERIFIER, **changes})

    def _headers(self) -> list[tuple[str, str]]:
        cookie = "; ".join(f"{name}={value}" for name, value in self.cookies.items())
        return [("Host", ISSUER_HOST), *([("Cookie", cookie)] if cookie else [])]

    def _keep(self, response: Response) -> Response:
        for name, value in response.headers:
            if name.lower() == b"set-cookie":
                key, _, rest = value.decode("latin-1").partition("=")
                self.cookies[key] = rest.partition(";")[0]
        return response


def issuing(run: Run) -> Issuing:
    """A fresh one."""
    client = Client(id="K", name="K", redirect_uris=(GOOD,))
    world = run.world
    say = world.operator.append
    return Issuing(issuer_app(ISSUER, ("alice",), {"K": client}, clock=world.clock, ids=world.ids, say=say))


def asking(client: str, redirect: str) -> dict[str, str]:
    """An authorization request."""
    challenge = base64.urlsafe_b64encode(hashlib.sha256(VERIFIER.encode()).digest()).rstrip(b"=").decode()
    return {
        "response_type": "code",
        "client_id": client,
        "redirect_uri": redirect,
        "scope": "openid",
        "state": "s",
        "code_challenge": challenge,
        "code_challenge_method": "S256",
    }


@verb("oauth.authorize", "client", "user", "consent_cookie", "redirect_uri")
async def authorize(run: Run, step: dict[str, Any]) -> Observed:
    """Alice, who agreed to K, follows a link: of a client that registered itself, or of K with another address."""
    made = issuing(run)
    await made.code()
    again = await made.get("/authorize", asking("K", GOOD))
    if again.status != 303 or not again.header("location").startswith(GOOD):
        raise NoSetup("consent for K is not remembered")
    if "client" in step:
        evil = re.search(r"redirect (\S+);", run.precondition)
        body = json.dumps({"client_name": step["client"], "redirect_uris": [evil[1] if evil else EVIL]}).encode()
        registered = json.loads((await ask(made.app, "POST", "/register", [("Host", ISSUER_HOST)], body)).body)
        pages = [await made.get("/authorize", asking(registered["client_id"], registered["redirect_uris"][0]))]
        return Observed(status=pages[0].status, facts={"pages": pages, "client": registered})
    pages = [await made.get("/authorize", asking("K", uri)) for uri in step["redirect_uri"]]
    refused = all(page.status == 400 and not page.header("location") for page in pages)
    word = Word.REJECT if refused else Word.ALLOW
    return Observed(word=word, reason=Reason.INVALID_ARGUMENTS.value, status=pages[0].status, facts={"pages": pages})


@phrase(r"per-client consent page is shown")
async def consent_is_asked(run: Run, seen: Observed, match: Match) -> None:
    (page,) = seen.facts["pages"]
    text = page.body.decode()
    client = seen.facts["client"]
    require(page.status == 200 and "/consent" in text, f"status {page.status}")
    require(
        client["client_id"] in text and client["redirect_uris"][0] in text, "the page does not say for whom and where"
    )


@phrase(r"no code to (?P<host>\S+)")
async def no_code(run: Run, seen: Observed, match: Match) -> None:
    for page in seen.facts["pages"]:
        require(match["host"] not in page.header("location") and not page.header("location"), page.header("location"))


@phrase(r"exact match")
async def exact_match(run: Run, seen: Observed, match: Match) -> None:
    """Any other address, however near, is refused on a page of the issuer's own."""
    made = issuing(run)
    for uri in (
        GOOD.upper(),
        f"{GOOD}/",
        f"{GOOD}?",
        f"{GOOD}#f",
        "https://ok.example/./cb",
        "https://ok.example%2fcb",
        "//ok.example/cb",
    ):
        page = await made.get("/authorize", asking("K", uri))
        require(page.status == 400 and not page.header("location"), f"{uri!r} is answered with {page.status}")


@verb("oauth.token", "times", "concurrency", "code_verifier")
async def token(run: Run, step: dict[str, Any]) -> Observed:
    """One code, redeemed as often, by as many at once, or with this verifier."""
    made = issuing(run)
    if "code_verifier" in step:
        answer = await made.redeem(await made.code(), code_verifier=step["code_verifier"])
        good = await made.redeem(await made.code())
        require(good.status == 200, f"with its verifier it is refused too: {good.body[:200]!r}")
        word = Word.REJECT if answer.status == 400 else Word.ALLOW
        return Observed(word=word, reason=Reason.UNAUTHENTICATED.value, status=answer.status)
    code = await made.code()
    if "concurrency" in step:
        answers = await asyncio.gather(*(made.redeem(code) for _ in range(step["concurrency"])))
    else:
        answers = [await made.redeem(code) for _ in range(step["times"])]
    return Observed(status=answers[-1].status, facts={"answers": answers, "made": made})


@phrase(r"second invalid_grant")
async def second_is_refused(run: Run, seen: Observed, match: Match) -> None:
    first, second = seen.facts["answers"]
    require(first.status == 200, f"the first is refused: {first.body[:200]!r}")
    require(second.status == 400 and json.loads(second.body)["error"] == "invalid_grant", f"{second.body[:200]!r}")


@phrase(r"tokens of the first are revoked")
async def first_tokens_are_dead(run: Run, seen: Observed, match: Match) -> None:
    made, first = seen.facts["made"], json.loads(seen.facts["answers"][0].body)
    at = [("Host", ISSUER_HOST), ("Authorization", f"Bearer {first['access_token']}")]
    require((await ask(made.app, "GET", "/userinfo", at)).status == 401, "the token of the first still works")
    fresh = json.loads((await made.redeem(await made.code())).body)["access_token"]
    at = [("Host", ISSUER_HOST), ("Authorization", f"Bearer {fresh}")]
    require((await ask(made.app, "GET", "/userinfo", at)).status == 200, "no token works at all")


@phrase(r"exactly (?P<n>\d+) success")
async def so_many(run: Run, seen: Observed, match: Match) -> None:
    good = [answer for answer in seen.facts["answers"] if answer.status == 200]
    require(len(good) == int(match["n"]), f"{len(good)} of {len(seen.facts['answers'])}")


# -- the MCP door ----------------------------------------------------------------------------------------------------------


async def described(run: Run, step: dict[str, Any]) -> Observed | None:
    """Messages in words that are about pages and sessions; None for all others."""
    headers = step.get("headers", {})
    if not isinstance(headers, dict):
        return None
    if "peer" in step and {"Host", "Origin"} <= headers.keys():
        return await _rebound(run, headers)
    if "Mcp-Session-Id" in headers:
        return await _stolen_session(run, step)
    return None


def _read(session: Session, host: str = HOST) -> tuple[dict[str, Any], list[tuple[str, str]]]:
    message = modern("tools/call", {"name": public("fs.read_file"), "arguments": {"path": "/srv/ws/a"}})
    return message, headers_for(message, host, session.token)


async def _rebound(run: Run, headers: dict[str, str]) -> Observed:
    """With a good token: the page's host alone, its origin alone, and both."""
    session = await run.world.session()
    message, right = _read(session)
    good = await run.world.send(session, right, encode(message))
    if good.word is not Word.ALLOW:
        raise NoSetup(f"without the fault it is refused too: {good.summary()}")
    run.mark()
    wrong_host = [(name, headers["Host"] if name == "Host" else value) for name, value in right]
    origin = ("Origin", headers["Origin"])
    found = [
        await run.world.send(session, asked, encode(message))
        for asked in (wrong_host, [*right, origin], [*wrong_host, origin])
    ]
    return Observed(status=found[-1].status, facts={"found": found})


@phrase(r"403 on Host and on Origin, independently")
async def each_by_itself(run: Run, seen: Observed, match: Match) -> None:
    """The host's status is 421, which HTTP has for a name that is not served here (RFC 9110 15.5.20); the origin's is 403."""
    host, origin, both = seen.facts["found"]
    require((host.status, host.reason) == (421, Reason.BAD_HOST), host.summary())
    require((origin.status, origin.reason) == (403, Reason.BAD_ORIGIN), origin.summary())
    require(both.reason == Reason.BAD_HOST, both.summary())
    require(not run.decisions() and not run.effects(), "something was decided or ran")


async def _stolen_session(run: Run, step: dict[str, Any]) -> Observed:
    """Alice's session id: without a token, and with bob's."""
    alice = await run.world.session()
    bob = await run.world.session("A1", step["as_user"])
    params = {"protocolVersion": "2025-11-25", "capabilities": {}, "clientInfo": {"name": "c", "version": "0"}}
    opening = {"jsonrpc": "2.0", "id": 1, "method": "initialize", "params": params}
    app = run.world.main.app
    opened = await ask(app, "POST", "/mcp", run.world.transport(alice), encode(opening))
    stolen = ("Mcp-Session-Id", opened.header("mcp-session-id"))
    call = {"jsonrpc": "2.0", "id": 2, "method": "tools/call"}
    call["params"] = {"name": public("fs.read_file"), "arguments": {"path": "/srv/ws/a"}}  # type: ignore[assignment]
    own = observe(await ask(app, "POST", "/mcp", [*run.world.transport(alice), stolen], encode(call)))
    if not stolen[1] or own.word is not Word.ALLOW:
        raise NoSetup(f"alice herself cannot use it: {own.summary()}")
    run.mark()
    bare = [pair for pair in run.world.transport(bob) if pair[0] != "Authorization"]
    without = await run.world.send(bob, [*bare, stolen], encode(call))
    foreign = await run.world.send(bob, [*run.world.transport(bob), stolen], encode(call))
    guessed = await run.world.send(bob, [*run.world.transport(bob), ("Mcp-Session-Id", "1")], encode(call))
    return Observed(status=foreign.status, facts={"without": without, "foreign": foreign, "guessed": guessed})


@phrase(r"401/404")
async def session_of_somebody_else(run: Run, seen: Observed, match: Match) -> None:
    require(seen.facts["without"].status == 401, f"without a token: {seen.facts['without'].summary()}")
    foreign, guessed = seen.facts["foreign"], seen.facts["guessed"]
    require(foreign.status == 404, f"with another's token: {foreign.summary()}")
    require(
        (foreign.status, foreign.text) == (guessed.status, guessed.text), "a real session is told from a made-up one"
    )


@phrase(r"session is not authentication")
async def nobody_by_session(run: Run, seen: Observed, match: Match) -> None:
    require(not run.decisions() and not run.effects(), "something was decided or ran")


async def called(run: Run, step: dict[str, Any]) -> Observed | None:
    """Calls with a note on what to look at, or with another proof than a token; None for all others."""
    if step.get("auth") == "cookie":
        return await _by_cookie(run)
    if "note" in step:
        return await _forwarded(run, step["tool"], step["args"])
    return None


async def _by_cookie(run: Run) -> Observed:
    """An approver's browser: their cookie alone is no token, and beside a token it changes nothing: a tool that has to be asked for
    is asked for. (The fixture has no tool that makes tokens; the tier is the same for every tool.)"""
    person = await run.world.person("bob")
    await person.sign_in()
    cookie = "; ".join(f"{name}={value}" for name, value in person.cookies.items())
    session = await run.world.session()
    run.mark()
    arguments = {"to": "DE89", "amount": "500.00"}
    message = modern("tools/call", {"name": public("bank.transfer"), "arguments": arguments})
    bare = [pair for pair in headers_for(message, HOST, session.token) if pair[0] != "Authorization"]
    alone = await run.world.send(session, [*bare, ("Cookie", cookie)], encode(message))
    require(alone.status == 401 and not run.decisions(), f"the cookie alone: {alone.summary()}")
    plain = await run.world.call("bank.transfer", arguments, session=session)
    seen = await run.world.call("bank.transfer", arguments, session=session, more=[("Cookie", cookie)])
    seen.facts["plain"] = plain
    return seen


@phrase(r"exactly as for a token")
async def as_for_a_token(run: Run, seen: Observed, match: Match) -> None:
    plain = seen.facts["plain"]
    require(
        (seen.word, seen.reason) == (plain.word, plain.reason) == (Word.HOLD, Reason.NEEDS_APPROVAL), plain.summary()
    )
    require(not run.effects(), "it ran")


# -- signed tokens and chains (DELG) ---------------------------------------------------------------------------------------


async def chain_edits(run: Run, child: Session) -> list[str]:
    """The child's signed token with its chain cut, each in another way; whole, it works."""
    doors = run.world.main.runtime.entrance.doors
    state = run.world.store.task(child.task.id)
    proven = Proven(issuer="case", subject=child.agent, how="jwt", expires_at_ms=0)
    whole = (await doors.tokens.mint(state, proven, "", "")).text
    head, body, signature = whole.split(".")
    claims = json.loads(decode(body) or b"")
    if (
        "act" not in claims
        or (await run.world.call("fs.read_file", {}, session=replace(child, token=whole))).word is not Word.ALLOW
    ):
        raise NoSetup(f"the whole token has no chain or does not work: {claims}")
    run.mark()
    changes: list[dict[str, Any]] = [
        {"act": None},
        {"act": None, "client_id": claims["sub"]},
        {"act": {"sub": claims["sub"]}},
        {"act": None, "client_id": claims["sub"], "lictor_task": claims["txn"]},
    ]
    edited = [{name: value for name, value in {**claims, **change}.items() if value is not None} for change in changes]
    cut = [f"{head}.{b64(json.dumps(one).encode())}.{signature}" for one in edited]
    unsigned = b64(json.dumps({"alg": "none", "typ": "at+jwt"}).encode())
    return [*cut, f"{head}.{body}", f"{head}.{body}.", f"{unsigned}.{body}.", whole[:-4]]


async def spliced(run: Run, subject: Session, actor: Session) -> Reason:
    """A token exchange with the one task's token as subject and the other's as actor."""
    doors = run.world.main.runtime.entrance.doors
    form = {
        "grant_type": EXCHANGE,
        "subject_token": subject.token,
        "subject_token_type": ACCESS_TOKEN,
        "actor_token": actor.token,
        "actor_token_type": ACCESS_TOKEN,
        "authorization_details": json.dumps([{"type": "lictor_task", "text": "go on", "calls": 1}]),
    }
    url = f"http://{HOST}/oauth/token"
    kind = ("Content-Type", "application/x-www-form-urlencoded")
    answer = await ask(run.world.main.app, "POST", "/oauth/token", [("Host", HOST), kind], urlencode(form).encode())
    if answer.status != 400:
        raise Wrong(f"the exchange is answered with {answer.status} at {url}: {doors}")
    return Reason(json.loads(answer.body)["lictor_reason"])


# -- what goes upstream ------------------------------------------------------------------------------------------------------


def _jsonrpc(body: bytes, result: Any) -> bytes:
    message = json.dumps({"jsonrpc": "2.0", "id": json.loads(body)["id"], "result": result}).encode()
    head = f"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: {len(message)}\r\n\r\n"
    return head.encode() + message


class _Server:
    """An MCP server that answers what it is asked, and keeps every byte."""

    def __init__(self, run: Run, name: str) -> None:
        self.servers = run.world.servers
        self.name = name

    def __call__(self, peer: Any) -> None:
        body = peer.server.requests[-1].partition(b"\r\n\r\n")[2]
        method, params = json.loads(body)["method"], json.loads(body)["params"]
        results: dict[str, Any] = {
            "server/discover": {
                "supportedVersions": ["2026-07-28"],
                "capabilities": {"tools": {}},
                "_meta": {"io.modelcontextprotocol/serverInfo": {"name": "s", "version": "1"}},
                "resultType": "complete",
                "ttlMs": 1000,
                "cacheScope": "private",
            },
            "tools/list": {
                "tools": self.servers.offered[self.name],
                "resultType": "complete",
                "ttlMs": 1000,
                "cacheScope": "private",
            },
            "tools/call": {"content": [{"type": "text", "text": "done"}], "resultType": "complete"},
        }
        if method == "tools/call":
            data = canonical(params["arguments"])
            recorded = self.servers.recorded(sha256_digest(data))
            self.servers.effects.append(Effect(self.name, params["name"], data, recorded))
        peer.say(_jsonrpc(body, results[method]))


@contextlib.contextmanager
def _reached(run: Run, port: int) -> Iterator[None]:
    """The gateway's own HTTP client, to this port, whatever server it is for."""

    async def connect(name: str, server: ServerSettings, *parts: Any, **options: Any) -> Any:
        there = ServerSettings(url=f"http://127.0.0.1:{port}/mcp", headers=server.headers)
        return await connect_server(name, there, *parts, **options)

    run.world.connect = connect
    try:
        yield
    finally:
        run.world.connect = None


async def _forwarded(run: Run, tool: str, arguments: dict[str, Any]) -> Observed:
    """A call through the real client to a server on a socket; what came out of it is looked at."""
    world = run.world
    session = await world.new_session()
    async with scripted(_Server(run, tool.partition(".")[0])) as server:
        with _reached(run, server.port):
            seen = await world.call(tool, arguments, session=session)
        await world.main.runtime.connections.close()
    seen.facts |= {"requests": list(server.requests), "token": session.token}
    return seen


@phrase(r"upstream sees only the gateway-issued credential")
async def own_credential(run: Run, seen: Observed, match: Match) -> None:
    require(seen.word is Word.ALLOW, seen.summary())
    requests = seen.facts["requests"]
    require(any(b"tools/call" in request for request in requests), "the server was not called")
    for request in requests:
        head = request.partition(b"\r\n\r\n")[0].lower()
        fields = [line for line in head.split(b"\r\n") if line.startswith(b"authorization:")]
        require(fields == [f"authorization: {UPSTREAM_SECRET}".lower().encode()], f"{fields}")
        require(b"cookie" not in head and b"dpop" not in head, "it is sent more than that")


@phrase(r"inbound token never leaves")
async def token_stays(run: Run, seen: Observed, match: Match) -> None:
    for request in seen.facts["requests"]:
        for form in (seen.facts["token"], seen.facts["token"].partition("_")[2]):
            for shown in (form, base64.b64encode(form.encode()).decode(), form.encode().hex()):
                require(shown.encode() not in request, "the inbound token left")


@verb("upstream.as_metadata", "authorization_endpoint")
async def lying_metadata(run: Run, step: dict[str, Any]) -> Observed:
    """A server that asks for OAuth and points at its own metadata: the call ends, and nothing that it names is asked for."""
    endpoints = step["authorization_endpoint"]
    async with scripted(json.dumps({"authorization_endpoint": endpoints}).encode()) as asked:
        place = f"http://127.0.0.1:{asked.port}/.well-known/oauth-protected-resource"
        challenge = f'HTTP/1.1 401 Unauthorized\r\nWWW-Authenticate: Bearer resource_metadata="{place}"\r\nContent-Length: 0\r\n\r\n'
        async with scripted(challenge.encode()) as server:
            with _reached(run, server.port), OUTSIDE as outside:
                seen = await run.world.call(
                    "fs.read_file", {"path": "/srv/ws/a"}, session=await run.world.new_session()
                )
            started = [one for one in outside if "connect" not in one]
    refusals = []
    for endpoint in endpoints:
        try:
            check_endpoint(endpoint, "authorization_endpoint", fetchable)
        except OperatorError as error:
            refusals.append(error.reason)
    if check_endpoint("https://as.example/authorize", "authorization_endpoint", fetchable) == "":
        raise Unreadable("a good address is refused")
    refused = len(refusals) == len(endpoints) and seen.reason in {Reason.UPSTREAM_DOWN, Reason.UPSTREAM_INVALID}
    return Observed(
        word=Word.REFUSED if refused else seen.word,
        reason=seen.reason,
        facts={"followed": list(asked.requests), "started": started, "endpoints": endpoints},
        text=seen.text,
    )


@phrase(r"https only, no shell is ever used to open it")
async def nothing_is_opened(run: Run, seen: Observed, match: Match) -> None:
    require(not seen.facts["followed"], "the metadata was asked for")
    require(not seen.facts["started"], f"something was started: {seen.facts['started']}")
    for endpoint in seen.facts["endpoints"]:
        require(endpoint not in seen.text, "the agent is shown the address")
