"""The claims of the tokens we issue (RFC 9068), made and read back. Refuses to know keys and stores.

`sub` is the agent whose authority is used. For a delegated task that is the agent of the task at the top, and `act` says who acts
for it, nearest first (RFC 8693 4.1); `client_id` is always the agent that may use the token.
"""

from collections.abc import Sequence
from typing import Any, Final

import msgspec

from lictor.model.ids import AgentId, TaskId
from lictor.model.task import Task
from lictor.protocol.jose.claims import ClaimRules, Times, check_claims
from lictor.protocol.jose.profiles import binding_of
from lictor.protocol.jose.refusing import refuse
from lictor.protocol.oauth.details import TYPE

TYP: Final = "at+jwt"
MAX_LIFE_S: Final = 15 * 60
"""A stolen token is worth something for as long; whoever is the agent asks for another."""
_CNF: Final = {"jkt": "jkt", "x5t": "x5t#S256"}


class TaskToken(msgspec.Struct, frozen=True, kw_only=True):
    """What one of our own tokens says, its signature having been checked."""

    jti: str
    agent: AgentId
    task: TaskId
    times: Times
    binding: str
    """`jkt:…`, `x5t:…`; empty: a bearer."""


def claims_of(
    task: Task, chain: Sequence[AgentId], *, issuer: str, jti: str, now_ms: int, expires_at_ms: int, binding: str
) -> dict[str, Any]:
    """The claims of a token for a task.

    Args:
        task: what it is for.
        chain: agents of the task and of its parents, nearest first.
        issuer: us.
        jti: fresh.
        now_ms: when it is issued.
        expires_at_ms: when it ends.
        binding: `jkt:…`, `x5t:…` or empty.
    """
    claims: dict[str, Any] = {
        "iss": issuer,
        "sub": chain[-1],
        "aud": task.audience,
        "client_id": task.agent,
        "iat": now_ms // 1_000,
        "exp": expires_at_ms // 1_000,
        "jti": jti,
        "txn": task.root,
        "lictor_task": task.id,
        "authorization_details": [{"type": TYPE, "task": task.id, "purpose": task.purpose}],
    }
    actors = _actors(chain[:-1])
    if actors:
        claims["act"] = actors
    if binding:
        kind, _, value = binding.partition(":")
        claims["cnf"] = {_CNF[kind]: value}
    return claims


def _actors(agents: Sequence[AgentId]) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for agent in reversed(agents):
        found = {"sub": agent, "act": found} if found else {"sub": agent}
    return found


def read_claims(claims: dict[str, Any], *, issuer: str, audience: str) -> TaskToken:
    """Read our own token's claims, as strictly as anybody else's: the key may have been used to sign something else one day.

    Everything but the present time is checked: that a token has expired is told to its holder alone, so whether the sender is its
    holder comes first.

    Raises:
        CallerError: `unauthenticated`, `audience`.
    """
    issued = claims.get("iat")
    now_ms = issued * 1_000 if type(issued) is int else 0
    rules = ClaimRules(issuer=issuer, audience=audience, leeway_s=0, max_life_s=MAX_LIFE_S)
    times = check_claims(claims, rules, now_ms)
    jti, task, agent = (claims.get(name) for name in ("jti", "lictor_task", "client_id"))
    if not (isinstance(jti, str) and isinstance(task, str) and isinstance(agent, str) and jti and task and agent):
        refuse("the token is no task token")
    return TaskToken(jti=jti, agent=AgentId(agent), task=TaskId(task), times=times, binding=binding_of(claims))
