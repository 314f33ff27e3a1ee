"""Facts into the context policy reads. One type for each common fact, the same for every action, so an unscoped forbid validates.

Only this module and the compiled tool encoders write Cedar's escape forms (`__extn`); argument objects are never passed through
(facts S6).
"""

from collections.abc import Iterable
from datetime import UTC, datetime
from functools import lru_cache
from typing import Any, Final

from lictor.model.action import ActionRequest
from lictor.model.approval import Approval, Need
from lictor.model.catalog import CatalogEntry
from lictor.model.snapshot import Snapshot
from lictor.model.task import TaskState
from lictor.pdp.command import CEDAR_TYPE as COMMAND_TYPE
from lictor.pdp.normalise import Selected
from lictor.pdp.normalise.path import PATH_TYPE
from lictor.pdp.normalise.target import DESTINATION_TYPE, GIT_TYPE
from lictor.pdp.sql import CEDAR_TYPE as SQL_TYPE

COMMON_CONTEXT: Final = (
    "input_opaque: Bool, "
    "digest: String, "
    "task: {purpose: String, calls: Long, age_s: Long}, "
    "user: {id: String, groups: Set<String>}, "
    "effect: {class: String, reversible: Bool, idempotent: Bool}, "
    f"destination?: {DESTINATION_TYPE}, git?: {GIT_TYPE}, path?: {PATH_TYPE}, sql?: {SQL_TYPE}, "
    f"command?: {COMMAND_TYPE}, "
    "value?: {amount: Long, currency: String, task_total: Long}, "
    "labels: Set<String>, "
    "now: datetime, "
    "approval?: {digest: String, approver: String, groups: Set<String>, people: Long, strength: Long, ahead: Bool, "
    "given: datetime, expires: datetime}"
)
"""Cedar record members of every action's context, besides `input`."""

MOST_PEOPLE: Final = 5
"""How many people pass 2 imagines at the most: a policy that wants more wants what never comes."""

HYPOTHETICAL: Final = "__hypothetical__"
"""The approver of pass 2. No person can have this name: human ids are `<issuer>:<name>`."""


def moment(ms: int) -> dict[str, Any]:
    """Milliseconds since the epoch as a Cedar datetime (UTC, three digits)."""
    whole, rest = divmod(ms, 1_000)
    return {"__extn": {"fn": "datetime", "arg": f"{_second(whole)}.{rest:03d}Z"}}


@lru_cache(maxsize=64)
def _second(whole: int) -> str:
    return datetime.fromtimestamp(whole, UTC).strftime("%Y-%m-%dT%H:%M:%S")


def build_context(
    request: ActionRequest,
    snapshot: Snapshot,
    chain: tuple[TaskState, ...],
    entry: CatalogEntry,
    encoded: tuple[dict[str, Any], bool],
    selected: Selected,
) -> dict[str, Any]:
    """The context of one request, without approval. `chain` is the task and its parents, nearest first."""
    state = chain[0]
    context: dict[str, Any] = {
        "input": encoded[0],
        "input_opaque": encoded[1],
        "digest": request.digest,
        "task": {
            "purpose": state.task.purpose,
            "calls": state.calls_used + 1,
            "age_s": max(0, snapshot.at_ms - state.task.opened_at_ms) // 1_000,
        },
        "user": {"id": state.task.human, "groups": list(snapshot.human_groups)},
        "effect": {"class": entry.effect.value, "reversible": entry.reversible, "idempotent": entry.idempotent},
        "labels": families(label for link in chain for label in link.labels),
        "now": moment(snapshot.at_ms),
    }
    context.update(selected.records())
    value = selected.value
    if value is not None:
        used = state.value_used.get(value.currency, 0)
        context["value"] = {"amount": value.amount, "currency": value.currency, "task_total": used + value.amount}
    return context


def families(labels: Iterable[str]) -> list[str]:
    """Labels with their families, sorted: who has seen `untrusted:web` has seen `untrusted`.

    So a rule about the family catches every detail, also those to come.
    """
    found = set[str]()
    for label in labels:
        found.add(label)
        found.add(label.partition(":")[0])
    return sorted(found)


def approval_fact(
    approval: Approval, digest: str, counted: tuple[Approval, ...], groups: Iterable[str]
) -> dict[str, Any]:
    """A real approval as a fact.

    Args:
        digest: the action's; an approval given ahead was for this one too.
        counted: the answers that still count.
        groups: those their people are still in.
    """
    return {
        "digest": digest,
        "approver": approval.approver,
        "groups": sorted(groups),
        "people": len(counted),
        "strength": min(int(one.strength) for one in counted),
        "ahead": bool(approval.allowance),
        "given": moment(approval.given_at_ms),
        "expires": moment(approval.expires_at_ms),
    }


def hypothetical_approval(request: ActionRequest, at_ms: int, need: Need) -> dict[str, Any]:
    """The approval of pass 2: bound to this action, unexpired, given by nobody."""
    return {
        "digest": request.digest,
        "approver": HYPOTHETICAL,
        "groups": list(need.groups),
        "people": need.people,
        "strength": int(need.strength),
        "ahead": False,
        "given": moment(at_ms),
        "expires": moment(at_ms + 600_000),
    }
