"""Hostile callers of the token service: what they take, what they leave behind, and what they must not become."""

import asyncio
from pathlib import Path
from typing import Any

import pytest

import token_bench
from integration.token_world import Key
from lictor.api import web
from lictor.api.caller import Caller, Callers
from lictor.api.caller import Presented as AtTheDesk
from lictor.api.oauth import ADDRESS_BURST, ALL_BURST
from lictor.api.web import Door, api_app
from lictor.lifecycle.tokens import MAX_LIVE
from lictor.model.errors import CallerError, ConflictError, LictorError, StoreError
from lictor.model.ids import AgentId, TaskId
from lictor.model.limits import Limits
from lictor.model.reasons import Reason
from lictor.model.record import PartyRefused, Record, TaskOpened, TokenIssued, decode_entry
from lictor.model.task import Budget, TaskStatus
from lictor.service.calls.pace import BURST, Pace
from lictor.service.tasks.possession import Presented
from token_bench import AUDIENCE, TOKEN_URL, URL, WISH, Bench, bench


@pytest.fixture
def made(tmp_path: Path) -> Bench:
    """The doors as they are."""
    return bench(tmp_path)


def records(made: Bench, kind: type[Any]) -> list[Any]:
    """What was written down, of one kind."""
    found: list[Record] = [decode_entry(one.data).record for one in made.store.entries(0, made.store.size())]
    return [one for one in found if isinstance(one, kind)]


async def refused(asked: Any) -> LictorError:
    """The refusal; passing is a failure."""
    with pytest.raises(LictorError) as caught:
        await asked
    return caught.value


# -- a process that does not know the newest state ---------------------------------------------------------------------------


async def test_nothing_is_issued_while_the_newest_state_is_not_known(tmp_path: Path) -> None:
    """A replica that cannot confirm the revocation epoch gives no authority by the token endpoint either."""

    def unconfirmed() -> None:
        raise StoreError(Reason.STATE_UNCONFIRMED, "the newest state is not known")

    cut = bench(tmp_path, check=unconfirmed)
    task = (await cut.task()).task.id
    error = await refused(cut.exchange(cut.workload(), {"task": task}))
    assert error.reason is Reason.STATE_UNCONFIRMED
    assert records(cut, TokenIssued) == []


# -- binding -----------------------------------------------------------------------------------------------------------------


async def test_what_a_bound_task_hands_on_stays_bound(made: Bench) -> None:
    """The child's token is bound to the key that the sender has just shown for the parent's: it never becomes a bearer."""
    key = Key()
    parent, _ = await made.bound(proof=made.proof(key, TOKEN_URL))
    proof = made.proof(key, TOKEN_URL, parent)
    issued = await made.exchange(parent, {"text": "go on", "calls": 5}, proof, actor_token=made.workload("repo:clerk"))
    assert issued.token.binding == f"jkt:{key.jkt}"


async def test_a_bad_proof_leaves_no_task_behind(made: Bench) -> None:
    """What is wrong with a request is found before anything is opened."""
    wrong = made.proof(Key(), AUDIENCE)
    await refused(made.exchange(made.person(may_act={"sub": "helper"}), WISH, wrong, actor_token=made.workload()))
    parent, task = await made.bound()
    await refused(made.exchange(parent, {"text": "x", "calls": 5}, wrong, actor_token=made.workload("repo:clerk")))
    assert [one.task.id for one in records(made, TaskOpened)] == [task]


# -- what an agent says for a person -----------------------------------------------------------------------------------------


async def test_an_agent_vouches_for_nothing_with_a_persons_token(made: Bench) -> None:
    """A token that names the agent was handed to it: what the request says besides is the agent's word, not the person's."""
    token = made.person(may_act={"sub": "helper"})
    declared = {**WISH, "declared": {"to": ["mallory@example.com"]}}
    error = await refused(made.exchange(token, declared, actor_token=made.workload()))
    assert error.reason is Reason.FORBIDDEN
    await made.exchange(token, {**WISH, "text": "send it to mallory@example.com"}, actor_token=made.workload())
    (opened,) = records(made, TaskOpened)
    assert opened.values == ()
    assert opened.task.trusted_text_digest == token_bench.EMPTY_TEXT


@pytest.mark.parametrize(
    "odd",
    [
        {"calls": -1},
        {"calls": 2**40},
        {"ttl_s": -5},
        {"value": {"euro": 1}},
        {"value": {"EUR": -1}},
        {"human": "x" * 400},
    ],
)
async def test_what_is_out_of_range_is_refused_as_at_the_task_api(made: Bench, odd: dict[str, Any]) -> None:
    """The form's door is as narrow as the API's."""
    desk = made.workload("app:desk", may_act={"sub": "helper"})
    error = await refused(made.exchange(desk, {**WISH, "human": "os:ann", **odd}, actor_token=made.workload()))
    assert getattr(error, "code", "") == "invalid_authorization_details"


# -- the control plane ---------------------------------------------------------------------------------------------------------


def at_the_desk(made: Bench, token: str) -> Any:
    callers = made.doors.signed.callers = Callers(
        answer=made.parts.answer,
        applications=made.parts.applications,
        tasks=made.tasks,
        policy=made.parts.policy,
        audience=AUDIENCE,
        front=made.doors.signed,
    )
    return callers(AtTheDesk(scheme="bearer", credential=token, method="POST", url=f"{URL}/v1/tasks"))


async def test_an_mcp_clients_token_is_no_credential_of_its_person(tmp_path: Path) -> None:
    """Also where the issuer has an `audience` of its own, which is then that of everything it issues for us."""
    both = bench(tmp_path, mcp_clients=("corp",), audience="api://lictor")
    error = await refused(at_the_desk(both, both.person(aud="api://lictor", client_id="some-mcp-client")))
    assert error.reason is Reason.AUDIENCE
    (tmp_path / "plain").mkdir()
    plain = bench(tmp_path / "plain", mcp_clients=("corp",))
    assert isinstance(await at_the_desk(plain, plain.person(aud=URL)), Caller)


async def test_an_address_that_nobody_has_verified_is_nobody(tmp_path: Path) -> None:
    """With `human_claim = "email"`, whoever may set an address in their own profile could be anybody of the bundle."""
    mail = bench(tmp_path, human_claim="email")
    for stated in ({}, {"email_verified": False}, {"email_verified": "true"}):
        token = mail.person(aud=URL, email="ann@corp.example", **stated)
        assert (await refused(at_the_desk(mail, token))).reason is Reason.UNAUTHENTICATED
    caller = await at_the_desk(mail, mail.person(aud=URL, email="ann@corp.example", email_verified=True))
    assert caller.name == "person:corp:ann@corp.example"


# -- how much ------------------------------------------------------------------------------------------------------------------


async def test_a_client_has_a_pace(made: Bench) -> None:
    """One agent asks for so many tokens a minute; others are not kept waiting by it."""
    task = (await made.task()).task.id
    other = (await made.task("clerk")).task.id
    for _ in range(BURST):
        made.doors.exchange.pace.take("agent:helper", made.clock.now_ms())
    error = await refused(made.exchange(made.workload(), {"task": task}))
    assert error.reason is Reason.OVERLOADED
    await made.exchange(made.workload("repo:clerk"), {"task": other})
    made.clock.advance(60_000)
    await made.exchange(made.workload(), {"task": task})


def test_the_pace_is_bounded_itself() -> None:
    """Names that come once take no room for long, and a clock that goes back fills no bucket."""
    pace = Pace(burst=2, per_s=1.0, most=10)
    for number in range(100):
        pace.take(f"name{number}", 1_000)
    assert len(pace) == 10
    pace.take("one", 10_000)
    pace.take("one", 10_000)
    for at_ms in (10_000, 5_000, 9_000):
        with pytest.raises(CallerError):
            pace.take("one", at_ms)
    pace.take("one", 11_000)


async def test_a_task_has_so_many_live_tokens(made: Bench) -> None:
    """The newest is refused: nobody loses a token in the middle of its work because somebody asked for another."""
    made.doors.exchange.pace = Pace(burst=10_000, per_s=1.0)
    first, task = await made.bound()
    for _ in range(MAX_LIVE - 1):
        await made.exchange(made.workload(), {"task": task})
    error = await refused(made.exchange(made.workload(), {"task": task}))
    assert isinstance(error, ConflictError)
    assert error.reason is Reason.OVERLOADED
    await made.used(first)
    await made.doors.tokens.revoke(Presented(scheme="body", token=first, method="POST", url=f"{URL}/oauth/revoke"))
    await made.exchange(made.workload(), {"task": task})
    made.clock.advance(16 * 60 * 1_000)
    await made.exchange(made.workload(), {"task": task})


async def test_what_was_revoked_is_forgotten_when_it_is_dead(made: Bench) -> None:
    """No row stays for a token that has expired, nor for any of a task that is closed."""
    one, task = await made.bound()
    presented = {"scheme": "body", "method": "POST", "url": f"{URL}/oauth/revoke"}
    await made.doors.tokens.revoke(Presented(token=one, **presented))  # type: ignore[arg-type]
    assert rows(made) == 1
    made.clock.advance(20 * 60 * 1_000)
    two = (await made.exchange(made.workload(), {"task": task})).token.text
    await made.doors.tokens.revoke(Presented(token=two, **presented))  # type: ignore[arg-type]
    assert rows(made) == 1
    assert (await refused(made.used(one))).reason is Reason.UNAUTHENTICATED
    assert (await refused(made.used(two))).reason is Reason.UNAUTHENTICATED
    await made.tasks.close(task, "test")  # type: ignore[arg-type]
    assert rows(made) == 0
    await made.doors.tokens.revoke(Presented(token=two, **presented))  # type: ignore[arg-type]
    assert rows(made) == 0
    assert (await refused(made.used(two))).reason is Reason.TASK_CLOSED


def rows(made: Bench) -> int:
    return sum(key[0] == "revoked" for key in made.store._rows)


# -- on the record -------------------------------------------------------------------------------------------------------------


async def test_a_refusal_of_somebody_known_is_on_record(made: Bench) -> None:
    """Who proved themselves and was refused is written down; who proved nothing is not: it would fill the log for them."""
    task = (await made.task("clerk")).task.id
    await refused(made.exchange(made.workload(), {"task": task}))
    (one,) = records(made, PartyRefused)
    assert (one.by, one.where, one.reason) == ("ci:repo:helper", "token", "unknown_task")
    await refused(made.exchange(Key().sign({"iss": "https://ci.example", "sub": "repo:helper"}), {"task": task}))
    await refused(made.exchange("lap_" + "x" * 30, {**WISH, "human": "os:ann"}, actor_token=made.workload()))
    assert len(records(made, PartyRefused)) == 1


async def test_an_opening_that_policy_refused_is_recorded_once(made: Bench) -> None:
    """Request and decision are on record already."""
    token = made.person(may_act={"sub": "helper"})
    error = await refused(made.exchange(token, {**WISH, "calls": 5_000}, actor_token=made.workload()))
    assert error.reason is Reason.NOT_PERMITTED
    assert records(made, PartyRefused) == []


async def test_children_do_not_outlive_the_check(made: Bench) -> None:
    """A child of a closed task gets no token, and one that is out is refused at the door."""
    parent, task = await made.bound()
    child = await made.exchange(parent, {"text": "x", "calls": 5}, actor_token=made.workload("repo:clerk"))
    await made.tasks.close(task, "test")  # type: ignore[arg-type]
    state = made.store.task(child.task.id)
    assert state is not None
    assert state.status is TaskStatus.OPEN
    assert (await refused(made.used(child.token.text))).reason is Reason.TASK_CLOSED
    again = made.exchange(made.workload("repo:clerk"), {"task": child.task.id})
    assert (await refused(again)).reason is Reason.TASK_CLOSED


async def test_a_key_opens_one_child_of_one_parent_for_one_caller(made: Bench) -> None:
    """The same key and wish find the same child; another wish is refused; another caller's or parent's key is another."""
    _, one = await made.bound()
    _, two = await made.bound()
    delegate = made.parts.delegate

    async def ask(parent: str, by: str, calls: int = 5) -> Any:
        budget = Budget(calls=calls)
        return await delegate(TaskId(parent), agent=AgentId("clerk"), ttl_s=60, budget=budget, by=by, key="k")

    first = await ask(one, "application:desk")
    again = await ask(one, "application:desk")
    assert (again.task.id, again.token, again.repeated) == (first.task.id, "", True)
    state = made.store.task(TaskId(one))
    assert state is not None
    assert state.calls_used == 5
    assert (await refused(ask(one, "application:desk", 6))).reason is Reason.KEY_REUSED
    others = [await ask(one, "application:other"), await ask(two, "application:desk")]
    assert len({first.task.id, *(other.task.id for other in others)}) == 3
    assert all(other.token and not other.repeated for other in others)
    at_once = await asyncio.gather(*(ask(two, "person:os:ann") for _ in range(8)))
    assert len({each.task.id for each in at_once}) == 1
    assert sum(bool(each.token) for each in at_once) == 1


# -- over HTTP -----------------------------------------------------------------------------------------------------------------


def over_http(made: Bench, body: bytes = b"", *, parts: int = 1) -> Any:
    """The token endpoint behind its door, as ASGI; `parts` 0: the body never comes."""
    clock, limits = made.clock, Limits()
    door = Door(
        callers=Callers(
            answer=made.parts.answer,
            applications=made.parts.applications,
            tasks=made.tasks,
            policy=made.parts.policy,
            audience=AUDIENCE,
        ),
        alarm=lambda *_: asyncio.sleep(0),
        clock=clock,
        limits=limits,
        hosts=frozenset({"gateway.example"}),
        public_url=URL,
        on_defect=lambda error: pytest.fail(repr(error)),
    )
    app = api_app(door, made.doors.routes())

    async def send(address: str = "192.0.2.1") -> tuple[int, dict[bytes, bytes], bytes]:
        sent: list[dict[str, Any]] = []

        async def receive() -> dict[str, Any]:
            if not parts:
                await asyncio.sleep(60)
            return {"type": "http.request", "body": body, "more_body": False}

        async def answer(message: dict[str, Any]) -> None:
            sent.append(message)

        headers = [(b"host", b"gateway.example"), (b"content-type", b"application/x-www-form-urlencoded")]
        scope = {
            "type": "http",
            "method": "POST",
            "path": "/oauth/token",
            "raw_path": b"/oauth/token",
            "query_string": b"",
            "headers": headers,
            "client": (address, 1),
            "server": ("gateway.example", 443),
            "scheme": "https",
        }
        await app(scope, receive, answer)
        return sent[0]["status"], dict(sent[0]["headers"]), b"".join(one.get("body", b"") for one in sent[1:])

    return send


async def test_the_endpoint_has_a_pace_for_each_address_and_for_all(made: Bench) -> None:
    """Whoever floods it is told to wait before any signature is looked at; another address still gets its turn."""
    send = over_http(made, b"grant_type=none")
    answers = [await send() for _ in range(ADDRESS_BURST + 1)]
    assert {one[0] for one in answers[:-1]} == {400}
    status, headers, body = answers[-1]
    assert (status, headers[b"retry-after"]) == (429, b"1")
    assert b"temporarily_unavailable" in body
    assert (await send("192.0.2.2"))[0] == 400
    for number in range(ALL_BURST):
        status = (await send(f"198.51.100.{number}"))[0]
    assert status == 429


async def test_a_body_that_does_not_come_is_not_waited_for(made: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    """A request without an end holds memory and a connection: it has some seconds."""
    monkeypatch.setattr(web, "BODY_TIMEOUT_S", 0.05)
    status, _, body = await asyncio.wait_for(over_http(made, parts=0)(), 5)
    assert status == 400
    assert b"in time" in body
