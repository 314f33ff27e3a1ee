"""The prover's word against the engine's: formulas equal evaluation, assumptions hold, and broken translators are found out."""

import os
import random
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from datetime import date
from functools import lru_cache
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bundles import bundle, pdp, request, snapshot
from lictor.model.errors import OperatorError
from lictor.pdp.decide import decide
from lictor.pdp.engine.cedar import CedarEngine
from lictor.pdp.engine.entities import Directory
from lictor.policy.bundle import Bundle
from lictor.policy.compile import parse_guarded
from lictor.policy.load import load_bundle
from lictor.policy.prove import expressions, policies, terms
from lictor.policy.prove.expressions import Expressions, Meaning
from lictor.policy.prove.house import assumptions
from lictor.policy.prove.logic import every
from lictor.policy.prove.policies import translate
from lictor.policy.prove.questions import outcome_formula
from lictor.policy.prove.replay import Answer
from lictor.policy.prove.request import Asked
from lictor.policy.prove.subject import Scene, Subject
from lictor.policy.prove.symbols import Symbols
from lictor.policy.prove.terms import BOOL, Scalar
from lictor.policy.prove.unsupported import Unsupported
from lictor.policy.starter import starter_files
from prove_world import (
    ENTITIES,
    SCHEMA,
    STRINGS,
    Concrete,
    UndeterminedError,
    Writer,
    environment_of,
    parsed,
    random_of,
    random_request,
)

REQUESTS = int(os.environ.get("LICTOR_PROVE_REQUESTS", "10000"))
"""Random requests a run; 10,000 take about 20 s."""
_EACH = 25


def mismatches(seed: int, count: int, *, enough: int = 1) -> tuple[int, list[str]]:
    """Random policies on random requests: how many were compared, and where formula and engine differ."""
    rng = random.Random(seed)
    compared, found = 0, []
    while compared < count and len(found) < enough:
        text = "\n".join(Writer(rng).policy() for _ in range(rng.randint(1, 4)))
        json, trees = parsed(text)
        try:
            engine = CedarEngine(json, SCHEMA, ENTITIES)
        except OperatorError:
            continue  # too deep for the gateway as well
        translated: dict[str, Any] = {}
        for action in ("s/look", "s/change"):
            symbols = Symbols(environment_of(SCHEMA, action), Directory(ENTITIES))
            try:
                translated[action] = symbols, translate(trees, symbols, symbols.view)
            except Unsupported:
                continue
        for _ in range(_EACH):
            principal, action, resource, context = random_request(rng)
            if action not in translated:
                continue
            compared += 1
            verdict = engine.evaluate(("Agent", principal), action, ("Tool", resource), context)
            symbols, outcome = translated[action]
            values = Concrete(symbols, ENTITIES, principal, resource, context)
            said = values.truth(outcome.allow), values.truth(outcome.errs)
            if said != (verdict.allowed, bool(verdict.errors)):
                found.append(f"{text}\n{principal} {action} {resource} {context}\n{said} {verdict}")
    return compared, found


@pytest.mark.parametrize("seed", range(4))
def test_formulas_say_what_the_engine_does(seed: int) -> None:
    """Every translated set allows and errs exactly when the engine does, on random policies and requests."""
    compared, found = mismatches(seed, REQUESTS // 4)
    assert found == []
    assert compared >= REQUESTS // 4


def _eager_and(self: Expressions, node: Any) -> Meaning:
    left, right = self.meaning(node.left), self.meaning(node.right)
    joined = (every if node.op == "and" else policies.some)((left.term.z, right.term.z))
    return Meaning(Scalar(BOOL, joined), every((left.ok, right.ok)))


def _blind_is(self: Expressions, node: Any) -> Meaning:
    base = self.meaning(node.base)
    return Meaning(Scalar(BOOL, base.term.type == node.entity_type.basename), base.ok)


def _never_absent(self: Expressions, node: Any) -> Meaning:
    base = self.meaning(node.base)
    _, record = self._members(base)
    return Meaning(record.member(node.attr)[1], base.ok)


MUTANTS: dict[str, tuple[Any, str, Any]] = {
    "errors are not skipped over": (Expressions, "_joined", _eager_and),
    "`is … in` without its `in`": (Expressions, "_is", _blind_is),
    "absent members are read": (Expressions, "_attribute", _never_absent),
    "integers do not overflow": (expressions, "in_range", lambda _: True),
    "sets compare by identity": (terms, "_equal_sets", lambda one, other: one is other),
    "an error is no error": (
        policies,
        "negate",
        lambda part: False if part is True or part is False else policies_negate(part),
    ),
}
policies_negate = policies.negate


@contextmanager
def mutated(target: Any, name: str, broken: Any) -> Iterator[None]:
    """A translator with one thing wrong."""
    kept = getattr(target, name)
    setattr(target, name, broken)
    try:
        yield
    finally:
        setattr(target, name, kept)


@pytest.mark.parametrize("mutant", MUTANTS)
def test_a_broken_translator_is_found_out(mutant: str) -> None:
    """Control: the same comparison fails on a translator with one thing wrong."""
    with mutated(*MUTANTS[mutant]):
        assert any(_differs(seed) for seed in range(10))


def _differs(seed: int) -> bool:
    try:
        return bool(mismatches(seed, 800)[1])
    except UndeterminedError:
        return True


def starter() -> Bundle:
    """The bundle that is shipped."""
    files = starter_files("os:me", date(2026, 1, 1))
    return load_bundle(files, parse_guarded(files))


@pytest.mark.parametrize("make", [starter, bundle], ids=["starter", "sample"])
def test_outcomes_of_a_bundle_are_the_engines(make: Callable[[], Bundle]) -> None:
    """Allow, needs approval and deny, as formulas, equal two passes of the engine on random requests."""
    subject = Subject.of(make())
    rng = random.Random(5)
    seen: set[Answer] = set()
    for environment in subject.environments:
        scene = Scene(subject, environment)
        formulas = {answer: outcome_formula(scene, answer.value) for answer in Answer}
        strings = sorted({*scene.symbols.literals, "x"})
        agents = [entity for entity in subject.entities if entity["uid"]["type"] == "Agent"]
        things = [("Thing", ())] if not subject.house.resources(environment.action) else []
        for _ in range(15):
            agent = rng.choice(agents)
            resource = things[0][0] if things else rng.choice(subject.house.resources(environment.action))[1]
            extra = (
                [{"uid": {"type": environment.resource, "id": resource}, "attrs": {}, "parents": []}] if things else []
            )
            context = random_of(environment.context, rng, strings)
            asked = Asked(
                principal=("Agent", agent["uid"]["id"]),
                action=environment.action,
                resource=(environment.resource, resource),
                entities=tuple(extra),
                context=context,
            )
            answer = subject.replay.answer(asked).answer
            values = Concrete(scene.symbols, [*subject.entities, *extra], agent["uid"]["id"], resource, context)
            assert [one for one in Answer if values.truth(formulas[one])] == [answer], asked
            seen.add(answer)
    assert seen == set(Answer)


class Recorder:
    """The engine, and what it was asked."""

    def __init__(self, engine: Any) -> None:
        self.engine = engine
        self.asked: list[tuple[Any, ...]] = []

    def evaluate(self, *given: Any, **named: Any) -> Any:
        self.asked.append(given)
        return self.engine.evaluate(*given, **named)

    def __getattr__(self, name: str) -> Any:
        return getattr(self.engine, name)


def touch(record: Any) -> None:
    """Make every variable of a record."""
    for name in record.names():
        _, term = record.member(name)
        if terms.is_record(term):
            touch(term)


CALLS = [
    ("read_file", {"path": "a"}),
    ("write-file/v1.2", {"path": "a", "mode": 2**53 - 1}),
    ("fetch", {"url": "https://stranger.example/x"}),
    ("fetch", {"url": "https://docs.example/"}),
    ("pay", {"amount": "12.50", "to": "x"}),
    ("erase", {}),
]


@settings(max_examples=12, deadline=None)
@given(
    call=st.sampled_from(CALLS),
    agent=st.sampled_from(["coder", "guest"]),
    labels=st.lists(st.sampled_from(["untrusted:web", "confidential", "confidential:customer"]), unique=True),
    approved=st.sampled_from([(), ("owner",), ("money", "owner")]),
)
def test_what_the_house_assumes_is_what_decide_asks(
    call: Any, agent: str, labels: list[str], approved: tuple[str, ...]
) -> None:
    """Every assumption of the prover's is true of every context that `decide` hands to the engine."""
    judged = assumption_values(call, agent, tuple(labels), approved)
    assert judged
    assert all(value for values in judged for value in values)


def test_a_false_assumption_is_found_out(monkeypatch: pytest.MonkeyPatch) -> None:
    """Control: an assumption that does not hold is seen by the same check."""
    from lictor.policy.prove import house

    monkeypatch.setattr(house, "_LEAST", ((("task", "calls"), 2),))
    judged = assumption_values(CALLS[0], "coder", (), ())
    assert not all(value for values in judged for value in values)


@lru_cache
def made_once() -> tuple[Any, Subject]:
    """The sample bundle, compiled and taken apart."""
    return pdp(), Subject.of(bundle())


def assumption_values(call: Any, agent: str, labels: tuple[str, ...], approved: tuple[str, ...]) -> list[list[bool]]:
    """The value of each assumption in each context the engine is asked about."""
    from lictor.pdp.facts import families

    made, subject = made_once()
    recorder = Recorder(made.engine)
    asked = request(call[0], call[1], agent=agent)
    facts = snapshot(made, asked, approved=approved)
    facts = replace_labels(facts, tuple(families(labels)))
    decide(replace(made, engine=recorder), asked, facts)
    found = []
    for principal, action, resource, context, *_ in recorder.asked:
        environment = next(one for one in subject.environments if one.action == action)
        symbols = Symbols(environment, subject.directory)
        symbols.literals |= {*STRINGS, "untrusted:web", "confidential:customer", "coder", "guest"}
        for record in (symbols.view.principal, symbols.view.resource, symbols.view.context):
            touch(record)
        assumed = assumptions(symbols, symbols.view, subject.house)
        values = Concrete(symbols, list(subject.entities), principal[1], resource[1], dict(context))
        found.append([values.truth(one) for one in (*assumed, *symbols.constraints)])
    return found


def replace_labels(facts: Any, labels: tuple[str, ...]) -> Any:
    """The snapshot of a task that has seen these."""
    import msgspec

    return msgspec.structs.replace(facts, task=msgspec.structs.replace(facts.task, labels=labels))
