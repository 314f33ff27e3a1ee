"""What a report counts is what anybody counts who reads the log's JSON with a pencil, whatever stands in it."""

import json
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Iterator
from random import Random
from typing import Any, get_args

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec import inspect

from lictor.model.reasons import Reason
from lictor.model.record import Record, encode_entry
from lictor.ports import StoredEntry
from lictor.service.evidence.reporting import tally as tallies
from lictor.service.evidence.reporting.figures import figures_of
from lictor.service.evidence.reporting.tally import Tally, tally
from lictor.service.evidence.reporting.titles import TITLES
from lictor.service.evidence.reporting.turned import group_of

SINCE, UNTIL = 1_000, 9_000
OUTCOMES = (
    "allow",
    "deny",
    "needs_approval",
    "executed",
    "failed",
    "indeterminate",
    "revoked",
    "expired",
    "never",
    "odd",
)
REASONS = (*(reason.value for reason in Reason), "odd")
NAMED = {"outcome": OUTCOMES, "reason": REASONS, "how": ("secret", "passkey", "corp"), "strength": (1, 2, 3, 4)}
KINDS = [inspect.type_info(kind) for kind in get_args(Record)]
OFTEN = [kind for kind in KINDS if kind.cls.__name__ in {
    "RequestReceived", "DecisionMade", "HoldOpened", "ApprovalGiven", "ExecutionStarted", "ExecutionEnded", "TaskOpened",
}]  # fmt: skip


def value(kind: Any, rng: Random, depth: int = 0) -> Any:
    """A value of a record's member; ids are few enough that they meet."""
    match kind:
        case inspect.StrType():
            return rng.choice(("", "a", "a", "b"))
        case inspect.IntType():
            return rng.randint(-1, 3)
        case inspect.BoolType():
            return rng.random() < 0.5
        case inspect.NoneType():
            return None
        case inspect.LiteralType(values):
            return rng.choice(values)
        case inspect.EnumType(cls):
            return rng.choice(list(cls))
        case inspect.UnionType(types):
            return value(rng.choice(types), rng, depth)
        case inspect.VarTupleType(item):
            return () if depth > 2 else tuple(value(item, rng, depth + 1) for _ in range(rng.randint(0, 2)))
        case inspect.TupleType(items):
            return tuple(value(one, rng, depth + 1) for one in items)
        case inspect.DictType():
            return {}
        case inspect.StructType(cls, fields):
            return cls(**{one.name: member(one, rng, depth + 1) for one in fields})
        case _:
            raise AssertionError(f"no values of {kind}")


def member(one: inspect.Field, rng: Random, depth: int) -> Any:
    """One member: a word that means something where the type takes any."""
    free = isinstance(one.type, inspect.StrType | inspect.IntType)
    return rng.choice(NAMED[one.name]) if free and one.name in NAMED else value(one.type, rng, depth)


def log_of(seed: int) -> list[StoredEntry]:
    """A log of anything at all; what belongs together is in it more often than not."""
    rng = Random(seed)
    kinds = [rng.choice(OFTEN if rng.random() < 0.7 else KINDS) for _ in range(rng.randint(0, 60))]
    return entries((rng.randint(0, 10_000), value(kind, rng)) for kind in kinds)


def entries(log: Iterable[tuple[int, Any]]) -> list[StoredEntry]:
    """As a store would give them."""
    return [StoredEntry(seq, encode_entry(at, record), b"") for seq, (at, record) in enumerate(log)]


# -- the pencil ----------------------------------------------------------------------------------------------------------


def names(record: dict[str, Any]) -> Iterator[str]:
    """What one record's JSON says, without any of our types."""
    tag = record["type"]
    yield tag
    outcome = record.get("outcome", "")
    if tag == "decision.made":
        if outcome in ("allow", "deny", "needs_approval"):
            yield f"decision.{outcome}"
        if outcome == "deny":
            yield f"turned.{group_of(record['reason'])}"
    if tag in ("request.refused", "approval.refused", "request.party_refused"):
        yield f"turned.{group_of(record['reason'])}"
    if tag == "approval.hold_opened":
        yield from [
            f"hold.{name}"
            for key, name in (("preview", "previewed"), ("override", "override"))
            if record["hold"].get(key)
        ]
    if tag == "approval.given":
        strength = record["approval"].get("strength", 1)
        yield from {1: ["approval.by_secret"], 2: ["approval.by_login"], 3: ["approval.by_passkey"]}.get(strength, [])
    if tag == "privilege.task_opened":
        yield from ["task.delegated"] if record["task"].get("parents") else []
        yield from ["task.bound"] if record.get("contract") is not None else []
    if tag == "privilege.token_issued" and record.get("thumbprint"):
        yield "token.bound"
    if tag == "privilege.signed_in":
        yield {"secret": "sign_in.secret", "passkey": "sign_in.passkey"}.get(record["how"], "sign_in.issuer")
    if tag == "privilege.lease_ended" and outcome in ("revoked", "expired", "never"):
        yield f"lease.{outcome}"
    if tag == "privilege.containment_laid":
        yield f"contain.{record['containment']['restriction']}"
    if tag == "signal.finding_opened" and record.get("restriction"):
        yield "finding.restricted"
    if tag == "privilege.agent_changed":
        yield f"agent.{record['what']}"
    if tag == "execution.reconciled":
        yield f"reconciled.{outcome}"
    if tag == "execution.started":
        keys = {"hold": "approved", "allowance": "ahead", "labels": "labelled", "moves": "measured", "lease": "lent"}
        yield from [
            f"execution.{name}"
            for key, name in keys.items()
            if record.get(key) not in (None, "", []) or (key == "hold" and key in record)
        ]
        yield from ["execution.budgeted"] if record.get("value", 0) > 0 else []
        yield from ["execution.bound"] if any(clause >= 0 for clause in record.get("clauses", [])) else []
    if tag == "execution.ended":
        yield from [f"outcome.{outcome}"] if outcome in ("executed", "failed", "indeterminate") else []
        yield from [
            f"result.{name}" for key, name in (("labels", "labelled"), ("values", "origins")) if record.get(key)
        ]


def recount(log: list[StoredEntry]) -> tuple[Counter[str], dict[str, int]]:
    """Counts and last moments, by reading the whole log."""
    counts: Counter[str] = Counter()
    last: dict[str, int] = defaultdict(int)
    sealed: dict[str, str] = {}
    holds: dict[str, list[str]] = {}
    for entry in log:
        logged = json.loads(entry.data)
        record, at = logged["record"], logged["at"]
        if at >= UNTIL:
            continue
        found = list(names(record)) if at >= SINCE else []
        match record["type"]:
            case "approval.hold_opened":
                holds[record["hold"]["id"]] = []
            case "approval.given" if record["approval"]["hold"] in holds:
                holds[record["approval"]["hold"]].append(record["approval"]["approver"])
            case "approval.withdrawn" if record["hold"] in holds:
                holds[record["hold"]] = [one for one in holds[record["hold"]] if one != record["by"]]
            case "approval.denied" | "approval.expired":
                holds.pop(record["hold"], None)
            case "execution.started":
                sealed[record["execution"]] = record["arguments"]
                people = holds.pop(record["hold"], []) if "hold" in record else []
                if len(set(people)) > 1 and at >= SINCE:
                    found.append("joined.two_people")
            case "execution.ended":
                asked = sealed.pop(record["execution"], "")
                if asked and record.get("sent") and at >= SINCE:
                    found.append("joined.as_decided" if record["sent"] == asked else "joined.other_bytes")
        for name in found:
            counts[name] += 1
            last[name] = max(last[name], at)
    return counts, dict(last)


def standing(log: list[StoredEntry]) -> tuple[set[str], ...]:
    """What stands at the end: running, of unknown outcome, in force, on loan."""
    running, unknown, laid, lent = set[str](), set[str](), set[str](), set[str]()
    for entry in log:
        logged = json.loads(entry.data)
        record = logged["record"]
        if logged["at"] >= UNTIL:
            continue
        match record["type"]:
            case "execution.started":
                running.add(record["execution"])
            case "execution.ended":
                running.discard(record["execution"])
                if record["outcome"] == "indeterminate":
                    unknown.add(record["execution"])
            case "execution.reconciled":
                unknown.discard(record["execution"])
            case "privilege.containment_laid":
                laid.add(record["containment"]["id"])
            case "privilege.containment_lifted":
                laid.discard(record["containment"])
            case "privilege.lease_asked":
                lent.add(record["lease"]["id"])
            case "privilege.lease_ended":
                lent.discard(record["lease"])
    return running, unknown, laid, lent


def same(log: list[StoredEntry], count: Callable[[list[StoredEntry]], Tally]) -> bool:
    """Whether a tally says what the pencil says."""
    found = count(log)
    figures = {name: one.count for name, one in found.figures.items()}
    last = {name: one.last_ms for name, one in found.figures.items()}
    counts, moments = recount(log)
    answers = sum(one.given for one in found.people.answers.values())
    decided = Counter[str]()
    for (_, outcome, _), figure in found.ruled.items():
        decided[outcome] += figure.count
    now = found.standing
    return (
        (set(now.running), set(now.unknown), set(now.in_force), set(now.live)) == standing(log)
        and figures == dict(counts)
        and last == moments
        and answers == counts["approval.given"]
        and sum(decided.values()) == counts["decision.made"]
        and found.standing.policies.total == counts["privilege.bundle_activated"]
        and found.standing.findings.total == counts["signal.finding_opened"]
        and sum(one.count for one in found.reasons.values())
        == sum(n for name, n in counts.items() if name.startswith("turned."))
    )


def counted(log: list[StoredEntry]) -> Tally:
    """The real one."""
    return tally(log, SINCE, UNTIL)


@settings(max_examples=200, deadline=None)
@given(st.integers(0, 2**32))
def test_a_tally_is_what_a_pencil_counts(seed: int) -> None:
    """Every figure and every last moment, in a log of anything at all."""
    assert same(log_of(seed), counted)


class Forgetful(Tally):
    """Control: it counts what came before the period."""

    def take(self, entry: Any, seq: int = 0) -> None:
        super().take(msgspec.structs.replace(entry, at=max(entry.at, SINCE)), seq)


class Doubling(Tally):
    """Control: it counts decisions twice."""

    def _decided(self, record: Any, at_ms: int, *, counted: bool) -> None:
        super()._decided(record, at_ms, counted=counted)
        self._rules(record, at_ms) if counted else None


class Endless(Tally):
    """Control: its period has no end."""

    def take(self, entry: Any, seq: int = 0) -> None:
        self.until_ms = 10**15
        super().take(entry, seq)


class Trusting(Tally):
    """Control: whatever was sent counts as what was decided."""

    def _figure(self, name: str) -> Any:
        return super()._figure("joined.as_decided" if name == "joined.other_bytes" else name)


class Lonely(Tally):
    """Control: one person is enough for four eyes."""

    def _started(self, record: Any, at_ms: int, *, counted: bool) -> None:
        found = self.people.holds.get(record.hold)
        if found is not None and len(found.people) == 1:
            found.people = (*found.people, *found.people)
        super()._started(record, at_ms, counted=counted)


class Forgiving(Tally):
    """Control: an execution that ended, ended well."""

    def _joined(self, record: Any, at_ms: int, *, counted: bool) -> None:
        super()._joined(record, at_ms, counted=counted)
        self.standing.unknown.clear()


BROKEN = (Forgiving, Forgetful, Doubling, Endless, Trusting, Lonely)


@pytest.mark.parametrize("broken", BROKEN)
def test_a_broken_tally_is_found(broken: type[Tally], monkeypatch: pytest.MonkeyPatch) -> None:
    """Control: the same comparison fails on a tally that is wrong in one thing."""
    monkeypatch.setattr(tallies, "Tally", broken)
    assert not all(same(log_of(seed), counted) for seed in range(300))


@settings(max_examples=200, deadline=None)
@given(st.integers(0, 2**32))
def test_a_record_counts_once_for_each_figure(seed: int) -> None:
    """No figure twice, the record's own tag first, and every figure has words."""
    rng = Random(seed)
    record = value(rng.choice(KINDS), rng)
    found = figures_of(record)
    assert found[0] == type(record).__struct_config__.tag
    assert len(set(found)) == len(found)
    assert set(found) <= set(TITLES)
