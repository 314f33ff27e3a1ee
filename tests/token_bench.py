"""The doors without HTTP: real issuers with keys in files, the real front, store, policy and token service, in one process.

`attempts` is a table of what must be refused, each with the reason. A control builds the same doors with one check taken out, and
has to let an attempt of the table through.
"""

import json
import os
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from integration.token_world import AGENTS, APPLICATIONS, CI, CORP, EXCHANGE, JWT, POLICY, ROBOT, Key, now_s
from lictor.api.doors import Doors, Issuer, Parts
from lictor.api.settings import OAuth
from lictor.identity.front import Front, open_front
from lictor.identity.settings import IssuerSettings
from lictor.model.canonical import sha256_digest
from lictor.model.errors import LictorError
from lictor.model.identity import Opener
from lictor.model.ids import AgentId, HumanId
from lictor.model.limits import Limits
from lictor.model.task import Budget, TaskState
from lictor.policy.compile import compile_bundle, parse_guarded
from lictor.policy.load import load_bundle
from lictor.protocol.oauth.request import read_request
from lictor.service.people.approve import Answer
from lictor.service.policy import PolicyInForce
from lictor.service.tasks.applications import Applications
from lictor.service.tasks.delegate import Delegate
from lictor.service.tasks.exchange import Issued, Sent
from lictor.service.tasks.opening import Open
from lictor.service.tasks.possession import Presented
from lictor.service.tasks.prospect import Prospects
from lictor.service.tasks.tasks import Tasks, Wish
from lictor.stores.ids import RandomIds
from lictor.stores.memory import MemoryStore
from lictor.stores.token_keys import TokenKeys
from lictor.testing.clock import ManualClock

URL = "https://gateway.example"
AUDIENCE = f"{URL}/mcp"
TOKEN_URL = f"{URL}/oauth/token"
EMPTY_TEXT = sha256_digest(b"")


@dataclass
class Bench:
    """The doors, and the keys of everybody around them."""

    doors: Doors
    parts: Parts
    front: Front
    store: MemoryStore
    clock: ManualClock
    open: Open
    tasks: Tasks
    ci: Key
    corp: Key
    robot: Key

    @property
    def now_s(self) -> int:
        return self.clock.now_ms() // 1_000

    def workload(self, subject: str = "repo:helper", **claims: Any) -> str:
        said = {"iss": CI, "sub": subject, "aud": AUDIENCE, "iat": self.now_s, "exp": self.now_s + 300}
        return self.ci.sign({**said, **claims})

    def person(self, name: str = "alice", **claims: Any) -> str:
        said = {"iss": CORP, "sub": name, "aud": AUDIENCE, "iat": self.now_s, "exp": self.now_s + 300}
        return self.corp.sign({**said, **claims})

    def proof(self, key: Key, url: str = AUDIENCE, token: str = "", **claims: Any) -> str:
        return key.proof("POST", url, token, **{"iat": self.now_s, **claims})

    async def task(self, agent: str = "helper", *, bearer: bool = False) -> Any:
        """The operator opens one."""
        wish = Wish(
            agent=AgentId(agent),
            human=HumanId("os:ann"),
            purpose="test",
            ttl_s=3_000,
            budget=Budget(calls=100),
            bearer=bearer,
        )
        return await self.open(Opener(kind="operator", name="os:ann"), wish, audience=AUDIENCE)

    async def exchange(
        self, subject: str, details: dict[str, Any] | None, proof: str | None = None, **more: str
    ) -> Issued:
        form = {"grant_type": EXCHANGE, "subject_token": subject, "subject_token_type": JWT, **more}
        if "actor_token" in more:
            form["actor_token_type"] = JWT
        if details is not None:
            form["authorization_details"] = json.dumps([{"type": "lictor_task", **details}])
        request = read_request(form, resource=AUDIENCE)
        return await self.doors.exchange(request, Sent(method="POST", url=TOKEN_URL, proof=proof))

    async def bound(self, agent: str = "helper", proof: str | None = None) -> tuple[str, str]:
        """A token for a fresh task of an agent; the task's id with it."""
        task = (await self.task(agent)).task.id
        issued = await self.exchange(self.workload(f"repo:{agent}"), {"task": task}, proof)
        return issued.token.text, task

    async def used(self, token: str, scheme: str = "bearer", **more: Any) -> TaskState:
        """The token at the MCP door."""
        presented = Presented(scheme=scheme, token=token, method="POST", url=AUDIENCE, **more)  # type: ignore[arg-type]
        return (await self.doors.admit(presented))()


def bench(
    folder: Path,
    *,
    mcp_clients: tuple[str, ...] = (),
    at_ms: int | None = None,
    check: Callable[[], None] = lambda: None,
    audience: str = "",
    human_claim: str = "sub",
) -> Bench:
    """Everything, fresh."""
    ci, corp, robot = Key(), Key(), Key()
    for name, key in (("ci", ci), ("corp", corp), ("robot", robot)):
        (folder / f"{name}.jwks").write_text(json.dumps({"keys": [key.public]}))
    settings = {
        "ci": IssuerSettings(kind="jwks", url=CI, file=str(folder / "ci.jwks")),
        "corp": IssuerSettings(
            kind="jwks", url=CORP, file=str(folder / "corp.jwks"), audience=audience, human_claim=human_claim
        ),
        "robot": IssuerSettings(kind="keys", url=ROBOT, file=str(folder / "robot.jwks")),
    }
    clock, store, ids, policy = (
        ManualClock(at_ms or now_s() * 1_000),
        MemoryStore(),
        RandomIds(),
        PolicyInForce(),
    )
    files = {
        "agents.toml": AGENTS.encode(),
        "applications.toml": APPLICATIONS.encode(),
        "policies/test.cedar": POLICY.encode(),
        "approvers.toml": b'[approvers."os:ann"]\ngroups = ["owner"]\n',
    }
    policy.swap(compile_bundle(load_bundle(files, parse_guarded(files))))
    parts: dict[str, Any] = {"store": store, "policy": policy, "clock": clock, "ids": ids}
    limits = Limits()
    tasks = Tasks(**parts, limits=limits)
    open_task = Open(
        tasks=tasks,
        store=parts["store"],
        prospects=Prospects(store=parts["store"], policy=parts["policy"], ids=parts["ids"], limits=limits),
    )
    front = open_front(settings, folder=folder, state=folder, audience=AUDIENCE, clock=clock, report=print)
    whole = Parts(
        **parts,
        limits=limits,
        tasks=tasks,
        open=open_task,
        delegate=Delegate(**parts, limits=limits),
        answer=Answer(**parts, limits=limits),
        applications=Applications(**parts),
        keys=TokenKeys(folder, clock.now_ms()),
        front=front,
        proofs=front.possession,
        issuers={name: Issuer(url=one.url, human_claim=one.human_claim) for name, one in settings.items()},
        oauth=OAuth(people=("corp",), mcp_clients=mcp_clients),
        public_url=URL,
        audience=AUDIENCE,
        task_ttl_s=600,
        client_certificates=False,
        check=check,
    )
    return Bench(Doors(whole), whole, front, store, clock, open_task, tasks, ci, corp, robot)


Attempt = Callable[[Bench], Awaitable[object]]
ATTEMPTS: dict[str, tuple[Attempt, str]] = {}
"""By name: what is tried, and the reason it is refused with."""


def attempt(reason: str) -> Callable[[Attempt], Attempt]:
    """Add one to the table."""

    def added(function: Attempt) -> Attempt:
        ATTEMPTS[function.__name__] = (function, reason)
        return function

    return added


async def outcome(made: Bench, name: str) -> str:
    """The reason an attempt is refused with; `let through` when it is not."""
    try:
        await ATTEMPTS[name][0](made)
    except LictorError as error:
        return error.reason.value
    return "let through"


# -- binding ---------------------------------------------------------------------------------------------------------


@attempt("unknown_task")
async def another_agents_task(made: Bench) -> object:
    task = (await made.task("clerk")).task.id
    return await made.exchange(made.workload(), {"task": task})


@attempt("unknown_task")
async def no_such_task(made: Bench) -> object:
    return await made.exchange(made.workload(), {"task": "task_AAAAAAAAAAAAAAAAAAAAAA"})


@attempt("unknown_agent")
async def nobody_registered(made: Bench) -> object:
    return await made.exchange(made.workload("repo:nobody"), {"task": (await made.task()).task.id})


@attempt("forbidden")
async def an_agent_opens_its_own_task(made: Bench) -> object:
    return await made.exchange(made.workload(), {"purpose": "test", "text": "anything"})


@attempt("forbidden")
async def a_person_takes_an_agents_token(made: Bench) -> object:
    task = (await made.task()).task.id
    return await made.exchange(made.person(may_act={"sub": "helper"}), {"task": task}, actor_token=made.workload())


@attempt("task_closed")
async def a_closed_task(made: Bench) -> object:
    task = (await made.task()).task.id
    await made.tasks.close(task, "test")
    return await made.exchange(made.workload(), {"task": task})


@attempt("audience")
async def a_workload_token_for_another_gateway(made: Bench) -> object:
    task = (await made.task()).task.id
    return await made.exchange(made.workload(aud="https://other.example/mcp"), {"task": task})


@attempt("invalid_message")
async def a_token_for_another_resource(made: Bench) -> object:
    task = (await made.task()).task.id
    return await made.exchange(made.workload(), {"task": task}, resource="https://other.example/mcp")


# -- opening, and tokens that do not belong together (DELG-05) -------------------------------------------------------------

WISH = {"purpose": "test", "text": "look something up"}


@attempt("delegation")
async def a_person_who_names_nobody(made: Bench) -> object:
    return await made.exchange(made.person(), WISH, actor_token=made.workload())


@attempt("delegation")
async def a_person_who_names_another_agent(made: Bench) -> object:
    return await made.exchange(made.person(may_act={"sub": "clerk"}), WISH, actor_token=made.workload())


@attempt("delegation")
async def a_person_whose_may_act_says_more_than_we_know(made: Bench) -> object:
    token = made.person(may_act={"sub": "helper", "only_on": "sunday"})
    return await made.exchange(token, WISH, actor_token=made.workload())


@attempt("delegation")
async def an_actor_of_the_same_subject_at_another_issuer(made: Bench) -> object:
    token = made.person(may_act={"sub": "repo:helper"})
    return await made.exchange(token, WISH, actor_token=made.workload())


@attempt("delegation")
async def may_act_overrules_the_client(made: Bench) -> object:
    token = made.person(may_act={"sub": "clerk"}, azp="helper")
    return await made.exchange(token, WISH, actor_token=made.workload())


@attempt("delegation")
async def a_client_that_is_no_text(made: Bench) -> object:
    return await made.exchange(made.workload("app:desk", azp=7), {**WISH, "human": "os:x"}, actor_token=made.workload())


@attempt("forbidden")
async def a_person_for_another_person(made: Bench) -> object:
    token = made.person(may_act={"sub": "helper"})
    return await made.exchange(token, {**WISH, "human": "os:ann"}, actor_token=made.workload())


@attempt("unauthenticated")
async def a_person_without_the_agent(made: Bench) -> object:
    return await made.exchange(made.person(may_act={"sub": "helper"}), WISH)


@attempt("delegation")
async def splice_of_two_tasks(made: Bench) -> object:
    one, _ = await made.bound("helper")
    return await made.exchange(one, {"text": "go on"}, actor_token=made.workload("repo:stranger"))


@attempt("delegation")
async def a_task_token_as_actor(made: Bench) -> object:
    one, _ = await made.bound("helper")
    two, _ = await made.bound("clerk")
    return await made.exchange(one, {"text": "go on"}, actor_token=two)


@attempt("invalid_message")
async def a_task_token_renews_itself(made: Bench) -> object:
    one, _ = await made.bound("helper")
    return await made.exchange(one, {"text": "again"})


@attempt("delegation")
async def a_task_token_binds_to_its_task(made: Bench) -> object:
    one, task = await made.bound("helper")
    return await made.exchange(one, {"task": task})


# -- what is bound to a key ----------------------------------------------------------------------------------------------


@attempt("unauthenticated")
async def a_bound_token_as_a_bearer(made: Bench) -> object:
    key = Key()
    token, _ = await made.bound(proof=made.proof(key, TOKEN_URL))
    return await made.used(token)


@attempt("unauthenticated")
async def a_bound_token_as_a_bearer_with_a_proof(made: Bench) -> object:
    key = Key()
    token, _ = await made.bound(proof=made.proof(key, TOKEN_URL))
    return await made.used(token, proof=made.proof(key, token=token))


@attempt("unauthenticated")
async def a_bound_token_with_a_thiefs_key(made: Bench) -> object:
    token, _ = await made.bound(proof=made.proof(Key(), TOKEN_URL))
    return await made.used(token, "dpop", proof=made.proof(Key(), token=token))


@attempt("unauthenticated")
async def a_replayed_proof(made: Bench) -> object:
    key = Key()
    token, _ = await made.bound(proof=made.proof(key, TOKEN_URL))
    proof = made.proof(key, token=token)
    await made.used(token, "dpop", proof=proof)
    return await made.used(token, "dpop", proof=proof)


@attempt("unauthenticated")
async def a_proof_for_another_url(made: Bench) -> object:
    key = Key()
    token, _ = await made.bound(proof=made.proof(key, TOKEN_URL))
    return await made.used(token, "dpop", proof=made.proof(key, f"{URL}/v1/tasks", token))


@attempt("unauthenticated")
async def a_proof_for_another_token(made: Bench) -> object:
    key = Key()
    token, _ = await made.bound(proof=made.proof(key, TOKEN_URL))
    return await made.used(token, "dpop", proof=made.proof(key, token="another"))


@attempt("unauthenticated")
async def a_proof_without_its_token(made: Bench) -> object:
    key = Key()
    token, _ = await made.bound(proof=made.proof(key, TOKEN_URL))
    return await made.used(token, "dpop", proof=made.proof(key))


@attempt("unauthenticated")
async def a_stale_proof(made: Bench) -> object:
    key = Key()
    token, _ = await made.bound(proof=made.proof(key, TOKEN_URL))
    return await made.used(token, "dpop", proof=made.proof(key, token=token, iat=made.now_s - 120))


@attempt("unauthenticated")
async def a_proof_replayed_at_the_token_endpoint(made: Bench) -> object:
    proof = made.proof(Key(), TOKEN_URL)
    await made.bound(proof=proof)
    return await made.bound(proof=proof)


@attempt("unauthenticated")
async def a_bound_workload_token_without_proof(made: Bench) -> object:
    token = made.workload(cnf={"jkt": Key().jkt})
    return await made.exchange(token, {"task": (await made.task()).task.id})


@attempt("unauthenticated")
async def a_bound_task_token_passed_on_by_a_thief(made: Bench) -> object:
    token, _ = await made.bound(proof=made.proof(Key(), TOKEN_URL))
    return await made.exchange(token, {"text": "go on"}, actor_token=made.workload("repo:clerk"))


@attempt("unauthenticated")
async def an_opaque_token_as_dpop(made: Bench) -> object:
    opened = await made.task(bearer=True)
    return await made.used(opened.token, "dpop", proof=made.proof(Key(), token=opened.token))


# -- what a token says -----------------------------------------------------------------------------------------------------


def _edited(token: str, change: Callable[[dict[str, Any]], None]) -> str:
    from lictor.protocol.jose.base64url import decode, encode

    head, body, signature = token.split(".")
    claims = json.loads(decode(body) or b"")
    change(claims)
    return f"{head}.{encode(json.dumps(claims).encode())}.{signature}"


@attempt("unauthenticated")
async def a_chain_with_its_last_link_dropped(made: Bench) -> object:
    one, _ = await made.bound("helper")
    child = (await made.exchange(one, {"text": "x"}, actor_token=made.workload("repo:clerk"))).token.text
    return await made.used(_edited(child, lambda claims: claims.pop("act")))


@attempt("unauthenticated")
async def a_child_that_says_it_is_its_parent(made: Bench) -> object:
    one, task = await made.bound("helper")
    child = (await made.exchange(one, {"text": "x"}, actor_token=made.workload("repo:clerk"))).token.text
    return await made.used(_edited(child, lambda claims: claims.update(lictor_task=task, client_id="helper")))


@attempt("unauthenticated")
async def a_binding_taken_out(made: Bench) -> object:
    token, _ = await made.bound(proof=made.proof(Key(), TOKEN_URL))
    return await made.used(_edited(token, lambda claims: claims.pop("cnf")))


@attempt("unauthenticated")
async def an_expired_token(made: Bench) -> object:
    token, _ = await made.bound()
    made.clock.advance(15 * 60 * 1_000)
    return await made.used(token)


@attempt("unauthenticated")
async def a_revoked_token(made: Bench) -> object:
    token, _ = await made.bound()
    await made.doors.tokens.revoke(Presented(scheme="body", token=token, method="POST", url=f"{URL}/oauth/revoke"))
    return await made.used(token)


@attempt("task_closed")
async def a_token_of_a_closed_task(made: Bench) -> object:
    token, task = await made.bound()
    await made.tasks.close(task, "test")  # type: ignore[arg-type]
    return await made.used(token)


@attempt("unauthenticated")
async def a_workload_token_at_the_mcp_door(made: Bench) -> object:
    task = (await made.task()).task.id
    return await made.used(made.workload(lictor_task=task))


@attempt("unauthenticated")
async def a_token_signed_with_a_key_of_the_senders(made: Bench) -> object:
    token, _ = await made.bound()
    claims = json.loads(__import__("base64").urlsafe_b64decode(token.split(".")[1] + "=="))
    return await made.used(Key().sign(claims, typ="at+jwt"))


@attempt("unauthenticated")
async def our_key_for_another_kind_of_token(made: Bench) -> object:
    claims = {
        "iss": URL,
        "sub": "helper",
        "aud": AUDIENCE,
        "iat": made.now_s,
        "exp": made.now_s + 60,
        "jti": os.urandom(8).hex(),
    }
    task = (await made.task()).task.id
    return await made.used(made.doors.tokens.keys.sign({**claims, "lictor_task": task, "client_id": "helper"}, "JWT"))


# -- access tokens of an external authorisation server --------------------------------------------------------------------


@attempt("unknown_task")
async def an_agent_without_a_task(made: Bench) -> object:
    return await made.used(made.workload())


@attempt("unknown_task")
async def an_external_token_that_names_anothers_task(made: Bench) -> object:
    return await made.used(made.workload(lictor_task=(await made.task("clerk")).task.id))
