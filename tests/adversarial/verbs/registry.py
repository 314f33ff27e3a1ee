"""The registry and the folder it is in: who may act at all, who may change that, and what lies about."""

import os
import re
import stat
import subprocess
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from unittest.mock import patch

import msgspec

from adversarial import fixture
from adversarial.expectations import phrase, require
from adversarial.fixture import fixture_files, with_policy
from adversarial.model import NoSetup, Observed, Unreadable, Word, Wrong
from adversarial.run import Run, precondition, verb
from lictor.app import open_house
from lictor.config import BundleSettings
from lictor.model.containment import Scope
from lictor.model.errors import CallerError, LictorError
from lictor.model.identity import Opener, Proof, Proven
from lictor.model.ids import AgentId, HumanId
from lictor.model.reasons import Reason
from lictor.model.record import AgentChanged, BundleApproved
from lictor.model.task import Budget
from lictor.pdp.proof import whose
from lictor.policy.registry_edit import NewAgent, add_agent, retire_agent
from lictor.service.registry import Registry
from lictor.service.tasks.tasks import Wish
from lictor.stores import private

Match = re.Match[str]
ROOT = Path(__file__).parents[3]
CERTIFICATE = Proof(issuer="spire", subject="spiffe://case.example/agent/banned")


def _registered(files: dict[str, bytes], name: str, review_by: str = "2099-12-31", **more: str) -> dict[str, bytes]:
    """The bundle with one agent more."""
    lines = [
        f'owner = "finance"\nreview_by = {review_by}\ngroups = ["payers"]',
        *(f"{k} = {v}" for k, v in more.items()),
    ]
    text = files["agents.toml"].decode() + f"\n[agents.{name}]\n" + "\n".join(lines) + "\n"
    return {**files, "agents.toml": text.encode()}


def _swap(run: Run, agent: str, **changes: Any) -> None:
    """Another registry in force: a state that no bundle can be loaded in."""
    policy = run.world.main.house.policy
    pdp = policy.current()
    changed = msgspec.structs.replace(pdp.agents[AgentId(agent)], **changes)
    policy.swap(type(pdp)(**{**_members(pdp), "agents": {**pdp.agents, AgentId(agent): changed}}))


def _members(pdp: Any) -> dict[str, Any]:
    return {name: getattr(pdp, name) for name in type(pdp).__dataclass_fields__}


# -- who may act ---------------------------------------------------------------------------------------------------------


@precondition(r"unregistered agent / past review date / no owner")
async def three_states(run: Run, match: Match) -> None:
    """A task that was opened while all was well; then each state in turn. The last one stays for what the case does."""
    world, whole = run.world, dict(run.world.files)
    yesterday = (datetime.fromtimestamp(world.clock.now_ms() / 1_000, UTC).date() - timedelta(days=1)).isoformat()
    await world.deploy(_registered(whole, "orphan"))
    session = await world.session("orphan", "alice")
    well = await world.call("fs.read_file", {}, session=session)
    if well.word is not Word.ALLOW:
        raise NoSetup(f"the agent could not act before: {well.summary()}")
    before = len(world.servers.effects)
    for files, reason in (
        (whole, Reason.UNKNOWN_AGENT),
        (_registered(whole, "orphan", yesterday), Reason.AGENT_REVIEW_OVERDUE),
        (_registered(whole, "orphan", active="false"), Reason.AGENT_INACTIVE),
    ):
        await world.deploy(files)
        seen = await world.call("fs.read_file", {}, session=session)
        if (seen.word, seen.reason) != (Word.DENY, reason):
            raise Wrong(f"{seen.summary()}, not {reason}")
        await _opens_nothing(run, "orphan", reason)
    try:
        fixture.bundle_of(_registered(whole, "orphan", owner='""'))
        raise Wrong("an agent without owner was registered")
    except LictorError:
        pass
    await world.deploy(_registered(whole, "orphan"))
    _swap(run, "orphan", owner="")
    await _opens_nothing(run, "orphan", Reason.AGENT_NO_OWNER)
    if len(world.servers.effects) != before:
        raise Wrong("something ran")


async def _opens_nothing(run: Run, agent: str, reason: Reason) -> None:
    """No task comes into being for it, whichever way it is asked for."""
    house = run.world.main.house
    budget = Budget(calls=1)
    wish = Wish(agent=AgentId(agent), human=HumanId("test:alice"), purpose="payments", ttl_s=60, budget=budget)
    opener = Opener(kind="operator", name="test:operator")
    ways = (
        lambda: house.open(opener, wish, audience=house.settings.audience),
        lambda: house.tasks.open(
            agent=wish.agent, human=wish.human, purpose=wish.purpose, trusted_text="", ttl_s=60, budget=budget,
            audience=house.settings.audience, by="test:operator", token=True,
        ),
    )  # fmt: skip
    for way in ways:
        try:
            await way()
        except CallerError as error:
            if error.reason is not reason:
                raise Wrong(f"the opening was refused as {error.reason}, not {reason}") from None
        else:
            raise Wrong("a task was opened")


@precondition(r"banned agent re-enrols with an old certificate")
async def banned(run: Run, match: Match) -> None:
    """An agent with a certificate and a task, which then is taken out of service as `lictor agents offboard` does it."""
    world = run.world
    text = add_agent(
        world.files["agents.toml"].decode(),
        NewAgent(
            name="banned", owner="finance", groups=("payers",), proofs=(CERTIFICATE,),
            review_by=datetime.fromtimestamp(world.clock.now_ms() / 1_000, UTC).date() + timedelta(days=90),
        ),
    )  # fmt: skip
    await world.deploy({**world.files, "agents.toml": text.encode()})
    session = await world.session("banned", "alice")
    if (await world.call("fs.read_file", {}, session=session)).word is not Word.ALLOW:
        raise NoSetup("the agent could not act before")
    house = world.main.house
    registry = Registry(store=house.store, clock=house.clock, tasks=house.tasks, contain=house.contain)
    before = house.policy.current().agents[AgentId("banned")]
    await registry.stop(AgentId("banned"), by="test:operator", why="banned")
    gone = retire_agent(text, "banned")
    await world.deploy({**world.files, "agents.toml": gone.encode()})
    await registry.record("offboarded", before, house.policy.current().agents[AgentId("banned")], by="test:operator")


@verb("enrol", "cert")
async def enrol(run: Run, step: dict[str, Any]) -> Observed:
    """It comes back with what proved it before: for a task, with its old token, and to be registered under a new name."""
    if step["cert"] != "old":
        raise Unreadable(f"which certificate: {step['cert']!r}")
    world, pdp = run.world, run.world.main.house.policy.current()
    proven = Proven(
        issuer=CERTIFICATE.issuer,
        subject=CERTIFICATE.subject,
        how="x509_svid",
        expires_at_ms=world.clock.now_ms() + 60_000,
    )
    name = whose(proven, pdp.proofs.items())
    await _opens_nothing(run, name, Reason.AGENT_INACTIVE)
    try:
        world.main.house.tasks.authenticate(world.sessions["banned/alice"].token, world.main.house.settings.audience)
        again = ""
    except CallerError as error:
        again = error.reason.value
    text = world.files["agents.toml"].decode()
    tries: dict[str, str] = {}
    for other, proofs in (("banned", ()), ("fresh", (CERTIFICATE,))):
        new = NewAgent(name=other, owner="finance", proofs=proofs, review_by=datetime(2099, 1, 1, tzinfo=UTC).date())
        try:
            fixture.bundle_of({**world.files, "agents.toml": add_agent(text, new).encode()})
            tries[other] = ""
        except LictorError as error:
            tries[other] = str(error)
    return Observed(
        word=Word.REFUSED,
        reason=again,
        facts={"again": again, "tries": tries, "name": name},
        text=str(tries),
    )


@phrase(r"refused")
async def refused(run: Run, seen: Observed, match: Match) -> None:
    require(seen.word is Word.REFUSED and not run.effects(), seen.summary())
    require(seen.facts["again"] == Reason.TASK_CLOSED, f"the old token: {seen.facts['again']!r}")
    require(all(seen.facts["tries"].values()), f"it is registered again: {seen.facts['tries']}")
    require([one.scope for one in run.world.store.containments()] == [Scope.AGENT], "nothing holds it")
    changed = [record.what for record in run.world.records() if isinstance(record, AgentChanged)]
    require(changed == ["offboarded"], f"recorded: {changed}")


# -- who may change that -------------------------------------------------------------------------------------------------


@precondition(r"policy change by one person")
async def one_person(run: Run, match: Match) -> None:
    """Two operators, and a gateway that was told to want a second person."""
    world = run.world
    text = 'four_eyes = true\noperators = ["ops"]\n' + "".join(
        f'\n[approvers."test:{who}"]\ngroups = ["approver", "ops"]\n' for who in ("alice", "bob")
    )
    await world.deploy({**world.files, "approvers.toml": text.encode()})
    house = world.main.house
    house.settings = msgspec.structs.replace(house.settings, bundle=BundleSettings(second_person=True))


async def one_persons_change(run: Run, who: str) -> Observed:
    """A rule less and a permit more, by one person: tried alone, tried with their own word, and with another's."""
    world, house = run.world, run.world.main.house
    wider = with_policy(world.files, "case", '@id("case/wider")\npermit(principal, action, resource);\n')
    tighter = with_policy(
        world.files, "case", '@id("case/tighter")\nforbid(principal == Agent::"A9", action, resource);\n'
    )
    bundle, before = fixture.bundle_of(wider), house.policy.current().revision
    facts: dict[str, Any] = {"before": before}
    seen = Observed(facts=facts)
    try:
        await world.deploy(wider)
    except LictorError as error:
        seen.word, seen.reason, seen.text = Word.REFUSED, error.reason.value, str(error)
    facts["stayed"] = house.policy.current().revision
    denied = await world.call("fs.delete_file", {}, session=await world.new_session("A9", "alice"))
    facts["denied"] = denied.word
    author, other = HumanId(f"test:{who}"), HumanId("test:bob")
    try:
        await house.second_person.approve(bundle, house.policy.current().approvers, by=author, authors={author})
    except CallerError as error:
        facts["alone"] = error.reason
    await house.second_person.approve(bundle, house.policy.current().approvers, by=other, authors={author})
    await world.deploy(wider)
    facts["after"] = house.policy.current().revision
    await world.deploy(tighter)
    facts["tighter"] = house.policy.current().revision != facts["after"]
    return seen


@phrase(r"needs a second person for widening changes")
async def second_person(run: Run, seen: Observed, match: Match) -> None:
    facts = seen.facts
    require(seen.word is Word.REFUSED and seen.reason == Reason.BUNDLE_UNAPPROVED, seen.summary())
    require(facts["stayed"] == facts["before"] and facts["denied"] is not Word.ALLOW, "it is in force all the same")
    require(facts.get("alone") is Reason.APPROVER_IS_REQUESTER, f"alone: {facts.get('alone')}")
    require(facts["after"] != facts["before"], "a second person's word does not help")
    require(facts["tighter"], "a tighter bundle needs a second person too")


@phrase(r"record of the diff")
async def diff_is_recorded(run: Run, seen: Observed, match: Match) -> None:
    given = [record for record in run.records() if isinstance(record, BundleApproved)]
    require(len(given) == 1 and given[0].widens, f"recorded: {given}")
    for revision in (given[0].previous, given[0].revision):
        require(run.world.store.bundle(revision) is not None, "a bundle of the diff was not kept")


# -- what lies about -----------------------------------------------------------------------------------------------------


@precondition(
    r"config file world-writable / owned by the agent user",
    r"default credentials, default keys, sample secrets in the tree",
)
async def the_verb_does_it(run: Run, match: Match) -> None:
    """Nothing to set up."""


async def started_with(run: Run, mode: int) -> Observed:
    """A gateway is started on a folder of which one file at a time has this mode, or belongs to another user."""
    folder = run.world.folder / "lax"
    for name, data in {**fixture_files(), "lictor.toml": b""}.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)
        path.chmod(0o644)
    refused: dict[str, str] = {"usual": await _start(folder)}
    for name in ("agents.toml", "policies/fixture.cedar", "catalog/fs.toml", "lictor.toml"):
        (folder / name).chmod(mode)
        refused[name] = await _start(folder)
        (folder / name).chmod(0o644)
    (folder / "policies").chmod(0o777)
    refused["policies"] = await _start(folder)
    (folder / "policies").chmod(0o755)
    refused["owner"] = await _of_another(folder)
    return Observed(
        word=Word.REFUSED if all(why for name, why in refused.items() if name != "usual") else None,
        reason=Reason.CONFIG_REFUSED.value,
        facts={"refused": refused},
    )


async def _of_another(folder: Path) -> str:
    """The same file as another user's: given away where we may, else looked at with another user's eyes."""
    if os.geteuid() == 0:
        os.chown(folder / "agents.toml", 54321, 0)
        return await _start(folder)
    with patch.object(private.os, "geteuid", lambda: 54321):
        return await _start(folder)


async def _start(folder: Path) -> str:
    """Why it does not start; empty when it does."""
    try:
        house = await open_house(folder)
    except LictorError as error:
        return f"{error} {error.remedy}"
    house.close()
    return ""


_KEY = re.compile(
    rb"-----BEGIN (?:[A-Z]+ )*PRIVATE KEY-----\s+[A-Za-z0-9+/=\s]{64}|\b(?:AKIA|ASIA)[A-Z0-9]{16}\b|\bgh[pousr]_[A-Za-z0-9]{36}\b"
    rb"|\bxox[abprs]-[0-9A-Za-z-]{20}|\bsk-[A-Za-z0-9]{32}|\b(?:lt|la)_[A-Za-z0-9_-]{22}\b"
)
"""Private keys, and tokens of well-known makers and of our own."""
_MADE_UP = re.compile(rb"EXAMPLE|0123456789")
"""What documentation and tests write in the place of one."""


def _keys_in(data: bytes) -> list[bytes]:
    return [found[0] for found in _KEY.finditer(data) if not _MADE_UP.search(found[0])]


async def scan_tree(run: Run) -> Observed:
    """Every file under version control, for keys and tokens; and what a first start makes."""
    listed = subprocess.run(
        ["git", "ls-files", "-co", "--exclude-standard", "-z"], cwd=ROOT, capture_output=True, check=True
    )
    paths = [ROOT / name.decode() for name in listed.stdout.split(b"\0") if name]
    found = [str(path.relative_to(ROOT)) for path in paths if path.is_file() and _keys_in(path.read_bytes())]
    made = []
    for name in ("one", "two"):
        folder = run.world.folder / name
        for file, data in fixture_files().items():
            (folder / file).parent.mkdir(parents=True, exist_ok=True)
            (folder / file).write_bytes(data)
        (await open_house(folder)).close()
        made.append({path.name: path for path in (folder / ".lictor").iterdir() if path.is_file()})
    return Observed(facts={"scanned": len(paths), "found": found, "made": made})


@phrase(r"none")
async def no_secrets(run: Run, seen: Observed, match: Match) -> None:
    require(seen.facts["scanned"] > 100, "hardly anything was scanned")
    require(_keys_in(b"ghp_" + b"a1" * 18) and not _keys_in(b"AKIAIOSFODNN7EXAMPLE"), "the search finds nothing")
    require(not seen.facts["found"], f"keys or tokens in {seen.facts['found']}")


@phrase(r"first start generates keys 0600")
async def fresh_keys(run: Run, seen: Observed, match: Match) -> None:
    one, two = seen.facts["made"]
    keys = sorted(name for name in one if name.endswith(".key"))
    require({"log.key", "state.key"} <= set(keys), f"made: {sorted(one)}")
    for name, path in one.items():
        require(stat.S_IMODE(path.stat().st_mode) == 0o600, f"{name} has mode {stat.S_IMODE(path.stat().st_mode):o}")
    require(
        all(one[name].read_bytes() != two[name].read_bytes() for name in keys), "two first starts have the same key"
    )
