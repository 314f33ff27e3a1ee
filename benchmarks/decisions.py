"""What one `decide()` costs, in thread CPU time, with 10, 1,000 and 10,000 policies; and what knowing a revocation costs."""

import gc
import itertools
import json
import random
import tempfile
import time
import tracemalloc
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from benchmarks.machine import scratch
from benchmarks.pace import PACE, Timed, each, timed
from benchmarks.stats import percentile, table, verdict, verdicts
from lictor.model.action import ActionKind, ActionRequest, SealedArguments
from lictor.model.agent import Agent
from lictor.model.decision import Allow
from lictor.model.ids import AgentId, HumanId, RequestId, ServerName, TaskId
from lictor.model.record import TaskOpened
from lictor.model.snapshot import Snapshot
from lictor.model.task import Budget, Task, TaskState
from lictor.pdp.decide import Pdp, decide
from lictor.pdp.engine.cedar import CedarEngine
from lictor.pdp.engine.necessity import needs
from lictor.pdp.engine.prefilter import Prefilter
from lictor.policy.catalogue import pin_of
from lictor.policy.compile import compile_bundle, parse_guarded
from lictor.policy.load import load_bundle
from lictor.ports import Batch, RecordStore
from lictor.stores.memory import MemoryStore
from lictor.stores.sqlite import SqliteStore

SIZES = (10, 1_000, 10_000)
NOW = 1_800_000_000_000
SCHEMA = {
    "type": "object",
    "properties": {"text": {"type": "string"}, "number": {"type": "integer"}},
    "required": ["text"],
}


def policy(index: int, size: int, kind: str) -> str:
    """One policy. As many agents and tools as policies / 100, so that an organisation ten times as large has ten times as many."""
    many = max(1, size // 100)
    agent, tool = f'principal == Agent::"a{index // many % many}"', f'action == Action::"x/t{index % many}"'
    twentieth = index % 20
    if twentieth == 0:
        head = f"permit ({agent if kind == 'mixed' else 'principal'}, action, resource)"
        when = f'context.task.purpose == "never{index}"'
    elif twentieth == 1 or (size == 10 and index == 9):
        head = f"forbid (principal, {tool if kind == 'mixed' else 'action'}, resource)"
        when = f"context.task.calls > {10**9 + index}"
    else:
        head, when = f"permit ({agent}, {tool}, resource)", f"context.task.calls < {10**6 + index}"
    return f'@id("p{index}") @owner("os:x") @reason("measured")\n{head} when {{ {when} }};\n'


def compiled(size: int, kind: str, more: str = "", measures: str = "") -> Pdp:
    """A whole bundle of that size, through the loader and the compiler."""
    many = max(1, size // 100)
    tools = [{"name": f"t{i}", "description": "d", "inputSchema": SCHEMA} for i in range(many)]
    base = '@id("base") @owner("os:x") @reason("r")\npermit (principal == Agent::"a0", action == Action::"x/t0", resource);\n'
    files = {
        "agents.toml": 'purposes=["p"]\n'
        + "".join(f'[agents.a{i}]\nowner="o"\nreview_by=2099-01-01\n' for i in range(many)),
        "approvers.toml": 'four_eyes=false\n[approvers."os:x"]\ngroups=["owner"]\n',
        "policies/p.cedar": base + "".join(policy(i, size, kind) for i in range(size - 1)) + more,
        "catalog/x.toml": "".join(f'[tools.{t["name"]}]\neffect="read"\npin="{pin_of(t)}"\n' for t in tools),
        "catalog/x.definitions.json": json.dumps({"tools": tools}),
        **({"measures.toml": measures} if measures else {}),
    }
    encoded = {name: text.encode() for name, text in files.items()}
    return compile_bundle(load_bundle(encoded, parse_guarded(encoded)))


def question(pdp: Pdp) -> tuple[ActionRequest, Snapshot]:
    """A call of agent a0 to tool t0 that one policy permits."""
    agent, human, task = AgentId("a0"), HumanId("os:x"), TaskId("task_x")
    request = ActionRequest.make(
        id=RequestId("req_x"),
        kind=ActionKind.TOOL,
        server=ServerName("x"),
        name="t0",
        arguments=SealedArguments.seal({"text": "lorem ipsum " * 40, "number": 7}),
        agent=agent,
        human=human,
        task=task,
    )
    offering = pdp.offering(request.kind, "x", "t0")
    registered: Agent | None = pdp.agents.get(agent)
    snapshot = Snapshot(
        at_ms=NOW,
        revision=pdp.revision,
        agent=registered,
        task=TaskState(task=_task(agent, human, task)),
        definition=offering.entry.pin if offering else None,
    )
    if not pdp.measures and not isinstance(decide(pdp, request, snapshot), Allow):
        raise TypeError(f"not allowed: {decide(pdp, request, snapshot)!r:.300}")
    return request, snapshot


def _task(agent: AgentId, human: HumanId, task: TaskId) -> Task:
    return Task(
        id=task,
        agent=agent,
        human=human,
        purpose="p",
        trusted_text_digest="",
        audience="x",
        opened_at_ms=NOW - 1_000,
        expires_at_ms=NOW + 10**9,
        budget=Budget(),
    )


def run(rounds: int, _: float) -> tuple[str, dict[str, Any]]:
    """Sections `decide` and `revocation` of the report."""
    text, data, bars = ["## The decision", "", PACE, ""], {}, []
    base = 0.0
    for kind, label in (
        ("mixed", "5 % permits for any action and resource of one agent, 5 % forbids for one tool and any agent"),
        ("unscoped", "the same shares, but naming neither agent nor tool: each can match every request"),
    ):
        asked = {size: _asked(size, kind) for size in SIZES}
        found = {size: Timed() for size in SIZES}
        for _round in range(rounds):
            for size in random.sample(SIZES, len(SIZES)):
                timed(asked[size][0], found[size])
        p50 = {size: one.at(0.5) for size, one in found.items()}
        rows = [
            [
                f"{s:,}",
                asked[s][1],
                one.how_many,
                f"{p50[s]:.1f}",
                f"{one.at(0.99):.1f}",
                f"{one.of_every(0.99):.0f}",
                f"{p50[s] / p50[10]:.2f}",
            ]
            for s, one in found.items()
        ]
        text += [
            f"### {label}",
            "",
            table(
                ("Policies", "compile s", "calls", "p50 us CPU", "p99 us CPU", "p99 of every call", "x p50 at 10"), rows
            ),
            "",
        ]
        data[kind] = {str(size): one.summary() for size, one in found.items()}
        bars.append(verdict(f"{kind}: p99 at 10,000 <= 1 ms CPU (us)", found[10_000].at(0.99), 1_000))
        bars.append(verdict(f"{kind}: p50 at 10,000 <= 1.25x that at 10", p50[10_000] / p50[10], 1.25))
        base = base or p50[1_000]
    early, late, mib = _worst(999)
    text += [
        "### Facts made up for every call",
        "",
        "999 policies that name neither agent nor tool, two thirds of them with a bound on the task's calls; every call at another count.",
        "",
        table(
            ("Calls", "p50 us CPU", "p99 us CPU", "most"),
            [
                [name, f"{percentile(v, 0.5):.0f}", f"{percentile(v, 0.99):.0f}", f"{v[-1]:.0f}"]
                for name, v in (("first 500", early), ("next 1,000", late))
            ],
        ),
        "",
        f"The index takes {mib:.1f} MiB for 10,000 policies, beside their syntax trees.",
        "",
    ]
    data["made up"] = {"first_us": early, "next_us": late, "index_mib": mib}
    text += ["### Knowing that a task was revoked", "", _revocation(base, bars, data), "", verdicts(bars), ""]
    return "\n".join(text), {"samples": data, "bars": bars}


def _asked(size: int, kind: str) -> tuple[Callable[[], object], str]:
    start = time.perf_counter()
    pdp = compiled(size, kind)
    took = time.perf_counter() - start
    request, snapshot = question(pdp)
    found = itertools.cycle(_varied(snapshot))
    return lambda: decide(pdp, request, next(found)), f"{took:.1f}"


def _varied(snapshot: Snapshot) -> list[Snapshot]:
    """The same call at 97 moments of a task: other count, other labels, other time. No two in a row are alike."""
    state = snapshot.task
    if state is None:
        raise TypeError("no task")
    return [
        msgspec.structs.replace(
            snapshot,
            at_ms=NOW + 977 * n,
            task=msgspec.structs.replace(state, calls_used=n, labels=(f"untrusted:s{n % 5}",)),
        )
        for n in range(97)
    ]


def _worst(size: int) -> tuple[list[float], list[float], float]:
    """Made-up facts: every call at another count, against bounds on just that count; and what the index takes.

    Returns:
        CPU in microseconds of the first 500 calls and of the next 1,000, sorted, and MiB a 10,000 policies.
    """
    bounds = "".join(
        f'@id("q{n}") @owner("os:x") @reason("measured")\nforbid (principal, action, resource) when '
        f'{{ context.task.calls > {n} && context.task.purpose == "never{n}" }};\n'
        f'@id("r{n}") @owner("os:x") @reason("measured")\nforbid (principal, action, resource) when '
        f"{{ context.task.calls > {n + 900_000} }};\n"
        f'@id("s{n}") @owner("os:x") @reason("measured")\npermit (principal, action, resource) when '
        f"{{ context.task.calls > {n} }};\n"
        for n in range(size // 3)
    )
    pdp = compiled(10, "unscoped", bounds)
    request, snapshot = question(pdp)
    chosen = random.Random(1)
    base = snapshot.task
    if base is None:
        raise TypeError("no task")
    asked = iter(
        [
            msgspec.structs.replace(
                snapshot, task=msgspec.structs.replace(base, calls_used=chosen.randrange(size // 3))
            )
            for _ in range(1_501)
        ]
    )
    work: Callable[[], object] = lambda: decide(pdp, request, next(asked))  # noqa: E731 - `each` takes a callable
    work()
    early, late = each(work, 500), each(work, 1_000)
    return early, late, _index_mib(pdp)


def _index_mib(pdp: Pdp) -> float:
    """What the index of one slice takes, beside the syntax trees: measured by making it once more."""
    engine = pdp.engine
    if not isinstance(engine, CedarEngine):
        raise TypeError("another engine")
    selector = engine._selector
    entries = max((kept.entries for kept, _ in selector.slices._hot.values()), key=len)
    gc.collect()
    tracemalloc.start()
    needed = [needs(entry.policy, selector._common) for entry in entries]
    index = Prefilter(needed)
    size = tracemalloc.get_traced_memory()[0] / 2**20
    tracemalloc.stop()
    return size * 10_000 / index.size


def _revocation(decision_us: float, bars: list[dict[str, object]], data: dict[str, Any]) -> str:
    """The read of the task's state that every decision starts with."""
    import asyncio

    rows = []
    with tempfile.TemporaryDirectory(dir=scratch()) as folder:
        sqlite = SqliteStore(Path(folder) / "log.db", signer=Ed25519PrivateKey.generate(), origin="bench/revocation")
        stores: dict[str, RecordStore] = {"in memory": MemoryStore(), "SQLite": sqlite}
        for name, store in stores.items():
            task = _task(AgentId("a0"), HumanId("os:x"), TaskId("task_x"))
            asyncio.run(store.commit(Batch(at_ms=NOW, records=(TaskOpened(task=task, opened_by="os:x"),))))
            cost = min(_batched(store, task.id) for _ in range(20))
            rows.append([name, f"{cost:.2f}", f"{100 * cost / decision_us:.1f} %"])
            data[f"revocation, {name}"] = {"us": cost, "share": cost / decision_us}
            bars.append(verdict(f"task read, {name}, <= 2 % of a decision", cost / decision_us, 0.02))
            store.close()
    return table(("Store", "us CPU", "share of a decision at 1,000 policies"), rows)


def _batched(store: RecordStore, task: TaskId) -> float:
    start = time.thread_time_ns()
    for _ in range(100):
        store.task(task)
    return (time.thread_time_ns() - start) / 100 / 1e3
