"""Credentials on loan: what a server is given, what an agent is shown, and how a lease ends."""

import asyncio
import re
from dataclasses import dataclass, field
from typing import Any

from adversarial import fixture
from adversarial.expectations import phrase, require
from adversarial.fixture import with_policy
from adversarial.model import NoSetup, Observed, Word, Wrong
from adversarial.run import Run, precondition, verb
from adversarial.wire import ask
from adversarial.world import HOST
from lictor.app.lendable import where_of
from lictor.model.errors import LictorError, UpstreamError
from lictor.model.ids import LeaseId, ServerName
from lictor.model.lease import Credential, LeaseStatus
from lictor.model.reasons import Reason
from lictor.model.record import LeaseKept, RequestRefused, SignalObserved
from lictor.model.secret import Secret
from lictor.ports import Issued, LeaseAsk
from lictor.protocol.scrub import forms
from lictor.service.credentials import reap
from lictor.service.credentials.loan import CredentialRefusedError, Where

Match = re.Match[str]
LENT = ("bank", "github", "mail")
MANAGED = "sk-live-abc"
"""The secret that the cases write out."""
LENDS = '@id("fixture/lends") permit (principal, action in [Action::"credential.use"], resource);'
MONTH_S = 30 * 86_400


@dataclass
class Desk:
    """The provider of this world: a token for each lease, a month's life if it may, revoking after some refusals."""

    world: Any
    fixed: str = ""
    refusals: int = 0
    live: dict[str, str] = field(default_factory=dict)
    tried: int = 0

    async def issue(self, ask: LeaseAsk) -> Issued:
        secret = self.fixed or f"lent-{ask.credential.server}-{ask.lease}"
        self.live[ask.lease] = secret
        self.world.secrets.append(secret)
        expires = self.world.clock.now_ms() + MONTH_S * 1_000
        return Issued(secret={"token": Secret(secret)}, expires_at_ms=expires, handle=ask.lease)

    def longest_s(self, ttl_s: int) -> int:
        return max(ttl_s, MONTH_S)

    async def revoke(self, lease: LeaseId, credential: Credential, handle: str, revocation: Secret | None) -> None:
        self.tried += 1
        if self.tried <= self.refusals:
            raise UpstreamError(Reason.UPSTREAM_DOWN, "the provider is down", effect_possible=True)
        self.live.pop(lease, None)


def _credentials(ttl_s: int = 900) -> bytes:
    return "".join(
        f'[credentials.{server}]\nserver = "{server}"\ndestination = "https://{server}.upstream.example"\n'
        f'provider = "static"\nttl_s = {ttl_s}\nheaders = {{ Authorization = "Bearer {{token}}" }}\n'
        f'options = {{ secret = "{server}" }}\n'
        for server in LENT
    ).encode()


async def lend_all(run: Run, *, fixed: str = "", refusals: int = 0) -> Desk:
    """Every server of `LENT` needs a credential from here on."""
    world = run.world
    await world.deploy({**with_policy(world.files, "lends", LENDS), "credentials.toml": _credentials()})
    desk = Desk(world, fixed, refusals)
    for gateway in world.gateways:
        lending = gateway.runtime.lending
        lending.broker._providers = lending.reaper._providers = lambda _: desk
    world.desk = desk
    return desk


def _desk(run: Run) -> Desk:
    return run.world.desk  # type: ignore[no-any-return]


@precondition(
    r"agent asks for the secret itself",
    r"base URL override sends the credential elsewhere",
    r"cached token of tool A used on tool B",
    r"TTL asked 30 days",
    r"crash dump / traceback / debug endpoint",
)
async def lent(run: Run, match: Match) -> None:
    """The servers have credentials, and one call of each has shown that they are injected."""
    desk = await lend_all(run)
    for tool in ("github.list_issues",):
        seen = await run.world.call(tool, {})
        if seen.word is not Word.ALLOW:
            raise NoSetup(f"a call with a credential does not run: {seen.summary()}")
    require(desk.live, "nothing was lent")


@precondition(
    r"error text of the upstream contains the token", r"secret in a tool argument \(agent pastes an API key\)"
)
async def known_secret(run: Run, match: Match) -> None:
    """The secret that the case writes out is the one on loan."""
    await lend_all(run, fixed=MANAGED)
    seen = await run.world.call("github.list_issues", {})
    if seen.word is not Word.ALLOW:
        raise NoSetup(f"a call with a credential does not run: {seen.summary()}")


@precondition(r"task ends")
async def ends(run: Run, match: Match) -> None:
    """A task with a credential at a provider that is down when it is asked to revoke."""
    desk = await lend_all(run, refusals=9)
    seen = await run.world.call("github.list_issues", {})
    require(seen.word is Word.ALLOW and desk.live, f"nothing was lent: {seen.summary()}")


# -- verbs ---------------------------------------------------------------------------------------------------------------


@verb("task.end", "id")
async def end_task(run: Run, step: dict[str, Any]) -> Observed:
    """Its person closes it."""
    session = await run.world.session()
    await run.world.main.house.tasks.close(session.task.id, by="test:alice")
    return Observed(word=Word.ALLOW, reason=Reason.PERMITTED)


@verb("cred.reuse", "issued_for", "used_on")
async def reuse(run: Run, step: dict[str, Any]) -> Observed:
    """One server's credential for another's address, and what the other server is given by itself."""
    world, lending = run.world, run.world.main.runtime.lending
    session = await world.session()
    state = world.store.task(session.task.id)
    settings = world.main.house.settings.servers
    other = where_of(settings[step["used_on"]])
    try:
        await lending.broker.lend(state, ServerName(step["issued_for"]), other)
    except CredentialRefusedError as error:
        seen = Observed(word=Word.REFUSED, reason=error.reason)
    else:
        raise Wrong("it was lent for another server's address")
    own = await lending.broker.lend(state, ServerName(step["used_on"]), other)
    lent_text = [secret.reveal() for secret in own.headers.values()]
    require(
        all(step["issued_for"] not in text for text in lent_text), f"{step['used_on']} is given another's credential"
    )
    return seen


@verb("cred.issue", "ttl")
async def issue(run: Run, step: dict[str, Any]) -> Observed:
    """A bundle that asks for so long, and a provider that gives so long."""
    days = int(step["ttl"].removesuffix("d"))
    try:
        fixture.bundle_of({**run.world.files, "credentials.toml": _credentials(days * 86_400)})
    except LictorError as error:
        return Observed(word=Word.REFUSED, reason=error.reason)
    raise Wrong("the bundle was accepted")


@verb("upstream.error", "text")
async def upstream_error(run: Run, step: dict[str, Any]) -> Observed:
    """In a result, in a connection's failure, and in a defect of ours."""
    world = run.world
    world.servers.results["github.list_issues"] = step["text"]
    seen = await world.call("github.list_issues", {})

    def broken(server: str, method: str) -> None:
        if method == "tools/call":
            raise UpstreamError(Reason.UPSTREAM_INVALID, step["text"], effect_possible=True)

    world.servers.fault = broken
    await world.call("github.list_issues", {})
    world.servers.fault = None
    seen.facts["text"] = step["text"]
    return seen


@verb("crash")
async def crash(run: Run, step: dict[str, Any]) -> Observed:
    """A defect in the middle of a call, with the credential in its text and in the frames."""
    world, secret = run.world, next(iter(_desk(run).live.values()))

    def broken(server: str, method: str) -> None:
        if method == "tools/call":
            raise RuntimeError(f"cannot send Authorization: Bearer {secret}")

    world.servers.fault = broken
    seen = await world.call("github.list_issues", {})
    world.servers.fault = None
    said = [line for line in world.operator if line.startswith("defect")]
    world.operator[:] = [line for line in world.operator if line not in said]  # this one is deliberate (U3)
    seen.facts |= {"said": said, "told": world.responses.pop().body}
    seen.word, seen.reason = Word.DENY, seen.reason or Reason.INTERNAL
    return seen


# -- phrases -------------------------------------------------------------------------------------------------------------


def _injected(run: Run) -> list[tuple[str, str]]:
    return [(server, value) for server, fields in run.world.injected for value in fields.values()]


def _nowhere(run: Run, secret: str) -> None:
    world = run.world
    places = {
        "an answer": b"".join(response.body for response in world.responses),
        "the operator's lines": "\n".join(world.operator).encode(),
        "the log": b"".join(entry.data for entry in world.store.entries()),
    }
    for place, content in places.items():
        require(not any(form in content for form in forms(secret)), f"the secret is in {place}")


@phrase(r"injected at egress only")
async def egress_only(run: Run, seen: Observed, match: Match) -> None:
    injected = _injected(run)
    live = set(_desk(run).live.values())
    require(injected and all(value.removeprefix("Bearer ") in live for _, value in injected), f"injected: {injected}")
    for secret in live:
        _nowhere(run, secret)


@phrase(r"injection keyed by pinned destination")
async def keyed(run: Run, seen: Observed, match: Match) -> None:
    for server, value in _injected(run):
        require(f"lent-{server}-" in value, f"{server} was given another's")
    lending = run.world.main.runtime.lending
    state = run.world.store.task((await run.world.session()).task.id)
    elsewhere = Where(destination="https://evil.example", url="https://evil.example/mcp")
    try:
        await lending.broker.lend(state, ServerName("bank"), elsewhere)
    except CredentialRefusedError as error:
        require(error.reason is Reason.AUDIENCE, f"refused with {error.reason}")
        return
    raise Wrong("it was lent for another address")


@phrase(r"unknown argument")
async def unknown_argument(run: Run, seen: Observed, match: Match) -> None:
    require(seen.reason == Reason.UNKNOWN_ARGUMENT, f"reason {seen.reason!r}")
    require(not run.effects(), "something was sent")


@phrase(r"redacted to the agent and in logs", r"exact-match canary test")
async def redacted(run: Run, seen: Observed, match: Match) -> None:
    _nowhere(run, MANAGED)
    require("[credential github removed]" in seen.text, f"the agent was told {seen.text[:200]!r}")
    signals = [record.signal.kind for record in run.records() if isinstance(record, SignalObserved)]
    require("credential_in_reply" in signals, "nobody was told")


@phrase(r"no secret in stderr, core, /debug", r"locals not printed")
async def nothing_shown(run: Run, seen: Observed, match: Match) -> None:
    for secret in [*_desk(run).live.values(), (await run.world.session()).token]:
        _nowhere(run, secret)
    for path in ("/debug", "/debug/pprof", "/metrics", "/healthz"):
        response = await ask(run.world.main.app, "GET", path, [("Host", HOST)])
        require(
            b"lent-" not in response.body and b"Traceback" not in response.body, f"{path} shows {response.body[:80]!r}"
        )
    said = "\n".join(seen.facts["said"])
    require(said, "the defect was swallowed")
    for secret in _desk(run).live.values():
        require(secret not in said and secret.encode() not in seen.facts["told"], f"shown: {said!r}")
    import resource

    from lictor.app.safekeeping import harden

    harden()
    require(resource.getrlimit(resource.RLIMIT_CORE)[0] == 0, "a core may be written")


@phrase(r"upstream revocation called")
async def revocation_called(run: Run, seen: Observed, match: Match) -> None:
    async with asyncio.timeout(5):
        while not _desk(run).tried:
            await _look(run)
    require(all(lease.status is LeaseStatus.REVOKING for lease in run.world.store.leases()), "a lease goes on")


@phrase(r"retried with backoff")
async def retried(run: Run, seen: Observed, match: Match) -> None:
    attempt = next(iter(run.world.main.runtime.lending.reaper._tries.values()))
    pauses = [attempt.pause_s]
    while attempt.attempts < 4:
        attempt.next_at = 0.0
        await _look(run)
        pauses.append(attempt.pause_s)
    require(pauses == sorted(set(pauses)) and pauses[-1] <= reap.LAST_PAUSE_S, f"pauses {pauses}")


@phrase(r"never dropped after N tries without alert")
async def never_dropped(run: Run, seen: Observed, match: Match) -> None:
    desk, reaper = _desk(run), run.world.main.runtime.lending.reaper
    while desk.live:
        for attempt in reaper._tries.values():
            attempt.next_at = 0.0
        await _look(run)
        require(desk.tried <= desk.refusals + 2, "it is not revoked though the provider is back")
    kept = [record.attempts for record in run.records() if isinstance(record, LeaseKept)]
    require(kept == [1, 2, 4, 8], f"written down: {kept}")
    require(any("not revoked after" in line for line in run.world.operator), "nobody was told")
    require(not run.world.store.leases(), "a lease is left")


async def _look(run: Run) -> None:
    reaper = run.world.main.runtime.lending.reaper
    await reaper.tick()
    jobs = [attempt.job for attempt in reaper._tries.values() if attempt.job is not None]
    await asyncio.gather(*jobs)


@phrase(r"capped at the class maximum")
async def capped(run: Run, seen: Observed, match: Match) -> None:
    """The provider gave a month: it is used for the credential's own time, and seen to its real end."""
    now = run.world.clock.now_ms()
    (lent_now,) = run.world.main.runtime.lending.broker.mine()
    require(lent_now.until_ms - now <= 900_000, "it is used longer than its class allows")
    (lease,) = run.world.store.leases()
    require(lease.expires_at_ms - now > 900_000, "its real end is not known")
    require(seen.reason == Reason.BUNDLE_REFUSED, f"the bundle: {seen.reason!r}")


@phrase(r"by exact-match of managed secrets")
async def exact_match(run: Run, seen: Observed, match: Match) -> None:
    require(not run.effects(), "it was sent")
    refused = [record.reason for record in run.records() if isinstance(record, RequestRefused)]
    require(refused == [Reason.CREDENTIAL_IN_ARGUMENTS.value], f"recorded: {refused}")
    _nowhere(run, MANAGED)
    other = await run.world.call("mail.send", {"to": "x@corp.example", "body": "key sk-live-xyz"})
    require(other.reason != Reason.CREDENTIAL_IN_ARGUMENTS, "what is no secret of ours is refused as one")
