"""Who is asking: tokens and SPIFFE documents with one fault each, at the HTTP door and at the front that doors ask.

Before anything is refused, the same document without the fault is shown to prove A1: a refusal of everything proves nothing.
"""

import ast
import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from adversarial.expectations import phrase, require
from adversarial.model import NoSetup, Observed, Unreadable, Word, Wrong
from adversarial.run import OUTSIDE, Run, precondition, verb
from adversarial.wire import VERSION, modern
from adversarial.world import HOST, encode
from lictor.api.settings import OAuth
from lictor.config import load_settings
from lictor.identity.front import Front
from lictor.identity.settings import IssuerSettings
from lictor.model.errors import CallerError, OperatorError
from lictor.model.identity import Proven
from lictor.model.reasons import Reason
from lictor.model.record import IdentityClaimed, RequestReceived
from lictor.pdp.proof import whose
from svids import bundle as spiffe_bundle
from svids import issue
from tokens import b64, forge, jwk, jwks, public_pem, signature

Match = re.Match[str]
ROOT = Path(__file__).parents[3]
A1 = "spiffe://t.example/agent/pay"
ISSUER = "https://issuer.case.example"
AUDIENCE = f"http://{HOST}/mcp"
LEEWAY_S = 60
REFUSALS = frozenset({Reason.UNAUTHENTICATED, Reason.ALG_NOT_ALLOWED, Reason.CRIT_NOT_UNDERSTOOD, Reason.AUDIENCE})

PRECONDITIONS = (
    r"JWT-SVID of agent A1",
    r"RS256 key published",
    r"valid signature, header .*",
    r"header \{\"crit\":\[\"cnf\"\]\} with cnf but no proof of possession",
    r"token carries its own jwk",
    r"aud = another gateway",
    r"expired 1 s ago, leeway 0-60 s configured",
    r"agent id passed in an argument or header",
    r"client_info name says it is A1",
    r"invalid bearer on an MCP route",
    r"internal hair-pin header from outside",
    r"SPIFFE id confusion",
)


@precondition(*PRECONDITIONS)
async def the_verb_does_it(run: Run, match: Match) -> None:
    """Issuer, keys and trust domain are the verb's."""


# -- tokens --------------------------------------------------------------------------------------------------------------


class Issuing:
    """A trust domain and an issuer with an EC and an RSA key, published in files; and a gateway of this world that trusts both."""

    def __init__(self, run: Run, task: str) -> None:
        self.run = run
        self.task = task
        self.now_s = run.world.clock.now_ms() // 1_000
        world, folder = run.world, run.world.folder
        self.root = issue(ca=True, uris=["spiffe://t.example"], begins=self._at(-60), ends=self._at(600))
        files = {"mesh": folder / "mesh.json", "idp": folder / "idp.json"}
        files["mesh"].write_bytes(spiffe_bundle(self.root, tokens=["p256"]))
        files["idp"].write_bytes(jwks("p256", "rsa2048"))
        kinds: dict[str, tuple[Any, str]] = {"mesh": ("spiffe", "spiffe://t.example"), "idp": ("jwks", ISSUER)}
        issuers = {
            name: IssuerSettings(kind=kind, url=url, file=str(files[name]), leeway_s=LEEWAY_S)
            for name, (kind, url) in kinds.items()
        }
        world.settings = {"issuers": issuers, "oauth": OAuth(mcp_clients=("idp",))}
        world.gateways.append(world._gateway())
        world.gateways[-1].house.policy.swap(world.main.house.policy.current())
        self.gateway = len(world.gateways) - 1
        self.front: Front = world.gateways[-1].runtime.entrance.front

    @classmethod
    async def open(cls, run: Run) -> "Issuing":
        """With a task of A1 that its tokens name."""
        return cls(run, (await run.world.session()).task.id)

    def _at(self, seconds: int) -> Any:
        from datetime import UTC, datetime

        return datetime.fromtimestamp(self.now_s + seconds, UTC)

    def claims(self, **changes: Any) -> dict[str, Any]:
        """What A1's token says, but for what a case changes."""
        times = {"iat": self.now_s - 100, "exp": self.now_s + 300}
        return {"iss": ISSUER, "sub": A1, "aud": AUDIENCE, **times, "lictor_task": self.task, **changes}

    def certificate(self, name: str) -> bytes:
        """A certificate of the trust domain's own authority, for any name."""
        return issue(self.root, uris=[name], begins=self._at(-60), ends=self._at(600)).der

    async def prove(self, token: str | None, chain: tuple[bytes, ...] = ()) -> Proven | Reason:
        """What the front says."""
        header = None if token is None else f"Bearer {token}"
        with OUTSIDE as outside:
            try:
                return await self.front.identify(authorization=header, method="POST", url=AUDIENCE, chain=chain)
            except CallerError as error:
                return error.reason
            finally:
                require(not outside, f"something was asked for outside: {outside}")

    async def is_a1(self, token: str | None, chain: tuple[bytes, ...] = ()) -> bool:
        """Whether it proves A1, and nobody else."""
        found = await self.prove(token, chain)
        proofs = self.run.world.main.house.policy.current().proofs
        return isinstance(found, Proven) and whose(found, proofs.items()) == "A1"


HEAD = {"alg": "ES256", "kid": "p256"}


def tokens_of(made: Issuing, step: dict[str, Any]) -> Iterator[str]:
    """The tokens of an input."""
    if "bearer" in step:
        yield step["bearer"]
        return
    for name in step.get("svid", ()):
        yield forge(HEAD, made.claims(sub=name, iss=None), "p256")
    asked = step.get("jwt")
    if asked == "crit unknown":
        yield forge({**HEAD, **_stated(made.run.precondition)}, made.claims(), "p256")
    elif asked == "crit cnf":
        yield forge({**HEAD, "crit": ["cnf"], "cnf": {"jkt": b64(b"x" * 32)}}, made.claims(), "p256")
    elif isinstance(asked, dict):
        yield from _changed(made, asked)
    elif asked is not None:
        raise Unreadable(f"no token: {asked!r}")


def _stated(words: str) -> dict[str, Any]:
    """The members of the header that a precondition spells out."""
    found = re.search(r"header (\{.*\})", words)
    if found is None:
        raise Unreadable("the header is not stated")
    members: dict[str, Any] = json.loads(found[1])
    return members


def _changed(made: Issuing, asked: dict[str, Any]) -> Iterator[str]:
    alg = asked.get("alg", "ES256")
    if alg == "none":
        changes = {name: value for name, value in asked.items() if name != "alg"}
        yield forge({"alg": "none"}, made.claims(**changes), b"")
        yield forge({"alg": "none", "kid": "p256"}, made.claims(**changes), b"x")
        yield forge({"alg": "none", "kid": "p256"}, made.claims(**changes), "p256", "ES256")
    elif alg == "HS256 signed with the RSA public key PEM":
        for secret in (public_pem("rsa2048"), public_pem("rsa2048").strip()):
            parts = f"{b64(json.dumps({'alg': 'HS256', 'kid': 'rsa2048'}))}.{b64(json.dumps(made.claims()))}"
            yield f"{parts}.{b64(signature('HS256', secret, parts.encode()))}"
    elif asked.get("sig") == "attacker" and asked.get("header") == {"jwk": "attacker key"}:
        attacker = {"jwk": jwk("p256-attacker")}
        yield forge({**HEAD, **attacker}, made.claims(), "p256-attacker")
        yield forge({"alg": "ES256", "kid": "p256-attacker", **attacker}, made.claims(), "p256-attacker")
        yield forge({"alg": "ES256", **attacker}, made.claims(), "p256-attacker")
    elif asked.keys() <= {"aud", "exp", "nbf", "iat", "iss", "sub"}:
        yield forge(HEAD, made.claims(**{name: _time(made, value) for name, value in asked.items()}), "p256")
    else:
        raise Unreadable(f"no token: {asked!r}")


def _time(made: Issuing, value: Any) -> Any:
    """`now-61` in seconds; anything else as it stands."""
    found = re.fullmatch(r"now([+-]\d+)", value) if isinstance(value, str) else None
    return made.now_s + int(found[1]) if found else value


@verb("auth", "jwt", "bearer", "svid")
async def auth(run: Run, step: dict[str, Any]) -> Observed:
    """Each document at the front, and as a bearer at the MCP endpoint; all must end the same."""
    made = await Issuing.open(run)
    for key, head in (("p256", HEAD), ("rsa2048", {"alg": "RS256", "kid": "rsa2048"})):
        good = forge(head, made.claims(), key)
        if not await made.is_a1(good):
            raise NoSetup("the token without its fault does not prove A1")
        through = await _at_the_door(run, good, gateway=made.gateway)
        if through.word is not Word.ALLOW:
            raise NoSetup(f"the token without its fault is nothing at the door: {through.summary()}")
    if not await made.is_a1(None, (made.certificate(A1),)):
        raise NoSetup("the certificate without its fault does not prove A1")
    run.mark()
    found = [(token, await made.prove(token)) for token in tokens_of(made, step)]
    found += [(None, await made.prove(None, (made.certificate(name),))) for name in step.get("svid", ())]
    if not found:
        raise Unreadable("nothing to authenticate with")
    seen = Observed(facts={"made": made, "reasons": [reason for _, reason in found]})
    for token, reason in found:
        require(isinstance(reason, Reason), f"somebody was proved: {reason}")
        answer = await _at_the_door(run, token, gateway=made.gateway)
        seen.status, seen.reason = seen.status or answer.status, seen.reason or str(reason)
        require(answer.status == seen.status, f"status {answer.status} as well as {seen.status}")
        require(token is None or answer.reason == reason, f"the door says {answer.reason!r}, the front {reason!r}")
    return seen


async def _at_the_door(
    run: Run, token: str | None, *more: tuple[str, str], message: Any = None, gateway: int = 0
) -> Observed:
    """A call of a tool that A1 may call, with this bearer and nothing else."""
    call = message or modern("tools/call", {"name": "fs__read_file", "arguments": {"path": "/srv/ws/a"}})
    headers = [
        ("Host", HOST),
        ("Content-Type", "application/json"),
        ("Accept", "application/json, text/event-stream"),
        ("MCP-Protocol-Version", VERSION),
        ("Mcp-Method", str(call["method"])),
        *([] if message else [("Mcp-Name", "fs__read_file")]),
        *more,
    ]
    if token is not None:
        headers.append(("Authorization", f"Bearer {token}"))
    return await run.world.send(await run.world.session(), headers, encode(call), gateway=gateway)


@phrase(r"401(?: (?P<reason>[a-z_]+))?", r"401(?P<reason>) for each")
async def not_authenticated(run: Run, seen: Observed, match: Match) -> None:
    """Refused at the door and by the front, each for the reason that is stated; nothing was decided and nothing ran."""
    reason = match["reason"]
    if reason and reason not in list(Reason):
        raise Unreadable(f"no reason of ours is called {reason!r}")
    require(seen.status == 401, f"status {seen.status}")
    for one in seen.facts.get("reasons", [seen.reason]):
        require(one in ({reason} if reason else REFUSALS), f"reason {one!r}")
    nobody(run)


def nobody(run: Run) -> None:
    """No request, no decision, no effect."""
    require(not run.effects(), f"{len(run.effects())} effects")
    kept = [record for record in run.records() if isinstance(record, RequestReceived)]
    require(not run.decisions() and not kept, f"something was decided: {kept}")


@phrase(r"no decision is made as (?P<agent>\w+)", r"never a default principal(?P<agent>)")
async def nobody_was_taken_for_somebody(run: Run, seen: Observed, match: Match) -> None:
    nobody(run)
    for token in ("", " ", "null", "undefined", "None", "0", "Bearer", "garbage", "a.b.c", "..", "%00"):
        answer = await _at_the_door(run, token, gateway=seen.facts["made"].gateway)
        require(answer.status == 401, f"{token!r} is answered with {answer.status}")
    require((await _at_the_door(run, None)).status == 401, "no token at all is answered")
    nobody(run)


@phrase(r"keys only from the pinned bundle")
async def pinned_keys(run: Run, seen: Observed, match: Match) -> None:
    made: Issuing = seen.facts["made"]
    honest = forge({**HEAD, "jwk": jwk("p256")}, made.claims(), "p256")
    require(await made.prove(honest) is Reason.UNAUTHENTICATED, "a token that brings a key is accepted")
    forged = forge(HEAD, made.claims(), "p256-attacker")
    require(await made.prove(forged) is Reason.UNAUTHENTICATED, "the attacker's signature is good")
    require(await made.is_a1(forge(HEAD, made.claims(), "p256")), "the pinned key is not")


@phrase(r"leeway bounded at (?P<most>\d+) s")
async def leeway_is_bounded(run: Run, seen: Observed, match: Match) -> None:
    most = int(match["most"])
    made: Issuing = seen.facts["made"]
    for late, good in ((most - 1, True), (most, False), (most + 1, False)):
        token = forge(HEAD, made.claims(exp=made.now_s - late), "p256")
        require(await made.is_a1(token) is good, f"expired {late} s ago: {'refused' if good else 'accepted'}")
    text = '[issuers.a]\nkind = "oidc"\nurl = "https://a.example"\nleeway_s = '
    load_settings(f"{text}{most}")
    try:
        load_settings(f"{text}{most + 1}")
    except OperatorError:
        return
    raise Wrong(f"a leeway of {most + 1} s can be set")


# -- what only claims to be somebody -------------------------------------------------------------------------------------


@phrase(r"decision uses the authenticated (?P<agent>\w+) -> (?P<word>DENY)")
async def decided_as_authenticated(run: Run, seen: Observed, match: Match) -> None:
    require(seen.word is Word.DENY, f"{seen.word}")
    require(seen.reason in {Reason.NOT_PERMITTED, Reason.FORBIDDEN}, f"reason {seen.reason!r}")
    agents = {record.agent for record in run.records() if isinstance(record, RequestReceived)}
    require(agents == {match["agent"]}, f"decided for {agents}")
    require(bool(run.decisions()) and not run.effects(), "nothing was decided, or something ran")
    other = await run.world.call("bank.transfer", {"amount": "5.00"}, session=await run.world.session("A1"))
    require(other.word is Word.ALLOW, f"A1 itself could not: {other.summary()}")


@phrase(r"header recorded as untrusted")
async def header_is_recorded(run: Run, seen: Observed, match: Match) -> None:
    given = {name.lower(): value for name, value in seen.facts["headers"].items()}
    recorded = {record.header: record.claimed for record in run.records() if isinstance(record, IdentityClaimed)}
    require(recorded == given, f"recorded: {recorded}")


_CLIENT_NAME = re.compile(r"_meta\.clientInfo\.name=\"(?P<name>[^\"]+)\"")


async def described(run: Run, step: dict[str, Any]) -> Observed | None:
    """Messages in words that are about who sends them; None for all others."""
    named = _CLIENT_NAME.fullmatch(step["body_desc"])
    if named is not None:
        session = await run.world.session(step.get("as_agent", "A1"))
        info = {"io.modelcontextprotocol/clientInfo": {"name": named["name"], "version": "1"}}
        plain = await run.world.call("bank.transfer", {"amount": "5.00"}, session=session)
        run.mark()
        seen = await run.world.call("bank.transfer", {"amount": "5.00"}, session=session, meta=info)
        seen.facts |= {"plain": plain, "agent": step.get("as_agent", "A1")}
        return seen
    if step["body_desc"] == "initialize":
        return await _initialized(run, list(step.get("headers", {}).items()))
    return None


@phrase(r"ignored for authorisation")
async def ignored(run: Run, seen: Observed, match: Match) -> None:
    plain = seen.facts["plain"]
    require((seen.word, seen.reason, seen.status) == (plain.word, plain.reason, plain.status), f"not {plain.summary()}")
    require(seen.word is Word.DENY and not run.effects(), f"{seen.summary()}")
    agents = {record.agent for record in run.records() if isinstance(record, RequestReceived)}
    require(agents == {seen.facts["agent"]}, f"decided for {agents}")


async def _initialized(run: Run, headers: list[tuple[str, str]]) -> Observed:
    """The first message of a session, from outside, with the headers of an inner route and without a token."""
    params = {"protocolVersion": "2025-11-25", "capabilities": {}, "clientInfo": {"name": "case", "version": "0"}}
    message = {"jsonrpc": "2.0", "id": 1, "method": "initialize", "params": params}
    seen = await _at_the_door(run, None, *headers, message=message)
    session = await run.world.session()
    plain = await run.world.call("fs.read_file", {})
    own = await _at_the_door(run, session.token, *headers)
    seen.facts |= {"headers": dict(headers), "with": own, "without": plain}
    run.mark()
    return seen


@phrase(r"header stripped at the edge")
async def header_has_no_effect(run: Run, seen: Observed, match: Match) -> None:
    """An authenticated call with it ends as one without, and no code of ours has ever heard of it."""
    own, plain = seen.facts["with"], seen.facts["without"]
    require(own.word is Word.ALLOW and own.word is plain.word, f"with the header: {own.summary()}")
    names = [name.lower() for name in seen.facts["headers"]]
    for path in (ROOT / "src").rglob("*.py"):
        text = path.read_text("utf-8").lower()
        require(not any(name in text for name in names), f"{path.name} knows one of {names}")


_SECRET_NAME = re.compile(
    r"(?i).*(?:secret|password|passwd|api_?key|router_?key|private_?key|shared_?key|signing_?key)"
)


@phrase(r"no default shared secret exists in the code")
async def no_default_secret(run: Run, seen: Observed, match: Match) -> None:
    """No name of a secret is given a text, in no assignment, default, keyword or table of our sources."""
    values = set(seen.facts["headers"].values())
    for path in sorted((ROOT / "src").rglob("*.py")):
        text = path.read_text("utf-8")
        require(not any(value in text for value in values), f"{path.name} has one of {values}")
        if "demonstration" in path.parts:
            continue  # its agent finds a made-up key in a made-up file; it opens nothing
        for name, value, line in _texts(ast.parse(text)):
            looks = len(value) >= 8 and re.fullmatch(r"[\w+/=.-]+", value) and not value.isidentifier()
            require(not (looks and _SECRET_NAME.fullmatch(name)), f"{path.name}:{line}: {name} = {value[:8]!r}...")


def _texts(tree: ast.AST) -> Iterator[tuple[str, str, int]]:
    """Names with the texts they are given."""
    for node in ast.walk(tree):
        pairs: list[tuple[str, ast.expr | None]] = []
        match node:
            case ast.Assign(targets=targets, value=value):
                pairs = [(ast.unparse(target), value) for target in targets]
            case ast.AnnAssign(target=target, value=value):
                pairs = [(ast.unparse(target), value)]
            case ast.keyword(arg=str(name), value=value):
                pairs = [(name, value)]
            case ast.Dict(keys=keys, values=given):
                pairs = [
                    (str(key.value), one) for key, one in zip(keys, given, strict=True) if isinstance(key, ast.Constant)
                ]
            case ast.arguments(args=args, defaults=defaults, kwonlyargs=only, kw_defaults=more):
                pairs = [(arg.arg, one) for arg, one in zip(args[-len(defaults) :], defaults, strict=False)]
                pairs += [(arg.arg, one) for arg, one in zip(only, more, strict=True)]
        for name, value in pairs:
            if isinstance(value, ast.Constant) and isinstance(value.value, str):
                yield name, value.value, value.lineno
