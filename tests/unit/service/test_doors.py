"""The token service and the door: what must be refused is, with its reason; and a door without the check lets it through."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import token_bench
from integration.token_world import Key
from lictor.model.errors import CallerError
from lictor.model.record import TokenIssued, TokenRevoked, decode_entry
from lictor.protocol.jose.base64url import decode
from lictor.service.tasks import admit, exchange, tokens
from lictor.service.tasks.exchange import Sent
from lictor.service.tasks.possession import Presented
from lictor.stores.token_keys import GRACE_MS, TokenKeys
from token_bench import ATTEMPTS, AUDIENCE, TOKEN_URL, URL, WISH, Bench, bench, outcome

EXTERNAL = {"an_agent_without_a_task", "an_external_token_that_names_anothers_task"}


@pytest.fixture
def made(tmp_path: Path) -> Bench:
    """The doors as they are."""
    return bench(tmp_path)


def claims_of(token: str) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(decode(token.split(".")[1]) or b"")
    return found


@pytest.mark.parametrize("name", sorted(ATTEMPTS))
async def test_refused(tmp_path: Path, name: str) -> None:
    """Each attempt of the table is refused, for its own reason."""
    made = bench(tmp_path, mcp_clients=("ci",) if name in EXTERNAL else ())
    assert await outcome(made, name) == ATTEMPTS[name][1]


# -- controls: one check taken out ---------------------------------------------------------------------------------------


def _no_names(patch: Any) -> None:
    patch.setattr(exchange, "names", lambda *_: True)


def _no_possession(patch: Any) -> None:
    patch.setattr(tokens, "check_held", lambda *_: None)
    patch.setattr(admit, "check_held", lambda *_: None)


def _no_signature(patch: Any) -> None:
    patch.setattr(tokens, "check_signature", lambda *_: None)
    patch.setattr(token_bench.TokenKeys, "verifying", lambda *_, **__: _AnyKey())


class _AnyKey:
    version = "any"

    def find(self, *_: object) -> object:
        return object()


def _no_header(patch: Any) -> None:
    real = tokens.check_header
    patch.setattr(tokens, "check_header", lambda header, **rules: real({**header, "typ": "at+jwt"}, **rules))


def _no_life(patch: Any) -> None:
    patch.setattr(token_bench.MemoryStore, "revoked", lambda *_: False)


def _no_time(patch: Any) -> None:
    real = tokens.Tokens.alive

    def alive(self: Any, token: Any) -> Any:
        now = self._clock.now_ms()
        self._clock.set(token.times.from_ms)
        try:
            return real(self, token)
        finally:
            self._clock.set(now)

    patch.setattr(tokens.Tokens, "alive", alive)


def _workload_by_task_token(patch: Any) -> None:
    real = exchange.Exchange._prove

    async def prove(self: Any, token: str, sent: Sent) -> Any:
        if self._is_ours(token):
            from lictor.model.identity import Proven

            agent = claims_of(token)["client_id"]
            return Proven(issuer="ci", subject=f"repo:{agent}", how="jwt", expires_at_ms=2**50)
        return await real(self, token, sent)

    patch.setattr(exchange.Exchange, "_prove", prove)


CONTROLS: dict[str, tuple[Callable[[Any], None], set[str]]] = {
    "subject and actor need not belong together": (
        _no_names,
        {
            "a_person_who_names_nobody",
            "a_person_who_names_another_agent",
            "an_actor_of_the_same_subject_at_another_issuer",
        },
    ),
    "a bound token is a bearer": (
        _no_possession,
        {"a_bound_token_as_a_bearer", "a_bound_token_with_a_thiefs_key", "a_replayed_proof", "a_proof_for_another_url"},
    ),
    "nobody looks at the signature": (
        _no_signature,
        {"a_chain_with_its_last_link_dropped", "a_binding_taken_out", "a_token_signed_with_a_key_of_the_senders"},
    ),
    "any type is an access token": (_no_header, {"our_key_for_another_kind_of_token"}),
    "revocation is not looked up": (_no_life, {"a_revoked_token"}),
    "time stands still": (_no_time, {"an_expired_token"}),
    "a task token proves its agent": (_workload_by_task_token, {"a_task_token_as_actor"}),
}


@pytest.mark.parametrize("name", CONTROLS)
async def test_controls_are_caught(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    """Without a check, the attempts it is there for go through: the table would notice."""
    change, expected = CONTROLS[name]
    change(monkeypatch)
    for index, one in enumerate(sorted(expected)):
        folder = tmp_path / str(index)
        folder.mkdir()
        assert await outcome(bench(folder), one) == "let through", one


# -- what is good goes through ---------------------------------------------------------------------------------------------


async def test_a_bound_agent_gets_in(made: Bench) -> None:
    """Workload token in, task token out; the door sees the task, and only the log's digest names the proof."""
    token, task = await made.bound()
    assert (await made.used(token)).task.id == task
    claims = claims_of(token)
    assert {name: claims[name] for name in ("iss", "sub", "client_id", "aud", "lictor_task", "txn")} == {
        "iss": URL,
        "sub": "helper",
        "client_id": "helper",
        "aud": AUDIENCE,
        "lictor_task": task,
        "txn": task,
    }
    assert "act" not in claims
    assert claims["exp"] - claims["iat"] == 15 * 60
    issued = [
        entry.record
        for entry in map(decode_entry, (one.data for one in made.store.entries()))
        if isinstance(entry.record, TokenIssued)
    ]
    assert [(one.jti, one.agent, one.issuer, one.subject, one.how) for one in issued] == [
        (claims["jti"], "helper", "ci", "repo:helper", "jwt")
    ]


async def test_a_token_never_outlives_its_task(made: Bench) -> None:
    """The last minutes of a task are the token's."""
    opened = await made.task()
    made.clock.advance(2_900_000)
    issued = await made.exchange(made.workload(), {"task": opened.task.id})
    assert issued.token.expires_at_ms == opened.task.expires_at_ms


async def test_a_person_opens_for_the_agent_named(made: Bench) -> None:
    """May_act, the audience, or the client it was issued to: each names the agent."""
    for claims in ({"may_act": {"sub": "helper"}}, {"may_act": {"sub": "repo:helper", "iss": "https://ci.example"}}):
        issued = await made.exchange(made.person(**claims), WISH, actor_token=made.workload())
        assert (issued.task.human, issued.task.agent) == ("corp:alice", "helper")


async def test_an_application_opens_for_a_person(made: Bench) -> None:
    """An application proves itself like a workload, and says on whose behalf."""
    subject = made.workload("app:desk", may_act={"sub": "helper"})
    issued = await made.exchange(subject, {**WISH, "human": "os:carol"}, actor_token=made.workload())
    assert issued.task.human == "os:carol"


async def test_a_delegated_token_says_who_acts_for_whom(made: Bench) -> None:
    """The agent at the top is the subject; who acts for it comes nearest first."""
    one, task = await made.bound()
    child = await made.exchange(one, {"text": "find it", "calls": 5}, actor_token=made.workload("repo:clerk"))
    claims = claims_of(child.token.text)
    assert (claims["sub"], claims["client_id"], claims["act"], claims["txn"]) == (
        "helper",
        "clerk",
        {"sub": "clerk"},
        task,
    )
    assert (await made.used(child.token.text)).task.parents == (task,)


async def test_a_key_shown_is_a_key_bound(made: Bench) -> None:
    """A proof beside the exchange binds the token; each use needs a fresh one."""
    key = Key()
    token, _ = await made.bound(proof=made.proof(key, TOKEN_URL))
    assert claims_of(token)["cnf"] == {"jkt": key.jkt}
    for _ in range(2):
        await made.used(token, "dpop", proof=made.proof(key, token=token))


async def test_a_bound_workload_stays_bound(made: Bench) -> None:
    """What the workload's own token is bound to, the task token is bound to."""
    key = Key()
    workload = made.workload(cnf={"jkt": key.jkt})
    task = (await made.task()).task.id
    issued = await made.exchange(workload, {"task": task}, made.proof(key, TOKEN_URL, workload))
    assert claims_of(issued.token.text)["cnf"] == {"jkt": key.jkt}


async def test_only_the_holder_learns_why(made: Bench) -> None:
    """That a bound token was revoked, or its task closed, is not told to a thief."""
    key = Key()
    token, task = await made.bound(proof=made.proof(key, TOKEN_URL))
    await made.tasks.close(task, "test")  # type: ignore[arg-type]
    with pytest.raises(CallerError, match="a proof is needed"):
        await made.used(token)
    with pytest.raises(CallerError, match="the task is closed"):
        await made.used(token, "dpop", proof=made.proof(key, token=token))


async def test_only_the_holder_revokes(made: Bench) -> None:
    """A stolen bound token cannot even be revoked; the holder's revocation counts once."""
    key = Key()
    token, _ = await made.bound(proof=made.proof(key, TOKEN_URL))
    at = {"method": "POST", "url": f"{URL}/oauth/revoke"}
    with pytest.raises(CallerError):
        await made.doors.tokens.revoke(Presented(scheme="body", token=token, **at))
    for _ in range(2):
        proof = made.proof(key, at["url"], token)
        await made.doors.tokens.revoke(Presented(scheme="body", token=token, proof=proof, **at))
    revoked = [decode_entry(one.data).record for one in made.store.entries()]
    assert sum(isinstance(one, TokenRevoked) for one in revoked) == 1


async def test_an_external_access_token_needs_its_own_agents_task(tmp_path: Path) -> None:
    """It says who the agent is; the task it names was opened for this agent by somebody else."""
    made = bench(tmp_path, mcp_clients=("ci",))
    task = (await made.task()).task.id
    assert (await made.used(made.workload(lictor_task=task))).task.id == task
    details = [{"type": "lictor_task", "task": task}]
    assert (await made.used(made.workload(authorization_details=details))).task.id == task


async def test_a_token_seen_before_is_checked_again(made: Bench) -> None:
    """What is remembered of a token is who it is for, never whether it may be used."""
    token, task = await made.bound()
    alive = await made.doors.admit(Presented(scheme="bearer", token=token, method="POST", url=AUDIENCE))
    assert alive().task.id == task
    await made.tasks.close(task, "test")  # type: ignore[arg-type]
    with pytest.raises(CallerError, match="closed"):
        alive()


async def test_rotation_keeps_tokens_alive_and_ends_them(made: Bench, tmp_path: Path) -> None:
    """After a rotation old tokens are good until they would have died; another process sees the new key at once."""
    keys = made.doors.tokens.keys
    assert isinstance(keys, TokenKeys)
    old, _ = await made.bound()
    other = TokenKeys(tmp_path, made.clock.now_ms())
    kid = other.rotate(made.clock.now_ms())
    new, _ = await made.bound()
    assert json.loads(decode(new.split(".")[0]) or b"")["kid"] == kid
    await made.used(old)
    await made.used(new)
    assert len(keys.published(made.clock.now_ms())["keys"]) == 2
    made.clock.advance(GRACE_MS)
    assert [key["kid"] for key in keys.published(made.clock.now_ms())["keys"]] == [kid]
    other.rotate(made.clock.now_ms())
    assert len(keys.published(made.clock.now_ms())["keys"]) == 2
    assert oct((tmp_path / "token.keys").stat().st_mode & 0o777) == "0o600"
    assert not any(set("d") & key.keys() for key in keys.published(0)["keys"])
