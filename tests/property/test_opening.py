"""Opening a task: one task for a key, whoever hurries; and never a task without the decision that allowed it, nor one against it."""

import asyncio
from collections import Counter
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lictor.model.decision import Allow
from lictor.model.errors import CallerError
from lictor.model.identity import Opener
from lictor.model.ids import AgentId, HumanId
from lictor.model.limits import Limits
from lictor.model.record import DecisionMade, RequestReceived, TaskOpened, decode_entry
from lictor.model.task import Budget
from lictor.policy.compile import compile_bundle, compile_files, parse_guarded
from lictor.policy.load import load_bundle
from lictor.ports import Batch, Receipt
from lictor.service.evidence.replay import Replay, ReplayStatus
from lictor.service.policy import PolicyInForce
from lictor.service.tasks import prospect
from lictor.service.tasks.opening import Open
from lictor.service.tasks.prospect import OpeningRefusedError, Prospects
from lictor.service.tasks.tasks import Tasks, Wish
from lictor.stores.clock import SystemClock
from lictor.stores.ids import RandomIds
from lictor.stores.memory import MemoryStore

FILES = {
    "agents.toml": b'purposes = ["work", "play"]\n[agents.helper]\nowner = "os:ann"\nreview_by = 2099-12-31\n',
    "policies/p.cedar": b"""
@id("small") permit (principal, action == Action::"task:open", resource == Purpose::"work")
when { context.input.opener.kind != "person" || context.input.calls <= 10 };
@id("no-crowds") forbid (principal, action == Action::"task:open", resource)
when { context.input.opener.groups.contains("banned") };
""",
}
BUNDLE = load_bundle(FILES, parse_guarded(FILES))
PDP = compile_bundle(BUNDLE)
AUDIENCE = "http://127.0.0.1:8700/mcp"

openers = st.builds(
    Opener,
    kind=st.sampled_from(["application", "operator"]),
    name=st.sampled_from(["a", "b"]),
    groups=st.sampled_from([(), ("banned",), ("x", "y")]),
) | st.just(Opener(kind="person", name="os:ann"))
wishes = st.builds(
    Wish,
    agent=st.sampled_from([AgentId("helper"), AgentId("nobody")]),
    human=st.just(HumanId("os:ann")),
    purpose=st.sampled_from(["work", "play", "undeclared"]),
    text=st.sampled_from(["", "do it"]),
    ttl_s=st.sampled_from([1, 600]),
    budget=st.builds(Budget, calls=st.sampled_from([1, 10, 11]), value=st.sampled_from([{}, {"EUR": 5}])),
    bearer=st.booleans(),
)
asks = st.lists(st.tuples(openers, wishes, st.sampled_from(["", "k1", "k2"])), min_size=1, max_size=12)


class SlowStore(MemoryStore):
    """Everybody is in front of the commit before anybody is through."""

    async def commit(self, batch: Batch) -> Receipt:
        for _ in range(3):
            await asyncio.sleep(0)
        return await super().commit(batch)


class ChecksFirst(Prospects):
    """Control: looks the key up before the commit, and not inside it."""

    async def _commit(self, batch: Batch) -> None:
        records = tuple(msgspec.structs.replace(r, key="") if isinstance(r, TaskOpened) else r for r in batch.records)
        await super()._commit(msgspec.structs.replace(batch, records=records))


class NeverRefuses(Prospects):
    """Control: asks policy, and opens the task all the same."""

    async def open(self, *parts: Any, **more: Any) -> None:
        decided = prospect.decided_in_time

        def allowed(*about: Any) -> Any:
            decision = decided(*about)
            allow = Allow(
                request=decision.request,
                snapshot=decision.snapshot,
                revision=decision.revision,
                reason=decision.reason,
                policies=decision.policies,
                clauses=(),
            )
            return decision if isinstance(decision, Allow) else allow

        prospect.decided_in_time = allowed
        try:
            await super().open(*parts, **more)
        finally:
            prospect.decided_in_time = decided


async def play(kind: type[Prospects], asked: list[tuple[Opener, Wish, str]]) -> tuple[SlowStore, list[Any]]:
    """All of them at once."""
    store, policy, clock, ids, limits = SlowStore(), PolicyInForce(PDP), SystemClock(), RandomIds(), Limits()
    store.keep_bundle(BUNDLE.revision, BUNDLE.files)
    parts: dict[str, Any] = {"store": store, "policy": policy, "clock": clock, "ids": ids, "limits": limits}
    prospects = kind(store=store, policy=policy, ids=ids, limits=limits)
    opens = Open(tasks=Tasks(**parts), store=store, prospects=prospects)
    jobs = [opens(opener, wish, audience=AUDIENCE, key=key) for opener, wish, key in asked]
    return store, list(await asyncio.gather(*jobs, return_exceptions=True))


def check(store: SlowStore, asked: list[tuple[Opener, Wish, str]], found: list[Any]) -> None:
    """What holds of every history."""
    records = [decode_entry(entry.data).record for entry in store.entries()]
    born = [(at, one) for at, one in enumerate(records) if isinstance(one, TaskOpened)]
    for at, one in born:
        request, decision = records[at - 2], records[at - 1]
        assert isinstance(request, RequestReceived)
        assert isinstance(decision, DecisionMade)
        assert request.task == one.task.id
        assert (decision.request, decision.outcome) == (request.request, "allow")
    allowed = [one for one in records if isinstance(one, DecisionMade) and one.outcome == "allow"]
    assert len(allowed) == len(born), "an allow without its task, or the other way round"
    tokens: Counter[tuple[str, str, str]] = Counter()
    tasks: dict[tuple[str, str, str], set[str]] = {}
    for (opener, wish, key), one in zip(asked, found, strict=True):
        if isinstance(one, Exception):
            assert isinstance(one, CallerError), one
            continue
        assert store.task(one.task.id) is not None
        assert one.task.opener == f"{opener.kind}:{opener.name}"
        if key:
            name = (opener.kind, opener.name, key)
            tasks.setdefault(name, set()).add(one.task.id)
            tokens[name] += bool(one.token)
        else:
            assert bool(one.token) is wish.bearer
    assert all(len(ids) == 1 for ids in tasks.values()), "two tasks for one key"
    assert all(count <= 1 for count in tokens.values()), "a token was shown twice"
    refused = sum(isinstance(one, OpeningRefusedError) for one in found)
    assert sum(isinstance(one, DecisionMade) and one.outcome != "allow" for one in records) == refused
    replayed = [one.status for one in Replay(store, compile_files)()]
    assert set(replayed) <= {ReplayStatus.IDENTICAL}


@given(asks)
@settings(max_examples=150, deadline=None)
def test_one_decided_task_for_a_key(asked: list[tuple[Opener, Wish, str]]) -> None:
    """Whatever is asked at the same time, by whomever, with whatever keys."""
    store, found = asyncio.run(play(Prospects, asked))
    check(store, asked, found)


WISH = Wish(agent=AgentId("helper"), human=HumanId("os:ann"), purpose="work", ttl_s=60, budget=Budget(calls=1))
OPENER = Opener(kind="application", name="a")


@pytest.mark.parametrize(
    ("kind", "asked"),
    [
        (ChecksFirst, [(OPENER, WISH, "k1")] * 4),
        (NeverRefuses, [(Opener(kind="application", name="a", groups=("banned",)), WISH, "")]),
    ],
)
def test_a_careless_build_is_found_out(kind: type[Open], asked: list[tuple[Opener, Wish, str]]) -> None:
    """Control: the same check fails on a build that checks before the commit only, and on one that never refuses."""
    store, found = asyncio.run(play(Prospects, asked))
    check(store, asked, found)
    store, found = asyncio.run(play(kind, asked))
    with pytest.raises(AssertionError):
        check(store, asked, found)
